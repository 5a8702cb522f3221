"""tasks - test cases that import disks into a service of their own and look at the tasks."""
import os
import re
import struct
import subprocess
import urllib.parse
import xml.etree.ElementTree as xml

import service
import sign
from api import Case, FORM
from upload import Upload

LIB = os.path.dirname(os.path.abspath(__file__))
NEW, OLD = "2016-11-15", "2015-10-01"


def make_bootable(path):
    """Give the disk an MBR whose first partition, all the rest when there is none, is active."""
    with open(path, "r+b") as disk:
        sector = bytearray(disk.read(512))
        if sector[510:] != b"\x55\xaa" or not any(sector[446:510]):
            sectors = os.path.getsize(path) // 512
            sector = bytearray(446) + struct.pack("<B3xB3xII", 0, 0x83, 1, sectors - 1)
            sector += bytes(48) + b"\x55\xaa"
        sector[446] = 0x80
        disk.seek(0)
        disk.write(sector)


class Tasks(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.raw, cls.vmdk, cls.vhd = (os.path.join(cls.service.tmp, "disk." + kind)
                                      for kind in ("raw", "vmdk", "vhd"))
        for arguments in (("mbr-ext4", cls.raw, "8"), ("vmdk-stream", cls.vmdk, cls.raw),
                          ("vhd-dyn", cls.vhd, cls.raw)):
            subprocess.run([os.path.join(LIB, "make-disk"), *arguments], check=True)
            if arguments[1] == cls.raw:
                make_bootable(cls.raw)

    # -- tools

    def tearDown(self):
        for task in self.tasks():
            if task.findtext("state") == "active":
                self.call({"Action": "CancelConversionTask", "Version": NEW,
                           "ConversionTaskId": task.findtext("conversionTaskId")})
        service.wait_for(lambda: not {t.findtext("state") for t in self.tasks()}
                         & {"active", "cancelling"})

    def call(self, parameters):
        body = urllib.parse.urlencode(parameters).encode()
        return sign.send(self.host, "POST", "/", sign.v4(self.key, self.secret, "POST", self.host,
                                                         "/", "", body, FORM), body)

    @staticmethod
    def tree(answer):
        return xml.fromstring(re.sub(r' xmlns="[^"]*"', "", answer.text))

    def cancel(self, id, reason=""):
        self.assert_accepted(self.call({"Action": "CancelConversionTask", "Version": NEW,
                                        "ConversionTaskId": id, "ReasonMessage": reason}))
        self.wait(id, "cancelled")

    def restart(self):
        """Start the service again; it has another port then."""
        self.service.start()
        type(self).host = urllib.parse.urlsplit(self.service.env["EC2_URL"]).netloc

    def good(self, parameters):
        answer = self.call(parameters)
        self.assert_accepted(answer)
        return self.tree(answer).find("conversionTask")

    def tasks(self, *ids):
        answer = self.call({"Action": "DescribeConversionTasks", "Version": NEW,
                            **{f"ConversionTaskId.{i + 1}": id for i, id in enumerate(ids)}})
        self.assert_accepted(answer)
        return self.tree(answer).findall("conversionTasks/item")

    def look(self, id):
        return self.tasks(id)[0]

    def disk(self, n, upload, gib=1):
        return {f"DiskImage.{n}.Image.Format": upload.form,
                f"DiskImage.{n}.Image.Bytes": str(len(upload.data)),
                f"DiskImage.{n}.Image.ImportManifestUrl": upload.url,
                f"DiskImage.{n}.Volume.Size": str(gib)}

    def start(self, *uploads, **more):
        parameters = {"Action": "ImportInstance", "Version": NEW, "Platform": "Linux", **more}
        for n, upload in enumerate(uploads):
            parameters.update(self.disk(n + 1, upload))
        return self.good(parameters).findtext("conversionTaskId")

    def wait(self, id, state):
        def there():
            task = self.look(id)
            if task.findtext("state") in ("completed", "cancelled"):
                self.assertEqual(task.findtext("state"), state, xml.tostring(task))
            return task.findtext("state") == state and task
        return service.wait_for(there)

    def upload(self, *arguments, **more):
        upload = Upload(*arguments, **more)
        self.addCleanup(upload.stop)
        return upload

    def files(self, name):
        path = os.path.join(self.service.dir, name)
        return set(os.listdir(path)) if os.path.exists(path) else set()

    def all_files(self):
        return [self.files(name) for name in ("volumes", "scratch", "images", "instances")]

    def assert_volume(self, id):
        volume = os.path.join(self.service.dir, "volumes", id + ".raw")
        self.assertEqual(os.path.getsize(volume), 1 << 30)
        subprocess.run(["cmp", "-n", str(os.path.getsize(self.raw)), self.raw, volume], check=True)
