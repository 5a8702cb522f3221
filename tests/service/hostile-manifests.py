"""Hostile manifests and URLs, each with its accepted neighbour: rows 35 to 45 of the list of hostile inputs
(the numbers in the names), through the service, which goes to one store only; then bombs and what a service
that was told nothing does.

Every URL here carries a secret in its query; at the end nothing that was printed, logged or said has it."""
import http.client
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
os.environ["IMAGING_HASTE"] = "1000"
import service  # noqa: E402
import stub  # noqa: E402
import tasks  # noqa: E402

IMAGE = bytes(range(256)) * 6  # three parts of 512 bytes
SANITIZED = bool(os.environ.get("ASAN_OPTIONS"))


class Imports(tasks.Tasks):
    """A service with the configuration of config(), a store, and a listener."""
    @classmethod
    def setUpClass(cls):
        cls.store, cls.listener = stub.Store(), stub.Listener()
        cls.addClassCleanup(cls.store.close)
        cls.addClassCleanup(cls.listener.close)
        cls.config, cls.said = cls.configuration(), []
        super(tasks.Tasks, cls).setUpClass()  # without the disks

    @classmethod
    def tearDownClass(cls):
        """Row 45."""
        log = cls.service.log_text()
        for text in (log, cls.service.printed, *cls.said):
            assert stub.SECRET not in text, "a query string: " + text[:2000]
            assert "Signature=" not in text and "?X-Amz" not in text, text[:2000]
        assert "import-vol-" in log

    def setUp(self):
        self.store.clear()

    def import_volume(self, url, size=len(IMAGE)):
        return self.good({"Action": "ImportVolume", "Version": tasks.NEW, "AvailabilityZone": "standalone",
                          "Image.Format": "RAW", "Image.Bytes": str(size), "Image.ImportManifestUrl": url,
                          "Volume.Size": "1"}).findtext("conversionTaskId")

    def accepted(self, url):
        task = self.wait(self.import_volume(url), "completed")
        path = os.path.join(self.service.dir, "volumes", task.findtext("importVolume/volume/id") + ".raw")
        with open(path, "rb") as volume:
            self.assertEqual(volume.read(len(IMAGE) + 512), IMAGE + bytes(512))
        self.assertEqual(os.path.getsize(path), 1 << 30)
        self.listener.untouched(self)
        self.assertIn("GET", self.store.requests("/b/part.0"))

    def refused(self, url, *words, fetched=False):
        """The task is cancelled for these words; no part was fetched; nothing is left."""
        before = self.all_files()
        id = self.import_volume(url)
        message = self.wait(id, "cancelled").findtext("statusMessage")
        self.said.append(message)
        self.assertRegex(message, "^ClientError: ")
        self.assertTrue(message.isprintable())
        for word in words:
            self.assertIn(word, message)
        if not fetched:
            self.assertEqual([path for _, path, _ in self.store.seen if path != "/b/m.xml"], [])
        self.assertEqual(self.all_files(), before)
        self.listener.untouched(self)
        return message

    def upload(self, change=lambda text: text, **how):
        return self.store.upload(IMAGE, 3, change=change, **how)

    def replaced(self, old, new, count=1, **how):
        def change(text):
            self.assertIn(old, text)
            return text.replace(old, new, count)
        return self.upload(change, **how)

    def part(self, path, answers):
        """The answers to GET of a part, one after the other, the last again and again."""
        def answer(handler):
            body = self.store.objects[path]
            if handler.command == "GET":
                (answers.pop(0) if len(answers) > 1 else answers[0])(handler, body)
            else:
                handler.answer_head(body)
        self.store.answer[path] = answer


def whole(handler, body):
    handler.wfile.write(handler.answer_head(body))


def short(handler, body):
    handler.wfile.write(handler.answer_head(body[:-10]))


