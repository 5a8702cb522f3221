#!/usr/bin/python3
"""`imaging-service gc`: what a service left that was killed in mid-conversion is found and removed, and
nothing else, on both databases, also while services run."""
import glob
import json
import os
import re
import sqlite3
import subprocess
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import postgres  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402
from api import FORM, IMPORT  # noqa: E402
from upload import Upload  # noqa: E402

SIZE = 8 << 20
NEW = "2016-11-15"


class Base(unittest.TestCase):
    """Of a subclass: program, place, volumes, and keys."""

    def gc(self, *options, place=None, status=0, before=()):
        result = subprocess.run([*before, self.program, "gc", *(place or self.place), *options],
                                stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True,
                                timeout=service.DEADLINE_S)
        self.assertEqual(result.returncode, status, result.stderr)
        if status == 0:
            self.assertEqual(result.stderr, "")
        return result

    def found(self, *options, place=None):
        """Its lines as {path: (task, disk, claim, bytes)}; the last line is their sum."""
        *lines, total = [line.split("\t") for line in self.gc(*options, place=place).stdout.splitlines()]
        rows = {path: (task, int(disk), int(claim), int(size))
                for task, disk, claim, size, path in lines}
        self.assertEqual(len(rows), len(lines))
        self.assertEqual(total, ["total", str(len(rows)), str(sum(row[3] for row in rows.values()))])
        return rows

    def call(self, host, parameters):
        body = urllib.parse.urlencode(parameters).encode()
        answer = sign.send(host, "POST", "/", sign.v4(*self.keys, "POST", host, "/", "", body,
                                                      dict(FORM)), body)
        self.assertEqual(answer.status, 200, answer.text)
        return answer.text

    def import_held(self, one, host):
        """A conversion that stops in the middle; its task and its upload."""
        path = one.write("disk.raw", "x" * SIZE)
        upload = Upload("RAW", path, 1, closed=3)
        self.addCleanup(upload.stop)
        text = self.call(host, {**IMPORT, "Image.Bytes": str(SIZE),
                                "Image.ImportManifestUrl": upload.url})
        self.assertTrue(upload.waiting.wait(service.DEADLINE_S))
        return re.search("<conversionTaskId>(.*?)<", text)[1], upload

    def state(self, host, id):
        return re.search("<state>(.*?)<", self.call(host, {
            "Action": "DescribeConversionTasks", "Version": NEW, "ConversionTaskId.1": id}))[1]

    def put(self, directory, *names):
        """Files of that name, each of some bytes; their paths."""
        paths = {os.path.join(directory, name) for name in names}
        for path in paths:
            with open(path, "wb") as file:
                file.write(b"x" * 8192)
        return paths

    def put_strangers(self, scratch, id):
        """What looks like ours and is in no row of the ledger."""
        strangers = self.put(self.volumes, ".import-vol-aaaaaaaa.1.1.part", f".{id}.1.2.part",
                             f".{id}.1.11.part", f".{id}.2.1.part", f"{id}.1.1.part", f".{id}.1.1",
                             "vol-00000000000000000.raw")
        for name in ("import-vol-aaaaaaaa.1.1", f"{id}.1.11", f"{id}.2.1", f".{id}.1.1"):
            os.mkdir(os.path.join(scratch, name))
            strangers |= self.put(os.path.join(scratch, name), "file")
        return strangers

    @staticmethod
    def files(*directories):
        return {path for directory in directories
                for path in glob.glob(directory + "/**", recursive=True, include_hidden=True)
                if os.path.isfile(path)}


