#!/usr/bin/python3
"""Starting and stopping: what is made, what is printed, who is kept out, and exit statuses."""
import os
import re
import signal
import socket
import subprocess
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402


class Start(unittest.TestCase):
    def setUp(self):
        self.service = service.Service(start=False)
        self.addCleanup(self.service.stop)

    def path(self, name=""):
        return os.path.join(self.service.dir, name)

    def run_program(self, *arguments):
        return subprocess.run([self.service.program, *arguments], stdin=subprocess.DEVNULL, check=False,
                              capture_output=True, text=True, timeout=60)

    def assert_fails(self, status, words, *arguments):
        result = self.run_program(*arguments)
        self.assertEqual((result.returncode, result.stdout), (status, ""), result.stderr)
        self.assertIn(words, result.stderr)

    def assert_cannot_start(self, words, *options):
        self.assert_fails(1, words, *self.service.command(*options)[1:])

    def ask(self, env=None):
        env = env or self.service.env
        host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        body = b"Action=DescribeConversionTasks&Version=2016-11-15"
        return sign.send(host, "POST", "/", sign.v4(
            env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], "POST", host, "/", "", body,
            {"content-type": "application/x-www-form-urlencoded"}), body)

    def test_what_it_makes_is_private(self):
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        self.service.start()
        for name in ("", "objects", "volumes", "scratch"):
            self.assertEqual(os.stat(self.path(name)).st_mode & 0o777, 0o700, name)
        for name in ("accounts.db", "accounts.db-wal", "env.sh", "lock", "tasks.db"):
            self.assertEqual(os.stat(self.path(name)).st_mode & 0o777, 0o600, name)
        self.assertEqual(os.stat(self.path("master.key")).st_mode & 0o777, 0o400)

    def test_endpoints_and_keys(self):
        self.service.start()
        env = self.service.env
        self.assertEqual(list(env), ["EC2_URL", "S3_URL", "AWS_ACCESS_KEY_ID",
                                     "AWS_SECRET_ACCESS_KEY", "EC2_AVAILABILITY_ZONE"])
        self.assertRegex(env["EC2_URL"], r"^http://127\.0\.0\.1:[1-9]\d*/$")
        self.assertEqual(env["S3_URL"], env["EC2_URL"] + "objects/")
        self.assertRegex(env["AWS_ACCESS_KEY_ID"], r"^AKIA[A-Z2-7]{16}$")
        self.assertRegex(env["AWS_SECRET_ACCESS_KEY"], r"^[A-Za-z0-9+/]{40}$")
        self.assertEqual(env["EC2_AVAILABILITY_ZONE"], "standalone")
        with open(self.path("env.sh"), encoding="ascii") as file:
            self.assertIn(file.read(), self.service.printed)
        shown = subprocess.run(["sh", "-c", '. "$1" && env', "sh", self.path("env.sh")], check=True,
                               capture_output=True, text=True).stdout
        for name, value in env.items():
            self.assertIn(f"{name}={value}\n", shown)
        self.assertTrue(self.service.printed.endswith("\nready\n"))

    def test_keys_stay_and_differ_between_services(self):
        self.service.start()
        keys = {k: v for k, v in self.service.env.items() if k.startswith("AWS")}
        self.assertEqual(self.service.terminate(), 0)
        self.service.start()
        self.assertEqual(keys, {k: v for k, v in self.service.env.items() if k.startswith("AWS")})
        self.assertEqual(self.ask().status, 200)
        with service.Service() as other:
            self.assertEqual(self.ask({**keys, "EC2_URL": other.env["EC2_URL"]}).status, 401)

    def test_a_wrong_master_key_is_one_clear_line(self):
        self.service.start()
        self.service.terminate()
        with open(self.path("master.key"), "rb") as file:
            good = file.read()
        for bad, mode, words in ((good[:-1], 0o400, "has 31 bytes and must have 32"),
                                 (good[::-1], 0o400, "is not the one"), (good, 0o644, "mode 0644"),
                                 (None, 0, "there is no master key")):
            os.unlink(self.path("master.key"))
            if bad is not None:
                with open(self.path("master.key"), "wb") as file:
                    file.write(bad)
                os.chmod(self.path("master.key"), mode)
            result = self.run_program(*self.service.command()[1:])
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn(words, result.stderr)
            self.assertIn("master.key'", result.stderr)
            if bad is None:
                self.assertFalse(os.path.exists(self.path("master.key")))
                open(self.path("master.key"), "wb").close()
        elsewhere = os.path.join(self.service.tmp, "elsewhere.key")
        with open(elsewhere, "wb") as file:
            file.write(good)
        os.chmod(elsewhere, 0o400)
        self.service.options = ("--master-key", elsewhere)
        self.service.start()
        self.assertEqual(self.ask().status, 200)

    def test_one_service_for_one_directory(self):
        self.service.start()
        self.assert_cannot_start("another imaging-service is at work in")
        self.assertEqual(self.ask().status, 200)
        self.service.kill()
        self.service.start()  # the lock of a dead process holds nobody back

    def test_ports(self):
        # of an address of its own, where no other test gets the port while nobody listens
        self.service.options = ("--listen", "127.0.77.1:0")
        self.service.start()
        port = urllib.parse.urlsplit(self.service.env["EC2_URL"]).port
        with service.Service(start=False) as other:
            self.assert_fails(1, f"cannot listen on 127.0.77.1 port {port}",
                              *other.command("--listen", f"127.0.77.1:{port}")[1:])
            self.assert_fails(1, "'localhost' is not an IP address",
                              *other.command("--listen", "localhost:0")[1:])
        # the same one again, at once, although the service was the first to hang up
        sign.raw(f"127.0.77.1:{port}", b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                 end=False)
        self.service.terminate()
        self.service.options = ("--listen", f"127.0.77.1:{port}")
        self.service.start()
        self.assertEqual(urllib.parse.urlsplit(self.service.env["EC2_URL"]).port, port)

    def test_other_addresses(self):
        for address, shown in (("0.0.0.0:0", "127.0.0.1"), ("[::1]:0", "::1")):
            if ":" in shown:
                try:
                    socket.create_server(("::1", 0), family=socket.AF_INET6).close()
                except OSError:
                    continue
            with service.Service("--listen", address) as other:
                self.assertEqual(urllib.parse.urlsplit(other.env["EC2_URL"]).hostname, shown)
                self.assertEqual(self.ask(other.env).status, 200)

    def test_directories_that_cannot_be(self):
        with open(self.service.dir, "w", encoding="ascii"):
            pass
        self.assert_cannot_start("is in the way")
        self.service.dir = os.path.join(self.service.tmp, "no", "parent")
        self.assert_cannot_start("cannot create the directory")

    def test_a_relative_directory(self):
        os.chdir(self.service.tmp)
        self.addCleanup(os.chdir, "/")
        self.service.dir = "here"
        self.service.start()
        self.assertIn(f"everything in {os.getcwd()}/here\n", self.service.printed)

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.service.start()
            self.service.process.send_signal(number)
            self.assertEqual(self.service.process.wait(60), 0)

    def test_a_toolkit_that_is_missing_is_said(self):
        with service.Service(toolkit="/nonexistent") as other:
            self.assertIn("/nonexistent", other.printed)
            self.assertIn("/nonexistent", other.log_text())
            self.assertEqual(self.ask(other.env).status, 200)
        self.service.start()
        self.assertNotIn("mended", self.service.printed)

    def test_usage(self):
        text = self.run_program("--help")
        self.assertEqual((text.returncode, text.stderr), (0, ""))
        self.assertLessEqual(len(text.stdout.splitlines()), 24)
        self.assertLessEqual(max(map(len, text.stdout.splitlines())), 80)
        version = self.run_program("--version")
        self.assertEqual(version.returncode, 0)
        self.assertTrue(re.fullmatch(r"imaging-service \(euca-imaging\) \d+\.\d+\.\d+\n",
                                     version.stdout))
        there = ["--standalone", self.service.dir]
        for arguments, words in (
                ([], "--standalone DIR is missing"), (["--standalone", ""], "--standalone"),
                (["--standalone"], "--help"), (["--standalone", "/" + "d" * 4000], "--standalone"),
                ([*there, "--fish"], "--help"), ([*there, "x"], "'x' is one argument too many"),
                ([*there, "--listen", "8773"], "--listen"), ([*there, "--listen", ":1"], "--listen"),
                ([*there, "--listen", "127.0.0.1:65536"], "--listen"),
                ([*there, "--listen", "127.0.0.1:-1"], "--listen"),
                ([*there, "--listen", "127.0.0.1:"], "--listen"),
                ([*there, "--status-listen", "x"], "--status-listen"),
                ([*there, "--workers", "0"], "--workers"), ([*there, "--workers", "65"], "--workers"),
                ([*there, "--workers", "1x"], "--workers"), ([*there, "--toolkit", ""], "--toolkit"),
                ([*there, "--master-key", ""], "--master-key")):
            self.assert_fails(2, words, *arguments)
        self.assertFalse(os.path.exists(self.service.dir))


if __name__ == "__main__":
    unittest.main(warnings="ignore")
