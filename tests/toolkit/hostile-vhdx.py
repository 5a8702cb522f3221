#!/usr/bin/python3
"""Hostile and damaged VHDXs: each is refused whole, and each has an accepted neighbour.

Variations of rows 18 to 21 of the list of hostile inputs (the rows themselves are in
hostile-rows.py), then what else an attacker may try.  hostile.py says what refused means; the images are craft.py's, sound but for the one thing the test names, checksums
right unless they are what is wrong."""
import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import ALL_WAYS, main, patched  # noqa: E402

# Five blocks of a MiB: data, data, a hole, a hole, and a short last one.
DISK = scattered(4 * MIB + 8 * SECTOR, [(0, 5000), (MIB + 70000, 3000), (4 * MIB, 8 * SECTOR)])
LOG = noise(16, 30)
FIVE = {"BAT": (REGION_BAT, BAT_AT, MIB, 1), "metadata": (REGION_METADATA, META_AT, MIB, 1)}


class Case(hostile.Case):
    format = "vhdx"
    disk = DISK


def regions(bat=None, metadata=None, more=()):
    """The two sound entries, or others in their place."""
    return [bat or FIVE["BAT"], metadata or FIVE["metadata"], *more]


class Variations(Case):
    def test_18_one_header(self):
        self.good(vhdx(DISK, second=None))
        good = vhdx(DISK)
        wrong = bytes([good[HEADER_1 + 4] ^ 1])
        self.good(patched(good, HEADER_1 + 4, wrong)) # its checksum
        self.good(patched(good, HEADER_1 + 4095, b"\1")) # its last byte
        self.good(vhdx(DISK, first={"signature": b"haed"}))
        self.bad(vhdx(DISK, first=None, second=None), "header")
        self.bad(patched(patched(good, HEADER_1 + 5, b"\0\0\0"), HEADER_2 + 5, b"\0\0\0"), "header")

    def test_19_region_table_without_entries(self):
        self.good(vhdx(DISK, regions=regions(metadata=None)))
        for count in (1, 3, 2047, 2048, 1 << 16, 1 << 31, 0xFFFFFFFF):
            with self.subTest(count=count):
                self.bad(vhdx(DISK, region_count=count))

    def test_20_logical_sector_size(self):
        for size in (512, 4096):
            self.good(vhdx(DISK, logical=size))
        for size in (0, 1, 511, 513, 1024, 2048, 4097, 8192, 1 << 31, 0xFFFFFFFF):
            with self.subTest(size=size):
                self.bad(vhdx(DISK, logical=size), "logical", size)

    def test_21_log_without_entries(self):
        self.good(vhdx(DISK))
        for headers in ({"second": {"log": LOG}}, {"first": {"log": LOG}, "second": {"log": LOG}}):
            self.bad(vhdx(DISK, **headers), "log")
        # what the header that is not in force says does not matter
        self.good(vhdx(DISK, first={"log": LOG}))

    def test_24_contents_that_begin_as_another_image(self):
        for magic in (b"vhdxfile", b"QFI\xfb\0\0\0\3", b"KDMV\1\0\0\0", b"# Disk DescriptorFile\n",
                      b"conectix"):
            with self.subTest(magic=magic):
                disk = magic.ljust(SECTOR, b"\0") + DISK[SECTOR:]
                self.bad(vhdx(disk))
                near = bytes([disk[0] ^ 1]) + disk[1:]
                self.good(vhdx(near), near)


