"""bundles - encrypted bundles made and read by openssl, tar and gzip, and a toolkit to try on them.

Nothing of the toolkit is used here to make or to judge a bundle.  The layout is that of the historical
clients: tar of one file, gzip, AES-128-CBC, parts; the key and the vector as hex text, sealed by RSA."""
import gzip
import hashlib
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

import service

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
DEADLINE_S = 120

for _program in "openssl", "tar", "gzip":
    if not shutil.which(_program):
        print("skipped: %s is not installed" % _program)
        sys.exit(77)


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE).stdout


class Keys:
    """Files in a directory: NAME.key and NAME.crt of a user, a cloud and another."""

    def __init__(self, top):
        self.top = top
        for name in "user", "cloud", "other":
            openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                    "/CN=" + name, "-keyout", self.key(name), "-out", self.crt(name))
            openssl("x509", "-in", self.crt(name), "-pubkey", "-noout", "-out", self.path(name + ".pub"))

    def path(self, name):
        return os.path.join(self.top, name)

    def key(self, name):
        return self.path(name + ".key")

    def crt(self, name):
        return self.path(name + ".crt")

    def seal(self, name, data):
        return openssl("pkeyutl", "-encrypt", "-certin", "-inkey", self.crt(name), "-pkeyopt",
                       "rsa_padding_mode:pkcs1", data=data).hex()

    def open(self, name, sealed):
        return openssl("pkeyutl", "-decrypt", "-inkey", self.key(name), "-pkeyopt",
                       "rsa_padding_mode:pkcs1", data=bytes.fromhex(sealed))

    def sign(self, name, data, algorithm="-sha1"):
        return openssl("dgst", algorithm, "-sign", self.key(name), data=data).hex()

    def verify(self, name, data, signature):
        file = self.path("signature")
        with open(file, "wb") as out:
            out.write(bytes.fromhex(signature))
        openssl("dgst", "-sha1", "-verify", self.path(name + ".pub"), "-signature", file, data=data)


