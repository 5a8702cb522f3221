#!/usr/bin/python3
"""Several accounts on a running service: each sees its own tasks, may do what it was allowed, and is
refused from the request on that follows `account disable`."""
import contextlib
import fcntl
import os
import re
import sqlite3
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import sign  # noqa: E402
from api import Case, IMPORT  # noqa: E402

CANCEL = {"Action": "CancelConversionTask", "Version": "2016-11-15"}
DRY = {**IMPORT, "DryRun": "true"}


class Tenancy(Case):
    def start(self, keys):
        answer = self.ask(keys, IMPORT)
        self.assert_accepted(answer)
        return re.search(r"<conversionTaskId>(.*?)<", answer.text).group(1)

    def listed(self, keys):
        return set(re.findall(r"<conversionTaskId>(.*?)<", self.ask(keys).text))

    def test_tasks_of_others_are_unknown(self):
        alice, bob = self.service.account("add"), self.service.account("add")
        hers, his = self.start(alice), self.start(bob)
        self.assertEqual((self.listed(alice), self.listed(bob)), ({hers}, {his}))
        self.assertFalse({hers, his} & self.listed(self.first))
        for task in (his, "import-vol-00000000"):
            for action in ({"Action": "DescribeConversionTasks", "Version": "2016-11-15",
                            "ConversionTaskId.1": task}, {**CANCEL, "ConversionTaskId": task}):
                answer = self.ask(alice, action)
                self.assert_refused(answer, 400, "InvalidConversionTaskId",
                                    f"The conversion task ID '{task}' is not valid.")
        self.assert_accepted(self.ask(bob, {**CANCEL, "ConversionTaskId": his}))
        self.assertEqual((self.listed(alice), self.listed(bob)), ({hers}, {his}))

    def test_the_key_of_one_and_the_secret_of_another(self):
        alice, bob = self.service.account("add"), self.service.account("add")
        mixed = {**alice, "secret_key": bob["secret_key"]}
        self.assert_refused(self.ask(mixed), 403, "SignatureDoesNotMatch")
        self.assert_accepted(self.ask(alice))

    def test_all_of_it_survives_a_restart(self):
        alice, off = self.service.account("add", "--name", "survivor"), self.service.account("add")
        task = self.start(alice)
        self.service.account("disable", off["account"])
        self.service.kill()
        self.service.start()
        Tenancy.host = urllib.parse.urlsplit(self.service.env["EC2_URL"]).netloc
        self.assertEqual(self.service.env["AWS_ACCESS_KEY_ID"], self.key)
        self.assertEqual(self.listed(alice), {task})
        self.assert_refused(self.ask(off), 401, "AuthFailure")
        self.assert_accepted(self.ask(self.first))


class Permissions(Case):
    def s3(self, keys, method, path, body=b""):
        root = urllib.parse.urlsplit(self.service.env["S3_URL"]).path.rstrip("/")
        return sign.send(self.host, method, root + path, sign.v4(
            keys["access_key"], keys["secret_key"], method, self.host, root + path, "", body,
            service="s3"), body)

    def assert_denied(self, answer):
        self.assert_refused(answer, 403, "UnauthorizedOperation",
                            "You are not authorized to perform this operation.")

    def test_what_was_allowed_and_nothing_else(self):
        watcher = self.service.account("add", "--allow", "DescribeConversionTasks,CancelConversionTask")
        self.assert_accepted(self.ask(watcher))
        for wish in (IMPORT, DRY, {**IMPORT, "Image.Format": "FISH"}):
            self.assert_denied(self.ask(watcher, wish))
        self.assertNotIn("import-vol", self.ask(watcher).text)
        self.assert_refused(self.ask(watcher, {**CANCEL, "ConversionTaskId": "import-vol-00000000"}),
                            400, "InvalidConversionTaskId")
        importer = self.service.account("add", "--allow", "ImportVolume")
        self.assert_refused(self.ask(importer, DRY), 412, "DryRunOperation")
        self.assert_accepted(self.ask(importer, IMPORT))
        self.assert_denied(self.ask(importer))
        # what is wrong with the signature is said first, and unknown actions are unknown
        self.assert_refused(self.ask({**watcher, "secret_key": "x"}, IMPORT), 403,
                            "SignatureDoesNotMatch")
        self.assert_refused(self.ask(watcher, {**IMPORT, "Action": "NoSuchThing"}), 400,
                            "InvalidAction")

    def test_sessions_may_what_their_account_may(self):
        watcher = self.service.account("add", "--allow", "DescribeConversionTasks")
        session = self.service.account("session", watcher["account"])
        self.assert_accepted(self.ask(session))
        self.assert_denied(self.ask(session, DRY))

    def test_objects(self):
        owner = self.service.account("add")
        reader = self.service.account("add", "--allow", "ReadObjects")
        writer = self.service.account("add", "--allow", "WriteObjects,DescribeConversionTasks")
        self.assertEqual(self.s3(writer, "PUT", "/written").status, 200)
        self.assertEqual(self.s3(writer, "PUT", "/written/k", b"x").status, 200)
        for method, path in (("GET", ""), ("GET", "/written"), ("GET", "/written/k"),
                             ("HEAD", "/written"), ("HEAD", "/written/k")):
            self.assertEqual(self.s3(writer, method, path).status, 403)
        self.assertEqual(self.s3(writer, "DELETE", "/written/k").status, 204)
        self.assertEqual(self.s3(reader, "GET", "").status, 200)
        for method, path in (("PUT", "/fresh"), ("PUT", "/fresh/k"), ("DELETE", "/fresh/k")):
            answer = self.s3(reader, method, path, b"x" if method == "PUT" else b"")
            self.assertEqual(answer.status, 403)
            self.assertIn("<Code>AccessDenied</Code>", answer.text)
        self.assertEqual(self.s3(owner, "HEAD", "/fresh").status, 404)
        self.assert_denied(self.ask(reader))


