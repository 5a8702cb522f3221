#!/usr/bin/python3
"""Rows 16 to 19 of the EC2 contract's feature table: ImportVolume."""
import calendar
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
from contract import ZONE, refused  # noqa: E402

GIB = 1 << 30
WEEK_S = 7 * 24 * 3600
INVALID = "InvalidParameterValue"


def without(parameters, name):
    return {k: v for k, v in parameters.items() if k != name}


class ImportVolume(contract.Case):
    def assert_new(self, task, upload, description):
        """A task of boto3's or the CLI's, which waits.  Once the service has looked for the manifest,
        the message may say more."""
        self.assertRegex(task["ConversionTaskId"], r"^import-vol-[0-9a-z]{8}$")
        self.assertEqual(task["State"], "active")
        self.assertRegex(task["StatusMessage"], "^Pending( : .+)?$")
        ends = time.strptime(task["ExpirationTime"], "%Y-%m-%dT%H:%M:%SZ")
        self.assertLess(abs(calendar.timegm(ends) - time.time() - WEEK_S), 120)
        self.assertEqual(set(task), {"ConversionTaskId", "ExpirationTime", "ImportVolume", "State",
                                     "StatusMessage"})
        self.assertEqual(task["ImportVolume"], {
            "AvailabilityZone": ZONE, "BytesConverted": 0, "Description": description,
            "Image": {"Format": upload.form, "Size": upload.bytes,
                      "ImportManifestUrl": upload.missing},
            "Volume": {"Size": upload.gib}})

    def test_row_16_a_new_task(self):
        upload = self.world.open_upload()
        answer = self.ec2.import_volume(**upload.boto3(ImportManifestUrl=upload.missing),
                                        Description="data disk")
        task = answer["ConversionTask"]
        self.assertEqual(task["StatusMessage"], "Pending")
        ids = [task["ConversionTaskId"]]
        status, document, said = self.main.aws("describe-conversion-tasks", "--conversion-task-ids",
                                               *ids)
        self.assertEqual(status, 0, said)
        shown = self.ec2.describe_conversion_tasks(ConversionTaskIds=ids)
        for same in ([task], shown["ConversionTasks"], document["ConversionTasks"]):
            self.assertEqual(len(same), 1)
            self.assertEqual(same[0]["ConversionTaskId"], ids[0])
            self.assertEqual(same[0]["ExpirationTime"], task["ExpirationTime"])
            self.assert_new(same[0], upload, "data disk")
        again = self.ec2.import_volume(**upload.boto3(ImportManifestUrl=upload.missing))
        self.assertNotEqual(again["ConversionTask"]["ConversionTaskId"], ids[0])
        self.assertNotIn("Description", again["ConversionTask"]["ImportVolume"])

    def test_row_17_required_members(self):
        good = self.world.open_upload().parameters()
        for name in good:
            for parameters in (without(good, name), {**good, name: ""}):
                reply = self.assert_nothing_stored(
                    lambda: self.main.ask("ImportVolume", parameters))  # noqa: B023
                with self.subTest(name, empty=name in parameters):
                    self.assertEqual(reply.status, 400, reply.text)
                    if name not in parameters:
                        self.assertEqual(reply.refusal, (400, "MissingParameter"))
                        self.assertEqual(reply.message,
                                         f"The request must contain the parameter {name}")

    def test_row_17_values_that_cannot_be(self):
        good = self.world.open_upload().parameters()
        table = [("Image.Format", "InvalidFormat", ("FLOPPY", "VHDX", "QCOW2", "OVA", "RAW ", "R")),
                 ("Image.Bytes", INVALID, ("0", "-1", str(1 << 63), str(1 << 64), "1.5", "0x10", "1e3",
                                           "+1", " 1", "1 ", "١")),
                 ("Volume.Size", INVALID, ("0", "-1", "16385", str(1 << 31), str((1 << 32) + 1), "x")),
                 ("AvailabilityZone", "InvalidZone.NotFound", ("atlantis", ZONE.upper(), ZONE + "a")),
                 ("Image.ImportManifestUrl", INVALID, (
                     "ftp://h/m", "file:///etc/passwd", "s3://b/k", "//h/m", "m", "http://",
                     "http:///m", "http://user:pw@h/m", "http://h:0/m", "http://h:65536/m",
                     "http://h/a b", "javascript:alert(1)")),
                 ("DryRun", INVALID, ("perhaps", "2", "TRUEE"))]
        for name, code, values in table:
            for value in values:
                with self.subTest(name, value=value):
                    reply = self.assert_nothing_stored(lambda: self.main.ask(
                        "ImportVolume", {**good, name: value}))  # noqa: B023
                    self.assertEqual(reply.refusal, (400, code), reply.text)
                    if code == INVALID:
                        shown = value.replace("user:pw@", "")  # passwords are shown to nobody
                        self.assertIn(f"Value ({shown}) for parameter {name} is invalid.",
                                      reply.message)

    def test_row_17_by_boto3(self):
        good = self.world.open_upload().boto3()
        image = good["Image"]
        for change, code in (({"Image": {**image, "Format": "FLOPPY"}}, "InvalidFormat"),
                             ({"Image": {**image, "Bytes": 0}}, INVALID),
                             ({"Image": {**image, "Bytes": -1}}, INVALID),
                             ({"Image": {**image, "Bytes": 1 << 63}}, INVALID),
                             ({"Image": {**image, "Bytes": 16 << 40}, "Volume": {"Size": 16384}},
                              "DiskImageSizeTooLarge"),
                             ({"Image": {**image, "ImportManifestUrl": "gopher://h/m"}}, INVALID),
                             ({"Volume": {"Size": 0}}, INVALID),
                             ({"AvailabilityZone": "atlantis"}, "InvalidZone.NotFound")):
            self.assertEqual(self.assert_nothing_stored(
                lambda: refused(self.ec2.import_volume, **{**good, **change})),  # noqa: B023
                (400, code), change)

    def test_row_17_both_zones(self):
        good = self.world.open_upload().parameters()
        reply = self.assert_nothing_stored(lambda: self.main.ask(
            "ImportVolume", {**good, "AvailabilityZoneId": "use1-az1"}))
        self.assertEqual(reply.refusal, (400, "InvalidParameterCombination"), reply.text)

    def refusal_of(self, upload):
        """How the service refuses to import: the answer's code, or the task's statusMessage."""
        reply = self.main.ask("ImportVolume", upload.parameters())
        if reply.status != 200:
            self.assertEqual(reply.status, 400)
            return reply.code + ": " + reply.message
        item = self.main.wait(self.task_of(reply), "completed", "cancelled")
        self.assertEqual(item.find("{*}state").text, "cancelled", reply.text)
        return item.find("{*}statusMessage").text

    def test_row_18_a_volume_smaller_than_the_image(self):
        before = self.world.finished()
        large = self.world.disk("edges", 1026)  # sparse
        images = {"RAW": large}
        for form, kind in (("VMDK", "vmdk-stream"), ("VHD", "vhd-dyn")):
            images[form] = contract.make_disk(self.world.path("large." + form), kind, large)
        for form, path in images.items():
            with self.subTest(form):
                upload = self.world.upload(form, path, part=10 << 20)
                self.assertRegex(self.refusal_of(upload), r"^(ClientError|Invalid\w+): .*\d")
                self.assert_left(before)
        # and one GiB more is enough
        upload = self.world.upload("VHD", images["VHD"], gib=2, part=10 << 20)
        task = self.task_of(self.main.ask("ImportVolume", upload.parameters()))
        item = self.main.wait(task, "completed", "cancelled")
        self.assertEqual(item.find("{*}state").text, "completed", self.main.describe(task).text)
        volume = item.find("{*}importVolume/{*}volume/{*}id").text
        self.assertEqual(os.path.getsize(os.path.join(self.world.service.dir, "volumes",
                                                      volume + ".raw")), 2 * GIB)


