#!/usr/bin/python3
"""Thousands of small imports while services and toolkits are killed, and stopped for longer than a
lease: each acknowledged task ends, once, with the right volume or none, and nothing is left.  Whose
workers died twice is spared a third time.

    storm.py [--tasks N] [--kills N] [--stops N] [--stop-seconds S] [--instances 1,3] [--seed N]

One instance is a standalone service on SQLite; several share PostgreSQL.  Half of the kills hit
services, half toolkits; of the stops (SIGSTOP, later SIGCONT) one in ten hits a service.
"""
import argparse
import os
import random
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import storm  # noqa: E402
import uploads  # noqa: E402

QUEUED_MAX = 150      # tasks under way; what the clients wait for
TAKEOVER_P99_S = 45   # promised


def arguments():
    parser = argparse.ArgumentParser()
    for name, value in (("tasks", 1500), ("kills", 300), ("stops", 50), ("stop-seconds", 45),
                        ("workers", 4), ("seed", 0), ("images", 12)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--instances", type=storm.numbers, default=[1, 3])
    chosen = parser.parse_args()
    chosen.seed = chosen.seed or random.SystemRandom().randrange(1, 1 << 32)
    return chosen


class Storm:
    def __init__(self, options, fleet, server, directory):
        self.options, self.fleet, self.server = options, fleet, server
        self.pick = random.Random(options.seed)
        self.client = storm.Client(fleet)
        self.watch = storm.Watch(fleet)
        self.images = [uploads.Image.make(form, directory, 1 + n % 4, f"{options.seed}.{n}")
                       for form in ("RAW", "VHD", "VMDK") for n in range(options.images)]
        self.wanted, self.cancels = {}, {}  # {id: uploads}, {id: accepted}
        self.counts = {"service kills": 0, "toolkit kills": 0, "service stops": 0, "toolkit stops": 0}
        self.sleepers, self.frozen = [], set()
        self.struck = threading.Event()  # all blows were dealt
        self.failures = []

    # -- clients

    def submit(self):
        """All tasks, and more until the last blow was dealt, never too many at once; one in ten is
        an instance of two disks, and one in twenty is cancelled at some moment."""
        n = number = 0
        while n < self.options.tasks or not self.struck.is_set():
            service.wait_for(lambda: len(self.wanted) - self.finished() < QUEUED_MAX, 3600)
            disks = [self.server.add(self.pick.choice(self.images), number + k)
                     for k in range(2 if n % 10 == 9 else 1)]
            number += len(disks)
            id = (self.client.import_instance if len(disks) > 1 else
                  self.client.import_volume)(*disks)
            self.wanted[id] = disks
            if n % 20 == 7:
                timer = threading.Timer(self.pick.uniform(0, 3), self.cancel, (id,))
                self.sleepers.append(timer)
                timer.start()
            n += 1

    def cancel(self, id):
        try:
            self.cancels[id] = storm.Client(self.fleet).cancel(id)
        except Exception as failure:
            self.failures.append(f"{id}: cancelling it failed: {failure}")

    def finished(self):
        """How many tasks have ended; the log does not tell of those nobody had begun."""
        return len(self.watch.finished | {id for id, gone in self.cancels.items() if gone})

    # -- blows

    def plan(self):
        """(after how many ended tasks, blow), in that order."""
        options = self.options
        stops = ["stop service" if n % 10 == 0 else "stop toolkit" for n in range(options.stops)]
        blows = stops + ["kill service" if n % 2 else "kill toolkit" for n in range(options.kills)]
        last = max(1, options.tasks * 9 // 10)
        return sorted((self.pick.randrange(last), self.pick.random(), blow) for blow in blows)

    def strike(self):
        for after, moment, blow in self.plan():
            service.wait_for(lambda after=after: self.finished() >= after, 3600)
            time.sleep(moment * 0.1)  # anywhere in what a conversion does
            what, whom = blow.split()
            while not getattr(self, f"{what}_{whom}")():
                time.sleep(0.01)  # nobody there to be hit
            self.counts[f"{whom} {what}s"] += 1
        self.struck.set()

    def victim(self):
        """A service that is awake, and whose death ends no stage for good: that is another test."""
        services = [i for i in range(len(self.fleet.services))
                    if i not in self.frozen and not self.watch.tired(i)]
        return self.pick.choice(services) if services else None

    def kill_service(self):
        i = self.victim()
        if i is None:
            return False
        self.watch.service_dies(i)
        self.fleet.kill(i)
        self.fleet.start(i)
        return True

    def toolkit(self):
        """A toolkit that has its job and is not stopped: (pid, task and disk), or None."""
        i = self.victim()
        for pid in (self.fleet.children(i) if i is not None else ()):
            where = storm.task_of_child(pid)
            if where and pid not in self.frozen:
                return pid, where
        return None

    def kill_toolkit(self):
        found = self.toolkit()
        if not found or not storm.send_signal(found[0], signal.SIGKILL):
            return False
        self.watch.child_dies(found[1])
        return True

    def freeze(self, key, pid):
        if not storm.send_signal(pid, signal.SIGSTOP):
            return False
        self.frozen.add(key)

        def wake():
            storm.send_signal(pid, signal.SIGCONT)
            self.frozen.discard(key)

        timer = threading.Timer(self.options.stop_seconds, wake)
        self.sleepers.append(timer)
        timer.start()
        return True

    def stop_toolkit(self):
        """One worker at least goes on, so that there is an end."""
        if len(self.frozen) >= len(self.fleet.services) * self.options.workers - 1:
            return False
        found = self.toolkit()
        return bool(found) and self.freeze(found[0], found[0])

    def stop_service(self):
        i = self.victim()
        if i is None or (len(self.fleet.services) > 1 and len(self.frozen) > 1):
            return False
        if len(self.fleet.services) > 1:
            self.watch.service_dies(i)
        return self.freeze(i, self.fleet.services[i].pid)

    # -- the whole

    def run(self):
        threads = [threading.Thread(target=self.guarded, args=(what,), daemon=True)
                   for what in (self.submit, self.strike)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for timer in self.sleepers:
            timer.join()
        service.wait_for(self.all_ended, 1800)

    def guarded(self, what):
        try:
            what()
        except Exception as failure:
            self.failures.append(f"{what.__name__}: {failure!r}")
            self.struck.set()

    def all_ended(self):
        time.sleep(0.2)  # to list so many costs more than a look
        tasks = self.client.describe()
        return all(task.state in storm.ENDED for task in tasks.values())

    def judge(self):
        would = storm.gc(self.fleet)
        wrong = self.failures + storm.judge(self.fleet, self.client, self.wanted)
        tasks = self.client.describe()
        for id, accepted in self.cancels.items():
            if accepted and tasks[id].state != "cancelled":
                wrong.append(f"{tasks[id]}: its cancellation was accepted")
        given_up = []
        for task in tasks.values():
            if task.state == "cancelled" and not self.cancels.get(task.id):
                given_up.append(task)
                if "died" not in task.message:
                    wrong.append(f"{task}: nobody cancelled it")
        return would, wrong, given_up, tasks

    def report(self):
        would, wrong, given_up, tasks = self.judge()
        p99 = storm.percentile(self.watch.takeovers, 0.99)
        if len(self.fleet.services) > 1 and p99 > TAKEOVER_P99_S:
            wrong.append(f"take-over p99 was {p99:.1f} s, promised are {TAKEOVER_P99_S}")
        for line in wrong[:50]:
            print("WRONG:", line)
        blows = ", ".join(f"{n} {what}" for what, n in self.counts.items())
        states = [task.state for task in tasks.values()]
        print(f"figures: {len(self.fleet.services)} instances, {len(tasks)} tasks, {blows}; "
              f"{states.count('completed')} completed, {states.count('cancelled')} cancelled "
              f"({len(given_up)} after three deaths), {self.watch.claims} claims; "
              f"{len(wrong)} wrong, {len(would)} leftovers for gc; "
              f"{len(self.watch.takeovers)} take-overs, p50 "
              f"{storm.percentile(self.watch.takeovers, 0.5):.1f} s, p99 {p99:.1f} s")
        return 1 if wrong else 0


def storm_over(options, server, count, database_uri):
    with storm.Fleet(count, database_uri, workers=options.workers) as fleet:
        one = Storm(options, fleet, server, fleet.services[0].tmp)
        try:
            one.run()
            return one.report()
        finally:
            one.watch.stop()
            for i, each in enumerate(fleet.services if os.environ.get("KEEP_LOGS") else ()):
                shutil.copy(each.log, f"storm-{count}.{i}.log")


def main():
    options = arguments()
    print(f"storm: seed {options.seed}", flush=True)
    with uploads.Uploads() as server:
        return storm.with_databases(options.instances, lambda count, new_database: storm_over(
            options, server, count, new_database()))


sys.exit(main())
