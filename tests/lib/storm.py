"""storm - what the long tests share: services that are killed, clients that do not give up, the log of
what happened, and the judgement at the end.

    fleet = storm.Fleet(instances, database_uri)   # 1 and None: one standalone service, on SQLite
    client = storm.Client(fleet)
    id = client.import_volume(upload)              # repeated under one token until it is answered
    storm.judge(fleet, client, tasks)              # a list of what is wrong
"""
import os
import re
import subprocess
import threading
import time
import urllib.parse
import uuid
import xml.etree.ElementTree as xml

import cluster
import postgres
import service
import sign
from procfs import children

NEW = "2016-11-15"
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
PATIENCE_S = 120  # of a client whose calls fail, on a machine that does more than this
ENDED = ("completed", "cancelled")
TOO_LATE = "DeleteConversionTaskError"  # AWS's, to who cancels what is completed
DEATHS_MAX = 3  # of a stage's workers; then it is given up


class Fleet:
    """One standalone service, or several that share a database; each can be killed and started again
    by its number."""

    def __init__(self, count=1, database_uri=None, workers=4, toolkit=None, start=True, config=""):
        config = f"workers = {workers}\nmax-active-tasks = 100000\n{config}"
        self.cluster = None
        if database_uri:
            self.cluster = cluster.Cluster(count, database_uri, config=config, start=False)
            self.services = self.cluster.services
            for i, one in enumerate(self.services):
                one.toolkit = toolkit or one.toolkit
                if start:
                    self.cluster.start(i)
        else:
            self.services = [service.Service(config=config, toolkit=toolkit, start=start)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        if self.cluster:
            self.cluster.close()
        else:
            self.services[0].stop()

    def start(self, i):
        (self.cluster.start if self.cluster else lambda _: self.services[0].start())(i)

    def kill(self, i):
        self.services[i].kill()

    def restart_all(self):
        for i, one in enumerate(self.services):
            one.terminate()
            self.start(i)

    def host(self, i):
        if self.cluster:
            return self.cluster.url(i)
        return urllib.parse.urlsplit(self.services[i].env["EC2_URL"]).netloc

    def keys(self):
        if self.cluster:
            return self.cluster.keys
        env = self.services[0].env
        return env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    @property
    def zone(self):
        return self.services[0].env["EC2_AVAILABILITY_ZONE"]

    @property
    def volumes(self):
        return self.cluster.volumes if self.cluster else os.path.join(self.services[0].dir, "volumes")

    @property
    def scratches(self):
        if self.cluster:
            return [one.scratch for one in self.services]
        return [os.path.join(self.services[0].dir, "scratch")]

    @property
    def records(self):
        """Directories of images and instances."""
        top = self.cluster.state if self.cluster else self.services[0].dir
        return os.path.join(top, "images"), os.path.join(top, "instances")

    def children(self, i):
        """Pids of the toolkits of one service."""
        return children(self.services[i].pid)

    def all_children(self):
        return [pid for one in self.services for pid in children(one.pid)]


def task_of_child(pid):
    """"import-vol-xxxxxxxx" and its disk, from the job on the toolkit's standard input; or None."""
    try:
        with open(f"/proc/{pid}/fd/0", "rb") as job:
            found = re.search(rb"/\.(import-(?:vol|i)-[0-9a-z]{8})\.([0-9]+)\.", job.read(1 << 20))
    except OSError:
        return None
    return found and (found[1].decode(), int(found[2]))


def send_signal(pid, number):
    """False when it has gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


class Refused(Exception):
    def __init__(self, status, code, text):
        super().__init__(f"{status} {code}: {text}")
        self.status, self.code = status, code


class Client:
    """Calls any service of the fleet (among: of these); when one does not answer, or not now, another is
    called."""

    def __init__(self, fleet, among=None):
        self.fleet, self.turn = fleet, 0
        self.among = list(range(len(fleet.services)) if among is None else among)
        self.keys = fleet.keys()

    def once(self, parameters, i=0):
        """One call; its answer, whatever it is."""
        host = self.fleet.host(i)
        body = urllib.parse.urlencode({"Version": NEW, **parameters}).encode()
        return sign.send(host, "POST", "/",
                         sign.v4(*self.keys, "POST", host, "/", "", body, FORM), body)

    def call(self, parameters):
        end = time.monotonic() + PATIENCE_S
        while True:
            self.turn = (self.turn + 1) % len(self.among)
            try:
                answer = self.once(parameters, self.among[self.turn])
            except Exception as failure:  # no answer, or half of one
                answer, why = None, failure
            if answer and answer.status == 200:
                return tree(answer)
            if answer:
                code = tree(answer).findtext(".//Error/Code")
                why = Refused(answer.status, code, answer.text)
                if answer.status < 500:
                    raise why
            if time.monotonic() > end:
                raise why
            time.sleep(0.05)

    def import_volume(self, upload):
        root = self.call({"Action": "ImportVolume", "AvailabilityZone": self.fleet.zone,
                          "Image.Format": upload.image.form, "Image.Bytes": str(upload.size),
                          "Volume.Size": str(upload.gib), "Image.ImportManifestUrl": upload.url,
                          "ClientToken": uuid.uuid4().hex})
        return root.findtext("conversionTask/conversionTaskId")

    def import_instance(self, *uploads, zone=None):
        """zone: an instance is started in it; without, the image is registered only."""
        disks = {"LaunchSpecification.Placement.AvailabilityZone": zone} if zone else {}
        for n, upload in enumerate(uploads, 1):
            disks.update({f"DiskImage.{n}.Image.Format": upload.image.form,
                          f"DiskImage.{n}.Image.Bytes": str(upload.size),
                          f"DiskImage.{n}.Image.ImportManifestUrl": upload.url,
                          f"DiskImage.{n}.Volume.Size": str(upload.gib)})
        root = self.call({"Action": "ImportInstance", "Platform": "Linux",
                          "ClientToken": uuid.uuid4().hex, **disks})
        return root.findtext("conversionTask/conversionTaskId")

    def cancel(self, id):
        """True when it was accepted, False when it came too late."""
        try:
            self.call({"Action": "CancelConversionTask", "ConversionTaskId": id})
        except Refused as refusal:
            if refusal.code != TOO_LATE:
                raise
            return False
        return True

    def describe(self, *ids):
        """{id: Task}; all tasks without ids."""
        root = self.call({"Action": "DescribeConversionTasks",
                          **{f"ConversionTaskId.{n}": id for n, id in enumerate(ids, 1)}})
        return {task.id: task for task in map(Task, root.findall("conversionTasks/item"))}

    def look(self, id):
        return self.describe(id)[id]

    def wait_ended(self, id, seconds=PATIENCE_S):
        def ended():
            task = self.look(id)
            return task.state in ENDED and task
        return service.wait_for(ended, seconds)


def tree(answer):
    return xml.fromstring(re.sub(r' xmlns="[^"]*"', "", answer.text))


class Task:
    """What DescribeConversionTasks says of one."""

    def __init__(self, item):
        self.id = item.findtext("conversionTaskId")
        self.state = item.findtext("state")
        self.message = item.findtext("statusMessage") or ""
        disks = item.findall("importInstance/volumes/item") or item.findall("importVolume")
        self.volumes = [disk.findtext("volume/id") for disk in disks]

    def __str__(self):
        return f"{self.id} {self.state} '{self.message}' {self.volumes}"


class Watch:
    """Follows the logs of all services: which stage is in whose hands, who died, and how long until
    somebody went on with it."""

    LINE = re.compile(r"^\S+ \w+: (import-(?:vol|i)-[0-9a-z]{8}(?: disk [0-9]+| launch)?): (.*)$")

    def __init__(self, fleet):
        self.fleet = fleet
        self.lock = threading.Lock()
        self.at = [0] * len(fleet.services)
        self.held = {}     # stage: (service that works on it, its claim's number)
        self.last = {}     # the same, also of stages nobody works on any more
        self.died = {}     # stage: when its worker did
        self.takeovers = []  # seconds
        self.finished = set()  # ids of tasks; those cancelled before their first claim are not told of
        self.claims = 0
        self.stop_wanted = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def stop(self):
        self.stop_wanted.set()
        self.thread.join()

    def _follow(self):
        while not self.stop_wanted.wait(0.02):
            self.read()

    def read(self):
        with self.lock:
            for i, one in enumerate(self.fleet.services):
                if not os.path.exists(one.log):
                    continue  # not started yet
                with open(one.log, "rb") as log:
                    log.seek(self.at[i])
                    text = log.read()
                text = text[:text.rfind(b"\n") + 1]
                self.at[i] += len(text)
                for line in text.decode("utf-8", "replace").splitlines():
                    self._take(i, line)

    def _take(self, i, line):
        found = self.LINE.match(line)
        if not found:
            return
        stage, words = found[1], found[2]
        begins, ends = words.startswith("claim "), words.startswith(("completed", "ended"))
        if begins or ends:
            since = self.died.pop(stage, None)
            if since is not None:
                self.takeovers.append(time.monotonic() - since)
        if begins:
            self.held[stage] = self.last[stage] = i, int(words.split()[1])
            self.claims += 1
        elif not words.startswith("stage "):  # "stage N was being worked on": the same death
            self.held.pop(stage, None)
        if ends and (words.startswith("ended") or " disk " not in stage):
            self.finished.add(stage.split()[0])

    def service_dies(self, i):
        """Call it just before: what service i works on is to be taken over."""
        self.read()
        with self.lock:
            now = time.monotonic()
            for stage, (holder, _) in list(self.held.items()):
                if holder == i:
                    self.died.setdefault(stage, now)
                    del self.held[stage]

    def tired(self, i):
        """Service i works on a stage that would perhaps be given up if one more worker died."""
        self.read()
        with self.lock:
            return any(holder == i and claim >= DEATHS_MAX for holder, claim in self.held.values())

    def child_dies(self, where):
        """where: as task_of_child tells."""
        with self.lock:
            name = where[0] if "-vol-" in where[0] else "%s disk %d" % where
            self.died.setdefault(name, time.monotonic())


def numbers(text):
    """Of an option: "1,3"."""
    return [int(word) for word in text.split(",")]


def with_databases(instances, run):
    """run(count, uri of a new database or None) for each count of instances: the worst status."""
    status = 0
    for count in instances:
        if count == 1:
            status |= run(count, lambda: None)
            continue
        with postgres.Postgres() as server:
            status |= run(count, server.create_database)
    return status


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


# -- the judgement

def gc(fleet):
    """Let the service clear up what is ours and nobody's; the lines of what it would have removed."""
    said = []
    for one in fleet.services:
        where = ["--config", one.file] if fleet.cluster else ["--standalone", one.dir]
        for dry in ["--dry-run"], []:
            result = subprocess.run([one.program, "gc", *where, *dry], capture_output=True, text=True,
                                    check=False)
            if result.returncode == 2:  # no such command: it clears up at its start
                fleet.restart_all()
                return []
            if result.returncode != 0:
                raise AssertionError("gc: " + result.stderr)
            said += result.stdout.splitlines()[:-1] if dry else []
    return said


def leftovers(fleet, tasks):
    """What lies in the directories and belongs to no completed task."""
    wanted = {id + end for task in tasks.values() if task.state == "completed"
              for id in task.volumes for end in (".raw", ".raw.manifest.json")}
    found = set(os.listdir(fleet.volumes))
    wrong = [f"left in the volumes: {name}" for name in sorted(found - wanted)]
    wrong += [f"missing in the volumes: {name}" for name in sorted(wanted - found)]
    for scratch in fleet.scratches:
        wrong += [f"left in the scratch: {name}" for name in os.listdir(scratch) if name != "lock"]
    return wrong


def judge_task(fleet, task, uploads):
    """What is wrong with a task that was to import these uploads, None or a sentence."""
    if task.state == "completed":
        if len(task.volumes) != len(uploads) or not all(task.volumes):
            return f"{task}: not one volume for each disk"
        for id, upload in zip(task.volumes, uploads):
            path = os.path.join(fleet.volumes, id + ".raw")
            wrong = upload.matches(path) if os.path.exists(path) else f"{path} is not there"
            if wrong:
                return f"{task}: {wrong}"
        return None
    return None if task.state == "cancelled" else f"{task}: has not ended"


def judge(fleet, client, wanted):
    """What is wrong at the end; wanted: {id: [upload, …]} of every task that was acknowledged."""
    tasks = client.describe()
    wrong = [f"{id}: lost" for id in wanted if id not in tasks]
    wrong += [f"{task}: nobody asked for it" for id, task in tasks.items() if id not in wanted]
    wrong += filter(None, (judge_task(fleet, tasks[id], uploads) for id, uploads in wanted.items()
                           if id in tasks))
    wrong += leftovers(fleet, tasks)
    return wrong
