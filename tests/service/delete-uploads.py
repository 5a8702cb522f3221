"""Uploads are deleted once they are volumes, when that is configured, and whatever becomes of it no task
fails for it."""
import os
import re
import sys
import unittest
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
os.environ["IMAGING_HASTE"] = "1000"
import faults  # noqa: E402
import service  # noqa: E402
import tasks  # noqa: E402


class DeleteUploads(tasks.Tasks):
    CONFIG = "delete-uploads = true\n"

    @classmethod
    def setUpClass(cls):
        cls.service = service.Service("--status-listen", "127.0.0.1:0", config=cls.CONFIG)
        cls.addClassCleanup(cls.service.stop)
        env = cls.service.env
        cls.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        cls.key, cls.secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    def setUp(self):
        self.bench = faults.Bench()
        self.addCleanup(self.bench.__exit__)

    def start(self, scripts):
        """ImportVolume of an upload; its task's id."""
        return self.good({
            "Action": "ImportVolume", "Version": tasks.NEW, "AvailabilityZone": "standalone",
            "Image.Format": "RAW", "Image.Bytes": str(len(self.bench.bytes)), "Volume.Size": "1",
            "Image.ImportManifestUrl": self.bench.upload(scripts)}).findtext("conversionTaskId")

    def complete(self, scripts):
        """Its task and volume."""
        id = self.start(scripts)
        task = self.wait(id, "completed")
        self.assertIsNone(task.findtext("statusMessage"))
        volume = task.findtext("importVolume/volume/id")
        with open(os.path.join(self.service.dir, "volumes", volume + ".raw"), "rb") as file:
            self.assertEqual(file.read(len(self.bench.bytes)), self.bench.bytes)
        return id

    def left(self):
        return sorted(set(os.listdir(self.bench.files)) - {"log"})

    def failures(self):
        """Of attempts to delete, as /metrics has them."""
        port = re.search(r"^Its status is at \S+ port (\d+):", self.service.printed, re.M)[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return int(re.search(r"^imaging_upload_delete_failures_total (\d+)$", answer.read().decode(), re.M)[1])

    def logged(self, words):
        service.wait_for(lambda: re.search(words, self.service.log_text()))
        self.assertNotIn("secret", self.service.log_text())


class On(DeleteUploads):
    def test_gone(self):
        id = self.complete({})
        service.wait_for(lambda: not self.left())
        self.logged(f"{id}: the upload of disk 1 is deleted")

    def test_what_does_not_heal_is_given_up(self):
        before = self.failures()
        id = self.complete({2: "DELETE:403"})
        self.logged(f"{id}: the upload of disk 1 is not deleted, for good: .*403")
        self.assertEqual(self.failures(), before + 1)
        self.assertEqual(self.left(), ["manifest.xml", "part2", "part3"])
        self.assertEqual(self.look(id).findtext("state"), "completed")

    def test_what_may_heal_is_tried_again(self):
        id = self.complete({2: "DELETE:503"})
        self.logged(f"{id}: the upload of disk 1 is not deleted, attempt 1 of 30: .*503; it is tried again")
        self.assertGreaterEqual(self.bench.requests("DELETE", "part2"), 8)
        self.assertEqual(self.left(), ["manifest.xml", "part2", "part3"])
        self.assertEqual(self.look(id).findtext("state"), "completed")

    def test_what_has_healed_is_gone(self):
        id = self.complete({2: "DELETE:503*8"})
        self.logged(f"{id}: the upload of disk 1 is deleted")
        self.assertIn(f"{id}: the upload of disk 1 is not deleted, attempt 1 of 30", self.service.log_text())
        self.assertEqual(self.left(), [])

    def test_a_store_without_an_answer_holds_nobody_else_up(self):
        id = self.complete({2: "DELETE:silent"})
        self.logged(f"{id}: the upload of disk 1 is not deleted, attempt 1 of 30: the store takes longer than 7200 s")
        self.bench = faults.Bench()
        self.addCleanup(self.bench.__exit__)
        id = self.complete({})
        self.logged(f"{id}: the upload of disk 1 is deleted")

    def test_the_object_of_somebody_else(self):
        self.bench.cells += 1
        url = self.bench.upload({})
        path = os.path.join(self.bench.files, "manifest.xml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.bench.put("manifest.xml", re.sub("(<delete-url>[^?]*)part1", r"\1part3", text).encode())
        self.bench.upload = lambda scripts: url
        id = self.complete({})
        self.logged(f"{id}: the upload of disk 1 is not deleted, for good: .*names another object")
        self.assertEqual(len(self.left()), 5)

    def test_what_is_no_volume_stays(self):
        bench = self.bench
        self.wait(self.start({1: "GET:403"}), "cancelled")
        self.bench = faults.Bench()
        self.addCleanup(self.bench.__exit__)
        id = self.complete({})  # what was due before it has had its turn when this is gone
        self.logged(f"{id}: the upload of disk 1 is deleted")
        self.bench = bench
        self.assertEqual(len(self.left()), 5)
        self.assertEqual(bench.requests("DELETE", ""), 0)


    def test_a_task_that_fails_keeps_the_uploads_of_all_its_disks(self):
        first, second = self.bench, faults.Bench()
        self.addCleanup(second.__exit__)
        path = os.path.join(first.dir, "disk")
        with open(path, "wb") as file:
            file.write(bytes(512) + first.bytes[512:])
        tasks.make_bootable(path)
        with open(path, "rb") as file:
            first.bytes = file.read()
        disks = {}
        # while the second is waited for the first becomes a volume
        for n, url in ((1, first.upload({})), (2, second.upload({"manifest": "GET:404*3", 1: "GET:403"}))):
            disks.update({f"DiskImage.{n}.Image.Format": "RAW",
                          f"DiskImage.{n}.Image.Bytes": str(len(first.bytes)), f"DiskImage.{n}.Volume.Size": "1",
                          f"DiskImage.{n}.Image.ImportManifestUrl": url})
        id = self.good({"Action": "ImportInstance", "Version": tasks.NEW, "Platform": "Linux",
                        **disks}).findtext("conversionTaskId")
        self.assertIn("403", self.wait(id, "cancelled").findtext("statusMessage"))
        self.assertRegex(self.service.log_text(), f"{id} disk 1: completed")
        self.bench = faults.Bench()
        self.addCleanup(self.bench.__exit__)
        self.logged(self.complete({}) + ": the upload of disk 1 is deleted")
        self.assertEqual(first.requests("DELETE", ""), 0)
        self.assertEqual(second.requests("DELETE", ""), 0)


class Off(DeleteUploads):
    CONFIG = ""

    def test_nothing_is_deleted(self):
        self.complete({})
        self.service.terminate()
        self.service.start()
        type(self).host = urllib.parse.urlsplit(self.service.env["EC2_URL"]).netloc
        self.assertEqual(len(self.left()), 5)
        self.assertEqual(self.bench.requests("DELETE", ""), 0)


del DeleteUploads

if __name__ == "__main__":
    unittest.main()
