#!/usr/bin/python3
"""The cache as a command: entries are kept once and found by their digest, fetched only when they are not
there, gone when room is wanted, and never wrong."""
import hashlib
import http.server
import json
import os
import stat
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import ranged  # pylint: disable=wrong-import-position
from scratch import MIB, Directory, files_of, make_image, requires, run, same, say, start, status_of  # pylint: disable=wrong-import-position

PLACE = ("--place", "place")
asked = []


class Files(ranged.Handler):
    """The files of this directory; who asks is written down."""

    def do_GET(self):
        asked.append(self.path)
        with open(os.path.basename(self.path), "rb") as file:
            self.wfile.write(self.answer_head(file.read()))

    do_HEAD = do_GET


def make(name, mib):
    with open(name, "wb") as file:
        file.write(os.urandom(mib * MIB))
    with open(name, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def kept():
    return [entry["id"] for entry in status_of("place")["entries"]]


def nothing_is_counted_before_it_is_wished():
    text = run("cache", "status", *PLACE)[0]
    assert "nothing is counted here" in text, text
    assert json.loads(run("cache", "status", *PLACE, "--output", "json")[0])["set_up"] is False
    assert os.listdir("place") == []
    run("cache", "gc", *PLACE)
    run("cache", "get", *PLACE, "0" * 64, "out", status=3)


def kept_and_found():
    say("a file is kept, found, and private")
    digest = make("one", 2)
    assert run("cache", "add", *PLACE, "one")[0].strip() == digest
    assert run("cache", "add", *PLACE, "one")[0].strip() == digest and kept() == [digest]
    run("cache", "get", *PLACE, digest, "out")
    assert same("one", "out")
    assert "exists" in run("cache", "get", *PLACE, digest, "out", status=1)[1]
    run("cache", "get", *PLACE, "--force", digest, "out")
    for top, directories, names in os.walk("place/.imaging-cache"):
        assert stat.S_IMODE(os.stat(top).st_mode) == 0o700, (top, directories)
        for name in names:
            assert stat.S_IMODE(os.stat(os.path.join(top, name)).st_mode) & 0o177 == 0, name
    status = status_of("place")
    assert status["limit"] is None and status["policy"] == "wait", status
    assert status["entries"][0]["size"] == 2 * MIB and status["used"]["entries"] >= 2 * MIB, status
    run("cache", "get", *PLACE, "xyz", "other", status=2)
    run("cache", "get", *PLACE, "0" * 64, "other", status=3)
    assert not os.path.exists("other")
    return digest


def fetched_once():
    say("what is there is not fetched again; what is not what was promised is not kept")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/remote"
    digest = make("remote", 3)
    run("cache", "add", *PLACE, url, status=2)
    assert "not " + "0" * 64 in run("cache", "add", *PLACE, "--sha256", "0" * 64, url, status=8)[1]
    assert digest not in kept() and "0" * 64 not in kept()
    asked.clear()
    several = [start("cache", "add", *PLACE, "--sha256", digest, url) for _ in range(4)]
    for child in several:
        out, err = child.communicate(timeout=120)
        assert (child.returncode, out.strip()) == (0, digest), err
    assert digest in kept() and asked
    asked.clear()
    run("cache", "add", *PLACE, "--sha256", digest, url)
    assert not asked, asked
    with open("remote", "rb") as piped:
        run("cache", "add", *PLACE, "--sha256", digest, "-", stdin=piped)
    run("cache", "add", *PLACE, "-", status=2, input="")
    return digest


def damaged(digest):
    say("a damaged entry is none")
    path, = (path for path in files_of("place") if digest in path)
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(MIB)
        file.write(b"other bytes")
    os.utime(path, ns=(0, 10 ** 9))  # as if nothing had been written
    assert "damaged" in run("cache", "get", *PLACE, digest, "damaged", status=3)[1]
    assert digest not in kept() and not os.path.exists("damaged")


def gone_when_room_is_wanted():
    say("the one used longest ago makes room, and gc lets go of ours only")
    make_image("image", 6)
    run("cache", "gc", *PLACE, "--target", "0")
    assert kept() == []
    digests = [make(name, 2) for name in ("a", "b", "c")]
    run("cache", "limit", *PLACE, "10M")
    for name in "abc":
        run("cache", "add", *PLACE, name)
    run("cache", "get", *PLACE, "--force", digests[0], "out")
    run("convert", "--scratch", "place", "-f", "qcow2", "-O", "raw", "image", "image.out")
    assert same("image.raw", "image.out")
    assert kept() == [digests[0]], (kept(), digests)
    make("large", 11)
    error = run("cache", "add", *PLACE, "large", status=5)[1]
    assert str(11 * MIB) in error and str(10 * MIB) in error, error
    with open("place/mine", "wb") as file:
        file.write(os.urandom(3 * MIB))
    assert status_of("place")["used"]["foreign"] >= 3 * MIB
    assert json.loads(run("cache", "gc", *PLACE, "--target", "0", "--output", "json")[0])["freed_bytes"] >= 2 * MIB
    assert kept() == [] and same("place/mine", "place/mine")
    run("cache", "limit", *PLACE, "2M", status=5)
    run("cache", "limit", *PLACE, "none")
    assert status_of("place")["limit"] is None


def planted():
    say("a name in the place that is somebody else's file loses the name, never the bytes")
    with open("theirs", "wb") as file:
        file.write(b"theirs")
    with open("alone", "wb") as file:
        file.write(bytes(MIB))
    for number, name in enumerate(("theirs", "alone")):
        os.link(name, f"place/.imaging-cache/scratch/0123456789abcdef-{number:08x}-0000000000100000")
    os.unlink("alone")
    run("cache", "gc", *PLACE)
    assert os.listdir("place/.imaging-cache/scratch") == []
    with open("theirs", "rb") as file:
        assert file.read() == b"theirs"


def nonsense():
    say("words that make no sense")
    for words in ((), ("nothing",), ("limit", "much"), ("limit", "1M", "2M"), ("status", "more"), ("add",),
                  ("limit", "--policy", "perhaps", "1M"), ("gc", "--target", "x"), ("add", "--sha256", "AB", "one")):
        run("cache", *words, *(PLACE if words else ()), status=2)
    run("cache", "status", "--place", "nowhere", status=1)


requires("qemu-img", "cmp")
with Directory():
    os.mkdir("place")
    nothing_is_counted_before_it_is_wished()
    kept_and_found()
    damaged(fetched_once())
    gone_when_room_is_wanted()
    planted()
    nonsense()
