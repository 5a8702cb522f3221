#!/usr/bin/python3
"""resume-kill - an upload that is killed again and again, and resumed each time, sends no part more
than twice; what arrives is the file.

    resume-kill.py [--kills 30] [--all] [--seed N]

A counting proxy (lib/counting.py) stands in front of a real object store: the service's own, or
Ceph's gateway.  It also kills, with SIGKILL and at a random byte.

Nobody can promise that a part is sent twice at most when the uploader may be killed at any time: the
part that is on its way when it is killed has to be sent again, and may then be on its way once more.
What is promised is that a part which has arrived is never sent again.  So there are two stories:

- "spaced": each kill comes at a random byte after the parts that the kill before caught have
  arrived.  Then no part is caught twice, and none may be sent more than twice.
- "any": each kill comes at any byte, between requests as well, from the first one on.  A part that
  the store has answered for may not be sent again, and a kill costs no more than what was on its way.

In both, the task must then end with a volume that is the file.  Without --all there is one of each,
with fewer kills in the second; under AddressSanitizer 10 kills are the preset.
"""
import argparse
import os
import random
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import counting  # noqa: E402
import euca  # noqa: E402
import service  # noqa: E402

LIB = os.path.join(service.TOP, "tests", "lib")
MIB = 1 << 20
UPLOADS = 4
DEADLINE_S = 120


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--kills", type=int, default=10 if os.environ.get("SANITIZED") else 30)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    return parser.parse_args()


class Kills(unittest.TestCase):
    service = rgw = None

    @classmethod
    def setUpClass(cls):
        cls.service = service.Service()

    @classmethod
    def tearDownClass(cls):
        if cls.rgw:  # before the directory with its pids goes
            subprocess.run([os.path.join(LIB, "rgw"), "stop", cls.rgw], check=True)
        cls.service.stop()

    @classmethod
    def keys_of_rgw(cls):
        """Address, key and secret of a gateway of our own."""
        if not cls.rgw:
            place = os.path.join(cls.service.tmp, "rgw")
            done = subprocess.run([os.path.join(LIB, "rgw"), "start", place], check=False)
            if done.returncode == 77:
                raise unittest.SkipTest("Ceph is not installed")
            assert done.returncode == 0
            cls.rgw = place
        with open(os.path.join(cls.rgw, "env.sh"), encoding="ascii") as file:
            env = dict(re.findall(r"^export (\w+)=(.*)$", file.read(), re.M))
        return env["S3_URL"].split("//")[1], env["S3_ACCESS_KEY"], env["S3_SECRET_KEY"]

    # -- the commands

    def start(self, command, *more):
        return euca.start(self.service.env, command, *self.keys, *more, S3_URL=self.s3_url)

    @staticmethod
    def finish(process):
        return euca.finish(process, DEADLINE_S)

    def resume(self):
        return self.start("resume-import", "-t", self.task, "--part-size", "1", self.file)

    def make(self, parts):
        """A file of so many parts, the last one short, and its task."""
        self.file = os.path.join(self.service.tmp, f"{self.id().rsplit('.', 1)[1]}.img")
        block = self.random.randbytes(MIB)
        with open(self.file, "wb") as file:
            for part in range(parts):
                file.write(part.to_bytes(8, "big") + block[8:MIB if part < parts - 1 else 12345])
        process = self.start("import-volume", "-f", "raw", "-b", "kills", "-z",
                             self.service.env["EC2_AVAILABILITY_ZONE"], "--no-upload", self.file)
        status, out, err = self.finish(process)
        self.assertEqual(status, 0, err)
        self.task = out.split("\t")[3]

    def volume(self):
        """Path of the task's volume once it has ended well."""
        def ended():
            out = euca.run(self.service.env, "describe-conversion-tasks", self.task)[1]
            self.assertNotIn("cancelled", out)
            return "Status\tcompleted" in out and out
        out = service.wait_for(ended, DEADLINE_S)
        return os.path.join(self.service.dir, "volumes", re.search(r"VolumeId\t(\S+)", out)[1] + ".raw")

    # -- the stories

    def story(self, host, path, keys, kills, spaced):
        self.random = random.Random(f"{options.seed} {self.id()}")
        with counting.Proxy(host) as proxy:
            self.s3_url, self.keys = f"http://{proxy.host}{path}", keys
            # a kill takes four parts that were caught, up to three more, and what is on its way
            self.make(kills * (8 if spaced else 4) + UPLOADS)
            self.kill(proxy, kills, spaced)
            self.judge(proxy, kills, spaced)
            self.same()

    def kill(self, proxy, kills, spaced):
        for _ in range(kills):
            caught = {p for p, n in proxy.begun.items() if not proxy.stored.get(p)}
            process = self.resume()
            # without `until`, requests count as well: HEADs of what is there come first
            proxy.kill_after(process, self.random.randrange((3 if spaced else 4) * MIB),
                             caught if spaced else ())
            status, _, err = self.finish(process)
            self.assertEqual(status, -signal.SIGKILL, f"it ended before it was killed: {err}")
            service.wait_for(lambda: not proxy.open)
        status, out, err = self.finish(self.resume())
        self.assertEqual((status, out, err), (0, "", ""))

    def judge(self, proxy, kills, spaced):
        size = os.path.getsize(self.file)
        most = max(proxy.begun.values())
        twice = sum(1 for n in proxy.begun.values() if n > 1)
        print(f"{self.id().rsplit('.', 1)[1]}: {kills} kills, {len(proxy.begun)} parts, {twice} sent more than "
              f"once, none more than {most} times, {(proxy.sent - size) / size:.1%} too many bytes")
        self.assertEqual(proxy.again, [], "parts that had arrived were sent again")
        self.assertEqual(len(proxy.begun), -(-size // MIB))
        self.assertLessEqual(proxy.sent, size + kills * UPLOADS * MIB)
        if spaced:
            self.assertLessEqual(most, 2)

    def same(self):
        """The volume begins with the file, and nothing follows."""
        volume = self.volume()
        with open(self.file, "rb") as wanted, open(volume, "rb") as got:
            while block := wanted.read(MIB):
                self.assertEqual(got.read(len(block)) == block, True, "the volume is not the file")
            self.assertEqual(got.read(MIB).strip(b"\0"), b"")

    def on_service(self, kills, spaced):
        url = self.service.env["S3_URL"].rstrip("/").split("//")[1]
        host, path = url.split("/", 1)
        self.story(host, "/" + path, (), kills, spaced)

    def on_rgw(self, kills, spaced):
        host, key, secret = self.keys_of_rgw()
        self.story(host, "", ("-o", key, "-w", secret), kills, spaced)

    def test_spaced_on_service(self):
        self.on_service(options.kills, True)

    def test_any_on_rgw(self):
        self.on_rgw(options.kills if options.all else min(options.kills, 10), False)

    def more_spaced_on_rgw(self):
        self.on_rgw(options.kills, True)

    def more_any_on_service(self):
        self.on_service(options.kills, False)


if __name__ == "__main__":
    options = arguments()
    print(f"seed {options.seed}")
    wanted = ("test_", "more_") if options.all else "test_"
    result = unittest.TextTestRunner(verbosity=2).run(
        unittest.TestSuite(Kills(n) for n in dir(Kills) if n.startswith(wanted)))
    sys.exit(not result.wasSuccessful())
