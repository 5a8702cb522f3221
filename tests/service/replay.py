"""Row 48 of the hostile inputs: a signed ImportVolume that is sent again makes no second task; SDKs that ask for
several volumes alike within one second get them all."""
import os
import re
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402

REPEAT_S = 5.1  # a little more than TASK_REPEAT_MS (imaging-service/task/task.h)
FORM = {"content-type": "application/x-www-form-urlencoded"}
BODY = urllib.parse.urlencode({
    "Action": "ImportVolume", "Version": "2016-11-15", "AvailabilityZone": "standalone",
    "Image.Format": "RAW", "Image.Bytes": "1", "Volume.Size": "1",
    "Image.ImportManifestUrl": "http://127.0.0.1:1/never/manifest.xml"}).encode()


class Replay(unittest.TestCase):
    def setUp(self):
        self.service = service.Service()
        self.addCleanup(self.service.stop)
        env = self.service.env
        self.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        self.keys = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    def record(self):
        headers = sign.v4(*self.keys, "POST", self.host, "/", "", BODY, FORM)
        del headers["amz-sdk-invocation-id"]
        return headers

    def send(self, headers, invocation=None):
        more = {"amz-sdk-invocation-id": invocation} if invocation else {}
        answer = sign.send(self.host, "POST", "/", {**headers, **more}, BODY)
        self.assertEqual(answer.status, 200, answer.body)
        return re.search(rb"import-vol-\w+", answer.body)[0]

    def test_one_task(self):
        recorded = self.record()
        made = self.send(recorded)
        self.assertEqual(self.send(recorded), made)
        service.wait_for(lambda: self.record() != recorded)  # a second later
        self.assertNotEqual(self.send(self.record()), made)
        self.assertEqual(self.send(recorded), made)

    def test_calls_of_one_second(self):
        """An SDK signs them alike and gives each a name, which is not signed and proves nothing later."""
        recorded = self.record()
        begun = time.monotonic()
        first, second = self.send(recorded, "1"), self.send(recorded, "2")
        made = time.monotonic()
        if made - begun < REPEAT_S - 1:  # not on a machine that is very busy
            self.assertNotEqual(first, second)
        self.assertEqual((self.send(recorded, "1"), self.send(recorded, "2")), (first, second))
        service.wait_for(lambda: time.monotonic() > made + REPEAT_S)
        self.assertEqual(self.send(recorded, "yet another"), first)
        self.assertEqual(self.send(recorded, "2"), second)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