class Rows(Imports):
    @classmethod
    def configuration(cls):
        return f'manifest-networks = {{}}\nmanifest-hosts = {{"127.0.0.1:{cls.store.port}"}}\n'

    def test_35_count(self):
        self.refused(self.replaced('count="3"', 'count="2"'), "has index 2, but there are 2")
        self.refused(self.replaced('count="3"', 'count="4"'), "4 parts are announced, but there are 3")
        self.accepted(self.upload())

    def test_36_overlapping_ranges(self):
        self.refused(self.replaced('start="512"', 'start="511"'), "starts at byte 511 instead of 512")
        self.refused(self.replaced('start="512"', 'start="513"'), "starts at byte 513 instead of 512")
        self.accepted(self.upload())

    def test_37_numbers(self):
        size = f"<size>{len(IMAGE)}"
        self.refused(self.replaced(size, f"<size>+{len(IMAGE)}"), f"'+{len(IMAGE)}'")
        self.refused(self.replaced(size, f"<size>{len(IMAGE) + 1}"), str(len(IMAGE) + 1))
        self.accepted(self.replaced(size, size + " "))

    def test_38_indexes(self):
        self.refused(self.upload(lambda text: re.sub('index="(.)"', lambda m: f'index="{int(m[1]) + 1}"', text)),
                     "has index 3, but there are 3")
        self.refused(self.replaced('index="2"', 'index="1"'), "two parts have index 1")
        self.accepted(self.upload())

    def test_39_another_host(self):
        for verb in ("get", "head"):
            for host in ("127.0.0.1", "localhost", "2130706433", "[::1]"):
                url = self.upload(urls={(1, verb): self.listener.url(host)})
                self.refused(url, "part 2 of 3", "its host is not allowed; allowed are: 127.0.0.1:")
        self.refused(self.upload(urls={(2, "get"): f"https://127.0.0.1:{self.listener.port}/x?Signature={stub.SECRET}"}),
                     "its host is not allowed")
        self.accepted(self.upload(urls={(1, "get"): self.store.url("/b/part.1")}))

    def test_40_user_name(self):
        for verb in ("get", "head", "delete"):
            url = self.store.url("/b/part.1").replace("http://", "http://user:pw@")
            message = self.refused(self.upload(urls={(1, verb): url}), f"<{verb}-url> carries a user name")
            self.assertNotIn("pw", message)
        self.refused(self.upload(urls={(1, "get"): self.listener.url("127.0.0.1").replace("http://", "http://s3@")}),
                     "carries a user name")
        self.accepted(self.upload())

    def test_41_redirects(self):
        for status in (301, 302, 303, 307, 308):
            url = self.upload()
            self.store.answer["/b/m.xml"] = lambda handler, status=status: handler.redirect(
                status, self.listener.url("127.0.0.1"))
            self.refused(url, f"answered {status}, and redirects are not followed")
        self.store.clear()
        url = self.upload()
        self.part("/b/part.1", [lambda handler, _: handler.redirect(302, self.listener.url("127.0.0.1"))])
        self.refused(url, "answered 302, and redirects are not followed", fetched=True)
        self.store.clear()
        self.accepted(self.upload())

    def test_42_ten_bytes_fewer(self):
        url = self.upload()
        self.part("/b/part.1", [short])
        self.refused(url, "part 2 of 3", "502 bytes instead of 512", fetched=True)
        self.assertEqual(self.store.requests("/b/part.1").count("GET"), 3)
        self.store.clear()
        url = self.upload()
        self.part("/b/part.1", [short, whole])
        self.accepted(url)
        self.assertEqual(self.store.requests("/b/part.1").count("GET"), 2)

    def test_43_eight_mebibytes(self):
        comment = "<!-- " + "x" * 1015 + " -->"
        for announced in (True, False):
            url = self.upload(lambda text: text.replace("<parts", comment * 9000 + "<parts"))
            sent = [0]
            self.store.answer["/b/m.xml"] = lambda handler, a=announced, s=sent: endless(handler, a, s)
            self.refused(url, "larger than the 8388607 bytes allowed")
            self.assertEqual(self.store.requests("/b/m.xml"), ["GET"])
            self.assertLess(sent[0], (8 if announced else 32) << 20, "bytes sent")  # the kernel holds some MiB
            self.store.clear()
        self.accepted(self.upload(lambda text: text.replace("<parts", comment * 8000 + "<parts")))

    def test_44_iso_8859_1(self):
        """Refused by its declaration, whatever bytes it has; the same text in UTF-8 is read."""
        name = lambda text: text.replace("<name>test", "<name>t\u00e9st")  # noqa: E731
        self.refused(self.upload(name, encoding="ISO-8859-1"), "UTF-8")
        self.refused(self.upload(encoding="ISO-8859-1"), "it is encoded in ISO-8859-1; only UTF-8 is read")
        self.accepted(self.upload(name))

    def test_45_query_strings(self):
        """tearDownClass looks for them; here, that they were there to be found, and failures of all kinds."""
        url = self.upload()
        self.store.answer["/b/m.xml"] = lambda handler: handler.send_error(403)
        self.refused(url, "403")
        self.store.clear()
        url = self.upload()
        del self.store.objects["/b/part.2"]
        id = self.import_volume(url)
        service.wait_for(lambda: "waiting for the upload" in (self.look(id).findtext("statusMessage") or ""))
        self.said.append(self.look(id).findtext("statusMessage"))
        self.assertIn(stub.SECRET, self.look(id).findtext("importVolume/image/importManifestUrl"))
        self.cancel(id)
        for bad in ("ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://127.0.0.1:1/", "http://bad host/"):
            answer = self.call({"Action": "ImportVolume", "Version": tasks.NEW, "AvailabilityZone": "standalone",
                                "Image.Format": "RAW", "Image.Bytes": "1", "Volume.Size": "1",
                                "Image.ImportManifestUrl": bad + stub.QUERY})
            self.assert_refused(answer, 400, "InvalidParameterValue")
            self.said.append(answer.text)
        client = subprocess.run(
            [service.built("euca-tools/euca-import-volume"), "--debug", "-f", "raw", "-z", "standalone", "-s", "1",
             "--manifest-url", "http://127.0.0.1:1/m.xml" + stub.QUERY, "--no-upload", __file__],
            env={**os.environ, **self.service.env}, capture_output=True, text=True, check=False, timeout=60)
        self.assertIn("debug:", client.stderr)
        self.said += [client.stdout, client.stderr]


