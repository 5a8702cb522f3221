#!/usr/bin/python3
"""The launcher "ec2": what it asks for, that repeating it makes nothing twice, that it stops when it is
asked to, and that what it made can be taken back."""
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import launching  # noqa: E402
import service  # noqa: E402
from cloud import KEY, SECRET, TASK, TOKEN, WHOLE, Ec2, cut, error, never  # noqa: E402
from launching import IMAGE, INSTANCE, USER_DATA  # noqa: E402

class Calls(Ec2):
    def test_whole(self):
        self.machine["launch_spec"] = {
            "InstanceType": "m1.small", "GroupName": ["default", "a b"], "GroupId": ["sg-1"],
            "UserData": USER_DATA, "KeyName": "k\u00e9y", "SubnetId": "subnet-1",
            "PrivateIpAddress": "10.0.0.25", "InstanceInitiatedShutdownBehavior": "terminate",
            "Monitoring": True, "Placement": {"AvailabilityZone": "other", "Tenancy": "dedicated",
                                              "PartitionNumber": 2},
            "AdditionalInfo": "x+y", "Unknown": "ignored"}
        self.assert_started(self.start(), "i-1", "pending")
        self.assertEqual(self.cloud.actions(), WHOLE)
        self.assert_whole()
        self.assertEqual(self.cloud.said("DescribeSnapshots")[0], {
            "Action": "DescribeSnapshots", "Version": "2016-11-15", "Owner.1": "self",
            "Filter.1.Name": "description", "Filter.1.Value.1": TASK + " vol-11111111111111111"})
        self.assertEqual(self.cloud.said("CreateSnapshot")[1], {
            "Action": "CreateSnapshot", "Version": "2016-11-15",
            "VolumeId": "vol-22222222222222222", "Description": TASK + " vol-22222222222222222"})
        self.assertEqual(self.cloud.said("RegisterImage"), [{
            "Action": "RegisterImage", "Version": "2016-11-15", "Name": "web 1 (%s)" % TASK,
            "Description": "a web server", "Architecture": "x86_64", "RootDeviceName": "/dev/sda1",
            "VirtualizationType": "hvm", "BootMode": "legacy-bios",
            "BlockDeviceMapping.1.DeviceName": "/dev/sda1",
            "BlockDeviceMapping.1.Ebs.SnapshotId": "snap-1",
            "BlockDeviceMapping.1.Ebs.VolumeSize": "8",
            "BlockDeviceMapping.2.DeviceName": "/dev/sdb",
            "BlockDeviceMapping.2.Ebs.SnapshotId": "snap-2",
            "BlockDeviceMapping.2.Ebs.VolumeSize": "1"}])
        self.assertEqual(self.cloud.said("RunInstances"), [{
            "Action": "RunInstances", "Version": "2016-11-15", "ImageId": "ami-1", "MinCount": "1",
            "MaxCount": "1", "ClientToken": TASK, "InstanceType": "m1.small",
            "SecurityGroup.1": "default", "SecurityGroup.2": "a b", "SecurityGroupId.1": "sg-1",
            "UserData": USER_DATA, "KeyName": "k\u00e9y", "SubnetId": "subnet-1",
            "PrivateIpAddress": "10.0.0.25", "InstanceInitiatedShutdownBehavior": "terminate",
            "Monitoring.Enabled": "true", "Placement.AvailabilityZone": "standalone",
            "Placement.Tenancy": "dedicated", "Placement.PartitionNumber": "2",
            "AdditionalInfo": "x+y"}])
        instance = self.instance()
        self.assertEqual((instance["state"], instance["launcher"],
                          instance["launcher_instance_id"]), ("pending", "ec2", "i-1"))

    def test_hints(self):
        self.machine["launch_spec"] = {"KernelId": "aki-1", "RamdiskId": "ari-1",
                                       "Monitoring": {"Enabled": "false"}}
        self.machine["name"], self.machine["boot_mode"] = "w\u00f6b*?" + "x" * 200, None
        self.assert_started(self.start(), "i-1", "pending")
        image = self.cloud.said("RegisterImage")[0]
        self.assertEqual((image["KernelId"], image["RamdiskId"], image["VirtualizationType"]),
                         ("aki-1", "ari-1", "paravirtual"))
        self.assertNotIn("BootMode", image)
        self.assertRegex(image["Name"], r"^w--b--x{73,74} \(import-i-0a1b2c3d\)$")
        self.assertEqual(self.cloud.said("RunInstances")[0]["Monitoring.Enabled"], "false")

    def test_wrong_types(self):
        for spec in ({"InstanceType": []}, {"GroupName": "default"}, {"GroupName": [[]]},
                     {"Placement": "zone"}, {"Placement": {"x" * 70: "y"}},
                     {"Placement": {"Tenancy": {}}}, {"Monitoring": 1.5}):
            with self.subTest(str(spec)):
                self.machine["launch_spec"] = spec
                self.assert_failed(self.start(), "has a member of the wrong type")
                self.fresh()

    def test_credentials(self):
        for text, token in (
                (KEY + "\n" + SECRET, None), ("# keys\r\n\r\n %s \r\n%s\r\n" % (KEY, SECRET), None),
                ("[default]\naws_access_key_id = %s\nAWS_SECRET_ACCESS_KEY=%s\n" % (KEY, SECRET),
                 None),
                ("[other]\naws_access_key_id=x\naws_secret_access_key=y\n[default]\nregion = x\n"
                 "aws_access_key_id=%s\naws_secret_access_key=%s\naws_session_token=%s\n[last]\n"
                 "aws_access_key_id=x\n" % (KEY, SECRET, TOKEN), TOKEN)):
            with self.subTest(text[:20]):
                self.fresh()
                self.keys(text)
                self.cloud.token = token
                self.assert_started(self.start(), "i-1", "pending")
                self.assertEqual(self.cloud.unsigned, [])

    def test_refused_credentials(self):
        good = KEY + "\n" + SECRET + "\n"
        for text, mode, words in (
                (good, 0o640, "has the mode 0640"), (good, 0o604, "has the mode 0604"),
                ("", 0o600, "holds no access key"), (KEY + "\n", 0o600, "holds no access key"),
                ("[other]\naws_access_key_id=%s\naws_secret_access_key=%s\n" % (KEY, SECRET), 0o600,
                 "holds no access key"),
                (KEY + "\n" + "x" * 129, 0o600, "holds no access key"),
                (good + "#" * 16384, 0o600, "has more than 16384 bytes")):
            with self.subTest(words):
                self.keys(text, mode)
                self.assert_failed(self.start(), words)
        os.unlink(self.machine["credentials"])
        self.assert_failed(self.start(), "cannot read launcher-credentials")
        self.machine["credentials"] = "/dev/zero"
        self.assert_failed(self.start(), "must be a file that only its owner can read")
        self.assertEqual(self.cloud.calls, [])

    def test_endpoints(self):
        for url, words in (("ftp://h/", "launcher-endpoint"), ("http://u:p@h/", "user name"),
                           ("http://h/?x=y", "a query")):
            self.machine["endpoint"] = url
            self.assert_failed(self.start(), words)


