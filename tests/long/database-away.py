#!/usr/bin/python3
"""The database goes away under load, and comes back: meanwhile each request is answered by 503 within two
seconds and no service is ready; afterwards all goes on, nothing that was acknowledged is lost, and
nothing is done twice.

    database-away.py [--times N] [--seconds S] [--answer-seconds S] [--instances N] [--modes A,B]

It is stopped in turn as each of the modes says: fast and immediate as an operator does, kill as the
out-of-memory killer, pause when the server hangs.  One import goes on through all of it.
"""
import argparse
import collections
import http.client
import os
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import postgres  # noqa: E402
import service  # noqa: E402
import storm  # noqa: E402
import uploads  # noqa: E402

QUEUED_MAX = 20
BETWEEN_TASKS = 10  # that are completed between two outages
SLACK_S = 0.5       # after the stop: what was under way may still be answered well

Answer = collections.namedtuple("Answer", "what service began took status code")


class Probe(storm.Client):
    """A client that writes down how each of its calls was answered."""

    def __init__(self, fleet, answers):
        super().__init__(fleet)
        self.answers = answers

    def once(self, parameters, i=0):
        began, status, code = time.monotonic(), 0, None
        try:
            answer = super().once(parameters, i)
            status = answer.status
            code = None if status == 200 else storm.tree(answer).findtext(".//Error/Code")
            return answer
        finally:
            self.answers.append(Answer(parameters["Action"], i, began, time.monotonic() - began, status,
                                       code))


