#!/usr/bin/python3
"""Manifests of bundles: signatures, names, numbers and XML, keys that open them, and those that come with
their parts over HTTP.  Each defect is refused by its own sentence, and nothing is left of it."""
import os
import subprocess
import sys
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import bundles  # noqa: E402
import service  # noqa: E402
import toolkit  # noqa: E402
from procfs import filters  # noqa: E402


class Manifests(bundles.Reading):
    def changed(self, saying, change, **more):
        """The manifest's text changed is refused; test_signer accepts one that is not."""
        bundle = self.bundle(part_size=60000)
        bundle.signer = None
        text = bundle.manifest()
        changed = change(text)
        self.assertNotEqual(changed, text)
        return self.refused(bundle, saying, cert=None, manifest=bundle.write(self.path("in"), changed), **more)

    def refused(self, bundle, saying, status=4, manifest=None, **more):
        if more.get("cert", "user"):
            return super().refused(bundle, saying, status, manifest, **more)
        done = self.unbundle(manifest or bundle.write(self.path("in")), **more)
        lines = done.stderr.decode().splitlines()
        self.assertEqual(done.returncode, status, lines)
        self.assertIn("warning: without --cert", lines[0])
        self.assertIn(saying, lines[1])
        self.assertEqual(len(lines), 2)
        self.nothing_left()
        return lines[1]

    @unittest.skipIf(os.environ.get("UNCONFINED"), "nothing is confined by this build")
    def test_read_offline(self):
        """Who parses it has given up its network before: the filter of that is the second."""
        path = self.path("fifo")
        os.mkfifo(path)
        with subprocess.Popen([toolkit.TOOLKIT, "unbundle", "--key", self.keys.key("user"), path, self.out],
                              stderr=subprocess.DEVNULL) as run:
            try:
                service.wait_for(lambda: filters(run.pid) == 2)
            finally:
                run.kill()

    def test_signature(self):
        bundle = self.bundle()
        path = bundle.write(self.path("in"))
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.accepted(bundle, manifest=path)
        # the signature is of what is around it, not of the declaration
        path = bundle.write(self.path("in"), '<?xml version="1.0"?>\n' + text)
        self.accepted(bundle, manifest=path)
        for old, new in ("x86_64", "i386  "), ("<image><name>img", "<image><name>imh"):
            self.assertIn(old, text)
            altered = bundle.write(self.path("in"), text.replace(old, new))
            self.refused(bundle, "the manifest's signature is not that of the certificate", manifest=altered)
            done = self.unbundle(altered, "--force", cert=None)  # without a certificate it is trusted
            self.assertEqual(done.returncode, 0)
            os.unlink(self.out)
        altered = bundle.write(self.path("in"), text.replace("<image><name>", "<image >\n<name>"))
        self.refused(bundle, "laid out anew", manifest=altered)
        for old, new in (("<user>", "<x><image></image></x><user>"),
                         ("</image>", "</image ><x><image></image></x>")):
            altered = bundle.write(self.path("in"), text.replace(old, new))
            self.refused(bundle, "laid out anew", manifest=altered)

    def test_signer(self):
        bundle = self.bundle()
        path = bundle.write(self.path("in"))
        self.refused(bundle, "signature is not that of the certificate", cert="other", manifest=path)
        bundle.signer = None
        path = bundle.write(self.path("in"))
        self.refused(bundle, "the manifest is not signed", manifest=path)
        done = self.unbundle(path, cert=None)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_count_and_indexes(self):
        self.changed("3 parts are announced, but there are 2",
                     lambda t: drop(t, "<part ", "</part>", ""))
        self.changed("numbered from 0", lambda t: t.replace('count="3"', 'count="2"'))
        self.changed("4 parts are announced, but there are 3", lambda t: t.replace('count="3"', 'count="4"'))
        self.changed("there is no part", lambda t: t.replace('count="3"', 'count="0"'))
        self.changed("is no number up to 20000", lambda t: t.replace('count="3"', 'count="20001"'))
        self.changed("is no number up to", lambda t: t.replace('count="3"', 'count="+3"'))
        self.changed("two parts have index 1", lambda t: t.replace('index="2"', 'index="1"'))
        self.changed("a part has index 3", lambda t: t.replace('index="2"', 'index="3"'))

    def test_names(self):
        for name in ("../img.part.01", "/etc/passwd", "in/img.part.01", ".", "..", "a\\b", "%s" % ("n" * 256),
                     "img&#10;part"):
            self.changed("", lambda t: t.replace("<filename>img.part.01", "<filename>" + name))
        self.changed("'../img.part.01' is no plain file name",
                     lambda t: t.replace("<filename>img.part.01", "<filename>../img.part.01"))
        # names are compared as they are
        self.changed("No such file", lambda t: t.replace("img.part.01", "img%2epart.01"), status=3)
        self.changed("two parts are 'img.part.02'", lambda t: t.replace("img.part.01", "img.part.02"))

    def test_xml(self):
        self.changed("a DOCTYPE", lambda t: '<!DOCTYPE manifest [<!ENTITY a "b">]>' + t)
        self.changed("a comment", lambda t: t.replace("<image>", "<!-- --><image>"))
        self.changed("CDATA", lambda t: t.replace("img</name>", "<![CDATA[img]]></name>"))
        self.changed("a processing instruction", lambda t: t.replace("<image>", "<?x y?><image>"))
        self.changed("not well-formed", lambda t: t[:-12])
        self.changed("not well-formed", lambda t: t.replace("img</name>", "&img;</name>"))
        self.changed("encoded in ISO-8859-1", lambda t: '<?xml version="1.0" encoding="ISO-8859-1"?>' + t)
        self.changed("nested more than", lambda t: t.replace("<bundler>", "<bundler>" + "<a>" * 20 + "</a>" * 20))
        self.changed("root is not", lambda t: t.replace("manifest>", "other>"))
        self.changed("does not come first", lambda t: t.replace("<version>2007-10-10</version>", "").replace(
            "</manifest>", "<version>2007-10-10</version></manifest>"))
        self.changed("the version is '2007-10-11'", lambda t: t.replace("2007-10-10", "2007-10-11"))
        self.changed("there are two <image>", lambda t: t.replace("<signature>", "<image></image><signature>"))
        self.changed("larger than", lambda t: t + " " * (8 << 20))
        self.changed("there is no <version>", lambda t: "<manifest></manifest>")
        self.changed("there is no <bundled_size>", lambda t: t.replace("bundled_size", "bundled_siz"))
        self.changed("there is no <filename>", lambda t: t.replace("filename>", "file>"))
        self.changed("there is no <digest>", lambda t: drop(t, '<digest algorithm="SHA1">', "</digest></part>", "</part>"))

    def test_values(self):
        self.changed("not a number", lambda t: t.replace("<size>", "<size>+"))
        self.changed("not a number", lambda t: t.replace("<size>", "<size>99999999999999999999"))
        self.changed("cannot come out of", lambda t: t.replace("<size>", "<size>999999"))
        self.changed("no whole AES blocks", lambda t: t.replace("</bundled_size>", "1</bundled_size>"))
        self.changed("make parts of more than", lambda t: t.replace("</bundled_size>", "0000000</bundled_size>"))
        self.changed("'MD5'; only SHA1", lambda t: t.replace('"SHA1"', '"MD5"'))
        self.changed("only AES-128-CBC", lambda t: t.replace('"AES-128-CBC"', '"AES-256-CBC"'))
        self.changed("40 hex digits", lambda t: t.replace("</digest><size>", "0</digest><size>"))
        self.changed("in hex", lambda t: t.replace("<user_encrypted_key algorithm=\"AES-128-CBC\">",
                                                   "<user_encrypted_key algorithm=\"AES-128-CBC\">g"))
        self.changed("RSA key of 2056 bits", lambda t: t.replace("</user_encrypted_iv>", "00</user_encrypted_iv>"))
        # the sealed key changed: no other sentence than that of a wrong key
        say = self.changed("cannot be opened by this key", lambda t: flip(
            t, '<user_encrypted_key algorithm="AES-128-CBC">'))
        self.assertEqual(say, self.changed("cannot be", lambda t: flip(t, "<user_encrypted_iv>")))

    def test_sealed_nonsense(self):
        """What opens but is no key looks like what does not open."""
        bundle = self.bundle()
        first = self.refused(bundle, "cannot be opened by this key", key="other")
        for key in "00" * 8, "00" * 16 + "0", "zz" * 16, "":
            bundle = self.bundle()
            bundle.key = key
            self.assertEqual(self.refused(bundle, "cannot be opened"), first)


