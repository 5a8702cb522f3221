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


class Vmdk(hostile.Case):
    format = "vmdk"
    disk = SMALL
    # Fields that say nothing about the data: how much lies before it (every pointer is checked
    # by itself), whether the disk was in use, and the padding.
    HARMLESS = [(64, 73), (79, SECTOR)]

    @staticmethod
    def image(make, kind):
        text = vmdk_descriptor(kind, ['RW %d SPARSE "image"' % (len(SMALL) // SECTOR)])
        return make(SMALL, grain=8, descriptor=text)

    def test_sparse(self):
        good = self.image(vmdk_sparse, "monolithicSparse")
        self.good(good)
        # nor do flag 4 (zeroed grains are allowed), flags of no meaning, and a compression that no
        # flag tells to use
        self.sweep_cuts(good, SMALL, {*range(0, len(good), SECTOR), 1, 511, len(good) - 1},
                        ("file", "pipe"))
        self.sweep_flips(good, SMALL, [(0, 90)], [*self.HARMLESS, (8, 10), (77, 79)])
        self.sweep_flips(good, SMALL, [(good.at[t], good.at[t] + n) for t, n in (
            ("gd", 4), ("gt", 20), ("rgd", 4), ("rgt", 20))])

    def test_stream(self):
        good = self.image(vmdk_stream, "streamOptimized")
        self.good(good)
        self.sweep_cuts(good, SMALL, {*range(0, len(good), SECTOR), 1, 511, len(good) - 1},
                        ("file", "pipe", "parts"))
        footer = good.at["footer_marker"] + SECTOR
        # nor does a second directory that no flag tells to use, nor a few zeros after a grain
        harmless = [*self.HARMLESS, (48, 56)]
        harmless += [(footer + a, footer + b) for a, b in harmless]
        harmless += [(at + 8, at + 9) for at in good.at["grains"].values()]
        ranges = [(at, at + 16) for at in (good.at["gt"] - SECTOR, good.at["gd"] - SECTOR,
                                           good.at["footer_marker"], good.at["eos"])]
        ranges += [(at, at + 30) for at in good.at["grains"].values()]
        self.sweep_flips(good, SMALL, [(0, 90), (footer, footer + 90), *ranges], harmless)
        self.sweep_flips(good, SMALL, [(good.at["gd"], good.at["gd"] + 4),
                                       (good.at["gt"], good.at["gt"] + 24)])

    def test_descriptor(self):
        """Most of its text does not matter; whatever is turned over, the bytes are right."""
        good = self.image(vmdk_stream, "streamOptimized")
        text = (good.at["descriptor"], good.at["descriptor"] + good.at["text"])
        self.sweep_flips(good, SMALL, [text], [text])


if __name__ == "__main__":
    main()
