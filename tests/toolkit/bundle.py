#!/usr/bin/python3
"""Bundles that are written: openssl, gzip and tar read them to the byte and verify signature and digests;
they appear whole or not at all, and nothing is replaced unasked."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import bundles  # noqa: E402

IMAGE = random.Random(2).randbytes(150000) + bytes(100000) + b"end"
MIB = 1 << 20


class Case(bundles.Case):
    def args(self, image, *options, key="user", cert="user", cloud="cloud", prefix="img", to=None):
        return ["bundle", "--key", self.keys.key(key), "--cert", self.keys.crt(cert), "--cloud-cert",
                self.keys.crt(cloud), "--prefix", prefix, *options, image, to or self.path("out")]

    def image(self, data, name="image.raw"):
        path = self.path("in", name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def bundle(self, data, *options, **more):
        """Write it; what is in the directory."""
        done = self.run_toolkit(*self.args(self.image(data), *options, **more))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.no_secret(done)
        return sorted(os.listdir(self.path("out")))

    def refused(self, saying, status, *options, image=None, left=(), **more):
        done = self.run_toolkit(*self.args(image or self.image(IMAGE), *options, **more),
                                stdin=subprocess.DEVNULL)
        text = done.stderr.decode()
        self.assertIn(saying, text)
        self.assertEqual((done.returncode, len(text.splitlines())), (status, 1), text)
        self.assertEqual(sorted(os.listdir(self.path("out"))), sorted(left))
        self.no_secret(done)


class Good(Case):
    def test_sizes(self):
        manifest = self.path("out", "img.manifest.xml")
        for size in 0, 1, 511, 512, 513, 9216, 10240, len(IMAGE):
            for part_size in ("1K", "10M") if size in (0, 513, 10240) else ("10M",):
                names = self.bundle(IMAGE[:size], "--part-size", part_size, "--force")
                data, root = bundles.read(self.keys, manifest)
                self.assertEqual(data, IMAGE[:size])
                self.assertEqual(len(names), len(root.findall("image/parts/part")) + 1)
                self.assertEqual(root.findtext("image/size"), str(size))
                bundled = int(root.findtext("image/bundled_size"))
                if part_size == "1K":
                    self.assertEqual(len(names) - 1, -(-bundled // 1024))

    def test_whole_parts(self):
        """A part size that divides the bundle leaves no empty part."""
        self.bundle(IMAGE)
        bundled = os.path.getsize(self.path("out", "img.part.00"))
        for part_size in bundled, bundled // 2, bundled // 4:
            names = self.bundle(IMAGE, "--part-size", str(part_size), "--force")
            self.assertEqual(len(names) - 1, bundled // part_size)
            self.assertEqual(bundles.read(self.keys, self.path("out", "img.manifest.xml"))[0], IMAGE)

    def test_manifest(self):
        names = self.bundle(IMAGE, "--user", "123456789012", "--arch", "arm64", "--kernel", "eki-1",
                            "--ramdisk", "eri-1", "--part-size", "60000", prefix="web-1.2")
        self.assertEqual(names, ["web-1.2.manifest.xml"] + ["web-1.2.part.%02d" % i for i in range(3)])
        data, root = bundles.read(self.keys, self.path("out", names[0]))
        self.assertEqual(data, IMAGE)
        for path, text in (("version", "2007-10-10"), ("machine_configuration/architecture", "arm64"),
                           ("machine_configuration/kernel_id", "eki-1"),
                           ("machine_configuration/ramdisk_id", "eri-1"), ("image/name", "web-1.2"),
                           ("image/user", "123456789012"), ("image/type", "machine")):
            self.assertEqual(root.findtext(path), text)
        self.assertEqual([e.tag for e in root],
                         ["version", "bundler", "machine_configuration", "image", "signature"])
        self.assertEqual(bundles.read(self.keys, self.path("out", names[0]), "cloud")[0], IMAGE)

    def test_keys_differ(self):
        """Two bundles of one image share no part: each has a key of its own."""
        self.bundle(IMAGE)
        self.bundle(IMAGE, prefix="other")
        with open(self.path("out", "img.part.00"), "rb") as one, \
                open(self.path("out", "other.part.00"), "rb") as two:
            self.assertNotEqual(one.read(1024), two.read(1024))

    def test_round_trip(self):
        """A sparse image of some size, with the toolkit on both ends; progress and results as JSON."""
        path = self.image(b"")
        with open(path, "wb") as file:
            for at in range(0, 200 * MIB, 40 * MIB):
                file.seek(at)
                file.write(random.Random(at).randbytes(100000))
            file.truncate(200 * MIB + 1)
        done = self.run_toolkit(*self.args(path, "--output", "json", "--part-size", "64K"))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(json.loads(done.stdout)["size"], 200 * MIB + 1)
        disk = self.path("tmp", "disk.raw")
        done = self.run_toolkit("unbundle", "--key", self.keys.key("user"), "--cert", self.keys.crt("user"),
                                self.path("out", "img.manifest.xml"), disk)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(subprocess.run(["cmp", path, disk], check=False).returncode, 0)
        self.assertLess(os.stat(disk).st_blocks * 512, 20 * MIB)

    @unittest.skipUnless(shutil.which("qemu-img"), "qemu-img is not installed")
    def test_from_vmdk_by_a_job(self):
        raw = self.image(IMAGE.ljust(MIB, b"\0"))
        vmdk = self.path("in", "a.vmdk")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, vmdk], check=True)
        stage = {"name": "bundle", "to": self.path("out"), "prefix": "img", "key": self.keys.key("user"),
                 "cert": self.keys.crt("user"), "cloud-cert": self.keys.crt("cloud"), "part-size": 60000}
        done = self.run_toolkit("run", input=json.dumps({"source": vmdk, "format": "vmdk", "stages": [
            {"name": "grow", "size": 2 * MIB}, stage]}).encode())
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        data = bundles.read(self.keys, self.path("out", "img.manifest.xml"))[0]
        self.assertEqual(data, IMAGE.ljust(2 * MIB, b"\0"))


class Refused(Case):
    def test_what_exists(self):
        names = self.bundle(IMAGE, "--part-size", "1K")
        self.refused("img.manifest.xml' exists", 1, left=names)
        os.unlink(self.path("out", "img.manifest.xml"))
        self.refused("img.part.00' exists", 1, left=names[1:])
        names = self.bundle(b"other", "--force")  # the parts of the larger one are gone, too
        self.assertEqual(names, ["img.manifest.xml", "img.part.00"])
        self.assertEqual(bundles.read(self.keys, self.path("out", names[0]))[0], b"other")
        # found only when the bundle appears: what had appeared of it goes again
        os.rename(self.path("out", "img.part.00"), self.path("out", "img.part.02"))
        os.unlink(self.path("out", "img.manifest.xml"))
        self.refused("img.part.02' exists", 1, "--part-size", "60000", left=["img.part.02"])

    def test_arguments(self):
        self.refused("is not of the key the bundle is signed with", 2, cert="other")
        self.refused("part-size 1023 is not from", 2, "--part-size", "1023")
        self.refused("part-size 33554433 is not from", 2, "--part-size", "33554433")
        for prefix in "a/b", "../a", ".a", "a b", "a<b", "n" * 201:
            self.refused("prefix '", 2, prefix=prefix)
        self.refused("user '1&2'", 2, "--user", "1&2")
        self.refused("arch=sparc", 2, "--arch", "sparc")
        self.refused("missing", 3, to=self.path("out", "missing"))
        self.refused("missing", 3, image=self.path("missing"))
        self.refused("size is known beforehand", 4, image="-")
        self.bundle(IMAGE, prefix="n" * 200)

    def test_keys(self):
        locked = self.keys.key("locked")
        bundles.openssl("rsa", "-in", self.keys.key("user"), "-aes128", "-passout", "pass:geheim",
                        "-out", locked)
        self.refused("is locked by a passphrase", 2, key="locked")
        shutil.copy(self.keys.key("cloud"), self.keys.crt("wrong"))
        self.refused("holds no certificate", 2, cloud="wrong")

    def test_out_of_another_bundle(self):
        """From bundle to bundle in one pass; when the first proves wrong at its end, nothing is left."""
        old = bundles.Bundle(self.keys, IMAGE)
        for digest in old.digest, "00" * 20:
            old.digest = digest
            job = {"format": "raw", "stages": [
                {"name": "unbundle", "manifest": old.write(self.path("in")), "key": self.keys.key("user"),
                 "cert": self.keys.crt("user")},
                {"name": "bundle", "to": self.path("out"), "prefix": "img", "key": self.keys.key("user"),
                 "cert": self.keys.crt("user"), "cloud-cert": self.keys.crt("cloud"), "force": True}]}
            done = self.run_toolkit("run", input=json.dumps(job).encode())
            if digest == "00" * 20:
                self.assertIn(b"it is not what was bundled", done.stderr)
                self.assertEqual((done.returncode, os.listdir(self.path("out"))), (4, []))
            else:
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertEqual(bundles.read(self.keys, self.path("out", "img.manifest.xml"))[0], IMAGE)
                for name in os.listdir(self.path("out")):
                    os.unlink(self.path("out", name))

    def test_signal(self):
        """Told to stop while parts are written: nothing is left, of the private directory neither."""
        path = self.image(b"")
        os.truncate(path, 1 << 40)
        out = self.path("out")
        for number in signal.SIGTERM, signal.SIGHUP:
            with self.subTest(number):
                self.stop(path, out, number)

    def stop(self, path, out, number):
        job = subprocess.Popen([bundles.TOOLKIT, *self.args(path, "--part-size", "16K")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while True:
            inside = [name for name in os.listdir(out) if name.startswith(".img.bundling-")]
            if inside and len(os.listdir(os.path.join(out, inside[0]))) > 1:
                break
            self.assertLess(time.monotonic(), deadline)
            self.assertIsNone(job.poll())
        self.assertEqual(os.stat(os.path.join(out, inside[0])).st_mode & 0o777, 0o700)
        with open("/proc/%d/cmdline" % job.pid, "rb") as file:  # names of files, and no more
            self.assertNotIn(b"PRIVATE", file.read())
        job.send_signal(number)
        text = job.communicate(timeout=60)[1]
        self.assertEqual(job.returncode, 130, text)
        self.assertEqual(os.listdir(out), [])


if __name__ == "__main__":
    unittest.main()
