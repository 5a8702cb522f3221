#!/usr/bin/python3
"""Rows 20 and 21 of the EC2 contract's feature table: ImportInstance, with one disk and with many."""
import base64
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
from contract import ZONE, refused  # noqa: E402

LAUNCH = "LaunchSpecification."
DATA = base64.b64encode(b"#!/bin/sh\necho hello\n").decode()
MOST = 21  # disks of one instance


class ImportInstance(contract.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.boot = cls.world.upload("RAW", cls.world.disk("mbr-ext4", 8))

    def parameters(self, *disks, **more):
        """Of an instance with the boot disk and these."""
        numbered = {}
        for i, upload in enumerate((self.boot, *disks)):
            numbered.update(upload.disk(i + 1))
        return {"Platform": "Linux", LAUNCH + "Architecture": "x86_64", **numbered, **more}

    def boto3(self, **more):
        launch = {"Architecture": "x86_64", **more.pop("LaunchSpecification", {})}
        return {"Platform": "Windows", "LaunchSpecification": launch, "DiskImages": [{
            "Image": {"Format": "RAW", "Bytes": self.boot.bytes, "ImportManifestUrl": self.boot.url},
            "Volume": {"Size": 1}}], **more}

    def ended_well(self, task):
        """The completed task as boto3 shows it."""
        self.main.wait(task, "completed", "cancelled")
        shown = self.ec2.describe_conversion_tasks(ConversionTaskIds=[task])["ConversionTasks"][0]
        self.assertEqual(shown["State"], "completed", shown)
        return shown

    def assert_volume(self, volume, path):
        """It is there, with the content of the disk and zeros behind it."""
        there = os.path.join(self.world.service.dir, "volumes", volume + ".raw")
        size = os.path.getsize(path)
        self.assertEqual(os.path.getsize(there), 1 << 30)
        subprocess.run(["cmp", "-n", str(size), path, there], check=True)

    def test_row_20_one_disk(self):
        made = self.ec2.import_instance(**self.boto3(
            Description="web", Platform="Windows", LaunchSpecification={
                "InstanceType": "m1.small", "Placement": {"AvailabilityZone": ZONE},
                "UserData": {"Data": DATA}, "Monitoring": False}))["ConversionTask"]
        self.assertRegex(made["ConversionTaskId"], r"^import-i-[0-9a-z]{8}$")
        self.assertEqual((made["State"], made["StatusMessage"]), ("active", "Pending"))
        about = made["ImportInstance"]
        self.assertEqual((about["Description"], about["Platform"]), ("web", "Windows"))
        self.assertRegex(about["InstanceId"], r"^i-([0-9a-f]{8}|[0-9a-f]{17})$")
        disk, = about["Volumes"]
        self.assertEqual(disk, {
            "AvailabilityZone": ZONE, "BytesConverted": 0, "Status": "active",
            "StatusMessage": "Pending : Downloaded 0", "Volume": {"Size": 1},
            "Image": {"Format": "RAW", "Size": self.boot.bytes, "ImportManifestUrl": self.boot.url}})
        shown = self.ended_well(made["ConversionTaskId"])
        self.assertNotIn("StatusMessage", shown)
        self.assertEqual(shown["ImportInstance"]["InstanceId"], about["InstanceId"])
        disk, = shown["ImportInstance"]["Volumes"]
        self.assertEqual((disk["Status"], disk["BytesConverted"]), ("completed", self.boot.bytes))
        self.assertNotIn("StatusMessage", disk)
        self.assert_volume(disk["Volume"]["Id"], self.world.disk("mbr-ext4", 8))
        status, document, said = self.main.aws(
            "describe-conversion-tasks", "--conversion-task-ids", shown["ConversionTaskId"])
        self.assertEqual((status, document), (0, {"ConversionTasks": [shown]}), said)

    def test_row_20_spellings(self):
        """What one client or another sends; the version is that of its model."""
        table = [("Windows", "2016-11-15", {}), ("Linux", "2016-11-15", {}), ("linux", "2016-11-15", {}),
                 ("WINDOWS", "2015-10-01", {})]
        for version in contract.VERSIONS:
            table += [("Linux", version, {LAUNCH + "UserData.Data": DATA}),
                      ("Linux", version, {LAUNCH + "UserData": DATA}),
                      ("Linux", version, {LAUNCH + "Monitoring": "true"}),
                      ("Linux", version, {LAUNCH + "Monitoring.Enabled": "false"}),
                      ("Linux", version, {LAUNCH + "KeyName": "mykey"}),
                      ("Linux", version, {LAUNCH + "GroupName.1": "a", LAUNCH + "GroupName.2": "b"})]
        for platform, version, more in table:
            with self.subTest(platform, version=version, more=more):
                parameters = self.parameters(Platform=platform, **more)
                reply = self.main.ask("ImportInstance", parameters, version=version)
                task = self.task_of(reply)
                self.assertEqual(reply["conversionTask/importInstance/platform"].lower(),
                                 platform.lower())
                self.main.cancel(task)
                self.main.wait(task, "cancelled", "completed")

    def test_row_20_refusals(self):
        launch = "LaunchSpecification"
        for change, code in (
                ({"Platform": "Amiga"}, "InvalidParameterValue"),
                ({launch: {"Architecture": "sparc"}}, "InvalidParameterValue"),
                ({launch: {"InstanceInitiatedShutdownBehavior": "halt"}}, "InvalidParameterValue"),
                ({launch: {"Placement": {"Tenancy": "shared"}}}, "InvalidParameterValue"),
                ({launch: {"Placement": {"AvailabilityZone": "atlantis"}}}, "InvalidZone.NotFound"),
                ({launch: {"UserData": {"Data": "not base64!"}}}, "InvalidUserData.Malformed"),
                ({"DiskImages": []}, "MissingParameter")):
            with self.subTest(change):
                self.assertEqual(self.assert_nothing_stored(
                    lambda: refused(self.ec2.import_instance, **self.boto3(**change))),  # noqa: B023
                    (400, code))
        for name, value, code in (("Monitoring", "perhaps", "InvalidParameterValue"),
                                  ("Monitoring.Enabled", "perhaps", "InvalidParameterValue"),
                                  ("UserData", "not base64!", "InvalidUserData.Malformed")):
            reply = self.main.ask("ImportInstance", self.parameters(**{LAUNCH + name: value}))
            self.assertEqual(reply.refusal, (400, code), reply.text)

    def test_row_20_a_disk_that_does_not_boot(self):
        before = self.world.finished()
        reply = self.main.ask("ImportInstance", {"Platform": "Linux",
                                                 **self.world.open_upload().disk(1)})
        item = self.main.wait(self.task_of(reply), "completed", "cancelled")
        self.assertEqual(item.find("{*}state").text, "cancelled")
        self.assertRegex(item.find("{*}statusMessage").text,
                         r"^(Client\.Unsupported: No bootable partition found\.|ClientError: )")
        self.assert_left(before)

    def test_row_21_two_to_twenty_one_disks(self):
        sizes = [self.world.upload("RAW", self.world.disk("edges", mib)) for mib in (1, 2, 3)]
        for count in (2, MOST):
            with self.subTest(count=count):
                disks = [sizes[i % 3] for i in range(count - 1)]
                reply = self.main.ask("ImportInstance", self.parameters(*disks))
                items = reply.all("conversionTask/importInstance/volumes/item")
                self.assertEqual([i.find("{*}image/{*}importManifestUrl").text for i in items],
                                 [d.url for d in (self.boot, *disks)])
                volumes = self.ended_well(self.task_of(reply))["ImportInstance"]["Volumes"]
                self.assertEqual([v["Status"] for v in volumes], ["completed"] * count)
                self.assertEqual(len({v["Volume"]["Id"] for v in volumes}), count)
                for volume, disk in zip(volumes, (self.boot, *disks)):
                    self.assertEqual(volume["BytesConverted"], disk.bytes)
                    self.assert_volume(volume["Volume"]["Id"], self.world.disk(
                        "mbr-ext4" if disk is self.boot else "edges", disk.bytes >> 20))

    def test_row_21_twenty_two_disks(self):
        disks = [self.world.open_upload()] * MOST
        reply = self.assert_nothing_stored(
            lambda: self.main.ask("ImportInstance", self.parameters(*disks)))
        self.assertEqual(reply.status, 400, reply.text)
        self.assertIn(str(MOST), reply.message)
        # the number counts, not the index
        parameters = self.parameters()
        parameters.update(self.world.open_upload().disk(22))
        self.assertEqual(self.main.ask("ImportInstance", {**parameters, "DryRun": "true"}).refusal,
                         (412, "DryRunOperation"))

    def test_row_21_one_bad_disk_ends_all(self):
        before = self.world.finished()
        cut = self.world.path("cut.vmdk")
        contract.make_disk(cut, "vmdk-stream", self.world.disk("mbr-ext4", 8))
        os.truncate(cut, os.path.getsize(cut) // 2)
        bad = self.world.upload("VMDK", cut)
        item = self.main.wait(self.task_of(self.main.ask("ImportInstance", self.parameters(
            self.world.open_upload(), bad))), "completed", "cancelled")
        self.assertEqual(item.find("{*}state").text, "cancelled")
        self.assertRegex(item.find("{*}statusMessage").text, "^ClientError: ")
        self.assert_left(before)


if __name__ == "__main__":
    contract.main()