class Standalone(Base):
    def setUp(self):
        self.service = service.Service()
        self.addCleanup(self.service.stop)
        self.program, self.place = self.service.program, ("--standalone", self.service.dir)
        self.keys = (self.service.env["AWS_ACCESS_KEY_ID"], self.service.env["AWS_SECRET_ACCESS_KEY"])
        self.volumes, self.scratch = (os.path.join(self.service.dir, name)
                                      for name in ("volumes", "scratch"))

    @property
    def host(self):
        return urllib.parse.urlsplit(self.service.env["EC2_URL"]).netloc

    def sql(self, *statements):
        db = sqlite3.connect(os.path.join(self.service.dir, "tasks.db"), timeout=30)
        with db:
            rows = [db.execute(statement).fetchall() for statement in statements]
        db.close()
        return rows

    def end(self, id):
        """As if it had been cancelled, with nobody there to remove anything."""
        self.sql("UPDATE stage SET state = 'cancelled', lease_ms = NULL",
                 f"UPDATE task SET state = 'cancelled', ended_ms = created_ms WHERE id = '{id}'")

    def leave(self):
        """A killed conversion's task, and all that is left of it."""
        id, _ = self.import_held(self.service, self.host)
        self.service.kill()
        scratch = os.path.join(self.scratch, f"{id}.1.1")
        self.assertTrue(os.path.isdir(scratch))
        # what a death at other moments leaves
        self.put(scratch, "file")
        self.put(os.path.join(self.volumes, f".{id}.1.1.part.job"), "file")
        self.put(self.volumes, f".{id}.1.1.part", f".{id}.1.1.part.manifest.json")
        parts = glob.glob(f"{self.volumes}/.{id}.1.1.part*", include_hidden=True)
        return id, {scratch, *parts}

    def test_what_a_killed_service_left_of_a_cancelled_task(self):
        id, left = self.leave()
        strangers = self.put_strangers(self.scratch, id)
        everything = self.files(self.volumes, self.scratch)
        # a conversion that the next start goes on with is no leftover
        self.assertEqual(self.found(), {})
        self.assertEqual(self.files(self.volumes, self.scratch), everything)

        self.end(id)
        listed = self.found("--dry-run")
        self.assertEqual(set(listed), left)
        for path, (task, disk, claim, size) in listed.items():
            self.assertEqual((task, disk, claim), (id, 1, 1))
            self.assertGreaterEqual(size, 8192, path)
        answer = json.loads(self.gc("--dry-run", "--output", "json").stdout)
        self.assertEqual((answer["dry_run"], answer["count"], answer["bytes"]),
                         (True, len(left), sum(row[3] for row in listed.values())))
        self.assertEqual({row["path"]: (row["task"], row["disk"], row["claim"], row["bytes"])
                          for row in answer["leftovers"]}, listed)
        self.assertEqual(self.files(self.volumes, self.scratch), everything)

        self.assertEqual(self.found(), listed)
        self.assertEqual(self.files(self.volumes, self.scratch), strangers)
        self.assertEqual(self.found(), {})
        self.assertEqual(self.found("--dry-run"), {})
        # it is the service that forgets
        self.assertEqual(self.sql("SELECT count(*) FROM thing"), [[(1,)]])
        self.service.start()
        self.assertEqual(self.sql("SELECT count(*) FROM thing"), [[(0,)]])
        self.assertEqual(self.files(self.volumes, self.scratch), strangers)

    def test_beside_a_service_at_work(self):
        id, upload = self.import_held(self.service, self.host)
        ended, _ = self.import_held(self.service, self.host)
        self.call(self.host, {"Action": "CancelConversionTask", "Version": NEW,
                              "ConversionTaskId": ended})
        service.wait_for(lambda: self.state(self.host, ended) == "cancelled")
        self.sql("INSERT INTO thing (kind, task, number, epoch, worker, due_ms) "
                 f"VALUES ('files', '{ended}', 1, 1, 'somebody', 0)")
        left = self.put(self.volumes, f".{ended}.1.1.part")
        strangers = self.put_strangers(self.scratch, id)
        working = os.path.join(self.scratch, f"{id}.1.1")
        self.assertEqual(set(self.found("--dry-run")), left)
        self.assertEqual(set(self.found()), left)
        self.assertTrue(os.path.isdir(working))
        self.assertLessEqual(strangers, self.files(self.volumes, self.scratch))
        upload.open()
        service.wait_for(lambda: self.state(self.host, id) == "completed")
        self.assertFalse(os.path.exists(working))
        volume = self.sql(f"SELECT volume_id FROM stage JOIN task ON seq = task WHERE id = '{id}'")
        with open(os.path.join(self.volumes, volume[0][0][0] + ".raw"), "rb") as file:
            self.assertEqual(file.read(SIZE + 1), b"x" * SIZE + b"\0")

    def test_what_is_decided_is_kept(self):
        """The part file of a stage that is being published is the volume, of an active one what the
        next claim goes on with, whichever claim left it."""
        id, left = self.leave()
        scratch, = {path for path in left if path.startswith(self.scratch)}
        self.sql("INSERT INTO thing (kind, task, number, epoch, worker, due_ms) "
                 f"VALUES ('files', '{id}', 1, 2, 'somebody', 0)")
        second = self.put(self.volumes, f".{id}.1.2.part")
        first = left - {scratch}
        for state, won, kept in (("publishing", "1", first), ("publishing", "2", second),
                                 ("active", "NULL", first | second), ("removing", "NULL", set())):
            self.sql(f"UPDATE stage SET state = '{state}', won_epoch = {won}, lease_ms = NULL, "
                     "epoch = 2")
            self.assertEqual(set(self.found("--dry-run")), (left | second) - kept, (state, won))
        self.sql("UPDATE stage SET state = 'publishing', won_epoch = 2, lease_ms = NULL")
        self.assertEqual(set(self.found()), left)
        self.assertEqual(self.files(self.volumes), second)
        self.sql("UPDATE stage SET lease_ms = 1")
        self.assertEqual(self.found(), {})

    def test_what_cannot_be_removed_is_a_failure(self):
        id, left = self.leave()
        self.end(id)
        os.chmod(self.volumes, 0o500)
        self.addCleanup(os.chmod, self.volumes, 0o700)
        powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
        listed = len(left)
        result = self.gc(status=1, before=powerless)
        stay = [path for path in left if os.path.exists(path)]
        self.assertEqual(len(stay), listed - 1)
        self.assertIn(f"{listed - 1} files or directories could not be removed", result.stderr)
        for path in stay:
            self.assertIn(path, result.stderr)
            self.assertNotIn(path, result.stdout)
        # nor does a service forget it
        command = self.service.command
        self.service.command = lambda *options: [*powerless, *command(*options)]
        self.service.start()
        self.assertEqual(self.sql("SELECT count(*) FROM thing"), [[(1,)]])
        self.service.kill()
        os.chmod(self.volumes, 0o700)
        self.assertEqual(set(self.found("--dry-run")), set(stay))
        self.service.start()
        self.assertEqual(self.sql("SELECT count(*) FROM thing"), [[(0,)]])
        self.assertEqual(self.files(self.volumes), set())

    def test_usage(self):
        text = self.gc(place=["--help"])
        self.assertLessEqual(len(text.stdout.splitlines()), 24)
        self.assertLessEqual(max(map(len, text.stdout.splitlines())), 80)
        for status, words, place in (
                (2, "--standalone DIR is missing", ["--dry-run"]),
                (2, "'x' is one argument", [*self.place, "x"]), (2, "--help", [*self.place, "--fish"]),
                (2, "text or json", [*self.place, "--output", "xml"]),
                (2, "give one of them", [*self.place, "--config", "/x"]),
                (1, "there is no task table", ["--standalone", "/nonexistent"])):
            result = self.gc(place=place, status=status)
            self.assertEqual((result.stdout, result.stderr.count("\n")), ("", 1))
            self.assertIn(words, result.stderr)
        os.rename(self.volumes, self.volumes + ".away")
        result = self.gc(status=1)
        self.assertEqual(result.stdout, "")
        self.assertIn(f"the directory '{self.volumes}' is not there", result.stderr)
        os.rename(self.volumes + ".away", self.volumes)


