#!/usr/bin/python3
"""--wait and --dry-run of the importing commands on a real service, which also goes away meanwhile."""
import os
import pty
import re
import signal
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import euca  # noqa: E402
import service  # noqa: E402
from tasks import make_bootable  # noqa: E402

VOLUME = ("import-volume", "-f", "raw", "-z", "standalone", "-b", "b")
ME = "euca-import-volume: "


class Wait(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # at an address of its own, so that it can come back where it was
        cls.service = service.Service("--listen", "127.0.78.1:0")
        cls.addClassCleanup(cls.service.stop)
        cls.service.options = ("--listen", urllib.parse.urlsplit(cls.service.env["EC2_URL"]).netloc)
        cls.file = cls.service.write("disk.img", "x" * 4096)

    def start(self, *arguments, **more):
        return euca.start(self.service.env, *arguments, **{"IMAGING_HASTE": "20", **more})

    def ids(self):
        status, out, err = euca.run(self.service.env, "describe-conversion-tasks")
        self.assertEqual((status, err), (0, ""))
        return set(re.findall(r"\tTaskId\t([^\t]*)", out))

    def cancel(self, id):
        self.assertEqual(euca.run(self.service.env, "cancel-conversion-task", id), (0, "", ""))

    def waiting(self, *arguments, **more):
        """A process that waits for a task whose upload will not come, and the task's id."""
        process = self.start(*VOLUME, "--no-upload", "--wait", self.file, *arguments, **more)
        said = euca.read_until(process.stderr, r": import-vol-[0-9a-z]+: \S")
        return process, re.search("import-vol-[0-9a-z]+", said)[0]

    def test_completed(self):
        """The last lines are those of the end, and describe shows the same."""
        status, out, err = euca.finish(self.start(*VOLUME, "--wait", self.file))
        self.assertEqual(status, 0, err)
        self.assertEqual(euca.field(out, "Status"), "completed")
        self.assertRegex(euca.field(out, "VolumeId"), "^vol-")
        id = euca.field(out, "TaskId")
        self.assertEqual(euca.run(self.service.env, "describe-conversion-tasks", id), (0, out, ""))
        for line in err.splitlines():
            self.assertTrue(line.startswith(f"{ME}{id}: "), err)

        status, out, err = euca.run(self.service.env, "cancel-conversion-task", id)
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.startswith("euca-cancel-conversion-task: error (DeleteConversionTaskError): "), err)

    def test_dry_run(self):
        """All is checked, and nothing is made, not even the bucket."""
        before = self.ids()
        machine = ("import-instance", *VOLUME[1:-1], "new", "-t", "m1.small", "-a", "x86_64", "-p", "Linux")
        for command in ((*VOLUME[:-1], "new"), machine):
            dry = (*command, "--dry-run", "--wait", self.file)
            self.assertEqual(euca.finish(self.start(*dry)), (0, "", ""))
            for wrong, words in ((("-z", "elsewhere"), "error (InvalidZone.NotFound): "),
                                 (("-o", "AKIDEXAMPLE", "-w", "x"), "error (InvalidAccessKeyId): "),
                                 (("-f", "vmdk"), " is not a ")):
                status, out, err = euca.finish(self.start(*dry, *wrong))
                self.assertEqual((status, out), (1, ""))
                self.assertIn(words, err)
        self.assertEqual(self.ids(), before)
        self.assertEqual([name for _, names, _ in os.walk(self.service.dir) for name in names
                          if name.startswith("new")], [])

    def test_instance(self):
        boots = self.service.write("boots.img", "\0" * (1 << 20))
        make_bootable(boots)
        status, out, err = euca.finish(self.start(
            "import-instance", *VOLUME[1:], "-t", "m1.small", "-a", "x86_64", "-p", "Linux", "--wait",
            "--no-progress", boots, self.file))
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(euca.field(out, "InstanceID"), "^i-")
        self.assertEqual(out.count("\tStatus\tcompleted"), 3)

    def test_failed(self):
        """An image that is none: the task's reason is the error."""
        status, out, err = euca.finish(self.start(
            "import-volume", "-f", "vmdk", "--dont-verify-format", "--image-size", "1M", *VOLUME[3:], "--wait", self.file))
        self.assertEqual((status, euca.field(out, "Status")), (1, "cancelled"), err)
        self.assertEqual(err.splitlines()[-1], f"{ME}error: task {euca.field(out, 'TaskId')} was cancelled: "
                         + euca.field(out, "StatusMessage"))
        self.assertIn(": ClientError: ", err)

    def test_cancelled_by_somebody(self):
        process, id = self.waiting()
        self.cancel(id)
        status, out, err = euca.finish(process)
        self.assertEqual((status, euca.field(out, "Status")), (1, "cancelled"), err)
        self.assertRegex(err, rf"{ME}error: task {id} was cancelled: .+\n$")

    def test_interrupted(self):
        """The task goes on."""
        env = self.service.env
        process, id = self.waiting("-I", env["AWS_ACCESS_KEY_ID"], "-S", env["AWS_SECRET_ACCESS_KEY"])
        process.send_signal(signal.SIGINT)
        status, out, err = euca.finish(process)
        self.assertEqual((status, out), (130, ""))
        # before them perhaps what it had to tell meanwhile
        self.assertEqual(err.splitlines()[-3:], [
            f"{ME}task {id} goes on; watch it with: euca-describe-conversion-tasks --watch {id}",
            f"{ME}the keys have to be given as before: -I, -S",
            f"{ME}error: interrupted"])
        lines = euca.run(self.service.env, "describe-conversion-tasks", id)[1]
        self.assertEqual(euca.field(lines, "Status"), "active")
        self.cancel(id)

    def test_a_service_that_restarts(self):
        """It is waited for, and that is told once; on a terminal no line is cleared that none drew."""
        process, id = self.waiting()
        ours, theirs = pty.openpty()
        watching = self.start("describe-conversion-tasks", "--watch", id, stderr=theirs)
        os.close(theirs)
        euca.read_until(watching.stdout, id)
        self.service.kill()
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            self.assertRegex(terminal.readline().decode(), "^euca-describe-conversion-tasks: warning: connection error "
                             r"\(.*; waiting for the service\r\n$")
        said = euca.read_until(process.stderr, "warning: ")
        self.assertIn(f"{ME}warning: connection error (", said)
        self.assertTrue(said.endswith("; waiting for the service\n"), said)
        self.service.start()
        self.cancel(id)
        status, out, err = euca.finish(process)
        self.assertEqual((status, euca.field(out, "Status")), (1, "cancelled"), err)
        self.assertNotIn("warning", err)
        self.assertEqual(euca.finish(watching)[0], 0)

    def test_a_service_that_stays_away(self):
        """Patience has an end."""
        process, id = self.waiting(IMAGING_HASTE="3000")
        self.service.kill()
        status, out, err = euca.finish(process)
        self.service.start()
        self.assertEqual((status, out), (1, ""))
        lines = err.splitlines()[-3:]
        self.assertIn(f"{ME}warning: connection error (", lines[0])
        self.assertEqual(lines[1], f"{ME}task {id} goes on; watch it with: "
                         f"euca-describe-conversion-tasks --watch {id}")
        self.assertIn(f"{ME}error: connection error (", lines[2])
        self.cancel(id)

    def test_one_line_on_a_terminal(self):
        before = self.ids()
        ours, theirs = pty.openpty()
        process = self.start(*VOLUME, "--no-upload", "--wait", self.file, stderr=theirs)
        os.close(theirs)
        id, = service.wait_for(lambda: self.ids() - before)
        shown = b""
        while id.encode() not in shown:
            shown += os.read(ours, 4096)
        self.cancel(id)
        try:
            while True:
                shown += os.read(ours, 4096)
        except OSError:  # how Linux tells that the other end is closed
            os.close(ours)
        self.assertEqual(euca.finish(process)[0], 1)
        self.assertRegex(shown.decode(), rf"^(\r{id}: [^\r\n]+\033\[K)+\r\033\[K{ME}error: task {id} was "
                         r"cancelled: [^\n]*\r\n$")


if __name__ == "__main__":
    unittest.main()
