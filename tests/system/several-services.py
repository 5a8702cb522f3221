#!/usr/bin/python3
"""Two services on one PostgreSQL database and one volume pool: whichever is asked answers for both, and
either does the work."""
import glob
import os
import re
import signal
import subprocess
import sys
import time
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import postgres  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402
from api import DESCRIBE, FORM, IMPORT  # noqa: E402
from upload import Upload  # noqa: E402

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
TOOLS = os.environ.get("EUCA_TOOLS_DIR") or os.path.dirname(
    service.built("euca-tools/euca-import-volume"))
NEW = "2016-11-15"
GIB = 1 << 30

# "within two seconds", and what a machine under load may add
AWAY_S = 2 + 8


class Base(unittest.TestCase):
    """One server for all tests; each has a database of its own."""

    @classmethod
    def setUpClass(cls):
        cls.postgres = postgres.Postgres()
        cls.addClassCleanup(cls.postgres.close)

    def several(self, n=2, **more):
        several = cluster.Cluster(n, self.postgres.create_database(), **more)
        self.addCleanup(several.close)
        return several

    @staticmethod
    def send(one, account, parameters):
        """To the service, signed with keys as Service.account gives them."""
        host = urllib.parse.urlsplit(one.env["EC2_URL"]).netloc
        body = urllib.parse.urlencode(parameters).encode()
        return sign.send(host, "POST", "/", sign.v4(account["access_key"], account["secret_key"], "POST",
                                                    host, "/", "", body, FORM), body)

    def good(self, one, account, parameters):
        answer = self.send(one, account, parameters)
        self.assertEqual(answer.status, 200, answer.text)
        return xml.fromstring(re.sub(r' xmlns="[^"]*"', "", answer.text))

    def assert_refused(self, answer, status, code):
        self.assertEqual(answer.status, status, answer.text)
        self.assertIn(f"<Code>{code}</Code>", answer.text)

    def task(self, one, account, id):
        return self.good(one, account, {**DESCRIBE, "ConversionTaskId.1": id}).find(
            "conversionTasks/item")

    def wait(self, one, account, id, state):
        def there():
            task = self.task(one, account, id)
            if task.findtext("state") in ("completed", "cancelled"):
                self.assertEqual(task.findtext("state"), state, xml.tostring(task))
            return task if task.findtext("state") == state else None
        return service.wait_for(there)