def drop(text, begin, end, then):
    """Without what is from the last `begin` to `end`."""
    at = text.rindex(begin)
    return text[:at] + then + text[text.index(end, at) + len(end):]


def flip(text, before):
    at = text.index(before) + len(before) + 5
    return text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1:]


class KeyFiles(bundles.Reading):
    def test_keys(self):
        bundle = self.bundle()
        path = bundle.write(self.path("in"))
        locked, curve, text = self.path("locked"), self.path("curve"), self.path("text")
        bundles.openssl("rsa", "-in", self.keys.key("user"), "-aes128", "-passout", "pass:geheim",
                        "-out", locked)
        bundles.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", curve)
        with open(text, "w", encoding="ascii") as file:
            file.write("no key\n")
        for key, saying, status in ((locked, "is locked by a passphrase", 2), (curve, "is not of RSA", 2),
                                    (text, "holds no private key in PEM form", 2),
                                    (self.keys.crt("user"), "holds no private key", 2),
                                    (self.top, "is not a regular file", 2),
                                    (self.path("missing"), "No such file", 3)):
            done = self.run_toolkit("unbundle", "--key", key, "--cert", self.keys.crt("user"), path, self.out,
                                    stdin=subprocess.DEVNULL)
            self.assertIn(saying, done.stderr.decode())
            self.assertEqual(done.returncode, status)
            self.nothing_left()
        done = self.run_toolkit("unbundle", "--key", self.keys.key("user"), "--cert", self.keys.key("user"),
                                path, self.out)
        self.assertIn("holds no certificate in PEM form", done.stderr.decode())
        done = self.run_toolkit("unbundle", path, self.out)
        self.assertIn("key", done.stderr.decode())
        self.assertEqual(done.returncode, 2)


