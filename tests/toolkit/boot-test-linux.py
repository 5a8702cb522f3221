#!/usr/bin/python3
"""The stage boot-test on disks with firmware's, boot loader's, kernel's and initramfs's real words:
a GPT disk that UEFI starts by GRUB, and a partition that becomes a disk for a BIOS in the same job;
then with what each needs gone."""
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
bootable.need("qemu-system-x86_64", "qemu-img", "sgdisk", "mkfs.vfat", "mcopy", "mke2fs",
              "grub-mkimage", "blkid", "dd")
for path in "/usr/share/ovmf/OVMF.fd", "/usr/lib/grub/x86_64-efi/linux.mod", \
            "/usr/lib/grub/i386-pc/boot.img":
    if not os.path.exists(path):
        bootable.skip("%s is not there" % path)

MIB = 1 << 20
ESP, ROOT = 48, 24  # MiB
MENU = """
linux /vmlinuz root=UUID=%s console=ttyS0 panic=-1
initrd /initrd
boot
"""


class Linux(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keep = tempfile.TemporaryDirectory(prefix="boot-test.")
        cls.addClassCleanup(cls.keep.cleanup)
        kernel = bootable.kernel()
        cls.root = cls.path("root")
        uuid = bootable.make_root(cls.root, ROOT, marker="it came up")
        bootable.make_initrd(cls.path("initrd"), kernel)
        cls.disk = cls.make("disk", kernel, uuid)
        cls.partition = cls.path("partition")
        bootable.make_root(cls.partition, 40, marker="it came up", files={
            "boot/vmlinuz-1": kernel, "boot/initrd.img-1": cls.path("initrd")})

    @classmethod
    def path(cls, name):
        return os.path.join(cls.keep.name, name)

    @classmethod
    def make(cls, name, kernel, uuid):
        disk, esp, menu, loader = (cls.path(n) for n in (name, "esp", "menu", "loader"))
        with open(menu, "w") as file:
            file.write(MENU % uuid)
        bootable.run("grub-mkimage", "-O", "x86_64-efi", "-p", "/", "-c", menu, "-o", loader,
                     "fat", "part_gpt", "linux", "boot")
        with open(esp, "wb") as file:
            file.truncate(ESP * MIB)
        bootable.run("mkfs.vfat", esp)
        bootable.run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
        for there, here in (("EFI/BOOT/BOOTX64.EFI", loader), ("vmlinuz", kernel),
                            ("initrd", cls.path("initrd"))):
            bootable.run("mcopy", "-i", esp, here, "::/" + there)
        with open(disk, "wb") as file:
            file.truncate((ESP + ROOT + 2) * MIB)
        bootable.run("sgdisk", "-n1:1M:+%dM" % ESP, "-t1:ef00", "-n2:0:+%dM" % ROOT, disk)
        cls.put(disk, esp, 1)
        cls.put(disk, cls.root, 1 + ESP)
        return disk

    @staticmethod
    def put(disk, part, mib):
        bootable.run("dd", "if=" + part, "of=" + disk, "bs=1M", "seek=%d" % mib, "conv=notrunc,sparse")

    def look(self, disk, *stages):
        """What the stage finds on the disk, behind those stages; it is in "volume" then."""
        stage = {"name": "boot-test", "accel": "emulation", "timeout": 300, "memory": "256M",
                 "marker": "MARKER it came up"}
        job = {"source": disk, "format": "raw", "store": self.path("volume"), "force": True,
               "sync": False, "scratch": self.keep.name, "stages": [*stages, stage]}
        done = subprocess.run([TOOLKIT, "run"], input=json.dumps(job), text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        finding, = json.loads(done.stdout)["findings"]
        return finding

    def test_bios(self):
        finding = self.look(self.partition, {"name": "disk-from-partition", "table": "mbr",
                                             "firmware": "bios"})
        self.assertEqual(finding["severity"], "ok", finding)
        self.assertRegex(finding["evidence"], r"^It starts \(BIOS, virtio, emulation\): firmware "
                         r"[\d.]+ s, boot loader [\d.]+ s, kernel [\d.]+ s, .*marker [\d.]+ s$")
        disk = self.path("broken")
        shutil.copyfile(self.path("volume"), disk)
        bootable.run("dd", "if=/dev/zero", "of=" + disk, "bs=1M", "seek=1", "count=40",
                     "conv=notrunc")
        evidence = self.look(disk)["evidence"]
        self.assertRegex(evidence, "GRUB finds no configuration|GRUB finds a device not")
        self.assertNotIn("kernel ", evidence)
        bootable.run("dd", "if=/dev/zero", "of=" + disk, "bs=512", "count=1", "conv=notrunc")
        evidence = self.look(disk)["evidence"]
        self.assertIn("the BIOS found no bootable device", evidence)
        self.assertNotIn("boot loader ", evidence)

    def test_uefi(self):
        finding = self.look(self.disk)
        self.assertEqual(finding["severity"], "ok", finding)
        self.assertRegex(finding["evidence"], r"^It starts \(UEFI, virtio, emulation\): firmware "
                         r"[\d.]+ s, boot loader [\d.]+ s, kernel [\d.]+ s, .*marker [\d.]+ s$")

    def broken(self):
        disk = self.path("broken")
        shutil.copyfile(self.disk, disk)
        return disk

    def test_boot_loader_gone(self):
        disk = self.broken()
        bootable.run("dd", "if=/dev/zero", "of=" + disk, "bs=1M", "count=%d" % ESP, "seek=1",
                     "conv=notrunc")
        evidence = self.look(disk)["evidence"]
        self.assertIn("Started by UEFI from virtio, the UEFI firmware found no boot loader", evidence)
        self.assertNotIn("kernel ", evidence)


if __name__ == "__main__":
    unittest.main(verbosity=2)
