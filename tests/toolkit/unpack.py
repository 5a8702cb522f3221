#!/usr/bin/python3
"""gz, xz and zip in front of every format, in every way they come; damaged and hostile ones are
refused whole, each with its accepted neighbour.  OVAs are ova.py's.

The archives are made by the programs gzip, xz and zip, by Python's modules, and by packed.py where
those would not make the defect.  hostile.py says what refused means."""
import gzip
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import ALL_WAYS, TO_RAW, main, patched  # noqa: E402
from packed import Packed, OneWay, by_program, xz, zip_by_program, zip_member, zip_of, zipped  # noqa: E402

DISK = scattered(MIB, [(0, 5000), (300 * KIB, 64 * KIB), (MIB - 512, 512)])
IMAGES = {"raw": DISK, "vmdk": bytes(vmdk_stream(DISK)),
          "vhd": bytes(vhd_dynamic(DISK, block=512 * KIB)), "vhdx": bytes(vhdx(DISK)),
          "qcow2": bytes(qcow2(DISK))}
RAW = gzip.compress(DISK)


class Kinds(Packed):
    disk = DISK

    def test_every_format(self):
        for format, image in IMAGES.items():
            self.good(format + ".gz", gzip.compress(image), ways=("file", "pipe", "parts"))
            self.good(format + ".xz", xz(image), ways=("file", "pipe"))
            self.good(format + ".zip", zip_of(("d." + format, image)), ways=("file", "pipe"))
            self.good(format + ".zip", zip_of(("d", image), method=zipfile.ZIP_STORED),
                      ways=("file", "pipe", "parts"))

    def test_every_way(self):
        self.good("raw.gz", RAW, ways=TO_RAW)
        self.good("raw.xz", xz(DISK), ways=ALL_WAYS)
        self.good("raw.zip", zip_of(("d", DISK)), ways=ALL_WAYS)
        self.good("raw.zip", zip_of(("d", DISK), method=zipfile.ZIP_STORED), ways=ALL_WAYS)

    def test_http(self):
        """One object of a web server."""
        for packed, data in (("raw.gz", RAW), ("raw.xz", xz(DISK)), ("vmdk.zip", zip_of(
                ("d.vmdk", IMAGES["vmdk"])))):
            self.bench.serve(self.bench.put(data), "raw")
            self.bench.put(data, "web", "whole")
            result = self.bench.go("file", self.bench.base + "/whole", packed)
            self.bench.was_accepted(self, result, DISK)

    def test_programs(self):
        place = self.bench.path("log")
        for command in (("gzip", "-c"), ("gzip", "-1c"), ("gzip", "-9nc")):
            self.good("raw.gz", by_program(*command)(DISK), ways=("file", "pipe"))
        for command in (("xz", "-c"), ("xz", "-0c"), ("xz", "-c", "--check=crc32"),
                        ("xz", "-c", "--check=sha256"), ("xz", "-c", "--block-size=100KiB"),
                        ("xz", "-c", "--x86", "--lzma2=dict=8MiB")):
            self.good("raw.xz", by_program(*command)(DISK), ways=("file", "pipe"))
        for options in ((), ("-0",), ("-9",), ("-fz",), ("-X",), ("-fd",)):
            self.good("raw.zip", zip_by_program(DISK, place, *options), ways=("file", "pipe"))
        self.good("raw.zip", by_program("zip", "-q", "-", "-")(DISK), ways=("file", "pipe"))

    def test_joined(self):
        """gzip members and xz streams may follow each other; xz pads them by fours."""
        a, b = DISK[:1000], DISK[1000:]
        self.good("raw.gz", gzip.compress(a) + gzip.compress(b""), a, ways=("file", "pipe"))
        self.good("raw.gz", gzip.compress(a) + gzip.compress(b), ways=("file", "pipe"))
        self.good("raw.xz", xz(a) + bytes(8) + xz(b), ways=("file", "pipe"))

    def test_indexes_that_are_too_large(self):
        """The size is then known only at the end, and no time is lost: liblzma's grows with the square."""
        many = xz(b"") * 20000 + xz(DISK)
        self.good("raw.xz", many, ways=("file", "pipe"))
        said = json.loads(self.bench.run(["info", "--output", "json", self.bench.put(many)]).out)
        self.assertNotIn("virtual-size", said)

    def test_gzip_header(self):
        """With a name, a comment, an extra field and a CRC of its own."""
        head = b"\x1f\x8b\x08\x1e" + bytes(4) + b"\0\3" + struct.pack("<H", 5) + b"extra"
        head += b"disk.raw\0a comment\0"
        head += struct.pack("<H", zlib.crc32(head) & 0xffff)
        self.good("raw.gz", head + RAW[10:], ways=("file", "pipe"))
        self.bad("raw.gz", patched(head, 14, b"E") + RAW[10:], ways=("file", "pipe"))

    def test_zip_layouts(self):
        self.good("raw.zip", zip_of(("d", DISK), out=OneWay()), ways=("file", "pipe"))
        self.good("raw.zip", zip_of(("dir/", b""), ("dir/d", DISK)), ways=("file", "pipe"))
        comment = b"PK\5\6 a comment that looks like an end" + bytes(300)
        self.good("raw.zip", zipped([zip_member("d", DISK)], comment), ways=("file", "pipe"))
        body = zlib.compress(DISK)[2:-4]
        large = struct.pack("<HHQQ", 1, 16, len(DISK), len(body))
        full = {"packed": 0xffffffff, "size": 0xffffffff}
        self.good("raw.zip", zipped([zip_member("d", DISK, packed=body, local=full, entry=full,
                                                extra=large, local_extra=large)]),
                  ways=("file", "pipe"))
        member = zip_member("d", DISK)
        plain = zipped([member])
        start = len(member[0])
        end64 = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, 1, 1,
                            len(plain) - 22 - start, start)
        locator = struct.pack("<IIQI", 0x07064b50, 0, len(plain) - 22, 1)
        last = struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0xffff, 0xffff, 0xffffffff, 0xffffffff, 0)
        whole = plain[:-22] + end64 + locator + last
        self.good("raw.zip", whole, ways=("file", "pipe"))
        for at in (len(plain) - 22, len(plain) - 22 + 24, len(plain) - 22 + 48,
                   len(plain) - 22 + 56, len(plain) - 22 + 64):
            self.bad("raw.zip", patched(whole, at, b"\7"), ways=("file", "pipe"))

    def test_members(self):
        other = noise(5000, 4)
        three = zip_of(("read.me", b"text"), ("disk.raw", DISK), ("other.raw", other))
        self.bad("raw.zip", three, "read.me", "disk.raw", "--disk", ways=("file", "pipe", "job"))
        for which, disk in (("disk.raw", DISK), ("2", DISK), ("3", other), ("other.raw", other)):
            self.good("raw.zip", three, disk, options=("--disk", which),
                      job=self.job("raw.zip", disk=which), ways=("file", "pipe", "job"))
        for which in ("0", "4", "disk", "DISK.RAW", "../disk.raw"):
            self.bad("raw.zip", three, status=(3,), options=("--disk", which),
                     job=self.job("raw.zip", disk=which), ways=("file", "pipe", "job"))
        said = json.loads(self.bench.run(["info", "--output", "json", "--disk", "2",
                                          self.bench.put(three)]).out)
        self.assertEqual([(d["number"], d["file"], d["chosen"]) for d in said["disks"]],
                         [(1, "read.me", False), (2, "disk.raw", True), (3, "other.raw", False)])
        self.assertEqual((said["container"], said["format"]), ("zip", "raw"))

    def test_info(self):
        for kind, pack in (("gz", gzip.compress), ("xz", xz)):
            said = json.loads(self.bench.run(["info", "--output", "json", self.bench.put(
                pack(IMAGES["vmdk"]))]).out)
            self.assertEqual((said["container"], said["format"], said["virtual-size"]),
                             (kind, "vmdk", MIB))

    def test_never_guessed(self):
        """A raw disk that begins like an archive is a raw disk unless unpacking is asked for."""
        for data in (RAW, xz(DISK), zip_of(("d", DISK)), b"\x1f\x8b\x08".ljust(4096, b"x")):
            self.bench.accepted(self, data, "raw", data, ways=("file", "pipe", "job"))
            self.bench.accepted(self, data, "raw", data, ways=("job",), job={
                "stages": [{"name": "unpack", "kind": "none"}]})
        for data in (RAW, xz(DISK), zip_of(("d", DISK)), DISK):
            self.bench.accepted(self, data, "raw", DISK, ways=("job",), job={
                "stages": [{"name": "unpack"}]})
        result = self.bench.run(["convert", "-O", "raw", self.bench.put(RAW), "out"])
        self.bench.was_refused(self, result, ("-f FORMAT.gz",), (2,))

    def test_spelling(self):
        path = self.bench.put(DISK)
        for format in ("raw.tar", "gz", "raw.none", ".gz", "ova.gz", "raw.gz.gz", "raw.", "raw.GZ"):
            result = self.bench.run(["convert", "-f", format, "-O", "raw", path, "out"])
            self.bench.was_refused(self, result, (format, "FORMAT.gz"), (2,))
        result = self.bench.run(["convert", "-f", "raw", "--disk", "1", "-O", "raw", path, "out"])
        self.bench.was_refused(self, result, ("--disk",), (2,))
        self.bad("raw.gz", RAW, "disk", status=(2,), options=("--disk", "1"),
                 job=self.job("raw.gz", disk="1"), ways=("file",))


