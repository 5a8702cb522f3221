#!/usr/bin/python3
"""The stages disk-from-partition and partition-from-disk: what sfdisk, sgdisk, blkid and the fscks
make of the disks, that the file system is the same bytes, also out of a compressed image, and what
is refused, each beside a neighbour that is accepted.  (What comes through a pipe: test-layout.c)"""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import bootable  # noqa: E402
import service  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
bootable.need("sfdisk", "sgdisk", "blkid", "mke2fs", "e2fsck", "mkfs.xfs", "mkfs.vfat", "fsck.vfat",
              "mcopy", "mtype", "qemu-img", "tune2fs", "grub-mkimage")
for path in "/usr/lib/grub/i386-pc/boot.img", "/usr/lib/grub/x86_64-efi/moddep.lst":
    if not os.path.exists(path):
        bootable.skip("there is no %s" % path)

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40
LINUX, FAT = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
SWAP, EFI = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
XBOOT, BIOS = "BC13C2FF-59E6-4262-A352-B275FD6F7172", "21686148-6449-6E6F-744E-656564454649"
TYPES = {("gpt", "ext4"): LINUX, ("gpt", "xfs"): LINUX, ("gpt", "vfat"): FAT,
         ("mbr", "ext4"): "83", ("mbr", "xfs"): "83", ("mbr", "vfat"): "c"}


