#!/usr/bin/python3
"""Row 29 of the EC2 contract's feature table: uploads that are not finished in time."""
import glob
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402

DAY_S = 24 * 3600


def faketime():
    """Debian's libfaketime."""
    found = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    assert found, "libfaketime is not installed"
    preload = found[0]
    if os.environ.get("SANITIZED"):  # whose run-time must be the first
        asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True,
                              text=True).stdout.strip()
        preload = asan + " " + preload
    return preload


class Expiry(contract.Case):
    """The service is started at another date; what it measures time with (CLOCK_MONOTONIC) goes on as
    ever.  While it runs it follows that one, so that no step of the clock ends tasks."""

    @classmethod
    def setUpClass(cls):
        def other_clock(world):
            cls.real = world.service.program
            world.service.program = world.path("at-another-time")
            cls.write_program(world.service.program, 0)
        cls.world = contract.World(prepare=other_clock)
        cls.addClassCleanup(cls.world.close)
        cls.main = cls.world.main

    @classmethod
    def write_program(cls, path, seconds):
        """The service as it is so many seconds from now."""
        cls.later = seconds
        cls.environment = {"FAKETIME": f"+{seconds}", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                           "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1"}
        settings = " ".join(f"{name}={value}" for name, value in cls.environment.items())
        with open(path, "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\nexec env "LD_PRELOAD={faketime()}" {settings} {cls.real} "$@"\n')
        os.chmod(path, 0o755)

    def restart(self, seconds):
        """At so many seconds from now; from then on requests are signed at that time, too."""
        self.world.service.terminate()
        self.write_program(self.world.service.program, seconds)
        self.world.service.start()
        self.main = self.main.replace(url=self.world.service.env["EC2_URL"])

    def setUp(self):
        super().setUp()
        self.restart(0)

    def tearDown(self):
        pass  # what is left has expired

    def describe(self, *ids):
        return self.main.describe(*ids, when=time.time() + self.later)

    def state(self, task):
        reply = self.describe(task)
        return reply["conversionTasks/item/state"], reply["conversionTasks/item/statusMessage"]

    def waits(self):
        """Two tasks whose upload is not finished: one without manifest, one without parts."""
        return [self.waiting(), self.task_of(self.main.ask(
            "ImportVolume", self.world.open_upload().parameters(self.world.without_parts())))]

    def assert_expires(self, tasks):
        for task in tasks:
            service.wait_for(lambda: self.state(task)[0] not in ("active", "cancelling"), 30)  # noqa: B023
            self.assertEqual(self.state(task), ("cancelled", "Task expired"))
        self.assertEqual(self.world.scratch(), [])

    def test_row_29_while_the_service_runs(self):
        done, begun = self.completed(), time.monotonic()
        tasks = self.waits()
        volumes = self.world.finished()
        self.restart(7 * DAY_S - 5)
        self.assertEqual(self.state(done), ("completed", None))
        states = [self.state(task)[0] for task in tasks]
        if time.monotonic() - begun < 4:  # not on a machine that is very busy
            self.assertEqual(states, ["active"] * 2)
        self.assert_expires(tasks)
        self.assert_left(volumes)
        shown = subprocess.run(
            self.main.aws_command("describe-conversion-tasks", "--conversion-task-ids", *tasks),
            env={**os.environ, **self.main.aws_environment(), **self.environment,
                 "LD_PRELOAD": faketime().split()[-1]},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(shown.stdout.count('"StatusMessage": "Task expired"'), 2, shown.stderr)

    def test_row_29_while_the_service_is_down(self):
        tasks = self.waits()
        self.restart(8 * DAY_S)
        self.assert_expires(tasks)

    def test_row_29_ended_tasks_are_listed_for_a_week(self):
        done, gone = self.completed(), self.waiting()
        self.main.cancel(gone)
        self.main.wait(gone, "cancelled")
        volumes = self.world.finished()
        self.restart(7 * DAY_S - 600)
        self.assertEqual(set(self.describe(done, gone).ids()), {done, gone})
        self.restart(7 * DAY_S + 600)
        service.wait_for(lambda: not {done, gone} & set(self.describe().ids()), 15)
        self.assert_left(volumes)  # the volume is its owner's


if __name__ == "__main__":
    contract.main()
