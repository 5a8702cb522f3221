#!/usr/bin/python3
"""A service is stopped (SIGSTOP) right after each of the system calls that its worker makes for a task,
until others have done that task, and goes on then: it changes nothing any more.  Volumes that were
published are the same files afterwards, and nothing is left.

    zombies.py [--stride N] [--at-once N] [--kinds A,B] [--wake done,claimed] [--every]

Kinds: volume, instance.  wake: when the stopped service goes on: when its task is done, or at the moment
another one begins with it.  Needs PostgreSQL, and strace, which stops it.
"""
import argparse
import collections
import http.client
import os
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import postgres  # noqa: E402
import service  # noqa: E402
import storm  # noqa: E402
import syscalls  # noqa: E402
import uploads  # noqa: E402

HEALTHY = 4  # services that take over
DEADLINE_S = 180
ROBBED_S = 60  # twice a lease
STILL_S = 4    # nothing has moved for so long: nothing will


def state(pid):
    """The letter of /proc/PID/stat: T stopped (t: and traced), Z dead."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as text:
        return text.read().rsplit(")", 1)[1].split()[0]


def metrics(address):
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


class Round:
    """Some zombies, each with a task, and services that do those tasks again.  The first service takes the
    orders and is busy otherwise."""

    def __init__(self, worker, server, images, number, points, kind, wake):
        self.worker, self.points, self.kind, self.wake = worker, points, kind, wake
        self.server, self.images, self.number = server, images, number
        self.stopped, self.refused, self.wrong = set(), 0, []
        self.zombies = range(1, len(points) + 1)
        self.healthy = range(len(points) + 1, len(points) + 1 + HEALTHY)

    def submit(self, client, **more):
        disks = [self.server.add(self.images[(self.number + n) % len(self.images)], self.number + n,
                                 part=256 << 10, **more)
                 for n in range(2 if self.kind == "instance" and not more else 1)]
        self.number += len(disks)
        id = (client.import_instance if len(disks) > 1 else client.import_volume)(*disks)
        return id, disks

    def run(self, database_uri):
        with storm.Fleet(len(self.points) + 1 + HEALTHY, database_uri, workers=1,
                         start=False) as fleet:
            fleet.start(0)
            client = storm.Client(fleet, [0])
            busy = self.submit(client, hold=0)
            busy[1][0].waiting.wait(DEADLINE_S)
            for i in self.zombies:
                fleet.start(i)
            watch = storm.Watch(fleet)
            tracers = [self.bewitch(fleet.services[i].pid, *point)
                       for i, point in zip(self.zombies, self.points)]
            try:
                wanted = dict(self.submit(client) for _ in self.points)
                robbed, client = self.haunt(fleet, watch, wanted)
                self.let_go(fleet, tracers)
                self.see_refused(fleet, robbed)
                for disks in (*wanted.values(), busy[1]):
                    for upload in disks:
                        upload.open()
                self.rest(fleet, client)
                self.judge(fleet, client, {**wanted, busy[0]: busy[1]})
            finally:
                watch.stop()
                self.let_go(fleet, tracers)
        return self.wrong

    def let_go(self, fleet, tracers):
        for tracer in tracers:
            tracer.terminate()
            tracer.wait()
        for i in self.zombies:
            storm.send_signal(fleet.services[i].pid, signal.SIGCONT)

    def bewitch(self, pid, call, count):
        threads = syscalls.threads_of(pid)
        return syscalls.attach([threads[n] for n in self.worker],
                               ["-e", f"trace={call}", "-e", f"inject={call}:signal=STOP:when={count}"])

    def haunt(self, fleet, watch, wanted):
        """Until all zombies stand still, and then until the others have worked, or have begun to.
        The zombies that were robbed of a stage, and how to ask the others."""
        pids = [fleet.services[i].pid for i in self.zombies]
        self.wait_until_still(watch, pids)
        before = {stage: claim for stage, (i, claim) in watch.held.items() if i in self.zombies}
        owner = {stage: i for stage, (i, _) in watch.held.items()}
        if self.wake == "claimed":  # the others do not come to an end before the zombies go on
            for stage in before:
                for upload in wanted[stage.split()[0]]:
                    upload.hold = 0
        for i in self.healthy:
            fleet.start(i)
        client, self.seen = storm.Client(fleet, self.healthy), {}

        def robbed():
            watch.read()
            return {owner[stage] for stage, claim in before.items()
                    if watch.last[stage][1] > claim}

        if self.wake == "claimed":
            self.wait_until_robbed(robbed, min(HEALTHY, len(before)))
        else:
            service.wait_for(lambda: self.all_ended(client), DEADLINE_S)
            self.seen = self.files(fleet)
        return robbed(), client

    @staticmethod
    def wait_until_robbed(robbed, count):
        """Those that stopped behind their last write are never robbed: that is no fault."""
        try:
            service.wait_for(lambda: len(robbed()) >= count, ROBBED_S)
        except TimeoutError:
            pass

    def see_refused(self, fleet, robbed):
        """Each of the robbed tries to write of its stage, and must not."""
        def refusals(i):
            said = metrics(fleet.cluster.status(i))
            return int(re.search(r"^imaging_stale_epoch_refusals_total (\d+)", said, re.M)[1])
        for i in robbed:
            try:
                service.wait_for(lambda i=i: refusals(i) > 0, 30)
                self.refused += 1
            except TimeoutError:
                self.wrong.append(f"zombie {i}, {self.points[i - 1]}: nothing it wrote was refused")

    def rest(self, fleet, client):
        service.wait_for(lambda: self.all_ended(client), DEADLINE_S)
        service.wait_for(lambda: not any(fleet.children(i) for i in self.zombies), DEADLINE_S)

    def wait_until_still(self, watch, pids):
        """Nothing moves any more: all are stopped, or have nothing to do."""
        before, since, end = None, time.monotonic(), time.monotonic() + DEADLINE_S
        while time.monotonic() < min(since + STILL_S, end) and len(self.stopped) < len(pids):
            time.sleep(0.05)
            watch.read()
            self.stopped = {i for i, pid in enumerate(pids) if state(pid) in "Tt"}
            now = self.stopped, watch.claims, len(watch.finished)
            if now != before:
                before, since = now, time.monotonic()

    @staticmethod
    def all_ended(client):
        """All but the one that keeps the first service busy."""
        return sum(task.state not in storm.ENDED for task in client.describe().values()) <= 1

    @staticmethod
    def files(fleet):
        """What tells a volume from another with the same name."""
        found = {}
        for name in os.listdir(fleet.volumes):
            if name.endswith(".raw"):
                st = os.stat(os.path.join(fleet.volumes, name))
                found[name] = st.st_ino, st.st_mtime_ns
        return found

    def judge(self, fleet, client, wanted):
        for id in wanted:
            client.wait_ended(id)
        storm.gc(fleet)
        try:
            service.wait_for(lambda: not storm.judge(fleet, client, wanted), 30)
        except TimeoutError:
            self.wrong += storm.judge(fleet, client, wanted)
        self.wrong += [str(task) for task in client.describe().values() if task.state != "completed"]
        now = self.files(fleet)
        self.wrong += [f"{name} is another file, or was written to: {was}, {now.get(name)}"
                       for name, was in self.seen.items() if now.get(name) != was]


class Zombies:
    def __init__(self, options, server, directory, database):
        self.options, self.server, self.directory = options, server, directory
        self.database = database
        self.images = [uploads.Image.make(form, directory, 1, f"zombie.{form}")
                       for form in ("RAW", "VMDK")]
        self.number = 0

    def count(self, kind):
        """The points of the worker, and which thread of a service it is."""
        out = os.path.join(self.directory, "trace." + kind)
        with storm.Fleet(1, self.database.create_database(), workers=1) as fleet:
            pid = fleet.services[0].pid
            threads = syscalls.threads_of(pid)
            tracer = syscalls.attach([pid], ["-f", "-o", out])
            one = Round([], self.server, self.images, self.number, [], kind, None)
            client = storm.Client(fleet)
            client.wait_ended(one.submit(client)[0])
            self.number = one.number
            tracer.terminate()
            tracer.communicate()
        trace = syscalls.Trace(out, self.options.every)
        worker = sorted(trace.calling("clone") & set(threads))
        return [threads.index(t) for t in worker], trace.points(worker)

    def run(self):
        counts, wrong, stopped, refused = collections.Counter(), [], 0, 0
        for kind in self.options.kinds:
            threads, points = self.count(kind)
            for wake in self.options.wake:
                chosen = points[::self.options.stride]
                print(f"{kind}, {len(chosen)} points, awake again when {wake}", flush=True)
                for at in range(0, len(chosen), self.options.at_once):
                    one = Round(threads, self.server, self.images, self.number,
                                chosen[at:at + self.options.at_once], kind, wake)
                    began = time.monotonic()
                    for line in one.run(self.database.create_database()):
                        print("WRONG:", one.points, line, flush=True)
                        wrong.append(line)
                    self.number = one.number
                    stopped += len(one.stopped)
                    refused += one.refused
                    counts[f"{kind} {wake}"] += len(one.points)
                    print(f"{len(one.points)} points, {len(one.stopped)} stopped, "
                          f"{time.monotonic() - began:.0f} s", flush=True)
        said = ", ".join(f"{n} {what}" for what, n in counts.items())
        print(f"figures: {sum(counts.values())} zombies ({said}), {stopped} of them stopped in "
              f"mid-task, {refused} refused when they went on; {len(wrong)} wrong")
        return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=12)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=("volume", "instance"))
    parser.add_argument("--wake", type=lambda text: text.split(","), default=("done", "claimed"))
    parser.add_argument("--every", action="store_true")
    options = parser.parse_args()
    if not shutil.which("strace"):
        print("skipped: strace is not installed")
        return 77
    postgres.SETTINGS["max_connections"] = "300"  # of so many services
    with tempfile.TemporaryDirectory(prefix="zombies.") as directory, uploads.Uploads() as server, \
            postgres.Postgres() as database:
        return Zombies(options, server, directory, database).run()


sys.exit(main())