class Outages:
    def __init__(self, options, database, fleet, server, directory):
        self.options, self.database, self.fleet, self.server = options, database, fleet, server
        self.images = [uploads.Image.make(form, directory, 1, f"away.{form}")
                       for form in ("RAW", "VHD", "VMDK")]
        self.answers, self.wanted, self.wrong = [], {}, []
        self.outages = []    # (mode, from, to), monotonic
        self.recoveries = []  # seconds from the database's return to the first completed task
        self.watch = storm.Watch(fleet)
        self.over = threading.Event()

    def check(self, right, *words):
        if not right:
            self.wrong.append(" ".join(map(str, words)))

    # -- load

    def add(self, number, **more):
        return self.server.add(self.images[number % len(self.images)], number, **more)

    def submit(self):
        client, number = Probe(self.fleet, self.answers), 1
        while not self.over.is_set():
            if len(self.wanted) - len(self.watch.finished) >= QUEUED_MAX:
                self.over.wait(0.05)
                continue
            upload = self.add(number)
            self.wanted[client.import_volume(upload)] = [upload]
            number += 1

    def describe(self):
        """Without patience: each service, again and again."""
        client = Probe(self.fleet, self.answers)
        while not self.over.wait(0.1):
            for i in range(len(self.fleet.services)):
                try:
                    client.once({"Action": "DescribeConversionTasks"}, i)
                except OSError:
                    pass  # it is among the answers, with status 0

    def guarded(self, what):
        try:
            what()
        except Exception as failure:
            self.wrong.append(f"{what.__name__}: {failure!r}")

    # -- outages

    def ready(self, i):
        """The status of /ready."""
        connection = http.client.HTTPConnection(self.fleet.cluster.status(i), timeout=30)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status
        finally:
            connection.close()

    def take_away(self, mode):
        {"kill": self.database.kill, "pause": self.database.pause}.get(
            mode, lambda: self.database.stop(mode))()

    def bring_back(self, mode):
        (self.database.go_on if mode == "pause" else self.database.start)()

    def outage(self, mode):
        began = time.monotonic()
        self.take_away(mode)
        gone = time.monotonic()
        count = range(len(self.fleet.services))
        try:
            service.wait_for(lambda: all(self.ready(i) == 503 for i in count), 30)
        except TimeoutError:
            self.check(False, mode, "/ready answered", [self.ready(i) for i in count])
        self.over.wait(max(0, self.options.seconds - (time.monotonic() - gone)))
        finished = len(self.watch.finished)
        back = time.monotonic()
        self.bring_back(mode)
        self.outages.append((mode, gone, back))
        service.wait_for(lambda: len(self.watch.finished) > finished, storm.PATIENCE_S)
        self.recoveries.append(time.monotonic() - back)
        service.wait_for(lambda: all(self.ready(i) == 200 for i in count), 60)
        service.wait_for(lambda: len(self.watch.finished) >= finished + BETWEEN_TASKS,
                         storm.PATIENCE_S)
        print(f"{mode}: away for {back - began:.0f} s, work went on after "
              f"{self.recoveries[-1]:.1f} s", flush=True)

    def run(self):
        patient = self.add(0, hold=0)
        self.wanted[storm.Client(self.fleet).import_volume(patient)] = [patient]
        patient.waiting.wait()
        threads = [threading.Thread(target=self.guarded, args=(what,), daemon=True)
                   for what in (self.submit, self.describe)]
        for thread in threads:
            thread.start()
        service.wait_for(lambda: len(self.watch.finished) >= BETWEEN_TASKS or self.wrong,
                         storm.PATIENCE_S)
        for n in range(self.options.times):
            self.outage(self.options.modes[n % len(self.options.modes)])
        self.over.set()
        for thread in threads:
            thread.join()
        patient.open()
        client = storm.Client(self.fleet)
        service.wait_for(lambda: all(task.state in storm.ENDED for task in client.describe().values()),
                         600)

    # -- the judgement

    def judge_answers(self):
        """Those that were asked and answered while the database was away; the slowest, by action."""
        slowest, counts = collections.Counter(), collections.Counter()
        for answer in list(self.answers):
            for mode, gone, back in self.outages:
                if not gone + SLACK_S <= answer.began <= back:
                    continue
                if answer.began + answer.took > back and answer.status == 200:
                    continue  # it was back in time
                counts[answer.what] += 1
                slowest[answer.what] = max(slowest[answer.what], answer.took)
                self.check((answer.status, answer.code) == (503, "ServiceUnavailable"), mode, answer)
                self.check(answer.took <= self.options.answer_seconds, mode, "slow:", answer)
        return slowest, counts

    def report(self):
        slowest, counts = self.judge_answers()
        would = storm.gc(self.fleet)
        self.wrong += storm.judge(self.fleet, storm.Client(self.fleet), self.wanted)
        tasks = storm.Client(self.fleet).describe()
        for task in tasks.values():
            self.check(task.state == "completed", task)
        for line in self.wrong[:50]:
            print("WRONG:", line)
        said = ", ".join(f"{counts[what]} {what} ≤ {slowest[what]:.2f} s" for what in sorted(counts))
        print(f"figures: {len(self.outages)} outages of {self.options.seconds} s, "
              f"{len(self.fleet.services)} instances, {len(tasks)} tasks; answered meanwhile: {said}; "
              f"work went on after {', '.join(f'{s:.1f}' for s in self.recoveries)} s; "
              f"{len(self.wrong)} wrong, {len(would)} leftovers for gc")
        return 1 if self.wrong else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--answer-seconds", type=float, default=2)
    parser.add_argument("--instances", type=int, default=3)
    parser.add_argument("--modes", type=lambda text: text.split(","),
                        default=("fast", "pause", "immediate", "kill"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="away.") as directory, uploads.Uploads() as server, \
            postgres.Postgres() as database, \
            storm.Fleet(options.instances, database.create_database(), workers=2) as fleet:
        outages = Outages(options, database, fleet, server, directory)
        try:
            outages.run()
            return outages.report()
        finally:
            outages.over.set()
            outages.watch.stop()
            if os.environ.get("KEEP_LOGS"):
                for i, each in enumerate(fleet.services):
                    with open(f"away.{i}.log", "w", encoding="utf-8") as log:
                        log.write(each.log_text())


sys.exit(main())
