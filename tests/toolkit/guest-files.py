#!/usr/bin/python3
"""What guest/guest.h finds on disks: partitions as Linux numbers them, file systems and their state,
and files, whose links never lead out of the guest."""
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import guest  # noqa: E402

HELPER = os.path.join(os.environ.get("top_builddir", os.path.join(TOP, "build")),
                      "tests/toolkit/guest-helper")
for program in "sfdisk", "mke2fs", "debugfs", "mkfs.xfs", "mkfs.vfat", "mcopy", "grub-fstest", \
        "qemu-img":
    if not shutil.which(program, path=guest.PATH):
        print("skipped: %s is not installed" % program)
        sys.exit(77)

MIB = 1 << 20
CANARY = "the token of the host"
SMALL = {"etc/os-release": b"ID=small\n", "etc/fstab": guest.fstab()}


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="guest.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.disk = os.path.join(self.tmp, "disk.raw")
        self.scratch = os.path.join(self.tmp, "scratch")
        os.mkdir(self.scratch)
        self.canary = os.path.join(self.tmp, "canary")
        with open(self.canary, "w", encoding="utf-8") as out:
            out.write(CANARY)

    def tearDown(self):
        self.assertEqual(os.listdir(self.scratch), [], "something was left in scratch")

    def ask(self, *words, disk=None, seconds=60):
        done = subprocess.run([HELPER, disk or self.disk, self.scratch, *map(str, words)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=seconds)
        self.assertIn(done.returncode, (0, 1), done.stdout)
        return done.stdout.decode(errors="surrogateescape")

    def failed(self, code, words, *question):
        said = self.ask(*question)
        self.assertTrue(said.startswith("failed: %s: " % code), said)
        self.assertIn(words, said)
        self.assertNotIn(CANARY, said)

    def names(self, path):
        return self.ask("list", path).splitlines()

    def peek(self, offset, size):
        with open(self.disk, "rb") as disk:
            disk.seek(offset)
            return bytearray(disk.read(size))

    def poke(self, offset, data):
        with open(self.disk, "r+b") as disk:
            disk.seek(offset)
            disk.write(data)

    def parts(self):
        return [tuple(map(int, found)) for found in
                re.findall(r"^part (\d+) at=(\d+) len=(\d+)", self.ask("table"), re.M)]

    def table(self):
        return re.search(r"^table (\w+) .*fault=(.*)$", self.ask("table"), re.M).groups()


class Tables(Case):
    def told_by_sfdisk(self):
        text = guest.run("sfdisk", "-d", self.disk).decode()
        return [(int(n), int(start) * 512, int(size) * 512) for n, start, size in
                re.findall(r"disk\.raw(\d+) : start= *(\d+), size= *(\d+)", text)]

    def test_numbers_are_those_of_linux(self):
        for table, logical in ("mbr", False), ("mbr", True), ("gpt", False):
            guest.build(self.disk, SMALL, table=table, logical=logical, esp=True, boot=True,
                        swap=True, bios=table == "gpt")
            self.assertEqual(self.parts(), self.told_by_sfdisk())
            self.assertEqual(self.table(), (table, ""))
            self.assertEqual(self.ask("read", "/etc/os-release"), "ID=small\n")

    def logical(self):
        guest.build(self.disk, SMALL, logical=True, boot=True, swap=True, esp=True)
        first = struct.unpack_from("<I", self.peek(446 + 16 + 8, 4))[0]
        following = struct.unpack_from("<I", self.peek(first * 512 + 446 + 16 + 8, 4))[0]
        return first, first + following

    def test_a_chain_that_comes_back(self):
        first, second = self.logical()
        whole = self.parts()
        self.assertEqual([part[0] for part in whole], [1, 2, 5, 6, 7])
        entry = struct.pack("<B3xB3xII", 0, 5, 0, 2048)
        self.poke(second * 512 + 446 + 16, entry)  # the first again: it is at 0 of the whole
        self.assertEqual(self.parts(), whole[:4])
        self.assertIn("comes back to sector %d" % first, self.table()[1])

    def test_a_chain_that_leaves(self):
        _, second = self.logical()
        entry = struct.pack("<B3xB3xII", 0, 5, 1 << 30, 2048)
        self.poke(second * 512 + 446 + 16, entry)
        self.assertEqual(len(self.parts()), 4)
        self.assertIn("outside its partition", self.table()[1])
        self.poke(second * 512 + 510, b"\0\0")
        self.assertEqual(len(self.parts()), 3)
        self.assertIn("has no signature", self.table()[1])

    def test_a_partition_outside_the_disk(self):
        guest.build(self.disk, SMALL)
        size = os.stat(self.disk).st_size // 512
        self.poke(446 + 12, struct.pack("<I", size))
        self.assertEqual(self.parts(), [(1, MIB, (size - 2048) * 512)])
        self.assertIn("partition 1 has %d sectors" % size, self.table()[1])
        self.assertEqual(self.ask("read", "/etc/os-release"), "ID=small\n")
        self.poke(446 + 8, struct.pack("<I", size))
        self.assertEqual(self.parts(), [])
        self.failed("ENOENT", "no operating system", "read", "/etc/os-release")

    def entries(self, count):
        """The GPT with so many entries."""
        entries = self.peek(1024, 128 * 128).ljust(count * 128, b"\0")
        header = self.peek(512, 512)
        struct.pack_into("<I", header, 80, count)
        struct.pack_into("<I", header, 88, zlib.crc32(bytes(entries)))
        struct.pack_into("<I", header, 16, 0)
        struct.pack_into("<I", header, 16, zlib.crc32(bytes(header[:92])))
        self.poke(512, header)
        self.poke(1024, entries)

    def test_129_entries(self):
        guest.build(self.disk, SMALL, table="gpt")
        whole = self.ask("table")
        self.entries(129)
        self.assertEqual(self.ask("table"), whole)

    def test_a_protective_entry_without_size(self):
        """Its size is nothing that Linux or boot-layout look at."""
        guest.build(self.disk, SMALL, table="gpt")
        whole = self.ask("table")
        for size in 0xffffffff, 1, 0:
            self.poke(446 + 12, struct.pack("<I", size))
            self.assertEqual(self.ask("table"), whole)

    def test_damaged_gpt(self):
        guest.build(self.disk, SMALL, table="gpt")
        whole = self.parts()
        self.poke(512 + 40, b"\xff")
        self.assertEqual(self.parts(), whole)
        self.assertIn("has the CRC", self.table()[1])
        self.poke(os.stat(self.disk).st_size - 512, b"\xff")
        self.assertEqual((self.parts(), self.table()[0]), ([], "gpt"))

    def test_none(self):
        for fs in "ext4", "xfs", "vfat":
            guest.build(self.disk, SMALL, table="none", fs=fs)
            self.assertEqual(self.table(), ("none", ""))
            self.assertIn("fs 0 type=%s" % fs, self.ask("table"))
        with open(self.disk, "wb") as disk:
            disk.write(random.Random(1).randbytes(MIB))
        self.assertNotIn("\nfs ", self.ask("table"))
        for size in 0, 511, 512, 1024:
            os.truncate(self.disk, size)
            self.assertIn("trees=0", self.ask("table"))


class FileSystems(Case):
    def state(self, number=1):
        return re.search(r"^fs %d type=(\S*) .*? (clean|dirty|unknown)\b.* dirt=(.*)$" % number,
                         self.ask("table"), re.M).groups()

    def debugfs(self, offset, *requests):
        for request in requests:
            guest.run("debugfs", "-w", "-R", request, "%s?offset=%d" % (self.disk, offset))

    def test_labels_and_names(self):
        guest.build(self.disk, SMALL, table="gpt", boot=True, label="top")
        uuid = guest.DISK_GUID.lower()
        for spec, number in ((("UUID=" + guest.ROOT_UUID), 2), ("LABEL=top", 2),
                             ('UUID="%s"' % guest.BOOT_UUID.upper(), 1), ("/dev/sda2", 2),
                             ("PARTUUID=" + uuid[:-1] + "1", 1), ("PARTLABEL=linux", 1),
                             ("/dev/disk/by-uuid/" + guest.ROOT_UUID, 2), ("/dev/nvme0n1p1", 1),
                             ("LABEL=Top", 0), ("/dev/sda3", 0), ("/dev/sdb2", 0), ("UUID=", 0),
                             ("/dev/mapper/top", 0), ("LABEL=" + "x" * 5000, 0)):
            self.assertEqual(int(self.ask("find", spec)), number, spec)

    def test_state_of_ext(self):
        for fs in "ext2", "ext3", "ext4":
            offset, = guest.build(self.disk, SMALL, fs=fs)
            self.assertEqual(self.state(), (fs, "clean", ""))
        self.debugfs(offset, "set_super_value state 0")
        self.assertEqual(self.state(), ("ext4", "dirty", "it was not unmounted"))
        self.debugfs(offset, "set_super_value state 3")
        self.assertIn("errors", self.state()[2])
        self.debugfs(offset, "set_super_value state 1", "feature needs_recovery")
        self.assertIn("journal", self.state()[2])

    def test_state_of_xfs(self):
        offset, = guest.build(self.disk, SMALL, fs="xfs")
        self.assertEqual(self.state(), ("xfs", "clean", ""))
        superblock = self.peek(offset, 512)
        block, = struct.unpack_from(">I", superblock, 4)
        start, = struct.unpack_from(">Q", superblock, 48)
        group, = struct.unpack_from(">I", superblock, 84)
        shift = superblock[124]
        log = offset + ((start >> shift) * group + (start & ((1 << shift) - 1))) * block
        record = self.peek(log, 512)
        self.assertEqual(record[:4], b"\xfe\xed\xba\xbe")
        self.poke(log + 512 + 9, b"\0")  # what it says is no unmount
        self.assertEqual(self.state()[1], "dirty")
        self.poke(log + 512 + 9, b"\x20")
        self.assertEqual(self.state()[1], "clean")
        self.poke(log + 1024, struct.pack(">I", 1))  # something was written after it
        self.assertEqual(self.state()[1], "dirty")

    def test_state_of_fat(self):
        guest.build(self.disk, {}, fs="vfat")
        self.assertEqual(self.state(), ("vfat", "clean", ""))
        self.poke(MIB + 0x25, b"\1")
        self.assertEqual(self.state()[1], "dirty")

    def test_state_of_ntfs(self):
        guest.build(self.disk, {"Windows/System32/kernel": b""}, os="windows")
        self.assertEqual(self.state(), ("ntfs", "clean", ""))
        boot = self.peek(MIB, 512)
        mft = struct.unpack_from("<Q", boot, 48)[0] * boot[13] * 512
        record = self.peek(MIB + mft + 3 * 1024, 1024)
        at = struct.unpack_from("<H", record, 20)[0]
        while struct.unpack_from("<I", record, at)[0] != 0x70:
            at += struct.unpack_from("<I", record, at + 4)[0]
        at += struct.unpack_from("<H", record, at + 20)[0]
        self.poke(MIB + mft + 3 * 1024 + at + 10, b"\1")
        self.assertEqual(self.state()[1], "dirty")

    def test_two_kinds_in_one_place(self):
        fat = os.path.join(self.tmp, "fat")
        guest.make_fs(fat, 24 * MIB, "vfat", {}, guest.ESP_ID)
        offset, = guest.build(self.disk, SMALL)
        self.assertIn("root", self.ask("table"))
        with open(fat, "rb") as boot:
            self.poke(offset, boot.read(512))
        self.assertIn("ambivalent", self.ask("table"))
        self.failed("ENOENT", "no operating system", "read", "/etc/os-release")

    def test_several_trees(self):
        parts = [guest.Part("linux", 8 * MIB, "ext4", SMALL, uuid) for uuid in
                 (guest.ROOT_UUID, guest.BOOT_UUID)]
        guest.assemble(self.disk, parts)
        self.assertIn("trees=2", self.ask("table"))
        self.assertRegex(self.ask("table"), r"fs 1 .* tree root")

    def test_an_encrypted_one_is_not_read(self):
        guest.build(self.disk, SMALL)
        self.poke(MIB, b"LUKS\xba\xbe\0\1" + bytes(160) + b"11111111-2222-4333-8444-555555555555\0")
        self.poke(MIB + 1024, bytes(1024))
        self.assertIn("type=crypto_LUKS", self.ask("table"))


class Files(Case):
    LINKS = {
        "a/file": b"of a", "a/up": guest.Link("../a/file"), "a/top": guest.Link("/a/file"),
        "a/dot": guest.Link("./././file"), "chain": guest.Link("a/up"), "dir": guest.Link("a"),
        "loop": guest.Link("loop"), "ping": guest.Link("pong"), "pong": guest.Link("ping"),
        "above": guest.Link("../../../../../../a/file"), "dangling": guest.Link("/nowhere"),
        "a/b/c/deep": guest.Link("../../../chain"), "long": guest.Link("a/" + "./" * 60 + "file"),
        "through": guest.Link("a/file/x"), "empty": None,
    }

    def kinds(self):
        """Disks of both readers; a copy in scratch where the image is no raw one."""
        for fs in "ext4", "xfs":
            yield fs

    def check_links(self):
        for path in ("/a/file", "/a/up", "/a/top", "/a/dot", "/chain", "/dir/file", "/dir/up",
                     "/above", "/a/b/c/deep", "/long", "//a//./file", "/a/../../../a/file"):
            self.assertEqual(self.ask("read", path), "of a", path)
        for path, code in (("/loop", "ELOOP"), ("/ping", "ELOOP"), ("/dangling", "ENOENT"),
                           ("/through", "ENOTDIR"), ("/a/file/x", "ENOTDIR"), ("/a", "EISDIR"),
                           ("/dir", "EISDIR"), ("/nothing", "ENOENT")):
            self.failed(code, "", "read", path)
        self.failed("ENOTDIR", "", "list", "/a/file")
        self.failed("ENOENT", "", "list", "/nothing")
        self.assertEqual(self.names("/empty"), [])
        self.assertEqual(sorted(self.names("/dir")), ["b", "dot", "file", "top", "up"])
        self.assertEqual(set(self.names("/")) - {"lost+found"},
                         {"etc", *(name.split("/")[0] for name in self.LINKS)})

    def test_links(self):
        for fs in self.kinds():
            with self.subTest(fs):
                guest.build(self.disk, {**SMALL, **self.LINKS}, fs=fs)
                self.check_links()

    def test_links_do_not_lead_to_the_host(self):
        tree = {**SMALL, "up": guest.Link("../" * 20 + self.canary[1:]),
                "top": guest.Link(self.canary), "dir": guest.Link(os.path.dirname(self.canary)),
                "stdin": guest.Link("/proc/self/fd/0"), "host": guest.Link("(host)" + self.canary)}
        for fs in self.kinds():
            guest.build(self.disk, tree, fs=fs)
            for path in "/up", "/top", "/dir/canary", "/stdin", "/host", self.canary, \
                    "/(host)" + self.canary:
                said = self.ask("read", path)
                self.assertTrue(said.startswith("failed: ENOENT"), said)
        with open(self.canary, encoding="utf-8") as own:  # the neighbour: there it can be read
            self.assertEqual(own.read(), CANARY)
        guest.build(self.disk, {**tree, self.canary[1:]: b"the guest's own"})
        for path in "/up", "/top", "/dir/canary":
            self.assertEqual(self.ask("read", path), "the guest's own")

    def test_forty_links_and_no_more(self):
        tree = {"l%d" % i: guest.Link("l%d" % (i + 1)) for i in range(41)}
        guest.build(self.disk, {**SMALL, **tree, "l41": b"end"})
        self.assertEqual(self.ask("read", "/l1"), "end")
        self.failed("ELOOP", "more than 40 links", "read", "/l0")

    def test_links_go_over_into_what_is_mounted(self):
        tree = {**guest.debian(boot=True), "kernel": guest.Link("boot/config-" + guest.KERNEL)}
        guest.build(self.disk, tree, boot=True)
        self.assertEqual(self.ask("read", "/kernel"), "CONFIG_VIRTIO_BLK=m\n")
        self.assertEqual(self.ask("read", "/lib/os-release"), self.ask("read", "/etc/os-release"))
        self.failed("ENOENT", "there is no '/boot/no/file'", "read", "/boot/no/file")
        tree["etc/fstab"] = tree["etc/fstab"].replace(b" /boot ", b" /boot/ ")
        guest.build(self.disk, tree, boot=True)
        self.assertEqual(self.ask("read", "/kernel"), "CONFIG_VIRTIO_BLK=m\n")
        tree["etc/fstab"] = guest.fstab()  # nothing is mounted
        guest.build(self.disk, tree, boot=True)
        self.failed("ENOENT", "", "read", "/kernel")

    def test_odd_names(self):
        names = ["n" * 255, "\u00e4\u2713" * 40, "two words", " ahead", "-l", "--help", "...", ".hidden", "(loop0)",
                 "a'b\"c$d\\e", "%s%n", "plus+1", "semi;colon"]
        for fs in self.kinds():
            told = [name for name in names if fs == "ext4" or " " not in name]  # mkfs.xfs cannot
            guest.build(self.disk, {**SMALL, **{"d/" + name: name.encode() for name in told}}, fs=fs)
            self.assertEqual(sorted(self.names("/d")), sorted(told))
            for name in told:
                self.assertEqual(self.ask("read", "/d/" + name), name)
        guest.build(self.disk, {**SMALL, "d/two\nlines": b"2"})
        self.assertEqual(self.ask("read", "/d/two\nlines"), "2")

    def test_no_more_than_asked_for(self):
        for fs in self.kinds():
            guest.build(self.disk, {**SMALL, "big": b"x" * 100000}, fs=fs)
            self.assertEqual(len(self.ask("read", "/big", 100000)), 100000)
            self.failed("EFBIG", "", "read", "/big", 99999)
            self.assertEqual(self.ask("head", "/big", 5), "xxxxx")
            self.assertRegex(self.ask("stat", "/big"), "kind=1 size=100000 mode=(644|0)\n")
            self.assertRegex(self.ask("stat", "/etc"), "kind=2 ")

    def test_a_file_that_says_it_is_huge(self):
        offset, = guest.build(self.disk, {**SMALL, "big": b"x" * 1000})
        guest.run("debugfs", "-w", "-R", "set_inode_field /big size 0x100000000000",
                  "%s?offset=%d" % (self.disk, offset))
        self.failed("EFBIG", "17592186044416 bytes", "read", "/big", 1000)
        self.assertEqual(self.ask("head", "/big", 1000), "x" * 1000)

    def test_the_same_through_every_format(self):
        for fs in self.kinds():
            guest.build(self.disk, {**SMALL, **self.LINKS}, fs=fs)
            whole, raw = self.ask("table"), self.disk
            for form, options in ("vmdk", ("-o", "subformat=streamOptimized")), ("qcow2", ()):
                image = raw + "." + form
                guest.run("qemu-img", "convert", "-O", form, *options, raw, image)
                self.disk = image
                self.assertEqual(self.ask("table"), whole)
                self.check_links()
            self.disk = raw

    def test_names_of_the_dead_are_removed(self):
        """A process that was killed while grub-fstest ran leaves a name in scratch."""
        guest.build(self.disk, SMALL, fs="xfs")
        image = self.disk + ".qcow2"
        guest.run("qemu-img", "convert", "-O", "qcow2", self.disk, image)
        for name in "imaging-guest.1.0", "other":
            with open(os.path.join(self.scratch, name), "w", encoding="utf-8"):
                pass
        self.assertEqual(self.ask("read", "/etc/os-release", disk=image), "ID=small\n")
        self.assertEqual(os.listdir(self.scratch), ["other"])
        os.unlink(os.path.join(self.scratch, "other"))

    def test_many_names(self):
        names = ["file%05d.dll" % i for i in range(2000)]
        for fs in self.kinds():
            guest.build(self.disk, {**SMALL, **{"d/" + name: b"" for name in names}}, fs=fs)
            self.assertEqual(sorted(self.names("/d")), names)

    def test_btrfs(self):
        if not shutil.which("mkfs.btrfs", path=guest.PATH):
            self.skipTest("mkfs.btrfs is not installed")
        for top in "", "@/":
            guest.build(self.disk, {top + path: content for path, content in SMALL.items()},
                        fs="btrfs")
            self.assertRegex(self.ask("table"), "type=btrfs .* clean tree root%s " % ("/@" if top else ""))
            self.assertEqual(self.ask("read", "/etc/os-release"), "ID=small\n")

    def test_fat_and_ntfs(self):
        guest.build(self.disk, os="windows", esp=True, table="gpt", tree={
            "Windows/System32/Config/SYSTEM": b"hive", "Program Files/a b": b"with blanks",
            "boot/efi/EFI/BOOT/BOOTX64.EFI": b"MZ"})
        self.assertIn("windows=1", self.ask("table"))
        self.assertEqual(self.ask("read", "/windows/SYSTEM32/config/system"), "hive")
        self.assertEqual(self.ask("read", "/Program Files/a b"), "with blanks")
        self.assertEqual(self.names("/program files"), ["a b"])
        self.assertEqual([name for name in self.names("/") if name[0] != "$"],
                         ["Program Files", "Windows"])


class Damage(Case):
    def test_storm(self):
        """Damaged superblocks, descriptors, inodes, directories: no crash, no hang."""
        for i, options in enumerate(({"options": ("-O", "^metadata_csum", "-b", "1024")},
                                     {"fs": "ext2"}, {"table": "gpt", "boot": True})):
            guest.build(self.disk, mib=8, **{"table": "none", **options})
            said = self.ask("storm", 1 + i * 1000, 200, seconds=300)
            found = re.fullmatch(r"looked 200 found (\d+) failed \d+\n", said)
            self.assertTrue(found, said)
            self.assertGreater(int(found.group(1)), 50)  # it reached what it is for

    def test_a_superblock_that_lies(self):
        offset, = guest.build(self.disk, SMALL)
        for at, value in ((4, 0xffffffff), (0x18, 31), (0x20, 0), (0x20, 1), (0x28, 0xffffffff),
                          (0x58, 0xffff), (0x14, 0xffffffff)):
            kept = self.peek(offset + 1024 + at, 4)
            self.poke(offset + 1024 + at, struct.pack("<I", value))
            self.assertIn("trees=0", self.ask("table"), hex(at))
            self.poke(offset + 1024 + at, kept)
        self.assertIn("trees=1", self.ask("table"))
        self.poke(offset + 1024 + 0x150, struct.pack("<I", 0xffff))  # blocks, the upper half
        self.assertIn("more groups than 16 TiB need", self.ask("table"))

    def test_files_of_ext_that_lie(self):
        tree = {**SMALL, "file": b"x" * 5000, "link": guest.Link("file"),
                "long": guest.Link("./" * 50 + "file")}
        offset, = guest.build(self.disk, tree, fs="ext2", options=("-b", "1024"))
        where = "%s?offset=%d" % (self.disk, offset)
        for path in "/file", "/link", "/long":
            self.assertEqual(self.ask("read", path), "x" * 5000)
        for request in "/file block[1] 0x7fffffff", "/link size 0", "/long size 4096":
            guest.run("debugfs", "-w", "-R", "set_inode_field " + request, where)
        self.failed("EBADMSG", "'/file' cannot be read", "read", "/file")
        self.failed("EBADMSG", "the link '/link' has 0 bytes", "read", "/link")
        self.failed("EBADMSG", "the link '/long' has 4096 bytes", "read", "/long")
        self.assertEqual(self.ask("read", "/etc/os-release"), "ID=small\n")

    def test_what_grub_complains_of(self):
        """A chain of clusters that leads out of the file system."""
        tree = {**guest.debian(esp=True), "boot/efi/big": b"x" * 9000}
        offset = guest.build(self.disk, tree, esp=True)[0]
        self.assertEqual(self.ask("read", "/boot/efi/big"), "x" * 9000)
        boot = self.peek(offset, 512)
        reserved, tables = struct.unpack_from("<H", boot, 14)[0], boot[16]
        size, = struct.unpack_from("<H", boot, 22)
        root = offset + (reserved + tables * size) * 512
        listed = self.peek(root, 512 * 32)
        first, = struct.unpack_from("<H", listed, listed.index(b"BIG        ") + 26)
        self.poke(offset + reserved * 512 + first * 3 // 2, b"\xee\xee\xee")  # FAT12
        self.failed("EBADMSG", "'/big' cannot be read: ", "read", "/boot/efi/big")
        self.assertIn("ID=debian", self.ask("read", "/etc/os-release"))

    def test_a_directory_without_end(self):
        """Its map of blocks leads to itself: a billion blocks."""
        offset, = guest.build(self.disk, {**SMALL, "d/f": b""}, fs="ext2", options=("-b", "1024"))
        where = "%s?offset=%d" % (self.disk, offset)
        for name in "IND", "DIND", "TIND":
            guest.run("debugfs", "-w", "-R", "set_inode_field /d block[%s] 1024" % name, where)
        guest.run("debugfs", "-w", "-R", "set_inode_field /d size 0x40000000", where)
        # as an entry of a directory 1024, too, is right: it has the whole block
        self.poke(offset + 1024 * 1024, struct.pack("<I", 1024) * 256)
        self.failed("EBADMSG", "more than 64 MiB", "list", "/d")
        self.assertEqual(self.ask("read", "/etc/os-release"), "ID=small\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