def tar_of(data, *options, name="image.raw", prepare=None):
    """A tar file made by tar(1)."""
    with tempfile.TemporaryDirectory(prefix="tar.") as top:
        with open(os.path.join(top, name), "wb") as file:
            file.write(data)
        names = prepare(top) if prepare else [name]
        return subprocess.run(["tar", "-c", "-C", top, *options, *names], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


class Bundle:
    """A bundle in the making.  Change its members, then write()."""

    def __init__(self, keys, image, tar=None, packed=None, sealed=None, part_size=10 << 20,
                 prefix="img"):
        self.keys = keys
        self.image = image
        self.tar = tar_of(image) if tar is None else tar
        self.packed = gzip.compress(self.tar, 1) if packed is None else packed
        self.key = secrets.token_hex(16)
        self.vector = secrets.token_hex(16)
        self.sealed = sealed if sealed is not None else openssl(
            "enc", "-aes-128-cbc", "-K", self.key, "-iv", self.vector, data=self.packed)
        self.parts = [self.sealed[at:at + part_size] for at in range(0, len(self.sealed), part_size)]
        self.names = ["%s.part.%02d" % (prefix, i) for i in range(len(self.parts))]
        self.digests = [hashlib.sha1(part).hexdigest() for part in self.parts]
        self.indexes = list(range(len(self.parts)))
        self.count = len(self.parts)
        self.size = len(image)
        self.bundled_size = len(self.sealed)
        self.digest = hashlib.sha1(self.tar).hexdigest()
        self.prefix = prefix
        self.signer = "user"

    def parts_xml(self, name_of):
        return '<parts count="%d">%s</parts>' % (self.count, "".join(
            '<part index="%d">%s<digest algorithm="SHA1">%s</digest></part>' % (i, name_of(n), d)
            for i, n, d in zip(self.indexes, self.names, self.digests)))

    def manifest(self):
        seal = self.keys.seal
        key, vector = self.key.encode(), self.vector.encode()
        signed = (
            "<machine_configuration><architecture>x86_64</architecture></machine_configuration>"
            "<image><name>%s</name><user>123456789012</user>"
            '<digest algorithm="SHA1">%s</digest><size>%d</size><bundled_size>%d</bundled_size>'
            "<type>machine</type>"
            '<ec2_encrypted_key algorithm="AES-128-CBC">%s</ec2_encrypted_key>'
            '<user_encrypted_key algorithm="AES-128-CBC">%s</user_encrypted_key>'
            "<ec2_encrypted_iv>%s</ec2_encrypted_iv><user_encrypted_iv>%s</user_encrypted_iv>%s</image>" % (
                self.prefix, self.digest, self.size, self.bundled_size, seal("cloud", key),
                seal("user", key), seal("cloud", vector), seal("user", vector),
                self.parts_xml(lambda name: "<filename>%s</filename>" % name)))
        signature = self.keys.sign(self.signer, signed.encode()) if self.signer else "UNSIGNED"
        return ("<manifest><version>2007-10-10</version><bundler><name>euca2ools</name>"
                "<version>3.4</version><release>0</release></bundler>%s"
                "<signature>%s</signature></manifest>" % (signed, signature))

    def download_manifest(self, base, reader="user"):
        """For one reader, with URLs of the parts below base, signed by the cloud."""
        seal = self.keys.seal
        signed = (
            "<version>2014-01-14</version><file-format>BUNDLE</file-format>"
            "<bundle><encrypted-key>%s</encrypted-key><encrypted-iv>%s</encrypted-iv>"
            "<unbundled-size>%d</unbundled-size></bundle><image><size>%d</size>%s</image>" % (
                seal(reader, self.key.encode()), seal(reader, self.vector.encode()), self.size,
                self.bundled_size,
                self.parts_xml(lambda name: "<get-url>%s%s?X=secret&amp;Y=2</get-url>" % (base, name))))
        return ('<?xml version="1.0" encoding="UTF-8"?><manifest>%s'
                '<signature algorithm="RSA-SHA256">%s</signature></manifest>' % (
                    signed, self.keys.sign("cloud", signed.encode(), "-sha256")))

    def write_parts(self, where):
        for i, part in enumerate(self.parts):
            with open(os.path.join(where, "%s.part.%02d" % (self.prefix, i)), "wb") as file:
                file.write(part)

    def write(self, where, text=None):
        """Parts and manifest; the manifest's path."""
        self.write_parts(where)
        path = os.path.join(where, self.prefix + ".manifest.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text if text is not None else self.manifest())
        return path


def read(keys, path, reader="user"):
    """(image, parsed manifest) of a bundle, with everything in it verified."""
    where = os.path.dirname(path)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    root = ElementTree.fromstring(text)
    signed = "".join(re.search("<%s>.*</%s>" % (name, name), text, re.S).group(0)
                     for name in ("machine_configuration", "image"))
    keys.verify("user", signed.encode(), root.findtext("signature"))
    image = root.find("image")
    word = {"user": "user", "cloud": "ec2"}[reader]
    key = keys.open(reader, image.findtext(word + "_encrypted_key")).decode()
    vector = keys.open(reader, image.findtext(word + "_encrypted_iv")).decode()
    sealed = b""
    parts = image.findall("parts/part")
    assert image.find("parts").get("count") == str(len(parts))
    for i, part in enumerate(parts):
        assert part.get("index") == str(i)
        with open(os.path.join(where, part.findtext("filename")), "rb") as file:
            data = file.read()
        assert hashlib.sha1(data).hexdigest() == part.findtext("digest"), i
        sealed += data
    assert len(sealed) == int(image.findtext("bundled_size"))
    packed = openssl("enc", "-d", "-aes-128-cbc", "-K", key, "-iv", vector, data=sealed)
    tar = subprocess.run(["gzip", "-dc"], input=packed, check=True, stdout=subprocess.PIPE).stdout
    assert hashlib.sha1(tar).hexdigest() == image.findtext("digest")
    listed = subprocess.run(["tar", "-t"], input=tar, check=True, stdout=subprocess.PIPE).stdout
    assert len(listed.splitlines()) == 1
    data = subprocess.run(["tar", "-xO"], input=tar, check=True, stdout=subprocess.PIPE).stdout
    assert len(data) == int(image.findtext("size"))
    return data, root


class Case(unittest.TestCase):
    """A private directory for each test: in/ and out/; keys are made once."""
    keys = shared = None

    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory(prefix="keys.")
        cls.keys = Keys(cls.shared.name)

    @classmethod
    def tearDownClass(cls):
        cls.shared.cleanup()

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="bundle.")
        self.addCleanup(shutil.rmtree, self.top, True)
        for name in "in", "out", "tmp":
            os.mkdir(self.path(name))
        self.out = self.path("out", "disk.raw")

    def path(self, *names):
        return os.path.join(self.top, *names)

    def run_toolkit(self, *args, **more):
        return subprocess.run([TOOLKIT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=DEADLINE_S, env={**os.environ, "TMPDIR": self.path("tmp"),
                                                       "IMAGING_HASTE": "100"}, **more)

    def nothing_left(self):
        self.assertEqual(os.listdir(self.path("out")), [])
        self.assertEqual(os.listdir(self.path("tmp")), [])

    def no_secret(self, done, *secrets_):
        text = done.stdout + done.stderr
        for secret in filter(None, secrets_):
            self.assertNotIn(secret.encode(), text)
        self.assertNotIn(b"PRIVATE KEY", text)
        self.assertNotIn(b"Sanitizer", text)


IMAGE = random.Random(1).randbytes(150000) + bytes(100000) + b"end"


class Reading(Case):
    """What becomes of a bundle that is given to `unbundle`."""

    def unbundle(self, manifest, *options, key="user", cert="user", out=None, **more):
        cert = ["--cert", self.keys.crt(cert)] if cert else []
        return self.run_toolkit("unbundle", "--key", self.keys.key(key), *cert, *options, manifest,
                                out or self.out, **more)

    def accepted(self, bundle, *options, manifest=None, image=IMAGE, **more):
        done = self.unbundle(manifest or bundle.write(self.path("in")), *options, **more)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        with open(self.out, "rb") as file:
            self.assertEqual(file.read(), image)
        os.unlink(self.out)
        self.nothing_left()
        self.no_secret(done, bundle.key, bundle.vector)

    def refused(self, bundle, saying, status=4, manifest=None, **more):
        done = self.unbundle(manifest or bundle.write(self.path("in")), **more)
        text = done.stderr.decode()
        self.assertRegex(text, saying)
        self.assertEqual((done.returncode, done.stdout), (status, b""), text)
        self.assertEqual(len(text.splitlines()), 1, text)
        self.nothing_left()
        self.no_secret(done, bundle.key, bundle.vector)
        return text

    def bundle(self, **more):
        return Bundle(self.keys, IMAGE, **more)
