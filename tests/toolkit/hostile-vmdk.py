#!/usr/bin/python3
"""Hostile and damaged VMDKs: each is refused whole, and each has an accepted neighbour.

Variations of rows 1 to 11 and 24 of the list of hostile inputs (the rows themselves are in
hostile-rows.py); hostile-vmdk-tables.py and hostile-vmdk-text.py have what else an attacker may try.
hostile.py says what refused means; the images are craft.py's, sound but for the one thing the test
names."""
import os
import sys
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import main, sectors  # noqa: E402

GRAIN = 128 * SECTOR
# Eleven grains, most of them holes; the seventh is partly zero; the last is partial in PARTIAL.
DISK = scattered(11 * GRAIN, [(0, GRAIN), (3 * GRAIN, GRAIN), (6 * GRAIN + 700, 9000),
                              (10 * GRAIN, GRAIN)])
PARTIAL = DISK[:10 * GRAIN + 5 * SECTOR]
SECTORS = len(DISK) // SECTOR


class Case(hostile.Case):
    format = "vmdk"
    disk = DISK


class Variations(Case):
    """Variations of rows, some ways."""

    def test_01_descriptor_naming_the_canary(self):
        inside = self.bench.path("extents")
        self.bench.put(noise(1 << 16), "extents", "disk-flat.vmdk")
        self.good(vmdk_text('RW 128 FLAT "disk-flat.vmdk" 0'), noise(1 << 16),
                  ways=("file", "job"), options=("--extents", inside),
                  job={"extents": inside})
        names = ("canary.raw", "./canary.raw", "../in/canary.raw", self.bench.canary,
                 "/etc/passwd", "file://" + self.bench.canary,
                 "http://127.0.0.1:%d/x" % self.bench.port,
                 "nbd://127.0.0.1:%d/x" % self.bench.port,
                 'json:{\\"file\\"}')
        for name in names:
            image = vmdk_text('RW 128 FLAT "%s" 0' % name)
            with self.subTest(name=name):
                self.bad(image)
                self.bad(image, ways=("file", "job"), options=("--extents", inside),
                         job={"extents": inside}, status=(3, 4))

    def test_02_sparse_with_a_flat_extent_besides(self):
        own = 'RW %d SPARSE "image"' % SECTORS
        for make, kind in ((vmdk_sparse, "monolithicSparse"), (vmdk_stream, "streamOptimized")):
            with self.subTest(kind):
                self.good(make(DISK, descriptor=vmdk_descriptor(kind, [own])))
                for second in ('RW 128 FLAT "canary.raw" 0', 'RW 128 SPARSE "canary.raw"',
                               'RW 128 ZERO'):
                    image = make(DISK, descriptor=vmdk_descriptor(kind, [own, second]))
                    with self.subTest(second):
                        self.bad(image, "extent")
                        self.bad(image, ways=("file",),
                                 options=("--extents", self.bench.path("in")))
                for only in ('RW %d FLAT "canary.raw" 0' % SECTORS,
                             'RW %d VMFS "canary.raw"' % SECTORS,
                             'RW %d VMFSRDM "canary.raw"' % SECTORS,
                             'RW %d SESPARSE "image"' % SECTORS):
                    with self.subTest(only):
                        self.bad(make(DISK, descriptor=vmdk_descriptor(kind, [only])))

    def test_03_parent_in_the_same_directory(self):
        hint = 'parentFileNameHint="base.vmdk"'
        for make, kind in ((vmdk_sparse, "monolithicSparse"), (vmdk_stream, "streamOptimized")):
            own = ['RW %d SPARSE "image"' % SECTORS]
            def image(**how):
                return make(DISK, descriptor=vmdk_descriptor(kind, own, **how))
            with self.subTest(kind):
                self.bench.put(vmdk_sparse(DISK), name="base.vmdk")
                self.good(image())
                self.bad(image(head=hint, parent="fffffffe"), "parent")
                self.bad(image(head=hint), "parent")
                self.bad(image(parent="fffffffe"), "parent", {0xfffffffe, "fffffffe"})
                self.bad(image(tail=hint + "\n", parent="fffffffe"), "parent")
                self.bad(image(head='PARENTFILENAMEHINT = "canary.raw"', parent="12345678"),
                         "parent")

    def test_04_capacity_beyond_the_volume(self):
        limit = ("--max-size", "10G")
        job = {"max_size": 10 * GIB}
        good = vmdk_stream(b"", capacity=10 * GIB // SECTOR)
        self.good(good, 10 * GIB, ways=("file", "pipe", "parts", "job"), options=limit, job=job)
        for capacity in (3 * TIB // SECTOR, 10 * GIB // SECTOR + 1):
            image = vmdk_stream(b"", capacity=capacity)
            self.bad(image, capacity * SECTOR, 10 * GIB, status=(5,), options=limit, job=job,
                     ways=("file", "pipe", "parts", "job"))
        # A file that tells 3 TiB and holds no tables for it is a lie besides
        image = vmdk_sparse(DISK, header={"capacity": 3 * TIB // SECTOR})
        self.bad(image, status=(4, 5), options=limit, job=job,
                 ways=("file", "pipe", "parts", "job"))

    def test_05_grain_size(self):
        self.good(vmdk_sparse(DISK, grain=16))
        for make in (vmdk_sparse, vmdk_stream):
            self.bad(make(DISK, header={"grain": 24}), "grain", sectors(24))
        for grain in (0, 1, 4, 3, 127, 1 << 31, 1 << 40, 1 << 55, 1 << 63, AT_END):
            with self.subTest(grain=grain):
                self.bad(vmdk_sparse(DISK, header={"grain": grain}), "grain", sectors(grain))
                self.bad(vmdk_stream(DISK, header={"grain": grain}, footer={"grain": grain}),
                         "grain",
                         sectors(grain))

    def test_06_grain_pointer_beyond_the_end(self):
        for make in (vmdk_sparse, vmdk_stream):
            good = make(DISK)
            self.good(good)
            for sector in (good.sectors + 1, good.sectors, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
                with self.subTest(make.__name__, sector=sector):
                    image = make(DISK, gte={3: sector})
                    says = ("grain", sectors(sector), sectors(good.sectors))
                    self.bad(image, *says, ways=("file", "parts", "job", "info", "digest", "encode")
                             if sector == good.sectors + 1 else ("file", "parts"))
                    self.bad(image, "grain", sectors(sector),
                             ways=("pipe",)) # how long it is, who knows
            self.bad(make(DISK, gte={3: good.sectors - 1}), "grain", sectors(good.sectors - 1),
                     ways=("file", "parts"))

    def test_07_shortened(self):
        for make in (vmdk_sparse, vmdk_stream):
            good = make(DISK)
            self.good(good)
            with self.subTest(make.__name__):
                self.bad(good[:-SECTOR], {len(good) - SECTOR, len(good), good.sectors,
                                          good.sectors - 1})
                self.bad(good[:-1])

    def test_08_grain_inflating_to_one_byte_more(self):
        first = DISK[:GRAIN]
        self.good(vmdk_stream(DISK, payload={0: zlib.compress(first, 0)}))
        for packed, length in ((first + b"\0", GRAIN + 1), (first[:-1], GRAIN - 1),
                               (first + bytes(64 * MIB), 64 * MIB + GRAIN)):
            with self.subTest(length=length):
                self.bad(vmdk_stream(DISK, payload={0: zlib.compress(packed)}), "grain", GRAIN)

    def test_09_footer_of_another_version(self):
        for own, other in ((3, 1), (1, 3), (3, 2)):
            self.good(vmdk_stream(DISK, version=own, footer={"version": own}))
            with self.subTest(own=own, other=other):
                self.bad(vmdk_stream(DISK, version=own, footer={"version": other}), "footer",
                         own, other)

    def test_10_accented_name_in_the_descriptor(self):
        own = 'RW %d SPARSE "Données à côté.vmdk"' % SECTORS
        for encoding in ("UTF-8", "windows-1252", "ISO-8859-1"):
            codec = {"windows-1252": "cp1252"}.get(encoding, encoding)
            for make, kind in ((vmdk_sparse, "monolithicSparse"), (vmdk_stream, "streamOptimized")):
                text = vmdk_descriptor(kind, [own], encoding=encoding).encode(codec)
                with self.subTest(kind, encoding=encoding):
                    self.good(make(DISK, descriptor=text))
                    self.good(make(DISK, descriptor=text.replace(b"\n", b"\r\n")))

    def test_11_partial_last_grain(self):
        self.good(vmdk_stream(PARTIAL, grain=16), PARTIAL)
        self.good(vmdk_sparse(PARTIAL), PARTIAL)
        last = PARTIAL[10 * GRAIN:]
        for length in (5 * SECTOR - 1, 5 * SECTOR + 1, 4 * SECTOR, GRAIN + 1, 0):
            with self.subTest(length=length):
                packed = zlib.compress((last + noise(GRAIN))[:length])
                self.bad(vmdk_stream(PARTIAL, payload={10: packed}), "grain", {5 * SECTOR, GRAIN})

    def test_24_contents_that_begin_as_another_image(self):
        for name, start in HIDDEN.items():
            with self.subTest(name):
                disk = start + DISK[len(start):]
                for make in (vmdk_sparse, vmdk_stream):
                    self.bad(make(disk), "HiddenFormat")
                # one bit of the magic away, it is a disk as any other
                near = bytes([disk[0] ^ 1]) + disk[1:]
                for make in (vmdk_sparse, vmdk_stream):
                    self.good(make(near), near)
        with self.subTest("a fixed VHD is raw as well"):
            path = self.bench.put(vmdk_sparse(HIDDEN["qcow2"] + DISK[SECTOR:]))
            result = self.bench.run(["convert", "-f", "vmdk", "-O", "vhd", "--subformat", "fixed",
                                     "--no-sync", "--progress-fd", "EVENTS", path,
                                     self.bench.path("out", "disk.vhd")])
            self.bench.was_refused(self, result, ("HiddenFormat",))
        with self.subTest("split"):
            inside = self.bench.path("extents")
            disk = HIDDEN["vhdx"].ljust(1 << 16, b"\1")
            self.bench.put(disk, "extents", "f")
            self.bad(vmdk_text('RW 128 FLAT "f" 0'), ways=("file", "job"), job={"extents": inside},
                     options=("--extents", inside))


# What a later probe of the raw volume would take for an image of its own, and follow.
HIDDEN = {
    "vhdx": b"vhdxfile".ljust(SECTOR, b"\0"),
    "qcow2": bytes(qcow2(b"", texts=[(0, b"QFI\xfb\0\0\0\3")])[:SECTOR]),
    "vmdk": vmdk_header(version=1, flags=3, capacity=8, grain=8, per_table=512),
    "vmdk text": vmdk_text('RW 128 FLAT "canary.raw" 0').ljust(1024, b"\0"),
    "qcow version 1": b"QFI\xfb\0\0\0\1".ljust(SECTOR,
                                               b"\0"), # these two can name backing files as well
    "qed": b"QED\0".ljust(SECTOR, b"\0"),
    "vhd": vhd_footer(MIB, 3),
}


if __name__ == "__main__":
    main()
