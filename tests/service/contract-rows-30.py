#!/usr/bin/python3
"""Row 30 of the EC2 contract's feature table: the waiters of botocore and the AWS CLI."""
import concurrent.futures
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402

PATIENT = {"Delay": 1, "MaxAttempts": 60}
SHORT = {"Delay": 0, "MaxAttempts": 4}
UNKNOWN = "import-vol-zzzzzzzz"


class Waiters(contract.Case):
    @classmethod
    def setUpClass(cls):
        """Besides tasks that have ended: one that stays `cancelling`, because its toolkit does not
        hear of it."""
        def deaf(world):
            script = world.path("deaf")
            cls.go = world.path("go")
            with open(script, "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\nif [ -e {world.path('be-deaf')} ]; then\n"
                           f"    trap '' TERM\n    : >{cls.go}-wanted\n"
                           f"    until [ -e {cls.go} ]; do sleep 0.05; done\nfi\n"
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
        service.wait_for(lambda: os.path.exists(self.go + "-wanted"))
        os.unlink(deaf)
        self.main.cancel(task)
        self.assertEqual(self.main.describe(task)["conversionTasks/item/state"], "cancelling")
        self.assertIn("terminal failure", self.wait("completed", task) or "")
        self.assertIn(self.main.describe(task)["conversionTasks/item/state"], ("cancelling", "cancelled"))
        self.assertEqual(self.aws_waits([("completed", task)]), [255])
        self.assertIsNone(self.wait("cancelled", task, config=PATIENT))

    def test_row_30_an_empty_list_is_not_all(self):
        with contract.World() as other:
            for state in ("completed", "cancelled", "deleted"):
                from botocore.exceptions import WaiterError
                with self.assertRaisesRegex(WaiterError, "Max attempts"):
                    other.main.boto3().get_waiter("conversion_task_" + state).wait(WaiterConfig=SHORT)
            self.assertEqual(other.main.describe().ids(), [])


if __name__ == "__main__":
    contract.main()
