#!/usr/bin/python3
"""Kill the service, or its toolkit, before each of its system calls that change anything, in the
course of one import: started again, the task ends right, once, and nothing is left.

    kill-syscalls.py [--stride N] [--jobs N] [--kinds A,B] [--targets A,B] [--every]

A first run of each kind counts the calls; then every one (every Nth) gets a run of its own, in which
strace kills the process as it enters it.  Counters of strace are per thread and call, so the threads
of the service are traced apart: those that answer, and the one that works.  Kinds: raw, vmdk (volumes),
instance (two disks and a launch); and from start to stop: first (in an empty directory), recovery (after
a death in mid-conversion), adoption (after one in mid-publication).  --every: at calls that change
nothing, too.
"""
import argparse
import collections
import concurrent.futures
import os
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import storm  # noqa: E402
import syscalls  # noqa: E402
import uploads  # noqa: E402

IMPORTS = ("raw", "vmdk", "instance")
STARTS = ("first", "recovery", "adoption")
DEADLINE_S = 120

Point = collections.namedtuple("Point", "kind target call count")


def kill_at(call, count):
    return ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count}"]


class Import:
    """One import into a service of its own, with whatever befalls it."""

    def __init__(self, kind, server, images, number, toolkit=None, directory=None):
        self.kind = kind
        self.fleet = storm.Fleet(1, workers=1, toolkit=toolkit, start=False)
        self.service = self.fleet.services[0]
        if directory:
            shutil.copytree(directory, self.service.dir, symlinks=True)
        form = "RAW" if kind == "raw" else "VMDK"
        self.uploads = [server.add(images[form], number + n, part=256 << 10)
                        for n in range(2 if kind == "instance" else 1)]
        self.id, self.failure, self.thread = None, None, None

    def submit(self):
        """In a thread of its own: the service may be dead meanwhile."""
        def run():
            try:
                client = storm.Client(self.fleet)
                self.id = (client.import_instance(*self.uploads) if self.kind == "instance"
                           else client.import_volume(*self.uploads))
            except Exception as failure:
                self.failure = f"the import failed: {failure!r}"
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def begin(self):
        """Submit it, unless it was before this start."""
        if not self.id:
            self.submit()

    def finish(self):
        """Keep the service alive until the task has ended; true when it had to be started again."""
        deaths, end = 0, time.monotonic() + DEADLINE_S
        client = storm.Client(self.fleet)
        while not self.failure:
            if self.service.process.poll() is not None:
                deaths += 1
                self.service.prefix = ()
                self.service.start()
            elif self.id:
                try:
                    if tree_state(client, self.id) in storm.ENDED:
                        break
                except OSError:
                    pass  # it dies just now
            if time.monotonic() > end:
                self.failure = f"task {self.id} did not end; the log:\n{self.service.log_text()[-1500:]}"
            time.sleep(0.02)
        return deaths

    def judge(self):
        """None, or what is wrong."""
        if self.failure:
            return self.failure
        client = storm.Client(self.fleet)
        wanted = {self.id: self.uploads}
        try:
            service.wait_for(lambda: not storm.judge(self.fleet, client, wanted), 10)
        except TimeoutError:
            return "; ".join(storm.judge(self.fleet, client, wanted))
        task = client.look(self.id)
        if task.state != "completed":
            return str(task)
        for where in self.fleet.records if self.kind == "instance" else ():
            if len(os.listdir(where)) != 1:
                return f"{where} holds {os.listdir(where)}"
        return None

    def stop(self):
        try:
            self.fleet.stop()
        except AssertionError as failure:
            return str(failure)
        return None


def tree_state(client, id):
    """One look, which may fail."""
    answer = client.once({"Action": "DescribeConversionTasks", "ConversionTaskId.1": id})
    return storm.tree(answer).findtext("conversionTasks/item/state")


