#!/usr/bin/python3
"""guest - small disks with the tree of an operating system on them, for tests; no root needed.

    guest.py OUT [KEY=VALUE]...     table=gpt fs=xfs boot=yes os=redhat ...; keys are build()'s

A tree is a dict of path -> bytes, File (bytes with a mode), Link, or None for an empty directory;
debian(), redhat() and windows() give one that a test changes before build() writes the disk:

    tree = guest.debian()
    del tree["etc/fstab"]
    guest.build("disk.raw", tree, table="gpt", fs="ext4")

File systems are made by mke2fs, mkfs.xfs, mkfs.btrfs, mkfs.vfat with mtools, and mkntfs with ntfscp;
a missing program ends the test with status 77.  Contents that programs would run are stand-ins: they have the
right first bytes and nothing else.
"""
import gzip
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import bootable

MIB = 1 << 20
SECTOR = 512
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
KERNEL = "6.1.0-18-amd64"
ROOT_UUID = "11111111-2222-4333-8444-555555555555"
BOOT_UUID = "66666666-7777-4888-8999-aaaaaaaaaaaa"
ESP_ID = "ABCD-1234"
DISK_ID = 0x00C0FFEE
DISK_GUID = "A0000000-0000-4000-8000-000000000000"
HASH = "$6$saltsaltsalt$" + "x" * 86  # looks like a password's hash, and is none
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " user@example.net\n"
DRIVERS = ("virtio/virtio", "virtio/virtio_ring", "virtio/virtio_pci", "block/virtio_blk",
           "net/virtio_net", "scsi/virtio_scsi", "nvme/host/nvme", "nvme/host/nvme-core",
           "net/ethernet/amazon/ena/ena")
GPT_TYPES = {"linux": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
             "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
             "bios": "21686148-6449-6E6F-744E-656564454649",
             "swap": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
             "windows": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"}
MBR_TYPES = {"linux": "83", "esp": "ef", "swap": "82", "windows": "7"}


class Link(str):
    """The target of a symbolic link."""


class File(bytes):
    """Contents with permission bits of their own."""

    def __new__(cls, data, mode=0o644):
        self = super().__new__(cls, data.encode() if isinstance(data, str) else data)
        self.mode = mode
        return self


def run(*command, **options):
    path = shutil.which(command[0], path=PATH)
    if path is None:
        print("skipped: %s is not installed" % command[0])
        sys.exit(77)
    done = subprocess.run([path, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, **options)
    if done.returncode:
        raise RuntimeError("%s: status %d: %s" % (command, done.returncode,
                                                  done.stdout.decode(errors="replace")))
    return done.stdout


# ---- contents

def elf(machine=62, bits=64):
    """The first bytes of a program: 62 x86_64, 3 i386, 183 aarch64."""
    head = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1, 0]) + bytes(8)
    return File(head + struct.pack("<HHI", 3, machine, 1) + bytes(128), 0o755)


def pe(machine=0x8664):
    """The first bytes of a Windows program: 0x8664 x86_64, 0x14c i386, 0xaa64 ARM."""
    return (b"MZ" + bytes(58) + struct.pack("<I", 128)).ljust(128, b"\0") + b"PE\0\0" + \
        struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 240, 0x22) + bytes(256)


