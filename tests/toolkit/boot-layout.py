#!/usr/bin/python3
"""The stage boot-layout: which partition tables are taken for bootable, in every format, and which
are refused, each beside a neighbour that differs in one thing and is accepted.

Disks are made by sfdisk and sgdisk; hostile tables are made from theirs."""
import http.server
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import service  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
os.environ["PATH"] += ":/usr/sbin:/sbin"
for program in "sfdisk", "sgdisk", "qemu-img", "mkfs.vfat", "mke2fs":
    if not shutil.which(program):
        print("skipped: %s is not installed" % program)
        sys.exit(77)

MIB = 1 << 20
SIZE = 16 * MIB
SECTORS = SIZE // 512
NO_TABLE = "No valid partitions. Not a valid volume. "
NO_BOOT = "No bootable partition found. "


def run(*command, text=None):
    subprocess.run(command, input=text, check=True, text=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def seal(sector):
    """The header with the right CRC."""
    size = struct.unpack_from("<I", sector, 12)[0]
    struct.pack_into("<I", sector, 16, 0)
    struct.pack_into("<I", sector, 16, zlib.crc32(bytes(sector[:size])))


class Case(unittest.TestCase):
    made = {}  # disks by the command that made them: sgdisk syncs the whole machine each time
    keep = tempfile.TemporaryDirectory(prefix="boot.")

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="boot.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.disk = os.path.join(self.tmp, "disk.raw")
        self.out = os.path.join(self.tmp, "out")
        os.mkdir(self.out)

    # --- making disks

    def blank(self, size=SIZE):
        with open(self.disk, "wb") as disk:
            disk.truncate(size)

    def make(self, *command, text=None):
        key = (command, text)
        if key not in self.made:
            self.blank()
            run(*command, self.disk, text=text)
            self.made[key] = os.path.join(self.keep.name, str(len(self.made)))
            run("cp", "--sparse=always", self.disk, self.made[key])
        run("cp", "--sparse=always", self.made[key], self.disk)

    def mbr(self, script):
        self.make("sfdisk", "--no-reread", text="label: dos\n" + script)

    def gpt(self, *options):
        self.make("sgdisk", *options)

    def poke(self, offset, data):
        with open(self.disk, "r+b") as disk:
            disk.seek(offset)
            disk.write(data)

    def peek(self, offset, length):
        with open(self.disk, "rb") as disk:
            disk.seek(offset)
            return bytearray(disk.read(length))

    def flip(self, offset):
        """For bytes that are random: whatever stood there is another now."""
        self.poke(offset, bytes([self.peek(offset, 1)[0] ^ 1]))

    def header(self, lba=1, **fields):
        """Change fields of a GPT header and put its CRC right."""
        places = {"size": ("<I", 12), "own": ("<Q", 24), "other": ("<Q", 32), "first": ("<Q", 40),
                  "last": ("<Q", 48), "entries": ("<Q", 72), "count": ("<I", 80),
                  "entry_size": ("<I", 84), "crc": ("<I", 88), "revision": ("<I", 8)}
        sector = self.peek(lba * 512, 512)
        for name, value in fields.items():
            struct.pack_into(places[name][0], sector, places[name][1], value)
        if fields.get("size", 92) <= 512:
            seal(sector)
        self.poke(lba * 512, sector)

    def entry(self, number, first, last):
        """Change a GPT entry and put both CRCs right."""
        entries = self.peek(1024, 128 * 128)
        struct.pack_into("<QQ", entries, number * 128 + 32, first, last)
        self.poke(1024, entries)
        self.header(crc=zlib.crc32(bytes(entries)))

    # --- the stage

    def run_job(self, **changes):
        job = {"source": self.disk, "format": "raw", "store": os.path.join(self.out, "volume"),
               "stages": [{"name": "boot-layout"}, {"name": "grow", "size": 4 * SIZE}], **changes}
        return subprocess.run([TOOLKIT, "run"], input=json.dumps(job), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)

    def mode(self, **changes):
        done = self.run_job(**changes)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        os.unlink(os.path.join(self.out, "volume"))
        return result["boot_mode"]

    def assert_refused(self, words, **changes):
        done = self.run_job(**changes)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("error: " + words, done.stderr)
        self.assertEqual(os.listdir(self.out), [], "something was left behind")


class Mbr(Case):
    def test_active_or_code(self):
        self.mbr("start=2048, size=8192, type=83\n")
        self.assert_refused(NO_BOOT + "The MBR has 1 partitions, but none is active")
        self.mbr("start=2048, size=8192, type=83, bootable\n")
        self.assertEqual(self.mode(), "legacy-bios")
        self.mbr("start=2048, size=8192, type=83\n")
        self.poke(100, b"\x90")
        self.assertEqual(self.mode(), "legacy-bios")
        self.mbr("start=2048, size=8192, type=83\n")
        self.poke(440, b"disk")  # the disk's signature is no code
        self.assert_refused(NO_BOOT)

    def test_efi_system_partition(self):
        self.mbr("start=2048, size=8192, type=ef\n")
        self.assertEqual(self.mode(), "uefi")

    def test_no_table(self):
        self.blank()
        self.assert_refused(NO_TABLE + "The first sector has no MBR: it ends in 00 00")
        self.blank(511)
        self.assert_refused(NO_TABLE + "The disk has only 511 bytes")
        self.mbr("")
        self.poke(0, b"code")
        self.assert_refused(NO_TABLE + "The MBR names no partition")
        self.mbr("start=2048, size=8192, type=83, bootable\n")
        self.poke(510, b"\x55\xab")
        self.assert_refused(NO_TABLE + "The first sector has no MBR: it ends in 55 ab")
        self.poke(510, b"\x55\xaa")
        self.assertEqual(self.mode(), "legacy-bios")

    def test_inside_the_disk(self):
        self.mbr("start=2048, size=%d, type=83, bootable\n" % (SECTORS - 2048))
        self.assertEqual(self.mode(), "legacy-bios")
        self.poke(446 + 12, struct.pack("<I", SECTORS - 2047))
        self.assert_refused(NO_TABLE + "Entry 1 of the MBR has 30721 sectors from sector 2048")
        self.poke(446 + 8, struct.pack("<II", 0xffffffff, 0xffffffff))
        self.assert_refused(NO_TABLE + "Entry 1 of the MBR has 4294967295 sectors")
        self.poke(446 + 8, struct.pack("<II", 2048, 0))
        self.assert_refused(NO_TABLE + "Entry 1 of the MBR has 0 sectors")
        self.poke(446 + 8, struct.pack("<II", 0, 8))
        self.assert_refused(NO_TABLE + "Entry 1 of the MBR has 8 sectors from sector 0")
        self.poke(446 + 8, struct.pack("<II", 1, 8))
        self.assertEqual(self.mode(), "legacy-bios")

    def test_size_is_the_images_not_the_volumes(self):
        self.mbr("start=2048, size=8192, type=83, bootable\n")
        self.poke(446 + 12, struct.pack("<I", SECTORS))
        self.assert_refused(NO_TABLE)
        stages = [{"name": "grow", "size": 4 * SIZE}, {"name": "boot-layout"}]
        self.assertEqual(self.mode(stages=stages), "legacy-bios")

    def test_beside_each_other(self):
        table = "start=2048, size=2048, type=83, bootable\nstart=4096, size=2048, type=83\n"
        self.mbr(table)
        self.assertEqual(self.mode(), "legacy-bios")
        self.poke(462 + 8, struct.pack("<I", 4095))
        self.assert_refused(NO_TABLE + "Entries 1 and 2 of the MBR overlap")
        self.mbr(table)
        self.poke(462, b"\x80")
        self.assert_refused(NO_TABLE + "Entries 1 and 2 of the MBR are both active")
        self.poke(462, b"\x81")
        self.assert_refused(NO_TABLE + "Entry 2 of the MBR has the status 0x81")

    def test_bare_file_systems(self):
        self.blank()
        run("mke2fs", "-q", "-F", self.disk)
        self.assert_refused(NO_TABLE + "The disk holds an ext2, ext3 or ext4 file system")
        self.blank()
        run("mkfs.vfat", self.disk)
        self.assert_refused(NO_TABLE + "The disk holds a FAT")
        for offset, magic, name in ((0, b"XFSB", "XFS"), (512, b"LABELONE", "LVM"),
                                    (3, b"NTFS    ", "NTFS"), (65600, b"_BHRfS_M", "Btrfs"),
                                    (0, b"LUKS\xba\xbe", "LUKS"), (4086, b"SWAPSPACE2", "swap"),
                                    (32769, b"CD001", "ISO 9660"),
                                    (4096, b"EFI PART", "GPT for sectors of 4096")):
            self.blank()
            self.poke(offset, magic)
            self.assert_refused(NO_TABLE + "The disk holds ")
            self.assertIn(name, self.run_job().stderr)


class Gpt(Case):
    def test_types(self):
        for kinds, mode in (("ef00", "uefi"), ("ef02", "legacy-bios"), ("ef02 ef00", "uefi")):
            options = [option for i, kind in enumerate(kinds.split())
                       for option in ("-n", "0:0:+1M", "-t", "%d:%s" % (i + 1, kind))]
            self.gpt(*options)
            self.assertEqual(self.mode(), mode, kinds)
        self.gpt("-n", "1:2048:4095", "-t", "1:8300")
        self.assert_refused(NO_BOOT + "The GPT has 1 partitions, but none is an EFI system or")
        self.gpt("-n", "1:2048:4095", "-t", "1:8300", "-A", "1:set:2")
        self.assertEqual(self.mode(), "legacy-bios")
        self.gpt("-n", "1:2048:4095", "-t", "1:8300", "-A", "1:set:3")
        self.assert_refused(NO_BOOT)
        self.gpt("-o")
        self.assert_refused(NO_BOOT + "The GPT has 0 partitions")

    def test_hybrid(self):
        self.gpt("-n", "1:2048:4095", "-t", "1:8300", "-h", "1")
        self.assert_refused(NO_BOOT)
        self.poke(462, b"\x80")  # gdisk puts the protective entry first
        self.assertEqual(self.mode(), "legacy-bios")
        self.gpt("-n", "1:2048:4095", "-t", "1:ef00", "-h", "1")
        self.assertEqual(self.mode(), "uefi")
        self.poke(462 + 12, struct.pack("<I", SECTORS))
        self.assert_refused(NO_TABLE + "Entry 2 of the MBR")

    def test_protective(self):
        self.gpt("-n", "1:2048:4095", "-t", "1:ef00")
        self.poke(446 + 12, struct.pack("<I", 0xffffffff))  # as Windows writes it
        self.assertEqual(self.mode(), "uefi")
        self.poke(446 + 8, struct.pack("<I", 2))
        self.assert_refused(NO_TABLE + "The MBR names no partition, and no GPT")
        self.poke(446, b"\0" * 16)
        self.assert_refused(NO_TABLE)
        self.mbr("start=2048, size=8192, type=83, bootable\n")
        self.poke(446, struct.pack("<B3xB3xII", 0, 0xee, 1, SECTORS - 1))
        self.assert_refused(NO_TABLE + "The MBR stands for a GPT, but sector 1 holds no GPT header")

    def test_damaged(self):
        good = ("-n", "1:2048:4095", "-t", "1:ef00")
        cases = {
            "signature": lambda: self.poke(512, b"EFI PARS"),
            "crc": lambda: self.flip(512 + 56),
            "entries": lambda: self.flip(1024 + 60),
        }
        for what, damage in cases.items():
            with self.subTest(what):
                self.gpt(*good)
                damage()
                self.assert_refused(NO_BOOT + "The GPT is damaged (")
                self.assertIn("its copy in sector %d is whole" % (SECTORS - 1),
                              self.run_job().stderr)
                self.flip(SIZE - 512 + 56)
                self.assert_refused(NO_TABLE + "The MBR stands for a GPT, but ")
        self.gpt(*good)
        self.flip(SIZE - 512 + 56)  # the copy alone: as on a disk that has grown
        self.assertEqual(self.mode(), "uefi")

    def test_hostile_headers(self):
        """CRCs are right in all of them.  The copy is refused by the same rules."""
        size = SECTORS
        for fields, words, neighbour in (
                ({"count": 0xffffffff}, "has 4294967295 entries", {}),
                ({"count": 0}, "has 0 entries", {}),
                ({"count": 8193}, "has 8193 entries", {}),
                ({"entry_size": 0}, "entries have 0 bytes", {}),
                ({"entry_size": 64}, "entries have 64 bytes", {}),
                ({"entry_size": 129}, "entries have 129 bytes", {}),
                ({"entry_size": 8192}, "entries have 8192 bytes", {}),
                ({"size": 91}, "says that it has 91 bytes", {"size": 92}),
                ({"size": 513}, "says that it has 513 bytes", {"size": 512}),
                ({"size": 0xffffffff}, "says that it has 4294967295 bytes", {}),
                ({"own": 2}, "says that it is in sector 2", {"own": 1}),
                ({"other": size}, "its copy is in sector %d" % size, {"other": size - 1}),
                ({"other": 1}, "its copy is in sector 1 ", {"other": 2}),
                ({"last": size}, "gives partitions the sectors", {"last": size - 1}),
                ({"first": 1 << 63}, "gives partitions the sectors", {}),
                ({"first": 33}, "begin in sector 2, where they are in the way", {"first": 34}),
                ({"entries": 1}, "begin in sector 1,", {"entries": 2}),
                ({"entries": (1 << 64) - 1}, "begin in sector 18446744073709551615", {}),
                ({"entries": 1 << 55}, "begin in sector 36028797018963968", {}),
                ({"revision": 0x20000}, "revision 00020000", {"revision": 0x10000})):
            with self.subTest(str(fields)):
                self.gpt("-n", "1:2048:4095", "-t", "1:ef00")
                self.poke(SIZE - 512, b"\0" * 512)
                self.header(**fields)
                self.assert_refused(NO_TABLE + "The MBR stands for a GPT, but ")
                self.assertIn(words, self.run_job().stderr)
                self.gpt("-n", "1:2048:4095", "-t", "1:ef00")
                self.poke(SIZE - 512, b"\0" * 512)
                self.header(**neighbour)
                self.assertEqual(self.mode(), "uefi")

    def test_hostile_entries(self):
        last = SECTORS - 34
        for first, end, words in ((2048, last + 1, "outside the 34 to %d" % last),
                                  (33, 4095, "outside the 34 to"),
                                  (4096, 4095, "has the sectors 4096 to 4095"),
                                  (0, (1 << 64) - 1, "has the sectors 0 to 18446744073709551615"),
                                  (5000, 9000, "two GPT partitions overlap")):
            with self.subTest(words):
                self.gpt("-a", "1", "-n", "1:2048:4095", "-n", "2:6000:7000", "-t", "1:ef00")
                self.poke(SIZE - 512, b"\0" * 512)
                self.entry(0, first, end)
                self.assert_refused(NO_TABLE + "The MBR stands for a GPT, but ")
                self.assertIn(words, self.run_job().stderr)
        self.entry(0, 34, 5999)
        self.assertEqual(self.mode(), "uefi")
        self.entry(0, 7001, last)  # in any order
        self.assertEqual(self.mode(), "uefi")

    def test_entries_elsewhere(self):
        self.gpt("-j", "20000", "-n", "1:22000:23000", "-t", "1:ef00")
        self.assertEqual(struct.unpack("<Q", self.peek(512 + 72, 8))[0], 20000)
        self.assertEqual(self.mode(), "uefi")
        self.assertEqual(self.mode(source=Streams.url_of(self)), "uefi")


class Parts(http.server.BaseHTTPRequestHandler):
    """Serves the files of a directory, and counts what it gave."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with open(os.path.join(self.server.dir, os.path.basename(self.path)), "rb") as file:
            body = file.read()
        status = 200
        if "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            last = min(int(last), len(body) - 1)
            whole = len(body)
            body = body[int(first):last + 1]
            status = 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", "bytes %s-%d/%d" % (first, last, whole))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with self.server.lock:  # before whoever asked can go on
            self.server.given += len(body)
        self.wfile.write(body)

    def do_HEAD(self):
        self.send_response(200)
        size = os.path.getsize(os.path.join(self.server.dir, os.path.basename(self.path)))
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Streams(Case):
    """Images of which the stage can read nothing before they have gone by."""

    def url_of(self, size=MIB):
        """Split the disk into parts behind a manifest, serve it; its source."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Parts)
        server.dir, server.given, server.lock = self.tmp, 0, threading.Lock()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.server = server
        url = "http://127.0.0.1:%d/" % server.server_port
        with open(self.disk, "rb") as disk:
            data = disk.read()
        parts = ""
        count = -(-len(data) // size)
        for i in range(count):
            with open(os.path.join(self.tmp, "part.%d" % i), "wb") as part:
                part.write(data[i * size:(i + 1) * size])
            parts += ('<part index="%d"><byte-range start="%d" end="%d"/><key>p</key>' % (
                i, i * size, min((i + 1) * size, len(data)) - 1) + "".join(
                    "<%s-url>%spart.%d</%s-url>" % (verb, url, i, verb)
                    for verb in ("head", "get", "delete")) + "</part>")
        with open(os.path.join(self.tmp, "manifest"), "w", encoding="utf-8") as manifest:
            manifest.write(
                '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><manifest>'
                "<version>2010-11-15</version><file-format>%s</file-format><importer><name>n</name>"
                "<version>1</version><release>1</release></importer><self-destruct-url>%sm"
                "</self-destruct-url><import><size>%d</size><volume-size>1</volume-size>"
                '<parts count="%d">%s</parts></import></manifest>' % (
                    "RAW", url, len(data), count, parts))
        return "manifest:" + url + "manifest"

    def test_every_format(self):
        """One refused and one accepted disk in all of them, from a file and streamed."""
        lib = os.path.join(TOP, "tests", "lib", "make-disk")
        raw, image = self.disk, os.path.join(self.tmp, "image")
        for kind, name in (("raw", "raw"), ("vmdk-stream", "vmdk"), ("vmdk-mono", "vmdk"),
                           ("vmdk-vmware", "vmdk"), ("vhd-dyn-force", "vhd"),
                           ("vhd-fixed-force", "vhd"), ("vhdx", "vhdx"), ("qcow2", "qcow2"),
                           ("vdi", "vdi")):
            for good in True, False:
                with self.subTest(kind, good=good):
                    self.disk = raw
                    self.gpt("-n", "1:2048:4095", "-t", "1:ef00" if good else "1:8300")
                    self.poke(3 * MIB, os.urandom(MIB))
                    if os.path.exists(image):
                        os.unlink(image)
                    run(lib, kind, image, raw)
                    self.disk = image
                    for source in image, self.url_of():
                        if good:
                            self.assertEqual(self.mode(source=source, format=name), "uefi")
                        else:
                            self.assert_refused(NO_BOOT, source=source, format=name)

    def test_one_pass(self):
        """The VMDK's parts are fetched once, although the stage must see its disk's tables."""
        raw, image = self.disk, os.path.join(self.tmp, "image")
        self.gpt("-n", "1:2048:4095", "-t", "1:ef00")
        self.poke(3 * MIB, os.urandom(8 * MIB))
        run(os.path.join(TOP, "tests", "lib", "make-disk"), "vmdk-vmware", image, raw)
        self.disk = image
        source = self.url_of(256 << 10)
        self.assertEqual(self.mode(source=source, format="vmdk", jobs=1), "uefi")
        size = os.path.getsize(image) + os.path.getsize(os.path.join(self.tmp, "manifest"))
        with_stage, self.server.given = self.server.given, 0
        self.run_job(source=source, format="vmdk", jobs=1, stages=[])
        self.assertLess(with_stage, 2 * size)
        self.assertEqual(with_stage, self.server.given)

    def test_copy_behind_the_front(self):
        """The last sector counts, too, when the image streams."""
        self.gpt("-n", "1:2048:4095", "-t", "1:ef00")
        self.flip(512 + 56)
        source = self.url_of()
        self.assert_refused(NO_BOOT + "The GPT is damaged (", source=source)

    def test_into_another_image(self):
        self.mbr("start=2048, size=8192, type=83, bootable\n")
        stages = [{"name": "boot-layout"}]
        done = self.run_job(source=self.url_of(), to="vmdk", stages=stages)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["boot_mode"], "legacy-bios")
        os.unlink(os.path.join(self.out, "volume"))
        self.poke(446, b"\0")
        self.assert_refused(NO_BOOT, source=self.url_of(), to="vmdk", stages=stages)

    def test_manifest_of_the_volume_tells(self):
        self.mbr("start=2048, size=8192, type=83, bootable\n")
        done = self.run_job(digest="fs-verity")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(self.out, "volume.manifest.json"), encoding="utf-8") as manifest:
            self.assertEqual(json.load(manifest)["boot_mode"], "legacy-bios")
        os.unlink(os.path.join(self.out, "volume"))
        os.unlink(os.path.join(self.out, "volume.manifest.json"))
        done = self.run_job(stages=[])
        self.assertNotIn("boot_mode", json.loads(done.stdout))


if __name__ == "__main__":
    unittest.main()