def endless(handler, announced, sent):
    """A document that ends only when nobody listens, or at 1 GiB."""
    handler.send_response(200)
    if announced:
        handler.send_header("Content-Length", str(1 << 30))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    piece = b"<!-- " + b"x" * 65527 + b"-->\n"
    while sent[0] < 1 << 30:
        handler.wfile.write(piece)
        sent[0] += len(piece)


class Bombs(unittest.TestCase):
    """Documents that would cost a parser dear, given to the toolkit: refused at once, in little memory."""
    @classmethod
    def setUpClass(cls):
        cls.store, cls.listener = stub.Store(), stub.Listener()
        cls.addClassCleanup(cls.store.close)
        cls.addClassCleanup(cls.listener.close)
        cls.tmp = tempfile.TemporaryDirectory(prefix="bombs.")
        cls.addClassCleanup(cls.tmp.cleanup)
        cls.canary = os.path.join(cls.tmp.name, "canary")
        with open(cls.canary, "w", encoding="ascii") as file:
            file.write("canary-of-this-test")

    def fetch(self, change):
        url = self.store.upload(IMAGE, 3, change=change)
        toolkit = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
        store = os.path.join(self.tmp.name, "out.raw")
        job = {"source": "manifest:" + url, "format": "raw", "store": store,
               "urls": {"networks": ["127.0.0.0/8"]}}
        start = time.monotonic()
        done = subprocess.run([toolkit, "run"], input=json.dumps(job), capture_output=True, text=True, check=False,
                              timeout=60)
        self.assertLess(time.monotonic() - start, 10)
        self.listener.untouched(self)
        self.assertNotIn("canary-of-this-test", done.stdout + done.stderr)
        self.assertNotIn(stub.SECRET, done.stdout + done.stderr)
        if not SANITIZED:
            self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, 256 << 10)
        if os.path.exists(store):
            os.unlink(store)
        return done.returncode, done.stderr

    def test_bombs(self):
        lol = '<!DOCTYPE m [<!ENTITY l0 "lol">' + "".join(
            f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(10)) + "]>"
        quadratic = f'<!DOCTYPE m [<!ENTITY a "{"x" * 50000}">]>'
        here = f"http://127.0.0.1:{self.listener.port}/evil.dtd"
        types = (lol, quadratic, "<!DOCTYPE m [<!ENTITY never 'used'>]>", f'<!DOCTYPE m SYSTEM "{here}">',
                 f'<!DOCTYPE m PUBLIC "x" "{here}">', f'<!DOCTYPE m [<!ENTITY x SYSTEM "file://{self.canary}">]>',
                 f'<!DOCTYPE m [<!ENTITY % p SYSTEM "{here}"> %p;]>')
        def behind_head(what):
            return lambda text: text.replace("?>", "?>" + what, 1)
        def wide(text):
            return text.replace("<version>", "<a" + "".join(f' a{n}=""' for n in range(100000)) + "/><version>", 1)
        changes = [(behind_head(one), "DOCTYPE") for one in types]
        changes += [(lambda text, c=change: c(text).replace("UTF-8", "UTF-16", 1).encode("utf-16"), "UTF-8")
                    for change, _ in changes[:2]]
        changes += [(lambda text: text.replace("<size>", "<size>&l9;", 1), "XML"), (wide, "longer than"),
                    (lambda text: text.replace("<version>", "<a>" * 100000 + "<version>", 1), "deep"),
                    (lambda text: text.replace("<key>", "<key>" + "k" * 1025, 1), "at most 1024"),
                    (lambda text: text.replace("<parts", "<parts x='1' count='3' ", 1), "XML")]
        for change, words in changes:
            with self.subTest(words):
                self.store.clear()
                status, said = self.fetch(change)
                self.assertEqual(status, 4, said)
                self.assertIn(words, said)
                self.assertEqual([path for _, path, _ in self.store.seen], ["/b/m.xml"])

    def test_without_an_end(self):
        """Row 43: in little memory, whoever fetches it."""
        for announced in (True, False):
            self.store.clear()
            self.store.answer["/b/m.xml"] = lambda handler, a=announced: endless(handler, a, [0])
            status, said = self.fetch(lambda text: text)
            self.assertEqual(status, 4, said)
            self.assertIn("larger than", said)
        self.store.answer.clear()

    def test_neighbours(self):
        include = f'<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="file://{self.canary}" parse="text"/>'
        for change in (lambda text: text, lambda text: text.replace("<version>", include + "<version>", 1),
                       lambda text: text.replace("<version>", "<a b='&lt;!DOCTYPE'/><version>", 1)):
            self.store.clear()
            status, said = self.fetch(change)
            self.assertEqual(status, 0, said)