class Repeated(Ec2):
    def test_same_ids(self):
        self.start()
        self.assert_started(self.start(), "i-1", "pending")
        self.assertEqual(self.cloud.actions(), WHOLE)  # the record knew
        self.forget()
        self.assert_started(self.start(), "i-1", "pending")
        self.assertEqual(len(self.cloud.said("RunInstances")), 2)
        self.assert_whole()

    def test_killed_in_each_step(self):
        """The endpoint does its work, but nobody is there any more to read the answer."""
        for step in range(len(WHOLE)):
            with self.subTest(WHOLE[step], step=step):
                self.fresh()
                reached, cloud = threading.Event(), self.cloud

                def work_and_keep_silent(params, cloud=cloud, reached=reached):
                    cloud.act(params)
                    reached.set()
                    return never
                work_and_keep_silent.wants_params = True
                cloud.on(None, work_and_keep_silent, skip=step)
                process = self.begin()
                self.assertTrue(reached.wait(launching.DEADLINE_S))
                self.end(process)
                self.assert_started(self.start(), "i-1", "pending")
                self.assert_whole()

    def test_broken_connections(self):
        """The same within one attempt: what was made although the answer was lost is found."""
        for step in range(len(WHOLE)):
            with self.subTest(WHOLE[step], step=step):
                self.fresh()
                cloud = self.cloud

                def work_and_break(params, cloud=cloud):
                    cloud.act(params)
                    return cut
                work_and_break.wants_params = True
                cloud.on(None, work_and_break, skip=step)
                self.assert_started(self.start(), "i-1", "pending")
                self.assert_whole()