def output(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def data_of(fd, start, end):
    """The ranges of a file, between start and end, that are no holes."""
    while start < end:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:  # there is none from here on
            return
        hole = os.lseek(fd, start, os.SEEK_HOLE)
        if start < end:
            yield start, min(hole, end)
        start = hole


def patched(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
    return path


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keep = tempfile.mkdtemp(prefix="layout.")
        cls.addClassCleanup(shutil.rmtree, cls.keep, True)
        cls.image, cls.uuid = {}, {}
        for kind, mib in ("ext4", 8), ("xfs", 300), ("vfat", 5):
            cls.image[kind] = os.path.join(cls.keep, kind)
            cls.uuid[kind] = bootable.make_root(cls.image[kind], mib, "content of " + kind,
                                                kind=kind)
        # what tells a kernel; no machine starts this one
        cls.kernel = os.path.join(cls.keep, "kernel")
        with open(cls.kernel, "wb") as file:
            file.write(bytes(0x202) + b"HdrS" + os.urandom(70001))
        cls.ramdisk = os.path.join(cls.keep, "ramdisk")
        with open(cls.ramdisk, "wb") as file:
            file.write(os.urandom(300007))

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="layout.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.count = 0

    # --- running a stage

    def job(self, stage, source, arguments, form):
        self.count += 1
        self.store = os.path.join(self.tmp, "out%d" % self.count)
        return json.dumps({"source": source, "format": form, "store": self.store, "sync": False,
                           "scratch": self.tmp, "stages": [dict(arguments, name=stage)]})

    def run_job(self, job):
        return subprocess.run([TOOLKIT, "run"], input=job.encode(), capture_output=True)

    def made(self, stage, source, form="raw", **arguments):
        done = self.run_job(self.job(stage, source, arguments, form))
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return self.store

    def disk(self, source, form="raw", **arguments):
        return self.made("disk-from-partition", source, form, **arguments)

    def part(self, source, form="raw", **arguments):
        return self.made("partition-from-disk", source, form, **arguments)

    def refused(self, words, source, stage="disk-from-partition", status=4, form="raw",
                **arguments):
        done = self.run_job(self.job(stage, source, arguments, form))
        self.assertIn(words, done.stderr.decode())
        self.assertEqual(done.returncode, status, done.stderr.decode())
        self.assertFalse(os.path.exists(self.store))

    # --- looking at disks

    def table(self, disk):
        """{number: row of sfdisk}"""
        table = json.loads(output("sfdisk", "-J", disk))["partitiontable"]
        rows = {}
        for row in table["partitions"]:
            rows[int(row["node"][len(table["device"]):].lstrip("p"))] = row
        return rows

    def sound(self, disk, gpt):
        said = output("sfdisk", "-V", disk)
        self.assertIn("No errors detected", said)
        if gpt:
            self.assertIn("No problems found", output("sgdisk", "-v", disk))
        for number, row in self.table(disk).items():
            if number != 5:
                self.assertEqual(row["start"] % 2048, 0)

    def cut(self, disk, row):
        path = os.path.join(self.tmp, "cut")
        subprocess.run(["dd", "if=" + disk, "of=" + path, "bs=512", "conv=sparse", "status=none",
                        "skip=%d" % row["start"], "count=%d" % row["size"]], check=True)
        return path

    def blkid(self, disk, row):
        """What blkid finds where the partition is."""
        said = output("blkid", "-p", "-o", "export", "-O", str(row["start"] * 512), "-S",
                      str(row["size"] * 512), disk)
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def same(self, a, b, at=0):
        """b's bytes are those of a, or those from `at` on of a larger a; holes are passed over."""
        size = os.path.getsize(b)
        if at == 0:
            self.assertEqual(os.path.getsize(a), size)
        with open(a, "rb") as first, open(b, "rb") as second:
            for file, base in (first, at), (second, 0):
                for start, end in data_of(file.fileno(), base, base + size):
                    for place in range(start - base, end - base, MIB):
                        length = min(MIB, end - base - place)
                        self.assertEqual(os.pread(first.fileno(), length, at + place),
                                         os.pread(second.fileno(), length, place))


class Disks(Case):
    def test_tables_around_every_file_system(self):
        for table in "gpt", "mbr":
            for kind, image in self.image.items():
                with self.subTest(table=table, kind=kind):
                    disk = self.disk(image, table=table, boot="no")
                    self.sound(disk, table == "gpt")
                    rows = self.table(disk)
                    self.assertEqual(list(rows), [1])
                    self.assertEqual(rows[1]["type"], TYPES[table, kind])
                    self.assertEqual(rows[1]["start"], 2048)
                    found = self.blkid(disk, rows[1])
                    self.assertEqual((found["TYPE"], found["UUID"]), (kind, self.uuid[kind]))
                    self.assertEqual(rows[1]["size"] * 512, os.path.getsize(image))
                    self.same(disk, image, at=MIB)
                    self.same(self.part(disk, number=1), image)
                    if kind != "vfat":
                        self.same(self.part(disk), image)
                    os.unlink(disk)

    def test_everything_at_once(self):
        for table, types in ("gpt", (LINUX, LINUX, SWAP, EFI, BIOS)), ("mbr", ("83", "83", "82",
                                                                              "ef")):
            with self.subTest(table=table):
                arguments = {"table": table, "swap": "256K", "ephemeral": "6M",
                             "kernel": self.kernel, "ramdisk": self.ramdisk}
                disk = self.disk(self.image["ext4"], **arguments)
                self.sound(disk, table == "gpt")
                rows = self.table(disk)
                self.assertEqual(tuple(rows[n]["type"] for n in sorted(rows)), types)
                self.assertTrue(all(rows[1]["start"] >= rows[n]["start"] for n in rows))
                self.assertEqual(rows[1].get("bootable", False), table == "mbr")
                self.assertEqual(self.blkid(disk, rows[3])["TYPE"], "swap")
                self.assertEqual(rows[3]["size"], 512)
                self.assertEqual(self.blkid(disk, rows[2])["LABEL"], "ephemeral0")
                output("e2fsck", "-fn", self.cut(disk, rows[2]))
                self.check_boot_partition(disk, rows[4])
                self.same(self.part(disk, number=1), self.image["ext4"])
                self.same(self.part(disk), self.image["ext4"])
                self.same(disk, self.disk(self.image["ext4"], **arguments))

    def check_boot_partition(self, disk, row, loader=True):
        fat = self.cut(disk, row)
        output("fsck.vfat", "-n", fat)
        for name, path in ("VMLINUZ", self.kernel), ("INITRD", self.ramdisk):
            with open(path, "rb") as file:
                held = subprocess.run(["mtype", "-i", fat, "::/" + name], check=True,
                                      capture_output=True).stdout
                self.assertEqual(held, file.read())
        if loader:
            held = subprocess.run(["mtype", "-i", fat, "::/EFI/BOOT/BOOTX64.EFI"], check=True,
                                  capture_output=True).stdout
            self.assertEqual(held[:2], b"MZ")

    def test_a_boot_partition_without_firmware(self):
        for table, kind in ("gpt", XBOOT), ("mbr", "c"):
            disk = self.disk(self.image["xfs"], table=table, firmware="bios", kernel=self.kernel,
                             ramdisk=self.ramdisk)
            self.sound(disk, table == "gpt")
            self.assertEqual(self.table(disk)[4]["type"], kind)
            self.check_boot_partition(disk, self.table(disk)[4], loader=False)

    def test_a_large_ramdisk(self):
        """More than fits into the smallest clusters."""
        large = os.path.join(self.tmp, "large")
        with open(large, "wb") as file:
            file.truncate(300 * MIB)
            file.seek(299 * MIB)
            file.write(b"its end")
        disk = self.disk(self.image["ext4"], firmware="bios", kernel=self.kernel, ramdisk=large)
        row = self.table(disk)[4]
        self.assertGreater(row["size"] * 512, 300 * MIB)
        output("fsck.vfat", "-n", self.cut(disk, row))
        with open(os.path.join(self.tmp, "cut"), "rb") as file:
            self.assertEqual(file.read(14)[13], 8)  # sectors of a cluster

    def test_a_kernel_inside(self):
        for name in "boot/vmlinuz-6.1.0-1", "vmlinuz":
            image = os.path.join(self.tmp, "inside")
            bootable.make_root(image, 8, files={name: self.kernel})
            self.assertIn(4, self.table(self.disk(image)))
            self.assertIn(4, self.table(self.disk(image, boot="yes")))
            self.assertEqual(list(self.table(self.disk(image, boot="no"))), [1])
        self.assertEqual(list(self.table(self.disk(self.image["ext4"]))), [1])
        self.refused("boot=yes, but there is no kernel", self.image["ext4"], boot="yes")

    def test_sizes(self):
        image, exact = self.image["ext4"], {"gpt": 9 * MIB + 33 * 512, "mbr": 9 * MIB}
        for table, bytes_ in exact.items():
            disk = self.disk(image, table=table, size=bytes_)
            self.assertEqual(os.path.getsize(disk), bytes_)
            self.sound(disk, table == "gpt")
            self.assertEqual(os.path.getsize(self.disk(image, table=table, size="1G")), 1 << 30)
            self.refused("size=%d is too small: table and partitions need %d bytes"
                         % (bytes_ - 512, bytes_), image, status=5, table=table, size=bytes_ - 512)
        self.refused("size=9437185 is no multiple of 512", image, status=2, table="mbr",
                     size=9 * MIB + 1)

    def test_what_follows_the_file_system_is_kept(self):
        image = shutil.copy(self.image["ext4"], self.tmp)
        with open(image, "ab") as file:
            file.write(b"more" * 300)
        disk = self.disk(image)
        with open(self.cut(disk, self.table(disk)[1]), "rb") as a, open(image, "rb") as b:
            whole = b.read()
            self.assertEqual(a.read(), whole + bytes(-len(whole) % 512))


class Compressed(Case):
    def test_a_compressed_image(self):
        for kind in "ext4", "vfat":
            vmdk = os.path.join(self.tmp, "image.vmdk")
            output("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                   "subformat=streamOptimized", self.image[kind], vmdk)
            self.same(self.disk(vmdk, form="vmdk", boot="no"), self.disk(self.image[kind],
                                                                         boot="no"))

    def test_a_partition_that_no_grain_ends_at(self):
        """63 sectors: every run of compressed data at its edges reaches over them."""
        disk = os.path.join(self.tmp, "disk")
        noise = os.path.join(self.tmp, "noise")
        with open(noise, "wb") as file:
            file.write(os.urandom(MIB + 512))
        with open(disk, "wb") as file:
            file.write(os.urandom(3 * MIB))
        patched(disk, 0, bytes(512))
        output("sfdisk", disk, input="63,2049,83\n")
        with open(noise, "rb") as file:
            patched(disk, 63 * 512, file.read())
        self.same(self.part(disk, number=1), noise)
        for form, options in ("vmdk", "subformat=streamOptimized"), ("vpc", "subformat=dynamic"):
            packed = os.path.join(self.tmp, form)
            output("qemu-img", "convert", "-f", "raw", "-O", form, "-o", options, disk, packed)
            self.same(self.part(packed, form=form, number=1), noise)


class Refusals(Case):
    def test_arguments(self):
        image = self.image["ext4"]
        for status, words, wrong, right in (
                (2, "swap=4095 is no multiple of 4096", {"swap": 4095}, {"swap": 40960}),
                (2, "or less than ten of them", {"swap": 36864}, {"swap": 40960}),
                (2, "ephemeral=1048575 is no multiple of 1 MiB", {"ephemeral": MIB - 1},
                 {"ephemeral": MIB}),
                (2, "ramdisk= without kernel=", {"ramdisk": self.ramdisk},
                 {"ramdisk": self.ramdisk, "kernel": self.kernel}),
                (2, "no use with boot=no", {"kernel": self.kernel, "boot": "no"},
                 {"kernel": self.kernel, "boot": "yes"}),
                (2, "no Linux kernel for x86", {"kernel": self.ramdisk}, {"kernel": self.kernel}),
                (2, "has 0 bytes", {"kernel": self.empty()},
                 {"kernel": self.kernel}),
                (2, "the character 0x27 at place 3", {"kernel": self.kernel, "cmdline": "a='b'"},
                 {"kernel": self.kernel, "cmdline": "a=b;$c"}),
                (2, "the character 0x0a", {"kernel": self.kernel, "cmdline": "a\nb"},
                 {"kernel": self.kernel, "cmdline": "a b"}),
                (2, "cmdline= has 1025 characters", {"kernel": self.kernel, "cmdline": "a" * 1025},
                 {"kernel": self.kernel, "cmdline": "a" * 1024}),
                (3, "kernel=: cannot open", {"kernel": "/nowhere/kernel"}, {}),
                (2, "table", {"table": "bsd"}, {"table": "gpt"})):
            with self.subTest(words=words):
                self.refused(words, image, status=status, **wrong)
                self.disk(image, **right)

    def empty(self):
        path = os.path.join(self.tmp, "empty")
        open(path, "w").close()
        return path

    def test_two_tebibytes_of_an_mbr(self):
        image = os.path.join(self.tmp, "large")
        with open(image, "wb") as file:
            file.truncate(2 * TIB - MIB)
        arguments = {"force": True, "boot": "no"}
        disk = self.disk(image, table="mbr", **arguments)
        self.assertEqual(self.table(disk)[1]["size"] * 512, 2 * TIB - MIB)
        os.truncate(image, 2 * TIB - MIB + 512)
        self.refused("an MBR reaches no further than 2199023255552 bytes (2 TiB); use table=gpt",
                     image, status=5, table="mbr", **arguments)
        self.refused("use table=gpt", self.image["ext4"], status=5, table="mbr",
                     size=2 * TIB + MIB)
        disk = self.disk(image, table="gpt", **arguments)
        self.assertEqual(self.table(disk)[1]["size"] * 512, 2 * TIB - MIB + 512)

    def copy(self, kind="ext4"):
        return shutil.copy(self.image[kind], os.path.join(self.tmp, "image"))

    def test_images(self):
        image = self.copy()
        os.truncate(image, 8 * MIB - 4096)
        self.refused("the image has 8384512 bytes, but its ext4 file system has 8388608", image)
        for kind, at, data, words in (
                ("ext4", 0x438, b"\0\0", "does not begin with an ext2, ext3, ext4, XFS or FAT"),
                ("ext4", 0, b"XFSB", "superblocks of two kinds"),
                ("ext4", 0x418, struct.pack("<I", 7), "its blocks have 131072 bytes"),
                ("ext4", 0x418, struct.pack("<I", 1 << 31), "its blocks have"),
                ("ext4", 0x404, bytes(4), "has 0 blocks of 1024 bytes"),
                ("xfs", 4, struct.pack(">I", 3000), "its blocks have 3000 bytes"),
                ("xfs", 8, b"\xff" * 8, "has 18446744073709551615 blocks of 4096"),
                ("xfs", 8, struct.pack(">Q", 75 << 10), "file system has 314572800"),
                ("vfat", 11, struct.pack("<H", 500), "its blocks have 500 bytes"),
                ("vfat", 54, b"NOFAT   ", "boot sector or a partition table")):
            with self.subTest(kind=kind, at=at, data=data):
                image = patched(self.copy(kind), at, data)
                if kind == "xfs" and len(data) == 8 and data[0] == 0:
                    os.truncate(image, 300 * MIB - 4096)
                self.refused(words, image)
        self.refused("the image is empty", self.empty())
        self.refused("whole disk needs no other table", self.disk(self.image["ext4"]))
        self.disk(self.copy())

    def test_force_takes_anything(self):
        image = os.path.join(self.tmp, "noise")
        with open(image, "wb") as file:
            file.write(random.Random(1).randbytes(70001))
        self.refused("force=yes", image)
        disk = self.disk(image, force=True)
        with open(self.part(disk, number=1), "rb") as a, open(image, "rb") as b:
            self.assertEqual(a.read(), b.read() + bytes(143))
        self.refused("boot=yes, but there is no kernel", image, force=True, boot="yes")
        self.refused("has no UUID", image, force=True, kernel=self.kernel)

    def test_the_workflow_takes_anything(self):
        """The cure that the refusal names is one, in the workflow too, whose force=yes is the store's."""
        image, disk = os.path.join(self.tmp, "noise"), os.path.join(self.tmp, "disk")
        with open(image, "wb") as file:
            file.write(random.Random(1).randbytes(70001))
        words = [TOOLKIT, "run", "partition-to-disk", "partition=" + image, "disk=" + disk]
        done = subprocess.run(words, capture_output=True, text=True)
        self.assertIn("as-is=yes", done.stderr)
        self.assertEqual((done.returncode, os.path.exists(disk)), (4, False))
        done = subprocess.run([*words, "as-is=yes"], capture_output=True, text=True)
        self.assertEqual((done.returncode, os.path.exists(disk)), (0, True), done.stderr)

    def test_no_uuid(self):
        image = self.copy()
        output("tune2fs", "-U", "clear", image)
        self.refused("has no UUID", image, kernel=self.kernel)
        self.disk(image)

    def test_a_damaged_file_system(self):
        image = patched(self.copy(), 2048, bytes(2048))
        self.refused("no kernel can be looked for (boot=no does without one): ", image)
        self.disk(image, boot="no")
        self.disk(image, kernel=self.kernel)

    def test_an_external_journal(self):
        image = os.path.join(self.tmp, "journal")
        with open(image, "wb") as file:
            file.truncate(8 * MIB)
        output("mke2fs", "-q", "-F", "-O", "journal_dev", image)
        self.refused("external journal", image)


class Partitions(Case):
    """Tables that sfdisk made, and what becomes of them."""

    def made_by(self, script, mib=24, **at):
        disk = os.path.join(self.tmp, "disk")
        with open(disk, "wb") as file:
            file.truncate(mib * MIB)
        output("sfdisk", disk, input=script)
        for start, image in at.items():
            with open(image, "rb") as file:
                patched(disk, int(start[1:]) * 512, file.read())
        return disk

    def test_logical_partitions(self):
        disk = self.made_by("label: dos\n2048,2048,83\n4096,,5\n6144,2048,83\n10240,16384,83\n",
                            s10240=self.image["ext4"])
        self.same(self.part(disk, number=6), self.image["ext4"])
        self.same(self.part(disk), self.image["ext4"])
        self.refused("partition 2 is the extended one", disk, "partition-from-disk", number=2)
        self.refused("no such partition; say number=, one of: 1, 5, 6", disk,
                     "partition-from-disk", number=7)

    def test_the_choice(self):
        ext4 = self.image["ext4"]
        disk = self.made_by("label: gpt\n2048,16384,L\n20480,16384,L\n", s2048=ext4, s20480=ext4)
        self.refused("several Linux file systems and no system's root; say number=, one of: "
                     "1 (ext4), 2 (ext4)", disk, "partition-from-disk")
        self.same(self.part(disk, number=2), ext4)
        disk = self.made_by("label: gpt\n2048,16384,L\n", s2048=self.image["vfat"])
        self.refused("no Linux file system; say number=, one of: 1 (vfat)", disk,
                     "partition-from-disk")

    def test_odd_tables(self):
        self.refused("no partition table", self.image["ext4"], "partition-from-disk")
        disk = self.made_by("label: dos\n2048,16384,83\n20480,2048,83\n", s2048=self.image["ext4"])
        self.same(self.part(disk, number=1), self.image["ext4"])
        patched(disk, 446 + 16 + 8, struct.pack("<I", 18431))
        self.refused("partitions 1 (8388608 bytes from 1048576) and 2 (1048576 from 9436672) "
                     "overlap", disk, "partition-from-disk", number=1)
        patched(disk, 446 + 16 + 8, struct.pack("<I", 48000))
        self.refused("the partition table is damaged: partition 2", disk, "partition-from-disk",
                     number=1)
        disk = self.made_by("label: gpt\n2048,16384,L\n", s2048=self.image["ext4"])
        self.same(self.part(disk, number=1), self.image["ext4"])
        patched(disk, 1024 + 40, b"\x01")
        self.refused("the partition table is damaged", disk, "partition-from-disk", number=1)


if __name__ == "__main__":
    unittest.main()
