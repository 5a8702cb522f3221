#!/usr/bin/python3
"""Hostile and damaged OVAs: refused whole, each with its accepted neighbour.

Variations of rows 29 to 34 of the list of hostile inputs (the rows themselves are in hostile-rows.py),
then what else an attacker may try.  hostile.py says what refused means; the archives are packed.py's."""
import gzip
import os
import subprocess
import sys
import tarfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
from hostile import ALL_WAYS, main, patched  # noqa: E402
from packed import Ova, digests, item, one_disk, ova, ovf, tar, xz  # noqa: E402

DISK = scattered(MIB, [(0, 5000), (300 * KIB, 64 * KIB), (MIB - 512, 512)])
IMAGE = bytes(vmdk_stream(DISK))
SIZE = len(DISK)


class Variations(Ova):
    disk = DISK

    def test_29_traversal(self):
        for name in ("dir/../../evil", "../evil", "/evil", "..", "a//b", "./evil", "a\\b",
                     "a\nb"):
            with self.subTest(name=name):
                self.bad(ova(IMAGE, SIZE, extra=[(name, b"x")]), "plain name")
        self.bad(ova(IMAGE, SIZE, name="../disk.vmdk"), "plain name", ways=("file", "pipe"))
        by_pax = {"pax_headers": {"path": "../../evil"}}
        self.bad(tar([("box.ovf", one_disk("d", IMAGE, SIZE)), ("d", IMAGE), ("x", b"", by_pax)],
                     tarfile.PAX_FORMAT), "plain name")

    def test_30_links_and_devices(self):
        text = one_disk("d.vmdk", IMAGE, SIZE)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE,
                     tarfile.BLKTYPE, tarfile.DIRTYPE):
            with self.subTest(kind=kind):
                self.bad(tar([("box.ovf", text), ("real.vmdk", IMAGE),
                              ("d.vmdk", b"", {"type": kind, "linkname": "real.vmdk"})]),
                         "regular file")

    def test_31_names_are_compared_as_they_are(self):
        for href in ("%2e%2e/canary", "canary.raw", "./d.vmdk", "D.vmdk", "d.vmdk ", "d%2evmdk",
                     "http://127.0.0.1:%d/d.vmdk" % self.bench.port, "file:///etc/passwd",
                     self.bench.canary):
            with self.subTest(href=href):
                text = one_disk("d.vmdk", IMAGE, SIZE, file={"href": href})
                self.bad(tar([("box.ovf", text), ("d.vmdk", IMAGE)]), "no member called",
                         ways=("file", "pipe", "info"))

    def test_32_digests(self):
        def wrong(text):
            return text[:-2] + (b"0" if text[-2:-1] != b"0" else b"1") + text[-1:]

        for kind in ("SHA1", "SHA256", "SHA512"):
            for at_end in (False, True):
                with self.subTest(kind=kind, at_end=at_end):
                    self.bad(ova(IMAGE, SIZE, manifest=kind, at_end=at_end,
                                 change={"box.mf": wrong}), "box-disk1.vmdk", "digest",
                             ways=("file", "pipe"))
                    self.bad(ova(IMAGE, SIZE, manifest=kind, at_end=at_end, change={
                        "box.ovf": lambda text: text.replace(b"A machine", b"a machine")}),
                             "box.ovf", "digest", ways=("file", "pipe"))

    def test_32_digests_of_what_is_not_read(self):
        """Bytes of the image that no decoder looks at are proven as well."""
        raw = ova(DISK, SIZE, name="d.raw", change={"d.raw": lambda d: patched(d, MIB // 2, b"x")})
        for way in ("file", "pipe", "parts", "digest"):
            self.bench.refused(self, raw, "raw.ova", ("d.raw", "digest"), ways=(way,))
        self.bench.accepted(self, ova(DISK, SIZE, name="d.raw"), "raw.ova", DISK, ways=("file",))
        padded_image = vhdx(DISK)
        free = next(at for at in range(len(padded_image) - 1, 0, -4096)
                    if not any(padded_image[at - 4095:at + 1]))
        self.bench.refused(self, ova(bytes(padded_image), SIZE, name="d.vhdx", change={
            "d.vhdx": lambda d: patched(d, free, b"x")}), "vhdx.ova", ("d.vhdx",),
                           ways=("file", "pipe"))

    def test_32_manifests(self):
        good = digests([("box.ovf", one_disk("box-disk1.vmdk", IMAGE, SIZE)),
                        ("box-disk1.vmdk", IMAGE)])
        lines = good.splitlines(True)
        self.good(ova(IMAGE, SIZE, change={"box.mf": lambda _: good + b"\n"}), ways=("file",))
        for text in (lines[0], lines[1], good + lines[1], good.replace(b"SHA256", b"MD5"), b"",
                     good.replace(b"=", b":"), good[:-9] + b"\n", good + b"\0", good + b"x\n",
                     good + b"\xff\n", b"SHA1(x)= %s\n" % (b"0" * 40) * 2, good + b"\n" * (1 << 18)):
            with self.subTest(text=text[:40]):
                self.bad(ova(IMAGE, SIZE, change={"box.mf": lambda _, t=text: t}), ways=("file",))
                self.bad(ova(IMAGE, SIZE, change={"box.mf": lambda _, t=text: t}, at_end=True),
                         ways=("pipe",))
        self.bad(ova(IMAGE, SIZE, extra=[("other.mf", good)]), "two manifests")

    def test_33_bombs(self):
        """Twenty-fold is compression, 2000-fold is a bomb."""
        fair = scattered(20 * MIB, [(0, MIB)])
        packed = xz(noise(16 * KIB), 64 * MIB)
        self.assertGreater(64 * MIB / len(packed), 2000)
        for how, data in (("xz", xz(fair)), ("gzip", gzip.compress(fair, 1))):
            self.bench.accepted(self, ova(data, len(fair), file={"compression": how}), "raw.ova",
                                fair, ways=("file",))
        for name in ("raw.ova", "vmdk.ova"):
            self.bench.refused(self, ova(packed, 64 * MIB, file={"compression": "xz"}), name,
                               ways=("file", "pipe", "parts"))
        text = self.bench.was_refused(self, self.bench.go("pipe", self.bench.put(
            ova(packed, 64 * MIB, file={"compression": "xz"})), "raw.ova"), ("1100", "bomb"))
        self.assertIn("Expansion", text)

    def test_damaged_xz(self):
        """Its index is read before anything else."""
        packed = xz(DISK)
        for at, judge in ((0, self.bench.accepted), (-1, self.bench.refused)):
            damaged = packed[:at] + b"!" + packed[at + len(packed) + 1:] if at else packed
            archive = ova(damaged, len(DISK), file={"compression": "xz"})
            judge(self, archive, "raw.ova", DISK if not at else ("xz",), ways=("file",))

    def test_34_document_type(self):
        for head in ('<!DOCTYPE Envelope [<!ENTITY e "never used">]>\n',
                     '<!DOCTYPE Envelope SYSTEM "file:///etc/passwd">\n',
                     '<!DOCTYPE Envelope PUBLIC "x" "http://127.0.0.1:%d/x">\n' % self.bench.port):
            text = one_disk("d.vmdk", IMAGE, SIZE, head=head)
            self.bad(tar([("x.ovf", text), ("d.vmdk", IMAGE)]), "DOCTYPE")


class Descriptions(Ova):
    """More that may be wrong with the OVF, and with the archive."""
    disk = DISK

    def described(self, text, **how):
        return tar([("x.ovf", text), ("d.vmdk", IMAGE)], **how)

    def test_aws_words(self):
        """What AWS says, in its words."""
        sound = ova(IMAGE, SIZE)
        for data in (gzip.compress(sound), xz(sound), IMAGE, b"", bytes(4096),
                     tar([("x.ova", sound)]), tar([("d.vmdk", IMAGE), ("x.ovf", b"<x/>")]),
                     tar([("x.mf", b""), ("x.ovf", one_disk("d", IMAGE, SIZE)), ("d", IMAGE)])):
            self.bad(data, "Unsupported OVA format", ways=("file", "pipe", "job"))
        for chunk in ("2147483648", "x", ""):
            self.bad(self.described(one_disk("d.vmdk", IMAGE, SIZE, file={"chunkSize": chunk})),
                     "OVF file parsing error: OVA with chunked disk files is not supported",
                     ways=ALL_WAYS)

    def test_attributes(self):
        for file, disk, *says in (
                ({}, {"parentRef": "other"}, "parent"), ({"compression": "bzip2"}, {}, "bzip2"),
                ({"size": len(IMAGE) - 1}, {}, len(IMAGE) - 1), ({"size": "-1"}, {}, "-1"),
                ({"size": "12k"}, {}), ({"href": ""}, {}), ({"href": None}, {}), ({"id": None}, {}),
                ({"href": "a&#9;b"}, {}), ({}, {"capacity": None}, "capacity"),
                ({}, {"capacity": "${size}"}, "${size}"), ({}, {"capacity": "+1"}),
                ({}, {"capacity": 1 << 63}), ({}, {"capacityAllocationUnits": "MegaBytes"}),
                ({}, {"capacityAllocationUnits": "byte * 2^64"}),
                ({}, {"capacityAllocationUnits": "byte * 0"}),
                ({}, {"capacityAllocationUnits": "byte / 2"}), ({}, {"diskId": None}),
                ({}, {"fileRef": "other"}, "other"), ({}, {"fileRef": "x" * 5000})):
            with self.subTest(file=file, disk=disk):
                self.bad(self.described(one_disk("d.vmdk", IMAGE, SIZE, file, disk)), *says,
                         ways=("file",))
        for unit in ("byte * 2^10", "byte*1024", "byte  *  4^5", None):
            self.good(self.described(one_disk("d.vmdk", IMAGE, SIZE // 1024, disk={
                "capacityAllocationUnits": unit})), ways=("file",))

    def test_documents(self):
        sound = one_disk("d.vmdk", IMAGE, SIZE)
        file = {"href": "d.vmdk", "id": "f"}
        disk = {"capacity": SIZE, "diskId": "d", "fileRef": "f"}
        self.good(self.described(ovf([file], [disk])), ways=("file",))
        for text in (b"", b"<x/>", sound[:-3], sound + b"<more/>", sound.replace(b"A m", b"\xff\xfe"),
                     sound.replace(b"UTF-8", b"UTF-16"), sound.replace(b"UTF-8", b"ISO-8859-1"),
                     sound.replace(b"A machine", b"&unknown;"),
                     sound.replace(b"A machine", b"<a>" * 40 + b"</a>" * 40),
                     sound.replace(b"A machine", b"x" * (300 << 10)),
                     sound.replace(b"<Info>", b"<Info %s>" % b" ".join(
                         b'a%d="1"' % i for i in range(60))),
                     sound.replace(b"VirtualSystem", b"VirtualSystemCollection"),
                     ovf([file], [disk], tail="<VirtualSystem/>"), ovf([file], []),
                     ovf([file, file], [disk]), ovf([file], [disk, disk]),
                     ovf([{"href": "d.vmdk", "id": "x%d" % i} for i in range(300)], [disk]),
                     ovf([file], [disk], [item(17, i) for i in range(600)]),
                     ovf([file], [disk], [item(17, 1, unit="x", disk="d")]),
                     ovf([file, {"href": "lost.iso", "id": "g"}], [disk]),
                     ovf([file], [disk], tail="<!--%s-->" % ("x" * (3 << 20)))):
            with self.subTest(text=text[:200]):
                self.bad(self.described(text), ways=("file", "pipe"))

    def test_members(self):
        sound = [("x.ovf", one_disk("d.vmdk", IMAGE, SIZE)), ("d.vmdk", IMAGE)]
        self.good(tar(sound), ways=("file", "pipe"))
        self.bad(tar([*sound, sound[1]]), "two members")
        self.bad(tar([*sound, sound[0]]), "two members")
        self.bad(tar([*sound, ("y.ovf", sound[0][1])]), "two descriptions")
        self.bad(tar(sound[:1]), "no member called")
        self.bad(tar([*sound, *(("%d.txt" % i, b"") for i in range(600))]), "512")
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):  # which have headers for long names
            long = "n" * (8 << 20)
            for member in ((long, b""), ("l", b"", {"type": tarfile.SYMTYPE, "linkname": long})):
                self.bad(tar([*sound, member], form), ways=("file", "pipe"))
                self.bad(tar([member, *sound], form), ways=("file",))
        self.bad(tar([*sound, ("c", b"", {"pax_headers": {"comment": "c" * (2 << 20)}})], tarfile.PAX_FORMAT),
                 ways=("file", "pipe"))
        self.bad(tar(sound) + b"x", "behind the end")
        self.bad(tar(sound) + tar(sound), "behind the end", ways=("file", "pipe"))
        self.bad(tar([("x.ovf", sound[0][1] + b" " * (2 << 20)), sound[1]]), ways=("file", "pipe"))

    def test_no_such_disk(self):
        for which in ("2", "0", "other.vmdk", "box.ovf", "99999999999999999999"):
            self.bad(ova(IMAGE, SIZE), status=(3,), options=("--disk", which),
                     job=self.job(disk=which), ways=("file", "pipe", "job"))

    def test_sizes(self):
        """A header that says more than there is, sparse members, numbers in base 256."""
        sound = tar([("x.ovf", one_disk("d.vmdk", IMAGE, SIZE, {"size": None})), ("d.vmdk", IMAGE)])
        at = sound.index(b"d.vmdk", 512 + sound[512:].index(b"</Envelope>"))

        def with_size(field):
            head = bytearray(sound[at:at + 512])
            head[124:136] = field
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            return patched(sound, at, bytes(head))

        self.good(with_size(b"%011o\0" % len(IMAGE)), ways=("file", "pipe"))
        for field in (b"77777777777\0", b"%011o\0" % (len(sound) - at), b"\xff" * 12,
                      b"\x80" + b"\xff" * 11, b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7):
            self.bad(with_size(field), ways=("file", "pipe"))
        sparse = {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                                  "GNU.sparse.name": "d.vmdk", "GNU.sparse.realsize": str(1 << 50)}}
        self.bad(tar([("x.ovf", one_disk("d.vmdk", IMAGE, SIZE)),
                      ("d.vmdk", b"1\n0\n512\n".ljust(512, b"\0") + bytes(512), sparse)],
                     tarfile.PAX_FORMAT), ways=("file", "pipe"))
        self.bad(patched(sound, at + 148, b"0000000"), "damaged", ways=("file", "pipe"))

    def test_sparse_members(self):
        """GNU tar's -S, in all three forms: what is stored is not what the file is."""
        place = self.bench.path("log")
        disk = {0: DISK, "size": 3 * MIB}
        self.bench.put(disk, "log", "d.raw")
        self.bench.put(one_disk("d.raw", bytes(3 * MIB), 3 * MIB), "log", "box.ovf")
        path = self.bench.path("in", "made.ova")
        for option in ("--format=ustar", "--format=gnu", "--format=posix", "--sparse-version=0.0",
                       "--sparse-version=0.1"):
            sparse = [] if option == "--format=ustar" else ["-S"]
            subprocess.run(["tar", *sparse, option, "-cf", path, "-C", place, "box.ovf", "d.raw"],
                           check=True)
            for way in ("file", "pipe"):
                with self.subTest(option=option, way=way):
                    if sparse:
                        self.bench.refused(self, path, "raw.ova", ("sparse",), ways=(way,))
                    else:
                        self.bench.accepted(self, path, "raw.ova", DISK + bytes(2 * MIB),
                                            ways=(way,))


if __name__ == "__main__":
    main()
