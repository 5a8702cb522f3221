#!/usr/bin/python3
"""The limit of scratch: never a moment above it while imports run at once, over-limit jobs fail at once
and alone, others wait, or fail where the place says so, and a process that is killed leaves nothing.

The place is a file system of its own, whose use is what counts."""
import http.server
import json
import os
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import ranged  # pylint: disable=wrong-import-position
from procfs import opened  # pylint: disable=wrong-import-position
from scratch import (MIB, Directory, Witness, files_of, in_own_mounts, make_image, requires,  # pylint: disable=wrong-import-position
                     run, same, say, start, status_of, used, wait_for)

PLACE = "fs/place"


def convert(image, out, *more):
    return start("convert", "--no-sync", "--scratch", PLACE, "-f", "qcow2", "-O", "raw", *more, image, out)


def ended(child, status=0):
    out, err = child.communicate(timeout=120)
    assert child.returncode == status, (child.args, child.returncode, out, err)
    return err


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


def four_at_once(url):
    say("four imports at once, two of them of images that are fetched, and one that can never fit")
    run("cache", "limit", "--place", PLACE, "64M")
    witness = Witness("fs")
    running = [convert("a", "a.out"), convert(url + "b", "b.out"), convert("c", "c.out"),
               convert(url + "d", "d.out")]
    error = ended(convert("large", "large.out"), 5)
    assert str(72 * MIB) in error and str(64 * MIB) in error, error
    for child in running:
        ended(child)
    most = witness.end()
    say(f"{witness.samples} samples, at most {most} bytes")
    assert 30 * MIB < most <= 64 * MIB, most
    for name in "abcd":
        assert same(name + ".raw", name + ".out"), name
    assert not os.path.exists("large.out")
    assert files_of(PLACE) == [] and status_of(PLACE)["used"]["reservations"] == 0


def two_that_need_two(url):
    say("two that need room for two copies each do not take one each and wait")
    run("cache", "limit", "--place", PLACE, "48M")
    # slow enough that both would have fetched before either goes on
    running = [convert(url + name, name + ".out", "--force", "--io-rate", "40M") for name in "bd"]
    for child in running:
        ended(child)


def a_small_limit():
    say("8 MiB, and an image of 9")
    run("cache", "limit", "--place", PLACE, "8M")
    before = used("fs")
    with open("progress", "w", encoding="ascii") as progress:
        error = run("convert", "--scratch", PLACE, "--progress-fd", progress.fileno(), "-f", "qcow2", "-O", "raw",
                    "nine", "nine.out", status=5, pass_fds=(progress.fileno(),))[1]
    assert str(9 * MIB) in error and str(8 * MIB) in error, error
    with open("progress", encoding="ascii") as progress:
        assert json.loads(progress.readlines()[-1])["code"] == "ScratchLimit"
    assert not os.path.exists("nine.out") and files_of(PLACE) == [] and used("fs") == before
    job = {"source": "nine", "format": "qcow2", "store": "nine.out", "scratch": PLACE}
    run("run", input=json.dumps(job), status=5)
    # of the same image not a byte more than its data is needed, however large the disk
    run("cache", "limit", "--place", PLACE, "10M")
    result = json.loads(run("run", input=json.dumps(job))[0])
    assert 9 * MIB <= result["scratch_peak_bytes"] < 10 * MIB, result
    assert same("nine.raw", "nine.out")


def through_a_pipe():
    say("what comes without a size takes it in steps, and not past the limit")
    run("cache", "limit", "--place", PLACE, "40M")
    with open("nine", "rb") as image:
        ended(start("convert", "--scratch", PLACE, "-f", "qcow2", "-O", "raw", "-", "piped.out", stdin=image))
    assert same("nine.raw", "piped.out")
    run("cache", "limit", "--place", PLACE, "20M")
    with open("a", "rb") as image:
        error = ended(start("convert", "--scratch", PLACE, "-f", "qcow2", "-O", "raw", "-", "no.out", stdin=image), 5)
    assert "limited to" in error and files_of(PLACE) == [], error


def the_way_back():
    say("an encoder's raw copy counts as well, without its holes")
    run("convert", "-f", "raw", "-O", "vmdk", "nine.raw", "nine.vmdk")
    run("cache", "limit", "--place", PLACE, "8M")
    run("convert", "--scratch", PLACE, "-f", "vmdk", "-O", "qcow2", "nine.vmdk", "back", status=5)
    run("cache", "limit", "--place", PLACE, "10M")
    run("convert", "--scratch", PLACE, "-f", "vmdk", "-O", "qcow2", "nine.vmdk", "back")
    run("convert", "--scratch", PLACE, "-f", "qcow2", "-O", "raw", "back", "back.out")
    assert same("nine.raw", "back.out")


def holding():
    """An import that holds its scratch for a while."""
    child = convert("a", "held.out", "--io-rate", "64K", "--force")
    wait_for("its reservation", lambda: status_of(PLACE)["reservations"] == 1)
    return child


def policies():
    say("who finds no room fails, or waits, and stops when asked to")
    run("cache", "limit", "--place", PLACE, "--policy", "fail", "40M")
    holder = holding()
    assert "are taken" in ended(convert("b", "second.out"), 5)
    run("cache", "limit", "--place", PLACE, "--policy", "wait")
    assert status_of(PLACE)["limit"] == 40 * MIB
    waiting = convert("b", "second.out")
    stopped = convert("b", "third.out")
    wait_for("it to wait", lambda: "inotify" in " ".join(opened(stopped.pid).values()))
    stopped.send_signal(signal.SIGTERM)
    ended(stopped, 130)
    assert waiting.poll() is None and status_of(PLACE)["reservations"] == 1
    error = run("cache", "limit", "--place", PLACE, "1M", status=5)[1]
    assert "cannot be limited" in error, error
    say("the holder is killed: the next one has its room, and its file is gone")
    holder.kill()
    holder.communicate()
    ended(waiting)
    assert same("b.raw", "second.out") and files_of(PLACE) == []


def killed():
    holder = holding()
    wait_for("some bytes", lambda: used("fs") > MIB)
    holder.kill()
    holder.communicate()
    wait_for("its child's end", lambda: json.loads(
        run("cache", "gc", "--place", PLACE, "--output", "json")[0])["freed_bytes"] > 0)
    assert files_of(PLACE) == []


requires("qemu-img", "unshare", "mount", "cmp")
in_own_mounts()
with Directory():
    os.mkdir("fs")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", "fs"], check=True)
    os.mkdir(PLACE, 0o700)
    for image, size in (("a", 32), ("b", 22), ("c", 28), ("d", 20), ("nine", 9), ("large", 72)):
        make_image(image, size, virtual_mib=200 if image == "nine" else size, compressed=image in ("c", "large"))
    four_at_once(url := served())
    two_that_need_two(url)
    a_small_limit()
    through_a_pipe()
    the_way_back()
    policies()
    killed()
