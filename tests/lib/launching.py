"""launching - test cases that call launch/ through service/launch-helper, for a machine of their own.

    self.register(), self.start(), self.withdraw(): the helper's answer, a dictionary
    self.begin(): start it in the background, self.cancel(process) sends SIGTERM, .answer(process)
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

try:
    import jsonschema
except ImportError:
    print("skipped: python3-jsonschema is not installed")
    sys.exit(77)

import service

DEADLINE_S = 30
IMAGE, INSTANCE = "ami-0123456789abcdef0", "i-0fedcba9876543210"
USER_DATA = "dmVyeSBzZWNyZXQgdXNlciBkYXRh"


def helper():
    """The program, wherever the test was started."""
    for place in os.environ.get("top_builddir", "."), "..", os.path.join(service.TOP, "build"):
        path = os.path.abspath(os.path.join(place, "tests/service/launch-helper"))
        if os.access(path, os.X_OK):
            return path
    print("skipped: launch-helper was not built (libcmocka is missing)")
    sys.exit(77)


def schema(name):
    with open(os.path.join(service.TOP, "schemas/json", name + ".schema.json"),
              encoding="utf-8") as text:
        return json.load(text)


class Case(unittest.TestCase):
    launcher, seconds = "none", 30

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="launch.")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.machine = {
            "task_id": "import-i-0a1b2c3d", "account": "000000000001", "image_id": IMAGE,
            "instance_id": INSTANCE, "name": "web 1", "description": "a web server",
            "architecture": "x86_64", "platform": "Linux", "boot_mode": "legacy-bios",
            "zone": "standalone", "launch_spec": {"InstanceType": "m1.small", "UserData": USER_DATA},
            "disks": [{"volume_id": "vol-11111111111111111", "path": "/v/vol-1.raw", "gib": 8,
                       "digest": "sha256:00", "description": "root"},
                      {"volume_id": "vol-22222222222222222", "path": "/v/vol-2.raw", "gib": 1}]}
        self.said = ""

    # --- calling

    def begin(self, what="start"):
        process = subprocess.Popen([helper(), what, self.dir, self.launcher, str(self.seconds)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        process.stdin.write(json.dumps(self.machine))
        process.stdin.close()
        process.stdin = None
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
            process.communicate()

    def answer(self, process):
        out, self.said = process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 0, self.said)
        self.assertNotIn("Sanitizer", self.said)
        self.assertNotIn("runtime error:", self.said)
        self.assertNotIn(USER_DATA, out + self.said)
        return json.loads(out)

    def cancel(self, process):
        """Ask it to stop; it must do so within 5 s."""
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        answer = self.answer(process)
        self.assertLess(time.monotonic() - asked, 5)
        self.assertEqual(answer["code"], "Cancelled", answer)

    def register(self):
        return self.answer(self.begin("register"))

    def start(self):
        return self.answer(self.begin("start"))

    def withdraw(self):
        return self.answer(self.begin("withdraw"))

    # --- looking

    def path(self, kind, record_id):
        return os.path.join(self.dir, kind + "s", record_id + ".json")

    def record(self, kind, record_id):
        path = self.path(kind, record_id)
        self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)
        with open(path, encoding="utf-8") as text:
            record = json.load(text)
        jsonschema.validate(record, schema("machine-image" if kind == "image" else kind))
        return record

    def image(self):
        return self.record("image", self.machine["image_id"])

    def instance(self):
        return self.record("instance", self.machine["instance_id"])

    def assert_started(self, answer, instance_id, state):
        self.assertEqual(answer, {"r": 0, "instance_id": instance_id, "state": state})

    def assert_failed(self, answer, *words, again=False):
        self.assertLess(answer["r"], 0, answer)
        self.assertEqual(answer["r"] == -11, again, answer)  # EAGAIN
        for word in words:
            self.assertIn(word, answer["message"])
