#!/usr/bin/python3
"""A machine whose kernel has no Landlock: the service does not start there unless it is told to, and then says
so; the toolkit warns in one line and works.  Where there is Landlock neither says anything.

A seccomp filter in front of the programs takes Landlock away, as an old kernel would."""
import ctypes
import json
import os
import platform
import re
import struct
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
from tasks import Tasks  # noqa: E402

LANDLOCK_CREATE_RULESET = 444  # on every architecture
LIBC = ctypes.CDLL(None, use_errno=True)


def take_landlock_away():
    """From the calling process on: prctl(PR_SET_NO_NEW_PRIVS), prctl(PR_SET_SECCOMP, a filter of four
    instructions)."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in (
        (0x20, 0, 0, 0),                            # the number of the call
        (0x15, 0, 1, LANDLOCK_CREATE_RULESET),
        (0x06, 0, 0, 0x00050000 | 38),              # ENOSYS
        (0x06, 0, 0, 0x7fff0000)))                  # else let it be
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held := ctypes.create_string_buffer(code)))
    if LIBC.prctl(38, 1, 0, 0, 0) or LIBC.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
        os._exit(99)
    del held


def toolkit(*arguments, **more):
    program = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, **more)


if platform.machine() != "x86_64" or toolkit("doctor").stdout.count("ok      machine  confinement") != 1:
    print("skipped: this machine cannot confine")
    sys.exit(77)

CONFIG = 'status-listen = "127.0.0.1:0"\n'


class OldService(service.Service):
    """One in front of which Landlock is taken away."""

    def start(self):
        popen = subprocess.Popen
        subprocess.Popen = lambda *one, **more: popen(*one, preexec_fn=take_landlock_away, **more)
        try:
            return super().start()
        finally:
            subprocess.Popen = popen


class Unconfined(Tasks):
    def ready(self, one):
        """What /ready says once it has looked."""
        address = "%s:%s" % re.search(r"^Its status is at (\S+) port (\d+):", one.printed, re.M).groups()

        def answer():
            try:
                with urllib.request.urlopen(f"http://{address}/ready") as reply:
                    return reply.read().decode()
            except urllib.error.HTTPError:  # not yet
                return None
        return service.wait_for(answer)

    def test_the_service_refuses(self):
        with self.assertRaisesRegex((AssertionError, RuntimeError), "cannot be confined here: .*there is no Landlock.*"
                                                  "'unconfined = true'"):
            OldService()

    def test_it_does_as_it_is_told(self):
        with OldService(config=CONFIG + "unconfined = true\n") as one:
            self.assertIn("images are read unconfined", one.log_text())
            self.assertIn("imaging-toolkit runs unconfined", self.ready(one))

    def test_a_job_that_is_to_be_confined_is_not_done_otherwise(self):
        """As the service gives them, which may have been given a toolkit that starts in another way."""
        store = os.path.join(self.service.tmp, "store")
        job = {"source": self.raw, "format": "raw", "store": store}
        for confined, how, status in ((True, take_landlock_away, 7), (True, None, 0), (False, take_landlock_away, 0)):
            done = toolkit("run", input=json.dumps({**job, "confined": confined, "force": True}), preexec_fn=how)
            self.assertEqual((done.returncode, "this job is done only confined" in done.stderr), (status, status == 7),
                             done.stderr)
            self.assertEqual(os.path.exists(store), status == 0)

    def test_the_toolkit_warns(self):
        image, out = self.raw, os.path.join(self.service.tmp, "out")
        free = toolkit("convert", "-f", "raw", "-O", "raw", image, out, preexec_fn=take_landlock_away)
        self.assertEqual((free.returncode, free.stderr.count("\n")), (0, 1), free.stderr)
        self.assertRegex(free.stderr, "^imaging-toolkit: warning: .*there is no Landlock")
        os.remove(out)
        self.assertEqual(toolkit("convert", "-f", "raw", "-O", "raw", image, out).stderr, "")
        self.assertIn("MISSING machine  confinement", toolkit("doctor", preexec_fn=take_landlock_away).stdout)

    def test_else_nothing_is_said(self):
        with service.Service(config=CONFIG) as one:
            self.assertNotIn("confined", self.ready(one) + one.log_text())


if __name__ == "__main__":
    unittest.main()
