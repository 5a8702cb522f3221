#!/usr/bin/python3
"""A bare file system becomes a disk that boots: by BIOS from an MBR and from a GPT, by UEFI from a
GPT; with kernel and ramdisk given apart, and found in /boot of the image.

The guest mounts its root by UUID and prints a marker it reads there (tests/lib/bootable.py)."""
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import bootable  # noqa: E402
import service  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
bootable.not_sanitized(TOOLKIT)
bootable.need("qemu-system-x86_64", "grub-mkimage", "mke2fs", "mkfs.xfs", "mkfs.vfat", "mcopy",
              "blkid")
for path in "/usr/lib/grub/i386-pc/boot.img", "/usr/lib/grub/x86_64-efi/moddep.lst", *bootable.OVMF:
    if not os.path.exists(path):
        bootable.skip("there is no %s" % path)
KERNEL = bootable.kernel()


class Boots(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = tempfile.mkdtemp(prefix="boots.")
        cls.addClassCleanup(shutil.rmtree, cls.tmp, True)
        cls.initrd = os.path.join(cls.tmp, "initrd")
        bootable.make_initrd(cls.initrd, KERNEL)
        damaged = os.path.join(cls.tmp, "damaged")
        with open(damaged, "w") as file:
            file.write("no kernel")
        # the highest version is the one to start, and neither the first nor the last by its letters
        cls.inside = cls.root("inside", 24 + 16, "ext4", {
            "boot/vmlinuz-6.1.0-9-amd64": damaged, "boot/initrd.img-6.1.0-9-amd64": damaged,
            "boot/vmlinuz-6.1.0-10-amd64": KERNEL, "boot/initrd.img-6.1.0-10-amd64": cls.initrd,
            "boot/vmlinuz-5.99.0": damaged, "boot/vmlinuz-0-rescue-4711": damaged})
        cls.apart = {kind: cls.root(kind, mib, kind)
                     for kind, mib in (("ext4", 16), ("xfs", 300), ("vfat", 34))}

    @classmethod
    def root(cls, name, mib, kind, files=()):
        path = os.path.join(cls.tmp, name)
        bootable.make_root(path, mib, "this is " + name, files, kind)
        return path

    def disk(self, image, **arguments):
        """The image as a disk: its path."""
        path = "%s.%s" % (image, "-".join([str(len(os.listdir(self.tmp)))] + list(arguments)))
        job = {"source": image, "format": "raw", "store": path, "sync": False,
               "stages": [dict(arguments, name="disk-from-partition")]}
        done = subprocess.run([TOOLKIT, "run"], input=json.dumps(job), text=True,
                              capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return path

    def test_every_way_of_starting(self):
        given = {"kernel": KERNEL, "ramdisk": self.initrd, "cmdline": "quiet  console=ttyS0"}
        both = self.disk(self.inside, table="gpt")
        runs = [
            (self.disk(self.inside, table="mbr", firmware="bios"), "bios", "inside"),
            (both, "bios", "inside"),
            (both, "uefi", "inside"),
            (self.disk(self.apart["ext4"], table="mbr", firmware="bios", **given), "bios", "ext4"),
            (self.disk(self.apart["xfs"], table="gpt", swap="1M", ephemeral="8M", **given), "bios",
             "xfs"),
            (self.disk(self.apart["vfat"], table="gpt", firmware="uefi", **given), "uefi", "vfat"),
        ]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            consoles = list(pool.map(lambda run: bootable.boot(run[0], run[1]), runs))
        for (disk, firmware, name), console in zip(runs, consoles):
            with self.subTest(disk=os.path.basename(disk), firmware=firmware):
                self.assertIn("MARKER this is " + name, console)
                self.assertIn("DEVICE /dev/vda1", console)

    def test_without_its_boot_sector_it_does_not_start(self):
        disk = self.disk(self.apart["ext4"], table="mbr", firmware="bios", kernel=KERNEL,
                         ramdisk=self.initrd)
        with open(disk, "r+b") as file:
            file.write(bytes(512))
        console = bootable.boot(disk)
        self.assertNotIn("MARKER", console)
        self.assertNotIn("GRUB", console)

    def test_what_holds_no_kernel_says_so(self):
        """XFS is not looked into, so it gets a boot loader all the same."""
        console = bootable.boot(self.disk(self.apart["xfs"], table="mbr", firmware="bios"),
                                until="No kernel was found in / or /boot|MARKER")
        self.assertIn("No kernel was found", console)


if __name__ == "__main__":
    unittest.main()
