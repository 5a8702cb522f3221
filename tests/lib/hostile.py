"""hostile - give images to imaging-toolkit as its users do, and judge what comes of it.

What "refused" and "accepted" mean is written here once, whole:

Refused is a defined exit status and one printable line on standard error; no OUT; nothing left in
scratch, in TMPDIR, beside OUT or in the working directory; no signal, no sanitizer's report; ended
within 10 s, in 256 MiB of memory, with no more than 16 MiB written anywhere; the canary's token in
no output; no connection to the listener; the input and what lies beside it unchanged.
Accepted is status 0 and the disk's bytes, with the same conditions but for OUT.

A case goes the ways that reach a decoder: a file, a pipe, the parts of a manifest over HTTP, a job
for `run`, (without writing) `info`, with digests and their manifest beside OUT, and encoded anew.
This is no builder of images: see craft.py.
"""
import atexit
import hashlib
import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import service

SANITIZED = bool(os.environ.get("SANITIZED"))
DEADLINE_S = 30 if SANITIZED else 10
MEMORY_KIB = 256 << 10
SCRATCH_BYTES = 16 << 20
PART = 40000 # odd on purpose: no structure of any format begins where a part does
ALL_WAYS = ("file", "pipe", "parts", "job", "info", "digest", "encode")
TO_RAW = ALL_WAYS[:-1] # encoded anew a disk is no longer what its first bytes tell
LOOKS = ("info", "check", "inspect") # nothing is written, and not everything is read
LINE_LIMIT = 4096
FINDING = re.compile(rb"^(?:error|warning|unknown|ok) +[a-z-]+: [^\n]*\n", re.M)