class ToldNothing(Imports):
    """A service without any setting: its own store and public addresses."""
    @classmethod
    def configuration(cls):
        return "manifest-networks = {}\n"

    def call_import(self, url):
        return self.call({"Action": "ImportVolume", "Version": tasks.NEW, "AvailabilityZone": "standalone",
                          "Image.Format": "RAW", "Image.Bytes": str(len(IMAGE)), "Volume.Size": "1",
                          "Image.ImportManifestUrl": url})

    def test_addresses_are_refused_at_once(self):
        before = len(self.tasks())
        for host in ("127.0.0.1", "2130706433", "[::1]", "169.254.169.254", "10.0.0.1", "[fd00:ec2::254]", "0.0.0.0",
                     "[::ffff:7f00:1]", "100.100.100.200", "192.168.1.1", "172.31.0.1"):
            answer = self.call_import(self.listener.url(host))
            self.assert_refused(answer, 400, "InvalidParameterValue", "manifest-networks")
            self.said.append(answer.text)
        self.assertEqual(len(self.tasks()), before)
        self.listener.untouched(self)

    def test_names_tell_nothing(self):
        """Whether somebody listens behind a name of this machine, what its address is: one sentence."""
        said = {self.refused(f"http://localhost:{port}/m.xml{stub.QUERY}")
                for port in (self.listener.port, self.store.port, 1)}
        self.assertEqual(said, {"ClientError: The upload cannot be read: its manifest or a part is at an address "
                                "that this service does not connect to"})
        self.assertRegex(self.service.log_text(), "localhost:1/m.xml: the host leads to (127.0.0.1|::1), a loopback "
                         "address, which the setting manifest-networks does not list")

    def put(self, path, data):
        """Into the service's own store, by a presigned URL as a client would."""
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials
        base = self.service.env["S3_URL"].rstrip("/")
        keys = botocore.credentials.Credentials(self.key, self.secret)
        def presigned(method, path):
            request = botocore.awsrequest.AWSRequest(method, base + path)
            botocore.auth.HmacV1QueryAuth(keys, 3600).add_auth(request)
            return request.url
        if data is not None:
            url = presigned("PUT", path)
            connection = http.client.HTTPConnection(self.host)
            connection.request("PUT", url.split(self.host, 1)[1], data)
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()
        return presigned

    def test_the_own_store_is_allowed(self):
        """And its parts may not lead elsewhere."""
        presigned = self.put("/bucket", b"")
        for i in range(3):
            self.put(f"/bucket/part.{i}", IMAGE[i * 512:(i + 1) * 512])
        def manifest(urls):
            links = {(i, verb): presigned(verb.upper(), f"/bucket/part.{i}")
                     for i in range(3) for verb in ("head", "get", "delete")}
            self.upload(urls={**links, **urls})
            self.put("/bucket/m.xml", self.store.objects["/b/m.xml"])
            return presigned("GET", "/bucket/m.xml")
        id = self.import_volume(manifest({}))
        self.wait(id, "completed")
        for host in ("127.0.0.1", "10.0.0.1", "[::1]"):
            self.refused(manifest({(1, "get"): self.listener.url(host)}), "part 2 of 3", "manifest-networks")
        self.refused(manifest({(1, "get"): self.store.url("/b/part.1", "localhost")}), "does not connect to")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
