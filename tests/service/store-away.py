"""A store that does not answer is no fault of the tasks that wait for it: they say so, use up no attempts,
and go on when it is back; a part that cannot be had is their own affair."""
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

ATTEMPTS = 8  # that a task has


class StoreAway(tasks.Tasks):
    @classmethod
    def setUpClass(cls):
        cls.service = service.Service("--status-listen", "127.0.0.1:0")
        cls.addClassCleanup(cls.service.stop)
        env = cls.service.env
        cls.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        cls.key, cls.secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    def setUp(self):
        self.bench = faults.Bench()
        self.addCleanup(self.bench.__exit__)

    def start(self, url):
        return self.good({
            "Action": "ImportVolume", "Version": tasks.NEW, "AvailabilityZone": "standalone",
            "Image.Format": "RAW", "Image.Bytes": str(len(self.bench.bytes)), "Volume.Size": "1",
            "Image.ImportManifestUrl": url}).findtext("conversionTaskId")

    def waits(self):
        """Stages that were given back because their store is away, as /metrics has it."""
        port = re.search(r"^Its status is at \S+ port (\d+):", self.service.printed, re.M)[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return int(re.search(r'^imaging_stage_retries_total{cause="StoreAway"} (\d+)$', answer.read().decode(),
                                 re.M)[1])

    def logged(self, words):
        service.wait_for(lambda: re.search(words, self.service.log_text()))

    def test_attempts_are_not_used_up(self):
        in_vain = ATTEMPTS + 1
        before = self.waits()
        id = self.start(self.bench.upload({"manifest": f"GET:503*{2 * in_vain}"}))
        service.wait_for(lambda: "waiting for the store: " in (self.look(id).findtext("statusMessage") or ""))
        self.wait(id, "completed")
        self.assertEqual(self.bench.requests("GET", "manifest.xml"), 2 * in_vain + 1)
        self.assertEqual(self.waits(), before + in_vain)
        store = f"the store http://127.0.0.1:{self.bench.port}"
        self.assertEqual(self.service.log_text().count(store + " does not answer"), 1)
        self.logged(store + " answers again")
        self.assertNotIn("secret", self.service.log_text())

    def test_one_at_a_time_asks(self):
        url = self.bench.upload({"manifest": "GET:503"})
        ids = [self.start(url) for _ in range(4)]
        service.wait_for(lambda: [task for task in self.tasks() if (task.findtext("statusMessage") or "")
                                  .endswith("waiting for the store: it does not answer")])
        for id in ids:
            self.assertEqual(self.look(id).findtext("state"), "active")
            self.cancel(id)

    def test_another_store_is_asked_meanwhile(self):
        away = self.start("http://127.0.0.1:9/manifest.xml?Signature=secret")
        self.logged("the store http://127.0.0.1:9 does not answer")
        self.wait(self.start(self.bench.upload({})), "completed")
        self.assertEqual(self.look(away).findtext("state"), "active")
        self.cancel(away)

    def test_a_part_that_cannot_be_had_is_an_attempt(self):
        id = self.start(self.bench.upload({1: "GET:503*8"}))
        self.wait(id, "completed")
        self.assertRegex(self.service.log_text(), f"{id}: attempt 1 of {ATTEMPTS} failed and is repeated: part 2")


if __name__ == "__main__":
    unittest.main()
