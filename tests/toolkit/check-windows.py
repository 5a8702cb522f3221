#!/usr/bin/python3
"""The validators of Windows disks: each finds what is wrong with a disk, beside a neighbour that
differs in one thing and is in order."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import guest  # noqa: E402
import service  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
for program in "mkntfs", "ntfscp", "grub-fstest", "mkfs.vfat", "mcopy", "sfdisk":
    if not shutil.which(program, path=guest.PATH):
        print("skipped: %s is not installed" % program)
        sys.exit(77)

MIB = 1 << 20
NTFS_MIB = 8
SYSTEM32 = "Windows/System32/"
SYSTEM, SOFTWARE = SYSTEM32 + "config/SYSTEM", SYSTEM32 + "config/SOFTWARE"
ROOM = 32768  # bytes of each hive
DRIVERS = "viostor", "vioscsi", "netkvm", "stornvme"
PLACES = {"system": SYSTEM, "software": SOFTWARE, "bcd": "Boot/BCD", "hiberfil": "hiberfil.sys"}
SERVICES = "ControlSet001\\Services\\"


class Case(unittest.TestCase):
    """All disks have copies of one NTFS, which takes seconds to make; what differs is changed in
    place: contents where they stand, and names into ones that sort alike."""

    @classmethod
    def setUpClass(cls):
        if not hasattr(Case, "ntfs"):
            Case.keep = tempfile.TemporaryDirectory(prefix="check-windows.")
            Case.ntfs = os.path.join(Case.keep.name, "ntfs")
            Case.contents = {name: guest.windows()[name] for name in (
                "bootmgr", "Boot/BCD", SYSTEM, SOFTWARE)}
            for name in SYSTEM, SOFTWARE:  # room for others
                Case.contents[name] = Case.contents[name].ljust(ROOM, b"\0")
            Case.contents["hiberfil.sys"] = b"wake" + b"asleep?".ljust(MIB, b"\0")
            Case.contents["ntldr"] = b"MZ"
            for driver in DRIVERS:
                Case.contents[SYSTEM32 + "drivers/%s.sys" % driver] = guest.pe()
            guest.make_fs(cls.ntfs, NTFS_MIB * MIB, "ntfs", cls.contents)

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="check-windows.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.disk = os.path.join(self.tmp, "disk.raw")

    def build(self, esp=None, active=True, table="mbr", rename=(), **contents):
        """A disk with Windows in its last partition, which begins at byte self.at; esp: what its
        EFI system partition holds.  rename: names that change their last letter."""
        parts = [] if esp is None else [guest.Part("esp", 4 * MIB, "vfat", esp, guest.ESP_ID)]
        parts.append(guest.Part("windows", NTFS_MIB * MIB, active=active))
        self.at = guest.assemble(self.disk, parts, table)[-1]
        with open(self.ntfs, "rb") as file:
            data = file.read()
        places = {}
        for name in contents:  # before names change in there, too
            self.assertEqual(data.count(self.contents[PLACES[name]]), 1, name)
            places[name] = data.index(self.contents[PLACES[name]])
        for name in rename:
            other = name[:-1] + chr(ord(name[-1]) + 1)
            name, other = name.encode("utf-16-le"), other.encode("utf-16-le")
            self.assertGreaterEqual(data.count(name), 2)  # in its record and in the directory's
            data = data.replace(name, other)
        for name, content in contents.items():
            old = self.contents[PLACES[name]]
            content += old[len(content):] if name == "hiberfil" else bytes(len(old) - len(content))
            self.assertEqual(len(content), len(old))
            data = data[:places[name]] + content + data[places[name] + len(old):]
        self.poke(self.at, data)

    def poke(self, offset, data):
        with open(self.disk, "r+b") as disk:
            disk.seek(offset)
            disk.write(data)

    def peek(self, offset, length):
        with open(self.disk, "rb") as disk:
            disk.seek(offset)
            return disk.read(length)

    def look(self, stage):
        """What the validator finds: {severity: evidence and more of all of that severity}."""
        job = {"source": self.disk, "format": "raw", "store": os.path.join(self.tmp, "volume"),
               "force": True, "scratch": self.tmp, "stages": [{"name": stage}]}
        done = subprocess.run([TOOLKIT, "run"], input=json.dumps(job), text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = {}
        for finding in json.loads(done.stdout)["findings"]:
            self.assertEqual(finding["rule"], stage)
            found.setdefault(finding["severity"], []).append(finding)
        return found

    def assert_fine(self, stage, *words):
        found = self.look(stage)
        self.assertEqual(list(found), ["ok"], found)
        evidence = " / ".join(finding["evidence"] for finding in found["ok"])
        for word in words:
            self.assertIn(word, evidence)

    def assert_finds(self, stage, *words, severity="warning", code=None, aws=None):
        found = self.look(stage)
        self.assertIn(severity, found, found)
        for finding in found[severity]:
            if all(word in finding["evidence"] for word in words):
                self.assertEqual(finding.get("code"), code, finding)
                self.assertEqual(finding.get("aws"), aws, finding)
                self.assertTrue(finding.get("cure") or severity == "unknown", finding)
                return finding
        raise AssertionError("nothing has %s: %s" % (words, found[severity]))

    def required(self, stage):
        job = {"source": self.disk, "format": "raw", "store": os.path.join(self.tmp, "volume"),
               "force": True, "scratch": self.tmp, "stages": [{"name": stage, "optional": False}]}
        return subprocess.run([TOOLKIT, "run"], input=json.dumps(job), text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Ntfs(Case):
    STAGE = "check-ntfs"

    def test_clean(self):
        self.build()
        self.assert_fine(self.STAGE, "The NTFS of partition 1 was left in order")

    def volume_flags(self):
        """Where the flags of $Volume are: record 3 of $MFT, attribute 70h."""
        boot = self.peek(self.at, 512)
        cluster = struct.unpack_from("<H", boot, 11)[0] * boot[13]
        record_at = self.at + struct.unpack_from("<Q", boot, 48)[0] * cluster + 3 * 1024
        record = self.peek(record_at, 1024)
        at = struct.unpack_from("<H", record, 20)[0]
        while struct.unpack_from("<I", record, at)[0] != 0x70:
            at += struct.unpack_from("<I", record, at + 4)[0]
        return record_at + at + struct.unpack_from("<H", record, at + 20)[0] + 10

    def test_dirty(self):
        self.build()
        place = self.volume_flags()
        self.poke(place, b"\x80\0")  # modified by chkdsk: harmless
        self.assert_fine(self.STAGE)
        self.poke(place, b"\1\0")
        self.assert_finds(self.STAGE, "The NTFS of partition 1 was not left in order",
                          code="FileSystemDirty")
        done = self.required(self.STAGE)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("chkdsk", done.stderr)

    def test_hibernated(self):
        for word in b"wake", b"WAKE", b"\0\0\0\0":
            self.build(hiberfil=word)
            self.assert_fine(self.STAGE)
        for word in b"hibr", b"HIBR":
            self.build(hiberfil=word)
            self.assert_finds(self.STAGE, "is hibernated", "fast startup", word.decode(),
                              code="Hibernated")

    def test_boot_sector(self):
        self.build()
        last = self.at + NTFS_MIB * MIB - 512
        self.assertEqual(self.peek(last, 512), self.peek(self.at, 512))
        self.poke(last + 3, b"X")
        self.assert_finds(self.STAGE, "no copy of its boot sector", "at byte %d" % last)

    def test_cut(self):
        self.build()
        for sectors in NTFS_MIB * MIB // 512, (1 << 64) - 1:
            self.poke(self.at + 40, struct.pack("<Q", sectors))
            self.assert_finds(self.STAGE, "has %d sectors of 512" % sectors, code="FileSystemCut")

    def test_none(self):
        guest.build(self.disk, {"etc/fstab": b"\n"})
        self.assert_fine(self.STAGE, "There is no NTFS")
        for stage in "check-windows-boot", "check-windows-registry", "check-windows-drivers":
            self.assert_fine(stage, "The system is Linux")
        with open(self.disk, "wb") as disk:
            disk.truncate(MIB)
        for stage in "check-windows-boot", "check-windows-registry", "check-windows-drivers":
            self.assertEqual(list(self.look(stage)), ["unknown"])


class Boot(Case):
    STAGE = "check-windows-boot"
    NO_BOOT = "No bootable partition found."

    def test_bios(self):
        self.build()
        self.assert_fine(self.STAGE, "\\bootmgr and \\Boot\\BCD on partition 1")
        self.build(active=False)
        self.assert_finds(self.STAGE, "None of the 1 partitions of the MBR is active",
                          code="NotBootable", aws=self.NO_BOOT)

    def test_bios_files(self):
        self.build(rename=["bootmgr"])
        self.assert_fine(self.STAGE, "\\ntldr")
        self.build(rename=["bootmgr", "ntldr"])
        self.assert_finds(self.STAGE, "The active partition 1 holds no \\bootmgr", code="NotBootable",
                          aws=self.NO_BOOT)
        self.build(rename=["BCD"])
        self.assert_finds(self.STAGE, "There is no /Boot/BCD on partition 1", code="NotBootable")
        self.build(bcd=b"no hive")
        self.assert_finds(self.STAGE, "no store of boot configuration data", code="NotBootable")

    def test_uefi(self):
        store = {"EFI/Microsoft/Boot/BCD": b"regf"}
        own = {"EFI/Microsoft/Boot/bootmgfw.efi": guest.pe()}
        usual = {"EFI/BOOT/BOOTX64.EFI": guest.pe()}
        for table in "gpt", "mbr":
            self.build({**store, **own, **usual}, table=table)
            self.assert_fine(self.STAGE, "\\EFI\\Boot\\bootx64.efi", "partition 1")
        self.build({**store, **own}, table="gpt")
        self.assert_finds(self.STAGE, "no \\EFI\\Boot\\bootx64.efi")
        self.build(store, table="gpt")
        self.assert_finds(self.STAGE, "partition 1, holds no boot manager", code="NotBootable",
                          aws=self.NO_BOOT)
        self.build({**own, **usual}, table="gpt")
        self.assert_finds(self.STAGE, "There is no /EFI/Microsoft/Boot/BCD", code="NotBootable")

    def test_gpt_without_esp(self):
        self.build(table="gpt")
        self.assert_finds(self.STAGE, "The GPT has no EFI system partition", code="NotBootable",
                          aws=self.NO_BOOT)


class Registry(Case):
    STAGE = "check-windows-registry"

    def test_whole(self):
        self.build()
        self.assert_fine(self.STAGE, "Windows Server 2022 Datacenter, build 20348", "ControlSet001")

    def test_missing_and_damaged(self):
        for hive in "SYSTEM", "SOFTWARE":
            self.build(rename=[hive])
            self.assert_finds(self.STAGE, "There is no registry hive", hive, code="MissingFiles",
                              aws="Unknown OS / Missing OS files")
            self.build(**{hive.lower(): b"regf"})
            self.assert_finds(self.STAGE, "cannot be read", hive, code="RegistryDamaged")

    def test_control_set(self):
        keys = guest.windows_system()
        keys["Select"]["Current"] = 2
        self.build(system=guest.hive(keys))
        self.assert_finds(self.STAGE, "ControlSet002", "no services", code="RegistryDamaged")
        del keys["Select"]
        self.build(system=guest.hive(keys))
        self.assert_finds(self.STAGE, "no number Select\\Current", code="RegistryDamaged")
        keys = {path.replace("ControlSet001", "ControlSet017"): keys[path] for path in keys}
        keys["Select"] = {"Current": 17}
        self.build(system=guest.hive(keys))
        self.assert_fine(self.STAGE, "ControlSet017")

    def test_no_version(self):
        self.build(software=guest.hive({"Microsoft\\Windows NT": {"x": 1}}))
        self.assert_finds(self.STAGE, "does not tell the version", severity="unknown")

    def test_values_of_another_kind(self):
        for product in 2022, "W" * 128:
            self.build(software=guest.hive(guest.windows_software(name=product)))
            self.assert_finds(self.STAGE, "does not tell the version", severity="unknown")
        self.build(software=guest.hive(guest.windows_software(name="W" * 127)))
        self.assert_fine(self.STAGE, "W" * 127 + ", build 20348")
        keys = guest.windows_system()
        keys["Select"]["Current"] = "1"
        self.build(system=guest.hive(keys))
        self.assert_finds(self.STAGE, "no number Select\\Current", code="RegistryDamaged")


class Drivers(Case):
    STAGE = "check-windows-drivers"

    def services(self, drivers, **changes):
        keys = guest.windows_system(drivers)
        for name, values in changes.items():
            keys[SERVICES + name].update(values)
        return guest.hive(keys)

    def test_whole(self):
        self.build()
        self.assert_fine(self.STAGE, "viostor (virtio disks), vioscsi (virtio-scsi disks), stornvme "
                         "(NVMe disks)", "Drivers of networks: netkvm")
        for driver in "viostor", "vioscsi":
            self.build(system=self.services((driver, "netkvm")))
            self.assert_fine(self.STAGE, driver)

    def test_none(self):
        self.build(system=self.services(("netkvm",)))
        finding = self.assert_finds(self.STAGE, "No driver of virtio or NVMe disks",
                                    code="DriversMissing")
        self.assertIn("virtio-win", finding["cure"])

    def test_nvme_alone(self):
        self.build(system=self.services(("stornvme", "netkvm")))
        self.assert_finds(self.STAGE, "No driver of virtio disks is started")

    def test_not_at_boot(self):
        self.build(system=self.services(("viostor", "netkvm"), viostor={"Start": 3}))
        self.assert_finds(self.STAGE, "the service viostor has Start 3, not 0", code="DriversMissing")
        keys = guest.windows_system(("stornvme", "netkvm"))
        keys[SERVICES + "stornvme\\StartOverride"] = {"0": 3}
        self.build(system=guest.hive(keys))
        self.assert_finds(self.STAGE, "the service stornvme has Start 3", code="DriversMissing")

    def test_no_file(self):
        name = SYSTEM32 + "drivers/viostor.sys"
        self.build(system=self.services(("viostor", "netkvm")), rename=["viostor.sys"])
        self.assert_finds(self.STAGE, "the service viostor has no driver /" + name,
                          code="DriversMissing")
        self.build(system=self.services(("viostor", "netkvm"), viostor={
            "ImagePath": "\\SystemRoot\\system32\\DRIVERS\\vioscsi.sys"}), rename=["viostor.sys"])
        self.assert_fine(self.STAGE, "viostor")

    def test_network(self):
        self.build(system=self.services(("viostor",)))
        finding = self.assert_finds(self.STAGE, "No driver of virtio networks")
        self.assertIn("NetKVM", finding["cure"])
        self.build(system=self.services(("viostor", "netkvm"), netkvm={"Start": 4}))
        self.assert_finds(self.STAGE, "the service netkvm has Start 4")

    def test_no_registry(self):
        self.build(system=b"no hive")
        self.assert_finds(self.STAGE, "SYSTEM", code="RegistryDamaged")


class Missing(Case):
    def test_hivex(self):
        """Without its library only what reads the registry is gone."""
        own = ["unshare", "-m" if os.getuid() == 0 else "-rm"]
        if subprocess.run([*own, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("private mounts are not allowed here")
        script = ("for t in /usr/lib/*/libhivex.so.0 /usr/lib/libhivex.so.0 /lib/*/libhivex.so.0; do "
                  "[ ! -e $t ] || mount --bind /dev/null $t || exit 99; done; exec \"$@\"")
        self.build()
        for stage, status in (("check-windows-registry", 7), ("check-windows-drivers", 7),
                              ("check-ntfs", 0), ("check-windows-boot", 0)):
            job = {"source": self.disk, "format": "raw", "store": os.path.join(self.tmp, "volume"),
                   "scratch": self.tmp, "force": True, "stages": [{"name": stage, "optional": False}]}
            done = subprocess.run([*own, "sh", "-c", script, "sh", TOOLKIT, "run"], check=False,
                                  input=json.dumps(job), text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, status, stage + ": " + done.stderr)
            self.assertEqual("libhivex.so.0 is missing" in done.stderr, status == 7, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
