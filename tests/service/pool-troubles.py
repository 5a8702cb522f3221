#!/usr/bin/python3
"""The volume pool on a file system that fills up, and that goes away: tasks wait for somebody to mend it,
and nothing is written where it was."""
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import DESCRIBE, FORM  # noqa: E402
from upload import Upload  # noqa: E402

MIB = 1 << 20


def mount(place, mib):
    """True when a file system of that size is mounted there."""
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", place],
                          check=False, stderr=subprocess.DEVNULL).returncode == 0


class Pool(unittest.TestCase):
    def setUp(self):
        self.service = service.Service(start=False)
        self.addCleanup(self.service.stop)
        os.makedirs(os.path.join(self.service.dir, "volumes"), 0o700)
        self.pool = os.path.join(self.service.dir, "volumes")
        self.assertTrue(mount(self.pool, 16))
        self.addCleanup(subprocess.run, ["umount", "-l", self.pool], check=False,
                        stderr=subprocess.DEVNULL)
        self.service.start()
        self.upload = Upload("RAW", self.service.write("disk.raw", "x" * (8 * MIB)), 1)
        self.addCleanup(self.upload.stop)
        self.upload.open()

    def ask(self, parameters):
        env = self.service.env
        host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        body = urllib.parse.urlencode(parameters).encode()
        answer = sign.send(host, "POST", "/", sign.v4(
            env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], "POST", host, "/", "", body, FORM), body)
        return answer.status, xml.fromstring(re.sub(r' xmlns="[^"]*"', "", answer.text))

    def start(self):
        return self.ask({
            "Action": "ImportVolume", "Version": "2016-11-15", "AvailabilityZone": "standalone",
            "Image.Format": "RAW", "Image.Bytes": str(8 * MIB),
            "Image.ImportManifestUrl": self.upload.url, "Volume.Size": "1"})

    def task(self, id):
        task = self.ask({**DESCRIBE, "ConversionTaskId.1": id})[1].find("conversionTasks/item")
        return task.findtext("state"), task.findtext("statusMessage") or ""

    def test_full(self):
        filler = os.path.join(self.pool, "filler")
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            file.write(b"f" * (12 * MIB))
        id = self.start()[1].findtext("conversionTask/conversionTaskId")
        service.wait_for(lambda: "is repeated" in self.task(id)[1])
        self.assertIn("no space", self.task(id)[1])
        self.assertEqual(self.task(id)[0], "active")
        os.unlink(filler)
        service.wait_for(lambda: self.task(id)[0] == "completed")

    def test_gone(self):
        id = self.start()[1].findtext("conversionTask/conversionTaskId")
        service.wait_for(lambda: self.task(id)[0] == "completed")
        subprocess.run(["umount", self.pool], check=True)
        status, answer = self.start()
        self.assertEqual(status, 503)
        self.assertIn("not mounted", answer.findtext("Errors/Error/Message"))
        self.assertEqual(os.listdir(self.pool), [])
        self.assertTrue(mount(self.pool, 16))
        id = self.start()[1].findtext("conversionTask/conversionTaskId")
        service.wait_for(lambda: self.task(id)[0] == "completed")


def can_mount():
    with tempfile.TemporaryDirectory() as place:
        if not mount(place, 1):
            return False
        subprocess.run(["umount", place], check=True)
        return True


if __name__ == "__main__":
    if not can_mount():
        print("skipped: no tmpfs can be mounted here")
        sys.exit(77)
    unittest.main(warnings="ignore")
