#!/usr/bin/python3
"""--io-rate is kept: bytes in and out take at least as long as it says, whatever the path they go; --jobs
is kept, too: never more threads than that."""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from procfs import hidden, opened  # pylint: disable=wrong-import-position
from scratch import MIB, Directory, requires, run, same, say, skip, start, wait_for  # pylint: disable=wrong-import-position


def timed(*words, **how):
    """How long it took, and how many bytes it did not have to move."""
    began = time.monotonic()
    result = json.loads(run(*words, **how)[0])
    return time.monotonic() - began, 2 * result["shared_bytes"]


def rates():
    say("bytes read and written, by the time they took")
    for to, path in (("raw", "disk"), ("vmdk", "disk"), ("vhd", "disk"), ("qcow2", "disk.vmdk")):
        out = f"out.{to}"
        rate = 12 * MIB
        took, less = timed("convert", "--no-sync", "--output", "json", "--io-rate", "12M", "-f", "vmdk" if path.endswith("vmdk") else "raw",
                     "-O", to, path, out)
        # qemu-img counts for itself what it writes: one pass of it, beside the one into scratch
        moved = os.path.getsize(path) + os.stat(out).st_blocks * 512 - less
        say(f"{to}: {moved / took / MIB:.2f} MiB/s")
        assert moved / took <= rate * 1.1, (to, moved, took)
    assert same("disk", "out.raw")
    say("as a job; and digests read the result once more")
    job = {"source": "disk", "format": "raw", "store": "job.raw", "io_rate": 16 * MIB, "sync": False}
    took, less = timed("run", input=json.dumps(job))
    assert (16 * MIB - less) / took <= 16 * MIB * 1.1, took
    took, less = timed("convert", "--no-sync", "--output", "json", "--io-rate", "16M", "--digest", "sha256", "-f", "raw", "-O", "raw", "disk",
                 "digest.raw")
    assert (24 * MIB - less) / took <= 16 * MIB * 1.1, took


def manners():
    say("it can be stopped, and is refused where it cannot be kept")
    child = start("convert", "--no-sync", "--io-rate", "64K", "-f", "raw", "-O", "raw", "disk", "never")
    wait_for("it to sleep", lambda: open(f"/proc/{child.pid}/stat", encoding="ascii").read().split(") ")[1][0] == "S"
             and "disk" in " ".join(opened(child.pid).values()))
    child.send_signal(signal.SIGTERM)
    # all of it would take four minutes
    child.communicate(timeout=60)
    assert child.returncode == 130 and not os.path.exists("never")
    for rate in ("0", "x", "65535"):
        run("convert", "--io-rate", rate, "-f", "raw", "-O", "raw", "disk", "never", status=2)
    job = {"source": "disk", "format": "raw", "store": "never", "io_rate": 1000}
    assert "65536" in run("run", input=json.dumps(job), status=2)[1]


def most_threads(*words):
    """How many it had at most."""
    child, most = start(*words), 0
    while child.poll() is None:
        try:
            most = max(most, len(os.listdir(f"/proc/{child.pid}/task")))
        except OSError:
            pass
    assert child.returncode == 0, child.communicate()
    return most


def threads():
    say("never more threads than --jobs says")
    several = 0
    for jobs in (1, 2, 4):
        for words in (("-O", "vmdk", "--level", "best", "-f", "raw", "disk", "t"),
                      ("-O", "raw", "--digest", "fs-verity", "-f", "vmdk", "disk.vmdk", "t"),
                      ("-O", "vhd", "--digest", "fs-verity,sha256", "-f", "raw", "disk", "t"),
                      ("-O", "raw", "-f", "raw", "disk", "t")):
            most = most_threads("convert", "--force", "--no-sync", "--jobs", jobs, *words)
            assert most <= jobs, (jobs, words, most)
            several = max(several, most)
    assert several > 1  # or nothing was seen


requires("qemu-img", "cmp")
if hidden():
    skip("what a program has open is hidden here")
with Directory():
    with open("disk", "wb") as disk:
        disk.write(os.urandom(8 * MIB))
    run("convert", "-f", "raw", "-O", "vmdk", "disk", "disk.vmdk")
    rates()
    manners()
    threads()
