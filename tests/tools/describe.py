#!/usr/bin/python3
"""euca-describe-conversion-tasks on a real service: filters, JSON, watching tasks to their end."""
import json
import os
import pty
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import euca  # noqa: E402
import service  # noqa: E402

DESCRIBE = "describe-conversion-tasks"


class Describe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = service.Service()
        cls.addClassCleanup(cls.service.stop)
        cls.file = cls.service.write("disk.img", "x" * 4096)

    def run_(self, *arguments, status=0, err="", **more):
        got = euca.run(self.service.env, *arguments, **more)
        self.assertEqual(got[0], status, got)
        self.assertIn(err, got[2])
        if not err:
            self.assertEqual(got[2], "")
        return got[1]

    def import_(self, kind, form, *arguments):
        """A task that waits for its upload; its id."""
        lines = self.run_("import-" + kind, "-f", form, "-b", "images", "--image-size", "4096",
                          "--dont-verify-format", "--no-upload", "-z", "standalone", *arguments, self.file)
        id = euca.field(lines, "TaskId")
        self.addCleanup(lambda: self.cancel(id))
        return id

    def cancel(self, id):
        self.run_("cancel-conversion-task", id)
        service.wait_for(lambda: euca.field(self.run_(DESCRIBE, id), "Status") == "cancelled")

    def ids(self, *arguments):
        tasks = json.loads(self.run_(DESCRIBE, "--output", "json", *arguments))["ConversionTasks"]
        return [task["ConversionTaskId"] for task in tasks]

    def test_filters(self):
        raw = self.import_("volume", "raw", "-d", "data, one")
        vmdk = self.import_("volume", "vmdk", "-d", "data two")
        machine = self.import_("instance", "raw", "-t", "m1.small", "-a", "x86_64", "-p", "Linux",
                               "-d", "web")
        self.cancel(vmdk)
        for filters, wanted in ((["state=active"], {raw, machine}),
                                (["state=active", "task-type=IMPORTVOLUME"], {raw}),
                                (["state=cancel*"], {vmdk}),
                                (["conversion-task-id=" + raw + "," + vmdk], {raw, vmdk}),
                                (["format=VMDK", "format=RAW", "description=data*"], {raw, vmdk}),
                                (["description=data\\, one"], {raw}),
                                (["platform=Linux"], {machine}),
                                (["availability-zone=elsewhere"], set())):
            arguments = [word for text in filters for word in ("--filter", text)]
            with self.subTest(filters):
                self.assertEqual(set(self.ids(raw, vmdk, machine, *arguments)), wanted)
                lines = self.run_(DESCRIBE, raw, vmdk, machine, *arguments)
                self.assertEqual(lines.count("TaskType\t"), len(wanted))
        self.run_(DESCRIBE, "--filter", "tag=x", status=2,
                  err="argument --filter: invalid name: 'tag' (choose from conversion-task-id, ")

    def test_json(self):
        id = self.import_("instance", "raw", "-t", "m1.small", "-a", "x86_64", "-p", "Linux")
        out = self.run_(DESCRIBE, "--output=json", id)
        task, = json.loads(out)["ConversionTasks"]
        volume, = task["ImportInstance"]["Volumes"]
        self.assertEqual((task["ConversionTaskId"], task["State"], task["ImportInstance"]["Platform"]),
                         (id, "active", "Linux"))
        self.assertEqual((volume["BytesConverted"], volume["Image"]["Size"], volume["Volume"]),
                         (0, 4096, {"Size": 1}))
        self.assertRegex(volume["Image"]["ImportManifestUrl"],
                         rf"^{self.service.env['S3_URL']}images/[0-9a-f-]+/disk\.img\.manifest\.xml$")
        self.assertNotIn("Signature", out)

    def test_unknown(self):
        for more in ((), ("--watch",)):
            self.run_(DESCRIBE, "import-vol-00000000", *more, status=1,
                      err="euca-describe-conversion-tasks: error (InvalidConversionTaskId")

    # -- watching

    def test_watch_shows_what_changes(self):
        """Every change once, and the end although the filter fits no longer."""
        id, other = self.import_("volume", "raw"), self.import_("volume", "raw")
        # the service has looked for the manifests, and says so from now on
        service.wait_for(lambda: self.run_(DESCRIBE, id, other).count("the manifest is not there yet") == 2)
        process = euca.start(self.service.env, DESCRIBE, "--watch", "--filter", "state=active", id, other,
                             IMAGING_HASTE="20")
        euca.read_until(process.stdout, f"\tTaskId\t{other}\t.*\tStatus\tactive\t")
        self.cancel(other)
        said = euca.read_until(process.stdout, f"\tTaskId\t{other}\t.*\tStatus\tcancelled\t")
        self.assertNotIn(id, said)  # of this one nothing has changed
        self.cancel(id)
        status, rest, err = euca.finish(process)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("\tStatus\tcancelled\t", rest.splitlines()[-2])

        # what has ended is shown, and that is all
        self.assertEqual(self.run_(DESCRIBE, "--watch=3", id), "\n".join(rest.splitlines()[-2:]) + "\n")

    def test_watch_in_json_is_a_line_per_change(self):
        id = self.import_("volume", "raw")
        process = euca.start(self.service.env, DESCRIBE, "--watch", "--output", "json", id,
                             IMAGING_HASTE="20")
        first = json.loads(process.stdout.readline())
        self.cancel(id)
        status, rest, _ = euca.finish(process)
        tasks = [first] + [json.loads(line) for line in rest.splitlines()]
        self.assertEqual(status, 0)
        self.assertEqual([tasks[0]["State"], tasks[-1]["State"]], ["active", "cancelled"])
        self.assertEqual({task["ConversionTaskId"] for task in tasks}, {id})

    def test_watch_draws_on_a_terminal(self):
        id = self.import_("volume", "raw")
        ours, theirs = pty.openpty()
        process = euca.start(self.service.env, DESCRIBE, "--watch", id, stdout=theirs,
                             IMAGING_HASTE="20")
        os.close(theirs)
        with os.fdopen(ours, "r", encoding="utf-8", newline="") as terminal:
            first = terminal.readline()
            self.cancel(id)
            rest = ""
            try:
                for line in iter(terminal.readline, ""):
                    rest += line
            except OSError:  # how Linux tells that the other end is closed
                pass
        self.assertEqual(euca.finish(process)[0], 0)
        self.assertRegex(first, rf"^\033\[H\033\[JTaskType\tIMPORTVOLUME\tTaskId\t{id}\t")
        self.assertRegex(rest, r"\033\[H\033\[JTaskType\t[^\r]*\tStatus\tcancelled\t[^\r]*\r\nDISKIMAGE[^\r]*\r\n$")

    def test_watch_ends_when_told(self):
        id = self.import_("volume", "raw")
        process = euca.start(self.service.env, DESCRIBE, "--watch", id)
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        status, _, err = euca.finish(process)
        self.assertEqual((status, err), (130, "euca-describe-conversion-tasks: error: interrupted\n"))

    def test_watch_ends_when_nobody_reads(self):
        id = self.import_("volume", "raw")
        process = euca.start(self.service.env, DESCRIBE, "--watch", id, IMAGING_HASTE="20")
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        self.cancel(id)
        status, _, err = euca.finish(process)
        self.assertEqual(status, 1)
        self.assertIn("cannot write to standard output", err)


if __name__ == "__main__":
    unittest.main()