class Sweep:
    def __init__(self, options, server, directory):
        self.options, self.server, self.directory = options, server, directory
        self.images = {form: uploads.Image.make(form, directory, 1, f"kill.{form}")
                       for form in ("RAW", "VMDK")}
        self.numbers = iter(range(0, 1 << 30, 2))
        self.lock = threading.Lock()
        self.roles, self.starts = {}, {}
        self.reached = collections.Counter()

    def make(self, kind, **more):
        with self.lock:
            number = next(self.numbers)
        return Import("raw" if kind in STARTS else kind, self.server, self.images, number, **more)

    def wrapper(self, options):
        """A toolkit that the first time runs under strace with these options."""
        place = tempfile.mkdtemp(dir=self.directory)
        path = os.path.join(place, "toolkit")
        real = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
        with open(path, "w", encoding="ascii") as script:
            script.write(f"#!/bin/sh\nif mkdir {place}/used 2>/dev/null; then\n"
                         f"exec strace -D -f {' '.join(options)} '{real}' \"$@\"\nfi\n"
                         f"exec '{real}' \"$@\"\n")
        os.chmod(path, 0o755)
        return path

    # -- counting

    def count_import(self, kind):
        """Trace the service, and in another run the toolkit; the points of both."""
        out = os.path.join(self.directory, "trace." + kind)
        one = self.make(kind)
        one.service.start()
        threads = syscalls.threads_of(one.service.pid)
        tracer = syscalls.attach([one.service.pid], ["-o", out, "-f"])
        one.submit()
        one.finish()
        tracer.terminate()
        tracer.communicate()
        self.check_plain(one, kind)
        trace = syscalls.Trace(out, self.options.every)
        worker = trace.calling("clone") & set(threads)
        answering = trace.calling("accept4", "recvfrom", "recvmsg") & set(threads)
        self.roles[kind] = {"worker": [threads.index(t) for t in sorted(worker)],
                            "answer": [threads.index(t) for t in sorted(answering - worker)]}
        points = [Point(kind, role, *point) for role, indexes in self.roles[kind].items()
                  for point in trace.points([threads[i] for i in indexes])]
        return points + self.count_toolkit(kind, out + ".toolkit")

    def count_toolkit(self, kind, out):
        one = self.make(kind, toolkit=self.wrapper(["-o", out]))
        one.service.start()
        one.submit()
        one.finish()
        self.check_plain(one, kind)
        trace = syscalls.Trace(out, self.options.every)
        return [Point(kind, "toolkit", *point) for point in trace.points(list(trace.threads))]

    def count_start(self, kind):
        out = os.path.join(self.directory, "trace." + kind)
        one = self.begun(kind)
        one.service.prefix = ("strace", "-D", "-f", "-o", out)
        one.service.start()
        main = one.service.pid
        one.begin()
        one.finish()
        self.check_plain(one, kind)
        trace = syscalls.Trace(out, self.options.every)
        return [Point(kind, "start", *point) for point in trace.points([main])]

    @staticmethod
    def check_plain(one, kind):
        wrong = one.judge() or one.stop()
        if wrong:
            raise AssertionError(f"{kind}, not killed: {wrong}")

    # -- the states that starts begin with

    def prepare_starts(self):
        self.starts["first"] = None, None, None
        one = self.make("raw")
        one.service.start()
        one.uploads[0].hold = 2
        one.submit()
        one.uploads[0].waiting.wait(DEADLINE_S)
        one.service.kill()
        self.keep(one, "recovery")
        one = self.make("raw")
        one.service.start()
        threads = syscalls.threads_of(one.service.pid)
        # the volume has its name; whatever is written after that is not
        tracer = syscalls.attach([threads[i] for i in self.roles["raw"]["worker"]],
                             ["-e", "trace=fsync", "-e", "inject=fsync:signal=KILL:when=1"])
        one.submit()
        service.wait_for(lambda: one.service.process.poll() is not None, DEADLINE_S)
        tracer.communicate()
        self.keep(one, "adoption")

    def keep(self, one, kind):
        """Its directory with one task, which is not at its end, for the starts."""
        one.thread.join()
        self.starts[kind] = os.path.join(self.directory, "start." + kind), one.id, one.uploads
        shutil.copytree(one.service.dir, self.starts[kind][0], symlinks=True)
        one.uploads[0].open()
        one.stop()

    def begun(self, kind):
        """A service, not started, in a copy of that state."""
        directory, id, disks = self.starts[kind]
        one = self.make(kind, directory=directory)
        one.id, one.uploads = id, disks or one.uploads
        return one

    # -- killing

    def kill(self, point):
        if point.target == "start":
            return self.kill_start(point)
        options = ["-o", "/dev/null", *kill_at(point.call, point.count)]
        toolkit = self.wrapper(["-o", "/dev/null", *kill_at(point.call, point.count)])
        one = self.make(point.kind, toolkit=toolkit if point.target == "toolkit" else None)
        one.service.start()
        tracer = None
        if point.target != "toolkit":
            threads = syscalls.threads_of(one.service.pid)
            tracer = syscalls.attach([threads[i] for i in self.roles[point.kind][point.target]], options)
        one.submit()
        deaths = one.finish()
        if tracer:
            tracer.terminate()
            tracer.communicate()
        else:
            deaths = one.service.log_text().count("died by signal 9")
        return self.verdict(point, one, deaths)

    def kill_start(self, point):
        one = self.begun(point.kind)
        one.service.prefix = ("strace", "-D", "-o", "/dev/null", *kill_at(point.call, point.count))
        deaths = 0
        try:
            one.service.start()
        except RuntimeError:  # it ended at its start
            deaths = 1
            one.service.prefix = ()
            one.service.start()
        one.begin()
        deaths += one.finish()
        return self.verdict(point, one, deaths)

    def verdict(self, point, one, deaths):
        """Judge it, and again when it was only now that the service met the call: at its stop."""
        wrong = self.judge_living(one)
        if not wrong and one.service.terminate() != 0:
            deaths += one.finish()
            wrong = self.judge_living(one)
        wrong = one.stop() or wrong
        with self.lock:
            self.reached[bool(deaths)] += 1
        return f"{point}: {wrong[:2000]}" if wrong else None

    @staticmethod
    def judge_living(one):
        """The service may be killed by the questions."""
        for _ in range(2):
            try:
                return one.judge()
            except OSError:
                service.wait_for(lambda: one.service.process.poll() is not None, DEADLINE_S)
                one.finish()
        return one.judge()

    def run(self):
        options = self.options
        points = []
        for kind in options.kinds:
            if kind in IMPORTS:
                points += self.count_import(kind)
        if set(STARTS) & set(options.kinds):
            if "raw" not in self.roles:
                self.count_import("raw")
            self.prepare_starts()
        for kind in options.kinds:
            if kind in STARTS:
                points += self.count_start(kind)
        points = [p for p in points if p.target in options.targets][::options.stride]
        print(f"{len(points)} runs", flush=True)
        wrong = []
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for said in pool.map(self.guarded, points):
                if said:
                    print("WRONG:", said, flush=True)
                    wrong.append(said)
        kinds = collections.Counter(f"{p.kind} {p.target}" for p in points)
        print(f"figures: {len(points)} runs ({', '.join(f'{n} {k}' for k, n in kinds.items())}), "
              f"{self.reached[True]} killed, {self.reached[False]} ended before that call; "
              f"{len(wrong)} wrong")
        return 1 if wrong else 0

    def guarded(self, point):
        try:
            return self.kill(point)
        except Exception as failure:
            return f"{point}: {failure!r}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=IMPORTS + STARTS)
    parser.add_argument("--targets", type=lambda text: text.split(","),
                        default=("worker", "answer", "toolkit", "start"))
    parser.add_argument("--every", action="store_true")
    options = parser.parse_args()
    if not shutil.which("strace"):
        print("skipped: strace is not installed")
        return 77
    with tempfile.TemporaryDirectory(prefix="kill-syscalls.") as directory, \
            uploads.Uploads() as server:
        return Sweep(options, server, directory).run()


sys.exit(main())
