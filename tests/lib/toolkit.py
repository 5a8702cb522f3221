"""toolkit - run imaging-toolkit in a private directory and look at what it left.

    class Story(toolkit.Case):
        def test_it(self):
            self.image("disk.raw", 4)
            self.run_ok("run", "import-volume", "image=disk.raw", "volume=v")
"""
import os
import random
import shutil
import subprocess
import tempfile
import unittest

import service

TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or service.built("imaging-toolkit/imaging-toolkit")
os.environ["PATH"] += ":/usr/sbin:/sbin"
MIB = 1 << 20
TIMEOUT = 120


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="toolkit.")
        self.addCleanup(shutil.rmtree, self.tmp, True)

    def path(self, name):
        return os.path.join(self.tmp, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return name

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def image(self, name, mib, seed=1):
        """A raw disk with data and holes; the same for the same seed."""
        dice = random.Random(seed)
        with open(self.path(name), "wb") as file:
            for _ in range(4):
                file.seek(dice.randrange(mib * MIB - 65536) // 512 * 512)
                file.write(dice.randbytes(65536))
            file.truncate(mib * MIB)
        return name

    def toolkit(self, *args, text=None, env=None):
        """The finished process; standard input is empty, or text."""
        done = subprocess.run([TOOLKIT, *args], cwd=self.tmp, input=text or b"", timeout=TIMEOUT,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              env={**os.environ, "TMPDIR": self.tmp, **(env or {})})
        for word in b"Sanitizer", b"runtime error:":
            self.assertNotIn(word, done.stderr, done.stderr.decode())
        return done

    def run_ok(self, *args, text=None, env=None):
        done = self.toolkit(*args, text=text, env=env)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def fails(self, status, words, *args, text=None, env=None):
        """It must end with status and say words on standard error, which is returned."""
        done = self.toolkit(*args, text=text, env=env)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, status, said + done.stdout.decode())
        self.assertIn(words, said)
        return said

    def listing(self):
        """Every file with its size and times: what a run that touches nothing leaves as it was."""
        found = {}
        for top, _, files in os.walk(self.tmp):
            for name in files + ["."]:
                st = os.lstat(os.path.join(top, name))
                found[os.path.join(top, name)] = (st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino)
        return found
