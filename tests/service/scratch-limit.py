#!/usr/bin/python3
"""A limit on the scratch directory of a service: what the service imports needs no scratch at all; what does
never has more than the limit, several at once, and what can never fit ends its task with both numbers, while
others go on.

No format that the API takes needs scratch, so a toolkit that reads RAW as qcow2 stands in for one that does."""
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import scratch  # noqa: E402
import service  # noqa: E402
from tasks import NEW, Tasks  # noqa: E402

if not shutil.which("qemu-img"):
    print("skipped: qemu-img is not installed")
    sys.exit(77)

MIB = 1 << 20
STAND_IN = """#!/bin/sh
# imaging-toolkit, which takes RAW for qcow2; jobs go through %(log)s
[ "$1" = run ] || exec %(toolkit)s "$@"
sed 's/"format":"raw"/"format":"qcow2"/' | tee -a %(log)s | %(toolkit)s "$@"
"""


class ScratchLimit(Tasks):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        one = cls.service
        cls.place = os.path.join(one.dir, "scratch")
        cls.real, cls.log = one.toolkit, os.path.join(one.tmp, "jobs")
        cls.large = scratch.make_image(os.path.join(one.tmp, "large"), 20)
        cls.nine = scratch.make_image(os.path.join(one.tmp, "nine"), 9)
        cls.small = [scratch.make_image(os.path.join(one.tmp, f"small{i}"), 5) for i in range(4)]

    def stand_in(self):
        """Start again with the stand-in, which the configuration file names."""
        one = self.service
        path = one.write("stand-in", STAND_IN % {"toolkit": self.real, "log": self.log}, 0o700)
        one.terminate()
        one.options = ("--config", one.write("config", service.STORES_HERE +
                                                f'toolkit = "{path}"\nworkers = 4\n'))
        one.command = lambda *options: [one.program, "--standalone", one.dir, "--listen", "127.0.0.1:0",
                                        *options]
        self.restart()

    def limit(self, size):
        subprocess.run([self.real, "cache", "limit", "--place", self.place, size], check=True)

    def import_volume(self, upload):
        return self.good({"Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
                          "Image.Format": upload.form, "Image.Bytes": str(len(upload.data)),
                          "Image.ImportManifestUrl": upload.url, "Volume.Size": "1"}
                         ).findtext("conversionTaskId")

    def volume_of(self, task):
        return os.path.join(self.service.dir, "volumes", task.findtext("importVolume/volume/id") + ".raw")

    def status(self):
        return scratch.status_of(self.place)["used"]

    def test_1_what_the_service_takes_needs_none(self):
        self.limit("64K")
        for form, image in (("RAW", self.raw), ("VMDK", self.vmdk), ("VHD", self.vhd)):
            self.wait(self.start(self.upload(form, image, 1)), "completed")
        self.assertEqual(self.status()["reservations"], 0)

    def test_2_several_never_have_more(self):
        self.stand_in()
        self.limit("24M")  # two of four: a copy of the upload and one of the disk each
        witness = scratch.Witness(self.place, scratch.held)
        imports = [(self.import_volume(self.upload("RAW", image, 1)), image) for image in self.small]
        tasks = [(self.wait(id, "completed"), image) for id, image in imports]
        most = witness.end()
        print(f"# {witness.samples} samples, at most {most} bytes")
        self.assertLessEqual(most, 24 * MIB)
        self.assertGreater(most, 5 * MIB)
        for task, image in tasks:
            subprocess.run(["cmp", "-n", str(5 * MIB), image + ".raw", self.volume_of(task)], check=True)
        with open(self.log, encoding="utf-8") as lines:  # each had a place of its own below this one
            jobs = [json.loads(job) for job in re.findall(r"\{.*?\}(?=\{\"|\s*$)", lines.read())]
        self.assertEqual({os.path.dirname(job["scratch"]) for job in jobs}, {self.place})
        self.assertEqual(self.status()["reservations"], 0)

    def test_3_what_can_never_fit_ends_alone(self):
        self.limit("24M")
        before = self.files("volumes")
        other = self.upload("RAW", self.small[0], 1, closed=2)
        running = self.import_volume(other)
        self.assertTrue(other.waiting.wait(service.DEADLINE_S))
        task = self.wait(self.import_volume(self.upload("RAW", self.large, 1)), "cancelled")
        message = task.findtext("statusMessage")
        self.assertRegex(message, r"^ServerError: .*bytes of scratch are needed.* limited to ")
        self.assertIn(str(24 * MIB), message)
        needed = int(re.search(r"(\d+) bytes of scratch", message)[1])
        self.assertGreater(needed, 40 * MIB)
        self.assertEqual({name for name in self.files("volumes") if not name.startswith(".")}, before)
        other.open()
        self.wait(running, "completed")
        self.assertEqual(self.files("scratch"), {".imaging-cache"})

    def test_4_nine_mebibytes_where_there_are_eight(self):
        """Row 54 of the list of hostile inputs, and its neighbour: the same image where there is room."""
        before = [self.files(name) for name in ("volumes", "scratch")]
        for limit, ends in (("8M", "cancelled"), ("24M", "completed")):
            self.limit(limit)
            task = self.wait(self.import_volume(self.upload("RAW", self.nine, 1)), ends)
            if ends == "cancelled":
                self.assertRegex(task.findtext("statusMessage"), "^ServerError: .*bytes of scratch .*"
                                 f" limited to .*{8 * MIB}")
                self.assertEqual([self.files(name) for name in ("volumes", "scratch")], before)
        subprocess.run(["cmp", "-n", str(9 * MIB), self.nine + ".raw", self.volume_of(task)], check=True)
        self.assertEqual(self.files("scratch"), before[1])


if __name__ == "__main__":
    unittest.main()
