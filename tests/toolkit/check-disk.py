#!/usr/bin/python3
"""The validators that look at the disk itself: tables, boot code, file systems; each fault beside a
neighbour that is taken.  And disks with random damage: whatever is told of them, it is told."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import guest  # noqa: E402
import service  # noqa: E402

if os.access("/dev/shm", os.W_OK):  # whoever makes file systems waits for the disk each time
    tempfile.tempdir = "/dev/shm"
TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
MIB = guest.MIB
NO_TABLE = "No valid partitions. Not a valid volume."
NO_BOOT = "No bootable partition found."
BOOT_IMG = "/usr/lib/grub/i386-pc/boot.img"


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="check.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.disk = os.path.join(self.tmp, "disk.raw")

    def parts(self, *kinds, table="mbr", **options):
        """Partitions of 1 MiB without contents; the first is active."""
        parts = [kind if isinstance(kind, guest.Part) else guest.Part(kind, MIB, active=i == 0)
                 for i, kind in enumerate(kinds)]
        return guest.assemble(self.disk, parts, table, **options)

    def poke(self, offset, data):
        with open(self.disk, "r+b") as disk:
            disk.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
            disk.write(data)

    def peek(self, offset, length):
        with open(self.disk, "rb") as disk:
            disk.seek(offset)
            return disk.read(length)

    def check(self, rule, status=0, image=None):
        done = subprocess.run([TOOLKIT, "check", "--output", "json", "--only", rule, "--require",
                               rule, image or self.disk], check=False, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout)["findings"]

    def assert_told(self, rule, severity, words, aws=None):
        found = self.check(rule, 4 if severity == "error" else 0)
        for finding in found:
            if finding["severity"] == severity and words in finding["evidence"]:
                self.assertEqual(finding.get("aws"), aws)
                if severity in ("error", "warning"):
                    self.assertTrue(finding.get("cure"), finding)
                return
        self.fail("no %s '%s': %s" % (severity, words, json.dumps(found, indent=1)))


class PartitionTable(Case):
    RULE = "check-partition-table"

    def entry(self, i, first, count, kind=0x83, status=0):
        self.poke(446 + 16 * i, struct.pack("<B3xB3xII", status, kind, first, count))

    def test_primary(self):
        sectors = 4 * 2048
        rows = (((1, 4096, sectors - 4096), None, None),
                ((1, 2040, 8), None, None),
                ((1, 2040, 9), "Partitions 1 and 2 overlap: 2048 sectors from 2048", NO_TABLE),
                ((1, 4096, sectors - 4095), "Partition 2 has 4097 sectors from sector 4096", NO_TABLE),
                ((1, 4096, 0), "Partition 2 has 0 sectors", NO_TABLE),
                ((1, 0, 8), "Partition 2 has 8 sectors from sector 0", NO_TABLE),
                ((1, 0xffffffff, 0xffffffff), "Partition 2 has 4294967295 sectors", NO_TABLE),
                ((1, 4095, 8), "Partitions 1 and 2 overlap: 2048 sectors from 2048", NO_TABLE),
                ((1, 4096, 8, 0x83, 0x80), "Partitions 1 and 2 are both active", None),
                ((1, 4096, 8, 0x83, 1), "Entry 2 of the MBR has the status 0x01", NO_TABLE),
                ((1, 4096, 8, 0, 1), "Entry 2 of the MBR has the status 0x01", NO_TABLE))
        self.parts("linux", "linux")
        for fields, words, aws in rows:
            with self.subTest(str(fields)):
                self.entry(*fields)
                self.assert_told(self.RULE, "error" if words else "ok", words or "2 partitions", aws)
        self.entry(1, 4097, 8)
        self.assert_told(self.RULE, "warning", "partition 2 begins in sector 4097, inside a block")

    def test_none(self):
        self.parts("linux")
        self.poke(510, b"\x55\xab")
        self.assert_told(self.RULE, "error", "does not end in 55 aa", NO_TABLE)
        self.poke(510, b"\x55\xaa")
        self.assert_told(self.RULE, "ok", "1 partitions")
        self.poke(446, bytes(64))
        self.assert_told(self.RULE, "error", "The MBR names no partition", NO_TABLE)
        guest.make_fs(self.disk, 4 * MIB, "ext4", {})
        self.assert_told(self.RULE, "error", "holds ext4 in place of a partition table", NO_TABLE)
        with open(self.disk, "wb") as disk:
            disk.write(random.Random(28).randbytes(MIB))
        self.assert_told(self.RULE, "error", "does not end in 55 aa", NO_TABLE)
        with open(self.disk, "wb") as disk:
            disk.write(b"x" * 511)
        self.assert_told(self.RULE, "error", "only 511 bytes", NO_TABLE)

    def test_extended(self):
        at = self.parts("linux", "linux", "linux", logical=True)
        self.assert_told(self.RULE, "ok", "3 partitions")
        first, second = at[1] - MIB, at[2] - MIB  # the links
        good = self.peek(first, 512)
        for link, words in ((0, "leads back, at sector %d" % (first // 512)),
                            (1 << 20, "leads out of it, at sector"),
                            (1, "leads to a sector without 55 aa")):
            self.poke(first + 446 + 16, struct.pack("<B3xB3xII", 0, 5, link, 1))
            self.assert_told(self.RULE, "error", words, NO_TABLE)
        self.poke(first, good)
        self.poke(second + 446 + 16, struct.pack("<B3xB3xII", 0, 5, 0, 1))  # back to the first
        self.assert_told(self.RULE, "error", "leads back, at sector %d" % (second // 512), NO_TABLE)
        self.poke(second + 446 + 16, bytes(16))
        self.poke(second + 446 + 12, struct.pack("<I", 1 << 30))
        self.assert_told(self.RULE, "error", "Partition 6 has 1073741824 sectors", NO_TABLE)
        self.poke(first, good)
        self.poke(446 + 32, struct.pack("<B3xB3xII", 0, 0xf, 2048, 8))
        self.assert_told(self.RULE, "error", "has 2 extended partitions")


class Gpt(Case):
    RULE = "check-gpt"

    def seal(self, sector, **fields):
        places = {"other": ("<Q", 32), "crc": ("<I", 88), "guid": ("<Q", 56)}
        header = bytearray(self.peek(sector * 512, 512))
        for name, value in fields.items():
            struct.pack_into(places[name][0], header, places[name][1], value)
        header[16:20] = bytes(4)
        struct.pack_into("<I", header, 16, zlib.crc32(bytes(header[:92])))
        self.poke(sector * 512, bytes(header))

    def test_tables(self):
        last = 4 * 2048 - 1
        damages = (
            (lambda: None, "ok", "copy in sector %d says the same" % last, None),
            (lambda: self.poke(512 + 56, b"?"), "error", "its copy in sector %d is whole" % last,
             NO_TABLE),
            (lambda: self.poke(1024 + 60, b"?"), "error", "the GPT's entries in sector 2", NO_TABLE),
            (lambda: (self.poke(512 + 56, b"?"), self.poke(-512 + 56, b"?")), "error",
             "and so is its copy", NO_TABLE),
            (lambda: self.poke(-512 + 56, b"?"), "warning", "the GPT's copy is damaged", None),
            (lambda: self.seal(last, guid=7), "error", "both are whole, but they differ", None),
            (lambda: os.truncate(self.disk, 5 * MIB), "warning",
             "the GPT's copy is in sector %d, not in the last one" % last, None),
            (lambda: os.truncate(self.disk, 3 * MIB), "error", "copy is in sector %d" % last,
             NO_TABLE),
            (lambda: self.poke(510, bytes(2)), "error", "no protective MBR", NO_TABLE),
            (lambda: self.poke(446, struct.pack("<B3xB3xII", 0, 0x83, 2048, 8)), "warning",
             "an MBR that names 1 partitions of its own", None),
            (lambda: self.poke(512, bytes(512)), "error", "sector 1 holds no GPT header", NO_TABLE))
        for damage, severity, words, aws in damages:
            with self.subTest(words):
                self.parts("linux", "linux", table="gpt")
                damage()
                self.assert_told(self.RULE, severity, words, aws)

    def test_what_to_do(self):
        """Who has half of an image is not told to partition it anew."""
        for damage, cure in ((lambda: os.truncate(self.disk, 3 * MIB), "the image was cut off"),
                             (lambda: (self.poke(1024 + 60, b"?"), self.poke(-512 + 56, b"?")),
                              "partition the disk anew")):
            self.parts("linux", "linux", table="gpt")
            damage()
            found = self.check(self.RULE, status=4)
            self.assertEqual([cure in finding["cure"] for finding in found], [True], found)
            found = self.check("boot-layout", status=4)
            self.assertTrue(all(finding.get("cure") for finding in found), found)

    def test_no_gpt(self):
        self.parts("linux")
        self.assert_told(self.RULE, "ok", "has no GPT")
        self.poke(4096, b"EFI PART")
        self.assert_told(self.RULE, "error", "for sectors of 4096 bytes", NO_TABLE)


class BootCode(Case):
    RULE = "check-boot-code"

    def test_bios(self):
        self.parts("linux", code=False)
        self.assert_told(self.RULE, "error", "There is neither boot code", NO_BOOT)
        self.poke(0, b"\xfa\xeb")
        self.assert_told(self.RULE, "ok", "boot code in the MBR, of a kind that is not known")
        self.poke(MIB + 510, b"\x55\xaa")
        self.assert_told(self.RULE, "ok", "in partition 1, which is active")
        os.truncate(self.disk, 511)
        self.assert_told(self.RULE, "error", "only 511 bytes", NO_BOOT)

    def test_grub(self):
        if not os.path.exists(BOOT_IMG):
            self.skipTest("grub-pc-bin is not installed")
        with open(BOOT_IMG, "rb") as file:
            code = bytearray(file.read()[:440])
        self.parts("bios", "linux", table="gpt")
        for sector, severity, words in ((2048, "error", "sector 2048, which is empty"),
                                        (8192, "error", "sector 8192 of a disk of 8192"),
                                        (0, "error", "sector 0 of a disk"),
                                        (1, "warning", "outside the BIOS boot partition"),
                                        (2049, "ok", "goes on at sector 2049")):
            struct.pack_into("<Q", code, 0x5c, sector)
            self.poke(0, bytes(code))
            self.poke(2049 * 512, b"core")
            self.assert_told(self.RULE, severity, words)

    def test_efi(self):
        if not shutil.which("grub-fstest"):
            self.skipTest("grub-common is not installed")
        program = guest.pe()
        rows = (({"EFI/BOOT/BOOTX64.EFI": program}, "ok", "BOOTX64.EFI, for x86_64", None),
                ({"EFI/BOOT/BOOTAA64.EFI": program}, "ok", "BOOTAA64.EFI, for aarch64", None),
                ({"EFI/debian/grubx64.efi": program}, "warning",
                 "/EFI/debian/grubx64.efi is there, but firmware", None),
                ({"EFI/BOOT/BOOTX64.EFI": b"text" * 50}, "error", "does not begin with MZ", None),
                ({"EFI/debian/readme": b"x"}, "error", "There is neither boot code", NO_BOOT))
        for tree, severity, words, aws in rows:
            with self.subTest(words):
                self.parts(guest.Part("esp", 4 * MIB, "vfat", tree, guest.ESP_ID), table="gpt",
                           code=False)
                self.assert_told(self.RULE, severity, words, aws)
        self.parts(guest.Part("esp", MIB), table="gpt", code=False)
        self.assert_told(self.RULE, "error", "There is neither boot code", NO_BOOT)
        self.poke(0, b"code")
        self.assert_told(self.RULE, "warning", "holds nothing that is known, not FAT")


class FileSystem(Case):
    RULE = "check-filesystem"

    def build(self, fs="ext4"):
        self.parts(guest.Part("linux", 4 * MIB, fs, {"a": b"b"}, active=True))

    def debugfs(self, *requests):
        for request in requests:
            guest.run("debugfs", "-w", "-R", request, "%s?offset=%d" % (self.disk, MIB))

    def test_ext(self):
        self.build()
        self.assert_told(self.RULE, "ok", "partition 1: ext4, 4194304 bytes, clean")
        self.debugfs("ssv state 0")
        self.assert_told(self.RULE, "warning", "the ext4 file system was in use")
        self.debugfs("ssv state 2")
        self.assert_told(self.RULE, "error", "is marked as having errors")
        self.debugfs("ssv state 1")
        self.assert_told(self.RULE, "ok", "clean")

    def test_place(self):
        """Where the partition is one sector smaller than its file system."""
        for fs in "ext4", "vfat", "swap":
            self.build(fs)
            self.assert_told(self.RULE, "ok", "partition 1: " + fs)
            self.poke(446 + 12, struct.pack("<I", 8191))
            self.assert_told(self.RULE, "error", "the %s file system has 4194304 bytes, its place "
                             "only 4193792" % fs)

    def test_contents(self):
        self.parts("linux")
        self.assert_told(self.RULE, "warning", "partition 1 is empty")
        self.poke(MIB + 9000, b"x")
        self.assert_told(self.RULE, "warning", "partition 1 holds nothing that is known")
        self.poke(MIB, b"LUKS\xba\xbe\0\1" + bytes(160) + guest.ROOT_UUID.encode())
        self.assert_told(self.RULE, "error", "is encrypted (LUKS)")
        self.build()
        self.poke(MIB, b"hsqs" + struct.pack("<IIIIHHHHHHQQ", 1, 0, 131072, 1, 1, 17, 0, 1, 4, 0,
                                             0, 4000))
        found = self.check(self.RULE, 4)
        self.assertIn("several kinds of content claim the place", found[0]["evidence"])
        self.parts("bios", "linux", table="gpt")
        self.assertNotIn("partition 1", json.dumps(self.check(self.RULE)))


class Damage(Case):
    """Bytes are changed where the structures are: every rule is asked, and none of them fails."""
    SEEDS = 100

    def test_random(self):
        offsets = guest.build(self.disk, guest.debian(fs="ext4"), table="gpt", bios=True, mib=6)
        with open(self.disk, "rb") as file:
            whole = file.read()
        places = [at for at in range(0, len(whole), 512)
                  if whole[at:at + 512].strip(b"\0") and (at < MIB or at >= offsets[-1])]
        said = set()
        for seed in range(self.SEEDS):
            chance = random.Random(seed)
            at = chance.sample(places, 1 + seed % 30)
            if seed % 4:  # the first sectors of each partition are where all begins
                at += [offsets[-1] + 1024 + 512 * chance.randrange(20) for _ in range(seed % 5)]
            damaged = bytearray(whole)
            for place in at:
                damaged[place + chance.randrange(512)] ^= 1 << chance.randrange(8)
            with open(self.disk, "wb") as file:
                file.write(damaged)
            done = subprocess.run([TOOLKIT, "check", "-f", "raw", "--output", "json", self.disk],
                                  check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=120)
            self.assertIn(done.returncode, (0, 4), "seed %d: %s" % (seed, done.stderr))
            said |= {(finding["rule"], finding["severity"])
                     for finding in json.loads(done.stdout)["findings"]}
        self.assertGreater(len(said), 20, said)  # the damage was where somebody looked


if __name__ == "__main__":
    unittest.main(verbosity=1)