def bzimage(version=KERNEL):
    """A Linux kernel as far as its header ("The Linux/x86 Boot Protocol") tells."""
    image = bytearray(8192)
    text = ("%s (debian-kernel@lists.debian.org) #1 SMP Debian" % version).encode()
    image[0:2] = b"MZ"
    struct.pack_into("<B", image, 0x1f1, 4)
    image[0x1fe:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<HIHH", image, 0x206, 0x20f, 0, 0x1000, 0x600)  # version … kernel_version
    image[0x236] = 1  # it has 64 bits
    image[0x800:0x800 + len(text)] = text
    return bytes(image)


def cpio(entries):
    """entries as a "newc" archive; value None: a directory."""
    out, made = bytearray(), set()

    def add(name, mode, data):
        out.extend(bootable.cpio_entry(name, mode, data))
        made.add(name)

    for name, data in entries.items():
        parts = name.split("/")
        for i in range(1, len(parts)):
            if "/".join(parts[:i]) not in made:
                add("/".join(parts[:i]), 0o40755, b"")
        if isinstance(data, Link):
            add(name, 0o120777, data.encode())
        else:
            add(name, 0o40755 if data is None else 0o100755, data or b"")
    add("TRAILER!!!", 0, b"")
    return bytes(out) + bytes(-len(out) % 512)


def initrd(drivers=DRIVERS, version=KERNEL, compress=gzip.compress, early=False, files=None):
    """An initramfs with these modules; early: behind an uncompressed archive with microcode."""
    top = "usr/lib/modules/%s/" % version
    entries = {"init": b"#!/bin/sh\n", "conf/arch.conf": b"DPKG_ARCH=amd64\n",
               "lib": Link("usr/lib"), top + "modules.builtin": b"kernel/fs/ext4/ext4.ko\n",
               top + "modules.dep": b""}
    for driver in drivers:
        entries[top + "kernel/drivers/%s.ko" % driver] = b"\x7fELF module"
    entries.update(files or {})
    first = cpio({"kernel/x86/microcode/AuthenticAMD.bin": b"microcode"}) if early else b""
    return first + compress(cpio(entries))


def fstab(fs="ext4", boot=False, esp=False, root="UUID=" + ROOT_UUID, extra=""):
    text = "# <file system> <mount point> <type> <options> <dump> <pass>\n"
    text += "%s / %s errors=remount-ro 0 1\n" % (root, fs)
    if boot:
        text += "UUID=%s /boot ext4 defaults 0 2\n" % BOOT_UUID
    if esp:
        text += "UUID=%s /boot/efi vfat umask=0077 0 1\n" % ESP_ID
    return (text + extra).encode()


def grub_cfg(version=KERNEL, root="UUID=" + ROOT_UUID, boot=False):
    prefix = "" if boot else "/boot"
    return ("set timeout=5\nmenuentry 'Debian GNU/Linux' {\n\tinsmod ext2\n"
            "\tsearch --no-floppy --fs-uuid --set=root %s\n"
            "\tlinux\t%s/vmlinuz-%s root=%s ro quiet\n\tinitrd\t%s/initrd.img-%s\n}\n"
            % (BOOT_UUID if boot else ROOT_UUID, prefix, version, root, prefix,
               version)).encode()


def common(fs, boot, esp, version):
    """What a Debian and a Red Hat have in the same places."""
    tree = {
        "etc/fstab": fstab(fs, boot, esp), "etc/hostname": b"guest\n",
        "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n"
                      b"daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
                      b"admin:x:1000:1000::/home/admin:/bin/bash\n",
        "etc/shadow": File("root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n"
                           "admin:!:19000:0:99999:7:::\n", 0o600),
        "etc/ssh/sshd_config": b"PermitRootLogin prohibit-password\nPasswordAuthentication no\n",
        "etc/cloud/cloud.cfg": b"users:\n - default\ndisable_root: true\n"
                               b"datasource_list: [ Ec2, None ]\n",
        "usr/bin/cloud-init": File("#!/usr/bin/python3\n", 0o755),
        "root/.ssh/authorized_keys": File(KEY, 0o600), "home/admin": None,
        "bin": Link("usr/bin"), "sbin": Link("usr/sbin"), "lib": Link("usr/lib"),
        "lib64": Link("usr/lib64"), "usr/lib64": None, "usr/bin/bash": elf(),
        "usr/lib/systemd/systemd": elf(), "usr/sbin/init": Link("/lib/systemd/systemd"),
        "usr/sbin/sshd": elf(), "boot/config-" + version: b"CONFIG_VIRTIO_BLK=m\n",
        "boot/System.map-" + version: b"ffffffff81000000 T _text\n",
        "boot/vmlinuz-" + version: bzimage(version),
        "usr/lib/modules/%s/modules.dep" % version: b"",
        "usr/lib/modules/%s/modules.builtin" % version: b"kernel/fs/ext4/ext4.ko\n",
        "var/log/wtmp": b"", "tmp": None, "proc": None, "sys": None, "dev": None, "run": None,
    }
    for driver in DRIVERS:
        tree["usr/lib/modules/%s/kernel/drivers/%s.ko" % (version, driver)] = b"\x7fELF module"
    if esp:
        tree["boot/efi/EFI/BOOT/BOOTX64.EFI"] = pe()
    return tree


def debian(fs="ext4", boot=False, esp=False, version=KERNEL):
    """A Debian 12 as its installer leaves it, cloud-init added."""
    tree = common(fs, boot, esp, version)
    tree.update({
        "etc/os-release": Link("../usr/lib/os-release"), "etc/debian_version": b"12.5\n",
        "usr/lib/os-release": b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian '
                              b'GNU/Linux"\nVERSION_ID="12"\nVERSION="12 (bookworm)"\n'
                              b'VERSION_CODENAME=bookworm\nID=debian\n',
        "boot/initrd.img-" + version: initrd(version=version),
        "boot/grub/grub.cfg": grub_cfg(version, boot=boot),
        "etc/default/grub": b'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0"\n',
        "vmlinuz": Link("boot/vmlinuz-" + version),
        "initrd.img": Link("boot/initrd.img-" + version),
        "etc/network/interfaces": b"auto lo\niface lo inet loopback\nauto eth0\n"
                                  b"iface eth0 inet dhcp\n",
        "usr/bin/dash": elf(), "usr/bin/sh": Link("dash"),
    })
    if esp:
        tree["boot/efi/EFI/debian/grubx64.efi"] = pe()
        tree["boot/efi/EFI/debian/grub.cfg"] = b"search.fs_uuid %s root\n" % ROOT_UUID.encode()
    return tree


def redhat(fs="xfs", boot=False, esp=False, version="5.14.0-362.el9.x86_64"):
    """A Red Hat 9: entries of the Boot Loader Specification, NetworkManager, dracut."""
    tree = common(fs, boot, esp, version)
    prefix = "" if boot else "/boot"
    entry = "0123456789abcdef0123456789abcdef-" + version
    tree.update({
        "etc/redhat-release": b"Red Hat Enterprise Linux release 9.3 (Plow)\n",
        "etc/os-release": b'NAME="Red Hat Enterprise Linux"\nVERSION="9.3 (Plow)"\nID="rhel"\n'
                          b'ID_LIKE="fedora"\nVERSION_ID="9.3"\nPRETTY_NAME="Red Hat Enterprise '
                          b'Linux 9.3 (Plow)"\n',
        "boot/initramfs-%s.img" % version: initrd(version=version, early=True),
        "boot/grub2/grub.cfg": b"insmod blscfg\nblscfg\n",
        "boot/grub2/grubenv": (b"# GRUB Environment Block\nsaved_entry=" + entry.encode() +
                               b"\n").ljust(1024, b"#"),
        "boot/loader/entries/%s.conf" % entry: (
            "title Red Hat Enterprise Linux (%s)\nversion %s\nlinux %s/vmlinuz-%s\n"
            "initrd %s/initramfs-%s.img\noptions root=UUID=%s ro\n"
            % (version, version, prefix, version, prefix, version, ROOT_UUID)).encode(),
        "etc/NetworkManager/system-connections/eth0.nmconnection":
            File("[connection]\nid=eth0\ntype=ethernet\n[ipv4]\nmethod=auto\n", 0o600),
        "etc/selinux/config": b"SELINUX=enforcing\n", "usr/bin/sh": Link("bash"),
    })
    return tree


# ---- Windows

def blank_hive():
    """A registry hive with nothing but its root, as hivex wants it to begin with."""
    hive = bytearray(8192)
    struct.pack_into("<4sIIQIIIIIII", hive, 0, b"regf", 1, 1, 0, 1, 3, 0, 1, 0x20, 0x1000, 1)
    total = 0
    for i in range(0, 0x1fc, 4):
        total ^= struct.unpack_from("<I", hive, i)[0]
    struct.pack_into("<I", hive, 0x1fc, total)
    struct.pack_into("<4sII", hive, 0x1000, b"hbin", 0, 0x1000)
    none = 0xffffffff
    struct.pack_into("<i2sHQIIIIIIIIIIIIIIIHH4s", hive, 0x1020, -0x60, b"nk", 0x2c, 0, 0, 0, 0, 0,
                     none, none, 0, none, 0x80, none, 0, 0, 0, 0, 0, 4, 0, b"ROOT")
    struct.pack_into("<i2sHIIII", hive, 0x1080, -0x30, b"sk", 0, 0x80, 0x80, 1, 0x14)
    struct.pack_into("<i", hive, 0x10b0, 0x1000 - 0xb0)  # free
    return bytes(hive)


def hive(keys):
    """A registry hive: keys is path -> {name: str, int or bytes}, paths with backslashes."""
    try:
        import hivex  # only Debian's own python has it
    except ImportError:
        print("skipped: python3-hivex is not installed")
        sys.exit(77)
    with tempfile.NamedTemporaryFile(prefix="guest.") as file:
        file.write(blank_hive())
        file.flush()
        out = hivex.Hivex(file.name, write=True)
        for path, values in keys.items():
            node = out.root()
            for name in path.split("\\"):
                node = out.node_get_child(node, name) or out.node_add_child(node, name)
            for name, value in values.items():
                kind, data = {str: lambda v: (1, (v + "\0").encode("utf-16-le")),
                              int: lambda v: (4, struct.pack("<I", v)),
                              bytes: lambda v: (3, v)}[type(value)](value)
                out.node_set_value(node, {"key": name, "t": kind, "value": data})
        out.commit(None)
        with open(file.name, "rb") as made:
            return made.read()


def windows_software(name="Windows Server 2022 Datacenter", build="20348"):
    """Of the hive SOFTWARE."""
    return {"Microsoft\\Windows NT\\CurrentVersion": {
        "ProductName": name, "CurrentVersion": "6.3", "CurrentBuild": build,
        "CurrentMajorVersionNumber": 10, "CurrentMinorVersionNumber": 0,
        "EditionID": "ServerDatacenter", "InstallationType": "Server"}}


def windows_system(drivers=("viostor", "vioscsi", "netkvm", "stornvme")):
    """Of the hive SYSTEM; drivers are started at boot."""
    top = "ControlSet001\\Services\\"
    keys = {"Select": {"Current": 1, "Default": 1, "Failed": 0, "LastKnownGood": 1}}
    for driver in drivers:
        keys[top + driver] = {"Start": 3 if driver == "netkvm" else 0, "Type": 1, "ErrorControl": 1,
                              "ImagePath": "System32\\drivers\\%s.sys" % driver,
                              "Group": "NDIS" if driver == "netkvm" else "SCSI miniport"}
    keys[top + "TermService"] = {"Start": 2, "Type": 0x20}
    return keys


def windows(drivers=("viostor", "vioscsi", "netkvm", "stornvme"), esp=False):
    """A Windows Server 2022, as far as its registry tells."""
    system32 = "Windows/System32/"
    tree = {"bootmgr": b"bootmgr", "Boot/BCD": hive({"Objects": {}, "Description": {"KeyName": "BCD"}}),
            system32 + "ntoskrnl.exe": pe(), system32 + "winload.exe": pe(),
            system32 + "winload.efi": pe(),
            system32 + "config/SYSTEM": hive(windows_system(drivers)),
            system32 + "config/SOFTWARE": hive(windows_software()),
            "Windows/explorer.exe": pe(), "Program Files/Common Files": None,
            "Users/Administrator": None}
    for driver in drivers:
        tree[system32 + "drivers/%s.sys" % driver] = pe()
    if esp:
        tree["boot/efi/EFI/Microsoft/Boot/bootmgfw.efi"] = pe()
        tree["boot/efi/EFI/BOOT/BOOTX64.EFI"] = pe()
        tree["boot/efi/EFI/Microsoft/Boot/BCD"] = tree.pop("Boot/BCD")
        del tree["bootmgr"]
    return tree


class Ntfs:
    """ntfscp makes files, and only files.  A directory is made of an empty one: its record's data
    become an empty index ("$INDEX_ROOT"), and the flag that says so is set wherever its name is.  Names are Windows' own then,
    whose case does not count, and not POSIX's."""

    RECORD = 1024
    INDEX = 0x10000000  # in $FILE_NAME

    def __init__(self, path, label):
        self.path = path
        self.empty = path + ".empty"
        with open(self.empty, "wb"):
            pass
        run("mkntfs", "-F", "-Q", "-q", "-s", "512", "-c", "4096", "-p", "2048", "-H", "255", "-S",
            "63", *(("-L", label) if label else ()), path)
        self.made = {""}

    def add(self, name, content):
        parent = os.path.dirname(name)
        if parent not in self.made:
            self.add(parent, None)
        if content is None and name in self.made:
            return
        source = self.empty if content is None else self.path + ".file"
        if content is not None:
            with open(source, "wb") as out:
                out.write(content)
        run("ntfscp", "-q", self.path, source, name)
        self.made.add(name)
        if content is None:
            self.change(self.turn_into_directory, name.rsplit("/", 1)[-1])

    def blocks(self, data):
        """Records and index blocks: NTFS puts a check in the place of the last bytes of each of
        their sectors."""
        for magic, size in (b"FILE", self.RECORD), (b"INDX", 4096):
            at = -size
            while (at := data.find(magic, at + size)) >= 0:
                if at % size == 0:
                    checks = at + struct.unpack_from("<H", data, at + 4)[0]
                    yield from ((at + i * SECTOR + 510, checks, checks + 2 + i * 2)
                                for i in range(size // SECTOR))
                at -= at % size

    def change(self, function, *arguments):
        with open(self.path, "r+b") as file:
            data = bytearray(file.read())
            places = list(self.blocks(data))
            for end, _, kept in places:
                data[end:end + 2] = data[kept:kept + 2]
            function(data, *arguments)
            for end, check, kept in places:
                data[kept:kept + 2] = data[end:end + 2]
                data[end:end + 2] = data[check:check + 2]
            file.seek(0)
            file.write(data)

    def names(self, data, name):
        """Where $FILE_NAME attributes of this name begin, in records and in indices."""
        text = name.encode("utf-16-le")
        at = data.find(text)
        while at >= 0:
            if data[at - 2] == len(name) and data[at - 1] <= 3:
                yield at - 0x42
            at = data.find(text, at + 1)

    def turn_into_directory(self, data, name):
        for place in self.names(data, name):
            at = place - place % self.RECORD
            if data[at:at + 4] == b"FILE" and data[at + 0x16] & 3 == 1:  # in use, no directory
                record = data[at:at + self.RECORD]
                if self.make_index(record):
                    data[at:at + self.RECORD] = record
            flags = struct.unpack_from("<I", data, place + 0x38)[0]
            struct.pack_into("<I", data, place + 0x38, flags | self.INDEX)

    def finish(self, data):
        for name in {part for path in self.made for part in path.split("/") if part}:
            for at in self.names(data, name):
                data[at + 0x41] = 1

    def make_index(self, record):
        """Of a record whose data are empty."""
        at = struct.unpack_from("<H", record, 0x14)[0]
        while struct.unpack_from("<I", record, at)[0] != 0x80:
            at += struct.unpack_from("<I", record, at + 4)[0]
        if record[at + 8] or struct.unpack_from("<I", record, at + 16)[0]:
            return False
        index = struct.pack("<IIBBHHHIHH", 0x90, 0x50, 0, 4, 0x18, 0, record[at + 14], 0x30, 0x20, 0)
        index += "$I30".encode("utf-16-le") + struct.pack("<IIIBxxx", 0x30, 1, 4096, 1)
        index += struct.pack("<IIIBxxx", 0x10, 0x20, 0x20, 0) + struct.pack("<QHHHH", 0, 16, 0, 2, 0)
        end = at + len(index)
        record[at:end + 8] = index + struct.pack("<II", 0xffffffff, 0)
        record[0x16] |= 2
        struct.pack_into("<I", record, 0x18, end + 8)
        return True


def make_ntfs(path, tree, label):
    """NTFS, too, is given no links."""
    ntfs = Ntfs(path, label)
    for name, content in tree.items():
        if not isinstance(content, Link):
            ntfs.add(name, content)
    ntfs.change(ntfs.finish)
    for more in ".empty", ".file":
        if os.path.exists(path + more):
            os.unlink(path + more)


# ---- file systems, each in a file of its own

def stage_tree(tree, top):
    """The tree as files below directory `top`; directories are given last, to stay writable."""
    os.makedirs(top, exist_ok=True)
    for path, content in tree.items():
        place = os.path.join(top, path)
        os.makedirs(place if content is None else os.path.dirname(place), exist_ok=True)
        if isinstance(content, Link):
            os.symlink(content, place)
        elif content is not None:
            with open(place, "wb") as out:
                out.write(content)
            os.chmod(place, getattr(content, "mode", 0o644))


def make_ext(path, fs, tree, uuid, label, tmp, options=()):
    top = os.path.join(tmp, "tree")
    stage_tree(tree, top)
    run("mke2fs", "-q", "-F", "-t", fs, "-U", uuid, *(("-L", label) if label else ()), "-d", top,
        "-E", "root_owner=0:0,lazy_itable_init=0", *options, path)


def xfs_prototype(tree, tmp):
    """The file that mkfs.xfs -p reads; what is in `tmp` holds the contents."""
    nested = {}
    for path, content in tree.items():
        here = nested
        *parents, name = path.split("/")
        for parent in parents:
            here = here.setdefault(parent, {})
        if content is None:
            here.setdefault(name, {})
        else:
            here[name] = content
    lines = ["/none", "0 0"]

    def add(name, content, depth):
        if isinstance(content, dict):
            lines.append("%s d--755 0 0" % name)
            for child in content:
                add(child, content[child], depth + 1)
            lines.append("$")
        elif isinstance(content, Link):
            lines.append("%s l--777 0 0 %s" % (name, content))
        else:
            place = os.path.join(tmp, "x%d" % len(lines))
            with open(place, "wb") as out:
                out.write(content)
            lines.append("%s ---%03o 0 0 %s" % (name, getattr(content, "mode", 0o644), place))

    add("", nested, 0)
    return "\n".join(lines) + "\n"


def make_xfs(path, tree, uuid, label, tmp):
    prototype = os.path.join(tmp, "prototype")
    with open(prototype, "w", encoding="utf-8") as out:
        out.write(xfs_prototype(tree, tmp))
    run("mkfs.xfs", "--unsupported", "-q", "-f", "-m", "uuid=" + uuid,
        *(("-L", label) if label else ()), "-p", prototype, path)


def make_vfat(path, tree, serial, label, tmp):
    """FAT knows no links: they are left out."""
    top = os.path.join(tmp, "tree")
    stage_tree({name: content for name, content in tree.items() if not isinstance(content, Link)},
               top)
    run("mkfs.vfat", "-i", serial.replace("-", ""), *(("-n", label) if label else ()), path)
    names = sorted(os.listdir(top))
    if names:
        run("mcopy", "-s", "-Q", "-i", path, *(os.path.join(top, name) for name in names), "::",
            env={**os.environ, "PATH": PATH, "MTOOLS_SKIP_CHECK": "1"})


def make_fs(path, size, fs, tree, uuid=ROOT_UUID, label=None, options=()):
    """A file system of `size` bytes with the tree, as file `path`; fs as blkid calls it, swap, or None:
    zeros."""
    with open(path, "wb") as out:
        out.truncate(size)
    with tempfile.TemporaryDirectory(prefix="guest.") as tmp:
        if fs in ("ext2", "ext3", "ext4"):
            make_ext(path, fs, tree, uuid, label, tmp, options)
        elif fs == "xfs":
            make_xfs(path, tree, uuid, label, tmp)
        elif fs == "vfat":
            make_vfat(path, tree, uuid if len(uuid) == 9 else ESP_ID, label, tmp)
        elif fs == "btrfs":
            top = os.path.join(tmp, "tree")
            stage_tree(tree, top)
            run("mkfs.btrfs", "-q", "-f", "-M", "-U", uuid, *(("-L", label) if label else ()),
                "-r", top, path)
        elif fs == "ntfs":
            make_ntfs(path, tree, label)
        elif fs == "swap":
            run("mkswap", "-U", uuid, *(("-L", label) if label else ()), path)
        elif fs is not None:
            raise ValueError("nobody makes " + fs)
    return path


# ---- disks

def pour(source, disk, offset):
    """Copy what is not zero."""
    with open(source, "rb") as file:
        while chunk := file.read(65536):
            if chunk.strip(b"\0"):
                disk.seek(offset + file.tell() - len(chunk))
                disk.write(chunk)


class Part:
    """A partition to be: type of GPT_TYPES, and what is in it."""

    def __init__(self, kind, size, fs=None, tree=None, uuid=ROOT_UUID, label=None, active=False,
                 options=()):
        self.kind, self.size, self.fs, self.tree = kind, size, fs, tree or {}
        self.uuid, self.label, self.active, self.options = uuid, label, active, options


def assemble(out, parts, table="mbr", code=True, logical=False):
    """A disk of these partitions, one behind the other from 1 MiB on.  logical: all but the first
    are in an extended partition.  code: the MBR has a stand-in for a boot loader.  Gives the byte
    offsets of the partitions."""
    offsets, at = [], MIB
    for i, part in enumerate(parts):
        at += MIB if logical and i >= 1 else 0  # the extended boot record
        offsets.append(at)
        at += part.size
    with open(out, "wb") as disk:
        disk.truncate(at + MIB)
    lines = ["label: " + ("gpt" if table == "gpt" else "dos")]
    lines.append("label-id: " + (DISK_GUID if table == "gpt" else "0x%08x" % DISK_ID))
    for i, (part, offset) in enumerate(zip(parts, offsets)):
        if logical and i == 1:
            lines.append("start=%d, size=%d, type=5" % ((offset - MIB) // SECTOR,
                                                        (at - offset + MIB) // SECTOR))
        line = "start=%d, size=%d, type=%s" % (
            offset // SECTOR, part.size // SECTOR,
            GPT_TYPES[part.kind] if table == "gpt" else MBR_TYPES[part.kind])
        if table == "gpt":
            line += ', uuid=%s, name="%s"' % (DISK_GUID[:-1] + "%x" % (i + 1), part.kind)
        elif part.active:
            line += ", bootable"
        if logical and i == 0:
            line = "1 : " + line
        elif logical:
            line = "%d : %s" % (i + 4, line)
        lines.append(line)
    if logical and len(parts) > 1:  # sfdisk takes numbers for all or for none
        lines[3] = "2 : " + lines[3]
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", out, input="\n".join(lines).encode())
    with tempfile.TemporaryDirectory(prefix="guest.") as tmp, open(out, "r+b") as disk:
        if code:
            disk.write(b"\xeb\x63\x90" + b"GRUB ".rjust(384 - 3) + b"stand-in")
        for part, offset in zip(parts, offsets):
            if part.fs:
                pour(make_fs(os.path.join(tmp, "fs"), part.size, part.fs, part.tree, part.uuid,
                             part.label, part.options), disk, offset)
    return offsets


def split(tree, top):
    """What is below directory `top` and what is not: two trees."""
    below = {path[len(top) + 1:]: content for path, content in tree.items()
             if path.startswith(top + "/")}
    rest = {path: content for path, content in tree.items() if not path.startswith(top + "/")}
    return below, {**rest, top: None}


def sized(fs, mib):
    return (mib or {"xfs": 40, "btrfs": 40}.get(fs, 24)) * MIB


def build(out, tree=None, table="mbr", fs="ext4", boot=False, esp=False, bios=False, swap=False,
          code=True, logical=False, mib=None, os="debian", label=None, options=()):
    """A disk at `out` with the tree (None: of os=debian, redhat, windows); table none, mbr or gpt.
    boot, esp, bios, swap: partitions of their own, before the root's, whose size is `mib`; options
    are mke2fs's for the root.  Gives the byte offsets of the partitions."""
    if os == "windows":
        return build_windows(out, tree, table, esp, code, mib or 12, label)
    if tree is None:
        tree = {"debian": debian, "redhat": redhat}[os](fs=fs, boot=boot, esp=esp)
    parts = []
    if bios:
        parts.append(Part("bios", MIB))
    if esp:
        below, tree = split(tree, "boot/efi")
        parts.append(Part("esp", 8 * MIB, "vfat", below, ESP_ID))
    if boot:
        below, tree = split(tree, "boot")
        parts.append(Part("linux", 16 * MIB, "ext4", below, BOOT_UUID, active=True))
    if swap:
        parts.append(Part("swap", MIB, "swap", uuid="99999999-0000-4000-8000-000000000000"))
    parts.append(Part("linux", sized(fs, mib), fs, tree, label=label, active=not boot,
                      options=options))
    if table == "none":
        make_fs(out, parts[-1].size, fs, tree, label=label, options=options)
        return [0]
    return assemble(out, parts, table, code and (table == "mbr" or bios), logical)


def build_windows(out, tree, table, esp, code, mib, label):
    tree = windows(esp=esp) if tree is None else tree
    parts = []
    if esp:
        below, tree = split(tree, "boot/efi")
        del tree["boot/efi"]
        parts.append(Part("esp", 8 * MIB, "vfat", below, ESP_ID))
    parts.append(Part("windows", mib * MIB, "ntfs", tree, label=label, active=True))
    if table == "none":
        make_fs(out, mib * MIB, "ntfs", tree, label=label)
        return [0]
    return assemble(out, parts, table, code and table == "mbr")


def main():
    if len(sys.argv) < 2 or "=" in sys.argv[1]:
        sys.exit(__doc__)
    options = dict(word.split("=", 1) for word in sys.argv[2:])
    for key, value in options.items():
        if key not in ("table", "fs", "os", "label"):
            options[key] = int(value) if value.isdigit() else value == "yes"
    build(sys.argv[1], **options)


if __name__ == "__main__":
    main()
