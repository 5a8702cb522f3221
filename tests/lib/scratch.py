"""What tests of scratch and cache share: the toolkit run with words, images with known raw copies, and a
file system of their own whose use is the witness.  It is not a test."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from procfs import opened

MIB = 1 << 20
TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "imaging-toolkit", "imaging-toolkit")
PATIENCE = 120  # seconds, on any machine


def say(text):
    print("#", text, flush=True)


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def requires(*tools):
    for tool in tools:
        if not shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin"):
            skip(f"{tool} is not installed")


def start(*words, **how):
    return subprocess.Popen([TOOLKIT, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            **how)


def run(*words, status=0, **how):
    """Run the toolkit; it must end with that status.  What it printed, and what it complained of."""
    done = subprocess.run([TOOLKIT, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=PATIENCE, check=False, **how)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


def status_of(place):
    return json.loads(run("cache", "status", "--place", place, "--output", "json")[0])


def wait_for(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


def make_image(path, mib, virtual_mib=None, compressed=False):
    """A qcow2 image whose raw copy takes `mib` MiB; beside it the raw disk, PATH.raw."""
    with open(path + ".raw", "wb") as file:
        file.truncate((virtual_mib or mib) * MIB)
        for i in range(mib):  # the end stays a hole where there is one
            file.seek(i * MIB)
            file.write(os.urandom(4096) * 256)
    subprocess.run(["qemu-img", "convert", *["-c"] * compressed, "-f", "raw", "-O", "qcow2", path + ".raw", path], check=True)
    return path


def same(one, other):
    return subprocess.run(["cmp", "-s", one, other], check=False).returncode == 0


def files_of(place):
    """What a place holds beside its own bookkeeping."""
    found = []
    for top, _, names in os.walk(place):
        found += [os.path.join(top, name) for name in names if name not in ("lock", "limit")]
    return found


def in_own_mounts(or_skip=True):
    """Go on as root of private mounts; else skip, or give False."""
    if os.environ.get("OWN_MOUNTS"):
        return True
    how = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    probe = subprocess.run([*how, "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"], check=False,
                           stderr=subprocess.DEVNULL)
    if probe.returncode != 0:
        return skip("private mounts are not allowed here") if or_skip else False
    os.environ["OWN_MOUNTS"] = "yes"
    os.execvp(how[0], [*how, sys.executable, *sys.argv])


def used(path):
    """Bytes that the file system has given out."""
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def held(path):
    """Bytes of all files below a directory, also of those without a name that somebody has open: for where
    there is no file system of one's own to be asked."""
    path = os.path.realpath(path) + "/"
    names = list(files_of(path))
    for process in filter(str.isdigit, os.listdir("/proc")):
        names += [f"/proc/{process}/fd/{number}" for number, target in opened(process).items()
                  if target.startswith(path)]
    seen = {}
    for name in names:  # when all are known: what goes while one looks for them is not counted
        with contextlib.suppress(OSError):
            found = os.stat(name)
            if name.startswith("/proc/") and not os.readlink(name).startswith(path):
                continue  # its number is another file's by now
            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


class Witness(threading.Thread):
    """Looks every 10 ms at what a file system has given out, files without a name included; or, with how=held,
    at what is below a directory."""

    def __init__(self, path, how=used):
        super().__init__(daemon=True)
        self.path, self.how, self.most, self.samples, self.over = path, how, 0, 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            self.most = max(self.most, self.how(self.path))
            self.samples += 1
            time.sleep(0.01)

    def end(self):
        self.over.set()
        self.join()
        return self.most


class Directory:
    """A private directory to be in, gone at the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="scratch.")
        os.chdir(self.path)
        return self.path

    def __exit__(self, *_):
        os.chdir("/")
        subprocess.run(["umount", "-q", "-l", os.path.join(self.path, "fs")], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.path, ignore_errors=True)
