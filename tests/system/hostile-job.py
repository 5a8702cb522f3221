#!/usr/bin/python3
"""A toolkit that an image has taken over reaches its own result and nobody else's: neither volumes that are
whole, nor one that is being made, nor another's scratch, nor the service and what it keeps.  And the neighbour's import goes on.

tests/lib/hostile-job.c is loaded into the toolkit whose image is VMDK; it tries everything."""
import glob
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import unittest

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
sys.path.insert(0, LIB)
import resuming  # noqa: E402
import service  # noqa: E402
from tasks import NEW, Tasks  # noqa: E402

if not shutil.which("cc"):
    print("skipped: cc is not installed")
    sys.exit(77)

STAND_IN = """#!/bin/sh
# imaging-toolkit, which is taken over by VMDK
[ "$1" = run ] || exec %(toolkit)s "$@"
job=$(cat)
case $job in *'"format":"vmdk"'*)
    . %(targets)s
    export VICTIMS=$(paste -s -d : %(victims)s) LD_PRELOAD=%(library)s ASAN_OPTIONS=verify_asan_link_order=0
esac
exec %(toolkit)s "$@" <<END
$job
END
"""


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HostileJob(Tasks):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        one = cls.service
        cls.program, cls.library, cls.victims = (os.path.join(one.tmp, name)
                                                 for name in ("hostile-job", "hostile-job.so", "victims"))
        for options in ("-DPROGRAM", "-o", cls.program), ("-shared", "-fPIC", "-o", cls.library):
            subprocess.run(["cc", "-O1", "-w", *options, os.path.join(LIB, "hostile-job.c")], check=True)
        stand_in = one.write("toolkit", STAND_IN % {"toolkit": one.toolkit, "victims": cls.victims, "targets": one.tmp + "/targets",
                                                    "library": cls.library}, 0o700)
        one.terminate()
        one.toolkit = stand_in
        one.start()
        cls.targets = {"SERVICE": str(one.pid), "PORT": one.env["EC2_URL"].split("/")[2].split(":")[1],
                       "SOCKET": os.path.join(one.tmp, "socket")}
        one.write("targets", "".join(f"export {name}={value}\n" for name, value in cls.targets.items()))
        listener = socket.socket(socket.AF_UNIX)
        cls.addClassCleanup(listener.close)
        listener.bind(cls.targets["SOCKET"])
        listener.listen()
        cls.host = one.env["EC2_URL"].split("/")[2]

    def found(self, pattern):
        """Files of the service."""
        return sorted(filter(os.path.isfile, glob.glob(os.path.join(self.service.dir, pattern), recursive=True,
                                                       include_hidden=True)))

    def import_volume(self, form, path, url=None):
        return self.good({"Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
                          "Image.Format": form, "Image.Bytes": str(os.path.getsize(path)),
                          "Image.ImportManifestUrl": url or self.upload(form, path, 1).url, "Volume.Size": "1"}
                         ).findtext("conversionTaskId")

    def test_1_each_attempt_works(self):
        there, own = (os.path.join(self.service.tmp, name) for name in ("there", "own"))
        os.mkdir(there)
        os.mkdir(own)
        victim = self.service.write("there/victim", "a secret")
        done = subprocess.run([self.program, own], env={"VICTIMS": victim, **self.targets}, capture_output=True, text=True,
                              check=True)
        wanted = set("CUkpvrawtoTcfghSlLsnxmdeDNu") - set("" if os.geteuid() == 0 else "pv")  # root's, on some systems
        self.assertEqual(wanted - set(done.stdout.strip()), set())

    def test_2_it_is_let_nothing(self):
        self.wait(self.import_volume("VHD", self.vhd), "completed")
        whole = self.found("volumes/vol-*")
        large = os.path.join(self.service.tmp, "large")
        resuming.make_disk("random", large, 10)
        gate = self.enterContext(resuming.Gate("RAW", large, 8))
        neighbour = self.import_volume("RAW", large, gate.base + "/manifest.xml")
        service.wait_for(lambda: self.found("volumes/**/*.journal") and self.found("volumes/**/*.partial"))
        made = self.found("volumes/**/*.partial") + self.found("volumes/**/*.journal")
        self.assertEqual((len(whole), len(made)), (2, 2))
        os.mkdir(os.path.join(self.service.dir, "scratch", "another's"))
        scratch = self.service.write("service/scratch/another's/copy", "a secret")
        kept = [os.path.join(self.service.dir, name) for name in
                ("master.key", "accounts.db", "tasks.db", "env.sh", "volumes", "scratch/another's")]
        self.assertEqual([path for path in kept if not os.path.exists(path)], [])
        os.makedirs(os.path.join(self.service.dir, "objects", "another's"), exist_ok=True)
        upload = self.service.write("service/objects/another's/part", "a secret")
        before = [digest(path) for path in (*whole, scratch, kept[0], upload)]
        with open(self.victims, "w", encoding="utf-8") as file:
            file.writelines(path + "\n" for path in (*whole, *made, scratch, *kept, "+" + upload))
        task = self.wait(self.import_volume("VMDK", self.vmdk), "cancelled")
        self.assertIn("LET:none", task.findtext("statusMessage"))
        self.assertEqual([digest(path) for path in (*whole, scratch, kept[0], upload)], before)
        gate.open()
        task = self.wait(neighbour, "completed")
        volume = os.path.join(self.service.dir, "volumes", task.findtext("importVolume/volume/id") + ".raw")
        subprocess.run(["cmp", "-n", str(os.path.getsize(large)), large, volume], check=True)
        self.assertEqual(self.found("volumes/.*"), [])


if __name__ == "__main__":
    unittest.main()