class Limit(contract.Case):
    CONFIG = "max-active-tasks = 5\n"

    def test_row_19_the_sixth_task(self):
        upload = self.world.open_upload()
        before = self.main.describe().ids()
        ended = self.completed()  # what has ended does not count
        tasks = [self.waiting() for _ in range(5)]
        self.assertEqual(self.assert_nothing_stored(
            lambda: refused(self.ec2.import_volume, **upload.boto3())),
            (400, "ResourceLimitExceeded"))
        for action in ("ImportVolume", "ImportInstance"):
            parameters = upload.parameters() if action == "ImportVolume" else {
                "Platform": "Linux", **upload.disk(1)}
            reply = self.assert_nothing_stored(
                lambda: self.main.ask(action, parameters))  # noqa: B023
            self.assertEqual(reply.refusal, (400, "ResourceLimitExceeded"), reply.text)
            self.assertTrue(re.search(r"\b5\b", reply.message), reply.message)
        # an error in the request is said first: it would stay
        self.assertEqual(refused(self.ec2.import_volume, **upload.boto3(Format="FLOPPY")),
                         (400, "InvalidFormat"))
        self.main.cancel(tasks[2])
        self.main.wait(tasks[2], "cancelled")
        task = self.waiting()
        self.assertEqual(refused(self.ec2.import_volume, **upload.boto3()),
                         (400, "ResourceLimitExceeded"))
        self.assertEqual(sorted(self.main.describe().ids()), sorted([*before, ended, *tasks, task]))

    def test_row_19_another_account_has_its_own_limit(self):
        other = self.world.keys("add", "--name", "other")
        for _ in range(5):
            self.waiting()
        task = self.waiting(other)
        self.assertEqual(other.describe().ids(), [task])
        other.cancel(task)


if __name__ == "__main__":
    contract.main()
