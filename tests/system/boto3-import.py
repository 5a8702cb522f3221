#!/usr/bin/python3
"""boto3 imports disks: the three actions, the waiters, the messages of failures.

Manifests are made here and name presigned URLs of boto3's own making, so that neither our clients
nor our signer are on both sides.
"""
import os
import signal
import subprocess
import sys
import time
import unittest
from xml.sax.saxutils import escape

import boto3
import botocore.config
import botocore.exceptions

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
sys.path.insert(0, LIB)
import service  # noqa: E402  (tests/lib/service.py)

GIB = 1 << 30
PART = 10 << 20


def make_disk(*arguments):
    subprocess.run([os.path.join(LIB, "make-disk"), *arguments], check=True)


class Import(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = service.Service()
        cls.addClassCleanup(cls.service.stop)
        cls.ec2 = cls.client("ec2")
        cls.s3 = cls.client("s3")
        cls.s3.create_bucket(Bucket="images")
        cls.raw, cls.vmdk, cls.vhd = (cls.path("disk." + kind) for kind in ("raw", "vmdk", "vhd"))
        make_disk("mbr-ext4", cls.raw, "32")
        make_disk("vmdk-stream", cls.vmdk, cls.raw)
        make_disk("vhd-dyn", cls.vhd, cls.raw)

    # -- tools

    @classmethod
    def path(cls, name):
        return os.path.join(cls.service.tmp, name)

    @classmethod
    def client(cls, kind, **keys):
        env = cls.service.env
        return boto3.client(
            kind, endpoint_url=env["EC2_URL" if kind == "ec2" else "S3_URL"],
            region_name="us-east-1",
            aws_access_key_id=keys.get("key", env["AWS_ACCESS_KEY_ID"]),
            aws_secret_access_key=keys.get("secret", env["AWS_SECRET_ACCESS_KEY"]),
            config=botocore.config.Config(retries={"max_attempts": 0},
                                          s3={"addressing_style": "path"}))

    def sign(self, method, key):
        return self.s3.generate_presigned_url(method, {"Bucket": "images", "Key": key})

    def manifest(self, name, form, size):
        """The manifest of an upload of `size` bytes, as XML text."""
        parts = ""
        starts = range(0, size, PART)
        for i, start in enumerate(starts):
            key = f"{name}.part.{i}"
            urls = "".join(f"<{verb}-url>{escape(self.sign(verb + '_object', key))}</{verb}-url>"
                           for verb in ("head", "get", "delete"))
            parts += (f'<part index="{i}"><byte-range start="{start}" '
                      f'end="{min(start + PART, size) - 1}"/><key>{key}</key>{urls}</part>')
        own = escape(self.sign("delete_object", name + ".manifest.xml"))
        return ("<?xml version='1.0' encoding='UTF-8' standalone='yes'?><manifest>"
                f"<version>2010-11-15</version><file-format>{form}</file-format>"
                "<importer><name>test</name><version>1</version><release>0</release></importer>"
                f"<self-destruct-url>{own}</self-destruct-url><import><size>{size}</size>"
                f"<volume-size>1</volume-size><parts count=\"{len(starts)}\">{parts}</parts>"
                "</import></manifest>")

    def upload(self, name, form, path):
        """Manifest first, as clients do, then the parts."""
        self.s3.put_object(Bucket="images", Key=name + ".manifest.xml",
                           Body=self.manifest(name, form, os.path.getsize(path)).encode())
        with open(path, "rb") as image:
            for i, data in enumerate(iter(lambda: image.read(PART), b"")):
                self.s3.put_object(Bucket="images", Key=f"{name}.part.{i}", Body=data)

    def start(self, form, path, url, **more):
        answer = self.ec2.import_volume(
            AvailabilityZone=self.service.env["EC2_AVAILABILITY_ZONE"],
            Image={"Format": form, "Bytes": os.path.getsize(path), "ImportManifestUrl": url},
            Volume={"Size": 1}, **more)
        return answer["ConversionTask"]

    def start_uploaded(self, name, form, path):
        self.upload(name, form, path)
        return self.start(form, path, self.sign("get_object", name + ".manifest.xml"))

    def look(self, task):
        answer = self.ec2.describe_conversion_tasks(ConversionTaskIds=[task["ConversionTaskId"]])
        self.assertEqual(len(answer["ConversionTasks"]), 1)
        return answer["ConversionTasks"][0]

    def wait(self, state, task):
        self.ec2.get_waiter("conversion_task_" + state).wait(
            ConversionTaskIds=[task["ConversionTaskId"]],
            WaiterConfig={"Delay": 1, "MaxAttempts": 100})
        return self.look(task)

    def volumes(self):
        return set(os.listdir(os.path.join(self.service.dir, "volumes")))

    def assert_nothing_left(self, volumes_before):
        self.assertEqual(self.volumes(), volumes_before)
        self.assertEqual(os.listdir(os.path.join(self.service.dir, "scratch")), [])

    def assert_volume(self, task):
        """The volume of a completed task is the disk, and zeros up to 1 GiB."""
        volume = os.path.join(self.service.dir, "volumes",
                              task["ImportVolume"]["Volume"]["Id"] + ".raw")
        size = os.path.getsize(self.raw)
        self.assertEqual(os.path.getsize(volume), GIB)
        subprocess.run(["cmp", "-n", str(size), self.raw, volume], check=True)
        subprocess.run(["cmp", "-n", str(GIB - size), "-i", f"{size}:0", volume, "/dev/zero"],
                       check=True)

    def assert_refused(self, code, status, call, *args, **kwargs):
        with self.assertRaises(botocore.exceptions.ClientError) as refusal:
            call(*args, **kwargs)
        answer = refusal.exception.response
        self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]),
                         (code, status), answer)
        return answer["Error"]["Message"]

    # -- stories

    def test_each_format_is_imported(self):
        for form, path in (("RAW", self.raw), ("VMDK", self.vmdk), ("VHD", self.vhd)):
            with self.subTest(form):
                url_of = f"each/{form} +ü/disk"
                task = self.start_uploaded(url_of, form, path)
                self.assertRegex(task["ConversionTaskId"], r"^import-vol-[0-9a-z]{8}$")
                self.assertEqual(task["State"], "active")
                self.assertNotIn("Id", task["ImportVolume"]["Volume"])
                self.assertEqual(task["ImportVolume"]["Image"]["Size"], os.path.getsize(path))
                task = self.wait("completed", task)
                self.assertRegex(task["ImportVolume"]["Volume"]["Id"], r"^vol-[0-9a-f]{8,17}$")
                self.assertEqual(task["ImportVolume"]["BytesConverted"], os.path.getsize(path))
                self.assertNotIn("StatusMessage", task)
                self.assert_volume(task)
        listed = self.ec2.describe_conversion_tasks()["ConversionTasks"]
        self.assertGreaterEqual(len(listed), 3)

    def test_the_upload_may_come_later(self):
        name = "later/disk"
        task = self.start("VMDK", self.vmdk, self.sign("get_object", name + ".manifest.xml"),
                          Description="a disk ]]>&< of mine")
        self.assertEqual(task["ImportVolume"]["Description"], "a disk ]]>&< of mine")
        self.assertTrue(self.look(task)["StatusMessage"])
        self.upload(name, "VMDK", self.vmdk)
        self.assert_volume(self.wait("completed", task))

    def test_a_truncated_image_fails_fast_and_says_why(self):
        before = self.volumes()
        cut = self.path("cut.vmdk")
        with open(self.vmdk, "rb") as whole, open(cut, "wb") as part:
            part.write(whole.read(os.path.getsize(self.vmdk) // 2))
        task = self.start_uploaded("cut/disk", "VMDK", cut)
        begun = time.monotonic()
        with self.assertRaises(botocore.exceptions.WaiterError):
            self.wait("completed", task)
        self.assertLess(time.monotonic() - begun, 30)
        task = self.wait("cancelled", task)
        self.assertRegex(task["StatusMessage"], r"^ClientError: .*[0-9]")
        self.assertNotIn("Id", task["ImportVolume"]["Volume"])
        self.assert_nothing_left(before)

    def test_a_part_of_another_length_than_said_is_refused(self):
        before = self.volumes()
        name = "short/disk"
        self.upload(name, "RAW", self.raw)
        self.s3.put_object(Bucket="images", Key=name + ".part.1", Body=b"x" * 1000)
        task = self.start("RAW", self.raw, self.sign("get_object", name + ".manifest.xml"))
        task = self.wait("cancelled", task)
        self.assertRegex(task["StatusMessage"], r"^ClientError: .*1000")
        self.assert_nothing_left(before)

    def test_cancelled_while_it_waits(self):
        before = self.volumes()
        task = self.start("RAW", self.raw, self.sign("get_object", "never/disk.manifest.xml"))
        answer = self.ec2.cancel_conversion_task(ConversionTaskId=task["ConversionTaskId"],
                                                 ReasonMessage="changed my mind")
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 200)
        task = self.wait("cancelled", task)
        self.assertEqual(task["StatusMessage"], "changed my mind")
        self.ec2.cancel_conversion_task(ConversionTaskId=task["ConversionTaskId"])
        self.assert_nothing_left(before)

    def test_cancelled_in_mid_conversion(self):
        before = self.volumes()
        gate = subprocess.Popen([os.path.join(LIB, "gate-server"), "RAW", self.raw, "1", "5"],
                                stdout=subprocess.PIPE, text=True)
        self.addCleanup(gate.stdout.close)
        self.addCleanup(gate.wait)
        self.addCleanup(gate.kill)
        url = f"http://127.0.0.1:{gate.stdout.readline().strip()}/manifest.xml"
        task = self.start("RAW", self.raw, url)
        self.assertEqual(gate.stdout.readline().strip(), "waiting")
        self.assertEqual(self.look(task)["State"], "active")
        self.ec2.cancel_conversion_task(ConversionTaskId=task["ConversionTaskId"],
                                        ReasonMessage="in the middle")
        self.assertIn(self.look(task)["State"], ("cancelling", "cancelled"))
        task = self.wait("cancelled", task)
        self.assertEqual(task["StatusMessage"], "in the middle")
        # Whatever the part holds now comes too late.
        gate.send_signal(signal.SIGUSR1)
        self.assert_nothing_left(before)

    def test_a_completed_task_is_not_cancelled(self):
        task = self.wait("completed", self.start_uploaded("done/disk", "VHD", self.vhd))
        self.assert_refused("DeleteConversionTaskError", 400, self.ec2.cancel_conversion_task,
                            ConversionTaskId=task["ConversionTaskId"])
        self.assert_volume(self.look(task))

    def test_who_does_not_hold_the_keys_is_refused(self):
        wrong = self.client("ec2", secret="wrong")
        self.assert_refused("SignatureDoesNotMatch", 403, wrong.describe_conversion_tasks)
        unknown = self.client("ec2", key="AKIAUNKNOWN", secret="wrong")
        self.assert_refused("AuthFailure", 401, unknown.describe_conversion_tasks)
        wrong = self.client("s3", secret="wrong")
        self.assert_refused("SignatureDoesNotMatch", 403, wrong.put_object, Bucket="images",
                            Key="k", Body=b"x")

    def test_parameters_that_cannot_be(self):
        url = self.sign("get_object", "x.manifest.xml")
        zone = self.service.env["EC2_AVAILABILITY_ZONE"]
        good = {"AvailabilityZone": zone, "Volume": {"Size": 1},
                "Image": {"Format": "RAW", "Bytes": 1, "ImportManifestUrl": url}}

        def refused(code, **change):
            self.assert_refused(code, 400, self.ec2.import_volume, **{**good, **change})

        tasks = len(self.ec2.describe_conversion_tasks()["ConversionTasks"])
        refused("InvalidFormat", Image={**good["Image"], "Format": "FLOPPY"})
        refused("InvalidParameterValue", Volume={"Size": -1})
        refused("InvalidZone.NotFound", AvailabilityZone="atlantis")
        refused("InvalidParameterValue",
                Image={**good["Image"], "ImportManifestUrl": "ftp://example.com/m"})
        self.assert_refused("InvalidConversionTaskId", 400, self.ec2.describe_conversion_tasks,
                            ConversionTaskIds=["import-vol-00000000"])
        self.assert_refused("InvalidConversionTaskId.Malformed", 400,
                            self.ec2.describe_conversion_tasks, ConversionTaskIds=["vol-1"])
        self.assertEqual(len(self.ec2.describe_conversion_tasks()["ConversionTasks"]), tasks)


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # boto3 leaves its sockets to the collector