class Web(bundles.Reading):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("web"))
        self.web = subprocess.Popen([sys.executable, os.path.join(TOP, "tests/lib/fault-server.py"),
                                     self.path("web")], stdout=subprocess.PIPE)
        self.base = "http://127.0.0.1:%d/" % int(self.web.stdout.readline())
        self.addCleanup(self.web.stdout.close)
        self.addCleanup(self.web.wait)
        self.addCleanup(self.web.kill)

    def requests(self, name):
        with open(self.path("web", "log"), encoding="latin-1") as file:
            return sum(name in line for line in file)

    def test_beside_the_manifest(self):
        bundle = self.bundle(part_size=60000)
        bundle.write(self.path("web"))
        self.accepted(bundle, manifest=self.base + "ok/img.manifest.xml?X=1")
        self.accepted(bundle, manifest=self.base + "503*1/img.manifest.xml")  # and each of the parts
        self.assertEqual(self.requests("503*1/img.part.01"), 2)
        self.accepted(bundle, manifest=self.base + "cut*1/img.manifest.xml")
        os.unlink(self.path("web", "img.part.02"))
        self.refused(bundle, "part 3 of 3", status=3, manifest=self.base + "ok/img.manifest.xml")

    def test_no_manifest(self):
        bundle = self.bundle()
        self.refused(bundle, "No such file", status=3, manifest=self.path("web", "none"))
        self.refused(bundle, "404", status=3, manifest=self.base + "ok/none")
        self.refused(bundle, "403", status=3, manifest=self.base + "403/none")
        text = bundle.write(self.path("web"), bundle.manifest() + " " * (8 << 20))
        for place in text, self.base + "ok/" + os.path.basename(text):
            self.refused(bundle, "the manifest is larger than the 8388608 bytes allowed", manifest=place)

    def download(self, bundle, fault="ok", change=None):
        """The URL of a download manifest whose parts show a fault."""
        text = bundle.download_manifest(self.base + fault + "/")
        with open(self.path("web", "dm"), "w", encoding="utf-8") as file:
            file.write(change(text) if change else text)
        return self.base + "ok/dm?secret=1"

    def test_download_manifest(self):
        bundle = self.bundle(part_size=60000)
        bundle.write_parts(self.path("web"))
        self.accepted(bundle, manifest=self.download(bundle), cert="cloud")
        self.accepted(bundle, manifest=self.download(bundle).replace("//", "//imaging@"), cert="cloud")
        self.accepted(bundle, manifest=self.path("web", "dm"), cert="cloud")
        self.refused(bundle, "signature is not that", manifest=self.download(bundle), cert="user")
        self.refused(bundle, "carries a user name", status=2, cert="cloud",
                     manifest=self.download(bundle).replace("//", "//me@"))
        for old, new in (("img.part.00", "img.part.0a"), ("<unbundled-size>", "<unbundled-size>0"),
                         ("BUNDLE<", " BUNDLE<"), ("2014-01-14<", "2014-01-14 <")):
            self.refused(bundle, "signature is not that", cert="cloud",
                         manifest=self.download(bundle, change=lambda t: t.replace(old, new)))
        self.refused(bundle, "file-format is 'RAW'; only BUNDLE", cert="cloud",
                     manifest=self.download(bundle, change=lambda t: t.replace("BUNDLE<", "RAW<")))
        self.refused(bundle, "carries a user name", cert="cloud",
                     manifest=self.download(bundle, change=lambda t: t.replace("http://", "http://u:p@")))
        self.refused(bundle, "<get-url>", cert="cloud",
                     manifest=self.download(bundle, change=lambda t: t.replace("http://", "file://")))

    def test_faults(self):
        bundle = self.bundle(part_size=60000)
        bundle.write_parts(self.path("web"))
        for fault in "corrupt*1", "short*1", "long*1", "503*2", "resetbody*1", "gzip*1", "cut*1":
            self.accepted(bundle, manifest=self.download(bundle, fault), cert="cloud")
            self.assertGreater(self.requests("/%s/img.part.01" % fault), 1, fault)
        text = self.refused(bundle, "part 1 of 3", manifest=self.download(bundle, "corrupt"), cert="cloud")
        self.assertNotIn("secret", text)
        self.assertEqual(self.requests("/corrupt/img.part.00"), 3)
        self.refused(bundle, "redirects are not followed", status=3, cert="cloud",
                     manifest=self.download(bundle, "redirect"))
        self.refused(bundle, "403", status=3, manifest=self.download(bundle, "403"), cert="cloud")


if __name__ == "__main__":
    unittest.main()
