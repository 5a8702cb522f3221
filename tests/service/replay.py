"""A signed ImportVolume that somebody recorded and sends again makes no second task; programs that ask
for several volumes alike within one second get them all."""
import os
import re
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402

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
        return sign.v4(*self.keys, "POST", self.host, "/", "", BODY, FORM)

    def send(self, headers):
        answer = sign.send(self.host, "POST", "/", headers, BODY)
        self.assertEqual(answer.status, 200, answer.body)
        return re.search(rb"import-vol-\w+", answer.body)[0]

    def test_one_task(self):
        recorded = self.record()
        made = [self.send(recorded)]
        # what is sent at once is one client's, who signs several requests of a second alike
        made.append(self.send(recorded))
        self.assertNotEqual(made[0], made[1])
        end = time.monotonic() + 60
        while made[-1] != made[0]:
            self.assertLess(time.monotonic(), end)
            self.assertEqual(len(set(made)), len(made))
            time.sleep(0.5)
            made.append(self.send(recorded))
        self.assertEqual(self.send(recorded), made[0])
        self.assertNotIn(self.send(self.record()), made)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
