"""bootable - a small Linux that boots: kernel, initramfs and a root file system with a marker in it.

The kernel is whatever linux-image-cloud-amd64 has installed.  The initramfs (busybox and the few
modules for virtio disks) mounts what root=UUID=… on the kernel's command line names, by its UUID
and nothing else, reads the marker file of it, says what it read on the console and switches the
machine off.  So who sees "MARKER <text>" on the serial port has seen the boot loader find kernel
and initramfs, and those find and read the root.

    kernel = bootable.kernel()               # skips the test (77) when there is none
    bootable.make_initrd(path)
    bootable.make_root(path, mib, marker="…", files={"boot/vmlinuz-1": kernel, …}) -> its UUID
    bootable.boot(disk, firmware="bios" or "uefi", until="MARKER …") -> what was on the console

Machines are emulated by TCG: where /dev/kvm exists it may still not work.
"""
import glob
import gzip
import os
import re
import selectors
import shutil
import stat
import subprocess
import sys
import time
import uuid

MARKER = "MARKER "
MIB = 1 << 20
MODULES = "virtio_pci", "virtio_blk", "xfs", "nls_cp437", "nls_ascii", "vfat"
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"

# The kernel runs this as /init.
INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "INIT initramfs"
for module in @MODULES@; do insmod /modules/$module; done
read -r line </proc/cmdline
root=
for word in $line; do
    case $word in root=*) root=${word#root=} ;; esac
done
echo "ROOT $root"
tries=0
device=
while [ -z "$device" ] && [ $tries -lt 100 ]; do
    case $root in
    UUID=*) device=$(findfs "$root" 2>/dev/null) ;;
    esac
    tries=$((tries + 1))
    [ -n "$device" ] || usleep 100000
done
if [ -n "$device" ] && mount -o ro "$device" /root; then
    echo "DEVICE $device"
    echo "MARKER $(cat /root/marker)"
else
    echo "NO ROOT"
fi
sync
poweroff -f
"""


def skip(why):
    print("skipped: %s" % why)
    sys.exit(77)


def not_sanitized(program):
    """Skips what is minutes of an emulated processor, and the same code as in faster tests."""
    with open(program, "rb") as file:
        if b"__asan_init" in file.read():
            skip("built with AddressSanitizer")


def need(*programs):
    """Skip the test when a program is missing."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in programs:
        if not shutil.which(program):
            skip("%s is not installed" % program)


def kernel():
    """The path of a kernel that has its modules and can be read."""
    for path in sorted(glob.glob("/boot/vmlinuz-*-cloud-amd64")):
        release = path.split("vmlinuz-")[1]
        if os.access(path, os.R_OK) and os.path.isdir("/lib/modules/%s" % release):
            return path
    skip("there is no kernel of linux-image-cloud-amd64 in /boot")


def modules(release):
    """Paths of the modules the initramfs takes with those they need, in the order they are loaded;
    what is built into the kernel is not among them."""
    top = "/lib/modules/%s" % release
    needs = {}
    with open(os.path.join(top, "modules.dep")) as file:
        for line in file:
            path, _, rest = line.partition(":")
            needs[os.path.basename(path).split(".ko")[0]] = [path] + rest.split()
    order = []
    for name in MODULES:
        # the file names the nearest first
        order += [path for path in reversed(needs.get(name, [])) if path not in order]
    return [os.path.join(top, path) for path in order]


def cpio_entry(name, mode, data=b"", device=(0, 0)):
    """One file in the format "newc" (the kernel's Documentation/driver-api/early-userspace)."""
    name = name.encode() + b"\0"
    numbers = 0, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name), 0
    head = b"070701" + b"".join(b"%08X" % n for n in numbers) + name
    head += bytes(-len(head) % 4)
    return head + data + bytes(-len(data) % 4)


