#!/usr/bin/python3
"""Rows 29 and 30 of the EC2 contract's feature table: expiry, and the waiters of botocore and the CLI."""
import concurrent.futures
import glob
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402
from contract import VERSION  # noqa: E402

DAY_S = 24 * 3600
PATIENT = {"Delay": 1, "MaxAttempts": 60}
SHORT = {"Delay": 0, "MaxAttempts": 4}
UNKNOWN = "import-vol-zzzzzzzz"


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
    """The service lives by a clock of its own, which the test moves; what it measures time with
    (CLOCK_MONOTONIC) goes on as ever."""

    @classmethod
    def setUpClass(cls):
        def other_clock(world):
            cls.clock = world.path("clock")
            cls.environment = {
                "LD_PRELOAD": faketime(), "FAKETIME_TIMESTAMP_FILE": cls.clock,
                "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1"}
            cls.set_clock(0)
            script = world.path("at-another-time")
            with open(script, "w", encoding="ascii") as file:
                settings = " ".join(f"'{name}={value}'" for name, value in cls.environment.items())
                file.write(f'#!/bin/sh\nexec env {settings} {world.service.program} "$@"\n')
            os.chmod(script, 0o755)
            world.service.program = script
        cls.world = contract.World(prepare=other_clock)
        cls.addClassCleanup(cls.world.close)
        cls.main = cls.world.main

    @classmethod
    def set_clock(cls, seconds):
        """Seconds from now; a request is then signed at that time, too."""
        cls.later = seconds
        with open(cls.clock + ".new", "w", encoding="ascii") as file:
            file.write(f"+{seconds}\n")
        os.rename(cls.clock + ".new", cls.clock)

    def tearDown(self):
        pass  # what is left has expired

    def describe(self, *ids):
        reply = self.main.describe(*ids, when=time.time() + self.later)
        return reply

    def state(self, task):
        reply = self.describe(task)
        return reply["conversionTasks/item/state"], reply["conversionTasks/item/statusMessage"]

    def test_row_29_expiry(self):
        done = self.completed()
        waiting = self.waiting()
        halfway, _ = self.held("RAW", self.world.disk("random", 4), closed=2)
        open_tasks = waiting, halfway
        self.set_clock(7 * DAY_S - 600)
        for task in open_tasks:
            self.assertEqual(self.state(task)[0], "active")
        self.assertEqual(self.state(done)[0], "completed")
        self.set_clock(7 * DAY_S + 60)
        for task in open_tasks:
            service.wait_for(lambda: self.state(task)[0] == "cancelled", 30)  # noqa: B023
            self.assertEqual(self.state(task), ("cancelled", "Task expired"))
        self.assertEqual(len([name for name in self.world.volumes() if name.endswith(".raw")]), 1)
        self.assertEqual(self.world.scratch(), [])
        # what has ended stays listed for seven days
        self.set_clock(13 * DAY_S)
        self.assertEqual(set(self.describe(*open_tasks).ids()), set(open_tasks))
        self.set_clock(15 * DAY_S)
        service.wait_for(lambda: self.describe().ids() == [], 30)
        self.assertEqual(self.describe(waiting).refusal, (400, "InvalidConversionTaskId"))
        # the volume is its owner's
        self.assertEqual(len([name for name in self.world.volumes() if name.endswith(".raw")]), 1)

    def test_row_29_expiry_while_the_service_is_down(self):
        self.set_clock(0)
        task = self.waiting()
        self.world.service.terminate()
        self.set_clock(8 * DAY_S)
        self.world.service.start()
        account = contract.Account(self.world.service.env["EC2_URL"], self.main.key, self.main.secret)
        self.__class__.main = account
        service.wait_for(lambda: self.state(task)[0] == "cancelled", 30)
        self.assertEqual(self.state(task), ("cancelled", "Task expired"))
        done = subprocess.run(
            account.aws_command("describe-conversion-tasks", "--conversion-task-ids", task),
            env={**os.environ, **account.aws_environment(), **self.environment,
                 "LD_PRELOAD": self.environment["LD_PRELOAD"].split()[-1]},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
        self.assertIn("Task expired", done.stdout, done.stderr)


class Waiters(contract.Case):
    @classmethod
    def setUpClass(cls):
        """Besides tasks that have ended: one that stays `cancelling`, because its toolkit does not
        hear of it."""
        def deaf(world):
            script = world.path("deaf")
            cls.go = world.path("go")
            with open(script, "w", encoding="ascii") as file:
                file.write("#!/bin/sh\nif [ -e " + world.path("be-deaf") + " ]; then\n"
                           f"    trap '' TERM\n    until [ -e {cls.go} ]; do sleep 0.05; done\nfi\n"
                           f'exec {world.service.toolkit} "$@"\n')
            os.chmod(script, 0o755)
            world.service.toolkit = script
        cls.world = contract.World(prepare=deaf)
        cls.addClassCleanup(cls.world.close)
        cls.main = cls.world.main
        cls.ec2 = cls.main.boto3()

    def wait(self, state, *tasks, config=None):
        """None, or with what the waiter ends."""
        from botocore.exceptions import WaiterError
        try:
            self.ec2.get_waiter("conversion_task_" + state).wait(
                ConversionTaskIds=list(tasks), WaiterConfig=config or SHORT)
        except WaiterError as error:
            return str(error)
        return None

    def cancelled(self):
        task = self.waiting()
        self.main.cancel(task)
        self.main.wait(task, "cancelled")
        return task

    def aws_waits(self, cases):
        """Exit statuses of `aws ec2 wait`, all at once; each answers at its first look."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda case: self.main.aws(
                "wait", "conversion-task-" + case[0], "--conversion-task-ids", *case[1:])[0], cases))

    def test_row_30_what_has_ended(self):
        good, bad, active = self.completed(), self.cancelled(), self.waiting()
        terminal = "terminal failure"
        table = [("completed", [good], None), ("completed", [good, good], None),
                 ("completed", [bad], terminal), ("completed", [good, bad], terminal),
                 ("completed", [active, bad], terminal), ("completed", [active], "Max attempts"),
                 ("completed", [good, active], "Max attempts"), ("completed", [UNKNOWN],
                                                                 "InvalidConversionTaskId"),
                 ("cancelled", [bad], None), ("cancelled", [bad, good], "Max attempts"),
                 ("cancelled", [active], "Max attempts"),
                 ("cancelled", [UNKNOWN], "InvalidConversionTaskId"),
                 ("deleted", [bad], "Max attempts"), ("deleted", [good], "Max attempts"),
                 ("deleted", [UNKNOWN], "InvalidConversionTaskId")]
        for state, tasks, wanted in table:
            with self.subTest(state, tasks=tasks):
                said = self.wait(state, *tasks)
                if wanted is None:
                    self.assertIsNone(said)
                elif wanted != "InvalidConversionTaskId":
                    self.assertIn(wanted, said or "")
                else:
                    self.assertIn(f"The conversion task ID '{UNKNOWN}' is not valid.", said or "")
        self.assertEqual(self.aws_waits([
            ("completed", good), ("completed", bad), ("completed", good, bad), ("cancelled", bad),
            ("deleted", UNKNOWN), ("completed", UNKNOWN)]), [0, 255, 255, 0, 255, 255])

    def test_row_30_until_it_ends(self):
        task, upload = self.held("RAW", self.world.disk("random", 4), closed=2)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self.wait, "completed", task, config=PATIENT)
            self.assertFalse(waiting.done())
            upload.open()
            self.assertIsNone(waiting.result())
        self.assertEqual(self.main.describe(task)["conversionTasks/item/state"], "completed")

    def test_row_30_cancelling(self):
        deaf = self.world.path("be-deaf")
        with open(deaf, "w", encoding="ascii"):
            pass
        task = self.task_of(self.main.ask("ImportVolume", self.world.open_upload().parameters()))
        service.wait_for(lambda: self.toolkits() == 1)
        os.unlink(deaf)
        self.main.cancel(task)
        self.assertEqual(self.main.describe(task)["conversionTasks/item/state"], "cancelling")
        self.assertIn("terminal failure", self.wait("completed", task) or "")
        self.assertEqual(self.main.describe(task)["conversionTasks/item/state"], "cancelling")
        self.assertEqual(self.aws_waits([("completed", task)]), [255])
        self.assertIsNone(self.wait("cancelled", task, config=PATIENT))

    def toolkits(self):
        """How many shells of setUpClass's script wait."""
        count = 0
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    count += self.world.path("deaf") in file.read().split("\0")
            except OSError:  # not a process, or one no more
                pass
        return count

    def test_row_30_an_empty_list_is_not_all(self):
        with contract.World() as other:
            for state in ("completed", "cancelled", "deleted"):
                from botocore.exceptions import WaiterError
                with self.assertRaisesRegex(WaiterError, "Max attempts"):
                    other.main.boto3().get_waiter("conversion_task_" + state).wait(WaiterConfig=SHORT)
            self.assertEqual(other.main.ask("DescribeConversionTasks", version=VERSION).ids(), [])


if __name__ == "__main__":
    contract.main()
