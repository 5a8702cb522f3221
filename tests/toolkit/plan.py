#!/usr/bin/python3
"""A plan says what a run would do, with the exit status the run would have, and touches nothing."""
import json
import os
import shutil
import subprocess
import sys
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import syscalls  # noqa: E402
import toolkit  # noqa: E402

MIB = toolkit.MIB


class Plan(toolkit.Case):
    def setUp(self):
        super().setUp()
        self.image("disk.raw", 4)
        self.run_ok("run", "export", "disk=disk.raw", "image=disk.vmdk", "to=vmdk")

    def plan(self, status, *args, text=None):
        """The plan as an object; nothing has changed, and `run --dry-run` says the same."""
        before = self.listing()
        done = self.toolkit("plan", *args, "--output", "json", text=text)
        again = self.toolkit("run", *args, "--dry-run", "--output", "json", text=text)
        self.assertEqual(self.listing(), before)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        self.assertEqual(again.returncode, status, again.stderr.decode())
        plan = json.loads(done.stdout)
        dry = json.loads(again.stdout)
        for one in plan, dry:  # what is free changes by itself
            one["scratch"].pop("free")
        self.assertEqual(plan | {"warnings": len(plan["warnings"])},
                         dry | {"warnings": len(dry["warnings"])})
        self.assertEqual(plan["status"], status)
        self.assertEqual(plan["runs"], status == 0)
        return plan

    def test_what_flows(self):
        plan = self.plan(0, "import-volume", "image=disk.vmdk", "volume=v", "size=5M")
        self.assertEqual([(row["name"], row["gives"], row["bytes"]) for row in plan["stages"]],
                         [("fetch", "bytes", os.path.getsize(self.path("disk.vmdk"))),
                          ("decode", "disk", 4 * MIB), ("grow", "disk", 5 * MIB),
                          ("store", "nothing", 0)])
        self.assertEqual(plan["stages"][1]["format"], "vmdk")
        self.assertEqual(plan["scratch"]["bytes"], 0)
        self.assertEqual(plan["warnings"], [])
        self.run_ok("run", "import-volume", "image=disk.vmdk", "volume=v", "size=5M")
        self.assertEqual(os.path.getsize(self.path("v")), 5 * MIB)

    def test_as_text(self):
        said = self.run_ok("plan", "import-volume", "image=disk.vmdk", "volume=v")
        self.assertIn("decode vmdk", said)
        self.assertIn("gives a disk of 4194304 bytes (4.0 MiB)", said)
        self.assertIn("scratch: 0 bytes needed", said)
        self.assertIn("\nit would run\n", said)

    def test_a_plan_of_every_workflow(self):
        subprocess.run(["mke2fs", "-q", self.path("fs.ext4"), "8M"], check=True,
                       stdout=subprocess.DEVNULL)
        for name, inputs in (("import-volume", ["image=disk.vmdk", "volume=v"]),
                             ("import-instance", ["image=disk.vmdk", "volume=v"]),
                             ("export", ["disk=disk.raw", "image=x.vhd", "to=vhd"]),
                             ("inspect", ["image=disk.vmdk"]),
                             ("partition-to-disk", ["partition=fs.ext4", "disk=d", "boot=no"])):
            with self.subTest(name):
                plan = self.plan(0, name, *inputs)
                self.assertEqual(plan["workflow"], name)
                self.assertEqual(plan["stages"][0]["name"], "fetch")

    def test_stages_on_the_command_line(self):
        plan = self.plan(0, "fetch", "from=disk.raw", "decode", "format=raw", "grow", "size=6M",
                         "store", "to=v")
        self.assertEqual(plan["stages"][2]["bytes"], 6 * MIB)

    def test_a_part(self):
        plan = self.plan(0, "import-volume", "image=disk.raw", "volume=v", "size=6M",
                         "--from", "grow", "--until", "grow")
        self.assertEqual([row["name"] for row in plan["stages"]], ["fetch", "grow", "store"])

    def test_what_only_the_work_can_tell(self):
        plan = self.plan(0, "import-volume", "image=-", "format=vmdk", "volume=v", "size=6M")
        self.assertEqual([row["bytes"] for row in plan["stages"]], [None] * 4)
        plan = self.plan(0, "export", "disk=disk.raw", "image=x", "to=vmdk")
        self.assertIsNone(plan["stages"][2]["bytes"])

    def both(self, status, words, *args):
        """Plan and run end alike, and say the same."""
        plan = self.plan(status, *args)
        self.assertIn(words, plan["error"])
        self.assertIn(words, self.fails(status, words, "run", *args))
        return plan

    def test_the_exit_status_is_that_of_the_run(self):
        self.write("taken", "mine")
        self.write("short.vmdk", self.read("disk.vmdk")[:300])
        for status, words, args in (
                (3, "missing", ["image=missing", "volume=v"]),
                (5, "holds 4194304 bytes", ["image=disk.vmdk", "volume=v", "size=1M"]),
                (5, "more than the 4096 allowed", ["image=disk.vmdk", "volume=v", "max-size=4K"]),
                (4, "it is vmdk", ["image=disk.vmdk", "volume=v", "format=vhd"]),
                (4, "less than a VMDK header", ["image=short.vmdk", "format=vmdk", "volume=v"]),
                (1, "'taken' exists", ["image=disk.vmdk", "volume=taken"]),
                (1, "cannot create a file in 'nowhere'", ["image=disk.vmdk", "volume=nowhere/v"])):
            with self.subTest(words):
                self.both(status, words, "import-volume", *args)
        self.fails(2, "needs volume=", "plan", "import-volume", "image=disk.vmdk")
        self.fails(2, "name of a workflow", "plan")

    def test_what_is_behind_a_refusal_is_not_known(self):
        plan = self.plan(3, "import-volume", "image=missing", "volume=v", "size=1M")
        self.assertFalse(plan["stages"][0]["accepts"])
        self.assertEqual([row["bytes"] for row in plan["stages"]], [None] * 4)
        self.assertTrue(plan["stages"][2]["accepts"])

    def test_an_optional_stage_that_would_be_left_out_is_a_warning(self):
        self.write("own.workflow", "# Grow where that can be.\ninput disk -- read\n"
                                   "fetch from=$disk\ndecode format=raw\ngrow optional size=1M\n"
                                   "store to=v\n")
        plan = self.plan(0, "own.workflow", "disk=disk.raw")
        self.assertIn("'grow' would be left out", plan["warnings"][0])
        self.assertEqual(plan["stages"][2]["bytes"], 4 * MIB)
        self.run_ok("run", "own.workflow", "disk=disk.raw")
        self.assertEqual(self.read("v"), self.read("disk.raw"))

    def test_a_result_that_may_not_fit_is_a_warning(self):
        plan = self.plan(0, "import-volume", "image=disk.raw", "volume=v", "size=4096T")
        self.assertIn("the result may take 4503599627370496 bytes", plan["warnings"][0])

    def test_scratch_is_told_and_what_can_never_fit_fails_before_it_starts(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        os.mkdir(self.path("place"))
        args = ["export", "disk=disk.vmdk", "format=vmdk", "image=x.qcow2", "to=qcow2",
                "--scratch", "place"]
        need = self.plan(0, *args)["scratch"]["bytes"]
        self.assertGreaterEqual(need, 4 * 65536)  # its data, which qemu-img reads from a file
        self.run_ok("cache", "limit", "--place", "place", str(need - 4096))
        plan = self.both(5, str(need), *args)
        self.assertEqual(plan["code"], "ScratchLimit")
        self.assertIn(str(plan["scratch"]["limit"]), plan["error"])
        self.assertFalse(os.path.exists(self.path("x.qcow2")))
        self.run_ok("cache", "limit", "--place", "place", str(2 * need))
        self.assertTrue(self.plan(0, *args)["runs"])
        used = json.loads(self.run_ok("run", *args, "--output", "json"))["scratch_peak_bytes"]
        self.assertLessEqual(used, need)

    def test_plan_and_run_agree_about_what_fits_exactly(self):
        """Maps of the file system and other people's files count: both know of them."""
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        os.mkdir(self.path("place"))
        self.write("place/mine", bytes(100000))
        args = ["export", "disk=disk.vmdk", "format=vmdk", "image=x.qcow2", "to=qcow2",
                "force=yes", "--scratch", "place"]
        need = self.plan(0, *args)["scratch"]["bytes"]
        said = set()
        for more in 0, 50000, 110000, 118000, 122000, 126000, 130000, 140000, 160000:
            with self.subTest(more):
                self.run_ok("cache", "limit", "--place", "place", str(need + more))
                status = self.toolkit("run", *args).returncode
                said.add(status)
                self.plan(status, *args)
        self.assertEqual(said, {0, 5})

    def test_nothing_is_run_or_written(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.path("disk.raw"),
                        self.path("disk.qcow2")], check=True)
        trace = self.path("trace")
        done = subprocess.run(["strace", "-f", "-o", trace, toolkit.TOOLKIT, "plan", "import-volume",
                               "image=disk.qcow2", "volume=v", "format=qcow2"], cwd=self.tmp,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        plan = done.stdout.decode()
        if b"PTRACE" in done.stderr or b"ptrace" in done.stderr:
            self.skipTest("strace is not allowed here")
        self.assertIn("gives a disk of 4194304 bytes", plan)
        changing = set()
        for calls in syscalls.Trace(trace).threads.values():
            changing |= {call for call, changes in calls if changes}
        self.assertIn("execve", changing)  # strace saw something
        self.assertLessEqual(changing - {"execve", "exit_group", "write", "ioctl"}, set())
        with open(trace, encoding="utf-8", errors="replace") as lines:
            self.assertEqual(sum("execve(" in line for line in lines), 1)


if __name__ == "__main__":
    unittest.main()
