"""floors - what this machine can do at best, measured in the same run as the rows."""
import concurrent.futures
import hashlib
import os
import statistics
import subprocess
import time

from measure import extents, warm
from plans import LINK

PIECE = 1 << 20
RUNS = 3

TITLES = {
    "inflate": "inflate the grains of the stream-optimized VMDK on all cores (libdeflate)",
    "copy": "copy the disk's data to a sparse file in the page cache",
    "write": "the same, and fsync",
    "md5": "MD5 of the stream-optimized VMDK on all cores",
    "sha256": "SHA-256 of the disk's data on all cores",
    "download": "download the parts of the stream-optimized VMDK to nowhere",
    "link": "the same over the link of 125 MB/s",
}


def seconds(work):
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def copy(source, target, durable):
    buffer = memoryview(bytearray(PIECE))
    a = os.open(source, os.O_RDONLY)
    b = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.ftruncate(b, os.fstat(a).st_size)
    for at, end in extents(a):
        for piece in range(at, end, PIECE):
            n = os.preadv(a, [buffer[:min(PIECE, end - piece)]], piece)
            os.pwrite(b, buffer[:n], piece)
    if durable:
        os.fsync(b)
    os.close(a)
    os.close(b)


def digest(path, name):
    """All MiBs of data of a file, each by itself, on all cores."""
    fd = os.open(path, os.O_RDONLY)
    pieces = [piece for at, end in extents(fd) for piece in range(at, end, PIECE)]

    def work(part):
        buffer = memoryview(bytearray(PIECE))
        for piece in part:
            n = os.preadv(fd, [buffer], piece)
            hashlib.new(name, buffer[:n])

    cores = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, [pieces[i::cores] for i in range(cores)]))
    os.close(fd)


class Floors:
    """seconds by name, and `skipped` reasons by name."""

    def __init__(self, maker):
        self.maker, self.lab, self.corpus = maker, maker.lab, maker.corpus
        self.seconds, self.skipped = {}, {}

    def inflate(self):
        floor = self.maker.tools.get("inflate-floor", "")
        if not floor.startswith("/"):
            raise OSError(floor)
        said = subprocess.run([floor, self.corpus.image("disk-stream.vmdk"),
                               str(len(os.sched_getaffinity(0)))], check=True,
                              stdout=subprocess.PIPE)
        return float(said.stdout.split()[0])

    def download(self, *options):
        url = self.maker.serve("disk-stream.vmdk", "VMDK", *options)
        return self.lab.run([self.maker.fetch(url, "-")]).wall

    def one(self, name):
        out = os.path.join(self.maker.local, "floor")
        stream = self.corpus.image("disk-stream.vmdk")
        return {
            "inflate": self.inflate,
            "copy": lambda: seconds(lambda: copy(self.maker.disk(), out, False)),
            "write": lambda: seconds(lambda: copy(self.maker.disk(), out, True)),
            "md5": lambda: seconds(lambda: digest(stream, "md5")),
            "sha256": lambda: seconds(lambda: digest(self.maker.disk(), "sha256")),
            "download": self.download,
            "link": lambda: self.download("--rate", str(LINK)),
        }[name]()

    def measure(self, names, say):
        if names:
            warm([self.maker.disk(), self.corpus.image("disk-stream.vmdk")])
        for name in names:
            say(f"floor: {TITLES[name]}")
            try:
                runs = []
                for _ in range(RUNS):
                    self.lab.clean(self.maker.local)
                    runs.append(self.one(name))
                self.seconds[name] = statistics.median(runs)
            except (OSError, subprocess.CalledProcessError) as error:
                self.skipped[name] = str(error)
