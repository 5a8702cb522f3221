#!/usr/bin/python3
"""`imaging-service task`: what it shows of tasks and stages, on both databases, while services run; and
what it does not: secrets, and changes."""
import base64
import json
import os
import re
import sqlite3
import subprocess
import sys
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import postgres  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402
from api import Case, FORM, IMPORT  # noqa: E402
from upload import Upload  # noqa: E402

LIST = ["task", "account", "kind", "state", "created", "progress", "zone", "message"]
STAGES = ["task", "number", "kind", "state", "worker", "epoch", "lease_left_s", "due_s", "deaths",
          "waits", "tries", "bytes_done", "bytes_total", "volume", "message"]
PASSWORD = base64.b64encode(b"password=swordfish").decode()
SECRETS = ("very-secret", "swordfish", PASSWORD)
INSTANCE = {"Action": "ImportInstance", "Version": "2016-11-15", "Platform": "Linux",
            "Description": "two\tcolumns?", "LaunchSpecification.Architecture": "x86_64",
            "LaunchSpecification.InstanceType": "m3.medium", "LaunchSpecification.UserData.Data": PASSWORD,
            "TagSpecification.1.ResourceType": "import-instance-task", "TagSpecification.1.Tag.1.Key":
            "owner", "TagSpecification.1.Tag.1.Value": "me",
            "DiskImage.1.Image.Format": "RAW", "DiskImage.1.Image.Bytes": "4096",
            "DiskImage.1.Image.ImportManifestUrl": IMPORT["Image.ImportManifestUrl"],
            "DiskImage.1.Volume.Size": "1", "DiskImage.2.Image.Format": "VMDK",
            "DiskImage.2.Image.Bytes": "8192", "DiskImage.2.Volume.Size": "2",
            "DiskImage.2.Image.ImportManifestUrl": IMPORT["Image.ImportManifestUrl"]}


def run(program, *arguments):
    return subprocess.run([program, "task", *arguments], stdin=subprocess.DEVNULL, check=False,
                          capture_output=True, text=True, timeout=service.DEADLINE_S)


