#!/usr/bin/python3
"""The records of a registered machine: what is in them, who can read them, and that writing and
removing them may be repeated."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import launching  # noqa: E402
from launching import IMAGE, INSTANCE, USER_DATA  # noqa: E402


class Register(launching.Case):
    def test_records(self):
        self.assertEqual(self.register(), {"r": 0})
        image, instance = self.image(), self.instance()
        self.assertEqual({key: image[key] for key in image if key != "created"}, {
            "version": 1, "image_id": IMAGE, "task_id": "import-i-0a1b2c3d",
            "account": "000000000001", "name": "web 1", "description": "a web server",
            "architecture": "x86_64", "platform": "Linux", "boot_mode": "legacy-bios",
            "virtualization_type": "hvm", "root_device_type": "ebs",
            "root_device_name": "/dev/sda1", "block_device_mapping": [
                {"device_name": "/dev/sda1", "volume_id": "vol-11111111111111111",
                 "path": "/v/vol-1.raw", "size_gib": 8, "description": "root",
                 "digest": "sha256:00"},
                {"device_name": "/dev/sdb", "volume_id": "vol-22222222222222222",
                 "path": "/v/vol-2.raw", "size_gib": 1}]})
        self.assertEqual({key: instance[key] for key in instance if key != "created"}, {
            "version": 1, "instance_id": INSTANCE, "image_id": IMAGE,
            "task_id": "import-i-0a1b2c3d", "account": "000000000001", "state": "stopped",
            "launcher": "none", "zone": "standalone",
            "launch_specification": {"InstanceType": "m1.small", "UserData": USER_DATA}})
        self.assertEqual(os.stat(os.path.join(self.dir, "images")).st_mode & 0o777, 0o700)
        self.assertEqual(os.listdir(os.path.join(self.dir, "images")), [IMAGE + ".json"])

    def test_what_may_be_left_out(self):
        for name in "name", "description", "boot_mode", "zone", "launch_spec":
            del self.machine[name]
        self.assertEqual(self.register(), {"r": 0})
        self.assertEqual(self.image()["name"], IMAGE)
        self.assertNotIn("boot_mode", self.image())
        self.assertNotIn("zone", self.instance())
        self.assertEqual(self.instance()["launch_specification"], {})

    def test_hints_and_devices(self):
        self.machine["platform"] = "windows"
        self.machine["launch_spec"] = {"KernelId": "aki-1", "RamdiskId": "ari-1"}
        self.machine["disks"] = [dict(self.machine["disks"][0]) for _ in range(21)]
        self.machine["disks"][2]["device"] = "xvdz"
        self.assertEqual(self.register(), {"r": 0})
        image = self.image()
        self.assertEqual((image["kernel_id"], image["ramdisk_id"], image["virtualization_type"]),
                         ("aki-1", "ari-1", "paravirtual"))
        self.assertEqual([disk["device_name"] for disk in image["block_device_mapping"]],
                         ["/dev/sda1", "xvdb", "xvdz"] + ["xvd" + c for c in "defghijklmnopqrstu"])
        self.assertEqual(image["root_device_name"], "/dev/sda1")

    def test_again(self):
        self.register()
        with open(self.path("instance", INSTANCE), "rb") as text:
            before = text.read()
        self.machine["name"] = "other"
        self.assertEqual(self.register(), {"r": 0})
        with open(self.path("instance", INSTANCE), "rb") as text:
            self.assertEqual(text.read(), before)
        self.assertEqual(self.image()["name"], "web 1")
        self.machine["task_id"] = "import-i-ffffffff"
        answer = self.register()
        self.assertIn("belongs to another task", answer["message"])
        self.assertEqual(self.image()["task_id"], "import-i-0a1b2c3d")

    def test_damaged_records_are_written_again(self):
        self.register()
        for kind, record in ("image", IMAGE), ("instance", INSTANCE):
            with open(self.path(kind, record), "w", encoding="utf-8") as text:
                text.write('{"version": 1, ')
        self.assertEqual(self.register(), {"r": 0})
        self.image(), self.instance()

    def test_refused_machines(self):
        good = dict(self.machine)
        for change in ({"image_id": "ami-0123456789abcdeg0"}, {"image_id": "ami-../../../../x"},
                       {"image_id": "i-0123456789abcdef0"}, {"instance_id": "i-0123456789abcdef"},
                       {"instance_id": "i-0123456789ABCDEF0"}, {"disks": []},
                       {"disks": good["disks"] * 14}, {"launch_spec": ["x"]},
                       {"launch_spec": {"UserData": "x" * 65536}}):
            with self.subTest(str(change)[:60]):
                self.machine = {**good, **change}
                self.assertEqual(self.register()["code"], "InvalidArgument")
                self.assertEqual(self.start()["code"], "InvalidArgument")
        self.assertEqual(os.listdir(self.dir), [])
        self.machine = {**good, "disks": good["disks"] * 13, "launch_spec": {"UserData": "x" * 60000}}
        self.assertEqual(self.register(), {"r": 0})

    def test_withdraw(self):
        self.assertEqual(self.withdraw(), {"r": 0})
        self.register()
        self.withdraw()
        for kind in "images", "instances":
            self.assertEqual(os.listdir(os.path.join(self.dir, kind)), [])
        self.withdraw()
        self.register()
        self.machine["image_id"] = None  # not known: the other goes all the same
        self.withdraw()
        self.assertEqual(os.listdir(os.path.join(self.dir, "instances")), [])
        self.assertEqual(len(os.listdir(os.path.join(self.dir, "images"))), 1)
        victim = os.path.join(self.dir, "x.json")
        with open(victim, "w", encoding="utf-8"):
            pass
        self.machine["image_id"], self.machine["instance_id"] = "../x", "../x"
        self.withdraw()
        self.assertTrue(os.path.exists(victim))


class Start(launching.Case):
    def test_none(self):
        self.assert_started(self.start(), INSTANCE, "stopped")  # registers, too
        self.assertEqual(self.instance()["state"], "stopped")
        self.assert_started(self.start(), INSTANCE, "stopped")

    def test_no_zone_is_registered_only(self):
        del self.machine["zone"]
        for self.launcher in "command", "ec2", "nonsense":  # none of them is set up
            self.assert_started(self.start(), INSTANCE, "stopped")

    def test_settings(self):
        for self.launcher, words in (("nonsense", "there is no launcher 'nonsense'"),
                                     ("command", "launcher-command is not set"),
                                     ("ec2", "launcher-endpoint is not set")):
            self.assert_failed(self.start(), words)


if __name__ == "__main__":
    unittest.main()
