#!/usr/bin/python3
"""Hostile and damaged qcow2, VDI and raw images: refused whole, each with its accepted neighbour.

Variations of rows 22, 23 and 25 to 28 of the list of hostile inputs (the rows themselves are in
hostile-rows.py), then what else an attacker may try.  hostile.py says what refused means; the images are craft.py's, sound but for the one thing the test
names."""
import os
import shutil
import struct
import subprocess
import sys
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import ALL_WAYS, main, patched  # noqa: E402

CLUSTER = 64 * KIB
SESPARSE = b"\xbe\xba\xfe\xca\0\0\0\0\0\0\0\1\2\0\0\0"
DISK = scattered(8 * CLUSTER, [(0, 5000), (3 * CLUSTER, CLUSTER), (7 * CLUSTER, CLUSTER)])
NAME_AT = 1024


class ByQemuImg(hostile.Case):
    """Formats that qemu-img reads; without it they are refused all the same, with status 7."""
    disk = DISK

    def setUp(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")


class Vdi(ByQemuImg):
    format = "vdi"
    disk = scattered(3 * MIB, [(0, 5000), (2 * MIB, MIB)])

    def test_cut(self):
        """qemu-img fills what is missing with zeros; nobody may take that for the disk."""
        good = vdi(self.disk)
        self.good(good)
        for cut in (1, SECTOR, CLUSTER, MIB - 1, MIB, MIB + 1, 2 * MIB):
            with self.subTest(cut=cut):
                self.bad(good[:-cut])

    def test_parent_and_types(self):
        for changes in ({"type": 0}, {"type": 3}, {"type": 4}, {"parent": noise(16, 9)},
                        {"link": noise(16, 9)}):
            with self.subTest(**changes):
                self.bad(vdi(self.disk, header=changes))

    def test_blocks(self):
        for entry in ({1: 0}, {0: 1}, {0: 2}, {1: 77}, {0: 0x7FFFFFFF}, {0: 0xFFFFFFFD}):
            with self.subTest(entry=entry):
                self.bad(vdi(self.disk, entry=entry))

    def test_header(self):
        for changes in ({"block": 0}, {"block": 512}, {"block": 1 << 31}, {"blocks": 2},
                        {"blocks": 0xFFFFFFFF},
                        {"size": 4 * MIB}, {"size": 1 << 63}, {"size": AT_END}, {"sector": 4096},
                        {"map": 1},
                        {"map": 0xFFFFFE00}, {"data": 1}, {"data": 0xFFFFFE00}, {"allocated": 77}):
            with self.subTest(**changes):
                self.bad(vdi(self.disk, header=changes), status=(4, 5))


class Qcow2(ByQemuImg):
    format = "qcow2"

    def names(self):
        port = self.bench.port
        return [self.bench.canary, "canary.raw", "../in/canary.raw", "/etc/passwd",
                "file:" + self.bench.canary,
                "nbd://127.0.0.1:%d/x" % port, "nbd:127.0.0.1:%d" % port,
                "http://127.0.0.1:%d/x" % port,
                'json:{"driver":"file","filename":"%s"}' % self.bench.canary,
                "image", "ssh://127.0.0.1:%d/x" % port, "\x1b[2J\n" + "x" * 100]

    def test_22_backing_file(self):
        for name in self.names():
            text = name.encode()
            image = qcow2(DISK, header={"backing": NAME_AT, "backing_size": len(text)},
                          texts=[(NAME_AT, text)])
            extended = qcow2(DISK, header={"backing": NAME_AT, "backing_size": len(text)},
                             texts=[(NAME_AT, text)],
                             extensions=[(0xE2792ACA, b"raw")])
            with self.subTest(name):
                self.bad(image, "backing")
                self.bad(extended, "backing")
                for other in (image, extended): # and declared to be another format
                    self.bench.refused(self, other, "raw", ("qcow2",))
        for format in ("vmdk", "vhd", "vhdx", "vdi"):
            self.bench.refused(self, image, format)
        for changes in ({"backing": 1 << 63, "backing_size": 5}, {"backing": NAME_AT},
                        {"backing_size": 8},
                        {"backing": AT_END, "backing_size": 0xFFFFFFFF},
                        {"backing": 1, "backing_size": 1}):
            with self.subTest(**changes):
                image = qcow2(DISK, header=changes, texts=[(NAME_AT, b"canary.raw")])
                if changes == {"backing_size": 8}: # a length of no name
                    self.bench.refused_or(self, image, "qcow2", DISK)
                else:
                    self.bad(image, "backing")

    def test_23_incompatible_features(self):
        self.good(qcow2(DISK))
        for bit in (1, 2, 4, 6, 7, 31, 32, 63):
            with self.subTest(bit=bit):
                self.bad(qcow2(DISK, header={"incompatible": 1 << bit}))

    def test_file_ends_before_its_table(self):
        """As qemu-img lays it out: header, refcounts, then the table; without it all is zeros."""
        image = qcow2(DISK)
        at, form = QCOW2_FIELDS["l1"]
        table = struct.unpack_from(form, image, at)[0]
        ordered = image + image[table:table + CLUSTER]
        ordered = patched(ordered, at, struct.pack(form, len(image)))
        for length in (len(image), len(image) + 7):
            with self.subTest(length=length):
                self.bad(ordered[:length])
        path = self.bench.put(b"")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "20G"], check=True)
        with open(path, "rb") as file:
            blank = file.read()
        self.assertEqual(struct.unpack_from(form, blank, at)[0] % CLUSTER, 0)
        self.bad(blank[:struct.unpack_from(form, blank, at)[0]])

    def test_cut_compressed(self):
        """A deflate stream that is cut is a short one to qemu-img."""
        text = b"".join(b"line %d of a file\n" % i for i in range(30000))
        disk = (text + bytes(8 * CLUSTER))[:8 * CLUSTER]
        raw = self.bench.put(disk)
        path = raw + ".z"
        subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path],
                       check=True)
        with open(path, "rb") as file:
            image = file.read()
        os.unlink(path)
        self.bench.accepted(self, image, "qcow2", disk)
        for cut in (1, 100, 300, 511, 512, 600, 5000):
            with self.subTest(cut=cut):
                self.bad(image[:-cut])

    def test_file_ends_in_its_header(self):
        for length in (8, 71, 72, 76, 80, 103):
            with self.subTest(length=length):
                self.bad(qcow2(DISK)[:length])

    def test_data_file(self):
        for name in self.names():
            image = qcow2(DISK, header={"incompatible": 4},
                          extensions=[(0x44415441, name.encode())])
            with self.subTest(name):
                self.bad(image, "another file")
                self.bench.refused(self, image, "raw", ("qcow2",))
                # the name without the bit that makes it effective
                self.bench.refused_or(self, qcow2(DISK, extensions=[(0x44415441, name.encode())]),
                                      "qcow2", DISK)

    def test_snapshots_encryption_versions(self):
        for changes in ({"crypt": 1}, {"crypt": 2}, {"crypt": 3}, {"version": 0}, {"version": 1},
                        {"version": 4},
                        {"version": 0xFFFFFFFF}, {"magic": b"QFI\xfa"},
                        {"snapshots": 1 << 20, "snapshots_at": CLUSTER},
                        {"snapshots": 0xFFFFFFFF, "snapshots_at": AT_END}):
            with self.subTest(**changes):
                self.bad(qcow2(DISK, header=changes))

    def test_geometry(self):
        for changes in ({"bits": 0}, {"bits": 8}, {"bits": 22}, {"bits": 31}, {"bits": 63},
                        {"bits": 64},
                        {"bits": 0xFFFFFFFF}, {"l1": 1}, {"l1": 1 << 63}, {"l1": AT_END & ~0xFFFF},
                        {"l1": 100 * CLUSTER}, {"l1_size": 0}, {"l1_size": 1 << 30},
                        {"l1_size": 0xFFFFFFFF},
                        {"rt": 1}, {"rt": 1 << 63}, {"rt_clusters": 0xFFFFFFFF},
                        {"rt_clusters": 1 << 24},
                        {"order": 7}, {"order": 0xFFFFFFFF}, {"length": 100},
                        {"length": 0xFFFFFFF8},
                        {"length": CLUSTER + 8}):
            with self.subTest(**changes):
                image = qcow2(DISK)
                for name, value in changes.items():
                    at, form = QCOW2_FIELDS[name]
                    image = patched(image, at, struct.pack(form, value))
                self.bad(image)
        for size in (1 << 62, 1 << 63, AT_END, AT_END - 511, (1 << 63) - 512, 65 * TIB):
            with self.subTest(size=size):
                self.bad(qcow2(DISK, header={"size": size}), status=(4, 5))
        self.bad(qcow2(DISK, header={"size": 3 * TIB}), status=(4, 5),
                 options=("--max-size", "10G"),
                 job={"max_size": 10 * GIB}, ways=("file", "pipe", "parts", "job"))

    def test_clusters(self):
        for name, how in {
                "past the end": {"l2": {1: 100 * CLUSTER | 1 << 63}},
                "not aligned": {"l2": {0: 5 * CLUSTER + 512 | 1 << 63}},
                "2^55": {"l2": {1: (1 << 55) | 1 << 63}},
                "l2 past the end": {"l1": {0: 100 * CLUSTER | 1 << 63}},
                "l2 not aligned": {"l1": {0: 4 * CLUSTER + 512 | 1 << 63}},
                "reserved": {"l1": {0: 4 * CLUSTER | 1 << 63 | 2}},
                "compressed, past the end": {"l2": {1: 1 << 62 | 100 * CLUSTER}},
                "compressed garbage": {"l2": {1: 1 << 62 | 5 * CLUSTER}},
        }.items():
            with self.subTest(name):
                self.bad(qcow2(DISK, **how))
        for cut in (1, SECTOR, CLUSTER - 1, CLUSTER, 3 * CLUSTER):
            with self.subTest(cut=cut):
                self.bad(qcow2(DISK, drop_tail=cut))
        for length in (0, 3, 4, 71, 72, 103, 104, CLUSTER, 2 * CLUSTER, 4 * CLUSTER):
            with self.subTest(length=length):
                self.bad(qcow2(DISK)[:length])

    def test_contents_that_begin_as_another_image(self):
        for magic in (b"vhdxfile", b"QFI\xfb\0\0\0\3", b"KDMV\1\0\0\0", b"# Disk DescriptorFile\n",
                      b"conectix"):
            with self.subTest(magic=magic):
                self.bad(qcow2(magic.ljust(SECTOR, b"\0") + DISK[SECTOR:]))


