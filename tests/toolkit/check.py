#!/usr/bin/python3
"""The command check, and each validator of Linux disks: what is told of a disk that is whole, and of
the same disk with one thing changed."""
import bz2
import gzip
import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import craft  # noqa: E402
import guest  # noqa: E402
import packed  # noqa: E402
import service  # noqa: E402

if os.access("/dev/shm", os.W_OK):  # whoever makes file systems waits for the disk each time
    tempfile.tempdir = "/dev/shm"
TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
KERNEL = guest.KERNEL
ROOT = "UUID=" + guest.ROOT_UUID
RULES = ["boot-layout", "check-access", "check-boot-code", "check-boot-config", "check-drivers",
         "check-filesystem", "check-fstab", "check-gpt", "check-kernel", "check-network",
         "check-partition-table", "check-secrets"]
REQUIRED = {"boot-layout", "check-boot-code", "check-filesystem", "check-gpt",
            "check-partition-table"}


def check(image, *options, status=0, env=None):
    """The report of an image; status None: any."""
    done = subprocess.run([TOOLKIT, "check", "--output", "json", *options, image], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **(env or {})})
    if status is not None and done.returncode != status:
        raise AssertionError("exit status %d, not %d: %s%s" % (done.returncode, status, done.stdout,
                                                               done.stderr))
    return json.loads(done.stdout) if done.stdout else done.stderr


def told(report, rule, severity=None):
    return [finding for finding in report["findings"]
            if finding["rule"] == rule and severity in (None, finding["severity"])]


class Case(unittest.TestCase):
    keep = tempfile.TemporaryDirectory(prefix="check.")

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="check.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.disk = os.path.join(self.tmp, "disk.raw")

    def build(self, changes=None, system=guest.debian, remove=(), **options):
        tree = system(fs="ext4",
                      **{key: options[key] for key in ("boot", "esp") if key in options})
        for path in remove:
            del tree[path]
        tree.update(changes or {})
        guest.build(self.disk, tree, mib=6, **options)

    def assert_told(self, report, rule, severity, words, aws=None):
        for finding in told(report, rule, severity):
            if words in finding["evidence"]:
                self.assertEqual(finding.get("aws"), aws)
                if severity in ("error", "warning"):
                    self.assertTrue(finding.get("cure"), "no cure: %s" % finding)
                return
        self.fail("%s says no %s '%s': %s" % (rule, severity, words,
                                              json.dumps(told(report, rule), indent=1)))


# Each row: the rule that is required, what is changed in a Debian's tree (paths to remove are None
# in the first, contents in the second), the words of the fault, AWS's sentence.
NOT_READ = "Invalid configuration - Could not read fstab"
INITRD = ("We were unable to read your import's initramfs/initrd to determine what drivers your "
          "import requires to run in EC2")
NO_OS = "Unknown OS / Missing OS files"
GRUB = "boot/grub/grub.cfg"
IMAGE = "boot/initrd.img-" + KERNEL
MODULES = "usr/lib/modules/%s/" % KERNEL


def small_kernel():
    image = bytearray(guest.bzimage())
    image[0x236] = 0
    return bytes(image)


def without_access():
    return {"etc/cloud/cloud.cfg": None, "usr/bin/cloud-init": None,
            "root/.ssh/authorized_keys": None}


