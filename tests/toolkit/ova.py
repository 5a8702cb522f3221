#!/usr/bin/python3
"""OVAs: as VMware, VirtualBox and QEMU's users lay them out, in every way they come; and hostile and
damaged ones, refused whole, each with its accepted neighbour.

Rows 29 to 34 of the list of hostile inputs, then what else an attacker may try.  hostile.py says what
refused means; the archives are packed.py's."""
import gzip
import json
import os
import subprocess
import sys
import tarfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
import hostile  # noqa: E402
from hostile import ALL_WAYS, main, patched  # noqa: E402
from packed import digests, item, one_disk, ova, ovf, tar, xz  # noqa: E402

DISK = scattered(MIB, [(0, 5000), (300 * KIB, 64 * KIB), (MIB - 512, 512)])
OTHER = scattered(MIB // 2, [(1000, 9000), (200 * KIB, 70 * KIB)], seed=9)
IMAGE = bytes(vmdk_stream(DISK))
SIZE = len(DISK)


class Ova(hostile.Case):
    format = "ova"
    disk = DISK
    kind = "vmdk"

    def job(self, **more):
        return {"format": self.kind, "stages": [{"name": "unpack", "kind": "ova", **more}]}

    def good(self, image, disk=None, **how):
        super().good(image, disk, **{"job": self.job(), **how})

    def bad(self, image, *says, **how):
        super().bad(image, *says, **{"job": self.job(), **how})

    def info(self, data, *options):
        result = self.bench.run(["info", "--output", "json", *options, self.bench.put(data)])
        self.assertEqual(result.status, 0, result.err)
        return json.loads(result.out)


class Layouts(Ova):
    """What is accepted."""
    def test_every_way(self):
        self.good(ova(IMAGE, SIZE), ways=ALL_WAYS)
        self.good(ova(IMAGE, SIZE, at_end=True), ways=ALL_WAYS)
        self.good(ova(IMAGE, SIZE, manifest=None), ways=ALL_WAYS)

    def test_hashes(self):
        for kind in ("SHA1", "SHA256", "SHA512"):
            for at_end in (False, True):
                self.good(ova(IMAGE, SIZE, manifest=kind, at_end=at_end), ways=("file", "pipe"))

    def test_formats_inside(self):
        """Spelled FORMAT.ova; a disk may be compressed once, as the description says."""
        raw, vhd = DISK, bytes(vhd_dynamic(DISK, block=512 * KIB))
        for format, image in (("raw", raw), ("vhd", vhd), ("vmdk", IMAGE), ("vhdx", vhdx(DISK))):
            for how, data in ((None, image), ("gzip", gzip.compress(image)),
                              ("xz", xz(image)), ("identity", image)):
                with self.subTest(format=format, compression=how):
                    self.bench.accepted(self, ova(bytes(data), SIZE, name="d.img",
                                                  file={"compression": how}),
                                        format + ".ova", DISK, ways=("file", "pipe"))

    def test_tar_dialects(self):
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            self.good(ova(IMAGE, SIZE, form=form), ways=("file", "pipe"))
        long = "d" * 150 + ".vmdk" # in a header of its own
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            self.good(ova(IMAGE, SIZE, name=long, form=form), ways=("file", "pipe"))

    def test_vmware(self):
        """ovftool's: SHA256(x)= with a blank, prefixes, GiB, two disks on one SCSI controller."""
        files = [{"href": "box-disk1.vmdk", "id": "file1", "size": len(IMAGE)},
                 {"href": "box-disk2.vmdk", "id": "file2", "size": len(vmdk_stream(OTHER))},
                 {"href": "box-file1.nvram", "id": "file3", "size": 8684}]
        disks = [{"capacity": 1, "capacityAllocationUnits": "byte * 2^20", "diskId": "vmdisk1",
                  "fileRef": "file1", "populatedSize": 5000,
                  "format": "http://www.vmware.com/interfaces/specifications/vmdk.html"
                            "#streamOptimized"},
                 {"capacity": 512, "capacityAllocationUnits": "byte * 2^10", "diskId": "vmdisk2",
                  "fileRef": "file2"}]
        items = [item(3, 1), item(4, 2), item(6, 3, address=0),
                 item(17, 4, parent=3, unit=0, disk="vmdisk1"),
                 item(17, 5, parent=3, unit=1, disk="vmdisk2")]
        text = ovf(files, disks, items, tail="<!-- exported -->")
        members = [("box.ovf", text), ("box-disk1.vmdk", IMAGE),
                   ("box-disk2.vmdk", bytes(vmdk_stream(OTHER))), ("box-file1.nvram", bytes(8684))]
        archive = tar([members[0], ("box.mf", digests(members)), ("box.cert", b"-----BEGIN"),
                       *members[1:]])
        self.good(archive, ways=ALL_WAYS)
        for which in ("2", "box-disk2.vmdk"):
            self.good(archive, OTHER, options=("--disk", which), job=self.job(disk=which),
                      ways=("file", "pipe", "job"))
        said = self.info(archive)
        self.assertEqual([(d["number"], d["file"], d["capacity"], d["size"], d["chosen"])
                          for d in said["disks"]],
                         [(1, "box-disk1.vmdk", MIB, len(IMAGE), True),
                          (2, "box-disk2.vmdk", MIB // 2, len(members[2][1]), False)])
        self.assertEqual((said["container"], said["format"], said["virtual-size"], said["digests"],
                          said["certificate"]), ("ova", "vmdk", SIZE, True, True))
        self.assertIn("#streamOptimized", said["disks"][0]["format"])
        self.assertNotIn("format", said["disks"][1])
        text = self.bench.run(["info", "--disk", "2", self.bench.put(archive)]).out.decode()
        self.assertIn("disk 2: box-disk2.vmdk, capacity 524288 bytes", text)
        self.assertIn("virtual-size: 524288 bytes", text)

    def test_virtualbox(self):
        """VirtualBox's: the manifest last, SHA1 (x)= with a blank, /disk/…, StorageItem of OVF 2."""
        text = ovf([{"href": "vb.vmdk", "id": "file1"}],
                   [{"capacity": SIZE, "diskId": "d1", "fileRef": "file1", "format": ""}],
                   [item(5, 3, address=0),
                    item(17, 9, parent=3, unit=0, disk="d1", form="/disk/%s")
                    .replace("Item>", "StorageItem>")])
        members = [("vb.ovf", text), ("vb.vmdk", IMAGE)]
        self.good(tar([*members, ("vb.mf", digests(members, "SHA1", "%s (%s)= %s\r\n"))]),
                  ways=("file", "pipe", "info"))

    def test_programs(self):
        """By hand, with GNU tar and sha256sum's digests: records of 1 MiB, an old tar's header."""
        place = self.bench.path("log")
        for name, data in (("box.ovf", one_disk("d.vmdk", IMAGE, SIZE)), ("d.vmdk", IMAGE)):
            self.bench.put(data, "log", name)
        for option in (["--format=ustar"], ["--format=gnu", "-b", "2048"], ["--format=posix"]):
            path = self.bench.path("in", "made.ova")
            subprocess.run(["tar", *option, "-cf", path, "-C", place, "box.ovf", "d.vmdk"],
                           check=True)
            self.good(path, ways=("file", "pipe"))

    def test_order(self):
        """The hardware decides, not the order of files or disks; what hangs nowhere comes last."""
        files = [{"href": n, "id": n} for n in ("a", "b", "c", "d")]
        disks = [{"capacity": MIB, "diskId": "disk-" + n, "fileRef": n} for n in ("a", "b", "c", "d")]
        items = [item(17, 20, parent=11, unit=1, disk="disk-a"), item(6, 12, address=1),
                 item(17, 21, parent=12, unit=0, disk="disk-b"), item(6, 11, address=0),
                 item(17, 22, parent=11, unit=0, disk="disk-d")]
        members = [("x.ovf", ovf(files, disks, items)), ("a", OTHER), ("b", OTHER), ("c", OTHER),
                   ("d", IMAGE)]
        self.assertEqual([d["file"] for d in self.info(tar(members))["disks"]],
                         ["d", "a", "b", "c"])
        self.good(tar(members), ways=("file", "pipe"))

    def test_blank_disk(self):
        """A disk without a file is counted, and cannot be chosen."""
        text = ovf([{"href": "d.vmdk", "id": "f"}],
                   [{"capacity": 7, "capacityAllocationUnits": "byte * 2^30", "diskId": "new"},
                    {"capacity": SIZE, "diskId": "old", "fileRef": "f"}])
        archive = tar([("x.ovf", text), ("d.vmdk", IMAGE)])
        self.bad(archive, "blank", 7 << 30, 1, ways=("file",))
        self.good(archive, options=("--disk", "2"), job=self.job(disk="2"), ways=("file", "job"))
        self.assertEqual(self.info(archive, "--disk", "2")["disks"][0],
                         {"number": 1, "capacity": 7 << 30, "chosen": False})

    def test_random_access(self):
        """A raw disk in an OVA that is a file is read where it lies: holes are not read at all, and
        the file of 1 GiB is gone through in no time and memory."""
        size = 1 << 30
        archive = ova(DISK, size, name="d.raw", manifest=None, file={"size": size})
        at = archive.index(DISK)
        head = bytearray(archive[:at])
        head[at - 512 + 124:at - 512 + 136] = b"%011o\0" % size
        head[at - 512 + 148:at - 512 + 156] = b" " * 8
        head[at - 512 + 148:at - 512 + 156] = b"%06o\0 " % sum(head[at - 512:at])
        path = self.bench.put({0: bytes(head), at: DISK, "size": at + size + 10240})
        result = self.bench.go("file", path, "raw.ova")
        self.bench.untouched(self, result)
        self.assertEqual(result.status, 0, result.err)
        out = self.bench.path("out", "disk.raw")
        self.assertEqual(os.path.getsize(out), size)
        self.assertLess(os.stat(out).st_blocks, 8192)
        self.assertLess(result.written, 16 << 20)
        os.unlink(out)


class Hostile(Ova):
    """Rows 29 to 34."""
    def test_29_traversal(self):
        self.good(ova(IMAGE, SIZE, extra=[("dir/evil", b"x")]), ways=ALL_WAYS)
        for name in ("dir/../../evil", "../evil", "/evil", "..", "a//b", "./evil", "a\\b",
                     "a\nb"):
            with self.subTest(name=name):
                self.bad(ova(IMAGE, SIZE, extra=[(name, b"x")]), "plain name")
        self.bad(ova(IMAGE, SIZE, extra=[("dir/../../evil", b"x")]), ways=ALL_WAYS)
        self.bad(ova(IMAGE, SIZE, name="../disk.vmdk"), "plain name", ways=("file", "pipe"))
        by_pax = {"pax_headers": {"path": "../../evil"}}
        self.bad(tar([("box.ovf", one_disk("d", IMAGE, SIZE)), ("d", IMAGE), ("x", b"", by_pax)],
                     tarfile.PAX_FORMAT), "plain name")

    def test_30_links_and_devices(self):
        text = one_disk("d.vmdk", IMAGE, SIZE)
        self.good(tar([("box.ovf", text), ("real.vmdk", IMAGE), ("d.vmdk", IMAGE)]), ways=ALL_WAYS)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE,
                     tarfile.BLKTYPE, tarfile.DIRTYPE):
            with self.subTest(kind=kind):
                self.bad(tar([("box.ovf", text), ("real.vmdk", IMAGE),
                              ("d.vmdk", b"", {"type": kind, "linkname": "real.vmdk"})]),
                         "regular file", ways=ALL_WAYS)

    def test_31_names_are_compared_as_they_are(self):
        for href in ("%2e%2e/canary", "canary.raw", "./d.vmdk", "D.vmdk", "d.vmdk ", "d%2evmdk",
                     "http://127.0.0.1:%d/d.vmdk" % self.bench.port, "file:///etc/passwd",
                     self.bench.canary):
            with self.subTest(href=href):
                text = one_disk("d.vmdk", IMAGE, SIZE, file={"href": href})
                self.bad(tar([("box.ovf", text), ("d.vmdk", IMAGE)]), "no member called",
                         ways=("file", "pipe", "info"))
        text = one_disk("d.vmdk", IMAGE, SIZE, file={"href": "%2e%2e/canary"})
        self.bad(tar([("box.ovf", text), ("d.vmdk", IMAGE)]), "%2e%2e/canary", ways=ALL_WAYS)
        self.good(tar([("box.ovf", text), ("%2e%2e/canary", IMAGE)]), ways=ALL_WAYS)

    def test_32_digests(self):
        def wrong(text):
            return text[:-2] + (b"0" if text[-2:-1] != b"0" else b"1") + text[-1:]

        for kind in ("SHA1", "SHA256", "SHA512"):
            for at_end in (False, True):
                with self.subTest(kind=kind, at_end=at_end):
                    self.bad(ova(IMAGE, SIZE, manifest=kind, at_end=at_end,
                                 change={"box.mf": wrong}), "box-disk1.vmdk", "digest",
                             ways=[way for way in ALL_WAYS if way != "info"])
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

    def test_34_document_type(self):
        sound = one_disk("d.vmdk", IMAGE, SIZE)
        self.good(tar([("x.ovf", sound), ("d.vmdk", IMAGE)]), ways=ALL_WAYS)
        for head in ('<!DOCTYPE Envelope [<!ENTITY e "never used">]>\n',
                     '<!DOCTYPE Envelope SYSTEM "file:///etc/passwd">\n',
                     '<!DOCTYPE Envelope PUBLIC "x" "http://127.0.0.1:%d/x">\n' % self.bench.port):
            text = one_disk("d.vmdk", IMAGE, SIZE, head=head)
            self.bad(tar([("x.ovf", text), ("d.vmdk", IMAGE)]), "DOCTYPE", ways=ALL_WAYS)


class Descriptions(Ova):
    """More that may be wrong with the OVF, and with the archive."""
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


class Cut(Ova):
    def test_truncated(self):
        """Every 4 KiB; the zeros that pad the last record mean nothing, the two blocks in front of
        them do."""
        for archive in (ova(IMAGE, SIZE, at_end=True), ova(gzip.compress(IMAGE), SIZE,
                                                           file={"compression": "gzip"})):
            end = len(archive.rstrip(b"\0"))
            end = up(end, 512) + 1024
            self.sweep_cuts(archive[:end], DISK, {*range(0, end, 4096), end - 1, end - 512,
                                                  end - 1024, end - 1025}, ("file", "pipe"))
            self.good(archive[:end], ways=("file", "pipe"))

    def test_no_library(self):
        """Without libarchive there are no OVAs; everything else is as it was."""
        program = self.bench.path("log", "toolkit")
        with open(self.bench.toolkit, "rb") as file:
            data = file.read()
        self.assertIn(b"libarchive.so.13", data)
        with open(program, "wb") as file:
            file.write(data.replace(b"libarchive.so.13", b"libarchive.no.13"))
        os.chmod(program, 0o755)
        whole, self.bench.toolkit = self.bench.toolkit, program
        try:
            self.bad(ova(IMAGE, SIZE), "libarchive", status=(7,), ways=("file", "job"))
            self.bench.accepted(self, IMAGE, "vmdk", DISK, ways=("file",))
            self.bench.accepted(self, gzip.compress(IMAGE), "vmdk.gz", DISK, ways=("file",))
        finally:
            self.bench.toolkit = whole


if __name__ == "__main__":
    main()
