#!/usr/bin/python3
"""`imaging-service account` itself, and a directory of the first version becoming one with accounts."""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import IMPORT, DESCRIBE, FORM  # noqa: E402


class Base(unittest.TestCase):
    def setUp(self):
        self.service = service.Service(start=False)
        self.addCleanup(self.service.stop)

    def path(self, name):
        return os.path.join(self.service.dir, name)

    def ask(self, key, secret, parameters=DESCRIBE):
        host = urllib.parse.urlsplit(self.service.env["EC2_URL"]).netloc
        body = urllib.parse.urlencode(parameters).encode()
        return sign.send(host, "POST", "/", sign.v4(key, secret, "POST", host, "/", "", body,
                                                    dict(FORM)), body)

    def s3(self, key, secret, method, path, body=b""):
        url = urllib.parse.urlsplit(self.service.env["S3_URL"])
        path = url.path.rstrip("/") + path
        return sign.send(url.netloc, method, path, sign.v4(
            key, secret, method, url.netloc, path, "", body, service="s3"), body)

    def env_keys(self):
        return self.service.env["AWS_ACCESS_KEY_ID"], self.service.env["AWS_SECRET_ACCESS_KEY"]


class OldDirectory(Base):
    def test_becomes_one_with_accounts(self):
        self.service.start()
        keys = self.env_keys()
        task = re.search("import-vol-[0-9a-z]+", self.ask(*keys, IMPORT).text).group()
        self.s3(*keys, "PUT", "/bucket")
        self.s3(*keys, "PUT", "/bucket/key", b"old")
        account = self.service.account("list")[0]["account"]
        self.service.terminate()
        # as the first version left it
        for name in ("accounts.db", "accounts.db-wal", "accounts.db-shm", "master.key"):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        shutil.rmtree(self.path("objects/.owners"))
        with open(self.path("keys"), "w", encoding="ascii") as file:
            file.write(f"access_key={keys[0]}\nsecret_key={keys[1]}\naccount={account}\n")

        other = self.service.account("add")  # the first thing that happens to it
        self.assertFalse(os.path.exists(self.path("keys")))
        self.service.start()
        self.assertEqual(self.env_keys(), keys)
        listed = self.service.account("list")
        self.assertEqual([row["account"] for row in listed], [account, other["account"]])
        self.assertIn(task, self.ask(*keys).text)
        self.assertEqual(self.s3(*keys, "GET", "/bucket/key").body, b"old")
        others = other["access_key"], other["secret_key"]
        self.assertNotIn(task, self.ask(*others).text)
        self.assertEqual(self.s3(*others, "GET", "/bucket/key").status, 403)
        self.assertEqual(self.s3(*others, "PUT", "/bucket").status, 409)

    def test_damaged_keys_are_not_replaced(self):
        os.mkdir(self.service.dir)
        good = "access_key=AKIAQWERTYUIOPASDFGH\nsecret_key=" + "s" * 40 + "\naccount=123456789012\n"
        for bad in ("", good[:-2], good + "x", good.replace("secret", "s"), good.replace("AKIA", "AK"),
                    good * 20):
            with open(self.path("keys"), "w", encoding="ascii") as file:
                file.write(bad)
            result = subprocess.run(self.service.command(), capture_output=True, text=True,
                                    check=False, timeout=60)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn("keys'", result.stderr)
            with open(self.path("keys"), encoding="ascii") as file:
                self.assertEqual(file.read(), bad)
        with open(self.path("keys"), "w", encoding="ascii") as file:
            file.write(good)
        self.service.start()
        self.assertEqual(self.env_keys(), ("AKIAQWERTYUIOPASDFGH", "s" * 40))


class FirstAccount(Base):
    def test_env_sh_has_its_newest_key(self):
        self.service.start()
        old = self.env_keys()
        new = self.service.account("rotate", "default")
        self.service.terminate()
        self.service.start()
        self.assertEqual(self.env_keys(), (new["access_key"], new["secret_key"]))
        self.assertEqual(self.ask(*old).status, 200)
        for key in (old[0], new["access_key"]):
            self.service.account("disable", key)
        self.service.terminate()
        self.service.start()  # without a key it still starts, and says so
        self.assertEqual(list(self.service.env), ["EC2_URL", "S3_URL", "EC2_AVAILABILITY_ZONE"])
        self.assertIn("# no key of account " + new["account"] + " is enabled", self.service.printed)

    def test_many_at_once_on_an_empty_directory(self):
        os.mkdir(self.service.dir)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            rows = [pool.submit(self.service.account, "add") for _ in range(7)]
            pool.submit(self.service.start).result()
            made = {row.result()["account"] for row in rows}
        listed = self.service.account("list")
        self.assertEqual(listed[0]["name"], "default")
        self.assertEqual({row["account"] for row in listed[1:]}, made)
        self.assertEqual((len(listed), len(made)), (8, 7))
        self.assertEqual(self.ask(*self.env_keys()).status, 200)


