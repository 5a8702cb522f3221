#!/usr/bin/python3
"""Rows 26 to 28 of the EC2 contract's feature table: CancelConversionTask."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402
from contract import refused  # noqa: E402
from procfs import children  # noqa: E402

REASON = "not needed: <wrong & old>"
ENDED = "cancelled", "completed"


class Cancel(contract.Case):
    def setUp(self):
        super().setUp()
        self.before = self.world.finished()

    def assert_nothing_left(self):
        self.assert_left(self.before)
        service.wait_for(lambda: not children(self.world.service.pid))

    def assert_cancels(self, task):
        """Cancel it; it ends with the reason, and nothing of it is left."""
        reply = self.main.cancel(task, ReasonMessage=REASON)
        self.assertEqual((reply.status, reply["return"]), (200, "true"), reply.text)
        seen = []

        def ended():
            seen.append(self.main.describe(task)["conversionTasks/item/state"])
            return seen[-1] == "cancelled"
        service.wait_for(ended)
        self.assertLessEqual(set(seen), {"cancelling", "cancelled"})
        shown = self.main.describe(task)
        self.assertEqual(shown["conversionTasks/item/statusMessage"], REASON)
        self.assertIsNone(shown["conversionTasks/item/importVolume/volume/id"])
        self.assert_nothing_left()

    def test_row_26_by_boto3(self):
        task, upload = self.held("RAW", self.world.disk("random", 16), closed=8)
        answer = self.ec2.cancel_conversion_task(ConversionTaskId=task, ReasonMessage=REASON)
        self.assertEqual(set(answer), {"ResponseMetadata"})
        self.assertIn(self.main.describe(task)["conversionTasks/item/state"],
                      ("cancelling", "cancelled"))
        self.ec2.get_waiter("conversion_task_cancelled").wait(
            ConversionTaskIds=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        upload.open()  # what comes now comes too late
        shown, = self.ec2.describe_conversion_tasks(ConversionTaskIds=[task])["ConversionTasks"]
        self.assertEqual((shown["State"], shown["StatusMessage"]), ("cancelled", REASON))
        self.assertNotIn("Id", shown["ImportVolume"]["Volume"])
        self.assert_nothing_left()
        for _ in range(2):  # once more is no error, and changes nothing
            self.ec2.cancel_conversion_task(ConversionTaskId=task, ReasonMessage="another")
        self.assertEqual(self.main.describe(task)["conversionTasks/item/statusMessage"], REASON)

    def test_row_26_by_the_cli(self):
        task, _ = self.held("VMDK", contract.make_disk(
            self.world.path("d.vmdk"), "vmdk-stream", self.world.disk("random", 4)), closed=2)
        status, document, said = self.main.aws("cancel-conversion-task", "--conversion-task-id", task,
                                               "--reason-message", REASON)
        self.assertEqual((status, document), (0, None), said)
        self.main.wait(task, "cancelled")
        status, document, said = self.main.aws(
            "wait", "conversion-task-cancelled", "--conversion-task-ids", task)
        self.assertEqual((status, document), (0, None), said)
        self.assertEqual(self.main.describe(task)["conversionTasks/item/statusMessage"], REASON)
        self.assert_nothing_left()

    def test_row_26_an_instance(self):
        boot = self.world.upload("RAW", self.world.disk("mbr-ext4", 8))
        held = self.world.upload("RAW", self.world.disk("random", 4), closed=2)
        task = self.task_of(self.main.ask("ImportInstance", {"Platform": "Linux", **boot.disk(1),
                                                             **held.disk(2)}))
        held.wait()
        self.assert_cancels(task)
        item = self.main.describe(task).tasks()[0]
        self.assertEqual(item.findall(".//{*}volume/{*}id"), [])

    def test_row_27_completed(self):
        task = self.completed()
        volumes = self.world.finished()
        before = self.main.describe(task).text
        code = "DeleteConversionTaskError"
        self.assertEqual(self.main.cancel(task).refusal, (400, code))
        self.assertEqual(refused(self.ec2.cancel_conversion_task, ConversionTaskId=task), (400, code))
        status, _, said = self.main.aws("cancel-conversion-task", "--conversion-task-id", task)
        self.assertEqual(status, 254)
        self.assertIn(f"({code})", said)
        self.assertEqual(re.sub(contract.UUID, "", self.main.describe(task).text),
                         re.sub(contract.UUID, "", before))
        self.assert_left(volumes)

    def test_row_27_unknown_and_malformed(self):
        for task in ("import-vol-zzzzzzzz", "import-i-zzzzzzzz", "import-vol-0123456789abcdef0"):
            reply = self.main.cancel(task)
            self.assertEqual(reply.refusal, (400, "InvalidConversionTaskId"), reply.text)
            self.assertEqual(reply.message, f"The conversion task ID '{task}' is not valid.")
        for task in ("", "x", "import-vol-1", "import-vol-1234567Z", "import-ami-12345678",
                     "import-vol-12345678;", "../x"):
            reply = self.main.cancel(task)
            self.assertIn(reply.refusal, [(400, "InvalidConversionTaskId.Malformed")] + (
                [(400, "MissingParameter")] if task == "" else []), reply.text)
        self.assertEqual(self.main.ask("CancelConversionTask").refusal, (400, "MissingParameter"))
        status, _, said = self.main.aws("cancel-conversion-task", "--conversion-task-id", "x")
        self.assertEqual(status, 254)
        self.assertIn("(InvalidConversionTaskId.Malformed)", said)

    def test_row_28_while_it_waits_for_the_manifest(self):
        self.assert_cancels(self.waiting())

    def test_row_28_while_the_manifest_comes(self):
        place, base = self.world.files()
        with open(os.path.join(place, "m.xml"), "w", encoding="ascii") as file:
            file.write("<manifest>" + " " * 1000 + "</manifest>")
        task = self.task_of(self.main.ask("ImportVolume", self.world.open_upload().parameters(
            base + "/stall/m.xml")))
        service.wait_for(lambda: os.path.exists(os.path.join(place, "log")))
        self.assert_cancels(task)

    def test_row_28_while_it_waits_for_the_parts(self):
        task = self.task_of(self.main.ask("ImportVolume", self.world.open_upload().parameters(
            self.world.without_parts())))
        service.wait_for(lambda: self.main.describe(task)["conversionTasks/item/statusMessage"]
                         != "Pending")
        self.assert_cancels(task)

    def test_row_28_in_each_stage(self):
        raw = self.world.disk("random", 16)
        images = {"RAW": raw, "VMDK": contract.make_disk(self.world.path("s.vmdk"), "vmdk-stream", raw),
                  "VHD": contract.make_disk(self.world.path("s.vhd"), "vhd-dyn", raw)}
        for form, path in images.items():
            last = (os.path.getsize(path) - 1) >> 20
            for stage, part in (("download", 0), ("conversion", 8), ("write", last)):
                with self.subTest(form, stage=stage):
                    task, upload = self.held(form, path, closed=part)
                    self.assert_cancels(task)
                    upload.open()
                    self.assert_nothing_left()


class AtTheEnd(contract.Case):
    """A toolkit that has done its work, but has not left yet."""

    @classmethod
    def setUpClass(cls):
        def hold(world):
            cls.ended, cls.go = world.path("ended"), world.path("go")
            script = world.path("slow-to-leave")
            with open(script, "w", encoding="ascii") as file:
                file.write(f'#!/bin/sh\n{world.service.toolkit} "$@"\nstatus=$?\n: >{cls.ended}\n'
                           f"until [ -e {cls.go} ]; do sleep 0.05; done\nexit $status\n")
            os.chmod(script, 0o755)
            world.service.toolkit = script
        cls.world = contract.World(prepare=hold)
        cls.addClassCleanup(cls.world.close)
        cls.main = cls.world.main

    def test_row_28_when_all_is_written(self):
        """Too late, or in time; but nothing between: a volume is shown, or nothing is left."""
        task = self.task_of(self.main.ask("ImportVolume", self.world.open_upload().parameters()))
        service.wait_for(lambda: os.path.exists(self.ended))
        reply = self.main.cancel(task, ReasonMessage=REASON)
        with open(self.go, "w", encoding="ascii"):
            pass
        item = self.main.wait(task, *ENDED)
        volume = item.findtext("{*}importVolume/{*}volume/{*}id")
        if reply.status == 200:
            self.assertEqual((item.findtext("{*}state"), item.findtext("{*}statusMessage"), volume),
                             ("cancelled", REASON, None))
            self.assertEqual(self.world.volumes(), set())
        else:
            self.assertEqual(reply.refusal, (400, "DeleteConversionTaskError"))
            self.assertEqual(item.findtext("{*}state"), "completed")
            self.assertIn(volume + ".raw", self.world.volumes())
        self.assertEqual(self.world.scratch(), [])


if __name__ == "__main__":
    contract.main()