class Looks:
    """self.program, and self.place: the options that name the service."""

    def text(self, command, *arguments):
        result = run(self.program, command, *self.place, *arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for secret in SECRETS:
            self.assertNotIn(secret, result.stdout)
        return [line.split("\t") for line in result.stdout.splitlines()]

    def json(self, command, *arguments):
        result = run(self.program, command, *self.place, "--output", "json", *arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for secret in SECRETS:
            self.assertNotIn(secret, result.stdout)
        return json.loads(result.stdout)

    def both(self, columns, command, *arguments):
        """The rows; as text and as JSON they tell the same, but for seconds that go by."""
        rows, lines = self.json(command, *arguments), self.text(command, *arguments)
        steady = [i for i, name in enumerate(columns) if not name.endswith("_s")]
        self.assertEqual([[("-" if row[columns[i]] is None else str(row[columns[i]])) for i in steady]
                          for row in rows], [[line[i] for i in steady] for line in lines])
        for row, line in zip(rows, lines):
            self.assertEqual((list(row), len(line)), (columns, len(columns)))
        return rows


class Standalone(Case, Looks):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.program, cls.place = cls.service.program, ("--standalone", cls.service.dir)
        cls.other = cls.service.account("add", "--name", "other")
        cls.raw = cls.service.write("disk.raw", "x" * (8 << 20))
        # each waits for an upload that nobody makes, but for one that is held in the middle
        cls.upload = Upload("RAW", cls.raw, 1, closed=3)
        cls.addClassCleanup(cls.upload.stop)
        cls.held = cls.import_(cls, cls.first, {**IMPORT, "Image.Bytes": str(8 << 20),
                                                "Image.ImportManifestUrl": cls.upload.url})
        assert cls.upload.waiting.wait(service.DEADLINE_S)
        cls.waiting = cls.import_(cls, cls.other, IMPORT)
        cls.instance = cls.import_(cls, cls.first, INSTANCE)
        cls.cancelled = cls.import_(cls, cls.first, IMPORT)
        answer = cls.ask(cls, cls.first, {"Action": "CancelConversionTask", "Version": "2016-11-15",
                                          "ConversionTaskId": cls.cancelled})
        assert answer.status == 200, answer.text
        service.wait_for(lambda: {row["state"] for row in cls.json_now(cls)} == {"active", "cancelled"}
                         and cls.waited(cls))

    def import_(self, keys, parameters):
        answer = self.ask(self, keys, parameters)
        assert answer.status == 200, answer.text
        return re.search("<conversionTaskId>(.*?)<", answer.text)[1]

    def json_now(self, *arguments):
        return json.loads(run(self.program, *(arguments or ("list",)), *self.place, "--output",
                              "json").stdout)

    def waited(self):
        """Of the two that wait for an upload a claim is over, and so nothing moves but seconds."""
        return all(row["epoch"] and row["lease_left_s"] is None for row in self.json_now(self, "stages")
                   if row["task"] in (self.waiting,))

    def steady(self, columns, command, *arguments):
        """What two claims that come and go in between change is asked for again."""
        def look():
            try:
                return self.both(columns, command, *arguments) or [None]
            except AssertionError as error:
                self.last = error
                return None
        try:
            rows = service.wait_for(look)
        except TimeoutError:
            raise self.last
        return [row for row in rows if row]

    def test_list(self):
        rows = self.steady(LIST, "list")
        self.assertEqual([row["task"] for row in rows],
                         [self.held, self.waiting, self.instance, self.cancelled])
        accounts = {row["name"]: row["account"] for row in self.service.account("list")}
        self.assertEqual([row["account"] for row in rows], [accounts[name] for name in
                                                            ("default", "other", "default", "default")])
        self.assertEqual([row["kind"] for row in rows], ["volume", "volume", "instance", "volume"])
        self.assertEqual([row["state"] for row in rows], ["active"] * 3 + ["cancelled"])
        self.assertEqual([row["zone"] for row in rows], ["standalone", "standalone", None, "standalone"])
        for row in rows:
            self.assertRegex(row["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertIn(row["progress"], range(100))
        self.assertEqual(rows[3]["message"], "Cancelled by user")

    def test_some(self):
        accounts = {row["name"]: row["account"] for row in self.service.account("list")}

        def ids(*arguments):
            return [row["task"] for row in self.steady(LIST, "list", *arguments)]
        self.assertEqual(ids("--account", accounts["other"]), [self.waiting])
        self.assertEqual(ids("--account", accounts["default"], "--state", "active"),
                         [self.held, self.instance])
        self.assertEqual(ids("--state", "cancelled"), [self.cancelled])
        self.assertEqual(ids("--state", "completed"), [])
        self.assertEqual(self.json("list", "--state", "completed"), [])

    def test_stages(self):
        rows = self.steady(STAGES, "stages")
        self.assertEqual([(row["task"], row["number"], row["kind"]) for row in rows],
                         [(self.held, 1, "convert"), (self.waiting, 1, "convert"),
                          (self.instance, 1, "convert"), (self.instance, 2, "convert"),
                          (self.instance, 3, "launch"), (self.cancelled, 1, "convert")])
        held, _, _, disk, launch, cancelled = rows
        self.assertEqual((held["state"], held["epoch"], held["due_s"], held["deaths"]),
                         ("active", 1, None, 0))
        self.assertIn(held["lease_left_s"], range(1, 31))
        self.assertTrue(held["worker"])
        self.assertEqual((held["bytes_total"], disk["bytes_total"]), (8 << 20, 8192))
        self.assertRegex(held["volume"], "^vol-[0-9a-f]{17}$")
        self.assertEqual((launch["state"], launch["volume"], launch["due_s"]), ("waiting", None, None))
        self.assertEqual((cancelled["state"], cancelled["lease_left_s"], cancelled["due_s"]),
                         ("cancelled", None, None))
        one = self.steady(STAGES, "stages", self.instance)
        self.assertEqual([row["number"] for row in one], [1, 2, 3])

    def test_seconds_until_it_is_due(self):
        def look():
            row = self.json("stages", self.waiting)[0]
            return row if row["due_s"] is not None else None
        row = service.wait_for(look)
        self.assertIn(row["due_s"], range(0, 61))
        self.assertIsNone(row["lease_left_s"])

    def test_show(self):
        task = self.json("show", self.instance)
        self.assertEqual((task["task"], task["kind"], task["platform"], task["architecture"]),
                         (self.instance, "instance", "Linux", "x86_64"))
        self.assertEqual(task["tags"], {"owner": "me"})
        self.assertEqual(task["description"], "two\tcolumns?")
        self.assertEqual(json.loads(task["launch_specification"]),
                         {"Architecture": "x86_64", "InstanceType": "m3.medium",
                          "UserData": "not shown"})
        self.assertRegex(task["instance"] + task["image"], "^i-[0-9a-f]{17}ami-[0-9a-f]{17}$")
        self.assertEqual([stage["format"] for stage in task["stages"]], ["RAW", "VMDK", None])
        self.assertEqual(task["stages"][0]["manifest_url"], "http://127.0.0.1:9/m")
        self.assertEqual([stage["volume_gib"] for stage in task["stages"]], [1, 2, None])

        lines = self.text("show", self.instance)
        self.assertEqual({len(line) for line in lines}, {2})
        shown = dict(lines)
        self.assertEqual(shown["task"], self.instance)
        self.assertEqual(shown["description"], "two columns?")
        self.assertEqual((shown["tag.owner"], shown["stage.2.format"], shown["stage.3.kind"]),
                         ("me", "VMDK", "launch"))
        self.assertEqual(len(lines), len(shown))
        self.assertEqual(set(shown), {name for name in task if name not in ("tags", "stages")}
                         | {"tag.owner"} | {f"stage.{n}.{name}" for n in (1, 2, 3)
                                            for name in task["stages"][0]})

    def test_usage(self):
        text = run(self.program, "--help")
        self.assertEqual((text.returncode, text.stderr), (0, ""))
        self.assertLessEqual(len(text.stdout.splitlines()), 24)
        self.assertLessEqual(max(map(len, text.stdout.splitlines())), 80)
        for arguments, words in (
                ([], "'' is no command"), (["fish", *self.place], "'fish' is no command"),
                (["list"], "--standalone DIR is missing"),
                (["list", *self.place, "--config", "/c"], "give one of them"),
                (["list", *self.place, "x"], "'x' is one"), (["show", *self.place], "id of a task"),
                (["stages", *self.place, "a", "b"], "'b' is one"),
                (["list", *self.place, "--state", "ended"], "not 'ended'"),
                (["list", *self.place, "--account", ""], "--account"),
                (["stages", *self.place, "--state", "active"], "for list alone"),
                (["list", *self.place, "--fish"], "--help"), (["list", *self.place, "--state"], "--help"),
                (["list", *self.place, "--output", "xml"], "text or json")):
            self.refused(2, words, *arguments)
        for arguments, words in ((["show", *self.place, "import-vol-nothere0"], "'import-vol-nothere0'"),
                                 (["stages", *self.place, "x'; --"], "x'; --"),
                                 (["list", "--standalone", "/nonexistent"], "/nonexistent/tasks.db"),
                                 (["list", "--config", "/nonexistent"], "/nonexistent")):
            self.refused(1, words, *arguments)

    def refused(self, status, words, *arguments):
        result = run(self.program, *arguments)
        self.assertEqual((result.returncode, result.stdout), (status, ""), arguments)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertIn(words, result.stderr)


class Versions(unittest.TestCase):
    """A file that is not of this program's time is neither understood nor changed."""

    def setUp(self):
        self.service = service.Service(start=False)
        self.addCleanup(self.service.stop)
        self.path = os.path.join(self.service.dir, "tasks.db")

    def run_list(self):
        return run(self.service.program, "list", "--standalone", self.service.dir)

    def version(self, change):
        with sqlite3.connect(self.path) as db:
            db.execute(change)
        db.close()

    def dump(self):
        db = sqlite3.connect(self.path)
        self.addCleanup(db.close)
        return list(db.iterdump())

    def test_none(self):
        os.mkdir(self.service.dir)
        result = self.run_list()
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("there is no task table", result.stderr)
        self.assertEqual(os.listdir(self.service.dir), [])

    def test_another(self):
        self.service.start()
        self.assertEqual(self.run_list().returncode, 0)
        latest = "(SELECT max(version) FROM schema_version)"
        for change, words in ((f"UPDATE schema_version SET version = 99 WHERE version = {latest}",
                               "a newer imaging-service wrote it"),
                              (f"DELETE FROM schema_version WHERE version = {latest}",
                               "this program wants")):
            self.version(change)
            before = self.dump()
            result = self.run_list()
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertIn(words, result.stderr)
            self.assertEqual(self.dump(), before)

    def test_after_a_kill(self):
        """What is only in the journal of a dead service is shown, and is still there afterwards."""
        self.service.start()
        env = self.service.env
        host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        body = urllib.parse.urlencode(IMPORT).encode()
        answer = sign.send(host, "POST", "/", sign.v4(env["AWS_ACCESS_KEY_ID"],
                                                      env["AWS_SECRET_ACCESS_KEY"], "POST", host, "/",
                                                      "", body, dict(FORM)), body)
        id = re.search("<conversionTaskId>(.*?)<", answer.text)[1]
        self.service.kill()
        for _ in range(2):
            self.assertEqual(self.run_list().stdout.split("\t")[0], id)
        self.service.start()
        self.assertEqual(self.run_list().stdout.split("\t")[0], id)


class Server(unittest.TestCase, Looks):
    @classmethod
    def setUpClass(cls):
        cls.postgres = postgres.Postgres()
        cls.addClassCleanup(cls.postgres.close)

    def setUp(self):
        self.cluster = cluster.Cluster(1, self.postgres.create_database(),
                                       config='instance-name = "the-one"\n', start=False)
        self.addCleanup(self.cluster.close)
        self.one = self.cluster.services[0]
        self.program, self.place = self.one.program, ("--config", self.one.file)
        self.database = f"d{self.postgres.databases}"

    def query(self, sql):
        return self.postgres.query(sql, self.database)

    def test_all(self):
        # the accounts have made schema_version, but there are no tasks
        result = run(self.program, "list", *self.place)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertNotIn(self.postgres.password, result.stderr)
        self.assertEqual(self.query("SELECT to_regclass('task') IS NULL"), "t")

        self.cluster.start(0)
        self.assertEqual(self.json("list"), [])
        host = self.cluster.url(0)
        body = urllib.parse.urlencode(INSTANCE).encode()
        answer = sign.send(host, "POST", "/", sign.v4(*self.cluster.keys, "POST", host, "/", "", body,
                                                      dict(FORM)), body)
        id = xml.fromstring(re.sub(r' xmlns="[^"]*"', "", answer.text)).findtext(".//conversionTaskId")
        service.wait_for(lambda: {row["worker"] for row in self.json("stages")} == {"the-one", None})
        self.assertEqual([row["task"] for row in self.json("list")], [id])
        self.assertEqual([line[:3] for line in self.text("stages", id)],
                         [[id, "1", "convert"], [id, "2", "convert"], [id, "3", "launch"]])
        self.assertEqual(self.json("show", id)["tags"], {"owner": "me"})

        self.query("UPDATE schema_version SET version = version + 100 WHERE name = 'tasks'")
        self.assertEqual([row["task"] for row in self.json("list")], [id])  # newer, and still fine
        self.query("UPDATE schema_oldest SET version = 101 WHERE name = 'tasks'")
        result = run(self.program, "list", *self.place)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("start a newer imaging-service", result.stderr)
        self.query("UPDATE schema_oldest SET version = 1 WHERE name = 'tasks'")
        self.query("DELETE FROM schema_version WHERE name = 'tasks'")
        result = run(self.program, "list", *self.place)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("this program wants", result.stderr)
        self.assertEqual(self.query("SELECT count(*) FROM schema_version WHERE name = 'tasks'"), "0")
        self.query("INSERT INTO schema_version VALUES ('tasks', 1, 0)")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
