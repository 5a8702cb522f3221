#!/usr/bin/python3
"""Every cut and every turned bit of an image's structures is refused, or does no harm at all.

hostile.py says what refused means.  An image that was changed in a byte that means something must
be refused; the bytes that mean nothing are listed, and with these the disk must be right."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import main  # noqa: E402

SMALL = scattered(5 * 4096, [(0, 4096), (2 * 4096, 300), (4 * 4096, 4096)])


class Vhd(hostile.Case):
    format = "vhd"
    disk = SMALL

    def test_fixed(self):
        good = vhd_fixed(SMALL)
        self.good(good)
        footer = good.at["footer"]
        self.sweep_cuts(good, SMALL, {*range(0, len(good), SECTOR),
                                      *range(footer + 1, len(good) - 1, 37)},
                        ("file", "pipe"))
        # the checksum covers all of it; without its last byte it is Virtual PC's old one
        self.sweep_flips(good, SMALL, [(footer, footer + 100), (len(good) - 20, len(good))],
                         [(len(good) - 1, len(good))])

    def test_dynamic(self):
        good = vhd_dynamic(SMALL, block=4096)
        self.good(good)
        self.sweep_cuts(good, SMALL, {*range(0, len(good), SECTOR), *range(1, 2048, 97)},
                        ("file", "pipe", "parts"))
        end = good.at["footer"]
        self.sweep_flips(good, SMALL, [(0, 90), (500, 512), (SECTOR, SECTOR + 70),
                                       (SECTOR + 570, SECTOR + 600),
                                       (3 * SECTOR - 10, 3 * SECTOR), (end, end + 90)])
        table = good.at["table"]
        self.sweep_flips(good, SMALL, [(table, table + 4 * 5)])


class Vhdx(hostile.Case):
    format = "vhdx"
    disk = scattered(2 * MIB, [(0, 5000), (2 * MIB - 512, 512)])

    def test_headers(self):
        """A header that is the only one, and both region tables: a checksum over each."""
        good = vhdx(self.disk)
        self.good(good)
        both = bytearray(good) # the other header is away: this one must be sound
        both[HEADER_1:HEADER_1 + 4096] = bytes(4096)
        self.sweep_flips(bytes(both), self.disk, [(0, 8), (HEADER_2, HEADER_2 + 84),
                                                  (HEADER_2 + 4090, HEADER_2 + 4096)])
        regions = [(REGIONS_1, REGIONS_1 + 84), (REGIONS_1 + 64 * KIB - 4, REGIONS_1 + 64 * KIB)]
        self.sweep_flips(good, self.disk, regions)

    def test_metadata_and_table(self):
        good = vhdx(self.disk)
        entries = META_AT + 32
        # What is no part of the data: reserved fields, the identifiers of the disk and of its
        # physical sectors, flags that tell who may read an item, and that blocks stay allocated.
        harmless = [(META_AT + 8, META_AT + 32)]
        for i in range(5):
            harmless += [(entries + 32 * i + 24, entries + 32 * (i + 1))]
        for i in (2, 4): # the identifier's entry and the physical sector size's
            harmless += [(entries + 32 * i, entries + 32 * (i + 1))]
        values = META_AT + 64 * KIB
        harmless += [(values + 4, values + 8), (values + 16, values + 32),
                     (values + 36, values + 48)]
        # Left out: bits of the disk's size and of a block's state that give another sound disk.
        self.sweep_flips(good, self.disk, [(META_AT, META_AT + 192), (values, values + 9),
                                           (values + 12, values + 48)],
                         harmless)
        self.sweep_flips(good, self.disk, [(BAT_AT + 1, BAT_AT + 8), (BAT_AT + 9, BAT_AT + 16)])


if __name__ == "__main__":
    main()