class Shared(Base):
    @classmethod
    def setUpClass(cls):
        cls.postgres = postgres.Postgres()
        cls.addClassCleanup(cls.postgres.close)

    def setUp(self):
        self.cluster = cluster.Cluster(2, self.postgres.create_database())
        self.addCleanup(self.cluster.close)
        self.database = f"d{self.postgres.databases}"
        self.program, self.keys = self.cluster.services[0].program, self.cluster.keys
        self.volumes = self.cluster.volumes

    def query(self, sql):
        return self.postgres.query(sql, self.database)

    def test_a_dead_services_scratch_is_its_own(self):
        one, other = self.cluster.services
        id, _ = self.import_held(one, self.cluster.url(0))
        if not os.path.isdir(os.path.join(one.scratch, f"{id}.1.1")):
            one, other = other, one
        scratch = os.path.join(one.scratch, f"{id}.1.1")
        self.assertTrue(os.path.isdir(scratch))
        host = self.cluster.url(self.cluster.services.index(other))
        one.kill()
        cancel = {"Action": "CancelConversionTask", "Version": NEW, "ConversionTaskId": id}
        self.call(host, cancel)
        self.assertEqual(self.state(host, id), "cancelling")
        self.query("UPDATE stage SET lease_ms = 1")  # half a minute later
        # asked again it looks at once
        service.wait_for(lambda: self.call(host, cancel) and self.state(host, id) == "cancelled")

        mine, others = ("--config", one.file), ("--config", other.file)
        part = self.put(self.volumes, f".{id}.1.1.part")  # made by a zombie, say
        strangers = self.put_strangers(one.scratch, id)
        strangers |= self.put(one.scratch, "lock")
        # what is in the pool everybody sees, scratch only who has it
        self.assertEqual(set(self.found("--dry-run", place=others)), part)
        self.assertEqual(set(self.found("--dry-run", place=mine)), part | {scratch})
        self.assertEqual(set(self.found(place=others)), part)
        self.assertTrue(os.path.isdir(scratch))
        # a long time passes; whoever starts cleans up, and leaves the dead one's row
        self.query("UPDATE task SET ended_ms = ended_ms - 86400000")
        index = self.cluster.services.index(other)
        self.cluster.stop(index)
        self.cluster.start(index)
        self.assertEqual(self.query("SELECT count(*) FROM thing"), "1")
        self.assertEqual(set(self.found(place=mine)), {scratch})
        self.assertEqual(self.found(place=mine), {})
        self.assertEqual(self.files(self.volumes, one.scratch), strangers)
        self.cluster.start(self.cluster.services.index(one))
        self.assertEqual(self.query("SELECT count(*) FROM thing"), "0")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
