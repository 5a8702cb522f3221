#!/usr/bin/python3
"""Workflows run: in one pass, in two parts that give the same, and the stage that failed again by
the very command that was printed."""
import gzip
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import toolkit  # noqa: E402
import ranged  # noqa: E402

MIB = toolkit.MIB


def bootable(disk):
    """With an MBR whose one partition is active."""
    entry = bytes([0x80, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + \
        (2048).to_bytes(4, "little")
    return disk[:446] + entry + bytes(48) + b"\x55\xaa" + disk[512:]


class RunWorkflow(toolkit.Case):
    def setUp(self):
        super().setUp()
        self.image("disk.raw", 4)
        self.run_ok("run", "export", "disk=disk.raw", "image=disk.vhd", "to=vhd")
        self.run_ok("run", "export", "disk=disk.raw", "image=disk.vmdk", "to=vmdk")

    def files(self):
        return sorted(os.listdir(self.tmp))

    # --- whole

    def test_import_volume_of_every_format(self):
        for image in "disk.raw", "disk.vhd", "disk.vmdk":
            with self.subTest(image):
                out = json.loads(self.run_ok("run", "import-volume", "image=" + image, "volume=v",
                                             "size=5M", "force=yes", "digest=sha256",
                                             "--output", "json"))
                self.assertEqual(out["size"], 5 * MIB)
                self.assertEqual(out["format"], image.split(".")[1])
                self.assertEqual(self.read("v"), self.read("disk.raw") + bytes(MIB))
                self.assertIn("sha256", json.loads(self.read("v.manifest.json"))["digests"])

    def test_a_pipe_is_not_guessed(self):
        vmdk = self.read("disk.vmdk")
        self.run_ok("run", "export", "disk=disk.raw", "image=fixed.vhd", "to=vhd",
                    "subformat=fixed")
        for name in "disk.raw", "fixed.vhd":
            self.fails(4, "say its format", "run", "import-volume", "image=-", "volume=v",
                       text=self.read(name))
        self.run_ok("run", "import-volume", "image=-", "volume=auto", text=vmdk)
        self.assertEqual(self.read("auto"), self.read("disk.raw"))
        self.run_ok("run", "import-volume", "image=-", "volume=v", "format=vmdk", text=vmdk)
        self.assertEqual(self.read("v"), self.read("disk.raw"))

    def test_what_exists_is_not_replaced(self):
        self.write("v", "mine")
        self.fails(1, "exists", "run", "import-volume", "image=disk.raw", "volume=v")
        self.assertEqual(self.read("v"), b"mine")

    def test_import_instance_wants_a_disk_that_boots(self):
        before = self.files()
        self.fails(4, "No valid partitions", "run", "import-instance", "image=disk.vmdk", "volume=v")
        self.assertEqual(self.files(), before)
        self.write("boots.raw", bootable(self.read("disk.raw")))
        said = self.run_ok("run", "import-instance", "image=boots.raw", "volume=v")
        self.assertIn("boot-mode: legacy-bios", said)
        self.assertEqual(self.read("v"), self.read("boots.raw"))

    def told(self, *inputs):
        """Severities by rule of an import that is done."""
        out = json.loads(self.run_ok("run", "import-instance", "image=boots.raw", "volume=v",
                                     "force=yes", *inputs, "--output", "json"))
        self.assertEqual(self.read("v"), self.read("boots.raw"))
        told = {}
        for finding in out["findings"]:
            told.setdefault(finding["rule"], set()).add(finding["severity"])
        return told

    def test_what_is_optional_warns_and_what_is_mandatory_fails(self):
        self.write("boots.raw", bootable(self.read("disk.raw")))
        told = self.told()
        self.assertIn("warning", told["check-boot-code"])  # an active partition, but no code
        self.assertNotIn("error", set().union(*told.values()))
        self.assertNotIn("boot-test", told)
        chain = ["fetch", "from=boots.raw", "decode", "format=raw", "boot-layout", "required"]
        self.run_ok("run", *chain, "check-boot-code", "optional", "store", "to=w")
        self.fails(4, "check-boot-code", "run", *chain, "check-boot-code", "required", "store",
                   "to=never")
        self.assertNotIn("never", self.files())

    def test_a_disk_that_was_started_is_told_of(self):
        if not shutil.which("qemu-system-x86_64"):
            self.skipTest("qemu-system-x86_64 is not installed")
        self.write("boots.raw", bootable(self.read("disk.raw")))
        self.assertEqual(self.told("boot-test=1")["boot-test"], {"warning"})
        chain = ["fetch", "from=boots.raw", "decode", "format=raw", "boot-test", "required",
                 "timeout=1", "store", "to=never"]
        self.fails(4, "boot-test", "run", *chain)
        self.assertNotIn("never", self.files())

    def test_inspect_writes_nothing(self):
        before = self.listing()
        said = self.run_ok("run", "inspect", "image=disk.vmdk")
        self.assertIn("warning boot-layout: ", said)
        out = json.loads(self.run_ok("run", "inspect", "image=disk.vhd", "--output", "json"))
        self.assertEqual(out["findings"][0]["rule"], "boot-layout")
        self.assertNotIn("to", out)
        self.assertEqual(self.listing(), before)

    def test_inspect_looks_at_what_can_be_read_once(self):
        disk = bootable(self.read("disk.raw"))
        self.write("boots.raw.gz", gzip.compress(disk))
        for image in "boots.raw.gz", "-":
            with self.subTest(image):
                packed = ["packed=gz"] if image != "-" else []
                words = ["inspect", "image=" + image, "format=raw", *packed]
                self.run_ok("plan", *words)
                before = self.listing()
                said = self.run_ok("run", *words, text=disk)
                self.assertIn("boot-mode: legacy-bios", said)
                self.assertNotIn("cannot look", said)
                self.assertEqual(self.listing(), before)
        self.fails(4, "No valid partitions", "run", "decode", "format=raw", "boot-layout",
                   text=self.read("disk.raw"))
        self.run_ok("run", "decode", "format=raw", "boot-layout", text=disk)
        self.write("cut.raw.gz", self.read("boots.raw.gz")[:-9])
        self.fails(4, "ends early", "run", "inspect", "image=cut.raw.gz", "packed=gz", "format=raw")

    def test_what_is_only_looked_at_uses_a_place_to_its_last_step(self):
        """Room is asked for in steps; the last may be smaller, and what does not fit is told."""
        self.write("random.gz", gzip.compress(os.urandom(24 * MIB), 1))
        os.mkdir(self.path("place"), 0o755)
        words = ["fetch", "from=random.gz", "unpack", "kind=gz", "decode", "format=raw",
                 "check-gpt", "--scratch", "place"]
        self.run_ok("cache", "limit", "--place", "place", "26M")
        self.run_ok("run", *words)
        self.run_ok("cache", "limit", "--place", "place", "22M")
        self.fails(5, "is limited to %d" % (22 * MIB), "run", *words)
        self.assertEqual(os.listdir(self.path("place/.imaging-cache/scratch")), [])

    def test_what_cannot_be_read_again_is_not_looked_at(self):
        chain = ["decode", "format=raw", "boot-layout", "encode", "to=vmdk", "store", "to=v.vmdk"]
        self.write("packed.gz", gzip.compress(bootable(self.read("disk.raw"))))
        front = ["fetch", "from=packed.gz", "unpack", "kind=gz", "size=4M"]
        for verb in "plan", "run":
            self.fails(4, "comes through a pipe", verb, *front, *chain)
        chain.insert(3, "optional")
        self.assertIn("left out", self.run_ok("plan", *front, *chain))
        self.assertIn("unknown boot-layout: 'boot-layout' cannot look",
                      self.run_ok("run", *front, *chain))
        self.assertTrue(self.read("v.vmdk").startswith(b"KDMV"))

    def test_optional_validators_that_cannot_have_scratch_are_left_out(self):
        os.mkdir(self.path("place"), 0o755)
        self.run_ok("cache", "limit", "--place", "place", "400K")
        words = ["inspect", "image=disk.vmdk", "--scratch", "place"]
        self.assertIn("'check-filesystem' would be left out: ", self.run_ok("plan", *words))
        self.run_ok("run", *words)
        self.fails(5, "can never hold more", "run", "fetch", "from=disk.vmdk", "decode",
                   "format=vmdk", "check-filesystem", "required", "--scratch", "place")

    def test_progress_ends_with_the_result(self):
        with open(self.path("progress"), "wb") as file:
            subprocess.run([toolkit.TOOLKIT, "run", "import-volume", "image=disk.raw", "volume=v",
                            "--progress-fd", str(file.fileno())], cwd=self.tmp, check=True,
                           pass_fds=[file.fileno()], stdout=subprocess.DEVNULL)
        lines = [json.loads(line) for line in self.read("progress").splitlines()]
        self.assertEqual(lines[-1]["event"], "result")
        self.assertEqual(lines[-1]["size"], 4 * MIB)

    # --- in parts

    def parts(self, name, first, inputs, stages):
        """For each place between two stages: what flows there is stored, and gone on with."""
        last = [word.split("=")[1] for word in inputs if word.startswith(("volume=", "image="))][-1]
        self.run_ok("run", name, *inputs)
        whole = self.read(last)
        os.unlink(self.path(last))
        for before, after in zip(stages, stages[1:]):
            with self.subTest("%s, then %s" % (before, after)):
                self.run_ok("run", name, *inputs, "--until", before)
                os.rename(self.path(last), self.path("flow"))
                rest = [word for word in inputs if not word.startswith(first + "=")]
                self.run_ok("run", name, first + "=flow", *rest, "--from", after)
                self.assertEqual(self.read(last), whole)
                os.unlink(self.path(last))

    def test_until_and_from_are_the_whole(self):
        self.write("boots.raw", bootable(self.read("disk.raw")))
        self.run_ok("run", "export", "disk=boots.raw", "image=boots.vmdk", "to=vmdk")
        self.parts("import-instance", "image", ["image=boots.vmdk", "volume=v", "size=6M"],
                   ["fetch", "decode", "grow", "boot-layout", "store"])

    def test_until_and_from_of_an_export(self):
        self.parts("export", "disk", ["disk=disk.vhd", "format=vhd", "image=out.vmdk", "to=vmdk"],
                   ["fetch", "decode", "encode", "store"])

    def test_a_disk_that_is_an_image_itself_is_refused_in_parts_as_in_the_whole(self):
        self.run_ok("run", "export", "disk=disk.vhd", "format=raw", "image=inner.vmdk", "to=vmdk",
                    "--from", "encode")
        for args in (["image=inner.vmdk"], ["image=disk.vhd", "--from", "grow"]):
            self.fails(4, "header of a vhd image", "run", "import-volume", "volume=v", "size=6M",
                       *args)

    def test_parts_that_are_none(self):
        for words, args in (("no such stage", ["--from", "encode"]),
                            ("for these inputs", ["--until", "grow"]),
                            ("stands behind", ["--from", "store", "--until", "decode"]),
                            ("nothing flows into it", ["--from", "fetch"])):
            self.fails(2, words, "run", "import-volume", "image=disk.raw", "volume=v", *args)
        self.fails(2, "need the name of a workflow", "run", "--from", "grow")
        self.fails(2, "are for workflows", "run", "fetch", "from=disk.raw", "store", "to=v",
                   "--until", "fetch")

    # --- keep on failure

    def repeat(self, said, status, words):
        """Run the printed command, as a shell would: it fails in the same way."""
        command = re.search("^repeat: (.*)$", said, re.M)[1]
        done = subprocess.run(["sh", "-c", command], cwd=self.tmp, timeout=toolkit.TIMEOUT,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(words, done.stderr)
        return command

    def kept(self, said):
        return re.search("^kept: (.*) holds what flows into", said, re.M)[1]

    def test_keep_what_flows_into_a_layout_stage(self):
        said = self.fails(5, "holds 4194304 bytes", "run", "import-volume", "image=disk.vmdk",
                          "volume=v", "size=1M", "--keep-on-failure")
        self.assertEqual(self.kept(said), "v.grow-input")
        self.assertEqual(self.read("v.grow-input"), self.read("disk.raw"))
        command = self.repeat(said, 5, "holds 4194304 bytes")
        self.assertTrue(command.endswith("--from grow --until grow"), command)
        done = subprocess.run(["sh", "-c", command.replace("size=1M", "size=5M")], cwd=self.tmp,
                              check=True, capture_output=True)
        self.assertEqual(self.read("v"), self.read("disk.raw") + bytes(MIB), done)

    def test_keep_what_flows_into_a_validator(self):
        said = self.fails(4, "No valid partitions", "run", "import-instance", "image=disk.vmdk",
                          "volume=a 'v", "--keep-on-failure")
        self.assertEqual(self.read("a 'v.boot-layout-input"), self.read("disk.raw"))
        self.repeat(said, 4, "No valid partitions")

    def test_the_image_itself_is_what_flows_into_the_decoder(self):
        before = self.files()
        damaged = bytearray(self.read("disk.vhd"))
        damaged[40] ^= 1  # in the footer's copy: its checksum is wrong
        self.write("bad.vhd", bytes(damaged))
        said = self.fails(4, "", "run", "import-volume", "image=bad.vhd", "format=vhd", "volume=v",
                          "--keep-on-failure")
        self.assertEqual(self.kept(said), "bad.vhd")
        self.assertIn("--from decode --until decode", self.repeat(said, 4, said.split("error: ")[1]))
        self.assertEqual(self.files(), sorted(before + ["bad.vhd"]))

    def test_damage_that_shows_only_in_the_flow_is_the_decoders(self):
        damaged = bytearray(self.read("disk.vmdk"))
        at = len(damaged) // 2
        damaged[at:at + 16] = bytes(b ^ 0xff for b in damaged[at:at + 16])
        self.write("bad.vmdk", bytes(damaged))
        said = self.fails(4, "", "run", "import-volume", "image=bad.vmdk", "format=vmdk",
                          "volume=v", "--keep-on-failure")
        self.assertEqual(self.kept(said), "bad.vmdk")
        self.repeat(said, 4, said.split("error: ")[1])

    def test_keep_what_came_through_a_pipe(self):
        vmdk = self.read("disk.vmdk")
        said = self.fails(5, "holds 4194304 bytes", "run", "import-volume", "image=-",
                          "format=vmdk", "volume=v", "size=1M", "--keep-on-failure", text=vmdk)
        self.assertEqual(self.read("v.grow-input"), self.read("disk.raw"))
        self.repeat(said, 5, "holds 4194304 bytes")
        self.assertNotIn("v.fetch-output", self.files())
        bad = b"no image at all" * 100
        said = self.fails(4, "", "run", "import-volume", "image=-", "format=vmdk", "volume=v",
                          "--keep-on-failure", text=bad)
        self.assertEqual(self.read(self.kept(said)), bad)
        self.repeat(said, 4, said.split("error: ")[1])
        self.run_ok("run", "import-volume", "image=-", "format=vmdk", "volume=v",
                    "--keep-on-failure", text=vmdk)
        self.assertEqual(self.read("v"), self.read("disk.raw"))

    def test_what_flows_into_the_store(self):
        os.mkdir(self.path("taken"))
        said = self.fails(1, "is a directory", "run", "export", "disk=disk.raw", "image=taken",
                          "to=vhd", "--keep-on-failure")
        self.run_ok("run", "import-volume", "image=taken.store-input", "format=vhd", "volume=v")
        self.assertEqual(self.read("v"), self.read("disk.raw"))
        self.repeat(said, 1, "is a directory")
        os.rmdir(self.path("taken"))
        subprocess.run(["sh", "-c", re.search("^repeat: (.*)$", said, re.M)[1]], cwd=self.tmp,
                       check=True, capture_output=True)
        self.assertEqual(self.read("taken"), self.read("taken.store-input"))

    def test_nothing_flows_into_the_first(self):
        before = self.files()
        said = self.fails(3, "missing", "run", "import-volume", "image=missing", "volume=v",
                          "--keep-on-failure")
        self.assertNotIn("kept:", said)
        self.assertTrue(self.repeat(said, 3, "missing").endswith("--until fetch"))
        self.assertEqual(self.files(), before)

    def test_from_the_network_without_its_secrets(self):
        story = self

        class Files(ranged.Handler):
            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                name = self.path.split("?")[0][1:]
                if name in story.files():
                    self.wfile.write(self.answer_head(story.read(name)))
                else:
                    self.send_error(404)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        url = "http://127.0.0.1:%d/disk.vmdk?Signature=hidden" % server.server_port
        said = self.fails(4, "No valid partitions", "run", "import-instance", "image=" + url,
                          "volume=v", "--keep-on-failure")
        self.assertEqual(self.read("v.boot-layout-input"), self.read("disk.raw"))
        self.repeat(said, 4, "No valid partitions")
        self.assertNotIn("hidden", said)
        gone = url.replace("disk.vmdk", "gone.vmdk")
        said = self.fails(3, "repeat: ", "run", "import-volume", "image=" + gone, "volume=v",
                          "--keep-on-failure")
        self.assertNotIn("hidden", said)


if __name__ == "__main__":
    unittest.main()