MANIFEST = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<manifest><version>2010-11-15</version><file-format>%(format)s</file-format>
<importer><name>euca2ools</name><version>1</version><release>0</release></importer>
<self-destruct-url>%(base)s/m.xml</self-destruct-url>
<import><size>%(size)d</size><volume-size>1</volume-size><parts count="%(count)d">%(parts)s</parts>
</import></manifest>"""
MANIFEST_PART = """<part index="%(i)d"><byte-range start="%(start)d" end="%(end)d"/>
<key>d/p%(i)d</key>
<head-url>%(base)s/p%(i)d</head-url><get-url>%(base)s/p%(i)d</get-url>
<delete-url>%(base)s/p%(i)d</delete-url></part>"""


class Result:
    """One run of the program: status (negative: a signal), both outputs, what it cost."""
    status = seconds = kib = written = 0
    out = err = events = findings = b""


class Cost:
    """The most that runs took (of memory no less than this test's own, which they begin with), and how
    the first that failed ended."""
    def __init__(self):
        self.seconds, self.kib, self.status = 0, 0, None

    def add(self, result):
        self.seconds, self.kib = max(self.seconds, result.seconds), max(self.kib, result.kib)
        self.status = self.status or result.status

    def __str__(self):
        return "%.2f s, %d MiB" % (self.seconds, self.kib >> 10)


class Bench:
    """A private directory with a canary, a silent listener and a web server; use as a context."""

    def __init__(self):
        self.toolkit = os.environ.get("IMAGING_TOOLKIT") or \
            service.built("imaging-toolkit/imaging-toolkit")
        self.top = tempfile.mkdtemp(prefix="hostile.")
        for name in ("in", "out", "scratch", "tmp", "cwd", "log", "web", "extents"):
            os.mkdir(self.path(name))
        self.token = b"canary-" + secrets.token_hex(12).encode()
        self.canary = self.path("in", "canary.raw")
        with open(self.canary, "wb") as file: # 64 KiB, the token in every sector
            file.write((self.token + b"\n").ljust(512, b"-") * 128)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.web = self.base = None
        self.turn = 0
        self.cost = Cost()
        atexit.register(self.close) # also when the test is told to stop

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Nothing is left; the second time, nothing happens."""
        self.listener.close()
        if self.web:
            self.web.kill()
            self.web.wait()
            self.web.stdout.close()
            self.web = None
        shutil.rmtree(self.top, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.top, *names)

    # -- inputs

    def put(self, data, directory="in", name="image"):
        """Write bytes, or {offset: bytes, 'size': n}, sparse; the path."""
        path = self.path(directory, name)
        with open(path, "wb") as file:
            save(file, data)
        return path

    def clear(self):
        """Take all inputs away but the canary."""
        for directory in ("in", "extents"):
            for name in os.listdir(self.path(directory)):
                path = self.path(directory, name)
                if path == self.canary:
                    continue
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)

    def serve(self, path, format, under=""):
        """Cut a file into the parts of a manifest on the web server; the manifest's URL.  It is there
        until the next one, or for good when it is given a name to lie under."""
        if not self.web:
            self.web = subprocess.Popen(
                ["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "fault-server.py"),
                 self.path("web")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            self.base = "http://127.0.0.1:%d/ok" % int(self.web.stdout.readline())
        for name in os.listdir(self.path("web")) if not under else ():
            os.unlink(self.path("web", name))
        base = self.base + "/" + under if under else self.base
        beginning = under + "_" if under else "" # as the server writes a slash
        size = os.path.getsize(path)
        length = max(PART, -(-size // 60)) # some dozens of parts at most
        starts = range(0, size, length)
        with open(path, "rb") as file:
            for i, _ in enumerate(starts):
                with open(self.path("web", "%sp%d" % (beginning, i)), "wb") as part:
                    part.write(file.read(length))
        parts = "".join(MANIFEST_PART % {"i": i, "start": start, "base": base,
                                         "end": min(start + length, size) - 1}
                        for i, start in enumerate(starts))
        with open(self.path("web", beginning + "m.xml"), "w", encoding="utf-8") as file:
            file.write(MANIFEST % {"format": format.upper(), "base": base, "size": size,
                                   "count": len(starts), "parts": parts})
        return "manifest:%s/m.xml" % base

    # -- runs

    def run(self, args, stdin=None, pipe=None):
        """Run the program with `stdin` (bytes in a file) or `pipe` (a path, fed through a pipe)."""
        result = Result()
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8",
                       "TMPDIR": self.path("tmp"), "HOME": self.path("cwd")}
        for name in os.environ:
            if re.match(r"[A-Z]*SAN_OPTIONS$", name):
                environment[name] = os.environ[name]
        if stdin is not None:
            self.put(stdin, "log", "stdin")
        with open(self.path("log", "stdin") if stdin is not None else os.devnull, "rb") as given, \
                open(self.path("log", "out"), "wb+") as out, \
                open(self.path("log", "err"), "wb+") as err, \
                open(self.path("log", "events"), "wb+") as events:
            source, feeder = given, None
            if pipe:
                ends = os.pipe()
                source = os.fdopen(ends[0], "rb")
                feeder = threading.Thread(target=feed, args=(pipe, ends[1]))
                feeder.start()
            start = time.monotonic()
            child = subprocess.Popen(
                [self.toolkit, *[str(events.fileno()) if a == "EVENTS" else a for a in args]],
                stdin=source, stdout=out, stderr=err, env=environment, cwd=self.path("cwd"),
                pass_fds=(events.fileno(),))
            if pipe:
                source.close()
            self._wait(child, result)
            result.seconds = time.monotonic() - start
            if feeder:
                feeder.join()
            result.out, result.err, result.events = (whole(f) for f in (out, err, events))
        self.cost.add(result)
        return result

    def _wait(self, child, result):
        """Until it ends or the deadline passes: then it is killed, which shows as status -9."""
        fd = os.pidfd_open(child.pid)
        if not select.select([fd], [], [], DEADLINE_S)[0]:
            child.kill()
        os.close(fd)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        try: # of the program and of all it waited for
            with open("/proc/%d/io" % child.pid, encoding="ascii") as io:
                result.written = int(re.search(r"wchar: (\d+)", io.read())[1])
        except (OSError, TypeError):
            pass # a kernel without this account
        _, status, usage = os.wait4(child.pid, 0)
        result.status = child.returncode = os.waitstatus_to_exitcode(status)
        result.kib = usage.ru_maxrss

    def go(self, way, path, format, options=(), job=()):
        """One conversion (or `info`) of the file at path."""
        scratch, out = self.path("scratch"), self.path("out", "disk.raw")
        if way in LOOKS:
            with_extents = options[:2] if "--extents" in options[:1] else ()
            with_scratch = () if way == "info" else ("--scratch", scratch)
            return self.run([way, "-f", format, *with_extents, *with_scratch, path])
        if way in ("import-volume", "import-instance"):
            result = self.run(["run", way, "image=" + path, "volume=" + out, *inputs(format, options),
                               "--scratch", scratch, "--progress-fd", "EVENTS"])
            result.findings = b"".join(FINDING.findall(result.err)) # told beside the error
            result.err = FINDING.sub(b"", result.err)
            return result
        if way == "job":
            text = json.dumps({"source": path, "format": format, "store": out, "sync": False,
                               "scratch": scratch, **dict(job)})
            return self.run(["run", "--progress-fd", "EVENTS"], stdin=text.encode())
        place, pipe = path, None
        if way == "pipe":
            place, pipe = "-", path
        elif way == "parts":
            place = self.serve(path, format)
        elif way == "digest":
            options = ("--digest", "fs-verity,sha256", *options)
        return self.run(["convert", "-f", format, "-O", "vmdk" if way == "encode" else "raw",
                         "--scratch", scratch, "--no-sync", "--progress-fd", "EVENTS", *options,
                         place, out], pipe=pipe)

    # -- what must hold

    def state(self, digests=False):
        """All that lies in the input directories: names, identities, times, and contents."""
        found = []
        for directory in ("in", "extents"):
            for root, directories, files in os.walk(self.path(directory)):
                for name in sorted(directories + files):
                    path = os.path.join(root, name)
                    info = os.lstat(path)
                    digest = b""
                    if digests and os.path.isfile(path):
                        with open(path, "rb") as file:
                            digest = hashlib.file_digest(file, "sha256").digest()
                    found.append((path, info.st_mode, info.st_ino, info.st_size, info.st_nlink,
                                  info.st_mtime_ns, info.st_ctime_ns, digest))
        return found

    def untouched(self, case, result):
        """What holds of every run, whatever came of it."""
        said = result.out + result.err + result.events + result.findings
        case.assertNotRegex(said, rb"Sanitizer|runtime error:", "a sanitizer's report")
        case.assertGreaterEqual(result.status, 0, "ended by a signal (9: after %d s): %r"
                                % (DEADLINE_S, said[-2000:]))
        case.assertNotIn(self.token, said, "the canary's token is in the output")
        case.assertLess(result.seconds, DEADLINE_S)
        if not SANITIZED:
            case.assertLess(result.kib, MEMORY_KIB, "KiB of memory")
        try:
            self.listener.accept()[0].close()
            case.fail("the listener was connected to")
        except BlockingIOError:
            pass
        for directory in ("scratch", "tmp", "cwd"):
            case.assertEqual(os.listdir(self.path(directory)), [], "left in " + directory)

    def was_refused(self, case, result, says=(), status=(4,)):
        self.untouched(case, result)
        left = os.listdir(self.path("out"))
        for name in left:
            os.unlink(self.path("out", name))
        text = result.err.decode("utf-8", "strict")
        case.assertIn(result.status, status, "wanted status %s; it said: %s" % (status, text))
        case.assertEqual(left, [], "left where OUT should be")
        case.assertEqual(result.out, b"", "something on standard output")
        case.assertLess(result.written, SCRATCH_BYTES, "bytes written before it was refused")
        one_line(case, text)
        events = [json.loads(line) for line in result.events.decode("utf-8").splitlines()]
        if events:
            case.assertEqual(events[-1]["event"], "error", "the last event")
            one_line(case, events[-1]["message"] + "\n", "")
            case.assertIn(events[-1]["message"], text)
            text += " " + events[-1]["code"]
        tells(case, text, says)
        return text

    def was_accepted(self, case, result, disk, way="file"):
        self.untouched(case, result)
        case.assertEqual(result.status, 0, "wanted to be accepted: %s" % result.err.decode())
        out = self.path("out", "disk.raw")
        beside = {"disk.raw.manifest.json"} if way == "digest" else set()
        left = set(os.listdir(self.path("out")))
        try:
            case.assertEqual(left, {"disk.raw"} | beside)
            if way == "encode":
                return
            if isinstance(disk, int): # blank and of that size
                case.assertEqual(os.path.getsize(out), disk)
                case.assertLess(os.stat(out).st_blocks * 512, 1 << 20, "bytes of a blank disk")
                return
            with open(out, "rb") as file:
                got = file.read(len(disk) + 1)
            if got != bytes(disk):
                case.fail(difference(got, disk))
        finally:
            for name in left:
                os.unlink(self.path("out", name))

    def was_looked_at(self, case, result):
        """Whatever stands on the disk, and whether it can be read: a verdict, and nothing else."""
        self.untouched(case, result)
        case.assertIn(result.status, (0, 4), result.err)
        if result.status:
            one_line(case, result.err.decode("utf-8", "strict"))

    def ways(self, case, data, format, ways, options, job, judge, judge_info):
        """Put the image in place and send it every way; the input must be the same after all."""
        path = data if isinstance(data, str) else self.put(data)
        digests = ways in (ALL_WAYS, TO_RAW) # the times tell as well, and are quicker to read
        before = self.state(digests)
        for way in ways or self.some_ways():
            with case.subTest(way=way):
                result = self.go(way, path, format, options, job)
                if way in ("check", "inspect"):
                    self.was_looked_at(case, result)
                elif way in LOOKS:
                    judge_info(result)
                else:
                    judge(result, way)
        case.assertEqual(before, self.state(digests), "the input was changed")

    def some_ways(self):
        """As a file, and one of the other ways, each in its turn: for cases that are many."""
        self.turn += 1
        return ("file", ("pipe", "parts", "job", "info", "digest")[self.turn % 5])

    def refused(self, case, data, format, says=(), status=(4,), ways=None, options=(), job=()):
        """data (or the file at the path data) must be refused, with these words and numbers."""
        def judge(result, _):
            self.was_refused(case, result, says, status)

        def judge_info(result): # refuses or not: it tells what it can prove, and breaks nothing
            self.untouched(case, result)
            if result.status:
                self.was_refused(case, result, (), (*status, 3))

        self.ways(case, data, format, ways, options, job, judge, judge_info)

    def accepted(self, case, data, format, disk, ways=None, options=(), job=()):
        """data must become exactly disk (bytes; a number means a blank disk of that size)."""
        def judge(result, way):
            self.was_accepted(case, result, disk, way)

        def judge_info(result):
            self.untouched(case, result)
            case.assertEqual(result.status, 0, result.err.decode())

        self.ways(case, data, format, ways, options, job, judge, judge_info)

    def refused_or(self, case, data, format, disk, way="file"):
        """data must be refused, or give exactly disk; true when it was accepted."""
        path = data if isinstance(data, str) else self.put(data)
        before = self.state()
        result = self.go(way, path, format)
        if result.status == 0:
            self.was_accepted(case, result, disk)
        else:
            self.was_refused(case, result)
        case.assertEqual(before, self.state(), "the input was changed")
        return result.status == 0


class Case(unittest.TestCase):
    """One format's cases on a bench of their own; ways: all of them, or None for some_ways."""
    format = None
    disk = b""
    ways = None

    @classmethod
    def setUpClass(cls):
        cls.bench = Bench()
        cls.addClassCleanup(cls.bench.close)

    def tearDown(self):
        self.bench.clear()

    def good(self, image, disk=None, **how):
        """The accepted neighbour."""
        with self.subTest("the accepted neighbour"):
            self.bench.accepted(self, image, self.format, self.disk if disk is None else disk,
                                **{"ways": self.ways, **how})

    def bad(self, image, *says, **how):
        self.bench.refused(self, image, self.format, says, **{"ways": self.ways, **how})

    def sweep_cuts(self, good, disk, lengths, ways=("file",)):
        """An image that ends early is refused."""
        path = self.bench.put(good)
        for i, length in enumerate(sorted(lengths, reverse=True)[::8 if SANITIZED else 1]):
            with self.subTest(length=length):
                os.truncate(path, length)
                if self.bench.refused_or(self, path, self.format, disk, ways[i % len(ways)]):
                    self.fail("accepted, though %d bytes are missing" % (len(good) - length))

    def sweep_flips(self, good, disk, ranges, harmless=()):
        """An image with a bit turned over is refused; where the byte means nothing (harmless) it
        may also be accepted, and the disk is right."""
        meaningless = {at for start, end in harmless for at in range(start, end)}
        path = self.bench.put(good)
        for start, end in ranges:
            for at in range(start, end, 8 if SANITIZED else 1):
                with self.subTest(at=at):
                    overwrite(path, at, good[at] ^ 1 << (at * 5 + 2) % 8)
                    if self.bench.refused_or(self, path, self.format, disk) \
                            and at not in meaningless:
                        self.fail("accepted, though byte %d means something" % at)
                overwrite(path, at, good[at])


def inputs(format, options):
    """Those of a workflow, for what `convert` is told by -f and options."""
    kind, _, packed = ("vmdk.ova" if format == "ova" else format).partition(".")
    named = {name[2:] + "=" + value for name, value in zip(options[::2], options[1::2])}
    return ["format=" + kind, *["packed=" + packed] * bool(packed), *sorted(named)]


def save(file, data):
    """Write data sparse."""
    if isinstance(data, dict):
        pieces = sorted((at, piece) for at, piece in data.items() if at != "size")
        size = data["size"]
    else:
        step = 1 << 16
        pieces = [(at, data[at:at + step]) for at in range(0, len(data), step)]
        size = len(data)
    for at, piece in pieces:
        if piece.count(0) != len(piece):
            file.seek(at)
            file.write(piece)
    file.truncate(size)


def feed(path, fd):
    try:
        with open(path, "rb") as file, os.fdopen(fd, "wb") as pipe:
            shutil.copyfileobj(file, pipe, 1 << 16)
    except BrokenPipeError:
        pass # it need not read on once it has refused


def whole(file):
    file.seek(0)
    return file.read()


def one_line(case, text, start="imaging-toolkit: "):
    """One line that a terminal and a log can show."""
    case.assertTrue(text.startswith(start), text)
    case.assertTrue(text.endswith("\n") and text.count("\n") == 1, "not one line: %r" % text)
    case.assertTrue(text[:-1].isprintable(), "not printable: %r" % text)
    case.assertLess(len(text), LINE_LIMIT)


def tells(case, text, says):
    """Every one of says is in the text: a word in any case, a number, or one of a set of these."""
    numbers = {int(n, 0) for n in re.findall(r"0[xX][0-9a-fA-F]+|(?<![0-9a-fA-F])[1-9][0-9]*|\b0\b",
                                             text)}
    for wanted in says:
        choices = wanted if isinstance(wanted, (set, frozenset, tuple)) else {wanted}
        found = any(c in numbers if isinstance(c, int) else c.lower() in text.lower()
                    for c in choices)
        case.assertTrue(found, "it should tell %s, and says: %s" % (wanted, text))


def sectors(count):
    """A number of sectors, however the message counts it."""
    return {count, count * 512}


def difference(got, disk):
    if len(got) != len(disk):
        return "the disk should have %d bytes, not %d" % (len(disk), len(got))
    at = next(i for i, (a, b) in enumerate(zip(got, disk)) if a != b)
    return "byte %d of the disk is %#x instead of %#x" % (at, got[at], disk[at])


def patched(data, at, new):
    """A copy with the bytes at `at` (from the end when negative) replaced."""
    at = at if at >= 0 else len(data) + at
    copy = bytearray(data)
    copy[at:at + len(new)] = new
    assert len(copy) == len(data)
    return bytes(copy)


def overwrite(path, at, byte):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unittest.main(verbosity=1, module=sys.modules["__main__"])
