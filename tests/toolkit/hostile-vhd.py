#!/usr/bin/python3
"""Hostile and damaged VHDs, fixed and dynamic: refused whole, each with its accepted neighbour.

Variations of rows 12 to 17 of the list of hostile inputs (the rows themselves are in hostile-rows.py),
then what else an attacker may try.  hostile.py says what refused means; the images are craft.py's,
sound but for the one thing the test names."""
import os
import re
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import ALL_WAYS, main, patched, sectors  # noqa: E402

# Three blocks, the middle one a hole, the last one short.
DISK = scattered(5 * MIB + 3 * SECTOR, [(100, 5000), (4 * MIB, 700),
                                        (5 * MIB + SECTOR, 2 * SECTOR)])
SIZE = len(DISK)
SMALL = scattered(64 * KIB, [(0, 4096), (20000, 5000)]) # for a fixed one
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs",
                        "formats.md")


class Case(hostile.Case):
    format = "vhd"
    disk = DISK

    def documented(self, pattern):
        """The page on formats tells what is done with such images."""
        with open(DOCUMENT, encoding="utf-8") as file:
            self.assertRegex(re.sub(r"\s+", " ", file.read()), pattern)


class Variations(Case):
    def test_12_first_footer_damaged(self):
        """Refused by all ways: either footer alone could be the one that tells the truth."""
        for bit in (0, 7, 31):
            for place in ("first", "last"):
                with self.subTest(place, bit=bit):
                    image = vhd_dynamic(DISK)
                    at = 64 + 3 - bit // 8 - (0 if place == "first" else SECTOR)
                    at += 0 if place == "first" else len(image)
                    image = patched(image, at, bytes([image[at] ^ 1 << bit % 8]))
                    self.bad(image, "footer")
        with self.subTest("documented"):
            self.documented(r"one flipped bit in either is refused \(`FootersNotIdentical`\)")

    def test_13_block_size(self):
        for block in (512 * KIB, 2 * MIB, 4 * MIB):
            with self.subTest(good=block):
                self.good(vhd_dynamic(DISK, block=block))
        for block in (0, 1, 511, 513, 3 * MIB, 2 * MIB + 512, 2 * MIB - 512, 1 << 31, 0xFFFFFE00,
                      0xFFFFFFFF):
            with self.subTest(block=block):
                self.bad(vhd_dynamic(DISK, dynamic={"block": block}), "block", block)

    def test_14_entry_beyond_the_end(self):
        self.good(vhd_dynamic(DISK))
        length = len(vhd_dynamic(DISK))
        self.bad(vhd_dynamic(DISK, table={1: length // SECTOR + 8}), ways=("pipe",))
        for sector in (length // SECTOR + 8, length // SECTOR, length // SECTOR - 1, 0x7FFFFFFF,
                       0x80000000, 0xFFFFFFFE):
            with self.subTest(sector=sector):
                self.bad(vhd_dynamic(DISK, table={1: sector}), "block", sectors(sector),
                         {length, length - SECTOR, length // SECTOR, length // SECTOR - 1},
                         ways=("file", "parts", "job", "info", "digest", "encode")
                         if sector == length // SECTOR + 8 else ("file", "job"))

    def test_15_differencing(self):
        name = "canary.raw".encode("utf-16-be").ljust(512, b"\0")
        self.good(vhd_dynamic(DISK))
        self.bad(vhd_dynamic(DISK, kind=4), "differencing")
        for code, target in ((b"W2ru", "..\\in\\canary.raw"), (b"W2ku", "C:\\canary.raw"),
                             (b"MacX", "file://" + self.bench.canary), (b"Wi2r", "canary.raw")):
            body = target.encode("utf-16-le").ljust(SECTOR, b"\0")
            for length, at in ((len(target) * 2, 4 * SECTOR), (0xFFFFFFFF, 1 << 62), (0, 0)):
                locator = struct.pack(">4sIIIQ", code, 1, length, 0, at).ljust(192, b"\0")
                image = vhd_dynamic(DISK, kind=4, gap=body, dynamic={
                    "locators": locator, "parent_name": name, "parent": noise(16, 5)})
                with self.subTest(code=code, length=length):
                    self.bad(image, "differencing")

    def test_16_fixed_size_beyond_the_data(self):
        for size in (len(SMALL) - SECTOR, len(SMALL) + 1, len(SMALL) - 1, 0, SECTOR, 1 << 40,
                     1 << 63,
                     AT_END, AT_END - 511):
            with self.subTest(size=size):
                self.bad(vhd_fixed(SMALL, size=size), size, status=(4, 5))

    def test_17_footer_of_511_bytes(self):
        """Accepted from a fixed disk, as old Virtual PC wrote it, by all ways."""
        for cut in (2, 3, 256, SECTOR):
            self.bad(vhd_fixed(SMALL)[:-cut])
        self.bad(vhd_fixed(SMALL, wrong_sum=1)[:-1])
        self.bad(vhd_fixed(SMALL, size=len(SMALL) + 1)[:-1])
        # what is missing of a dynamic one stands in its copy
        self.bench.refused_or(self, vhd_dynamic(DISK)[:-1], "vhd", DISK)
        with self.subTest("documented"):
            self.documented(r"The 511-byte footer .* is accepted")

    def test_24_contents_that_begin_as_another_image(self):
        for magic in (b"vhdxfile", b"QFI\xfb\0\0\0\3", b"KDMV\1\0\0\0", b"# Disk DescriptorFile\n",
                      VDI_MAGIC):
            for make in (vhd_dynamic, vhd_fixed):
                with self.subTest(make.__name__, magic=magic[:10]):
                    disk = magic.ljust(SECTOR, b"\0") + DISK[SECTOR:]
                    self.bad(make(disk))
                    near = bytes(byte ^ 1 for byte in magic) + disk[len(magic):]
                    self.good(make(near), near)


class Footer(Case):
    def test_types(self):
        for kind in (0, 1, 5, 6, 7, 0xFFFFFFFF):
            with self.subTest(kind=kind):
                self.bad(vhd_dynamic(DISK, kind=kind), kind)
        self.bad(vhd_fixed(SMALL, type=3))
        self.bad(vhd_fixed(SMALL, type=4), "differencing")
        self.bad(vhd_dynamic(DISK, kind=2))

    def test_disagreements(self):
        """Both checksums are right, and the two tell different things."""
        for changes in ({"size": SIZE + 2 * MIB}, {"size": SIZE - SECTOR}, {"type": 4}, {"type": 2},
                        {"uuid": noise(16, 8)}, {"data": 1024}, {"original": SECTOR},
                        {"version": 0x20000}):
            with self.subTest(**changes):
                for place in ("first", "last"):
                    self.bad(vhd_dynamic(DISK, **{place: changes}), {"footer", "differencing"})

    def test_one_is_missing(self):
        image = vhd_dynamic(DISK)
        for what, damaged in {"first": patched(image, 0, bytes(SECTOR)),
                              "last": patched(image, -SECTOR, bytes(SECTOR)),
                              "last cut": image[:-SECTOR],
                              "first cookie": patched(image, 0, b"conectiX"),
                              "last cookie": patched(image, -SECTOR, b"CONECTIX")}.items():
            with self.subTest(what):
                self.bad(damaged)

    def test_versions(self):
        for version in (0, 0x20000, 0xFFFFFFFF):
            self.bad(vhd_dynamic(DISK, both={"version": version}), version)
            self.bad(vhd_fixed(SMALL, version=version), version)

    def test_sizes(self):
        for size in (0, 1, SIZE + 1, SIZE - 1, SIZE + 2 * MIB, 3 * TIB, 1 << 62, 1 << 63, AT_END,
                     AT_END - 511):
            with self.subTest(size=size):
                self.bad(vhd_dynamic(DISK, both={"size": size, "original": size}), status=(4, 5))

    def test_harmless_fields(self):
        """Who wrote it when, its geometry, whether a guest was suspended: none of it is data."""
        for changes in ({"time": 0}, {"creator": b"\xff\0\x1b["}, {"host": b"Mac "},
                        {"original": 4096},
                        {"cylinders": 1, "heads": 1, "sectors": 1},
                        {"cylinders": 0xFFFF, "heads": 255, "sectors": 255},
                        {"cylinders": 0, "heads": 0, "sectors": 0}, {"uuid": bytes(16)},
                        {"creator_version": 0}):
            with self.subTest(**changes):
                self.good(vhd_dynamic(DISK, both=changes))

    def test_offset_of_the_dynamic_header(self):
        for at in (0, 511, 513, 1024, 1 << 32, 1 << 63, AT_END, AT_END - 511,
                   len(vhd_dynamic(DISK))):
            with self.subTest(at=at):
                self.bad(vhd_dynamic(DISK, both={"data": at}))

    def test_nothing_but_a_footer(self):
        self.bad(vhd_footer(0, 2))
        self.bad(vhd_footer(SIZE, 2))
        self.bad(vhd_footer(SIZE, 3))
        self.bad(vhd_footer(SIZE, 3)[:-1])
        self.bad(b"conectix")
        self.bad(b"")
        self.bad(SMALL)

    def test_trailing_bytes(self):
        for tail in (b"\0", b"x", bytes(SECTOR), noise(SECTOR), bytes(vhd_dynamic(DISK))[:SECTOR]):
            self.bad(vhd_fixed(SMALL) + tail) if tail[:8] != b"conectix" else None
            self.bad(vhd_dynamic(DISK, trailing=tail)) if tail[:8] != b"conectix" else None
        # a second last footer, the same as the first, after the true one: right, or refused
        image = vhd_dynamic(DISK)
        self.bench.refused_or(self, image + image[-SECTOR:], "vhd", DISK)


class Dynamic(Case):
    def test_header(self):
        for name, how in {
                "checksum": {"wrong_sum": 1}, "high bit": {"wrong_sum": 1 << 31},
                "cookie": {"dynamic": {"cookie": b"cxsparsE"}},
                "version": {"dynamic": {"version": 0x20000}},
                "version 0": {"dynamic": {"version": 0}},
        }.items():
            with self.subTest(name):
                self.bad(vhd_dynamic(DISK, **how))

    def test_checksums_of_all_ones(self):
        """A checksum field of 0 or -1 is no way around."""
        for value in (0, 0xFFFFFFFF):
            self.bad(vhd_dynamic(DISK, both={"checksum": value}))
            self.bad(patched(vhd_dynamic(DISK), SECTOR + 36, struct.pack(">I", value)))
            self.bad(vhd_fixed(SMALL, checksum=value))

    def test_table_place(self):
        length = len(vhd_dynamic(DISK))
        for at in (0, 512, 1024, 1535, 1537, length, length - SECTOR, length + SECTOR, 1 << 40,
                   1 << 62, 1 << 63,
                   AT_END, AT_END - 511, AT_END - 2047):
            with self.subTest(at=at):
                self.bad(vhd_dynamic(DISK, dynamic={"table": at}))

    def test_table_length(self):
        self.good(vhd_dynamic(DISK, extra_entries=5))
        for entries in (0, 1, 2, 1 << 28, 1 << 31, 0xFFFFFFFF):
            with self.subTest(entries=entries):
                self.bad(vhd_dynamic(DISK, dynamic={"entries": entries}))

    def test_blocks(self):
        good = vhd_dynamic(DISK)
        first, last = (good.at["blocks"][i] // SECTOR for i in (0, 2))
        end = good.at["footer"] // SECTOR
        for name, entries in {
                "two owners": {2: first}, "the hole too": {1: first},
                "all one": {0: first, 1: first, 2: first},
                "one sector over": {2: first + 1}, "half": {2: first + 2049},
                "before": {0: last - 1},
                "at the footer's copy": {0: 0}, "at the header": {0: 1}, "at the table": {0: 3},
                "ends in the footer": {2: last + 1}, "ends at the end": {1: end - 4096},
                "last sector": {1: end},
                "exchanged but overlapping": {0: last, 2: last + 1},
        }.items():
            with self.subTest(name):
                self.bad(vhd_dynamic(DISK, table=entries), "block")
        # another order of the blocks is sound; their bitmaps move with them
        swapped = DISK[4 * MIB:].ljust(2 * MIB, b"\0") + bytes(2 * MIB) + DISK[:MIB + 3 * SECTOR]
        image = vhd_dynamic(DISK, table={0: last, 2: first})
        self.bench.refused_or(self, image, "vhd", swapped)

    def test_bitmaps(self):
        """Sectors whose bit is not set are zero, whatever the file holds there."""
        self.good(vhd_dynamic(DISK, unset=self.bench.token), ways=ALL_WAYS)
        self.good(vhd_dynamic(DISK, bitmap={0: bytes(SECTOR)}), bytes(2 * MIB) + DISK[2 * MIB:])
        # bits of the short last block beyond the disk's end say nothing
        self.good(vhd_dynamic(DISK, bitmap={2: b"\xff" * SECTOR}))

    def test_amplification(self):
        """Many entries, one block: a small file for a large disk."""
        disk = bytes([1] * 64 * KIB) + bytes(100 * 64 * KIB)
        image = vhd_dynamic(disk, block=64 * KIB)
        self.good(image, disk)
        first = image.at["blocks"][0] // SECTOR
        for step in (0, 1, 128):
            self.bad(vhd_dynamic(disk, block=64 * KIB,
                                 table={i: first + i * step for i in range(101)}))

    def test_huge_and_blank(self):
        """As large as the format can say, nothing in it, quickly."""
        size = 2040 * GIB
        entries = size // (2 * MIB)
        values = {"size": size, "original": size}
        image = vhd_dynamic(b"", both=values, dynamic={"entries": entries},
                            gap=b"\xff" * up(entries * 4, SECTOR))
        self.good(image, size, ways=("file", "pipe", "parts", "job"))
        limit = {"options": ("--max-size", "10G"), "job": {"max_size": 10 * GIB},
                 "ways": ("file", "pipe", "job")}
        self.bad(image, size, 10 * GIB, status=(5,), **limit)


if __name__ == "__main__":
    main()
