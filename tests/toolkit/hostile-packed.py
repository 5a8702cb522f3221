#!/usr/bin/python3
"""Damaged and hostile gz, xz and zip: refused whole, each with its accepted neighbour.  What is
accepted, and what is bounded, is unpack.py's; OVAs are ova.py's.

hostile.py says what refused means; the archives are packed.py's, or Python's own."""
import gzip
import lzma
import os
import struct
import sys
import zipfile
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
from hostile import ALL_WAYS, main, patched  # noqa: E402
from packed import Packed, xz, zip_by_program, zip_member, zip_of, zipped  # noqa: E402

DISK = scattered(MIB, [(0, 5000), (300 * KIB, 64 * KIB), (MIB - 512, 512)])
IMAGES = {"raw": DISK, "vmdk": bytes(vmdk_stream(DISK)),
          "vhd": bytes(vhd_dynamic(DISK, block=512 * KIB)), "vhdx": bytes(vhdx(DISK)),
          "qcow2": bytes(qcow2(DISK))}
RAW = gzip.compress(DISK)


class Damaged(Packed):
    disk = DISK

    def archives(self):
        image = DISK[:40 * KIB] + noise(40 * KIB, 7)
        member = ("d", image)
        return image, {"raw.gz": gzip.compress(image, mtime=1), "raw.xz": xz(image),
                       "raw.zip": zip_of(member)}, {
                           "raw.zip": zip_of(member, method=zipfile.ZIP_STORED),
                           "vmdk.gz": gzip.compress(IMAGES["vmdk"], mtime=1)}

    def test_truncated(self):
        """At every 4 KiB, and near the end."""
        image, first, second = self.archives()
        for archives in (first, second):
            for self.format, data in archives.items():
                disk = image if self.format.startswith("raw") else DISK
                near = (1, 2, 3, 4, 5, 8, 12, 21, 22, 23)
                self.sweep_cuts(data, disk, {*range(0, len(data), 4096),
                                             *(len(data) - n for n in near)}, ("file", "pipe"))

    def test_flipped(self):
        """One bit turned over anywhere is refused, or means nothing."""
        image, first, second = self.archives()
        for archives in (first, {"raw.zip": second["raw.zip"]}):
            for self.format, data in archives.items():
                # gzip: time, level, system, and another way to deflate the same bytes.  zip: this,
                # versions, time and date, attributes
                end, stored = len(data), archives is not first
                harmless = {"gz": [(3, end - 8)], "xz": [],
                            "zip": [(4, 6), (10, 14), (end - 70, end - 22),
                                    (40, 0 if stored else end - 70)]}[self.format.split(".")[1]]
                middle = end // 2
                self.sweep_flips(data, image, [(0, 31), (middle, middle + 4), (end - 40, end)],
                                 harmless)

    def test_trailing(self):
        for packed, data in (("raw.gz", RAW), ("raw.xz", xz(DISK)), ("raw.zip", zip_of(("d", DISK)))):
            for tail in (b"x", bytes(1), bytes(511), b"trailing garbage" * 300, data[:9]):
                if packed != "raw.xz" or len(tail) % 4 or any(tail):
                    self.bad(packed, data + tail, ways=("file", "pipe"))

    def test_behind_the_image(self):
        """What no decoder reads is unpacked and checked all the same."""
        image = IMAGES["vhdx"]
        for packed, data in (("vhdx.gz", gzip.compress(image)), ("vhdx.xz", xz(image))):
            self.good(packed, data, ways=("file", "pipe"))
            self.bad(packed, data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], ways=("file", "pipe"))

    def test_unknown_check(self):
        """A kind of check that is reserved, of the same four bytes as a CRC32."""
        sound = xz(DISK, check=lzma.CHECK_CRC32)
        flags = b"\0\2"
        head = sound[:6] + flags + struct.pack("<I", zlib.crc32(flags))
        backward = sound[-8:-4] + flags
        unknown = head + sound[12:-12] + struct.pack("<I", zlib.crc32(backward)) + backward + b"YZ"
        self.good("raw.xz", sound, ways=("file", "pipe"))
        self.bad("raw.xz", unknown, "a check that liblzma does not know", ways=("file", "pipe"))

    def test_wrong_kind(self):
        files = {"gz": RAW, "xz": xz(DISK), "zip": zip_of(("d", DISK)), "none": DISK}
        for kind in ("gz", "xz", "zip"):
            for other, data in files.items():
                if kind != other:
                    self.bad("raw." + kind, data, ways=("file", "pipe"))
            self.bad("raw." + kind, b"", ways=("file", "pipe"))
        self.bad("vmdk.gz", gzip.compress(IMAGES["vhd"]), "vhd", ways=("file", "pipe"))
        self.bad("vmdk.gz", gzip.compress(gzip.compress(IMAGES["vmdk"])), ways=("file", "pipe"))
        self.bad("raw.gz", gzip.compress(IMAGES["qcow2"]), "qcow2", ways=("file", "pipe"))


