#!/usr/bin/python3
"""Allocations fail, one after the other, in everything that can be run by itself: nothing crashes, hangs,
leaks, leaves files or gives a wrong result (lib/torture.py has the conditions, and how they are chosen).

    torture.py [--points N] [--seconds N] [--jobs N] [--only WORD]...

--points: the most runs of one subject; --seconds: how long new ones of it are begun; --only: subjects that
have one of these words in their names.  Leaks are found in a
build with --enable-asan, which is what "make check-torture" runs.
"""
import argparse
import glob
import gzip
import itertools
import json
import lzma
import os
import shutil
import subprocess
import sys

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(TESTS, "lib"))
import bundles  # noqa: E402
import craft  # noqa: E402
import hostile  # noqa: E402
import packed  # noqa: E402
import service  # noqa: E402
import torture  # noqa: E402
from torture import Subject  # noqa: E402

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
SERVICE = os.path.join(os.path.dirname(TOOLKIT), "..", "imaging-service", "imaging-service")
PROGRAMS = os.path.join(os.path.dirname(TOOLKIT), "..", "tests")
SIZE = 1 << 20
DISK = bytes(craft.scattered(SIZE, [(0, 3000), (400000, 70000), (SIZE - 512, 512)]))
IMAGES = {
    "raw": craft.mbr(DISK, [(0x80, 0x83, 64, 1024)]),
    "vmdk": craft.vmdk_stream(DISK),
    "vhd": craft.vhd_dynamic(DISK),
    "vhdx": craft.vhdx(DISK),
    "vdi": craft.vdi(DISK),
    "qcow2": craft.qcow2(DISK),
}


UNFIT = (
    "service/test-sql-server",  # cannot be run by itself
    "toolkit/test-cache",       # about other processes
    "toolkit/test-confine",     # says what may be read: not what is preloaded
    "toolkit/test-copy",        # goes on without a progress
    "toolkit/test-served",      # as test-confine
)


def put(**files):
    """A function that writes these images into a directory."""
    def make(directory):
        for name, data in files.items():
            with open(os.path.join(directory, name), "wb") as file:
                hostile.save(file, data)
    return make


def looks():
    for name, image in IMAGES.items():
        yield Subject(f"info {name}", [TOOLKIT, "info", "{in}/i"], put(i=image))
    yield Subject("info vmdk as json", [TOOLKIT, "info", "--output", "json", "{in}/i"], put(i=IMAGES["vmdk"]))
    yield Subject("inspect", [TOOLKIT, "inspect", "--output", "json", "{in}/i"], put(i=IMAGES["raw"]))
    yield Subject("check", [TOOLKIT, "check", "{in}/i"], put(i=IMAGES["raw"]), ends=4)
    yield Subject("stages", [TOOLKIT, "stages", "--output", "json"])
    yield Subject("plan", [TOOLKIT, "plan", "import-volume", "image={in}/i", "volume={out}/v",
                           "size=1G"], put(i=IMAGES["vmdk"]), random=True)


def conversions():
    def one(source, kind, to, *options, image=None, random=False):
        return Subject(f"convert {kind} to {to} {' '.join(options)}".rstrip(),
                       [TOOLKIT, "convert", "-f", kind, "-O", to, *options, source, "{out}/disk"],
                       put(i=image or IMAGES[kind]), random=random)
    for kind in IMAGES:
        yield one("{in}/i", kind, "raw", "--no-sync")
    for to in ("vmdk", "vhd"):
        yield one("{in}/i", "vhdx", to, random=to == "vhd")
    yield one("{in}/i", "vhd", "raw", "--digest", "fs-verity,sha256", random=True)
    yield one("{in}/i", "raw.gz", "raw", image=gzip.compress(DISK, 6, mtime=0))
    yield one("{in}/i", "raw.xz", "raw", image=lzma.compress(DISK))
    yield one("{in}/i", "raw.zip", "raw", image=packed.zip_of(("disk.raw", DISK)))
    yield one("{in}/i", "ova", "raw", image=packed.ova(IMAGES["vmdk"], SIZE))
    job = json.dumps({"source": "{in}/i", "format": "vmdk", "store": "{out}/disk",
                      "stages": [{"name": "grow", "size": 2 * SIZE}]})
    yield Subject("run a job", [TOOLKIT, "run"], put(i=IMAGES["vmdk"]), text=job)
    yield Subject("run import-volume", [TOOLKIT, "run", "import-volume", "image={in}/i", "volume={out}/v"],
                  put(i=IMAGES["vmdk"]))


def networks(bench):
    """What is fetched over HTTP, in the parts of a manifest, with what parses it."""
    path = bench.put(IMAGES["vmdk"])
    manifest = bench.serve(path, "vmdk")
    shutil.copy(bench.put(DISK, name="raw"), bench.path("web"))
    yield Subject("convert a manifest", [TOOLKIT, "convert", "-f", "vmdk", "-O", "raw", manifest, "{out}/disk"])
    yield Subject("convert a manifest --resume", [TOOLKIT, "convert", "-f", "vmdk", "-O", "raw", "--resume",
                                                  manifest, "{out}/disk"])
    yield Subject("fetch an URL", [TOOLKIT, "convert", "-f", "raw", "-O", "raw", bench.base + "/raw", "{out}/disk"])


def bundled():
    own = ["--key", "{in}/user.key", "--cert", "{in}/user.crt"]

    def make(directory):
        bundles.Bundle(bundles.Keys(directory), DISK, part_size=20000).write(directory)
        put(i=DISK)(directory)
    yield Subject("unbundle", [TOOLKIT, "unbundle", *own, "{in}/img.manifest.xml", "{out}/disk"], make)
    yield Subject("bundle", [TOOLKIT, "bundle", *own, "--cloud-cert", "{in}/cloud.crt", "--prefix", "b",
                             "--user", "123456789012", "{in}/i", "{out}"], make, random=True)


def configuration():
    text = open(os.path.join(TESTS, "..", "init", "imaging-service.conf.example"), "rb").read()

    def make(directory):
        put(c=text)(directory)
        os.chmod(os.path.join(directory, "c"), 0o600)
    if os.access(SERVICE, os.X_OK):
        yield Subject("imaging-service --check-config",
                      [SERVICE, "--config", "{in}/c", "--check-config"], make,
                      statuses=(1, 2, 6)) # who starts it sees what is said


def programs(where):
    """Those of the tests that were built."""
    return [path for path in sorted(glob.glob(os.path.join(PROGRAMS, where)))
            if os.path.isfile(path) and os.access(path, os.X_OK)]


def fuzz_targets():
    """Each over all its seeds in one run."""
    def make(directory):
        subprocess.run([os.path.join(TESTS, "fuzz", "make-seeds"), directory], check=True)
    for program in programs("fuzz/fuzz-*"):
        name = os.path.basename(program)
        yield Subject(name, [program, "{in}/" + name[len("fuzz-"):] + "/*"], make, unit=True)


def units():
    for where in ("toolkit", "service", "tools"):
        for program in programs(where + "/test-*"):
            name = f"{where}/{os.path.basename(program)}"
            if name not in UNFIT:
                yield Subject(name, [program], unit=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()
    with torture.Bench(options.points, options.seconds, options.jobs) as bench, hostile.Bench() as web:
        for subject in itertools.chain(looks(), conversions(), networks(web), bundled(), configuration(),
                                       fuzz_targets(), units()):
            if not options.only or any(word in subject.name for word in options.only):
                print(bench.run(subject), flush=True)
        print(f"figures: {bench.runs} runs, {bench.reached} with a failed allocation; {len(bench.wrong)} wrong")
        return 1 if bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
