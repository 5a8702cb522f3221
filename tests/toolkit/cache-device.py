#!/usr/bin/python3
"""A block device is a place: blank ones are refused until a file system is asked for, what is there is not
overwritten, nobody sees the mount, and the limit is kept by all who use it."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from scratch import MIB, Directory, make_image, requires, run, same, say, skip, start, status_of  # pylint: disable=wrong-import-position


def attach(path):
    done = subprocess.run(["losetup", "-f", "--show", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        skip(f"loop devices are not allowed here: {done.stderr.strip()}")
    return done.stdout.strip()


def convert(device, image):
    return start("convert", "--no-sync", "--force", "--scratch", device, "-f", "qcow2", "-O", "raw", image,
                 f"{image}.out")


def a_blank_device(device):
    say("a device without a file system is refused, and one is made when it is asked for")
    error = run("cache", "status", "--place", device, status=1)[1]
    assert "neither ext4 nor XFS" in error and "cache format" in error, error
    run("cache", "format", device)
    if "CAP_SYS_ADMIN" in (tried := start("cache", "status", "--place", device).communicate()[1]):
        skip(tried.strip())
    error = run("cache", "format", device, status=1)[1]
    assert "is not blank" in error, error
    run("cache", "format", "/dev/null", status=2)
    run("cache", "format", "disk", status=2)


def as_a_place(device):
    say("several use it at once, below its limit; nobody sees it mounted")
    run("cache", "limit", "--place", device, "30M")
    children = [convert(device, image) for image in ("a", "b", "c")]
    with open("/proc/self/mountinfo", encoding="ascii") as mounts:
        assert device not in mounts.read().split()
    for child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, (out, err)
    for image in ("a", "b", "c"):
        assert same(f"{image}.raw", f"{image}.out"), image
    digest = run("cache", "add", "--place", device, "a")[0].strip()
    status = status_of(device)
    assert status["limit"] == 30 * MIB and [entry["id"] for entry in status["entries"]] == [digest], status
    run("cache", "limit", "--place", device, "8M")
    error = convert(device, "a").communicate(timeout=120)[1]
    assert str(12 * MIB) in error and str(8 * MIB) in error, error
    assert status_of(device)["entries"] == []


def as_a_directory(device):
    say("mounted, it is the same place")
    os.mkdir("fs")
    subprocess.run(["mount", device, "fs"], check=True)
    assert status_of("fs")["limit"] == status_of(device)["limit"] == 8 * MIB
    subprocess.run(["umount", "fs"], check=True)
    if os.path.exists("/usr/sbin/mkfs.xfs"):
        with open("large", "wb") as file:
            file.truncate(320 * MIB)
        subprocess.run(["/usr/sbin/mkfs.xfs", "-q", "large"], check=True)
        other = attach("large")
        try:
            run("cache", "limit", "--place", other, "30M")
            assert convert(other, "a").wait(120) == 0 and same("a.raw", "a.out")
        finally:
            subprocess.run(["losetup", "-d", other], check=True)


requires("qemu-img", "losetup", "mke2fs", "mount", "cmp")
if os.geteuid() != 0:
    skip("only root has loop devices")
with Directory():
    for name in "abc":
        make_image(name, 12)
    with open("disk", "wb") as disk:
        disk.truncate(64 * MIB)
    loop = attach("disk")
    try:
        a_blank_device(loop)
        as_a_place(loop)
        as_a_directory(loop)
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)