class Tasks(Base):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.raw = os.path.join(cls.postgres.dir, "disk.raw")
        subprocess.run([os.path.join(LIB, "make-disk"), "mbr-ext4", cls.raw, "16"], check=True,
                       stderr=subprocess.DEVNULL)

    def setUp(self):
        self.several_ = self.several()
        self.one, self.other = self.several_.services
        self.account = self.several_.account

    def import_from(self, one, url, size):
        tree = self.good(one, self.account, {
            "Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
            "Image.Format": "RAW", "Image.Bytes": str(size), "Image.ImportManifestUrl": url,
            "Volume.Size": "1"})
        return tree.findtext("conversionTask/conversionTaskId")

    def upload(self, **more):
        upload = Upload("RAW", self.raw, 1, **more)
        self.addCleanup(upload.stop)
        return upload

    @staticmethod
    def works(one):
        """True when a toolkit runs for it."""
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(stat, encoding="utf-8", errors="replace") as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == one.pid:
                        return True
            except (FileNotFoundError, ProcessLookupError):
                pass
        return False

    def assert_volume(self, task):
        id = task.findtext("importVolume/volume/id")
        path = os.path.join(self.several_.volumes, id + ".raw")
        self.assertEqual(os.path.getsize(path), GIB)
        subprocess.run(["cmp", "-n", str(os.path.getsize(self.raw)), self.raw, path], check=True)

    def assert_nothing_left(self, volumes):
        self.assertEqual([name for name in os.listdir(self.several_.volumes) if ".part" in name], [])
        self.assertEqual(len([name for name in os.listdir(self.several_.volumes)
                              if name.endswith(".raw")]), volumes)
        for one in (self.one, self.other):
            self.assertEqual(os.listdir(one.scratch), ["lock"])

    def test_asked_at_one_seen_at_the_other(self):
        upload = self.upload()
        upload.open()
        ids = [self.import_from(one, upload.url, len(upload.data))
               for one in (self.one, self.other) * 2]
        for id in ids:
            self.assert_volume(self.wait(self.one, self.account, id, "completed"))
        for one in (self.one, self.other):
            listed = self.good(one, self.account, DESCRIBE).findall("conversionTasks/item")
            self.assertEqual([task.findtext("conversionTaskId") for task in listed], ids)
        self.assert_nothing_left(len(ids))

    def test_the_other_goes_on_when_one_stops(self):
        upload = self.upload(closed=3)
        id = self.import_from(self.one, upload.url, len(upload.data))
        self.assertTrue(upload.waiting.wait(service.DEADLINE_S))
        first, second = (self.one, self.other)[::1 if self.works(self.one) else -1]
        self.assertTrue(self.works(first))
        self.assertEqual(first.terminate(), 0)
        upload.open()
        self.assert_volume(self.wait(second, self.account, id, "completed"))
        first.start()
        self.assert_volume(self.wait(first, self.account, id, "completed"))
        self.assert_nothing_left(1)

    def test_cancelled_at_the_one_that_does_not_work_on_it(self):
        upload = self.upload(closed=3)
        id = self.import_from(self.one, upload.url, len(upload.data))
        self.assertTrue(upload.waiting.wait(service.DEADLINE_S))
        for one in (self.one, self.other):
            self.good(one, self.account, {"Action": "CancelConversionTask", "Version": NEW,
                                          "ConversionTaskId": id})
        for one in (self.one, self.other):
            self.wait(one, self.account, id, "cancelled")
        service.wait_for(lambda: [os.listdir(one.scratch) for one in (self.one, self.other)]
                         == [["lock"]] * 2)
        self.assert_nothing_left(0)

    def test_the_client_token_holds_at_both(self):
        wish = {**IMPORT, "Version": NEW, "ClientToken": "once"}
        ids = {self.good(one, self.account, wish).findtext("conversionTask/conversionTaskId")
               for one in (self.one, self.other)}
        self.assertEqual(len(ids), 1)
        self.assert_refused(self.send(self.other, self.account, {**wish, "Volume.Size": "2"}), 400,
                            "IdempotentParameterMismatch")

    def test_an_upload_in_another_object_store(self):
        """As it is meant: the upload is in an S3 of its own, with other keys."""
        with service.Service() as store:
            done = subprocess.run(
                [os.path.join(TOOLS, "euca-import-volume"), "-f", "raw", "-z", "standalone", "-b",
                 "images", "-s", "1", "-U", self.one.env["EC2_URL"], "-I", self.account["access_key"],
                 "-S", self.account["secret_key"], "--s3-url", store.env["S3_URL"],
                 "-o", store.env["AWS_ACCESS_KEY_ID"], "-w", store.env["AWS_SECRET_ACCESS_KEY"],
                 self.raw], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                timeout=service.DEADLINE_S)
            self.assertEqual(done.returncode, 0, done.stderr)
            id = re.search("import-vol-[0-9a-z]+", done.stdout).group()
            self.assert_volume(self.wait(self.other, self.account, id, "completed"))