def make_initrd(path, kernel_path=None, init=INIT):
    """Write an initramfs for that kernel."""
    busybox = shutil.which("busybox") or skip("busybox is not installed")
    release = (kernel_path or kernel()).split("vmlinuz-")[1]
    parts = [cpio_entry(name, stat.S_IFDIR | 0o755)
             for name in ("bin", "dev", "proc", "sys", "root", "modules")]
    # so that init has a console before it has mounted anything
    parts.append(cpio_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    with open(busybox, "rb") as file:
        parts.append(cpio_entry("bin/busybox", stat.S_IFREG | 0o755, file.read()))
    names = []
    for module in modules(release):
        names.append(os.path.basename(module))
        with open(module, "rb") as file:
            parts.append(cpio_entry("modules/" + names[-1], stat.S_IFREG | 0o644, file.read()))
    init = init.replace("@MODULES@", " ".join(names))
    parts.append(cpio_entry("init", stat.S_IFREG | 0o755, init.encode()))
    parts.append(cpio_entry("TRAILER!!!", 0))
    with open(path, "wb") as file:
        file.write(gzip.compress(b"".join(parts), 1))


def run(*command, **more):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def make_root(path, mib=24, marker="root", files=(), kind="ext4"):
    """Write a bare file system of mib MiB with /marker, and files: {path in it: file outside}.
    kind: an ext of mke2fs, "xfs" or "vfat".  Returns its UUID as blkid prints it."""
    tree = path + ".tree"
    shutil.rmtree(tree, True)
    for name in ("boot", "etc", "proc"):
        os.makedirs(os.path.join(tree, name))
    with open(os.path.join(tree, "marker"), "w") as file:
        file.write(marker + "\n")
    for name, outside in dict(files).items():
        os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
        shutil.copyfile(outside, os.path.join(tree, name))
    with open(path, "wb") as file:
        file.truncate(mib * MIB)
    if kind.startswith("ext"):
        run("mke2fs", "-q", "-F", "-t", kind, "-U", str(uuid.uuid4()), "-d", tree, path)
    elif kind == "xfs":
        # mkfs.xfs copies from a tree by a "protofile" only
        proto = path + ".proto"
        with open(proto, "w") as file:
            file.write("boot\n0 0\nd--755 0 0\nmarker ---644 0 0 %s/marker\n$\n" % tree)
        run("mkfs.xfs", "-q", "-f", "-p", proto, path)
    else:
        run("mkfs.vfat", path)
        run("mcopy", "-i", path, "-s", *[os.path.join(tree, n) for n in os.listdir(tree)], "::")
    shutil.rmtree(tree)
    found = subprocess.run(["blkid", "-p", "-o", "value", "-s", "UUID", path], check=True,
                           capture_output=True, text=True)
    return found.stdout.strip()


def machine(disk, firmware="bios", memory=256, scratch=None):
    """The command that starts a machine with a raw disk, which is not written to."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", str(memory), "-nographic", "-nodefaults",
               "-no-reboot", "-serial", "stdio", "-net", "none",
               # a BIOS that finds nothing to start tries again, and that ends the machine
               "-boot", "reboot-timeout=1",
               "-drive", "file=%s,format=raw,if=virtio,snapshot=on" % disk]
    if firmware == "uefi":
        if not os.path.exists(OVMF[0]):
            skip("ovmf is not installed")
        command += ["-drive", "if=pflash,format=raw,unit=0,readonly=on,file=%s" % OVMF[0],
                    "-drive", "if=pflash,format=raw,unit=1,snapshot=on,file=%s" % OVMF[1]]
    return command


def boot(disk, firmware="bios", until=MARKER + r".*\n", seconds=600, memory=256):
    """Start the disk and watch its console: what was printed when `until` (a regular expression)
    came, the machine ended, or the seconds were over."""
    pattern = re.compile(until.encode())
    console = b""
    environment = dict(os.environ, TMPDIR=os.path.dirname(os.path.abspath(disk)))
    guest = subprocess.Popen(machine(disk, firmware, memory), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    deadline = time.monotonic() + seconds
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(guest.stdout, selectors.EVENT_READ)
            while not pattern.search(console) and time.monotonic() < deadline:
                if not selector.select(max(0, deadline - time.monotonic())):
                    break
                piece = os.read(guest.stdout.fileno(), 65536)
                if not piece:
                    break
                console += piece
    finally:
        guest.kill()
        guest.wait()
        guest.stdout.close()
    return console.decode("latin-1")
