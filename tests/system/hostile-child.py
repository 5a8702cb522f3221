#!/usr/bin/python3
"""A program in place of qemu-img that an image has taken over: it is let do nothing, its task fails with a
sentence, nobody else notices.  And the true one, in the same box, works.

tests/lib/hostile-child.c is put where qemu-img is, in mounts of our own.  No format that the API takes needs
qemu-img, so a toolkit that reads RAW as qcow2 stands in for one that does."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import unittest
import urllib.parse

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
sys.path.insert(0, LIB)
import scratch  # noqa: E402
import service  # noqa: E402
from tasks import NEW, Tasks  # noqa: E402

QEMU_IMG = shutil.which("qemu-img")
for program in QEMU_IMG, shutil.which("cc"):
    if not program:
        print("skipped: qemu-img or cc is not installed")
        sys.exit(77)
scratch.in_own_mounts()

MIB = 1 << 20
STAND_IN = """#!/bin/sh
# imaging-toolkit, which takes RAW for qcow2
[ "$1" = run ] || exec %(toolkit)s "$@"
sed 's/"format":"raw"/"format":"qcow2"/' | %(toolkit)s "$@"
"""


class HostileChild(Tasks):
    @classmethod
    def setUpClass(cls):
        os.environ["IMAGING_STALL_SECONDS"] = "2"  # of what the patience with a child is a multiple
        super().setUpClass()
        one = cls.service
        cls.child = os.path.join(one.tmp, "hostile-child")
        subprocess.run(["cc", "-O1", "-w", "-pthread", "-o", cls.child, os.path.join(LIB, "hostile-child.c")], check=True)
        cls.token = one.write("token", "a secret\n")
        # as installed without a prefix
        subprocess.run(["mount", "-t", "tmpfs", "settings", "/usr/local/etc"], check=True)
        cls.addClassCleanup(subprocess.run, ["umount", "/usr/local/etc"], check=True)
        cls.settings = "/usr/local/etc/imaging-service.conf"
        with open(cls.settings, "w", encoding="utf-8") as file:
            file.write("database = a secret\n")
        cls.outside = os.path.join(one.tmp, "outside")
        cls.listener = socket.create_server(("127.0.0.1", 0))
        cls.listener.setblocking(False)
        cls.real = one.toolkit
        toolkit = one.write("toolkit", STAND_IN % {"toolkit": cls.real}, 0o700)
        one.terminate()
        one.toolkit = toolkit
        one.start()
        cls.host = urllib.parse.urlsplit(one.env["EC2_URL"]).netloc

    @classmethod
    def tearDownClass(cls):
        cls.listener.close()
        super().tearDownClass()

    def image(self, name, disk=MIB, **more):
        """A qcow2 image with orders in it; its path."""
        path = os.path.join(self.service.tmp, name)
        orders = {"token": self.token, "key": os.path.join(self.service.dir, "master.key"), "outside": self.outside, "settings": self.settings,
                  "port": self.listener.getsockname()[1], "service": self.service.pid, **more}
        text = "ORDERS\n" + "".join(f"{key}={value}\n" for key, value in orders.items()) + "END\n"
        with open(path + ".raw", "wb") as raw:
            raw.write(text.encode())
            raw.truncate(disk)
        subprocess.run([self.true_one(), "convert", "-f", "raw", "-O", "qcow2", path + ".raw", path], check=True)
        return path

    def true_one(self):
        """qemu-img, also while it is covered."""
        copy = os.path.join(self.service.tmp, "qemu-img")
        if not os.path.exists(copy):
            shutil.copy(QEMU_IMG, copy)
        return copy

    def import_volume(self, path):
        upload = self.upload("RAW", path, 1)
        return self.good({"Action": "ImportVolume", "Version": NEW, "AvailabilityZone": "standalone",
                          "Image.Format": upload.form, "Image.Bytes": str(len(upload.data)),
                          "Image.ImportManifestUrl": upload.url, "Volume.Size": "1"}
                         ).findtext("conversionTaskId")

    def covered(self):
        """From now on, and until the end of the test, the hostile one is qemu-img."""
        subprocess.run(["mount", "--bind", self.child, QEMU_IMG], check=True)
        self.addCleanup(subprocess.run, ["umount", QEMU_IMG], check=True)

    def start_neighbour(self):
        """A task that is at work until its gate opens."""
        upload = self.upload("VMDK", self.vmdk, 1, closed=1)
        return upload, self.start(upload)

    def running(self):
        """Processes of the hostile one."""
        found, wanted = [], os.stat(self.child)
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.path.samestat(os.stat(f"/proc/{process}/exe"), wanted):
                    found.append(process)
            except OSError:  # the kernel's own, or gone
                pass
        return found

    def assert_let_nothing(self, task):
        message = task.findtext("statusMessage")
        self.assertIn("LET:none", message)
        self.assertFalse(os.path.exists(self.outside))
        with self.assertRaises(BlockingIOError):
            self.listener.accept()
        self.assertIsNone(self.service.process.poll())
        return message

    def test_1_without_the_box_it_is_let(self):
        """Each attempt is one that works: but for those that depend on the machine."""
        with open(self.image("free", memory=64), "r+b") as image:
            done = subprocess.run(["sh", "-c", f"ulimit -c unlimited; {self.child}; exit $?"], stdin=image,
                                  capture_output=True, text=True, check=False)
        let = done.stderr.partition("LET:")[2].strip()
        self.listener.accept()[0].close()
        os.remove(self.outside)
        self.assertEqual(set("TKceMmRCUWwIiSsFXGfOD") - set(let), set(), done.stderr)

    def test_2_in_the_box_it_is_let_nothing(self):
        self.covered()
        upload, neighbour = self.start_neighbour()
        task = self.wait(self.import_volume(self.image("tries", exec="yes")), "cancelled")
        message = self.assert_let_nothing(task)
        self.assertRegex(message, r"^ClientError: .*: qemu-img cannot open this qcow2 image \(exit status 1\)")
        upload.open()
        self.wait(neighbour, "completed")

    def test_3_it_cannot_end_its_parent(self):
        self.covered()
        task = self.wait(self.import_volume(self.image("kills", then="kill")), "cancelled")
        self.assert_let_nothing(task)

    def test_4_it_cannot_sleep_for_ever(self):
        self.covered()
        upload, neighbour = self.start_neighbour()
        id = self.import_volume(self.image("sleeps", then="sleep"))
        service.wait_for(self.running)
        task = self.wait(id, "cancelled")
        self.assertRegex(task.findtext("statusMessage"),
                         "^ClientError: .*: qemu-img did not come to an end and was stopped")
        upload.open()
        self.wait(neighbour, "completed")
        self.assertEqual(self.running(), [])

    def test_5_a_wish_to_stop_is_none_of_its_failures(self):
        """A signal from a terminal comes to both, and the child is the first to end."""
        self.covered()
        image = self.image("stops", then="sleep")
        out = os.path.join(self.service.tmp, "stopped")
        with subprocess.Popen([self.real, "convert", "-f", "qcow2", "-O", "raw", image, out], text=True,
                              start_new_session=True, stderr=subprocess.PIPE) as run:
            child = int(service.wait_for(self.running)[0])
            self.assertEqual(os.getpgid(child), run.pid)
            os.killpg(run.pid, signal.SIGINT)
            said = run.stderr.read()
            self.assertEqual(run.wait(), 130, said)
        self.assertEqual(self.running(), [])

    def test_6_it_cannot_start_threads_without_end(self):
        self.covered()
        task = self.wait(self.import_volume(self.image("threads", then="threads")), "cancelled")
        message = task.findtext("statusMessage")
        self.assertEqual(self.running(), [])
        if "FEW:" in message:
            self.skipTest("a process gets too few threads here: " + message)
        self.assertRegex(message, r"^ClientError: .*: qemu-img started \d+ threads and was stopped")

    def test_7_files_in_memory_do_not_widen_its_limit(self):
        """Where it may write 4 GiB: files of that kind are counted by no limit of a process."""
        self.covered()
        image = self.image("large", disk=4 << 30, size=4 << 30, memory=3072)
        run = subprocess.run([self.real, "convert", "-f", "qcow2", "-O", "raw", image,
                              os.path.join(self.service.tmp, "converted")], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 4, run.stderr)
        self.assertIn("qemu-img cannot convert this qcow2 image (exit status 1): LET:none", run.stderr)

    def test_8_the_true_one_works(self):
        path = self.image("sound")
        task = self.wait(self.import_volume(path), "completed")
        volume = os.path.join(self.service.dir, "volumes", task.findtext("importVolume/volume/id") + ".raw")
        subprocess.run(["cmp", "-n", str(MIB), path + ".raw", volume], check=True)


if __name__ == "__main__":
    unittest.main()
