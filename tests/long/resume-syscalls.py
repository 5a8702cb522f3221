#!/usr/bin/python3
"""A conversion killed at each system call that changes a file, and gone on with: right bytes each time,
and of the attempts at most the journal of one that had come to its end.

    resume-syscalls.py
"""
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import resuming  # noqa: E402

CALLS = ("pwrite64", "fdatasync", "fsync", "rename", "renameat2", "ftruncate", "unlink", "flock", "linkat")
PART = 65536


def image():
    with open("image.raw", "wb") as file:
        for i in range(16):
            file.write(bytes(PART) if i in (1, 15) else os.urandom(PART))


def strace(command, *options):
    return subprocess.run(["strace", "-f", "-qq", *options, *command], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode


def empty():
    for name in os.listdir("out"):
        os.unlink("out/" + name)


def count_calls(command):
    assert strace(command, "-o", "trace", "-e", "trace=" + ",".join(CALLS)) == 0
    empty()
    with open("trace", encoding="ascii", errors="replace") as trace:
        return collections.Counter(re.findall(r"^\d+ +(\w+)\(", trace.read(), re.M))


def check(command, call, k):
    """After a kill at that call: to the end, and look."""
    if not os.path.exists("out/disk"):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (call, k, ended.stderr)
        assert "disk.journal" not in os.listdir("out"), (call, k)
    assert resuming.same("out/disk", "image.raw"), (call, k)
    left = set(os.listdir("out")) - {"disk", "disk.manifest.json", "disk.journal"}
    assert not left, (call, k, left)
    empty()


def main():
    if not shutil.which("strace"):
        print("strace is not installed")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="syscalls.") as tmp:
        os.chdir(tmp)
        os.mkdir("out")
        image()
        runs = 0
        with resuming.Gate("RAW", "image.raw", part_bytes=PART) as gate:
            command = [resuming.toolkit(), "convert", "-f", "raw", "-O", "raw", "--digest", "fs-verity",
                       "--resume", gate.source, "out/disk"]
            for call, n in sorted(count_calls(command).items()):
                for k in range(1, n + 1):
                    strace(command, "-o", "/dev/null", "-e", "trace=" + call, "-e", f"inject={call}:signal=KILL:when={k}")
                    check(command, call, k)
                    runs += 1
        print(f"figures: {runs} kills, one at each of the calls: 0 wrong volumes")
        os.chdir("/")


main()