class Bounded(Packed):
    disk = DISK

    def test_bombs(self):
        """2000-fold is refused, out of a file as out of a pipe; bounded in time, memory, and in what
        is written.  What deflate can do (1030-fold) is not."""
        fair = 64 * MIB
        self.bench.accepted(self, gzip.compress(bytes(fair), 9), "raw.gz", fair, ways=("file", "pipe"))
        for zeros in (64, 256):
            self.bad("raw.xz", xz(noise(16 * KIB), zeros * MIB), "1100", "bomb",
                     ways=("file", "pipe", "job"))
        self.allowed(xz(b"", 64 * MIB), 64 * MIB)

    def allowed(self, data, size):
        """Somebody who knows what it is may say so."""
        self.bench.accepted(self, data, "raw", size, ways=("job",), job={
            "stages": [{"name": "unpack", "kind": "xz", "max-expansion": 9000}]})

    def test_max_size(self):
        """No more comes out than was allowed."""
        for packed, data in (("raw.gz", RAW), ("raw.xz", xz(DISK)), ("raw.zip", zip_of(("d", DISK)))):
            self.good(packed, data, options=("--max-size", "1M"), ways=("file", "pipe"))
            self.bad(packed, data, MIB - 1, status=(5,), options=("--max-size", str(MIB - 1)),
                     ways=("file", "pipe"))
        stage = {"name": "unpack", "kind": "gz", "max-size": MIB - 1}
        self.bench.refused(self, RAW, "raw", (MIB - 1, "UnpacksTooLarge"), (5,), ways=("job",),
                           job={"stages": [stage]})

    def test_size(self):
        """Told, it is known beforehand (so that the disk can be encoded anew) and proven; of xz the
        file tells it."""
        def job(kind, size):
            return {"stages": [{"name": "unpack", "kind": kind, "size": size}]}

        for kind, data in (("gz", RAW), ("xz", xz(DISK)), ("zip", zip_of(("d", DISK)))):
            self.bench.accepted(self, data, "raw", DISK, ways=("job",), job=job(kind, MIB))
            for size in (MIB - 1, MIB + 1):
                self.bench.refused(self, data, "raw", ({size, MIB},), ways=("job",),
                                   job=job(kind, size))
            encode = {"to": "vmdk", "store": self.bench.path("out", "d.vmdk"), **job(kind, MIB)}
            self.bench.untouched(self, self.bench.go("job", self.bench.put(data), "raw", job=encode))
            os.unlink(self.bench.path("out", "d.vmdk"))
        for kind, size in (("xz", MIB), ("zip", MIB), ("gz", None)):
            data = {"xz": xz(DISK[:9]) + xz(DISK[9:]), "zip": zip_of(("d", DISK)), "gz": RAW}[kind]
            said = json.loads(self.bench.run(["info", "--output", "json",
                                              self.bench.put(data)]).out)
            self.assertEqual(said.get("virtual-size"), size)

    def test_memory_of_xz(self):
        """What needs 65 MiB to unpack (xz -9) is, what needs more is not."""
        for size, judge in (("64MiB", self.good), ("128MiB", self.bad)):
            judge("raw.xz", by_program("xz", "-c", "--lzma2=preset=0,dict=" + size)(DISK),
                  ways=("file", "pipe"))

    def test_memory(self):
        """A disk many times larger than the memory that is used."""
        if hostile.SANITIZED:
            self.skipTest("the sanitizer's own memory would be measured")
        step = noise(MIB)
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        path = self.bench.path("in", "large.gz")
        with open(path, "wb") as file:
            for _ in range(96):
                file.write(packer.compress(step))
            file.write(packer.flush())
        kib = self.bench.path("log", "kib")
        peak = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib", "peak-memory")
        out = self.bench.path("out", "disk.raw")
        subprocess.run([peak, kib, self.bench.toolkit, "convert", "-f", "raw.gz", "-O", "raw",
                        "--no-sync", path, out], check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(os.path.getsize(out), 96 * MIB)
        os.unlink(out)
        with open(kib, encoding="ascii") as file:
            self.assertLess(int(file.read()), 64 << 10, "KiB of memory")

    def test_no_library(self):
        """Without liblzma there is no xz; everything else is as it was."""
        program = self.bench.path("log", "toolkit")
        with open(self.bench.toolkit, "rb") as file:
            data = file.read()
        self.assertIn(b"liblzma.so.5", data)
        with open(program, "wb") as file:
            file.write(data.replace(b"liblzma.so.5", b"liblzma.no.5"))
        os.chmod(program, 0o755)
        whole, self.bench.toolkit = self.bench.toolkit, program
        try:
            self.bad("raw.xz", xz(DISK), "liblzma", status=(7,), ways=("file", "job"))
            self.good("raw.gz", RAW, ways=("file",))
            self.good("raw.zip", zip_of(("d", DISK)), ways=("file",))
        finally:
            self.bench.toolkit = whole


if __name__ == "__main__":
    main()