class Accounts(Base):
    def test_a_change_holds_at_both_from_the_next_request_on(self):
        several = self.several()
        added = several.services[0].account("add", "--name", "a", "--allow", "DescribeConversionTasks")
        for one in several.services:
            self.good(one, added, DESCRIBE)
            self.assert_refused(self.send(one, added, {**IMPORT, "DryRun": "true"}), 403,
                                "UnauthorizedOperation")
        for which in (added["access_key"], "a", added["account"]):
            several.services[1].account("disable", which)
            for one in several.services:
                self.assert_refused(self.send(one, added, DESCRIBE), 401, "AuthFailure")
            several.services[0].account("enable", which)
            for one in several.services:
                self.good(one, added, DESCRIBE)
        rotated = several.services[0].account("rotate", "a")
        self.assertEqual(rotated["other_enabled_keys"], [added["access_key"]])
        self.good(several.services[1], rotated, DESCRIBE)
        self.assertEqual([row["name"] for row in several.services[0].account("list")],
                         ["cluster", "a"])

    def test_the_database_is_away(self):
        several = self.several()
        nobody = {**several.account, "secret_key": "x" * 40}
        for stop, start in ((lambda: self.postgres.stop("immediate"), self.postgres.start),
                            (self.postgres.pause, self.postgres.go_on)):
            for one in several.services:
                self.good(one, several.account, DESCRIBE)
            stop()
            try:
                for one in several.services:
                    for account in (several.account, nobody):
                        began = time.monotonic()
                        self.assert_refused(self.send(one, account, DESCRIBE), 503, "ServiceUnavailable")
                        self.assertLess(time.monotonic() - began, AWAY_S)
                listed = several.services[0].run_account("list")
                self.assertEqual((listed.returncode, listed.stdout), (1, ""))
                self.assertNotIn(self.postgres.password, listed.stderr)
            finally:
                start()
            for one in several.services:
                service.wait_for(lambda: self.send(one, several.account, DESCRIBE).status == 200)
                self.assert_refused(self.send(one, nobody, DESCRIBE), 403, "SignatureDoesNotMatch")
                self.assertNotIn(self.postgres.password, one.log_text())


class Start(Base):
    def refused(self, one):
        done = subprocess.run(one.command(*one.options), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=service.DEADLINE_S)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertNotIn(self.postgres.password, done.stderr)
        return done.stderr.splitlines()[-1]

    def test_what_it_says_and_keeps(self):
        several = self.several(1, config='instance-name = "the-one"\n')
        one = several.services[0]
        self.assertEqual(list(one.env), ["EC2_URL", "EC2_AVAILABILITY_ZONE"])
        self.assertIn("instance the-one\n", one.printed)
        self.assertIn(f"\ndatabase postgresql://imaging@127.0.0.1:{self.postgres.port}/", one.printed)
        self.assertNotIn(self.postgres.password, one.printed + one.log_text())
        self.assertEqual(os.listdir(one.scratch), ["lock"])
        self.assertFalse(os.path.exists(one.dir))
        host = urllib.parse.urlsplit(one.env["EC2_URL"]).netloc
        for method, path in (("GET", "/objects/"), ("PUT", "/objects/bucket"),
                             ("GET", "/objects/bucket/key")):
            answer = sign.send(host, method, path, {"host": host})
            self.assertEqual(answer.status, 501, answer.text)
            self.assertEqual(xml.fromstring(answer.body).findtext("Code"), "NotImplemented")
            self.assertIn("no object store of its own", answer.text)

    def test_what_is_not_as_it_must_be(self):
        several = self.several(1)
        one = several.services[0]
        self.assertRegex(one.printed, r", instance [\w.-]+:" + re.escape(several.url(0)) + "\n")
        self.assertIn(f"another imaging-service is at work in '{one.scratch}'", self.refused(one))
        self.assertEqual(one.terminate(), 0)
        for path in (several.volumes, several.state):
            os.rename(path, path + ".away")
            self.assertIn(f"the directory '{path}' is not there", self.refused(one))
            os.rename(path + ".away", path)
        os.rename(several.master_key, several.master_key + ".away")
        self.assertIn("give the same to all services", self.refused(one))
        with open(several.master_key, "wb") as file:
            file.write(os.urandom(32))
        os.chmod(several.master_key, 0o400)
        self.assertIn("is not the one", self.refused(one))
        os.rename(several.master_key + ".away", several.master_key)
        self.postgres.stop()
        try:
            self.refused(one)
        finally:
            self.postgres.start()
        several.start(0)
        self.good(one, several.account, DESCRIBE)

    def test_many_at_once_on_an_empty_database(self):
        several = self.several(3, start=False)
        processes = [subprocess.Popen(one.command(*one.options), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                     for one in several.services]
        for process in processes:
            while True:
                line = process.stdout.readline()
                self.assertTrue(line, process.poll())
                if line == "ready\n":
                    break
        for process in processes:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=service.DEADLINE_S)
            self.assertEqual(process.returncode, 0, errors)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
