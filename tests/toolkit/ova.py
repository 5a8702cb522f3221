#!/usr/bin/python3
"""OVAs: as VMware, VirtualBox and QEMU's users lay them out, in every way they come; and cut short.
Hostile ones are hostile-ova.py's; the archives are packed.py's."""
import gzip
import os
import subprocess
import sys
import tarfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from craft import *  # noqa: E402,F403
from hostile import ALL_WAYS, main  # noqa: E402
from packed import Ova, digests, item, one_disk, ova, ovf, tar, xz  # noqa: E402

DISK = scattered(MIB, [(0, 5000), (300 * KIB, 64 * KIB), (MIB - 512, 512)])
OTHER = scattered(MIB // 2, [(1000, 9000), (200 * KIB, 70 * KIB)], seed=9)
IMAGE = bytes(vmdk_stream(DISK))
SIZE = len(DISK)


class Layouts(Ova):
    """What is accepted."""
    disk = DISK

    def test_every_way(self):
        self.good(ova(IMAGE, SIZE), ways=ALL_WAYS)
        self.good(ova(IMAGE, SIZE, at_end=True), ways=ALL_WAYS)
        self.good(ova(IMAGE, SIZE, manifest=None), ways=ALL_WAYS)

    def test_http(self):
        """One object of a web server, read by ranges; the manifest is known before the disk."""
        for at_end in (False, True):
            data = ova(DISK, SIZE, name="d.raw", at_end=at_end)
            self.bench.serve(self.bench.put(data), "raw")
            self.bench.put(data, "web", "whole")
            for options in ((), ("--resume",)): # begins anew: what is packed is not gone on with
                result = self.bench.go("file", self.bench.base + "/whole", "raw.ova", options)
                self.bench.was_accepted(self, result, DISK)

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


class Cut(Ova):
    disk = DISK

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