class Log(Case):
    def test_entries(self):
        """A log that waits to be replayed: refused with the cure, whatever is in it."""
        good = vhdx_log_entry(LOG)
        for name, log in {
                "valid": good, "of another log": vhdx_log_entry(noise(16, 31)),
                "checksum": patched(good, 4, b"\0\0\0\0"),
                "over the region table": vhdx_log_entry(LOG, at=REGIONS_1),
                "at 2^60": vhdx_log_entry(LOG, at=1 << 60),
                "torn": patched(good, 8188, b"\xff\xff\xff\xff"),
                "sequence 0": vhdx_log_entry(LOG, sequence=0),
                "huge file": vhdx_log_entry(LOG, file_size=1 << 62),
        }.items():
            with self.subTest(name):
                self.bad(vhdx(DISK, log=log, second={"log": LOG}), "log")
        self.good(vhdx(DISK, log=good)) # an old entry in a log that nobody names

    def test_place(self):
        for how in ({"log_at": 0}, {"log_at": MIB + 1}, {"log_at": 1 << 40}, {"log_at": 1 << 62},
                    {"log_at": AT_END},
                    {"log_length": 0xFFFFFFFF}, {"log_length": 4096}, {"log_length": 2 * MIB},
                    {"log_length": 1 << 31},
                    {"log_at": META_AT}, {"log_at": BAT_AT}, {"log_at": BLOCKS_AT}):
            with self.subTest(**how):
                self.bad(vhdx(DISK, first=how, second=how))
                self.bad(vhdx(DISK, first={**how, "log": LOG}, second={**how, "log": LOG}), "log")

    def test_versions(self):
        self.bad(vhdx(DISK, first={"log_version": 1}, second={"log_version": 1}))
        for version in (0, 2, 0xFFFF):
            self.bad(vhdx(DISK, first={"version": version}, second={"version": version}), version)


class Headers(Case):
    def test_identifier(self):
        self.good(vhdx(DISK, creator="any \u00e9 thing".encode("utf-16-le")))
        for signature in (b"vhdxfilE", b"VHDXFILE", b"conectix", bytes(8)):
            self.bad(vhdx(DISK, signature=signature))

    def test_sequence(self):
        """The greater one is in force; two that are equal and differ are none."""
        self.good(vhdx(DISK, first={"sequence": AT_END, "log": bytes(16)},
                       second={"log": LOG, "sequence": 1}))
        self.bad(vhdx(DISK, first={"sequence": AT_END, "log": LOG}, second={"sequence": 1}), "log")
        self.bad(vhdx(DISK, first={"sequence": 2, "log": LOG}, second={"sequence": 2}))
        self.bad(vhdx(DISK, first={"sequence": 2}, second={"sequence": 2, "log": LOG}))
        self.good(vhdx(DISK, first={"sequence": 0}, second=None))

    def test_region_tables(self):
        good = vhdx(DISK)
        for copy in (REGIONS_1, REGIONS_2): # both must be right, and the same
            self.bad(patched(good, copy + 4, bytes([good[copy + 4] ^ 1])), "region")
        both = patched(patched(good, REGIONS_1 + 40, b"\1"), REGIONS_2 + 40, b"\1")
        self.bad(both, "region")
        other = vhdx_regions(regions(bat=(REGION_BAT, 7 * MIB, MIB, 1)))
        self.bad(vhdx(DISK, regions2=other)) # both checksums right, and they differ

    def test_regions(self):
        bat, metadata, unknown = REGION_BAT, REGION_METADATA, "11111111-2222-3333-4444-555555555555"
        for name, entries in {
                "no BAT": [FIVE["metadata"]], "no metadata": [FIVE["BAT"]],
                "BAT twice": regions(more=[FIVE["BAT"]]),
                "metadata twice": regions(more=[(metadata, 8 * MIB, MIB, 1)]),
                "on each other": regions(metadata=(metadata, BAT_AT, MIB, 1)),
                "over each other": regions(bat=(bat, META_AT, 2 * MIB, 1)),
                "on the headers": regions(bat=(bat, 0, MIB, 1)),
                "on the log": regions(bat=(bat, LOG_AT, MIB, 1)),
                "past the end": regions(bat=(bat, 100 * MIB, MIB, 1)),
                "longer than the file": regions(bat=(bat, BAT_AT, 100 * MIB, 1)),
                "not aligned": regions(bat=(bat, BAT_AT + 4096, MIB, 1)),
                "length not aligned": regions(bat=(bat, BAT_AT, MIB - 4096, 1)),
                "empty": regions(bat=(bat, BAT_AT, 0, 1)),
                "2^32-1 long": regions(bat=(bat, BAT_AT, 0xFFFFFFFF, 1)),
                "near 2^64": regions(bat=(bat, (1 << 64) - MIB, MIB, 1)),
                "at 2^63": regions(metadata=(metadata, 1 << 63, MIB, 1)),
                "wraps": regions(metadata=(metadata, (1 << 64) - MIB, 0xFFF00000, 1)),
                "unknown, required": regions(more=[(unknown, 20 * MIB, MIB, 1)]),
                "too many": regions(more=[("11111111-2222-3333-4444-%012d" % i, (20 + i) * MIB, MIB,
                                           0) for i in range(2046)]),
        }.items():
            with self.subTest(name):
                self.bad(vhdx(DISK, regions=entries))
        where = len(vhdx(DISK))
        self.good(vhdx(DISK, regions=regions(more=[(unknown, where, MIB, 0)]), extra=bytes(MIB)))


