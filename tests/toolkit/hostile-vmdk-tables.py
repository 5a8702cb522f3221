#!/usr/bin/python3
"""Hostile headers, tables, markers and grains of sparse and stream-optimized VMDKs.

Beyond the rows of the list of hostile inputs, which hostile-vmdk.py has: hostile.py
says what refused means; the images are craft.py's, sound but for the one thing the test names."""
import os
import struct
import sys
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import main, patched, sectors  # noqa: E402

GRAIN = 128 * SECTOR
# Eleven grains, most of them holes; the seventh is partly zero.
DISK = scattered(11 * GRAIN, [(0, GRAIN), (3 * GRAIN, GRAIN), (6 * GRAIN + 700, 9000),
                              (10 * GRAIN, GRAIN)])
SECTORS = len(DISK) // SECTOR


class Case(hostile.Case):
    format = "vmdk"
    disk = DISK


class Header(Case):
    """Fields of the sparse header and the places they point to."""

    def test_versions(self):
        for version in (1, 2, 3):
            self.good(vmdk_stream(DISK, version=version, footer={"version": version}))
        for version in (0, 4, 0x01000000, 0xFFFFFFFF):
            with self.subTest(version=version):
                self.bad(vmdk_sparse(DISK, header={"version": version}), "version", version)
                self.bad(vmdk_stream(DISK, version=version, footer={"version": version}), "version",
                         version)

    def test_magic(self):
        for magic in (b"VMDK", b"COWD", b"KDMW", b"\0\0\0\0", b"\xca\xfe\xba\xbe"):
            self.bad(vmdk_sparse(DISK, header={"magic": magic}))
            self.bad(vmdk_stream(DISK, footer={"magic": magic}))

    def test_capacity(self):
        for capacity in (0, SECTORS - 1, SECTORS + 128, 1 << 32, 1 << 40, 1 << 54, 1 << 55,
                         (1 << 55) + SECTORS, 1 << 62, 1 << 63, (1 << 63) + SECTORS, AT_END):
            with self.subTest(capacity=capacity):
                self.bad(vmdk_sparse(DISK, header={"capacity": capacity}), status=(4, 5))
                self.bad(vmdk_stream(DISK, header={"capacity": capacity}), status=(4, 5))
                self.bad(vmdk_stream(DISK, footer={"capacity": capacity}), "footer", status=(4, 5))
        for capacity in (0, 1 << 54, 1 << 55, (1 << 55) + SECTORS, 1 << 63, AT_END):
            with self.subTest("all three agree", capacity=capacity):
                own = ['RW %d SPARSE "image"' % capacity]
                for make, kind in ((vmdk_sparse, "monolithicSparse"),
                                   (vmdk_stream, "streamOptimized")):
                    changes = {"capacity": capacity}
                    also = {"footer": changes} if make is vmdk_stream else {}
                    self.bad(make(DISK, header=changes, descriptor=vmdk_descriptor(kind, own),
                                  **also),
                             status=(4, 5))

    def test_capacity_zero_and_a_canary(self):
        """QEMU then obeys the descriptor inside."""
        text = vmdk_descriptor("monolithicFlat", ['RW 128 FLAT "canary.raw" 0'])
        for changes in ({"capacity": 0}, {"capacity": 0, "gd": 0, "rgd": 0}, {"capacity": 128}):
            self.bad(vmdk_sparse(DISK, header=changes, descriptor=text))
            self.bad(vmdk_stream(DISK, header=changes, footer=changes, descriptor=text))

    def test_tables(self):
        for count in (0, 1, 511, 513, 1 << 16, 1 << 31, 0xFFFFFFFF):
            with self.subTest(per_table=count):
                self.bad(vmdk_sparse(DISK, header={"per_table": count}), count)
                self.bad(vmdk_stream(DISK, header={"per_table": count},
                                     footer={"per_table": count}), count)
                self.bad(vmdk_stream(DISK, footer={"per_table": count}), "footer")

    def test_directory(self):
        good = vmdk_sparse(DISK)
        stream = vmdk_stream(DISK, directory_in_front=True)
        self.good(stream, ways=("file", "parts", "job"))
        for sector in (0, 1, good.sectors, good.sectors + 1, 1 << 32,
                       (1 << 55) + good.at["gd"] // SECTOR, 1 << 55,
                       1 << 63, AT_END, AT_END - 1):
            with self.subTest(gd=sector):
                self.bad(vmdk_sparse(DISK, header={"gd": sector}))
                self.bad(vmdk_sparse(DISK, header={"rgd": sector})) if sector else None
                self.bad(vmdk_stream(DISK, directory_in_front=True, header={"gd": sector}))
                self.bad(vmdk_stream(DISK, footer={"gd": sector}))

    def test_directories_that_overlap(self):
        good = vmdk_sparse(DISK)
        at = {name: good.at[name] // SECTOR for name in ("gd", "gt", "rgd", "rgt", "descriptor",
                                                         "data")}
        for gd, name in ((at["descriptor"], "descriptor"), (at["gt"], "table"),
                         (at["data"], "data")):
            with self.subTest(name):
                self.bad(vmdk_sparse(DISK, header={"gd": gd}))
        for table in (0, 1, at["gd"], at["rgd"], at["data"], at["gt"] + 1, at["gt"] - 1,
                      good.sectors - 3,
                      good.sectors, 0xFFFFFFFF):
            with self.subTest(table=table):
                self.bad(vmdk_sparse(DISK, gde={0: table}))

    def test_redundant_directory(self):
        good = vmdk_sparse(DISK)
        self.good(vmdk_sparse(DISK, header={"rgd": 0, "flags": 1}))
        self.bad(vmdk_sparse(DISK, rgte={3: good.at["grains"][3] // SECTOR + 128}), "grain")
        self.bad(vmdk_sparse(DISK, rgte={3: 0}))
        self.bad(vmdk_sparse(DISK, rgte={1: good.at["grains"][3] // SECTOR}))
        self.bad(vmdk_sparse(DISK, rgde={0: good.sectors + 5}))
        self.bad(vmdk_sparse(DISK, rgde={0: 0}))

    def test_grain_tables(self):
        good = vmdk_sparse(DISK)
        grains = {i: at // SECTOR for i, at in good.at["grains"].items()}
        self.good(vmdk_sparse(DISK, zeroed=(1, 2, 9)))
        self.bad(vmdk_sparse(DISK, gte={3: grains[0]}), "grain") # two owners of one grain
        self.bad(vmdk_sparse(DISK, gte={3: grains[0] + 1}), "grain") # partly
        self.bad(vmdk_sparse(DISK, gte={3: grains[6] - 1}), "grain")
        self.bad(vmdk_sparse(DISK, gte={3: 2}), "grain") # in the descriptor
        self.bad(vmdk_sparse(DISK, gte={3: good.at["gt"] // SECTOR}), "grain")
        self.bad(vmdk_sparse(DISK, gte={11: grains[0]}), "grain") # beyond the capacity, shared
        self.bad(vmdk_sparse(DISK, gte={11: grains[10] + 128}, extra_sectors=128),
                 "grain") # and its own
        self.bad(vmdk_sparse(DISK, gte={i: grains[0] for i in range(11)}), "grain")
        self.bad(vmdk_sparse(DISK, gte={1: 1}), "grain") # 1 without the flag is a sector number

    def test_tables_shared_for_amplification(self):
        """One table for every entry of the directory: a small file for an endless disk."""
        wide = vmdk_sparse(bytes(3 * 512 * 8 * SECTOR) + noise(4096), grain=8)
        first = struct.unpack_from("<I", wide, wide.at["gd"])[0]
        self.good(wide, bytes(3 * 512 * 8 * SECTOR) + noise(4096), ways=("file", "parts"))
        for i in (1, 3):
            self.bad(vmdk_sparse(bytes(3 * 512 * 8 * SECTOR) + noise(4096), grain=8, gde={i: first},
                                 rgde={i: first}))

    def test_descriptor_place(self):
        for changes in ({"descriptor": 1 << 40}, {"descriptor": 1 << 55}, {"descriptor": AT_END},
                        {"descriptor_size": 1 << 40}, {"descriptor_size": (1 << 55) + 1},
                        {"descriptor_size": AT_END},
                        {"descriptor_size": 1 << 21}, {"descriptor": 0, "descriptor_size": 20}):
            with self.subTest(**changes):
                self.bad(vmdk_sparse(DISK, header=changes))
                self.bad(vmdk_stream(DISK, header=changes, footer=changes))
                self.bad(vmdk_stream(DISK, footer=changes), "footer")

    def test_compression(self):
        for changes in ({"compression": 0}, {"compression": 2}, {"compression": 0xFFFF},
                        {"flags": 0x10001},
                        {"flags": 1}, {"flags": 0x20001}, {"flags": 0},
                        {"flags": 0x30001 | 1 << 31}):
            with self.subTest(**changes):
                self.bad(vmdk_stream(DISK, header=changes, footer=changes))
                self.bad(vmdk_stream(DISK, footer=changes), "footer")
        self.bad(vmdk_sparse(DISK, header={"flags": 0x30003}))
        self.bad(vmdk_sparse(DISK, header={"flags": 0x30003, "compression": 1}))

    def test_mangled_newlines(self):
        """The header's newline characters tell that FTP's text mode was at work."""
        for newlines in (b"\n \n\n", b"\r \r\n", b"\0\0\0\0"):
            self.bad(vmdk_sparse(DISK, header={"newlines": newlines}))
            self.bad(vmdk_stream(DISK, header={"newlines": newlines}))


class Stream(Case):
    """Markers, grains, tables and footer of a stream-optimized file."""

    def test_grain_order_and_places(self):
        self.good(vmdk_stream(DISK))
        for name, how in {
                "twice": {"repeat": (3,)},
                "the last twice": {"repeat": (10,)},
                "not a multiple": {"lba": {3: 3 * 128 + 1}},
                "as another": {"lba": {3: 0}},
                "as a hole": {"lba": {3: 4 * 128}},
                "beyond": {"lba": {10: 11 * 128}},
                "far beyond": {"lba": {10: 1 << 54}},
                "wraps": {"lba": {10: 1 << 55}},
                "wraps onto itself": {"lba": {3: (1 << 55) + 3 * 128}},
                "most": {"lba": {10: AT_END}},
                "size of one more sector": {"size": {3: 2 * GRAIN}},
                "size beyond the file": {"size": {10: 1 << 24}},
                "size 2^31": {"size": {3: 1 << 31}},
                "size 2^32-1": {"size": {10: 0xFFFFFFFF}},
                "size one less": {"size": {3: len(zlib.compress(DISK[3 * GRAIN:4 * GRAIN])) - 1}},
                "size 1": {"size": {3: 1}},
                "size 0": {"size": {3: 0}},
        }.items():
            with self.subTest(name):
                self.bad(vmdk_stream(DISK, **how))

    def test_compressed_data(self):
        first = zlib.compress(DISK[:GRAIN])
        for name, packed in {
                "adler": patched(first, -1, bytes([first[-1] ^ 1])),
                "no adler": first[:-4],
                "cut": first[:len(first) // 2],
                "header": b"\x79" + first[1:],
                "preset dictionary": bytes([0x78, 0xBB]) + first[2:],
                "gzip": b"\x1f\x8b" + first[2:],
                "raw deflate": zlib.compress(DISK[:GRAIN])[2:-4],
                "plain": DISK[:GRAIN],
                "zeros": bytes(600),
                "garbage": noise(600),
                "another's data and length": zlib.compress(b"x" * 100),
                "nothing inside": zlib.compress(b""),
        }.items():
            with self.subTest(name):
                self.bad(vmdk_stream(DISK, payload={0: packed}), "grain")

    def test_bombs(self):
        for length in (MIB, 256 * MIB):
            for grain in (0, 10):
                self.bad(vmdk_stream(DISK, payload={grain: bomb(length)}), "grain")

    def test_tables_against_grains(self):
        good = vmdk_stream(DISK)
        grains = {i: at // SECTOR for i, at in good.at["grains"].items()}
        for name, how in {
                "not listed": {"gte": {3: 0}},
                "listed elsewhere": {"gte": {3: 0, 4: grains[3]}},
                "two owners": {"gte": {4: grains[3]}},
                "exchanged": {"gte": {0: grains[3], 3: grains[0]}},
                "one sector on": {"gte": {3: grains[3] + 1}},
                "at the header": {"gte": {1: 0x80000000}},
                "zeroed grain": {"gte": {1: 1}},
                "in the tables": {"gte": {1: good.at["gt"] // SECTOR}},
                "beyond the capacity": {"gte": {11: grains[10]}},
                "beyond, at the end": {"gte": {511: 0xFFFFFFFF}},
                "no table": {"gde": {0: 0}},
                "table past the end": {"gde": {0: good.sectors}},
                "table in a grain": {"gde": {0: grains[3] + 1}},
                "table one sector early": {"gde": {0: good.at["gt"] // SECTOR - 1}},
                "table one sector late": {"gde": {0: good.at["gt"] // SECTOR + 1}},
                "table 2^32-1": {"gde": {0: 0xFFFFFFFF}},
                "without table": {"drop": ("table",)},
        }.items():
            with self.subTest(name):
                self.bad(vmdk_stream(DISK, **how))

    def test_markers(self):
        for name, how in {
                "table as directory": {"marker": {MARKER_GT: (4, MARKER_GD)}},
                "directory as table": {"marker": {MARKER_GD: (1, MARKER_GT)}},
                "footer as end": {"marker": {MARKER_FOOTER: (1, MARKER_EOS)}},
                "footer of two": {"marker": {MARKER_FOOTER: (2, MARKER_FOOTER)}},
                "footer of none": {"marker": {MARKER_FOOTER: (0, MARKER_FOOTER)}},
                "unknown": {"marker": {MARKER_GT: (4, 4)}},
                "unknown, most": {"marker": {MARKER_GT: (4, 0xFFFFFFFF)}},
                "table of three": {"marker": {MARKER_GT: (3, MARKER_GT)}},
                "table of five": {"marker": {MARKER_GT: (5, MARKER_GT)}},
                "table of many": {"marker": {MARKER_GT: (1 << 40, MARKER_GT)}},
                "table that wraps": {"marker": {MARKER_GT: ((1 << 55) + 4, MARKER_GT)}},
                "directory of many": {"marker": {MARKER_GD: (AT_END, MARKER_GD)}},
                "end in the middle": {"insert": {3: vmdk_marker(0, MARKER_EOS)}},
                "footer in the middle": {"insert": {3: vmdk_marker(1,
                                                                   MARKER_FOOTER) + bytes(SECTOR)}},
                "garbage before a grain": {"insert": {3: noise(SECTOR)}},
                "a second footer": {"insert": {
                    "footer": vmdk_marker(1, MARKER_FOOTER) + vmdk_header(version=3)}},
                "no footer": {"drop": ("footer",)},
                "no end": {"drop": ("eos",)},
                "neither": {"drop": ("footer", "eos")},
                "the end has a size": {"marker": {MARKER_EOS: (1, MARKER_EOS)}},
        }.items():
            with self.subTest(name):
                self.bad(vmdk_stream(DISK, **how))

    def test_huge_and_blank(self):
        """As large as makes sense, nothing in it, quickly; and with every table in one place."""
        capacity = 8 * TIB // SECTOR
        self.good(vmdk_stream(b"", capacity=capacity), 8 * TIB,
                  ways=("file", "pipe", "parts", "job"))
        blank = vmdk_stream(noise(4096), grain=8, capacity=capacity // 64)
        table = blank.at["gt"] // SECTOR
        many = {i: table for i in range(1, capacity // 64 // 8 // 512, 64)}
        self.bad(vmdk_stream(noise(4096), grain=8, capacity=capacity // 64, gde=many))

    def test_footer(self):
        for name, changes in {
                "grain size": {"grain": 64}, "flags": {"flags": 0x30003},
                "overhead": {"overhead": 256},
                "descriptor": {"descriptor": 2}, "gd at the end again": {"gd": AT_END},
                "compression": {"compression": 0}, "newlines": {"newlines": b"\0\0\0\0"},
        }.items():
            with self.subTest(name):
                self.bad(vmdk_stream(DISK, footer=changes))

    def test_after_the_end(self):
        for name, tail in {"a sector": noise(SECTOR), "bytes": b"x",
                           "another image": bytes(vmdk_stream(DISK)),
                           "a second end": None}.items():
            with self.subTest(name):
                if tail:
                    self.bad(vmdk_stream(DISK, tail=tail))
                else: # one more sector of zeros says nothing
                    self.bench.refused_or(self, vmdk_stream(DISK, tail=bytes(SECTOR)), "vmdk", DISK)


if __name__ == "__main__":
    main()
