#!/usr/bin/python3
"""The command inspect and the stage of that name: what they say of guests of several kinds, in
several formats, and what becomes unknown when a library or a program is missing."""
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import guest  # noqa: E402
import service  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
for program in "sfdisk", "mke2fs", "mkfs.xfs", "mkfs.vfat", "mcopy", "mkntfs", "ntfscp", \
        "grub-fstest", "qemu-img":
    if not shutil.which(program, path=guest.PATH):
        print("skipped: %s is not installed" % program)
        sys.exit(77)

UNKNOWN = "unknown"


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="inspect.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.disk = os.path.join(self.tmp, "disk.raw")
        self.scratch = os.path.join(self.tmp, "scratch")
        os.mkdir(self.scratch)

    def run_toolkit(self, *words, prefix=(), status=0, **options):
        done = subprocess.run([*prefix, TOOLKIT, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=120,
                              **options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(os.listdir(self.scratch), [], "something was left in scratch")
        return done.stdout if status == 0 else done.stderr

    def inspect(self, image=None, **options):
        return json.loads(self.run_toolkit("inspect", "--output", "json", "--scratch", self.scratch,
                                           image or self.disk, **options))

    def of(self, tree, **options):
        guest.build(self.disk, tree, **options)
        return self.inspect()

    def convert(self, form, *options):
        image = self.disk + "." + form
        guest.run("qemu-img", "convert", "-O", form, *options, self.disk, image)
        return image


class Kinds(Case):
    def test_debian(self):
        told = self.of(guest.debian(boot=True, esp=True), table="gpt", boot=True, esp=True)
        kernel = {"version": guest.KERNEL, "path": "/boot/vmlinuz-" + guest.KERNEL,
                  "initramfs": "/boot/initrd.img-" + guest.KERNEL}
        for key, value in {"os": "linux", "distribution": "debian", "version": "12",
                           "name": "Debian GNU/Linux 12 (bookworm)", "architecture": "x86_64",
                           "boot-mode": "uefi", "partition-table": "gpt", "kernels": [kernel],
                           "users-with-passwords": [], "users-without-password": [],
                           "cloud-init": {"installed": "yes", "enabled": "yes",
                                          "datasources": "Ec2, None"}, "notes": []}.items():
            self.assertEqual(told[key], value, key)
        systems = told["filesystems"]
        self.assertEqual([(s["partition"], s["type"], s["uuid"], s["state"], s["root"])
                          for s in systems],
                         [(1, "vfat", guest.ESP_ID, "clean", False),
                          (2, "ext4", guest.BOOT_UUID, "clean", False),
                          (3, "ext4", guest.ROOT_UUID, "clean", True)])
        self.assertEqual((systems[0]["offset"], systems[0]["size"]), (1 << 20, 8 << 20))
        text = self.run_toolkit("inspect", self.disk)
        for line in ("os: linux", "boot-mode: uefi", "users-with-passwords: none",
                     "kernel: %(version)s, %(path)s, %(initramfs)s" % kernel,
                     "cloud-init: installed yes, enabled yes, datasources Ec2, None",
                     "filesystem: partition 3, ext4, 24.0 MiB, UUID %s, clean" % guest.ROOT_UUID):
            self.assertIn(line + "\n", text)

    def test_redhat_by_xfs(self):
        told = self.of(guest.redhat(), fs="xfs", label="top")
        self.assertEqual((told["distribution"], told["version"], told["boot-mode"]),
                         ("rhel", "9.3", "legacy-bios"))
        self.assertEqual(told["name"], "Red Hat Enterprise Linux 9.3 (Plow)")
        self.assertEqual(told["filesystems"][0]["label"], "top")
        self.assertTrue(told["kernels"][0]["initramfs"].endswith(".el9.x86_64.img"))

    def test_windows(self):
        told = self.of(None, os="windows", label="System")
        self.assertEqual((told["os"], told["distribution"], told["version"], told["architecture"]),
                         ("windows", "windows", "10.0.20348", "x86_64"))
        self.assertEqual(told["name"], "Windows Server 2022 Datacenter")
        self.assertEqual(told["kernels"], UNKNOWN)
        self.assertEqual(told["users-with-passwords"], UNKNOWN)
        self.assertEqual(told["cloud-init"]["installed"], "no")

    def test_windows_by_its_registry(self):
        current = "Microsoft\\Windows NT\\CurrentVersion"
        tree = guest.windows()
        software = "Windows/System32/config/SOFTWARE"
        tree["Program Files/Amazon/EC2Launch/EC2Launch.exe"] = guest.pe()
        tree["Windows/System32/ntoskrnl.exe"] = guest.pe(0x14c)
        for values, version, name in (
                ({"ProductName": "Windows 10 Pro", "CurrentBuild": "22631", "CurrentVersion": "6.3",
                  "CurrentMajorVersionNumber": 10, "CurrentMinorVersionNumber": 0},
                 "10.0.22631", "Windows 11 Pro"),
                ({"ProductName": "Windows Server 2008 R2", "CurrentBuild": "7601",
                  "CurrentVersion": "6.1"}, "6.1.7601", "Windows Server 2008 R2"),
                ({"ProductName": 7, "CurrentVersion": b"x"}, UNKNOWN, UNKNOWN)):
            tree[software] = guest.hive({current: values})
            told = self.of(tree, os="windows", mib=20)
            self.assertEqual((told["version"], told["name"]), (version, name))
        self.assertEqual(told["architecture"], "i386")
        self.assertEqual(told["cloud-init"]["installed"], "yes")
        tree[software] = tree[software][:4096] + b"\0" * 4096
        told = self.of(tree, os="windows", mib=20)
        self.assertEqual(told["name"], UNKNOWN)
        self.assertIn("no hive of the registry", told["notes"][0])

    def test_every_format_says_the_same(self):
        for make in (dict(table="gpt", fs="ext4"), dict(os="redhat", fs="xfs"), dict(os="windows")):
            told = self.of(None, **make)
            for form, options in (("vmdk", ("-o", "subformat=streamOptimized")), ("qcow2", ()),
                                  ("vpc", ("-o", "force_size=on"))):
                image = self.convert(form, *options)
                again = self.inspect(image)
                self.assertEqual({**again, "image": 0, "format": 0, "filesystems": 0},
                                 {**told, "image": 0, "format": 0, "filesystems": 0})


class Linux(Case):
    def test_releases(self):
        for files, expected in (
                ({"etc/os-release": b"ID=arch\nNAME='Arch Linux'\n"}, ("arch", UNKNOWN, "Arch Linux")),
                ({"etc/os-release": b'ID="opensuse-leap"\nVERSION_ID="15.5"\nPRETTY_NAME="L 15"\n'},
                 ("opensuse-leap", "15.5", "L 15")),
                ({"etc/redhat-release": b"CentOS release 6.10 (Final)\n"},
                 ("centos", "6.10", "CentOS release 6.10 (Final)")),
                ({"etc/lsb-release": b"DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=8.04\n"
                                     b'DISTRIB_DESCRIPTION="Ubuntu 8.04"\n'},
                 ("ubuntu", "8.04", "Ubuntu 8.04")),
                ({"etc/debian_version": b"4.0\n"}, ("debian", "4.0", "Debian 4.0")),
                ({"etc/os-release": b"ID=\x1b[31mred\nPRETTY_NAME=\xff\xfe\n"},
                 ("?[31mred", UNKNOWN, "??")),
                ({"etc/os-release": b"NOTID=x\n# ID=y\n"}, (UNKNOWN, UNKNOWN, UNKNOWN)),
                ({}, (UNKNOWN, UNKNOWN, UNKNOWN))):
            told = self.of({"etc/fstab": b"", **files})
            self.assertEqual((told["distribution"], told["version"], told["name"]), expected)
            self.assertEqual((told["os"], told["architecture"]), ("linux", UNKNOWN))
            self.assertEqual(told["kernels"], UNKNOWN)  # there is no /boot

    def test_architectures(self):
        for machine, bits, name in (62, 64, "x86_64"), (3, 32, "i386"), (183, 64, "aarch64"), \
                (9999, 64, UNKNOWN):
            told = self.of({"etc/fstab": b"", "usr/bin/sh": guest.elf(machine, bits),
                            "bin": guest.Link("usr/bin")})
            self.assertEqual(told["architecture"], name)
        told = self.of({"etc/fstab": b"", "bin/sh": b"\x7fELF"})
        self.assertEqual(told["architecture"], UNKNOWN)

    def test_users(self):
        tree = guest.debian()
        secret = guest.HASH
        tree["etc/shadow"] = guest.File(
            "root:%s:1::::::\nold:abcdefghijklm:1::::::\nlocked:!%s:1::::::\nnone::1::::::\n"
            "star:*:1::::::\nshort\nbad:%s\n" % (secret, secret, secret), 0o600)
        tree["etc/passwd"] += ("ancient:%s:5:5::/:/bin/sh\n" % secret).encode()
        guest.build(self.disk, tree)
        told = self.inspect()
        self.assertEqual(told["users-with-passwords"], ["root", "old", "ancient"])
        self.assertEqual(told["users-without-password"], ["none"])
        for words in ("inspect", self.disk), ("inspect", "--output", "json", self.disk):
            self.assertNotIn("saltsalt", self.run_toolkit(*words))
        del tree["etc/shadow"]
        self.assertEqual(self.of(tree)["users-with-passwords"], UNKNOWN)

    def test_cloud_init(self):
        tree = guest.debian()
        config = "etc/cloud/cloud.cfg"
        for files, sources in (
                ({config: b"datasource_list: ['Ec2', \"None\"]\n"}, "Ec2, None"),
                ({config: b"a: b\ndatasource_list:\n  - NoCloud\n  - Ec2 # yes\nc: d\n"},
                 "NoCloud, Ec2"),
                ({config: b"a: b\n"}, UNKNOWN),
                ({config: b"datasource_list: [ A ]\n", "etc/cloud/cloud.cfg.d/90.cfg":
                  b"datasource_list: [ B ]\n", "etc/cloud/cloud.cfg.d/10.cfg":
                  b"datasource_list: [ C ]\n", "etc/cloud/cloud.cfg.d/99.txt":
                  b"datasource_list: [ D ]\n"}, "B")):
            self.assertEqual(self.of({**tree, **files})["cloud-init"],
                             {"installed": "yes", "enabled": "yes", "datasources": sources})
        tree["etc/cloud/cloud-init.disabled"] = b""
        self.assertEqual(self.of(tree)["cloud-init"]["enabled"], "no")
        del tree["usr/bin/cloud-init"]
        self.assertEqual(self.of(tree)["cloud-init"]["installed"], "no")

    def test_kernels(self):
        tree = {"etc/fstab": b"", "boot/vmlinuz-1": b"", "boot/vmlinuz-2": b"",
                "boot/initramfs-2.img": b"", "boot/vmlinuz": b"", "boot/initrd.img": b"",
                "boot/vmlinuz.old": b"", "boot/kernel-3": b"", "boot/initrd-3": b""}
        told = self.of(tree)["kernels"]
        self.assertEqual([(k["version"], k["path"][6:], k["initramfs"]) for k in told],
                         [("3", "kernel-3", "/boot/initrd-3"),
                          (UNKNOWN, "vmlinuz", "/boot/initrd.img"), ("1", "vmlinuz-1", None),
                          ("2", "vmlinuz-2", "/boot/initramfs-2.img")])


class Nothing(Case):
    def test_nothing_is_guessed(self):
        for data in b"", bytes(1 << 20), random.Random(1).randbytes(1 << 20):
            with open(self.disk, "wb") as disk:
                disk.write(data)
            told = self.inspect()
            for key in "os", "distribution", "version", "architecture", "boot-mode", "kernels", \
                    "users-with-passwords":
                self.assertEqual(told[key], UNKNOWN, key)
            self.assertEqual(told["filesystems"], [])
            self.assertEqual(len(told["notes"]), 1)

    def test_usage(self):
        self.assertIn("one image is needed", self.run_toolkit("inspect", status=2))
        self.assertIn("is not a format", self.run_toolkit("inspect", "-f", "x", "y", status=2))
        self.assertIn("'--bad'", self.run_toolkit("inspect", "--bad", status=2))
        self.assertIn("missing", self.run_toolkit("inspect", self.disk + "missing", status=3))
        guest.build(self.disk, {"etc/fstab": b""})
        self.assertIn("not", self.run_toolkit("inspect", "-f", "vmdk", self.disk, status=4))
        with open(self.disk, "rb") as disk:
            self.assertIn("pipe", self.run_toolkit("inspect", "-f", "raw", "-", status=4,
                                                   stdin=disk))

    def test_the_stage(self):
        guest.build(self.disk, guest.debian())
        job = {"source": self.disk, "format": "raw", "store": self.disk + ".out",
               "stages": [{"name": "inspect"}]}
        told = json.loads(self.run_toolkit("run", input=json.dumps(job)))["findings"]
        self.assertEqual({f["severity"] for f in told}, {"ok"})
        self.assertIn("distribution debian, version 12", told[0]["evidence"])


class Missing(Case):
    """Each library and program is hidden in turn: what it would tell is unknown, and nothing else."""

    def without_library(self, name):
        place = os.path.join(self.tmp, "lib")
        shutil.rmtree(place, True)
        os.mkdir(place)
        with open(os.path.join(place, name), "wb"):
            pass  # the loader looks here first, and does not look further
        return {**os.environ, "LD_LIBRARY_PATH": place}

    def test_libext2fs(self):
        guest.build(self.disk, guest.debian())
        env = self.without_library("libext2fs.so.2")
        told = self.inspect(env=env)
        self.assertEqual((told["os"], told["filesystems"][0]["type"], told["boot-mode"],
                          told["filesystems"][0]["state"]), (UNKNOWN, "ext4", "legacy-bios", "clean"))
        self.assertIn("libext2fs.so.2 is missing", told["notes"][0])
        guest.build(self.disk, guest.redhat(), fs="xfs")
        self.assertEqual(self.inspect(env=env)["distribution"], "rhel")

    def test_libhivex(self):
        guest.build(self.disk, os="windows")
        told = self.inspect(env=self.without_library("libhivex.so.0"))
        self.assertEqual((told["os"], told["name"], told["architecture"]),
                         ("windows", UNKNOWN, "x86_64"))
        self.assertIn("libhivex.so.0 is missing", told["notes"][0])

    def test_libblkid(self):
        guest.build(self.disk, guest.debian())
        self.assertIn("libblkid.so.1 is missing", self.run_toolkit(
            "inspect", self.disk, status=7, env=self.without_library("libblkid.so.1")))

    def instead_of_grub_fstest(self, program):
        """A prefix of commands, for which the path `program` is grub-fstest."""
        found = shutil.which("grub-fstest", path=guest.PATH)
        hide = ("unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c",
                'mount --bind "$0" "$1" && shift && exec "$@"', program, found)
        probe = subprocess.run([*hide, "true"], stderr=subprocess.DEVNULL, check=False)
        if probe.returncode:
            self.skipTest("private mounts are not allowed here")
        return hide

    def test_grub_fstest_without_end(self):
        """Damage can lead it round for ever: that is found out once, not at each question."""
        endless = os.path.join(self.tmp, "endless")
        with open(endless, "w", encoding="utf-8") as out:
            out.write("#!/bin/sh\nwhile :; do :; done\n")
        os.chmod(endless, 0o755)
        hide = self.instead_of_grub_fstest(endless)
        guest.build(self.disk, guest.redhat(), fs="xfs", boot=True, esp=True, table="gpt")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        told = self.inspect(prefix=hide)
        self.assertLess(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, 20)
        self.assertEqual(told["os"], "unknown")
        self.assertIn("grub-fstest", told["notes"][0])

    def test_grub_fstest(self):
        hide = self.instead_of_grub_fstest("/dev/null")
        guest.build(self.disk, guest.redhat(), fs="xfs")
        told = self.inspect(prefix=hide)
        self.assertEqual((told["os"], told["filesystems"][0]["type"]), (UNKNOWN, "xfs"))
        self.assertIn("grub-fstest", told["notes"][0])
        guest.build(self.disk, guest.debian())
        self.assertEqual(self.inspect(prefix=hide)["distribution"], "debian")


if __name__ == "__main__":
    unittest.main(verbosity=2)