class Metadata(Case):
    def test_table(self):
        for count in (0, 1, 4, 2048, 0xFFFF):
            with self.subTest(count=count):
                self.bad(vhdx(DISK, item_count=count))
        for count in (6, 1024, 2047): # entries of zeros, which require nothing
            with self.subTest(count=count):
                self.bench.refused_or(self, vhdx(DISK, item_count=count), "vhdx", DISK)
        self.bad(vhdx(DISK, metadata_signature=b"metadatA"))

    def test_missing(self):
        for item in (ITEM_FILE, ITEM_SIZE, ITEM_LOGICAL):
            with self.subTest(item):
                self.bad(vhdx(DISK, without=(item,)))

    def test_places(self):
        for item in (ITEM_FILE, ITEM_SIZE, ITEM_LOGICAL):
            for at, length in ((0, 8), (32, 8), (MIB, 8), (MIB - 4, 8), (0xFFFFFFFF, 8),
                               (0xFFFFFFF8, 8), (64 * KIB, 0),
                               (64 * KIB, 0xFFFFFFFF), (64 * KIB, 3), (64 * KIB, 1 << 20 | 8)):
                with self.subTest(item, at=at, length=length):
                    self.bad(vhdx(DISK, place={item: (at, length)}))
        # two items in one place
        self.bad(vhdx(DISK, place={ITEM_SIZE: (64 * KIB, 8)}))

    def test_items(self):
        unknown = "11111111-2222-3333-4444-555555555555"
        self.bad(vhdx(DISK, items={unknown: (b"12345678", 4)})) # required
        self.bad(vhdx(DISK, items={unknown: (b"12345678", 6)}))
        self.good(vhdx(DISK, items={unknown: (b"12345678", 1)})) # of a user
        self.good(vhdx(DISK, items={unknown: (b"12345678", 0)}))

    def test_block_size(self):
        for block in (2 * MIB, 32 * MIB):
            self.good(vhdx(DISK, block=block))
        for block in (0, 1, 512, 512 * KIB, MIB + 512, 3 * MIB, 512 * MIB, 1 << 31, 0xFFFFFFFF,
                      0xFFF00000):
            with self.subTest(block=block):
                value = struct.pack("<II", block, 0)
                self.bad(vhdx(DISK, items={ITEM_FILE: (value, 4)}), "block", block)

    def test_disk_size(self):
        for size in (0, 1, 511, len(DISK) + 1, 64 * TIB + 512, 65 * TIB, 1 << 62, 1 << 63, AT_END,
                     AT_END - 511):
            with self.subTest(size=size):
                self.bad(vhdx(DISK, items={ITEM_SIZE: (struct.pack("<Q", size), 6)}), status=(4, 5))
        self.bad(vhdx(DISK, items={ITEM_SIZE: (struct.pack("<Q", 200000 * MIB), 6)}),
                 status=(4, 5)) # table too short

    def test_physical_sector_size(self):
        for size in (0, 520, 1 << 31):
            self.bad(vhdx(DISK, items={ITEM_PHYSICAL: (struct.pack("<I", size), 6)}), size)

    def test_parent(self):
        """Differencing disks: the flag, the locator, and what it names."""
        name = "canary.raw".encode("utf-16-le")
        locator = guid(LOCATOR_VHDX) + struct.pack("<HHIIHH", 0, 1, 32, 52, 20, len(name)) \
            + "relative_path".encode("utf-16-le")[:20] + name
        self.bad(vhdx(DISK, flags=2), "parent", ways=ALL_WAYS)
        self.bad(vhdx(DISK, flags=2, items={ITEM_PARENT: (locator, 4)}), "parent", ways=ALL_WAYS)
        self.bad(vhdx(DISK, items={ITEM_PARENT: (locator, 4)}))
        self.bad(vhdx(DISK, flags=3), "parent")
        for flags in (4, 1 << 31):
            self.bad(vhdx(DISK, flags=flags), "0x%x" % flags)
        self.good(vhdx(DISK, flags=1)) # blocks stay allocated: a fixed disk


