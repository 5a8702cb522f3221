"""measure - run commands and say what they cost: time, CPU, memory, scratch.

Not the judge of the figures; that is report.py.
"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from procfs import opened  # noqa: E402

SAMPLE_S = 0.1  # between two looks at the processes and the scratch directory
DEADLINE_S = 3600  # of one command: libvhdi needs minutes, nothing needs an hour
HOLE = getattr(os, "SEEK_HOLE")
DATA = getattr(os, "SEEK_DATA")
PIECE = 4 << 20


class Failed(Exception):
    """A command ended badly; the last line it said."""


class Cost:
    """Of one run: seconds, CPU seconds, peak resident set and peak scratch in bytes."""

    def __init__(self, wall=0.0, cpu=0.0, rss=0, scratch=0):
        self.wall, self.cpu, self.rss, self.scratch = wall, cpu, rss, scratch

    def then(self, other):
        """The cost of one after the other."""
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.rss, other.rss),
                    max(self.scratch, other.scratch))


def extents(fd):
    """(start, end) of what is data in a file."""
    size, at = os.fstat(fd).st_size, 0
    while at < size:
        try:
            at = os.lseek(fd, at, DATA)
        except OSError:  # ENXIO: a hole up to the end
            return
        end = os.lseek(fd, at, HOLE)
        yield at, end
        at = end


def warm(paths):
    """Read files, that they are in the page cache."""
    buffer = bytearray(PIECE)
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        for at, end in extents(fd):
            while at < end:
                n = os.preadv(fd, [memoryview(buffer)[:min(PIECE, end - at)]], at)
                if n == 0:
                    break
                at += n
        os.close(fd)


def disk_usage(top):
    total = 0
    for directory, _, files in os.walk(top):
        for name in files:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def compare(path, wanted):
    """Both files hold the same bytes; holes of both are not read.  Raises Failed where not."""
    a, b = os.open(path, os.O_RDONLY), os.open(wanted, os.O_RDONLY)
    try:
        if os.fstat(a).st_size != os.fstat(b).st_size:
            raise Failed(f"wrong result: {os.fstat(a).st_size} bytes instead of "
                         f"{os.fstat(b).st_size}")
        for fd in (a, b):
            for at, end in extents(fd):
                for piece in range(at, end, PIECE):
                    length = min(PIECE, end - piece)
                    if os.pread(a, length, piece) != os.pread(b, length, piece):
                        raise Failed(f"wrong result: it differs within {length} bytes at {piece}")
    finally:
        os.close(a)
        os.close(b)


class Watch(threading.Thread):
    """Looks at all processes of a session and at the scratch directory, now and then."""

    def __init__(self, session, scratch):
        super().__init__(daemon=True)
        self.session, self.scratch = session, scratch
        self.rss = self.used = 0
        self.over = threading.Event()

    def members(self):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/stat", encoding="latin-1") as stat:
                    fields = stat.read().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it has ended
            if int(fields[3]) == self.session and int(name) != self.session:
                yield name, int(fields[21]) * os.sysconf("SC_PAGESIZE")

    @staticmethod
    def shared(pid):
        """Bytes of a resident set that are memory of several processes."""
        try:
            with open(f"/proc/{pid}/status", encoding="latin-1") as status:
                found = re.search(r"^RssShmem:\s*(\d+) kB", status.read(), re.M)
        except OSError:
            found = None
        return int(found[1]) << 10 if found else 0

    def unlinked(self, pid):
        """Bytes of scratch that has no name."""
        total = 0
        for number, target in opened(pid).items():
            if target.startswith(self.scratch) and target.endswith(" (deleted)"):
                with contextlib.suppress(OSError):
                    total += os.stat(f"/proc/{pid}/fd/{number}").st_blocks * 512
        return total

    def look(self):
        rss = unlinked = together = 0
        for pid, size in self.members():
            shared = self.shared(pid)
            rss += size - shared
            together = max(together, shared)
            unlinked += self.unlinked(pid)
        self.rss = max(self.rss, rss + together)
        self.used = max(self.used, disk_usage(self.scratch) + unlinked)

    def run(self):
        while not self.over.wait(SAMPLE_S):
            self.look()

    def end(self):
        self.over.set()
        self.join()
        self.used = max(self.used, disk_usage(self.scratch))


class Lab:
    """Where commands run: their scratch, and the meter."""

    def __init__(self, top, meter):
        self.meter, self.top = meter, top
        self.scratch = os.path.join(top, "scratch")
        self.costs, self.said = os.path.join(top, "cost"), os.path.join(top, "said")
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.lower().endswith("_proxy")}
        self.environment.update(TMPDIR=self.scratch, LC_ALL="C")

    def clean(self, outs):
        """Nothing is left of the run before, not even dirty pages."""
        for directory in (self.scratch, outs):
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
        os.sync()

    def close(self):
        for path in (self.costs, self.said):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def run_one(self, command):
        costs, said = self.costs, self.said
        with open(said, "wb") as out:
            process = subprocess.Popen([self.meter, costs, *command], stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, env=self.environment,
                                       start_new_session=True)
            watch = Watch(process.pid, self.scratch)
            watch.start()
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                raise Failed(f"it did not end in {DEADLINE_S} s") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                watch.end()
        with open(costs, encoding="ascii") as text:
            wall, user, system, rss, status = map(int, text.read().split())
        if status != 0:
            with open(said, encoding="utf-8", errors="replace") as text:
                lines = text.read().split("\n")
            last = [line.strip() for line in lines if line.strip()][-1:]
            raise Failed(last[0] if last else f"status {status}")
        return Cost(wall / 1e9, (user + system) / 1e6, max(rss * 1024, watch.rss), watch.used)

    def run(self, commands):
        """Several commands one after the other, as one."""
        total = Cost()
        for command in commands:
            total = total.then(self.run_one(command))
        return total