class Raw(hostile.Case):
    format = "raw"
    disk = mbr(scattered(4 * MIB, [(MIB, 5000)]), [(0x80, 0x83, 2048, 4096)])

    def test_25_table_and_another_magic(self):
        for start, name in ((b"KDMV\1\0\0\0", "vmdk"), (b"QFI\xfb\0\0\0\3", "qcow2"),
                            (b"vhdxfile", "vhdx"),
                            (b"conectix", "vhd"), (b"# Disk DescriptorFile\nversion=1\n", "vmdk"),
                            (b"COWD\1\0\0\0\3\0\0\0", "vmdk"),
                            (b"version=1\nCID=0", "vmdk"), (b"version=3\r\n", "vmdk"),
                            (b"# a\n#\n  \n\r\nversion=2\n", "vmdk"), (b"version=4\n", None),
                            (b"version=1 \n", None), (b"x\nversion=1\n", None),
                            (b" version=1\n", None),
                            (b"QFI\xfb\0\0\0\1", ""), (b"QED\0", ""), (VDI_MAGIC, "vdi"),
                            (SESPARSE, ""),
                            (b"LUKS\xba\xbe\0\1", None), (b"\xeb\x63\x90", None)):
            for disk in (self.disk, scattered(64 * KIB, [(600, 100)])):
                image = start + disk[len(start):]
                with self.subTest(start[:10]):
                    if name is None: # an encrypted disk, boot code: nothing that points elsewhere
                        self.good(image, image)
                    else:
                        self.bad(image, name)

    def test_25_whole_images_declared_raw(self):
        disk = scattered(256 * KIB, [(0, 5000)])
        for name, image in {"vmdk": vmdk_sparse(disk), "stream": vmdk_stream(disk),
                            "vhd": vhd_dynamic(disk),
                            "fixed": vhd_fixed(disk), "vhdx": vhdx(disk),
                            "qcow2": qcow2(disk)}.items():
            with self.subTest(name):
                self.bad(image, ways=ALL_WAYS if name != "fixed" else ("file", "parts", "job"))

    def test_iso_and_another_image(self):
        """ISO 9660 leaves its first 32 KiB to others; so an image in front of it is one all the same."""
        iso = bytes(32 * KIB) + b"\1CD001\1".ljust(2 * KIB, b"\0") + noise(20 * KIB)
        self.good(iso, iso, ways=("file", "check", "inspect"))
        for start in (qcow2(b""), vmdk_text('RW 128 FLAT "canary.raw" 0'), VDI_MAGIC):
            self.bad(start[:32 * KIB] + iso[len(start[:32 * KIB]):], "FormatMismatch", ways=("file", "pipe"))

    def test_tables_without_end(self):
        """What looks at partitions goes through so many and no more."""
        many = bytearray(mbr(bytes(16 * MIB), [(0x80, 0x83, 1, 30), (0, 5, 32, 32000)]))
        for i in range(15000):
            boot_record(many, (32 + 2 * i) * SECTOR, [(0, 0x83, 1, 1), (0, 5, 2 * (i + 1), 2)])
        self.good(bytes(many), bytes(many), ways=("check", "inspect"))
        for at, value in ((80, 0xFFFFFFFF), (80, 0), (84, 0xFFFFFFFF), (84, 0), (84, 1), (72, AT_END)):
            table = bytearray(gpt(scattered(4 * MIB, [(2048 * SECTOR, 5000)])))
            for header in (SECTOR, len(table) - SECTOR):
                struct.pack_into("<Q" if at == 72 else "<I", table, header + at, value)
                table[header + 16:header + 20] = bytes(4)
                struct.pack_into("<I", table, header + 16, zlib.crc32(table[header:header + 92]))
            with self.subTest(at=at, value=value):
                self.good(bytes(table), bytes(table), ways=("check", "inspect"))

    def test_26_extended_partitions_that_go_round(self):
        """It is copied as it stands there; who looks at partitions ends at once."""
        for second, third in ((0, 0), (2048, 0), (2048, 2048), (0xFFFFF800, 0xFFFFF800)):
            disk = bytearray(mbr(self.disk, [(0, 5, 2048, 6000), (0, 0x0F, 2048, 6000)]))
            boot_record(disk, MIB, [(0, 0x83, 63, 100), (0, 5, second, 100)])
            boot_record(disk, 2 * MIB, [(0, 0x83, 63, 100), (0, 5, third, 100)])
            with self.subTest(second=second, third=third):
                self.good(bytes(disk), bytes(disk), ways=(*ALL_WAYS[:4], "check", "inspect"))

    def test_27_gpt(self):
        for count, size in ((129, 128), (128, 128), (64, 256)):
            disk = gpt(scattered(4 * MIB, [(2048 * SECTOR, 5000)]), count, size)
            with self.subTest(count=count):
                self.good(disk, disk)
        for at, value in ((SECTOR + 80, 0xFFFFFFFF), (SECTOR + 84, 0),
                          (SECTOR + 72, 0)): # nobody has to read it
            image = patched(disk, at, struct.pack("<I", value))
            self.bench.refused_or(self, image, "raw", image)

    def test_28_random_bytes(self):
        for seed in range(3):
            disk = noise(MIB, seed)
            self.good(disk, disk)
            for other in ("vmdk", "vhd", "vhdx", "qcow2", "vdi"):
                with self.subTest(other):
                    self.bench.refused(self, disk, other)

    def test_sizes(self):
        for length in (SECTOR, SECTOR * 3, MIB + SECTOR):
            self.good(noise(length), noise(length))
        for length in (1, 511, 513,
                       100001): # a disk has whole sectors: refused, or as it is, or filled up
            disk = noise(length)
            for way in ALL_WAYS[:4]:
                path = self.bench.put(disk)
                result = self.bench.go(way, path, "raw")
                if result.status:
                    self.bench.was_refused(self, result)
                else:
                    with open(self.bench.path("out", "disk.raw"), "rb") as file:
                        size = len(file.read())
                    self.bench.was_accepted(self, result, disk.ljust(size, b"\0"))
                    self.assertIn(size, (length, up(length, SECTOR)))
        path = self.bench.put({"size": 3 * TIB, 5 * MIB: b"x"})
        for way, job in (("file", ()), ("job", {"max_size": 10 * GIB})):
            result = self.bench.go(way, path, "raw", () if job else ("--max-size", "10G"), job)
            self.bench.was_refused(self, result, (3 * TIB, 10 * GIB), (5,))

    def test_what_is_no_file(self):
        for name, make in {"fifo": os.mkfifo, "directory": os.mkdir,
                           "loop": lambda path: os.symlink("loop", path)}.items():
            path = self.bench.path("in", name)
            make(path)
            for format in ("raw", "vmdk", "vhd", "vhdx", "qcow2"):
                with self.subTest(name, format=format):
                    result = self.bench.go("file", path, format)
                    self.bench.was_refused(self, result, (), (3, 4))
        for format in ("raw", "vmdk", "vhd", "vhdx", "qcow2"):
            for path in ("/dev/null", "/dev/zero"):
                with self.subTest(path, format=format):
                    result = self.bench.go("file", path, format)
                    self.bench.was_refused(self, result, (), (3, 4))


if __name__ == "__main__":
    main()