class Blocks(Case):
    def test_states(self):
        good = vhdx(DISK)
        first = good.at["blocks"][0]
        for state in (ABSENT, UNDEFINED, ZERO, UNMAPPED):
            with self.subTest(state=state):
                self.good(vhdx(DISK, entry={0: state}), bytes(MIB) + DISK[MIB:])
                # these have no place; what stands there is not the disk's
                self.bench.refused_or(self, vhdx(DISK, entry={0: first | state}), "vhdx",
                                      bytes(MIB) + DISK[MIB:])
        for state in (4, 5):
            self.bad(vhdx(DISK, entry={0: first | state}), state)
        self.bad(vhdx(DISK, entry={0: first | PARTIAL})) # of a disk without parent
        self.bad(vhdx(DISK, entry={0: first | 8 | PRESENT})) # reserved bits
        self.bad(vhdx(DISK, entry={0: first | 1 << 19 | PRESENT}))

    def test_places(self):
        good = vhdx(DISK)
        blocks, end = good.at["blocks"], good.at["end"]
        for name, entries in {
                "two owners": {1: blocks[0]}, "the hole too": {2: blocks[0]}, "at 0": {0: 0},
                "on the log": {0: LOG_AT},
                "on the metadata": {0: META_AT}, "on the table": {0: BAT_AT},
                "at the end": {0: end},
                "past the end": {2: end + 50 * MIB}, "most": {0: ((1 << 44) - 1) << 20},
                "2^63": {0: 1 << 63},
                "all one": {i: blocks[0] for i in range(5)},
        }.items():
            with self.subTest(name):
                image = vhdx(DISK, entry={i: at | PRESENT for i, at in entries.items()})
                self.bad(image, "block")
        # another order is sound
        other = DISK[MIB:2 * MIB] + DISK[:MIB] + DISK[2 * MIB:]
        self.good(vhdx(DISK, entry={0: blocks[1] | PRESENT, 1: blocks[0] | PRESENT}), other)

    def test_overlap_of_large_blocks(self):
        disk = scattered(6 * MIB, [(0, 6 * MIB)])
        good = vhdx(disk, block=2 * MIB)
        self.good(good, disk)
        at = good.at["blocks"]
        self.bad(vhdx(disk, block=2 * MIB, entry={1: at[0] + MIB | PRESENT}), "block")
        self.bad(vhdx(disk, block=2 * MIB, entry={2: at[2] + MIB | PRESENT}),
                 "block") # half past the end

    def test_cut(self):
        good = vhdx(DISK)
        for length in (*range(0, 512 * KIB, 32 * KIB), HEADER_1 + 4095, REGIONS_1 + 48,
                       *range(MIB, len(good), MIB),
                       META_AT + 64 * KIB + 8, BAT_AT + 8, good.at["blocks"][4] + 8 * SECTOR - 1):
            with self.subTest(length=length):
                self.bad(good[:length], ways=("file",))
        for length in (good.at["blocks"][4] + 8 * SECTOR, len(good) - SECTOR, len(good) - 1):
            with self.subTest(length=length): # no byte of the disk is missing
                self.bench.refused_or(self, good[:length], "vhdx", DISK)

    def test_the_short_last_block(self):
        """Its place holds a whole block, of which the disk has a part."""
        at = vhdx(DISK).at["blocks"][4]
        good = vhdx(DISK)
        self.good(patched(good, at + 8 * SECTOR, self.bench.token))
        self.good(good + noise(MIB)) # space behind all blocks that belongs to none

    def test_huge_and_blank(self):
        image = vhdx(b"", size=8 * TIB, block=32 * MIB)
        self.good(image, 8 * TIB)
        limit = {"options": ("--max-size", "10G"), "job": {"max_size": 10 * GIB},
                 "ways": ("file", "pipe", "job")}
        self.bad(image, 8 * TIB, 10 * GIB, status=(5,), **limit)

    def test_table_bomb(self):
        """64 TiB in blocks of a MiB want a table of 512 MiB, which the file does not hold."""
        for entry in (MIB, 2 * MIB, 0xFFF00000):
            entries = regions(bat=(REGION_BAT, BAT_AT, entry, 1))
            self.bad(vhdx(DISK, items={ITEM_SIZE: (struct.pack("<Q", 64 * TIB), 6)},
                          regions=entries), status=(4, 5))


if __name__ == "__main__":
    main()
