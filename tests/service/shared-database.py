#!/usr/bin/python3
"""Services on one PostgreSQL database: their accounts, how they start, and what they answer while it is
away."""
import os
import re
import signal
import subprocess
import sys
import time
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import DESCRIBE, IMPORT  # noqa: E402
from several import Several  # noqa: E402

# "within two seconds", and what a machine under load may add
AWAY_S = 2 + 8


class Accounts(Several):
    def test_a_change_holds_at_both_from_the_next_request_on(self):
        several = self.several()
        added = several.services[0].account("add", "--name", "a", "--allow", "DescribeConversionTasks")
        for one in several.services:
            self.good(one, added, DESCRIBE)
            self.assert_refused(self.send(one, added, {**IMPORT, "DryRun": "true"}), 403,
                                "UnauthorizedOperation")
        for which in (added["access_key"], "a", added["account"]):
            several.services[1].account("disable", which)
            for one in several.services:
                self.assert_refused(self.send(one, added, DESCRIBE), 401, "AuthFailure")
            several.services[0].account("enable", which)
            for one in several.services:
                self.good(one, added, DESCRIBE)
        rotated = several.services[0].account("rotate", "a")
        self.assertEqual(rotated["other_enabled_keys"], [added["access_key"]])
        self.good(several.services[1], rotated, DESCRIBE)
        self.assertEqual([row["name"] for row in several.services[0].account("list")],
                         ["cluster", "a"])

    def test_somebody_holds_a_lock(self):
        """ALTER TABLE or VACUUM FULL, say: it will pass, so clients are to come again."""
        several = self.several(1)
        one, account = several.services[0], several.account
        self.good(one, account, DESCRIBE)
        psql = [os.path.join(self.postgres.bin, "psql"), "-X", "-q",
                self.postgres.uri(f"d{self.postgres.databases}")]
        with subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            for table, asked in ("account", [DESCRIBE]), ("task", [DESCRIBE, IMPORT]):
                holder.stdin.write(f"ROLLBACK; BEGIN; LOCK TABLE {table}; \\echo locked\n")
                holder.stdin.flush()
                self.assertEqual(holder.stdout.readline(), "locked\n")
                for parameters in asked:
                    self.assert_refused(self.send(one, account, parameters), 503, "ServiceUnavailable")
            holder.stdin.close()
        self.good(one, account, DESCRIBE)

    def test_the_database_is_away(self):
        several = self.several()
        nobody = {**several.account, "secret_key": "x" * 40}
        for stop, start in ((lambda: self.postgres.stop("immediate"), self.postgres.start),
                            (self.postgres.pause, self.postgres.go_on)):
            for one in several.services:
                self.good(one, several.account, DESCRIBE)
            stop()
            try:
                for one in several.services:
                    for account in (several.account, nobody):
                        began = time.monotonic()
                        self.assert_refused(self.send(one, account, DESCRIBE), 503, "ServiceUnavailable")
                        self.assertLess(time.monotonic() - began, AWAY_S)
                listed = several.services[0].run_account("list")
                self.assertEqual((listed.returncode, listed.stdout), (1, ""))
                self.assertNotIn(self.postgres.password, listed.stderr)
            finally:
                start()
            for one in several.services:
                service.wait_for(lambda: self.send(one, several.account, DESCRIBE).status == 200)
                self.assert_refused(self.send(one, nobody, DESCRIBE), 403, "SignatureDoesNotMatch")
                self.assertNotIn(self.postgres.password, one.log_text())


class Start(Several):
    def refused(self, one):
        done = subprocess.run(one.command(*one.options), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=service.DEADLINE_S)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertNotIn(self.postgres.password, done.stderr)
        return done.stderr.splitlines()[-1]

    def test_what_it_says_and_keeps(self):
        several = self.several(1, config='instance-name = "the-one"\n')
        one = several.services[0]
        self.assertEqual(list(one.env), ["EC2_URL", "EC2_AVAILABILITY_ZONE"])
        self.assertIn("instance the-one\n", one.printed)
        self.assertIn(f"\ndatabase postgresql://imaging@127.0.0.1:{self.postgres.port}/", one.printed)
        self.assertNotIn(self.postgres.password, one.printed + one.log_text())
        self.assertEqual(os.listdir(one.scratch), ["lock"])
        self.assertFalse(os.path.exists(one.dir))
        host = urllib.parse.urlsplit(one.env["EC2_URL"]).netloc
        for method, path in (("GET", "/objects/"), ("PUT", "/objects/bucket"),
                             ("GET", "/objects/bucket/key")):
            answer = sign.send(host, method, path, {"host": host})
            self.assertEqual(answer.status, 501, answer.text)
            self.assertEqual(xml.fromstring(answer.body).findtext("Code"), "NotImplemented")
            self.assertIn("no object store of its own", answer.text)

    def test_what_is_not_as_it_must_be(self):
        several = self.several(1)
        one = several.services[0]
        self.assertRegex(one.printed, r", instance [\w.-]+:" + re.escape(several.url(0)) + "\n")
        self.assertIn(f"another imaging-service is at work in '{one.scratch}'", self.refused(one))
        self.assertEqual(one.terminate(), 0)
        for path in (several.volumes, several.state):
            os.rename(path, path + ".away")
            self.assertIn(f"the directory '{path}' is not there", self.refused(one))
            os.rename(path + ".away", path)
        os.rename(several.master_key, several.master_key + ".away")
        self.assertIn("give the same to all services", self.refused(one))
        with open(several.master_key, "wb") as file:
            file.write(os.urandom(32))
        os.chmod(several.master_key, 0o400)
        self.assertIn("is not the one", self.refused(one))
        os.rename(several.master_key + ".away", several.master_key)
        self.postgres.stop()
        try:
            self.refused(one)
        finally:
            self.postgres.start()
        several.start(0)
        self.good(one, several.account, DESCRIBE)

    def test_many_at_once_on_an_empty_database(self):
        several = self.several(3, start=False)
        processes = [subprocess.Popen(one.command(*one.options), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                     for one in several.services]
        for process in processes:
            while True:
                line = process.stdout.readline()
                self.assertTrue(line, process.poll())
                if line == "ready\n":
                    break
        for process in processes:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=service.DEADLINE_S)
            self.assertEqual(process.returncode, 0, errors)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
