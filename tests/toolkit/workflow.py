#!/usr/bin/python3
"""Files of workflows: ours are sound and found, one's own are taken by their path, and a file that
is not understood is refused with its line before anything is read or written."""
import json
import os
import sys
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import toolkit  # noqa: E402

OWN = """# Grow a raw disk.
input disk -- what is grown
input size -- to how many bytes
input out default grown.raw -- where it goes

fetch from=$disk
decode format=raw
grow size=$size
store to=$out
"""


class Workflow(toolkit.Case):
    def test_ours_are_listed_with_their_inputs(self):
        said = self.run_ok("run", "--list")
        listed = json.loads(self.run_ok("run", "--list", "--output", "json"))
        self.assertEqual([work["name"] for work in listed],
                         [line.split(" - ")[0] for line in said.splitlines() if line[0] != " "])
        wanted = {one["name"]: one["required"] for one in listed[0]["inputs"]}
        self.assertTrue(wanted["disk"] and not wanted["format"] and not wanted["level"], wanted)
        for name in "export", "import-instance", "import-volume", "inspect":
            self.assertIn("\n%s - " % name, "\n" + said)
        self.assertNotIn("not to be used", said)
        self.assertIn("    format      ", said)
        self.assertIn("[default: auto]", said)

    def test_every_file_of_ours_is_built_and_understood(self):
        folder = os.path.join(TOP, "imaging-toolkit", "workflow")
        for name in os.listdir(folder):
            with self.subTest(name):
                said = self.fails(2, " needs ", "plan", os.path.join(folder, name))
                self.assertNotIn("line", said)
                self.assertIn(name.split(".")[0] + " - ", self.run_ok("run", "--list"))

    def test_a_name_that_nobody_knows(self):
        self.fails(3, "no workflow or stage 'import-floppy'; there are the workflows export",
                   "run", "import-floppy", "image=a")

    def test_an_own_file_by_its_path(self):
        self.image("disk.raw", 2)
        self.write("own.workflow", OWN)
        os.mkdir(self.path("sub"))
        self.write("sub/own", OWN)
        for name, out in (("own.workflow", "a"), ("./own.workflow", "b"), ("sub/own", "c")):
            self.run_ok("run", name, "disk=disk.raw", "size=3M", "out=" + out)
            self.assertEqual(self.read(out), self.read("disk.raw") + bytes(toolkit.MIB))
        self.run_ok("run", "own.workflow", "disk=disk.raw", "size=2M")
        self.assertEqual(self.read("grown.raw"), self.read("disk.raw"))
        self.fails(3, "cannot open 'absent.workflow'", "run", "absent.workflow")

    def test_what_is_wrong_is_told_with_its_line(self):
        self.image("disk.raw", 2)
        before = self.listing()
        for line, old, new, why in (
                (7, "decode format=raw", "decode format=raw format=vhd", "given twice"),
                (8, "grow size", "shrink size", "no stage 'shrink'"),
                (8, "$size", "$sise", "no input 'sise'"),
                (9, "to=$out", "to=$out\x07", "byte 0x07"),
                (2, "input disk", "input Disk", "small letters"),
                (3, "-- to how", "to how", "input NAME"),
                (9, "store to=$out", "store to=x", None),
                (6, "fetch from=$disk", "include other.workflow", "no stage 'include'")):
            with self.subTest(new):
                self.write("own.workflow", OWN.replace(old, new))
                where = "line %d" % line
                if why is None:  # now nobody uses the input
                    where, why = "line 4", "no stage uses the input 'out'"
                said = self.fails(2, "own.workflow, " + where, "run", "own.workflow",
                                  "disk=disk.raw", "size=3M")
                self.assertIn(why, said)
        os.unlink(self.path("own.workflow"))
        self.assertEqual({k: v for k, v in self.listing().items() if not k.endswith(".")},
                         {k: v for k, v in before.items() if not k.endswith(".")})

    def test_inputs_are_checked_before_anything_is_read(self):
        self.write("own.workflow", OWN)
        for words, inputs in (
                ("needs disk=: what is grown", ["size=1"]),
                ("size=huge is not a size", ["disk=missing", "size=huge"]),
                ("has no input 'colour'; it has disk, size, out", ["colour=red"]),
                ("size is given twice", ["disk=missing", "size=1", "size=2"]),
                ("'disk' is no input", ["disk"])):
            with self.subTest(words):
                self.fails(2, words, "run", "own.workflow", *inputs)
        self.fails(3, "missing", "run", "own.workflow", "disk=missing", "size=1")

    def test_a_file_that_is_too_long(self):
        self.image("disk.raw", 2)
        self.write("own.workflow", OWN + "#" * (65536 - len(OWN)))
        self.run_ok("run", "own.workflow", "disk=disk.raw", "size=3M")
        self.write("own.workflow", OWN + "#" * (65537 - len(OWN)))
        self.fails(5, "larger than the 65536 bytes", "run", "own.workflow", "disk=disk.raw",
                   "size=3M", "out=b")

    def test_a_line_that_is_there_only_when_an_input_is(self):
        self.image("disk.raw", 2)
        self.run_ok("run", "import-volume", "image=disk.raw", "volume=a")
        self.run_ok("run", "import-volume", "image=disk.raw", "volume=b", "size=3M")
        self.assertEqual(os.path.getsize(self.path("a")), 2 * toolkit.MIB)
        self.assertEqual(os.path.getsize(self.path("b")), 3 * toolkit.MIB)


if __name__ == "__main__":
    unittest.main()
