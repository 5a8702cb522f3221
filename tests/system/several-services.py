#!/usr/bin/python3
"""Two services on one PostgreSQL database and one volume pool: whichever is asked answers for both, and
either does the work."""
import glob
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import euca  # noqa: E402
import service  # noqa: E402
from api import DESCRIBE, IMPORT  # noqa: E402
from several import Several  # noqa: E402
from upload import Upload  # noqa: E402

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
NEW = "2016-11-15"
GIB = 1 << 30


class Tasks(Several):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.raw = os.path.join(cls.postgres.dir, "disk.raw")
        subprocess.run([os.path.join(LIB, "make-disk"), "mbr-ext4", cls.raw, "16"], check=True,
                       stderr=subprocess.DEVNULL)

    def setUp(self):
        self.both = self.several()
        self.one, self.other = self.both.services
        self.account = self.both.account

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
        path = os.path.join(self.both.volumes, id + ".raw")
        self.assertEqual(os.path.getsize(path), GIB)
        subprocess.run(["cmp", "-n", str(os.path.getsize(self.raw)), self.raw, path], check=True)

    def assert_nothing_left(self, volumes):
        self.assertEqual([name for name in os.listdir(self.both.volumes) if ".part" in name], [])
        self.assertEqual(len([name for name in os.listdir(self.both.volumes)
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
        # each works in the scratch-directory of its own
        self.assertRegex(" ".join(sorted(os.listdir(first.scratch))), rf"^{id}\.1\.1 lock$")
        self.assertEqual(os.listdir(second.scratch), ["lock"])
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

    def test_one_name_for_two(self):
        """A copied configuration: who starts with the name of one that lives leaves its work alone."""
        both = self.several(start=False, config='instance-name = "same"\n')
        both.start(0)
        one, other = both.services
        upload = self.upload(closed=3)
        tree = self.good(one, both.account, {
            "Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
            "Image.Format": "RAW", "Image.Bytes": str(len(upload.data)),
            "Image.ImportManifestUrl": upload.url, "Volume.Size": "1"})
        id = tree.findtext("conversionTask/conversionTaskId")
        self.assertTrue(upload.waiting.wait(service.DEADLINE_S))
        both.start(1)
        self.assertIn("another service named 'same'", other.log_text())
        upload.open()
        self.wait(one, both.account, id, "completed")
        self.assertNotIn("death", one.log_text() + other.log_text())
        self.assertEqual(one.log_text().count(f"{id}: claim "), 1)
        self.assertNotIn(f"{id}: claim ", other.log_text())

    def test_an_upgrade_while_one_runs(self):
        """What a newer version's migration adds (R15): the older goes on beside it, also when it is
        started again; a schema that breaks it refuses it."""
        database = re.search(r'^database = ".*/([^/?"]+)"', self.one_config(), re.M)[1]
        number = int(self.postgres.query(
            "SELECT max(version) FROM schema_version WHERE name = 'tasks'", database))
        self.postgres.query(
            "BEGIN; ALTER TABLE task ADD COLUMN colour TEXT; "
            "ALTER TABLE stage ADD COLUMN shape BIGINT NOT NULL DEFAULT 1; CREATE TABLE newer (id BIGINT); "
            f"INSERT INTO schema_version VALUES ('tasks', {number + 1}, 0); COMMIT", database)
        self.both.stop(1)
        self.both.start(1)
        upload = self.upload()
        upload.open()
        ids = [self.import_from(one, upload.url, len(upload.data))
               for one in (self.one, self.other) * 2]
        for id in ids:
            self.assert_volume(self.wait(self.one, self.account, id, "completed"))
        self.postgres.query("UPDATE schema_oldest SET version = " + str(number + 1) +
                            " WHERE name = 'tasks'", database)
        self.both.stop(1)
        with self.assertRaises(RuntimeError) as refused:
            self.both.start(1)
        self.assertIn("newer", str(refused.exception))
        self.assertEqual(self.task(self.one, self.account, ids[0]).findtext("state"), "completed")

    def one_config(self):
        with open(self.one.options[self.one.options.index("--config") + 1], encoding="utf-8") as file:
            return file.read()

    def test_an_upload_in_another_object_store(self):
        """As it is meant: the upload is in an S3 of its own, with other keys."""
        with service.Service() as store:
            status, out, err = euca.run(
                {}, "import-volume", "-f", "raw", "-z", "standalone", "-b", "images", "-s", "1",
                "-U", self.one.env["EC2_URL"], "-I", self.account["access_key"], "-S", self.account["secret_key"],
                "--s3-url", store.env["S3_URL"], "-o", store.env["AWS_ACCESS_KEY_ID"],
                "-w", store.env["AWS_SECRET_ACCESS_KEY"], self.raw)
            self.assertEqual(status, 0, err)
            id = re.search("import-vol-[0-9a-z]+", out).group()
            self.assert_volume(self.wait(self.other, self.account, id, "completed"))


if __name__ == "__main__":
    unittest.main(warnings="ignore")
