#!/usr/bin/python3
"""The list of hostile inputs, through the service: the files of rows 1 to 28 that an import takes, and
rows 46 to 55.  At the end there is a line for each row.

The files are hostile_files.py's.  Rows 35 to 45, 48 and 53 are elsewhere (tests/README.md)."""
import os
import re
import shutil
import signal
import statistics
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import hostile  # noqa: E402
import hostile_files  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402
import storm  # noqa: E402
import syscalls  # noqa: E402
import uploads  # noqa: E402
from contract import DESCRIBE, FORM, VERSION  # noqa: E402

GIB = 1 << 30
SAID = []
PATIENCE_S = 5  # with one who is served normally, on a machine that is busy


def say(row, result, text):
    SAID.append((row, f"row {row:2} {result}: {text}"))


class Files(contract.Case):
    """All rows at once, and then what came of each."""
    CONFIG = "max-active-tasks = 1000\nworkers = 4\n"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bench = hostile.Bench()
        cls.addClassCleanup(cls.bench.close)

    def start(self, made, image, format):
        """The id of its task."""
        path = self.bench.put(image)
        url = self.bench.serve(path, format, under=f"row{len(self.tasks)}").partition(":")[2]
        image = {"Image.Format": format.upper(), "Image.Bytes": str(os.path.getsize(path)),
                 "Image.ImportManifestUrl": url, "Volume.Size": str((made.limit or GIB) // GIB)}
        self.tasks.append(self.task_of(self.main.ask(
            "ImportInstance", {"Platform": "Linux", **{"DiskImage.1." + name: value for name, value in image.items()}})
            if made.instance else
            self.main.ask("ImportVolume", {"AvailabilityZone": contract.ZONE, **image})))
        return self.tasks[-1]

    def refused(self, task):
        item = self.main.wait(task, "cancelled", "completed")
        message = item.findtext("{*}statusMessage") or ""
        self.assertEqual(item.findtext("{*}state"), "cancelled")
        self.assertRegex(message, "^ClientError: ")
        hostile.one_line(self, message + "\n", "")
        self.assertNotIn(self.bench.token.decode(), message)
        self.assertEqual(item.findall(".//{*}volume/{*}id"), [])
        return message

    def accepted(self, task, disk):
        """The volume's file: the disk, and then zeros to its end."""
        item = self.main.wait(task, "cancelled", "completed")
        self.assertEqual(item.findtext("{*}state"), "completed", item.findtext("{*}statusMessage"))
        name = item.find(".//{*}volume/{*}id").text + ".raw"
        wanted = bytes(hostile_files.MIB) if isinstance(disk, int) else disk + bytes(-len(disk) % hostile_files.MIB)
        with open(os.path.join(self.world.service.dir, "volumes", name), "rb") as volume:
            got = volume.read(len(wanted))
            self.assertTrue(got == wanted, got != wanted and hostile.difference(got, wanted))
            with self.assertRaises(OSError):  # no data from there on
                os.lseek(volume.fileno(), len(wanted), os.SEEK_DATA)
        return name

    def test_files(self):
        self.tasks, started, wanted = [], [], set()
        place = hostile_files.Place(self.bench, self.bench.canary)  # nothing lies beside an upload
        for row in hostile_files.ROWS:
            made = row.make(place)
            bad = [self.start(made, image, made.bad_format) for image in made.bad or ()
                   if made.bad_format in ("raw", "vmdk", "vhd")]
            good = made.format in ("raw", "vmdk", "vhd") and not made.extents and \
                self.start(made, made.good, made.format)
            started.append((row, made, bad, good))
        for row, made, bad, good in started:
            with self.subTest(row=row.number, what=row.what):
                messages = [self.refused(task) for task in bad]
                if good:
                    wanted.add(self.accepted(good, made.disk))
                if row.result == "refused" and bad:
                    say(row.number, row.result, f"{row.what} ({messages[0]})")
                elif row.result == "accepted" and good:
                    say(row.number, row.result, row.what + (f"; its neighbour: {messages[0]}" if bad else ""))
        for task in self.tasks:  # machines hold their volumes until then
            self.main.wait(task, "cancelled", "completed")
        wanted |= {name + ".manifest.json" for name in wanted}
        self.assert_left(wanted)
        with self.assertRaises(BlockingIOError):  # nobody came
            self.bench.listener.accept()
        log = self.world.service.log_text()
        self.assertNotIn(self.bench.token.decode(), log)
        for line in log.splitlines():
            self.assertRegex(line, f"^{service.LOG_LINE}$")


class Requests(contract.Case):
    def parameters(self, **more):
        """Of an import that waits for an upload which never comes."""
        upload = self.world.open_upload()
        return {"Action": "ImportVolume", "Version": VERSION,
                **upload.parameters(upload.missing + "?Signature=very-secret-token"), **more}

    def imported(self, send):
        """send() makes one task, which is cancelled then."""
        before = set(self.main.describe().ids())
        reply = contract.Reply(send())
        task = self.task_of(reply)
        self.assertEqual(set(self.main.describe().ids()) - before, {task})
        self.assertEqual(self.main.cancel(task).status, 200)

    def refused(self, send, status, code):
        reply = self.assert_nothing_stored(lambda: contract.Reply(send()))
        self.assertEqual(reply.refusal, (status, code), reply.text)
        return f"{status} {code}"

    def test_46_host_is_not_signed(self):
        def send(**how):
            return self.main.query_raw(self.parameters(), **how)
        said = self.refused(lambda: send(drop=("host",)), 400, "IncompleteSignature")
        self.imported(send)
        say(46, "refused", f"host is not among the signed headers ({said})")

    def old(self, **how):
        """Parameters with a signature of version 2."""
        return sign.v2_query(self.main.key, self.main.secret, "GET", self.main.host, "/", self.parameters(), **how)

    def get(self, parameters, headers=None):
        return sign.send(self.main.host, "GET", "/?" + urllib.parse.urlencode(parameters), headers)

    def test_47_two_signatures(self):
        query = urllib.parse.urlencode(self.old())
        new = sign.v4(self.main.key, self.main.secret, "GET", self.main.host, "/", query)
        said = self.refused(lambda: sign.send(self.main.host, "GET", "/?" + query, new), 400, "IncompleteSignature")
        # also where only one of them is right
        for wrong in ({"Signature": "x"}, {"AWSAccessKeyId": "AKIAAAAAAAAAAAAAAAAA"}):
            query = urllib.parse.urlencode({**self.old(), **wrong})
            new = sign.v4(self.main.key, self.main.secret, "GET", self.main.host, "/", query)
            self.refused(lambda q=query, h=new: sign.send(self.main.host, "GET", "/?" + q, h),
                         400, "IncompleteSignature")
        query = urllib.parse.urlencode(self.old())
        self.refused(lambda: sign.send(self.main.host, "GET", "/?" + query, {**new, "authorization": new[
            "authorization"][:-1] + "-"}), 400, "IncompleteSignature")
        self.imported(lambda: self.get(self.old()))
        self.imported(lambda: self.main.query_raw(self.parameters()))
        say(47, "refused", f"signatures of versions 4 and 2 at once ({said})")

    def test_49_twenty_minutes(self):
        for seconds in (-1200, 1200):
            when = time.time() + seconds
            for send in (lambda: self.main.query_raw(self.parameters(), when=when), lambda: self.get(self.old(when=when))):
                said = self.refused(send, 400, "RequestExpired")
        for seconds in (-840, 840):
            when = time.time() + seconds
            self.imported(lambda w=when: self.main.query_raw(self.parameters(), when=w))
            self.imported(lambda w=when: self.get(self.old(when=w)))
        say(49, "refused", f"signed 20 minutes ago, and in 20 minutes ({said})")

    def test_50_tasks_of_others(self):
        other = self.world.keys("add")
        his = self.waiting(other)
        unknown = his[:-1] + ("0" if his[-1] != "0" else "1")
        answers = []
        for task in (his, unknown):
            for ask in (self.main.describe, self.main.cancel):
                reply = ask(task)
                self.assertEqual(reply.refusal, (400, "InvalidConversionTaskId"))
                headers = {name: value for name, value in reply.headers.items() if name not in ("Date", "x-amzn-RequestId")}
                answers.append((headers, re.sub(contract.UUID, "", reply.text).replace(task, "TASK")))
        self.assertEqual(answers[:2], answers[2:])
        self.assertNotIn(his, self.main.describe().ids())
        self.assertEqual(other.describe(his)["conversionTasks/item/state"], "active")
        self.assertEqual(other.cancel(his).status, 200)
        say(50, "refused", "another account's task, and one that never was (the same answer)")

    def test_51_text_that_looks_like_markup(self):
        text = "]]>&<!-- \"'\r\n2026-01-01T00:00:00Z info: not a line\n\ttab \u00e9 \U0001f4be"
        reply = self.main.query(self.parameters(Description=text))
        task = self.task_of(reply)
        self.assertEqual(reply["conversionTask/importVolume/description"], text)
        self.assertEqual(self.main.describe(task)["conversionTasks/item/importVolume/description"], text)
        service.wait_for(lambda: task in self.world.service.log_text())  # a claim; before it no line names it
        self.assertEqual(self.main.cancel(task, ReasonMessage=text).status, 200)
        item = self.main.wait(task, "cancelled")
        self.assertEqual(item.findtext("{*}statusMessage"), text)
        log = self.world.service.log_text().splitlines()
        for line in log:
            self.assertRegex(line, f"^{service.LOG_LINE}$")
        self.assertEqual([line for line in log if line.endswith(("not a line", "]]>&<!-- \"'"))], [])
        self.assertTrue([line for line in log if task in line])
        for secret in ("very-secret-token", self.main.secret):
            self.assertNotIn(secret, self.world.service.log_text())
        say(51, "accepted", "a description of markup and lines (as it was given; each log line is one line)")

    def test_52_slow_clients(self):
        """Of 200 connections each sends a byte of its head in a second; then one goes on as it should."""
        slow = [sign.open_socket(self.main.host) for _ in range(200)]
        target, headers, body = self.main.signed(DESCRIBE)
        head = sign.head("POST", target, {**headers, "Content-Length": len(body), "Connection": "close"})
        times, usual = [], statistics.median(self.seconds_served() for _ in range(20))
        try:
            for second in range(3):
                end = time.monotonic() + 1
                for s in slow:
                    s.sendall(head[second:second + 1])
                while time.monotonic() < end:
                    times.append(self.seconds_served())
            self.assertLess(max(times), PATIENCE_S)
            self.assertLess(statistics.median(times), 5 * usual + 0.1)
            slow[7].sendall(head[3:] + body)
            self.assertTrue(sign.rest(slow[7]).startswith(b"HTTP/1.1 200 "))
        finally:
            for s in slow:
                s.close()
        say(52, "accepted", f"200 clients of a byte a second ({len(times)} others served, none in more than "
            f"{max(times):.2f} s)")

    def seconds_served(self):
        start = time.monotonic()
        self.main.describe().tasks()
        return time.monotonic() - start


class Killed(unittest.TestCase):
    """kill -9 of the service that works on a task, or of its toolkit, in each stage; at every system call
    it is long/kill-syscalls.py."""
    PARTS = 4

    @classmethod
    def setUpClass(cls):
        cls.server = uploads.Uploads()
        cls.addClassCleanup(cls.server.stop)
        cls.fleet = storm.Fleet(1, workers=1)
        cls.addClassCleanup(cls.fleet.stop)
        cls.client = storm.Client(cls.fleet)
        cls.image = uploads.Image.make("VMDK", cls.fleet.services[0].tmp, 1, "killed")
        cls.wanted, cls.longest = {}, 0

    def upload(self, hold=None):
        return self.server.add(self.image, len(self.server.uploads), hold=hold,
                               part=-(-len(self.image.data) // self.PARTS))

    def begin(self, *disks):
        id = self.client.import_instance(*disks) if len(disks) > 1 else self.client.import_volume(*disks)
        self.wanted[id] = disks
        return id

    def strike(self, toolkit=False):
        if toolkit:
            for pid in service.wait_for(lambda: self.fleet.children(0)):
                os.kill(pid, signal.SIGKILL)
        else:
            self.fleet.kill(0)
            self.fleet.start(0)

    def ends(self, *ids):
        """Right after the blow, each well."""
        start = time.monotonic()
        for id in ids:
            task = self.client.wait_ended(id)
            self.assertEqual(task.state, "completed", task)
            self.assertIsNone(storm.judge_task(self.fleet, task, self.wanted[id]))
        type(self).longest = max(self.longest, time.monotonic() - start)

    def test_55_1_queued(self):
        first = self.upload(hold=1)
        ids = [self.begin(first), self.begin(self.upload())]
        self.assertTrue(first.waiting.wait(storm.PATIENCE_S))
        self.strike()
        first.open()
        self.ends(*ids)

    def test_55_2_while_bytes_come(self):
        for hold in ("manifest", 0, 2, self.PARTS - 1):
            for toolkit in (False, True):
                with self.subTest(hold=hold, toolkit=toolkit):
                    upload = self.upload(hold)
                    id = self.begin(upload)
                    self.assertTrue(upload.waiting.wait(storm.PATIENCE_S))
                    self.strike(toolkit)
                    upload.open()
                    self.ends(id)

    def test_55_3_at_the_publication(self):
        """When the part file has been taken out of the toolkit's directory, before the volume has its name,
        and after."""
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        one = self.fleet.services[0]
        for call, when in ("fsync", 1), ("rename", 3), ("fsync", 2):
            with self.subTest(call=call, when=when):
                tracer = syscalls.attach(syscalls.threads_of(one.pid), [
                    "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"])
                id = self.begin(self.upload())
                one.process.wait(storm.PATIENCE_S)
                tracer.communicate()
                named = [name for name in os.listdir(self.fleet.volumes)
                         if name.endswith(".raw") and not name.startswith(".")]
                self.assertEqual(len(named), len(self.known()) + (when == 2))
                self.fleet.start(0)
                self.ends(id)

    def known(self):
        """Volumes of the tasks that have ended by now, as the service that has died would tell."""
        return [id for id, disks in list(self.wanted.items())[:-1] for _ in disks]

    def test_55_4_between_two_disks(self):
        second = self.upload(hold=2)
        id = self.begin(self.upload(), second)
        self.assertTrue(second.waiting.wait(storm.PATIENCE_S))
        self.strike()
        second.open()
        self.ends(id)

    def test_55_5_nothing_is_left(self):
        service.wait_for(lambda: not storm.judge(self.fleet, self.client, self.wanted))
        say(55, "accepted", f"kill -9 in each stage ({len(self.wanted)} tasks completed, one volume for each "
            f"disk, {self.longest:.1f} s after the start at most)")


def tearDownModule():
    print("\n".join(text for _, text in sorted(SAID)), flush=True)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