class HostileZip(Packed):
    disk = DISK

    def zip(self, *members, **more):
        return zipped(members, **more)

    def test_names(self):
        self.good("raw.zip", self.zip(zip_member("a/b", DISK)), ways=ALL_WAYS)
        for name in ("../d", "/d", "a/../d", "a\\d", "..", ".", "a//b", "", "C\n", b"a\0b", b"\xff",
                     "x" * 256, "./d"):
            self.bad("raw.zip", self.zip(zip_member(name, DISK)), "plain name", ways=("file", "pipe"))
        self.bad("raw.zip", self.zip(zip_member("d", DISK), zip_member("../e", b"x")), "plain name",
                 options=("--disk", "d"), ways=("file", "pipe"))

    def test_links(self):
        for mode in (0o120777, 0o020666, 0o060666, 0o140777):
            self.bad("raw.zip", self.zip(zip_member("d", b"canary.raw", mode=mode)), "link",
                     ways=("file", "pipe", "parts"))
        self.good("raw.zip", self.zip(zip_member("d", DISK, mode=0o120777, made=20)),
                  ways=("file", "pipe")) # not made on Unix: the bits mean nothing

    def test_encrypted(self):
        for flag in (1, 0x40, 0x2000):
            self.bad("raw.zip", self.zip(zip_member("d", DISK, flags=flag)), "encrypted",
                     ways=("file", "pipe"))
        self.bad("raw.zip", zip_by_program(DISK, self.bench.path("log"), "-P", "secret"), "encrypted",
                 ways=("file", "pipe"))

    def test_methods(self):
        for method in (1, 6, 9, 12, 14, 93, 99):
            self.bad("raw.zip", self.zip(zip_member("d", DISK, local={"method": method},
                                                    entry={"method": method})), method,
                     ways=("file", "pipe"))

    def test_duplicates_and_overlaps(self):
        two = [zip_member("d", DISK), zip_member("e", DISK)]
        chosen = {"options": ("--disk", "d"), "ways": ("file", "pipe")}
        self.good("raw.zip", self.zip(*two), **chosen)
        self.bad("raw.zip", self.zip(two[0], two[0]), "two members", **chosen)
        self.bad("raw.zip", self.zip(two[0], two[1], zip_member("f", b"", entry={"at": 0})), "over",
                 **chosen)
        body, write = zip_member("d", DISK)
        inner = zip_member("e", DISK, entry={"at": 5})
        self.bad("raw.zip", self.zip((body, write), (b"", inner[1])), "over", options=("--disk", "d"),
                 ways=("file",))
        # a "quoting" bomb: the data of one are the header of the next
        quoted = zip_member("e", DISK, method=0)
        outer = zip_member("d", quoted[0], method=0)
        self.bad("raw.zip", zipped([outer, (b"", lambda at: quoted[1](31))]), "over",
                 options=("--disk", "d"), ways=("file", "pipe"))

    def test_several_disks(self):
        good = zip_member("d", DISK)
        for end in ({"disk": 1}, {"start": 1}, {"all": 2}, {"here": 0, "all": 0}, {"at": 1},
                    {"len": 10}, {"at": 0xfffffff0}, {"len": 0xfffffff0}, {"here": 2, "all": 2},
                    {"here": 60000, "all": 60000}):
            self.bad("raw.zip", self.zip(good, end=end), ways=("file", "pipe"))
        self.bad("raw.zip", self.zip(zip_member("d", DISK, entry={"disk": 1})), ways=("file", "pipe"))
        self.bad("raw.zip", self.zip(), ways=("file", "pipe"))
        self.bad("raw.zip", zipped([zip_member("f%d" % i, b"") for i in range(1100)]), 1024,
                 ways=("file",))

    def test_disagreement(self):
        """Header and directory tell one thing, and what comes out is that."""
        for change in ({"crc": 1}, {"size": MIB + 1}, {"size": MIB - 1}, {"packed": 5}, {"name": b"e"},
                       {"method": 0}, {"flags": 2}):
            for side in ("local", "entry"):
                self.bad("raw.zip", self.zip(zip_member("d", DISK, **{side: change})),
                         ways=("file", "pipe"))
            both = zip_member("d", DISK, local=change, entry=change)
            if not {"name", "flags"} & set(change):
                self.bad("raw.zip", self.zip(both), ways=("file", "pipe"))
        self.bad("raw.zip", self.zip(zip_member("d", DISK, before=b"junk"), ), ways=("pipe",))
        self.bad("raw.zip", self.zip(zip_member("d", DISK, after=b"junk"), ), ways=("pipe",))

    def test_descriptor(self):
        """Behind the data of a writer that could not go back."""
        body = zlib.compress(DISK)[2:-4]
        unknown = {"crc": 0, "packed": 0, "size": 0}
        crc = zlib.crc32(DISK)
        for signature in (b"PK\7\10", b""):
            for form in ("<III", "<IQQ"):
                sound = signature + struct.pack(form, crc, len(body), MIB)
                for after, good in ((sound, True), (patched(sound, -2, b"\7"), False), (b"", False)):
                    member = zip_member("d", DISK, packed=body, flags=8, local=unknown, after=after)
                    (self.good if good else self.bad)("raw.zip", self.zip(member), ways=("pipe",))
        stored = zip_member("d", DISK, method=0, flags=8, local=unknown,
                            after=struct.pack("<4sIII", b"PK\7\10", crc, MIB, MIB))
        self.bad("raw.zip", self.zip(stored), "as a file", ways=("pipe",))
        self.good("raw.zip", self.zip(stored), ways=("file",))


if __name__ == "__main__":
    main()