class Disabling(Case):
    def assert_unknown(self, keys):
        self.assert_refused(self.ask(keys), 401, "AuthFailure",
                            "AWS was not able to validate the provided access credentials")

    def test_at_the_next_request(self):
        alice, bob = self.service.account("add", "--name", "alice"), self.service.account("add")
        session = self.service.account("session", "alice")
        for which in ("alice", alice["account"], alice["access_key"]):
            for keys in (alice, session):
                self.assert_accepted(self.ask(keys))
            self.assertEqual(self.service.account("disable", which), {"id": which, "enabled": False})
            self.assert_unknown(alice)
            if which == alice["access_key"]:  # sessions are the account's, not one key's
                self.assert_accepted(self.ask(session))
            else:
                self.assert_unknown(session)
            self.assert_accepted(self.ask(bob))
            self.assertEqual(self.service.account("enable", which), {"id": which, "enabled": True})
        self.assert_accepted(self.ask(alice))
        self.service.account("disable", session["access_key"])
        self.assert_unknown(session)
        self.assert_accepted(self.ask(alice))

    def test_a_disabled_key_looks_like_one_that_never_was(self):
        keys = self.service.account("add")
        self.service.account("disable", keys["access_key"])
        texts = set()
        for some in (keys, {**keys, "secret_key": "x" * 40}, {**keys, "access_key": "AKIA" + "A" * 16}):
            answer = self.ask(some)
            texts.add(re.sub(r"<RequestID>.*?</RequestID>", "", answer.text))
            self.assertEqual(answer.status, 401)
        self.assertEqual(len(texts), 1, texts)

    def test_rotation(self):
        old = self.service.account("add", "--name", "carol")
        self.assertEqual(old["other_enabled_keys"], [])
        new = self.service.account("rotate", "carol")
        self.assertEqual((new["account"], new["other_enabled_keys"]),
                         (old["account"], [old["access_key"]]))
        for keys in (old, new):
            self.assert_accepted(self.ask(keys))
        result = self.service.run_account("rotate", "carol")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("has 2 enabled keys", result.stderr)
        self.service.account("disable", old["access_key"])
        self.assert_unknown(old)
        self.assert_accepted(self.ask(new))
        newer = self.service.account("rotate", "carol")
        self.assertEqual(newer["other_enabled_keys"], [new["access_key"]])
        result = self.service.run_account("enable", old["access_key"])
        self.assertEqual(result.returncode, 1)
        self.assertIn("may have 2", result.stderr)
        self.assert_unknown(old)


class Locked(Case):
    def test_a_lock_that_stays_is_told(self):
        lock = os.open(self.service.dir, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = self.service.run_account("list")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("cannot lock the directory '%s'" % self.service.dir, result.stderr)
        os.close(lock)
        self.assertEqual(self.service.run_account("list").returncode, 0)


class Damage(Case):
    def test_a_row_that_does_not_open_is_our_fault(self):
        keys = self.service.account("add")
        with contextlib.closing(sqlite3.connect(
                os.path.join(self.service.dir, "accounts.db"), isolation_level=None)) as db:
            db.execute("UPDATE access_key SET sealed = (SELECT sealed FROM access_key LIMIT 1) "
                       "WHERE id = ?", (keys["access_key"],))
        self.assert_refused(self.ask(keys), 500, "InternalError", "An internal error has occurred")
        self.assertIn(f"access key '{keys['access_key']}' does not open", self.service.log_text())
        self.assert_accepted(self.ask(self.first))


class Secrets(Case):
    def test_are_written_nowhere(self):
        made = [self.service.account("add"), self.service.account("add", "--name", "b")]
        made += [self.service.account("rotate", "b"), self.service.account("session", "b")]
        for keys in made:
            self.assert_accepted(self.ask(keys, IMPORT))
            self.ask({**keys, "secret_key": keys["secret_key"][::-1]})
        secrets = [keys["secret_key"] for keys in made] + [made[-1]["session_token"], self.secret]
        with open(os.path.join(self.service.dir, "master.key"), "rb") as file:
            secrets.append(file.read())

        def search(but):
            names = []
            for where, _, files in os.walk(self.service.tmp):
                for name in set(files) - but:
                    path = os.path.join(where, name)
                    names.append(name)
                    with open(path, "rb") as file:
                        data = file.read()
                    for secret in secrets:
                        secret = secret if isinstance(secret, bytes) else secret.encode()
                        self.assertNotIn(secret, data, path)
            return names

        names = search({"env.sh", "master.key"})
        for name in ("accounts.db", "accounts.db-wal", "tasks.db", "log"):
            self.assertIn(name, names)
        with open(os.path.join(self.service.dir, "accounts.db-wal"), "rb") as file:
            self.assertIn(made[0]["access_key"].encode(), file.read())  # it is what is searched
        listing = self.service.run_account("list").stdout
        self.assertIn(made[0]["access_key"], listing)
        for secret in secrets[:-1]:
            self.assertNotIn(secret, listing)


if __name__ == "__main__":
    unittest.main(warnings="ignore", verbosity=2)
