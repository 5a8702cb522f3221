"""Where the toolkit may be led: a table of spellings, redirects, proxies and names that change or have
two addresses, with a listener that must stay untouched; each with a neighbour that gets through."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import stub  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
IMAGE = bytes(range(256)) * 40
OK, USAGE, INPUT, INVALID, TRANSIENT = 0, 2, 3, 4, 6


class Case(unittest.TestCase):
    def setUp(self):
        self.store, self.listener = stub.Store(), stub.Listener()
        self.addCleanup(self.store.close)
        self.addCleanup(self.listener.close)
        self.tmp = tempfile.TemporaryDirectory(prefix="url-policy.")
        self.addCleanup(self.tmp.cleanup)
        self.out = os.path.join(self.tmp.name, "out.raw")

    def job(self, source, environment=None, before=(), **urls):
        """Run a job under a policy; (status, what it said).  Nothing is left but a right volume."""
        job = {"source": source, "format": "raw", "store": self.out, "force": True, "urls": urls}
        return self.run_it("run", stdin=json.dumps(job), environment=environment, before=before)

    def run_it(self, *arguments, stdin="", environment=None, before=()):
        done = subprocess.run([*before, TOOLKIT, *arguments], input=stdin, capture_output=True, text=True, check=False,
                              timeout=60, env={**os.environ, "IMAGING_HASTE": "1000",
                                                         "IMAGING_STALL_SECONDS": "2", **(environment or {})})
        said = done.stdout + done.stderr
        self.assertNotIn(stub.SECRET, said)
        self.assertNotRegex(said, "Sanitizer|runtime error:")
        self.assertGreaterEqual(done.returncode, 0, said)
        if os.path.exists(self.out):
            self.assertEqual(done.returncode, OK)
            with open(self.out, "rb") as file:
                self.assertEqual(file.read(), IMAGE)
            os.unlink(self.out)
        self.assertEqual(os.listdir(self.tmp.name), [])
        return done.returncode, said

    def refused(self, result, *words, status=(INPUT,)):
        self.assertIn(result[0], status, result[1])
        self.assertEqual(len(result[1].splitlines()), 1, result[1])
        for word in words:
            self.assertIn(word, result[1])
        self.listener.untouched(self)


class Spellings(Case):
    # of the loopback address, as getaddrinfo, inet_aton and libcurl read them
    OTHERS = ("2130706433", "0x7f000001", "0x7F.0.0.1", "0177.0.0.1", "00000177.1", "127.1", "127.0.1", "0", "0.0.0.0",
              "127.255.0.1", "localhost", "LocalHost", "[::1]", "[0:0::1]", "[::ffff:127.0.0.1]",
              "[::ffff:7f00:1]", "[::]")

    def test_all_spellings_are_seen(self):
        for host in ("127.0.0.1", *self.OTHERS):
            with self.subTest(host):
                url = self.listener.url(host)
                for source in ("manifest:" + url, url):
                    result = self.job(source)
                    self.refused(result, "manifest-networks")
                    self.assertRegex(result[1], "a loopback address|an address of this host")

    def test_the_spellings_lead_there(self):
        """The neighbour: the same URLs do lead to this machine when it is allowed."""
        self.store.close()
        self.store = stub.Store("127.0.0.1", self.store.port)
        self.store.put("/image", IMAGE)
        for host in ("127.0.0.1", *(h for h in self.OTHERS if ":" not in h and h != "127.255.0.1")):
            with self.subTest(host):
                result = self.job(self.store.url("/image", host), networks=["127.0.0.0/8", "0.0.0.0/8", "::1"])
                self.assertEqual(result[0], OK, result[1])

    def test_what_two_parsers_could_read_differently(self):
        port = self.listener.port
        here = f"127.0.0.1:{port}"
        for url in (f"http://s3@{here}/", f"http://user:pw@{here}/", f"http://{here}#@s3/", f"http://s3\\@{here}/",
                    f"http://{here}\\@s3/", f"http://{here}\t/", f"http:// {here}/", f"http://{here}\r\nX: y/",
                    f"http://{here}%0d%0aX:%20y/", f"http://127.0.0.1%09:{port}/", f"http://%31%32%37.0.0.1:{port}/",
                    f"http://１２７.0.0.1:{port}/", f"http://①②⑦.0.0.1:{port}/", f"http://127。0。0。1:{port}/",
                    f"http://{{127.0.0.1,s3}}:{port}/", f"http://127.0.0.[0-9]:{port}/", f"http://127.0.0.1.:{port}/",
                    f"http://localhost.:{port}/", f"http://[::1%25lo]:{port}/", f"http://[127.0.0.1]:{port}/",
                    f"http:{here}/", f"http:///{here}/", f"http:////{here}/", f"http://:{port}/"):
            with self.subTest(url):
                result = self.job("manifest:" + url)
                # those that are no URLs to us are names of files
                self.refused(result, status=(USAGE, INPUT, INVALID, TRANSIENT))

    def test_no_globbing(self):
        self.store.put("/a{1,2}[0-9]", IMAGE)
        result = self.job(f"http://127.0.0.1:{self.store.port}/a{{1,2}}[0-9]", hosts=[f"127.0.0.1:{self.store.port}"])
        self.assertEqual(result[0], OK, result[1])
        self.assertEqual({path for _, path, _ in self.store.seen}, {"/a{1,2}[0-9]"})

    def test_schemes(self):
        for scheme in ("file", "gopher", "ftp", "dict", "ldap", "tftp", "smb", "data", "jar", "FILE", "Gopher", ""):
            for source in (f"manifest:{scheme}://127.0.0.1:{self.listener.port}/m",
                           f"{scheme}://127.0.0.1:{self.listener.port}/m"):
                with self.subTest(source):
                    self.refused(self.job(source), status=(USAGE, INPUT))
            part = f"{scheme}://127.0.0.1:{self.listener.port}/part"
            for verb in ("head", "get", "delete"):
                url = self.store.upload(IMAGE, urls={(0, verb): part})
                self.refused(self.job("manifest:" + url, networks=["127.0.0.1"]), f"<{verb}-url>", status=(INVALID,))
        self.assertEqual({path for _, path, _ in self.store.seen}, {"/b/m.xml"})

    def test_only_some_schemes_hosts_and_ports(self):
        url = self.store.upload(IMAGE)
        here = f"127.0.0.1:{self.store.port}"
        for urls in ({"hosts": [here]}, {"hosts": ["127.0.0.1"]}, {"networks": ["127.0.0.1/32"]}, {"own": f"http://{here}/"},
                     {"hosts": ["*"], "networks": ["127.0.0.0/8"]}, {"hosts": [here], "schemes": ["http"]},
                     {"own": f"http://{here}/objects/", "hosts": ["s3"], "schemes": ["https"]}):
            with self.subTest(urls):
                self.assertEqual(self.job("manifest:" + url, **urls)[0], OK)
        for urls, words in (({"hosts": [here], "schemes": ["https"]}, "its scheme is not allowed; allowed are: https"),
                            ({"hosts": ["127.0.0.1:1"]}, "its host is not allowed; allowed are: 127.0.0.1:1"),
                            ({"hosts": ["*:443"], "networks": ["127.0.0.1"]}, "its host is not allowed"),
                            ({"hosts": ["*"]}, "a loopback address"), ({"networks": ["127.0.0.2"]}, "a loopback address"),
                            ({"own": f"https://{here}/"}, "a loopback address"),
                            ({"own": "http://127.0.0.1:1/"}, "a loopback address"), ({}, "a loopback address")):
            with self.subTest(urls):
                self.store.seen.clear()
                self.refused(self.job("manifest:" + url, **urls), words)
                self.assertEqual(self.store.seen, [])

    def test_bad_policies_are_refused(self):
        for urls in ({"networks": ["10.0.0.1/8"]}, {"networks": "10.0.0.0/8"}, {"hosts": [1]}, {"hosts": [""]},
                     {"own": "ftp://s3/"}, {"more": []}, {"hosts": ["s3"] * 257}):
            with self.subTest(urls):
                self.refused(self.job("x", **urls), "urls.", status=(USAGE,))

    def test_people_may_go_where_they_like(self):
        """But not where only metadata services are; a job may open that, too."""
        self.store.put("/image", IMAGE)
        result = self.run_it("info", "--output", "json", self.store.url("/image"))
        self.assertEqual(result[0], OK, result[1])
        for host in ("169.254.169.254", "0xa9fea9fe", "2852039166", "[::ffff:169.254.169.254]", "[fe80::1]",
                     "[fd00:ec2::254]", "100.100.100.200", "[64:ff9b::a9fe:a9fe]"):
            with self.subTest(host):
                self.refused(self.run_it("info", f"http://{host}/latest/"), "where no images are")


class Ways(Case):
    """Other ways to be led astray."""

    def test_redirects_are_not_followed(self):
        for status in (301, 302, 303, 307, 308):
            for path, verbs in (("/b/m.xml", ("GET",)), ("/b/part.1", ("HEAD", "GET")), ("/b/part.1", ("GET",))):
                with self.subTest(status=status, path=path, verbs=verbs):
                    self.store.clear()
                    url = self.store.upload(IMAGE)

                    def redirect(handler, path=path, status=status, verbs=verbs):
                        if handler.command in verbs:
                            handler.redirect(status, self.listener.url("127.0.0.1"))
                        else:
                            handler.wfile.write(handler.answer_head(self.store.objects[path]))
                    self.store.answer[path] = redirect
                    self.refused(self.job("manifest:" + url, networks=["127.0.0.0/8"]), str(status),
                                 "redirects are not followed")

    def test_no_proxy_no_netrc_no_credentials(self):
        """What the environment and files say to other programs is not for strangers' servers."""
        url = self.store.upload(IMAGE)
        proxy = f"http://127.0.0.1:{self.listener.port}"
        with tempfile.TemporaryDirectory() as home:
            for name in (".netrc", ".curlrc"):
                with open(os.path.join(home, name), "w", encoding="utf-8") as file:
                    file.write("machine 127.0.0.1 login me password secret-of-mine\n" if name == ".netrc"
                               else f'proxy = "{proxy}"\n')
            environment = {"HOME": home, "CURL_HOME": home, "http_proxy": proxy, "HTTP_PROXY": proxy,
                           "https_proxy": proxy, "all_proxy": proxy, "ALL_PROXY": proxy, "no_proxy": "",
                           "AWS_ACCESS_KEY_ID": "AK-of-mine", "AWS_SECRET_ACCESS_KEY": "secret-of-mine",
                           "AWS_SESSION_TOKEN": "token-of-mine"}
            result = self.job("manifest:" + url, environment, networks=["127.0.0.1"])
        self.assertEqual(result[0], OK, result[1])
        self.listener.untouched(self)
        self.assertGreater(len(self.store.seen), 4)
        for _, _, headers in self.store.seen:
            self.assertLessEqual(set(headers), {"Host", "User-Agent", "Accept", "Accept-Encoding", "Range", "If-Match"})
            self.assertNotIn("of-mine", str(headers))


