#!/usr/bin/python3
"""What an interrupted conversion left may be damaged in any way: the next one gives right bytes, from it
or from the start.  And what makes it trustworthy: the order of writes, the MD5 of a long object."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import resuming  # pylint: disable=wrong-import-position

MIB = 1 << 20


def say(text):
    print("#", text, flush=True)


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def fill(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(b"garbage" * 100)


def damages(partial, journal):
    """Damage the files, which are as the dead process left them, before each of: its name, what to do,
    and whether the work is gone on with (None: from some mark)."""
    def again():
        for ending in (".partial", ".journal"):
            shutil.copy("kept/disk" + ending, "out/disk" + ending)

    again()
    size, marked = os.path.getsize(journal), resuming.marks(journal)
    first, last = marked[0]["at"], marked[-1]["at"]
    some = None if last > first else False
    things = [("nothing", lambda: None, True)]
    for at in (0, 9, 13, 20, 47, first, first + 5, first + 8, first + 16, last, last + 5, last + 20, size - 1):
        things.append((f"journal byte {at}", lambda at=at: flip(journal, at), some if at >= last else False))
    for at in (0, 20, 47, 48, 60, 63, 64, 70, last, last + 1, last + 16, size - 1):
        things.append((f"journal cut at {at}", lambda at=at: os.truncate(journal, at), some if at >= last else False))
    for at in (0, 5000, 300000, 600000):
        things.append((f"partial byte {at}", lambda at=at: flip(partial, at), False))
        things.append((f"partial cut at {at}", lambda at=at: os.truncate(partial, at), False))
    things += [
        ("garbage behind the journal", lambda: fill(journal, size), True),
        ("journal gone", lambda: os.unlink(journal), False),
        ("partial gone", lambda: os.unlink(partial), False),
        # what no mark tells of: a hole, and what the dead process wrote behind its last mark
        ("garbage in a hole", lambda: fill(partial, 100000), True),
        ("garbage behind the last mark", lambda: fill(partial, 1000000), True),
    ]
    for thing in things:
        again()
        yield thing


def damaged_files():
    """Whatever became of the two files: right bytes, from them or from the start."""
    size = 16 * 65536
    with open("small.raw", "wb") as file:
        for i in range(16):  # a hole in the second block
            file.write(bytes(65536) if i in (1, 15) else os.urandom(65536))
    os.makedirs("kept", exist_ok=True)
    with resuming.Gate("RAW", "small.raw", "11-12", 65536) as gate:
        run = resuming.start("raw", gate.source, "kept/disk", "--resume")
        gate.wait()
        resuming.wait_marked("kept/disk.journal", 11 * 65536)
        resuming.kill(run)
    with resuming.Gate("RAW", "small.raw", part_bytes=65536) as gate:
        for name, damage, goes_on in damages("out/disk.partial", "out/disk.journal"):
            before = gate.requests()
            damage()
            resuming.end(resuming.start("raw", gate.source, "out/disk", "--resume"))
            assert resuming.same("out/disk", "small.raw") and os.path.getsize("out/disk") == size, name
            assert sorted(os.listdir("out")) == ["disk", "disk.manifest.json"], (name, os.listdir("out"))
            fetched = {part for part, n in gate.requests().items() if n > before[part]}
            assert goes_on is None or goes_on == (not fetched & {0, 5, 10}), (name, fetched)
            for left in os.listdir("out"):
                os.unlink("out/" + left)


def one_long_object():
    """An object of several segments with an MD5 over all of them, by http."""
    resuming.make_disk("random", "long.raw", 40)
    with resuming.Gate("RAW", "long.raw", part_bytes=40 * MIB, held="24-31") as gate:
        url = gate.base + "/part.0"
        run = resuming.start("raw", url, "out/disk", "--resume")
        gate.wait()
        resuming.wait_marked("out/disk.journal", 24 * MIB)
        resuming.kill(run)
        gate.open()
        resuming.end(resuming.start("raw", url, "out/disk", "--resume"))
        first = [f"{i * 8 * MIB}-{(i + 1) * 8 * MIB - 1}" for i in range(3)]
        assert all(gate.ranges()[span] == 1 for span in first), gate.ranges()
    assert resuming.same("out/disk", "long.raw")
    assert sorted(os.listdir("out")) == ["disk", "disk.manifest.json"]
    for name in os.listdir("out"):
        os.unlink("out/" + name)


def marks_come_after_the_data():
    """fdatasync of the volume, then the mark, then fdatasync of the journal: in this order each time."""
    if not shutil.which("strace"):
        say("no strace: the order of writes is not looked at")
        return
    resuming.make_disk("random", "disk.raw", 10)
    with resuming.Gate("RAW", "disk.raw", rate=20 * MIB) as gate:
        subprocess.run(["strace", "-f", "-y", "-e", "trace=pwrite64,fdatasync", "-o", "trace",
                        resuming.toolkit(), "convert", "-f", "raw", "-O", "raw", "--resume", gate.source, "out/disk"],
                       check=True, stdout=subprocess.DEVNULL, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    seen, count = "", 0
    with open("trace", encoding="ascii", errors="replace") as trace:
        for line in trace:
            if "resumed" in line and "fdatasync" in line:
                continue
            if "fdatasync" in line and "disk.partial" in line:
                seen = "volume"
            elif "pwrite64" in line and "disk.journal" in line and '"MARK' in line:
                assert seen == "volume", ("a mark before the data", line)
                seen, count = "mark", count + 1
            elif "fdatasync" in line and "disk.journal" in line:
                assert seen == "mark", line
                seen = "journal"
    assert count > 0, "no mark was made"
    os.unlink("out/disk")


def main():
    with tempfile.TemporaryDirectory(prefix="resume.") as tmp:
        os.chdir(tmp)
        os.mkdir("out")
        for story in (damaged_files, one_long_object, marks_come_after_the_data):
            say(story.__name__.replace("_", " "))
            story()
        os.chdir("/")


main()