class Stopped(Ec2):
    def test_cancel_in_each_step(self):
        for step in range(len(WHOLE)):
            with self.subTest(WHOLE[step], step=step):
                self.fresh()
                reached = threading.Event()

                def silent(params, reached=reached):
                    reached.set()
                    return never
                silent.wants_params = True
                self.cloud.on(None, silent, skip=step)
                process = self.begin()
                self.assertTrue(reached.wait(launching.DEADLINE_S))
                self.cancel(process)
                self.assertEqual(self.cloud.actions(), WHOLE[:step + 1])

    def test_cancel_between(self):
        self.cloud.looks = 1000
        process = self.begin()
        service.wait_for(lambda: len(self.cloud.said("DescribeSnapshots")) > 4)
        self.cancel(process)
        self.assertEqual(self.cloud.said("RegisterImage"), [])
        self.fresh()
        self.cloud.on("RunInstances", error(503, "RequestLimitExceeded"), times=100)
        process = self.begin()
        service.wait_for(lambda: len(self.cloud.said("RunInstances")) > 1)
        self.cancel(process)


class Withdrawn(Ec2):
    def assert_gone(self):
        self.assertEqual((self.cloud.snapshots, self.cloud.images, self.cloud.instances),
                         ({}, {}, {}))
        self.assertFalse(os.path.exists(self.path("image", IMAGE)))
        self.assertFalse(os.path.exists(self.path("instance", INSTANCE)))

    def test_all_is_taken_back(self):
        self.start()
        self.forget()
        self.withdraw()
        self.assert_gone()

    def test_half_is_taken_back(self):
        self.cloud.on("RegisterImage", error(403, "No"))
        self.start()
        self.assertEqual(len(self.cloud.snapshots), 2)
        self.cloud.on("DeleteSnapshot", error(400, "InvalidSnapshot.InUse"))
        self.withdraw()
        self.assertEqual(list(self.cloud.snapshots), ["snap-1"])
        self.assertIn("the snapshot 'snap-1' may be left", self.said)

    def test_another_tasks_things_stay(self):
        self.start()
        for thing in list(self.cloud.snapshots.values()):
            thing["description"] = "import-i-99999999 " + thing["volume"]
        self.withdraw()
        self.assertEqual(len(self.cloud.snapshots), 2)
        self.assertEqual(self.cloud.images, {})

    def test_nothing_begun(self):
        self.register()
        self.withdraw()
        self.assertEqual(self.cloud.calls, [])
        self.assert_gone()

    def test_endpoint_is_gone(self):
        self.cloud.on("RunInstances", error(403, "No"))
        self.start()
        self.cloud.on("DescribeInstances", never)
        began = time.monotonic()
        self.withdraw()
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("may be left at the launcher's endpoint", self.said)
        self.assertFalse(os.path.exists(self.path("instance", INSTANCE)))


if __name__ == "__main__":
    unittest.main()