class Names(Case):
    """Names of /etc/hosts in a mount namespace of its own."""

    def setUp(self):
        super().setUp()
        self.hosts = tempfile.NamedTemporaryFile("w", prefix="hosts.", encoding="utf-8")
        self.addCleanup(self.hosts.close)
        # the bad address's port on the good one as well, where nobody else listens
        self.bad = stub.Listener("127.0.0.1")
        self.addCleanup(self.bad.close)
        self.good = stub.Store("127.0.0.2", self.bad.port)
        self.addCleanup(self.good.close)
        script = f'mount --bind {self.hosts.name} /etc/hosts && exec "$@"'
        for unshare in (("unshare", "--mount"), ("unshare", "--map-root-user", "--mount")):
            self.before = (*unshare, "sh", "-c", script, "sh")
            if subprocess.run([*self.before, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return
        self.skipTest("no mount namespaces here")

    def names(self, *lines):
        """In place: what is mounted is the file, not its name."""
        self.hosts.seek(0)
        self.hosts.truncate()
        self.hosts.write("".join(line + "\n" for line in lines))
        self.hosts.flush()

    def fetch(self, url):
        return self.job("manifest:" + url, before=self.before, networks=["127.0.0.2"])

    def test_a_name_that_changes(self):
        """Allowed when the manifest is asked for, forbidden when the parts are."""
        url = self.good.upload(IMAGE, host="rebind.test")
        self.names("127.0.0.2 rebind.test")
        self.assertEqual(self.fetch(url)[0], OK)

        def rebind(handler):
            self.names("127.0.0.1 rebind.test")
            handler.wfile.write(handler.answer_head(self.good.objects["/b/m.xml"]))
        self.good.answer["/b/m.xml"] = rebind
        self.good.seen.clear()
        self.refused(self.fetch(url), "part 2 of 2", "127.0.0.1, a loopback address", "manifest-networks")
        self.assertEqual([path for _, path, _ in self.good.seen], ["/b/m.xml"])
        self.bad.untouched(self)

    def test_a_name_with_two_addresses(self):
        """The good one is used, and the other never; alone it is refused, and so are two bad ones."""
        url = self.good.upload(IMAGE, host="two.test")
        for lines in (("127.0.0.1 two.test", "127.0.0.2 two.test"), ("127.0.0.2 two.test", "127.0.0.1 two.test"),
                      ("::1 two.test", "127.0.0.2 two.test")):
            self.names(*lines)
            self.assertEqual(self.fetch(url)[0], OK, lines)
        for lines in (("127.0.0.1 two.test",), ("127.0.0.1 two.test", "127.0.0.3 two.test"), ("::1 two.test",),
                      ("169.254.169.254 two.test",), ("10.0.0.1 two.test",)):
            self.names(*lines)
            self.refused(self.fetch(url), "the host leads to", "manifest-networks")
        self.bad.untouched(self)

    def test_a_good_address_that_does_not_answer(self):
        """Is no reason to say that the name is forbidden: it may answer another time."""
        url = self.good.upload(IMAGE, host="two.test")
        self.good.close()
        self.names("127.0.0.1 two.test", "127.0.0.2 two.test")
        self.assertEqual(self.fetch(url)[0], TRANSIENT)
        self.bad.untouched(self)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
