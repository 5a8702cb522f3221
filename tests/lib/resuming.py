"""resuming - conversions that are interrupted and gone on with: a server that stops in the middle and
tells what was asked of it, the marks of a journal, the toolkit.

    with resuming.Gate("vmdk", "disk.vmdk", "7-8") as gate:
        run = resuming.start("vmdk", gate.source, "out", "--resume")
        resuming.wait_marked("out.journal", 7 << 20)
        run.kill()
"""
import collections
import os
import re
import signal
import struct
import subprocess
import zlib

import service

LIB = os.path.dirname(os.path.abspath(__file__))
DEADLINE_S = 60


def toolkit():
    return os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")


def make_disk(*arguments):
    status = subprocess.run([os.path.join(LIB, "make-disk"), *map(str, arguments)], check=False).returncode
    if status:
        raise SystemExit(status)


class Gate:
    """tests/lib/gate-server on a file."""

    def __init__(self, form, path, closed="999999", part_bytes=1 << 20, rate=0, gib=1, held="1-0"):
        self.log, self.gone = path + ".requests", path + ".gone"
        for name in (self.log, self.gone):
            with open(name, "w", encoding="ascii"):
                pass
        environment = {**os.environ, "GATE_LOG": self.log, "GATE_GONE": self.gone, "GATE_HOLD": held}
        self.process = subprocess.Popen(
            [os.path.join(LIB, "gate-server"), form, path, str(gib), str(closed), str(part_bytes), str(rate)],
            stdout=subprocess.PIPE, text=True, env=environment)
        self.base = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.source = f"manifest:{self.base}/manifest.xml"

    def hide(self, *parts):
        """Let these parts not be there: "G7" for a GET, "H7" for a HEAD."""
        with open(self.gone, "w", encoding="ascii") as gone:
            gone.write(" ".join(map(str, parts)))

    def wait(self):
        """Until a closed part is asked for."""
        assert self.process.stdout.readline() == "waiting\n"

    def open(self):
        self.process.send_signal(signal.SIGUSR1)

    def requests(self):
        """How often each part was asked for."""
        with open(self.log, encoding="ascii") as log:
            return collections.Counter(int(line.split()[0]) for line in log)

    def ranges(self):
        with open(self.log, encoding="ascii") as log:
            return collections.Counter(re.findall(r"bytes=(\d+-\d+)", log.read()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def start(form, source, out, *options, **more):
    """`imaging-toolkit convert`, running; what it says on both descriptors is its stdout."""
    return subprocess.Popen([toolkit(), "convert", "-f", form, "-O", "raw", "--digest", "fs-verity",
                             *options, source, out], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, **more)


def end(run, wanted=0, says=""):
    """Its end, with that status and those words; what it said."""
    said = run.communicate(timeout=DEADLINE_S)[0]
    assert run.returncode == wanted and says in said, (run.returncode, said)
    assert "Sanitizer" not in said and "runtime error" not in said, said
    return said


def kill(run, number=signal.SIGKILL):
    run.send_signal(number)
    run.communicate(timeout=DEADLINE_S)


def marks(path):
    """The marks of a journal (imaging-toolkit/core/journal.c says how it looks) that count."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    header, at, found = data[:48], 48, []
    if len(header) < 48 or header[:8] != b"EUCAJRNL":
        return []
    crc = zlib.crc32(header[:12] + bytes(4) + header[16:])
    while data[at:at + 4] == b"MARK":
        length, wanted = struct.unpack_from("<II", data, at + 4)
        body = data[at + 16:at + 16 + length]
        crc = zlib.crc32(struct.pack("<QQ", len(found), length) + body, crc)
        if len(body) < length or crc != wanted:
            break
        given, position, rest, rest_len, _, _, runs = struct.unpack_from("<QQQIIII", body)
        found.append({"at": at, "data": given, "position": position, "rest_end": rest + rest_len, "runs": runs})
        at += 16 + length
    return found


def is_marked(path, offset):
    """Whether a process that died now would be gone on with from that byte of the image on."""
    found = marks(path)
    return bool(found) and max(found[-1]["position"], found[-1]["rest_end"]) >= offset


def wait_marked(path, offset):
    service.wait_for(lambda: is_marked(path, offset))


def same(one, other):
    with open(one, "rb") as a, open(other, "rb") as b:
        while True:
            x, y = a.read(1 << 20), b.read(1 << 20)
            if x != y:
                return False
            if not x:
                return True
