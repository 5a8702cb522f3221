#!/usr/bin/python3
"""Cancel a task in each stage of its life: it is cancelled within 5 seconds and nothing is left of it;
cancelled twice it is no error; once it is completed, or being launched, AWS's error; and of a
cancellation that races with the publication one wins.

    cancel.py [--times N] [--seconds S] [--delay S] [--stages A,B] [--instances 1,3]

seconds: how long it may take at most.  The stages "commit" and "publish" last as long as delay, because
strace holds the system calls there: the file system is slow.  Several instances share PostgreSQL, and
who is asked to cancel is seldom the one at work.
"""
import argparse
import collections
import os
import random
import shutil
import stat
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import storm  # noqa: E402
import syscalls  # noqa: E402
import uploads  # noqa: E402

WORKERS = 2
PARTS = 4
# the numbers of x86_64 and of the others, as /proc/PID/syscall has them
SLOW_CALLS = {"rename": ("82", "38"), "renameat": ("264",), "renameat2": ("316", "276"),
              "link": ("86",), "linkat": ("265", "37"), "fsync": ("74", "82")}
STAGES = ("queued", "manifest", "part", "convert", "second disk", "commit", "publish", "race", "launch")


class Cancels:
    def __init__(self, options, server, directory, instances, new_database):
        self.options, self.server, self.directory = options, server, directory
        self.instances, self.new_database = instances, new_database
        self.images = [uploads.Image.make(form, directory, 1, f"cancel.{form}")
                       for form in ("RAW", "VHD", "VMDK")]
        self.number = 0
        self.fleet = self.client = None
        self.seconds = collections.defaultdict(list)  # by stage
        self.winners = collections.Counter()
        self.wrong = []

    # -- tools

    def upload(self, **more):
        self.number += 1
        image = self.images[self.number % len(self.images)]
        part = (len(image.data) + PARTS - 1) // PARTS
        return self.server.add(image, self.number, part=part, **more)

    def check(self, right, *words):
        if not right:
            self.wrong.append(" ".join(map(str, words)))
        return right

    def traces(self, id):
        """What is there of a task: its toolkits, its files."""
        found = [f"toolkit {pid}" for pid in self.fleet.all_children()
                 if (storm.task_of_child(pid) or ("",))[0] == id]
        for directory in (self.fleet.volumes, *self.fleet.scratches):
            found += [name for name in os.listdir(directory) if id in name]
        return found

    def cancel(self, stage, id, uploads_, times=1):
        """It must be accepted, and all be over in time."""
        asked = time.monotonic()
        for _ in range(times):
            self.check(self.client.cancel(id), stage, id, "was refused")
        task = self.client.wait_ended(id)
        took = time.monotonic() - asked
        self.seconds[stage].append(took)
        self.check(task.state == "cancelled", stage, task)
        self.check(took <= self.options.seconds, stage, f"{id}: took {took:.1f} s")
        self.check(not self.traces(id), stage, f"{id}: there are still {self.traces(id)}")
        self.check(self.client.cancel(id), stage, id, "once cancelled was refused")
        for upload in uploads_:
            upload.open()

    def begin(self, *uploads_, **more):
        if len(uploads_) > 1 or more:
            return self.client.import_instance(*uploads_, **more)
        return self.client.import_volume(*uploads_)

    def end_well(self, id, upload):
        task = self.client.wait_ended(id)
        wrong = storm.judge_task(self.fleet, task, [upload])
        self.check(task.state == "completed" and not wrong, id, wrong or task)

    # -- the stages

    def queued(self):
        """All workers have other work."""
        busy = [self.upload(hold=1) for _ in range(WORKERS * self.instances)]
        ids = [self.begin(upload) for upload in busy]
        for upload in busy:
            upload.waiting.wait()
        for n in range(self.options.times):
            upload = self.upload()
            self.cancel("queued", self.begin(upload), [upload], 1 + n % 2)
        for upload, id in zip(busy, ids):
            upload.open()
            self.end_well(id, upload)

    def held(self, stage, hold, **more):
        upload = self.upload(hold=hold, **more)
        id = self.begin(upload)
        self.check(upload.waiting.wait(storm.PATIENCE_S), stage, id, "never came there")
        self.cancel(stage, id, [upload], 1 + self.number % 2)

    def manifest(self):
        for _ in range(self.options.times):
            self.held("manifest", "manifest")

    def part(self):
        for n in range(self.options.times):
            self.held("part", n % PARTS)

    def convert(self):
        """Bytes flow, slowly."""
        for _ in range(self.options.times):
            self.held("convert", None, rate=64 << 10)

    def second_disk(self):
        """The first disk's volume is published, and taken back."""
        for _ in range(self.options.times):
            first, second = self.upload(), self.upload(hold=1)
            id = self.begin(first, second)
            service.wait_for(lambda id=id: any(self.client.look(id).volumes), storm.PATIENCE_S)
            second.waiting.wait()
            before = len(os.listdir(self.fleet.volumes))
            self.cancel("second disk", id, [second])
            self.check(len(os.listdir(self.fleet.volumes)) < before, id, "kept its first volume")

    def slow_toolkit(self, calls):
        path = os.path.join(self.directory, "slow-toolkit")
        real = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
        with open(path, "w", encoding="ascii") as script:
            script.write("#!/bin/sh\nexport ASAN_OPTIONS=detect_leaks=0  # which needs ptrace for itself\n"
                         f"exec strace -D -f -o /dev/null {' '.join(self.slow(calls))} "
                         f"'{real}' \"$@\"\n")
        os.chmod(path, stat.S_IRWXU)
        return path

    def slow(self, calls):
        names = ",".join(calls)
        return "-e", f"trace={names}", "-e", f"inject={names}:delay_enter={self.options.delay}s"

    @staticmethod
    def numbers(calls):
        return {number for call in calls for number in SLOW_CALLS[call]}

    def commit(self):
        """The toolkit has written all and makes it durable under its name."""
        calls = ("fsync", "linkat", "rename")
        with self.new_fleet(self.slow_toolkit(calls)):
            for _ in range(self.options.times):
                upload = self.upload()
                id = self.begin(upload)
                service.wait_for(lambda: any(syscalls.in_call(pid, self.numbers(calls))
                                             for pid in self.fleet.all_children()), storm.PATIENCE_S)
                self.cancel("commit", id, [upload])

    def publish(self):
        """The service gives the volume its name, on a slow file system.  Whoever wins: one does."""
        calls = ("rename",)
        with self.new_fleet(workers=1):
            pids = [one.pid for one in self.fleet.services]
            threads = [tid for pid in pids for tid in syscalls.threads_of(pid)]
            tracer = syscalls.attach(threads, ["-o", "/dev/null", *self.slow(calls)])
            for _ in range(self.options.times):
                upload = self.upload()
                id = self.begin(upload)
                service.wait_for(lambda: any(syscalls.in_call(pid, self.numbers(calls))
                                             for pid in pids), storm.PATIENCE_S)
                self.one_winner("publish", id, upload)
            tracer.terminate()
            tracer.communicate()

    def race(self):
        """A cancellation at any moment of a short life."""
        for n in range(self.options.times):
            upload = self.upload()
            id = self.begin(upload)
            time.sleep(random.uniform(0, 0.1))
            self.one_winner("race", id, upload)

    def one_winner(self, stage, id, upload):
        asked = time.monotonic()
        accepted = self.client.cancel(id)
        answered = time.monotonic() - asked
        task = self.client.wait_ended(id)
        self.seconds[stage].append(time.monotonic() - asked if accepted else answered)
        self.winners[f"{stage} {'cancelled' if accepted else 'published'}"] += 1
        self.check(answered <= self.options.seconds, stage, id, f"answered after {answered:.1f} s")
        self.check(task.state == ("cancelled" if accepted else "completed"), stage, task,
                   "accepted" if accepted else "refused")
        if accepted:
            self.check(self.seconds[stage][-1] <= self.options.seconds, stage, id, "took",
                       self.seconds[stage][-1])
            self.check(not self.traces(id), stage, id, self.traces(id))
        else:
            self.end_well(id, upload)
            self.check(not self.client.cancel(id), id, "was cancelled when it was completed")

    def launch(self):
        """All volumes are made: it is too late."""
        door = os.path.join(self.directory, "door")
        program = os.path.join(self.directory, "launcher")
        with open(program, "w", encoding="ascii") as script:
            script.write(f"#!/bin/sh\ntouch {door}.asked\nwhile [ ! -e {door} ]; do sleep 0.05; done\n"
                         "echo '{\"instance_id\": \"vm-1\", \"state\": \"running\"}'\n")
        os.chmod(program, stat.S_IRWXU)
        with self.new_fleet(config=f'launcher = command\nlauncher-command = "{program}"\n'):
            for _ in range(self.options.times):
                upload = self.upload()
                id = self.begin(upload, zone=self.fleet.zone)
                service.wait_for(lambda: os.path.exists(door + ".asked"), storm.PATIENCE_S)
                asked = time.monotonic()
                self.check(not self.client.cancel(id), "launch", id, "was cancelled")
                self.seconds["launch"].append(time.monotonic() - asked)
                with open(door, "w", encoding="ascii"):
                    pass
                self.end_well(id, upload)
                os.unlink(door)
                os.unlink(door + ".asked")

    # -- the whole

    def new_fleet(self, toolkit=None, config="", workers=WORKERS):
        outer, cancels = (self.fleet, self.client), self

        class Other:
            def __enter__(self):
                cancels.fleet = storm.Fleet(cancels.instances, cancels.new_database(), workers=workers,
                                            toolkit=toolkit, config=config)
                cancels.client = storm.Client(cancels.fleet)

            def __exit__(self, *exception):
                fleet = cancels.fleet
                cancels.check_left()
                cancels.fleet, cancels.client = outer
                fleet.stop()

        return Other()

    def check_left(self):
        tasks = self.client.describe()
        try:
            service.wait_for(lambda: not storm.leftovers(self.fleet, tasks), 30)
        except TimeoutError:
            self.wrong += storm.leftovers(self.fleet, tasks)

    def run(self):
        with self.new_fleet():
            for stage in self.options.stages:
                began = time.monotonic()
                getattr(self, stage.replace(" ", "_"))()
                print(f"{stage}: {len(self.seconds[stage])} times, "
                      f"at most {max(self.seconds[stage]):.2f} s "
                      f"({time.monotonic() - began:.0f} s in all)", flush=True)
        for line in self.wrong:
            print("WRONG:", line)
        slowest = ", ".join(f"{stage} {len(took)} × ≤ {max(took):.2f} s"
                            for stage, took in self.seconds.items())
        winners = ", ".join(f"{n} {who}" for who, n in sorted(self.winners.items()))
        print(f"figures: {self.instances} instances, {slowest}; {winners}; {len(self.wrong)} wrong")
        return 1 if self.wrong else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--delay", type=int, default=3)
    parser.add_argument("--instances", type=storm.numbers, default=[1, 3])
    parser.add_argument("--stages", type=lambda text: text.split(","), default=STAGES)
    options = parser.parse_args()
    if not shutil.which("strace"):
        print("skipped: strace is not installed")
        return 77
    with tempfile.TemporaryDirectory(prefix="cancel.") as directory, uploads.Uploads() as server:
        return storm.with_databases(options.instances, lambda count, new_database: Cancels(
            options, server, directory, count, new_database).run())


sys.exit(main())
