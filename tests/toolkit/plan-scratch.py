#!/usr/bin/python3
"""The plan of every workflow names the scratch it needs, and the run stays inside it, looked at every 10 ms:
without a limit, and with the smallest one.  Where the limit is too small by a little, plan and run say so alike."""
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
os.environ["PATH"] += ":/usr/sbin:/sbin"
import bootsector  # pylint: disable=wrong-import-position
import bundles  # pylint: disable=wrong-import-position
import guest  # pylint: disable=wrong-import-position
import ranged  # pylint: disable=wrong-import-position
from scratch import (MIB, PATIENCE, TOOLKIT, Directory, Witness, files_of, held, in_own_mounts, make_image,  # pylint: disable=wrong-import-position
                     requires, run, same, say, used)

PLACE = "fs/place"
MAPS = 64 * 1024  # that a file system may have of its own; the one that is made here has none
WHERE = ("--scratch", PLACE, "--output", "json")


class Files(ranged.Handler):
    """The files of this directory."""

    def do_GET(self):
        with open(os.path.basename(self.path), "rb") as file:
            self.wfile.write(self.answer_head(file.read()))

    do_HEAD = do_GET


def served():
    """The URL of a server of them."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def tried(command, words):
    """What it printed, as an object or text, its exit status, and what it complained of."""
    done = subprocess.run([TOOLKIT, command, *words, *WHERE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=PATIENCE, check=False)
    assert "Sanitizer" not in done.stderr, done.stderr
    return json.loads(done.stdout or "{}"), done.returncode, done.stderr


def watched(words):
    """Run it: most bytes there were, by what was seen and by what it says."""
    how, path = (used, "fs") if OWN else (held, PLACE)
    before = how(path)
    witness = Witness(path, how)
    result, status, error = tried("run", words)
    most = witness.end() - before - (0 if OWN else MAPS)
    assert status == 0, (words, status, error)
    assert how(path) == before and files_of(PLACE) == [], (words, "something was left")
    for name in "v", "v.manifest.json":
        if os.path.exists(name):
            os.rename(name, "last")
    return max(most, 0, result["scratch_peak_bytes"]), witness.samples


def fits(limit, words):
    """Does the plan say that all of it would run, where the place is limited so?  The run must say the
    same; optional validators without room are left out."""
    run("cache", "limit", "--place", PLACE, limit)
    plan, status, _ = tried("plan", words)
    if status != 0:
        _, ended, error = tried("run", words)
        assert status == ended == 5 and plan["code"] == "ScratchLimit", (words, status, ended, error)
        for number in limit, plan["scratch"]["bytes"]:
            assert str(number) in plan["error"] and str(number) in error, (number, plan["error"], error)
        assert not os.path.exists("v") and files_of(PLACE) == []
    elif plan["warnings"]:
        assert all("would be left out" in word for word in plan["warnings"]), plan["warnings"]
        _, ended, error = tried("run", words)
        assert ended == 0, (words, ended, error)
        if os.path.exists("v"):
            os.unlink("v")
        return False
    return status == 0


def workflow(*words, takes=None, limits=True):
    """takes: at least so many bytes were seen, or it gives False; None: none at all are needed."""
    plan, status, error = tried("plan", words)
    need = plan["scratch"]["bytes"]
    assert status == 0 and plan["warnings"] == [], (words, error, plan["warnings"])
    most, samples = watched(words)
    say(f"{' '.join(words[:2])}: planned {need}, at most {most} in {samples} samples")
    assert most <= need, (words, most, need)
    if takes is None:
        assert need == 0, (words, need)
    elif most < takes:
        return False
    if need > 0 and limits:
        assert not fits(need - 4096, words)
        enough = need + need // 256 + 64 * 1024  # what a file system and a reservation have of their own
        for limit in need, (need + enough) // 2, enough:
            if fits(limit, words):
                break
        else:
            raise AssertionError((words, "does not fit"))
        most = watched(words)[0]
        assert most <= need, (words, "limited", most, need)
        shutil.rmtree(PLACE)
        os.mkdir(PLACE, 0o700)
    return True


def qcow2(name):
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", name + ".raw", name], check=True)
    return name


def make_disks():
    make_image("data", 12, virtual_mib=40)
    subprocess.run(["gzip", "-k", "data"], check=True)
    guest.build("ext.raw")
    qcow2("ext")
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "part.raw", "8M"], check=True, stdout=subprocess.DEVNULL)
    qcow2("part")
    if shutil.which("mkfs.xfs"):
        guest.build("xfs.raw", fs="xfs", os="redhat")
        run("convert", "--no-sync", "-f", "raw", "-O", "vmdk", "xfs.raw", "xfs.vmdk")
    # a guest that fills its disk
    bootsector.write("fills.raw", bootsector.PRINT + bootsector.FILL, "Linux version 6.1\r\n", 32 * MIB)
    with open("fills.raw", "r+b") as disk:
        disk.seek(446)
        disk.write(bytes([0x80, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (63488).to_bytes(4, "little"))


def import_volume(url):
    assert workflow("import-volume", "image=data.raw", "volume=v")
    assert workflow("import-volume", "image=data", "volume=v", takes=12 * MIB)
    assert same("data.raw", "last")
    assert workflow("import-volume", f"image={url}data", "volume=v", takes=20 * MIB)
    assert same("data.raw", "last")
    assert workflow("import-volume", "image=data.gz", "packed=gz", "volume=v", takes=20 * MIB)


def import_instance(url):
    assert workflow("import-instance", "image=ext.raw", "volume=v")
    assert workflow("import-instance", f"image={url}ext", "volume=v", takes=100000)
    if shutil.which("mkfs.xfs"):
        assert workflow("import-instance", "image=xfs.vmdk", "volume=v", takes=100000)
    if shutil.which("qemu-system-x86_64"):
        assert any(workflow("import-instance", "image=fills.raw", "volume=v", f"boot-test={seconds}", takes=100000,
                            limits=False) for seconds in (5, 30, 90))  # machines may be slow


def others(url):
    assert workflow("partition-to-disk", "partition=part.raw", "disk=v", "boot=no", "swap=1M")
    assert workflow("partition-to-disk", "partition=part.raw", "disk=v", "boot=no", "ephemeral=64M", takes=100000)
    assert workflow("partition-to-disk", "partition=part", "format=qcow2", "disk=v", "boot=no", "ephemeral=64M", takes=200000)
    assert workflow("inspect", f"image={url}ext", takes=100000)
    if shutil.which("mkfs.xfs"):
        assert workflow("inspect", "image=xfs.vmdk", takes=100000)
    assert workflow("export", "disk=data.raw", "to=vmdk", "image=v")
    assert workflow("export", f"disk={url}data", "format=qcow2", "to=qcow2", "image=v", takes=20 * MIB)
    keys = bundles.Keys(os.getcwd())
    with open("part.raw", "rb") as image:
        manifest = bundles.Bundle(keys, image.read(), part_size=MIB).write(os.getcwd())
    assert workflow("import-bundle", "manifest=" + manifest, "key=user.key", "cert=user.crt", "volume=v")


requires("qemu-img", "mke2fs", "gzip", "openssl", "tar", "cmp")
OWN = in_own_mounts(or_skip=False)
with Directory():
    os.mkdir("fs")
    if OWN:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "none", "fs"], check=True)
    os.mkdir(PLACE, 0o700)
    make_disks()
    address = served()
    import_volume(address)
    import_instance(address)
    others(address)
