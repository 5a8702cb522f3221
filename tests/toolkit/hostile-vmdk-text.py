#!/usr/bin/python3
"""Hostile descriptors of VMDKs, and split and flat VMDKs whose extents lie in one given directory.

hostile.py says what refused means; the images are craft.py's, sound but for the one thing the test
names."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import main  # noqa: E402

GRAIN = 128 * SECTOR
DISK = scattered(11 * GRAIN, [(0, GRAIN), (3 * GRAIN, 700), (6 * GRAIN + 700, 9000),
                              (10 * GRAIN, GRAIN)])
SECTORS = len(DISK) // SECTOR


class Case(hostile.Case):
    format = "vmdk"
    disk = DISK


class Descriptor(Case):
    """The text inside."""

    def images(self, text):
        """(image, its good neighbour's text) for both kinds."""
        for make, kind in ((vmdk_sparse, "monolithicSparse"), (vmdk_stream, "streamOptimized")):
            yield make(DISK, descriptor=text(kind))

    def test_types(self):
        own = ['RW %d SPARSE "image"' % SECTORS]
        for kind in ("monolithicFlat", "vmfs", "vmfsSparse", "vmfsThin", "seSparse", "fullDevice",
                     "partitionedDevice",
                     "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap", "vmfsRaw", "custom",
                     "2GbMaxExtentSparse",
                     "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "", "x" * 3000, "a\x1b[2Jb"):
            with self.subTest(kind=kind):
                for make in (vmdk_sparse, vmdk_stream):
                    self.bad(make(DISK, descriptor=vmdk_descriptor(kind, own)))
                self.bad(vmdk_descriptor(kind, ['RW 128 FLAT "canary.raw" 0']).encode())
        for make, kind in ((vmdk_sparse, "streamOptimized"), (vmdk_stream, "monolithicSparse")):
            with self.subTest("the other type", kind=kind):
                self.bad(make(DISK, descriptor=vmdk_descriptor(kind, own)))

    def test_extent_lines(self):
        # VirtualBox writes the exact size here, and rounds the header's up to a grain
        for line in ('RW %d SPARSE "image"' % (SECTORS + 1),
                     'RW %d SPARSE "image"' % (SECTORS - 128),
                     'RW 0 SPARSE "image"', 'RW -1 SPARSE "image"',
                     'RW %d SPARSE "image"' % (1 << 64),
                     'RW %d SPARSE "image"' % ((1 << 64) + SECTORS), 'RW 0x580 SPARSE "image"',
                     'RW SPARSE "image"',
                     'RW +%d SPARSE "image"' % SECTORS, 'XX %d SPARSE "image"' % SECTORS, "",
                     'NOACCESS %d SPARSE "image"' % SECTORS):
            with self.subTest(line):
                for image in self.images(lambda kind: vmdk_descriptor(kind,
                                                                      [line])):
                    self.bad(image)

    def test_names_cannot_write_on_the_terminal(self):
        for name in (b"a\x1b[31mred\x07", b"line\rback", b"\xff\xfe\x80", b"\xc2\x9b31m",
                     b"\xe2\x80\xaetxt", b"\x7f",
                     b"a" * 3000, b"%s%n%d"):
            with self.subTest(name=name[:20]):
                flat = b'RW 128 FLAT "' + name + b'" 0'
                text = vmdk_descriptor("monolithicFlat", ["@"]).encode().replace(b"@", flat)
                self.bad(text)
                self.bad(text, ways=("file", "job"),
                         options=("--extents", self.bench.path("extents")),
                         job={"extents": self.bench.path("extents")}, status=(3, 4))
                kind = text.replace(b"monolithicFlat", name)
                self.bad(kind)
                self.bad(vmdk_stream(DISK, descriptor=kind))

    def test_parent_written_oddly(self):
        for head in ('parentfilenamehint="canary.raw"', '  parentFileNameHint  =  "canary.raw"',
                     'parentFileNameHint=canary.raw', '\tparentFileNameHint="canary.raw"'):
            for image in self.images(lambda kind: vmdk_descriptor(
                    kind, ['RW %d SPARSE "image"' % SECTORS], head=head, parent="00000001")):
                self.bad(image, "parent")

    def test_keys_twice(self):
        for head in ('createType="monolithicFlat"', "parentCID=00000001", "CID=1\nCID=2",
                     'createType="streamOptimized"\ncreateType="vmfs"'):
            with self.subTest(head):
                for image in self.images(lambda kind: vmdk_descriptor(
                        kind, ['RW %d SPARSE "image"' % SECTORS], head=head)):
                    self.bad(image, ways=("file",)) if "CID=1" not in head else None

    def test_encrypted_and_tracked(self):
        for head, words in (('encryption.keySafe = "vmware:key/list"', "encr"),
                            ('changeTrackPath="canary.raw"', "")):
            for image in self.images(lambda kind: vmdk_descriptor(
                    kind, ['RW %d SPARSE "image"' % SECTORS], head=head)):
                if words:
                    self.bad(image, words)
                else: # names a file with the changed blocks: not data, never opened
                    self.good(image)

    def test_sound_but_unusual(self):
        tail = ('ddb.toolsVersion = "10309"\nddb.uuid.image="x"\nddb.comment = "été"\n'
                '# the end\n\n\n')
        for image in self.images(lambda kind: vmdk_descriptor(
                kind, ['  RW  %d   SPARSE "other name.vmdk"  ' % SECTORS], tail=tail)):
            self.good(image)

    def test_bombs(self):
        for text in (vmdk_descriptor("monolithicFlat",
                                     ['RW 1 FLAT "canary.raw" 0'] * 60000).encode(),
                     b"# Disk DescriptorFile\n" + b"x" * (5 << 20),
                     b"# Disk DescriptorFile\n" * 300000,
                     b"# Disk DescriptorFile\n" + bytes(1 << 20), b"# Disk DescriptorFile",
                     b"# Disk DescriptorFile\n"):
            self.bad(text)
            self.bad(text, ways=("file",), options=("--extents", self.bench.path("extents")),
                     status=(3, 4, 5))
        for kind in ("monolithicSparse", "streamOptimized"):
            text = vmdk_descriptor(kind, ['RW %d SPARSE "image"' % SECTORS] * 50000)
            self.bad(vmdk_sparse(DISK, descriptor=text))
            self.bad(vmdk_stream(DISK, descriptor=text))

    def test_text_after_a_nul(self):
        """The descriptor ends at the first zero; what hides behind it must have no effect."""
        text = vmdk_descriptor("monolithicSparse", ['RW %d SPARSE "image"' % SECTORS]).encode()
        evil = vmdk_descriptor("monolithicFlat", ['RW 128 FLAT "canary.raw" 0']).encode()
        image = self.bench.put(vmdk_sparse(DISK, descriptor=text + b"\0" + evil))
        self.bench.refused_or(self, image, "vmdk", DISK)


class Split(Case):
    """Descriptors with their extents in one given directory."""

    def setUp(self):
        self.inside = self.bench.path("extents")
        self.half = len(DISK) // 2 // GRAIN * GRAIN
        self.halves = DISK[:self.half], DISK[self.half:]
        for i, piece in enumerate(self.halves, 1):
            self.bench.put(vmdk_sparse(piece, descriptor=b""), "extents", "d-s%03d.vmdk" % i)
            self.bench.put(piece, "extents", "d-f%03d.vmdk" % i)

    def given(self, ways=("file", "job", "info"), **how):
        return {"ways": ways, "options": ("--extents", self.inside),
                "job": {"extents": self.inside}, **how}

    def lines(self, kind="SPARSE", letter="s", **change):
        return ['RW %d %s "%s"%s' % (change.get("size%d" % i, len(piece) // SECTOR), kind,
                                     change.get("name%d" % i, "d-%s%03d.vmdk" % (letter, i)),
                                     " 0" if kind == "FLAT" else "")
                for i, piece in enumerate(self.halves, 1)]

    def sparse(self, **change):
        return vmdk_text(*self.lines(**change), kind="twoGbMaxExtentSparse")

    def flat(self, **change):
        return vmdk_text(*self.lines("FLAT", "f", **change), kind="twoGbMaxExtentFlat")

    def test_without_the_directory(self):
        self.good(self.sparse(), **self.given())
        self.good(self.flat(), **self.given())
        self.bad(self.sparse(), "twoGbMaxExtentSparse")
        self.bad(self.flat(), "twoGbMaxExtentFlat")

    def test_names_that_lead_out(self):
        os.mkdir(os.path.join(self.inside, "sub"))
        self.bench.put(self.halves[0], "extents", "sub/f")
        for name in ("../in/canary.raw", "/etc/passwd", self.bench.canary, "..", ".", "", "sub/f",
                     "./d-f001.vmdk",
                     "sub", "d-f001.vmdk/", "..\\in\\canary.raw", "a\0b", "C:\\x", "x" * 300,
                     "x" * 5000):
            with self.subTest(name=name[:40]):
                self.bad(self.flat(name1=name), **self.given(status=(3, 4)))
                self.bad(self.sparse(name1=name), **self.given(status=(3, 4)))

    def test_special_files(self):
        places = {"link": lambda p: os.symlink(self.bench.canary, p), "fifo": os.mkfifo,
                  "inside link": lambda p: os.symlink("d-f001.vmdk", p),
                  "dangling": lambda p: os.symlink("none", p),
                  "zero": lambda p: os.symlink("/dev/zero", p), "directory": os.mkdir,
                  "loop": lambda p: os.symlink(os.path.basename(p), p)}
        for name, make in places.items():
            make(os.path.join(self.inside, name))
            with self.subTest(name):
                self.bad(self.flat(name1=name), **self.given(status=(3, 4)))
                self.bad(self.sparse(name2=name), **self.given(status=(3, 4)))

    def test_devices(self):
        path = os.path.join(self.inside, "device")
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5)) # /dev/zero
        except PermissionError:
            self.skipTest("making devices needs root")
        self.bad(self.flat(name1="device"), **self.given(status=(3, 4)))

    def test_one_file_twice(self):
        self.bad(vmdk_text('RW 64 FLAT "d-f001.vmdk" 0', 'RW 64 FLAT "d-f001.vmdk" 0',
                            kind="twoGbMaxExtentFlat"),
                 **self.given())
        os.link(os.path.join(self.inside, "d-f001.vmdk"), os.path.join(self.inside, "hard"))
        os.link(os.path.join(self.inside, "d-s001.vmdk"), os.path.join(self.inside, "hards"))
        same = len(self.halves[0]) // SECTOR
        self.bad(vmdk_text('RW %d FLAT "d-f001.vmdk" 0' % same, 'RW %d FLAT "hard" 0' % same,
                            kind="twoGbMaxExtentFlat"), **self.given())
        self.bad(vmdk_text('RW %d SPARSE "d-s001.vmdk"' % same, 'RW %d SPARSE "hards"' % same,
                            kind="twoGbMaxExtentSparse"), **self.given())

    def test_sizes(self):
        size = len(self.halves[0]) // SECTOR
        for wrong in (size + 1, size * 2, 0, 1 << 55, 1 << 63, (1 << 64) - 1, (1 << 64) + size):
            with self.subTest(wrong=wrong):
                self.bad(self.flat(size1=wrong), **self.given(status=(4, 5)))
                self.bad(self.sparse(size1=wrong), **self.given(status=(4, 5)))
        self.bad(self.sparse(size1=size - 1), **self.given())
        # two extents that are sound one by one, and together are more than can be
        huge = 'RW %d FLAT "d-f001.vmdk" 0' % ((1 << 54) - 1)
        self.bad(vmdk_text(*[huge] * 3, kind="twoGbMaxExtentFlat"), **self.given(status=(4, 5)))

    def test_flat_offsets(self):
        size = len(self.halves[1]) // SECTOR
        def image(offset, count=size - 8):
            return vmdk_text('RW %d FLAT "d-f002.vmdk" %s' % (count, offset))
        self.good(image(8), self.halves[1][8 * SECTOR:], **self.given())
        for offset in (9, size, size + 1, 1 << 55, (1 << 55) + 8, (1 << 64) - 8, (1 << 64) + 8, -8,
                       "8x", "0x8", "+8", "8 8"):
            with self.subTest(offset=offset):
                self.bad(image(offset), **self.given(status=(4,)))

    def test_extent_kinds(self):
        size = len(self.halves[0]) // SECTOR
        for kind in ("VMFS", "VMFSSPARSE", "VMFSRDM", "VMFSRAW", "SESPARSE", "VSANSPARSE",
                     "PARTITIONEDDEVICE", "x"):
            with self.subTest(kind):
                self.bad(vmdk_text('RW %d %s "d-f001.vmdk" 0' % (size, kind),
                                    kind="twoGbMaxExtentFlat"), **self.given())
                if kind != "VMFS": # that is a flat extent, of an ESX server
                    self.bad(vmdk_text('RW %d %s "d-f001.vmdk" 0' % (size, kind), kind="vmfs"),
                             **self.given())
        self.bad(vmdk_text(self.lines()[0], self.lines("FLAT", "f")[1],
                            kind="twoGbMaxExtentSparse"), **self.given())
        for kind in ("fullDevice", "partitionedDevice", "vmfsRawDeviceMap", "custom"):
            self.bad(vmdk_text(*self.lines("FLAT", "f"), kind=kind), **self.given())

    def test_extent_files(self):
        """A damaged extent, one with a descriptor or a parent of its own, another format."""
        half = self.halves[1]
        name = "d-s002.vmdk"
        good = vmdk_sparse(half, descriptor=b"")
        evil = vmdk_descriptor("monolithicSparse", ['RW 128 FLAT "canary.raw" 0'],
                               head='parentFileNameHint="canary.raw"',
                               parent="00000001")
        for what, extent in {
                "descriptor": vmdk_descriptor("monolithicFlat",
                                              ['RW 128 FLAT "canary.raw" 0']).encode(),
                "the descriptor itself": self.sparse(), "short": good[:-SECTOR], "empty": b"",
                "raw": half,
                "parent": vmdk_sparse(half, descriptor=evil),
                "capacity": vmdk_sparse(half, descriptor=b"", header={"capacity": 64}),
                "pointer": vmdk_sparse(half, descriptor=b"", gte={1: good.sectors}),
                "qcow2": bytes(qcow2(half)),
                "overlap": vmdk_sparse(half, descriptor=b"",
                                       gte={0: min(good.at["grains"].values()) // SECTOR + 1}),
        }.items():
            with self.subTest(what):
                self.bench.put(extent, "extents", name)
                self.bad(self.sparse(), **self.given())
        self.bench.put(good, "extents", name)
        self.good(self.sparse(), **self.given())
        os.unlink(os.path.join(self.inside, name))
        self.bad(self.sparse(), name, **self.given(status=(3, 4)))

    def test_parent(self):
        for how in ({"parent": "00000001"}, {"head": 'parentFileNameHint="d-f001.vmdk"'}):
            self.bad(vmdk_text(*self.lines(), kind="twoGbMaxExtentSparse", **how), "parent",
                     **self.given())

    def test_no_such_directory(self):
        for place in (self.bench.path("nowhere"), self.bench.canary, ""):
            result = self.bench.go("file", self.bench.put(self.flat()), "vmdk",
                                   ("--extents", place))
            self.bench.was_refused(self, result, (), (2, 3, 4))

    def test_the_image_is_an_extent_of_itself(self):
        image = os.path.join(self.inside, "self.vmdk")
        self.bench.put(vmdk_text('RW 1 FLAT "self.vmdk" 0'), "extents", "self.vmdk")
        self.bad(image, **self.given(ways=("file", "job")))
        self.bench.put(vmdk_text('RW 1 SPARSE "self.vmdk"', kind="twoGbMaxExtentSparse"),
                       "extents", "self.vmdk")
        self.bad(image, **self.given(ways=("file", "job")))


if __name__ == "__main__":
    main()