class Command(Base):
    def run_it(self, *arguments):
        return subprocess.run([self.service.program, "account", *arguments], capture_output=True,
                              text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)

    def test_help_fits_a_screen(self):
        result = self.run_it("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertLessEqual(len(result.stdout.splitlines()), 24)
        self.assertLessEqual(max(map(len, result.stdout.splitlines())), 80)
        self.assertTrue(result.stdout.startswith("Examples:"))

    def test_usage(self):
        os.mkdir(self.service.dir)
        there = ["--standalone", self.service.dir]
        for arguments, words in (
                ([], "'' is no command"), (["fish", *there], "'fish' is no command"),
                (["list"], "--standalone DIR is missing"),
                (["list", *there, "--config", "/c"], "give one of them"),
                (["list", "--config", ""], "--config wants"), (["list", *there, "x"], "'x' is one"),
                (["rotate", *there], "which account\n"), (["disable", *there], "account or key"),
                (["add", *there, "--name", "A"], "--name"), (["add", *there, "--fish"], "--help"),
                (["add", *there, "--name", "a b"], "--name"), (["add", *there, "--name", ""], "--name"),
                (["add", *there, "--allow", ""], "--allow"), (["add", *there, "--allow", ","], "--allow"),
                (["add", *there, "--allow", "ReadObjects,"], "--allow"),
                (["add", *there, "--allow", "ReadObjects,,ReadObjects"], "--allow"),
                (["add", *there, "--allow", "all,ReadObjects"], "'all'"),
                (["add", *there, "--allow", "importvolume"], "there are CancelConversionTask, "),
                (["session", *there, "default", "--duration", "0"], "--duration"),
                (["session", *there, "default", "--duration", "129601"], "129600"),
                (["session", *there, "default", "--duration", "-1"], "--duration"),
                (["list", *there, "--output", "xml"], "text or json"),
                (["list", "--standalone", ""], "--standalone"),
                (["list", *there, "--master-key", ""], "--master-key")):
            result = self.run_it(*arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            self.assertEqual(result.stderr.count("\n"), 1)
            self.assertIn(words, result.stderr)
        self.assertEqual(os.listdir(self.service.dir), [])
        for arguments, words in ((["list", "--standalone", "/nonexistent"], "/nonexistent"),
                                 (["rotate", *there, "nobody"], "no account 'nobody'"),
                                 (["disable", *there, "x'; --"], "no account and no access key")):
            result = self.run_it(*arguments)
            self.assertEqual((result.returncode, result.stdout), (1, ""), arguments)
            self.assertIn(words, result.stderr)

    def test_what_it_prints_serves_a_shell(self):
        os.mkdir(self.service.dir)
        self.run_it("add", "--standalone", self.service.dir, "--name", "a")
        for command, names in (("rotate", 2), ("session", 5)):
            shown = subprocess.run(
                ["sh", "-c", 'eval "$("$0" account "$1" --standalone "$2" a)" && env', self.service.program,
                 command, self.service.dir], check=True, capture_output=True, text=True,
                env={"PATH": os.environ["PATH"]}).stdout
            found = dict(re.findall(r"^(AWS_\w+)=(.+)$", shown, re.M))
            self.assertEqual(len(found), names, found)
            self.assertRegex(found["AWS_SECRET_ACCESS_KEY"], "^[A-Za-z0-9+/]{40}$")
        self.assertRegex(found["AWS_ACCESS_KEY_ID"], "^ASIA[A-Z2-7]{16}$")
        self.assertRegex(found["AWS_CREDENTIAL_EXPIRATION"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        text = self.run_it("rotate", "--standalone", self.service.dir, "default").stdout
        self.assertRegex(text, "# Still enabled: AKIA")

    def test_listing(self):
        os.mkdir(self.service.dir)
        made = self.service.account("add", "--name", "b", "--allow", "ReadObjects,ImportVolume")
        self.service.account("session", "b", "--duration", "60")
        self.service.account("disable", made["access_key"])
        text = self.run_it("list", "--standalone", self.service.dir).stdout.splitlines()
        self.assertRegex(text[0], r"^\d{12}  enabled   \S+Z  default  all$")
        self.assertRegex(text[2], made["account"] + r"  enabled   \S+Z  b  ReadObjects,ImportVolume$")
        self.assertRegex(text[3], "^  " + made["access_key"] + r"  disabled  \S+Z$")
        self.assertRegex(text[4], r"^  ASIA\w{16}  enabled   \S+Z  temporary, until \S+Z$")
        rows = json.loads(self.run_it("list", "--standalone", self.service.dir,
                                      "--output", "json").stdout)
        self.assertEqual([row["allow"] for row in rows], ["all", "ReadObjects,ImportVolume"])
        self.assertEqual([key["enabled"] for key in rows[1]["keys"]], [False, True])

    def test_a_configuration_names_the_directory(self):
        os.mkdir(self.service.dir)
        file = self.service.write("c", f'standalone = "{self.service.dir}"\n')
        made = json.loads(self.run_it("add", "--config", file, "--output", "json").stdout)
        self.assertEqual(self.service.account("list")[1]["account"], made["account"])
        key = os.path.join(self.service.tmp, "moved.key")
        os.rename(self.path("master.key"), key)
        self.assertIn("there is no master key", self.run_it("list", "--config", file).stderr)
        self.assertEqual(self.run_it("list", "--config", file, "--master-key", key).returncode, 0)
        file = self.service.write("c", f'standalone = "{self.service.dir}"\nmaster-key = "{key}"\n')
        self.assertEqual(self.run_it("list", "--config", file).returncode, 0)
        for text, words in (("workers = 0\n", "from 1 to 64"), ("workers = 1\n", "--standalone DIR")):
            result = self.run_it("list", "--config", self.service.write("c", text))
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn(words, result.stderr)

    def test_the_store_is_private(self):
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        os.mkdir(self.service.dir, 0o755)
        self.service.account("list")
        self.assertEqual(os.stat(self.path("accounts.db")).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.path("master.key")).st_mode & 0o777, 0o400)


if __name__ == "__main__":
    unittest.main(warnings="ignore", verbosity=2)