FAULTS = [
    ("check-kernel", {"boot/vmlinuz-" + KERNEL: None}, "There is no kernel in /boot", NO_OS),
    ("check-kernel", {"boot/vmlinuz-" + KERNEL: b"no kernel" * 200}, "is no kernel", NO_OS),
    ("check-kernel", {"boot/vmlinuz-" + KERNEL: small_kernel()}, "is for i386", None),
    ("check-kernel", {IMAGE: None}, "has no initramfs: there is no /boot/initrd.img-" + KERNEL, None),
    ("check-kernel", {IMAGE: b""}, "initrd.img-%s is empty" % KERNEL, None),
    ("check-fstab", {"etc/fstab": None}, "There is no /etc/fstab", NOT_READ),
    ("check-fstab", {"etc/fstab": b"UUID=dead-beef / ext4 defaults 0 1\n"},
     "mounts UUID=dead-beef on /, but nothing on the disk", None),
    ("check-fstab", {"etc/fstab": guest.fstab(extra="/dev/sdb1 /data ext4 defaults 0 2\n")},
     "mounts /dev/sdb1 on /data", None),
    ("check-fstab", {"etc/fstab": guest.fstab(extra="/dev/mapper/vg-lv /data ext4 defaults 0 2\n")},
     "the disk holds no volume group",
     "Unsupported configuration - Logical volume group activation failed"),
    ("check-fstab", {"etc/fstab": guest.fstab(extra="%s / ext4 ro 0 0\n" % ROOT)},
     "mounts 2 file systems on /", NOT_READ),
    ("check-fstab", {"etc/fstab": guest.fstab(fs="xfs")}, "is xfs, but it is ext4", None),
    ("check-boot-config", {GRUB: guest.grub_cfg("6.9.9")},
     "the kernel of 'Debian GNU/Linux', /boot/vmlinuz-6.9.9, is not there", None),
    ("check-boot-config", {GRUB: guest.grub_cfg().replace(b"initrd.img-" + KERNEL.encode(),
                                                          b"initrd.gone")},
     "the initramfs of 'Debian GNU/Linux', /boot/initrd.gone, is not there", None),
    ("check-boot-config", {GRUB: guest.grub_cfg(root="UUID=dead-beef")},
     "the root of 'Debian GNU/Linux', UUID=dead-beef, is not on the disk", None),
    ("check-boot-config", {"boot/grub/menu.lst": b"title other\nkernel /boot/vmlinuz-%s root=%s\n"
                           % (KERNEL.encode(), ROOT.encode())},
     "/boot/grub/grub.cfg and /boot/grub/menu.lst differ",
     "Multiple different grub/menu.lst files found"),
    ("check-drivers", {IMAGE: guest.initrd(drivers=("ata/ahci",))},
     "would find its root on none of KVM", None),
    ("check-drivers", {IMAGE: guest.initrd(drivers=("virtio/virtio_pci", "net/virtio_net"))},
     "neither virtio_pci with virtio_blk", None),
    ("check-drivers", {IMAGE: guest.initrd()[:100] + b"\xff" * 400}, "damaged", INITRD),
    ("check-drivers", {IMAGE: guest.initrd()[:300]}, "damaged", INITRD),
    ("check-drivers", {IMAGE: b"neither archive nor compressed" * 9}, "neither a cpio", INITRD),
    ("check-drivers", {IMAGE: guest.cpio({"init": b"x"})[:150]}, "has no end", INITRD),
    ("check-drivers", {IMAGE: gzip.compress(guest.cpio({"init": b"x"})[:150])}, "has no end", INITRD),
    ("check-network", {"etc/network/interfaces": None, "usr/bin/cloud-init": None},
     "Nothing configures the network", None),
    ("check-network", {"etc/network/interfaces": b"iface eth0 inet static\n address 10.0.0.5/24\n",
                       "usr/bin/cloud-init": None}, "gives an interface the address 10.0.0.5", None),
    ("check-network", {"etc/network/interfaces": None, "usr/bin/cloud-init": None,
                       "etc/sysconfig/network-scripts/ifcfg-eth0": b"BOOTPROTO=dhcp\nONBOOT=no\n"},
     "Nothing configures the network", None),
    ("check-access", without_access(), "Nobody could log in", None),
    ("check-secrets", {"etc/shadow": guest.File("root:*:1::::::\nadmin::19000::::::\n", 0o600)},
     "The user admin has an empty password", None),
]

