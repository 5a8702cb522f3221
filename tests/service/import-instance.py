#!/usr/bin/python3
"""ImportInstance: what is asked for and answered, disks side by side, and that the end of one disk is
the end of all and leaves nothing."""
import base64
import json
import os
import subprocess
import sys
import unittest

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
sys.path.insert(0, LIB)
import service  # noqa: E402
from tasks import NEW, OLD, Tasks  # noqa: E402

DISK = {"DiskImage.1.Image.Format": "RAW", "DiskImage.1.Image.Bytes": "4096",
        "DiskImage.1.Volume.Size": "1",
        "DiskImage.1.Image.ImportManifestUrl": "http://127.0.0.1:9/m?a=1&b=2"}
GOOD = {"Action": "ImportInstance", "Version": NEW, "Platform": "Linux", **DISK}


class ImportInstance(Tasks):
    def record(self, id):
        """The task's row, as the launch gets it."""
        import sqlite3
        with sqlite3.connect(f"file:{self.service.dir}/tasks.db?mode=ro", uri=True) as db:
            return db.execute("SELECT launch_spec, zone, architecture, platform FROM task "
                              "WHERE id = ?", (id,)).fetchone()

    # -- the request and its answer

    def test_the_answer_to_the_letter(self):
        answer = self.call({
            **GOOD, "Description": "web & mail", "Platform": "WINDOWS",
            "LaunchSpecification.Placement.AvailabilityZone": "standalone",
            "DiskImage.1.Description": "root", "TagSpecification.1.ResourceType":
                "import-instance-task", "TagSpecification.1.Tag.1.Key": "Name",
            "TagSpecification.1.Tag.1.Value": "web 1"})
        self.assertRegex(answer.text, (
            r'^<\?xml version="1.0" encoding="UTF-8"\?>\n'
            r'<ImportInstanceResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            r"<requestId>[0-9a-f-]{36}</requestId><conversionTask>"
            r"<conversionTaskId>import-i-[0-9a-z]{8}</conversionTaskId>"
            r"<expirationTime>[0-9T:-]+Z</expirationTime><importInstance>"
            r"<description>web &amp; mail</description><instanceId>i-[0-9a-f]{17}</instanceId>"
            r"<platform>Windows</platform><volumes><item>"
            r"<availabilityZone>standalone</availabilityZone><bytesConverted>0</bytesConverted>"
            r"<description>root</description><image><format>RAW</format>"
            r"<importManifestUrl>http://127.0.0.1:9/m\?a=1&amp;b=2</importManifestUrl>"
            r"<size>4096</size></image><status>active</status>"
            r"<statusMessage>Pending : Downloaded 0</statusMessage>"
            r"<volume><size>1</size></volume></item></volumes></importInstance>"
            r"<state>active</state><statusMessage>Pending</statusMessage>"
            r"<tagSet><item><key>Name</key><value>web 1</value></item></tagSet>"
            r"</conversionTask></ImportInstanceResponse>\n$"))

    def test_every_parameter_is_taken(self):
        launch = {"Architecture": "X86_64", "AdditionalInfo": "more", "InstanceType": "m1.small",
                  "KeyName": "mine", "KernelId": "aki-1", "RamdiskId": "ari-1",
                  "UserData.Data": base64.b64encode(b"#!/bin/sh\xff").decode(),
                  "Monitoring": "1", "SubnetId": "subnet-1", "PrivateIpAddress": "10.0.0.25",
                  "InstanceInitiatedShutdownBehavior": "stop", "GroupName.2": "b", "GroupName.1": "a",
                  "GroupId.7": "sg-1", "Placement.AvailabilityZone": "standalone",
                  "Placement.Affinity": "host", "Placement.GroupName": "g", "Placement.GroupId": "pg",
                  "Placement.PartitionNumber": "3", "Placement.HostId": "h-1",
                  "Placement.Tenancy": "Dedicated", "Placement.SpreadDomain": "s",
                  "Placement.HostResourceGroupArn": "arn:x"}
        task = self.good({**GOOD, "DryRun": "false",
                          **{"LaunchSpecification." + k: v for k, v in launch.items()}})
        spec, zone, architecture, platform = self.record(task.findtext("conversionTaskId"))
        self.assertEqual((zone, architecture, platform), ("standalone", "x86_64", "Linux"))
        self.assertEqual(json.loads(spec), {
            "Architecture": "x86_64", "AdditionalInfo": "more", "InstanceType": "m1.small",
            "KeyName": "mine", "KernelId": "aki-1", "RamdiskId": "ari-1",
            "UserData": launch["UserData.Data"], "Monitoring": True, "SubnetId": "subnet-1",
            "PrivateIpAddress": "10.0.0.25", "InstanceInitiatedShutdownBehavior": "stop",
            "GroupName": ["a", "b"], "GroupId": ["sg-1"],
            "Placement": {"AvailabilityZone": "standalone", "Affinity": "host", "GroupName": "g",
                          "GroupId": "pg", "PartitionNumber": 3, "HostId": "h-1",
                          "Tenancy": "dedicated", "SpreadDomain": "s",
                          "HostResourceGroupArn": "arn:x"}})

    def test_old_spellings_and_no_zone(self):
        task = self.good({**GOOD, "Version": OLD, "LaunchSpecification.UserData": "aGVsbG8=",
                          "LaunchSpecification.Monitoring.Enabled": "false",
                          "KeepPartialImports": "true"})
        self.assertIsNone(task.find("importInstance/volumes/item/availabilityZone"))
        spec, zone, architecture, _ = self.record(task.findtext("conversionTaskId"))
        self.assertEqual((zone, architecture), (None, "x86_64"))
        self.assertEqual(json.loads(spec), {"UserData": "aGVsbG8=", "Monitoring": False})

    def test_disks_come_in_the_order_of_their_indexes(self):
        many = {f"DiskImage.{n}.{name[12:]}": value for n in (7, 10, 2, 300)
                for name, value in DISK.items()}
        many.update({f"DiskImage.{n}.Description": f"disk {n}" for n in (7, 10, 2, 300)})
        task = self.good({"Action": "ImportInstance", "Version": NEW, "Platform": "Linux", **many})
        self.assertEqual([d.text for d in task.findall("importInstance/volumes/item/description")],
                         ["disk 2", "disk 7", "disk 10", "disk 300"])

    def test_up_to_21_disks(self):
        def of(count):
            return {"Action": "ImportInstance", "Version": NEW, "Platform": "Linux",
                    **{f"DiskImage.{n}.{name[12:]}": value for n in range(1, count + 1)
                       for name, value in DISK.items()}}
        self.assertEqual(len(self.good(of(21)).findall("importInstance/volumes/item")), 21)
        self.assert_refused(self.call(of(22)), 400, "InvalidParameterValue", "more than 21")

    def test_what_is_refused(self):
        before = len(self.tasks())
        user_data = "LaunchSpecification.UserData.Data"
        second = {name.replace(".1.", ".2."): value for name, value in DISK.items()}
        cases = [
            ({"Platform": ""}, "MissingParameter", "Platform"),
            ({"Platform": "BeOS"}, "InvalidParameterValue", "Windows, Linux"),
            ({"LaunchSpecification.Architecture": "vax"}, "InvalidParameterValue", "arm64"),
            ({"LaunchSpecification.Placement.Tenancy": "x"}, "InvalidParameterValue", "dedicated"),
            ({"LaunchSpecification.InstanceInitiatedShutdownBehavior": "x"},
             "InvalidParameterValue", "terminate"),
            ({"LaunchSpecification.Monitoring": "x"}, "InvalidParameterValue", "true or false"),
            ({"LaunchSpecification.Monitoring": "true",
              "LaunchSpecification.Monitoring.Enabled": "true"}, "InvalidParameterCombination", ""),
            ({"LaunchSpecification.UserData": "aGVsbG8=", user_data: "aGVsbG8="},
             "InvalidParameterCombination", ""),
            ({user_data: "aGVsbG8"}, "InvalidUserData.Malformed", "BASE64"),
            ({user_data: "aGV%bG8="}, "InvalidUserData.Malformed", ""),
            ({user_data: "===="}, "InvalidUserData.Malformed", ""),
            ({user_data: base64.b64encode(b"x" * 16385).decode()}, "InvalidParameterValue", "16385"),
            ({"LaunchSpecification.Placement.AvailabilityZone": "us-east-1a"},
             "InvalidZone.NotFound", "us-east-1a"),
            ({"LaunchSpecification.Placement.AvailabilityZone": "standalone",
              "LaunchSpecification.Placement.AvailabilityZoneId": "standalone"},
             "InvalidParameterCombination", "Placement.AvailabilityZoneId"),
            ({"DiskImage.1.Image.Format": ""}, "MissingParameter", "DiskImage.1.Image.Format"),
            ({**second, "DiskImage.2.Volume.Size": ""}, "MissingParameter", "DiskImage.2.Volume.Size"),
            ({**second, "DiskImage.2.Volume.Size": "0"}, "InvalidParameterValue",
             "DiskImage.2.Volume.Size"),
            ({**second, "DiskImage.2.Image.Bytes": str(2 << 30)}, "InvalidParameterValue",
             "DiskImage.2.Volume.Size"),
            ({**second, "DiskImage.2.Image.Format": "QCOW2"}, "InvalidFormat", "QCOW2"),
            ({**second, "DiskImage.2.Image.ImportManifestUrl": "ftp://h/"}, "InvalidParameterValue",
             "DiskImage.2.Image.ImportManifestUrl"),
            ({"LaunchSpecification.PrivateIpAddress": "999.1.1.1"}, "InvalidParameterValue",
             "999.1.1.1"),
            ({"DiskImage.0.Image.Format": "RAW"}, "UnknownParameter", "DiskImage.0"),
            ({"DiskImage.01.Image.Format": "RAW"}, "UnknownParameter", "DiskImage.01"),
            ({"DiskImage.1.Image.Colour": "red"}, "UnknownParameter", "Colour"),
            ({"DiskImage.1": "x"}, "UnknownParameter", "DiskImage.1"),
            ({"LaunchSpecification.": "x"}, "UnknownParameter", "LaunchSpecification."),
        ]
        for change, code, words in cases:
            with self.subTest(change=str(change)[:100]):
                self.assert_refused(self.call({**GOOD, **change}), 400, code, words)
        self.assert_refused(self.call({k: v for k, v in GOOD.items() if "DiskImage" not in k}), 400,
                            "MissingParameter", "DiskImage")
        self.assert_refused(self.call({**GOOD, "DryRun": "true"}), 412, "DryRunOperation")
        self.assertEqual(len(self.tasks()), before)
        self.good({**GOOD, user_data: base64.b64encode(b"x" * 16384).decode()})

    # -- the work

    def test_two_disks_of_different_formats(self):
        first, second = self.upload("VMDK", self.vmdk, 1), self.upload("VHD", self.vhd, 1)
        id = self.start(first, second)
        instance = self.look(id).findtext("importInstance/instanceId")
        task = self.wait(id, "completed")
        self.assertIsNone(task.find("statusMessage"))
        self.assertEqual(task.findtext("importInstance/instanceId"), instance)
        items = task.findall("importInstance/volumes/item")
        for item in items:
            self.assertEqual(item.findtext("status"), "completed")
            self.assertIsNone(item.find("statusMessage"))
            self.assertEqual(item.findtext("bytesConverted"), item.findtext("image/size"))
            self.assert_volume(item.findtext("volume/id"))
        self.assertEqual(self.files("scratch"), set())
        self.assertIn(instance + ".json", self.files("instances"))
        self.assert_refused(self.call({"Action": "CancelConversionTask", "Version": NEW,
                                       "ConversionTaskId": id}), 400, "DeleteConversionTaskError", id)

    def test_the_disks_are_converted_side_by_side(self):
        uploads = [self.upload("RAW", self.raw, 1, closed=4) for _ in range(2)]
        id = self.start(*uploads)
        for upload in uploads: # neither could be done before the other
            self.assertTrue(upload.waiting.wait(20))
        for upload in uploads:
            upload.open()
        self.wait(id, "completed")

    def one_published(self, **second):
        """A task whose first disk is published and whose second still waits."""
        first = self.upload("VHD", self.vhd, 1)
        other = self.upload("RAW", self.raw, 1, **second)
        id = self.start(first, other)
        service.wait_for(lambda: self.look(id).findtext("importInstance/volumes/item/status")
                         == "completed")
        task = self.look(id)
        self.assertEqual((task.findtext("state"), task.findtext("statusMessage")),
                         ("active", "Pending"))
        self.assertIn(task.findtext("importInstance/volumes/item/volume/id") + ".raw",
                      self.files("volumes"))
        return id, other

    def assert_all_cancelled(self, task):
        for item in task.findall("importInstance/volumes/item"):
            self.assertEqual(item.findtext("status"), "cancelled")
            self.assertIsNone(item.find("volume/id"))

    def test_cancelled_with_one_disk_done_and_one_in_work(self):
        before = self.all_files()
        id, other = self.one_published(closed=4)
        self.assertTrue(other.waiting.wait(20))
        self.assert_accepted(self.call({"Action": "CancelConversionTask", "Version": NEW,
                                        "ConversionTaskId": id, "ReasonMessage": "no <more>"}))
        task = self.wait(id, "cancelled")
        self.assertEqual(task.findtext("statusMessage"), "no <more>")
        self.assertEqual(self.all_files(), before)
        self.assert_all_cancelled(task)

    def test_cancelled_with_one_disk_done_and_one_waiting(self):
        before = self.all_files()
        id, _ = self.one_published(missing=True)
        service.wait_for(lambda: "waiting for the upload" in
                         (self.look(id).findall(".//volumes/item")[1].findtext("statusMessage")))
        self.assertRegex(self.look(id).findall(".//volumes/item")[1].findtext("statusMessage"),
                         r"^Pending : Downloaded 0 : waiting for the upload: ")
        self.assert_accepted(self.call({"Action": "CancelConversionTask", "Version": NEW,
                                        "ConversionTaskId": id}))
        task = self.wait(id, "cancelled")
        self.assertEqual(self.all_files(), before)
        self.assertEqual(task.findtext("statusMessage"), "Cancelled by user")
        self.assert_all_cancelled(task)

    def test_the_failure_of_one_disk_ends_all(self):
        before = self.all_files()
        good = self.upload("VHD", self.vhd, 1)
        stuck = self.upload("RAW", self.raw, 1, closed=4)
        bad = self.upload("VMDK", self.raw, 1, missing=True)
        id = self.start(good, bad, stuck)
        service.wait_for(lambda: self.look(id).findtext(".//volumes/item/status") == "completed")
        self.assertTrue(stuck.waiting.wait(20))
        bad.show()
        task = self.wait(id, "cancelled")
        self.assertEqual(self.all_files(), before)
        message = task.findtext("statusMessage")
        self.assertRegex(message, r"^ClientError: .*VMDK|^ClientError: Disk validation failed")
        self.assert_all_cancelled(task)
        said = [i.findtext("statusMessage") for i in task.findall(".//volumes/item")]
        self.assertEqual(said, [None, message, None])

    def test_a_volume_that_is_too_small(self):
        large = os.path.join(self.service.tmp, "large.raw")
        with open(large, "wb") as file:
            file.truncate((1 << 30) + 512)
        vhd = os.path.join(self.service.tmp, "large.vhd")
        subprocess.run([self.service.toolkit, "convert", "-f", "raw", "-O", "vhd", large, vhd],
                       check=True, stdout=subprocess.DEVNULL)
        id = self.start(self.upload("VHD", vhd, 1))
        task = self.wait(id, "cancelled")
        self.assertRegex(task.findtext("statusMessage"), (
            r"^ClientError: the VHD holds a disk of 1073742336 bytes, more than the 1073741824 "))


if __name__ == "__main__":
    unittest.main(warnings="ignore")