# The same, of what works, or may.
WARNINGS = [
    ("check-kernel", {"boot/vmlinuz-" + KERNEL: guest.bzimage("6.1.0-99-amd64")},
     "says that it is 6.1.0-99-amd64"),
    ("check-fstab", {"etc/fstab": guest.fstab(root="/dev/sda1")}, "/etc/fstab names /dev/sda1 for /"),
    ("check-fstab", {"etc/fstab": b"proc /proc proc defaults 0 0\n"}, "does not say what is mounted"),
    ("check-fstab", {"etc/fstab": guest.fstab(extra="what is this\n?\n")}, "has 1 lines that are"),
    ("check-fstab", {"etc/fstab": guest.fstab(extra="nas:/x /mnt nfs defaults 0 0\n")}, "nas:/x"),
    ("check-boot-config", {GRUB: None}, "no configuration of a boot loader names a kernel"),
    ("check-boot-config", {GRUB: guest.grub_cfg(root="/dev/sda1")}, "names its root /dev/sda1"),
    ("check-boot-config", {GRUB: guest.grub_cfg() + guest.grub_cfg("6.9.9")}, "6.9.9, is not there"),
    ("check-drivers", {IMAGE: guest.initrd(drivers=("virtio/virtio_pci", "block/virtio_blk"))},
     "it would not start on EC2 Nitro"),
    ("check-drivers", {MODULES + "kernel/drivers/net/ethernet/amazon/ena/ena.ko": None,
                       IMAGE: guest.initrd(drivers=("nvme/host/nvme",))}, "no driver ena"),
    ("check-network", {"etc/udev/rules.d/70-persistent-net.rules":
                       b'SUBSYSTEM=="net", ATTR{address}=="52:54:00:00:00:01", NAME="eth0"\n'},
     "binds 1 names"),
    ("check-network", {"etc/network/interfaces": b"iface ens33 inet dhcp\n"}, "is for ens33"),
    ("check-network", {"etc/systemd/network/a.link":
                       b"[Match]\nMACAddress=52:54:00:12:34:56\n[Link]\nName=lan0\n"},
     "with the address 52:54:00:12:34:56 alone"),
    ("check-access", {"usr/sbin/sshd": None}, "there is no SSH server"),
    ("check-secrets", {"etc/ssh/ssh_host_rsa_key": b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"},
     "/etc/ssh/ssh_host_rsa_key is an SSH host key"),
    ("check-secrets", {"home/admin/a/deep/place/x.pem": b"-----BEGIN RSA PRIVATE KEY-----\nSECRET\n"},
     "/home/admin/a/deep/place/x.pem is a private key"),
    ("check-secrets", {"root/.bash_history": b"mysql -p SECRET\n"}, "/root/.bash_history is a history"),
    ("check-secrets", {"home/admin/.aws/credentials": b"[default]\naws_secret_access_key=SECRET\n"},
     "/home/admin/.aws/credentials holds credentials"),
]

# And what is in order, though it looks different: neighbours of the rows above.
OKAY = [
    ("check-kernel", {}, KERNEL),
    ("check-kernel", {"boot/vmlinuz-0-rescue-1": b"not looked at"}, KERNEL),
    ("check-fstab", {"etc/fstab": guest.fstab(extra="UUID=1-2 /data ext4 nofail 0 2\n")},
     "UUID=1-2 for /data is not on the disk, and need not be (nofail)"),
    ("check-fstab", {"etc/fstab": guest.fstab(root='PARTUUID="00c0ffee-01"',
                                              extra="tmpfs /tmp tmpfs nosuid 0 0\n")}, "on /: ext4"),
    ("check-boot-config", {"boot/grub/menu.lst": guest.grub_cfg()}, "'Debian GNU/Linux' starts"),
    ("check-boot-config", {GRUB: None, "boot/extlinux/extlinux.conf":
                           ("DEFAULT l0\nLABEL l0\n MENU LABEL x\n LINUX /vmlinuz-%s\n APPEND "
                            "initrd=/initrd.img-%s root=%s ro\n" % (KERNEL, KERNEL, ROOT)).encode()},
     "/boot/extlinux/extlinux.conf: 'l0' starts /vmlinuz-" + KERNEL),
    ("check-drivers", {IMAGE: guest.initrd(drivers=()),
                       MODULES + "modules.builtin": b"kernel/drivers/nvme/host/nvme.ko\n"},
     "would find its root on EC2 Nitro (nvme, ena)"),
    ("check-drivers", {IMAGE: guest.initrd(drivers=("block/xen-blkfront",)), "boot/config-" + KERNEL:
                       b"CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_BLK_DEV_NVME=m\n"},
     "would find its root on KVM (virtio), EC2 Xen (xen-blkfront)"),
    ("check-drivers", {IMAGE: guest.initrd(drivers=("virtio/virtio_pci", "scsi/virtio_scsi"))},
     "would find its root on KVM (virtio)"),
    ("check-network", {"etc/network/interfaces": None}, "cloud-init configures the network"),
    ("check-network", {"etc/network/interfaces": None, "usr/bin/cloud-init": None,
                       "etc/netplan/50.yaml": b"network:\n  version: 2\n  ethernets:\n    all:\n"
                       b"      match: {name: 'e*'}\n      dhcp4: true\n"},
     "/etc/netplan/50.yaml asks"),
    ("check-network", {"etc/network/interfaces": None, "usr/bin/cloud-init": None,
                       "usr/sbin/NetworkManager": b"x"}, "NetworkManager asks for an address"),
    ("check-access", {**without_access(), "etc/shadow":
                      guest.File("root:%s:1::::::\n" % guest.HASH, 0o600)},
     "1 users can log in by password: root"),
    ("check-access", {**without_access(), "home/admin/.ssh/authorized_keys": guest.KEY.encode()},
     "1 users have authorized keys, admin first"),
    ("check-secrets", {"etc/ssl/certs/ca.pem": b"-----BEGIN CERTIFICATE-----\n"}, "no private key"),
    ("check-secrets", {"root/.bash_history": b""}, "no private key"),
]


class Rules(Case):
    def built(self, changes):
        self.build({path: data for path, data in changes.items() if data is not None},
                   remove=[path for path, data in changes.items() if data is None])

    def test_faults(self):
        """Where the rule is required a fault is an error, else a warning; AWS's words are there."""
        for rule, changes, words, aws in FAULTS:
            with self.subTest(words):
                self.built(changes)
                report = check(self.disk, "--only", rule, "--require", rule, status=4)
                self.assert_told(report, rule, "error", words, aws)
                report = check(self.disk, "--only", rule)
                self.assert_told(report, rule, "warning", words, aws)

    def test_warnings(self):
        for rule, changes, words in WARNINGS:
            with self.subTest(words):
                self.built(changes)
                report = check(self.disk, "--only", rule, "--require", rule)
                self.assert_told(report, rule, "warning", words)
                self.assertNotIn("SECRET", json.dumps(report))

    def test_okay(self):
        for rule, changes, words in OKAY:
            with self.subTest(words):
                self.built(changes)
                report = check(self.disk, "--only", rule, "--require", rule)
                self.assert_told(report, rule, "ok", words)

    def test_whole_systems(self):
        """Nothing to complain of, on both families, in both tables, in every place."""
        lines = ("/swapfile none swap sw 0 0\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n"
                 "proc /proc proc defaults 0 0\n/home /srv none bind 0 0\n"
                 "nas:/x /mnt nfs nofail,_netdev 0 0\n")
        for options in ({"changes": {"etc/fstab": guest.fstab(extra=lines)}}, {"boot": True}, {"table": "gpt", "esp": True, "bios": True},
                        {"system": guest.redhat, "table": "gpt", "esp": True, "boot": True},
                        {"logical": True, "swap": True}):
            with self.subTest(str(options)):
                self.build(**options)
                report = check(self.disk, "--only", ",".join(RULES), "--require", ",".join(RULES))
                wrong = [finding for finding in report["findings"]
                         if finding["severity"] != "ok"]
                if "esp" in options and not shutil.which("grub-fstest"):
                    wrong = [finding for finding in wrong if finding["severity"] != "unknown"]
                self.assertEqual(wrong, [])

    def test_ways_to_compress(self):
        """An initramfs in every way the kernel knows, with and without microcode before it."""
        def by(*command):
            return lambda data: subprocess.run(command, input=data, check=True,
                                               stdout=subprocess.PIPE).stdout
        ways = {"gzip": gzip.compress, "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
                "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE), "bzip2": bz2.compress,
                "none": bytes}
        for name, command in (("zstd", ("zstd", "-q")), ("lz4", ("lz4", "-l", "-q"))):
            if shutil.which(name):
                ways[name] = by(*command)
        for name, compress in ways.items():
            for early in (False, True):
                with self.subTest(name):
                    self.build({IMAGE: guest.initrd(compress=compress, early=early)})
                    report = check(self.disk, "--only", "check-drivers")
                    self.assert_told(report, "check-drivers", "ok", "KVM (virtio), EC2 Nitro")

    def test_memory_that_an_initramfs_asks_for(self):
        """A dictionary of a gigabyte and a half is chosen to hurt; the usual ones are accepted above."""
        data = guest.initrd(compress=lambda data: lzma.compress(data, check=lzma.CHECK_CRC32))
        size = (data[12] + 1) * 4  # of the block's header: flags, the filter's id and size, its dictionary
        header = bytearray(data[12:12 + size])
        self.assertEqual(header[1:4], b"\0\x21\x01")
        header[4] = 39
        header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
        self.build({IMAGE: data[:12] + bytes(header) + data[12 + size:]})
        report = check(self.disk, "--only", "check-drivers")
        self.assert_told(report, "check-drivers", "unknown", "MiB of memory, more than the 80 allowed")

    def test_boot_loader_specification(self):
        entry = "0123456789abcdef0123456789abcdef-5.14.0-362.el9.x86_64"
        lost = "BLSC-style GRUB found, but unable to detect default kernel"
        rule = "check-boot-config"
        self.build(system=guest.redhat)
        self.assert_told(check(self.disk, "--only", rule), rule, "ok", "'Red Hat Enterprise Linux (")
        for env, words in ((b"# GRUB Environment Block\n", "has no saved_entry"),
                           (b"saved_entry=gone\n", "saved_entry is gone")):
            self.build({"boot/grub2/grubenv": env}, system=guest.redhat)
            report = check(self.disk, "--only", rule, "--require", rule, status=4)
            self.assert_told(report, rule, "error", words, lost)
        path = "boot/loader/entries/%s.conf" % entry
        with_tuned = guest.redhat()[path].replace(b".img\n", b".img $tuned_initrd\n")
        self.build({path: with_tuned}, system=guest.redhat)
        report = check(self.disk, "--only", rule)
        self.assert_told(report, rule, "ok", "'Red Hat Enterprise Linux (")
        self.assertEqual(report["unknown"], 0, report)
        self.build({path: b"title x\nlinux /vmlinuz-none\n"},
                   system=guest.redhat)
        report = check(self.disk, "--only", rule, "--require", rule, status=4)
        self.assert_told(report, rule, "error", "the kernel of 'x', /vmlinuz-none, is not there")

    def test_two_systems(self):
        tree = guest.debian()
        parts = [guest.Part("linux", 6 * guest.MIB, "ext4", tree, active=True),
                 guest.Part("linux", 6 * guest.MIB, "ext4", tree, guest.BOOT_UUID)]
        guest.assemble(self.disk, parts)
        report = check(self.disk, "--only", "check-fstab", "--require", "check-fstab", status=4)
        self.assert_told(report, "check-fstab", "error", "Partition 1 holds the tree of a system",
                         "Unsupported configuration - Multiple directories found")
        parts[1] = guest.Part("linux", 6 * guest.MIB, "ext4", {"data": b"x"})  # the same UUID
        guest.assemble(self.disk, parts)
        report = check(self.disk, "--only", "check-fstab", "--require", "check-fstab", status=4)
        self.assert_told(report, "check-fstab", "error", "but several file systems are that")

    def test_no_linux(self):
        """One rule says that there is none; for the others nothing can be said, and nothing is."""
        guest.assemble(self.disk, [guest.Part("linux", 4 * guest.MIB, "ext4", {"a": b"b"},
                                              active=True)])
        report = check(self.disk)
        for rule in set(RULES) - REQUIRED - {"check-kernel"}:
            self.assert_told(report, rule, "unknown", "no Linux root was found")
        self.assert_told(report, "check-kernel", "warning", "No system that is known is on the disk",
                         NO_OS)

    def test_what_cannot_be_read(self):
        """Nobody is told that nobody could log in, when that stands in what cannot be read."""
        rule = "check-access"
        for path in "etc/passwd", "etc/shadow", "root/.ssh/authorized_keys":
            with self.subTest(path):
                self.build({**{name: data for name, data in without_access().items() if data},
                            path: guest.Link(os.path.basename(path))},
                           remove=set(without_access()) - {path})
                report = check(self.disk, "--only", rule, "--require", rule)
                self.assert_told(report, rule, "unknown", "stands in what cannot be read")

    def test_an_image_that_is_damaged_where_it_is_read(self):
        """Nothing else is said of it: what could be found would not hold."""
        disk = craft.mbr(craft.scattered(craft.MIB, [(4096, 5000)]), [(0x80, 0x83, 2, 100)])
        path = os.path.join(self.tmp, "disk.vmdk")
        for more, damaged in ((b"", False), (b"\0", True)):
            with open(path, "wb") as file:
                file.write(craft.vmdk_stream(disk, payload={0: zlib.compress(disk[:65536] + more)}))
            said = check(path, status=4 if damaged else None)
            if damaged:
                self.assertRegex(said, r"^imaging-toolkit: error: .*grain .*inflates[^\n]*\n$")
            else:
                self.assertNotIn("inflates", json.dumps(said))

    def test_what_is_not_looked_into(self):
        """A volume group may hold the system: that it was not found is no fault."""
        volume = {"a": b"b"}
        guest.assemble(self.disk, [guest.Part("linux", 4 * guest.MIB, "ext4", volume, active=True),
                                   guest.Part("linux", 4 * guest.MIB)])
        for label, severity, words in ((b"LABELONE", "unknown", "no Linux root was found"),
                                       (b"LABELTWO", "warning", "No system that is known")):
            sector = bytearray(512)
            struct.pack_into("<8sQ4xI8s32s", sector, 0, label, 1, 32, b"LVM2 001", b"x" * 32)
            crc = zlib.crc32(bytes(sector[20:]), 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff
            struct.pack_into("<I", sector, 16, crc)
            with open(self.disk, "r+b") as disk:
                disk.seek(5 * guest.MIB + 512)
                disk.write(sector)
            self.assert_told(check(self.disk), "check-kernel", severity, words,
                             NO_OS if severity == "warning" else None)


class Command(Case):
    def setUp(self):
        super().setUp()
        self.build({"etc/fstab": guest.fstab(root="/dev/sda1")})

    def test_report(self):
        report = check(self.disk)
        self.assertEqual(set(report), {"image", "format", "virtual-size", "passed", "errors",
                                       "warnings", "unknown", "ok", "boot-mode", "rules",
                                       "findings"})
        self.assertEqual((report["image"], report["format"], report["virtual-size"]),
                         (self.disk, "raw", os.path.getsize(self.disk)))
        self.assertIs(report["passed"], True)
        self.assertEqual(report["boot-mode"], "legacy-bios")
        names = {rule["name"]: rule for rule in report["rules"]}
        self.assertLessEqual(set(RULES), set(names))
        self.assertNotIn("boot-test", names)
        for name in RULES:
            self.assertEqual(set(names[name]), {"name", "required", "severity"})
            self.assertEqual(names[name]["required"], name in REQUIRED, name)
            self.assertTrue(told(report, name), name)
        self.assertEqual(names["check-fstab"]["severity"], "warning")
        order = [names[finding["rule"]]["required"] for finding in report["findings"]]
        self.assertEqual(order, sorted(order, reverse=True))  # the required ones have room
        for finding in report["findings"]:
            self.assertLessEqual(set(finding), {"rule", "severity", "evidence", "cure", "code",
                                                "aws"})
        for key, severity in (("errors", "error"), ("warnings", "warning"),
                              ("unknown", "unknown"), ("ok", "ok")):
            self.assertEqual(report[key], sum(finding["severity"] == severity
                                              for finding in report["findings"]))

    def test_text(self):
        done = subprocess.run([TOOLKIT, "check", "--only", ",".join(RULES), self.disk], stdout=subprocess.PIPE, text=True,
                              check=True)
        self.assertIn("raw, %d bytes" % os.path.getsize(self.disk), done.stdout)
        self.assertIn("\nwarning check-fstab: /etc/fstab names /dev/sda1", done.stdout)
        self.assertIn("\n        cure: name it by UUID=", done.stdout)
        self.assertRegex(done.stdout, r"\npassed: \d+ rules, 0 errors, 1 warnings, ")

    def test_chosen_rules(self):
        def asked(*options, status=0):
            return {rule["name"] for rule in check(self.disk, *options, status=status)["rules"]}

        self.assertEqual(asked("--only", "check-gpt,check-fstab"), {"check-gpt", "check-fstab"})
        self.assertEqual(asked("--only", "check-gpt,check-fstab", "--skip", "check-gpt"),
                         {"check-fstab"})
        self.assertNotIn("check-fstab", asked("--skip", "check-fstab"))
        self.assertEqual(asked("--only", "check-gpt", "--require", "check-fstab"),
                         {"check-gpt", "check-fstab"})
        for options, words in ((("--only", "grow"), "no validator 'grow'"),
                               (("--skip", "nothing"), "no validator 'nothing'"),
                               (("--require", "check-gpt,"), "no validator ''"),
                               (("--only", "check-gpt", "--skip", "check-gpt"), "no rule is left"),
                               (("-f", "none"), "is not a format"),
                               (("--output", "xml"), "neither text nor json")):
            self.assertIn(words, check(self.disk, *options, status=2))
        self.assertIn("can only be read forwards", check("-", status=4))
        self.assertIn("cannot open", check(self.disk + ".none", status=3))

    def test_packed_images(self):
        """The disk in an OVA or a zip is looked at where it stands; what only comes forwards is not."""
        self.build()
        whole = check(self.disk, "--only", "check-kernel,check-gpt")
        raw = os.path.getsize(self.disk)
        with open(self.disk, "rb") as disk:
            data = disk.read()
        for name, packed_as, options in (
                ("ova", packed.ova(data, raw, name="d.raw"), ("-f", "raw.ova")),
                ("stored.zip", packed.zipped([packed.zip_member("d.raw", data, method=0)]), ())):
            with self.subTest(name):
                path = os.path.join(self.tmp, name)
                with open(path, "wb") as file:
                    file.write(packed_as)
                report = check(path, "--only", "check-kernel,check-gpt", *options)
                self.assertEqual(report["findings"], whole["findings"])
        path = os.path.join(self.tmp, "gz")
        with open(path, "wb") as file:
            file.write(gzip.compress(data, 1))
        for command in "check", "inspect":
            done = subprocess.run([TOOLKIT, command, path], check=False, stderr=subprocess.PIPE,
                                  stdout=subprocess.DEVNULL, text=True)
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertIn("take the image out of gz first ('imaging-toolkit convert')", done.stderr)

    def test_required(self):
        self.build({"etc/fstab": b"UUID=gone / ext4 defaults 0 1\n"})
        self.assertIs(check(self.disk)["passed"], True)
        report = check(self.disk, "--require", "check-fstab", status=4)
        self.assertEqual((report["passed"], report["errors"]), (False, 1))
        self.assertEqual(len(report["rules"]), len(check(self.disk)["rules"]))  # all were asked

    def test_formats(self):
        """A disk in an image is the disk."""
        plain = check(self.disk, "--only", ",".join(RULES))
        for form, options in (("vmdk", ("-o", "subformat=streamOptimized")), ("vpc", ("-o", "force_size"))):
            image = os.path.join(self.tmp, "image." + form)
            subprocess.run([shutil.which("qemu-img"), "convert", "-O", form, *options, self.disk,
                            image], check=True)
            report = check(image, "-f", form, "--only", ",".join(RULES))
            self.assertEqual(report["findings"], plain["findings"], form)
            self.assertEqual(check(image)["format"], report["format"])

    def test_kernel_on_the_efi_partition(self):
        self.build({"efi/EFI/Linux/a.efi": guest.pe()}, remove=["boot/vmlinuz-" + KERNEL])
        report = check(self.disk, "--only", "check-kernel", "--require", "check-kernel")
        self.assert_told(report, "check-kernel", "unknown", "but something on the EFI")

    def test_missing_library(self):
        """What one library alone can do is unknown without it; the rest is told."""
        if os.environ.get("SANITIZED"):
            self.skipTest("the sanitizer's libraries do not take another")
        rows = (("libarchive.so.13", {"check-drivers"}), ("libext2fs.so.2", None),
                ("libblkid.so.1", None))
        for library, unknown in rows:
            place = os.path.join(self.tmp, library + ".d")
            os.mkdir(place)
            subprocess.run(["cc", "-shared", "-o", os.path.join(place, library), "-x", "c",
                            os.devnull], check=True)
            rules = ",".join(RULES)
            report = check(self.disk, "--only", rules, "--require", rules,
                           env={"LD_LIBRARY_PATH": place})
            for rule in unknown or set(RULES) - REQUIRED:
                self.assert_told(report, rule, "unknown", library)
            for rule in "check-gpt", "check-partition-table", "boot-layout":
                self.assertEqual(told(report, rule, "ok"), told(report, rule))
            if unknown:
                self.assert_told(report, "check-kernel", "ok", KERNEL)


if __name__ == "__main__":
    if not shutil.which("qemu-img"):
        print("skipped: qemu-img is not installed")
        sys.exit(77)
    unittest.main(verbosity=1)
