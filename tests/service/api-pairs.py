#!/usr/bin/python3
"""Every pair of tests/api (its README explains the format): the request is sent, the answer compared.

    service/api-pairs.py                               all of them
    service/api-pairs.py Pairs.test_ImportVolume_get   one: tests/api/ImportVolume/get

Strict: the same elements in the same order in the same namespace, none missing, none extra, every text
as written, but for the placeholders.  The headers that every answer must have are checked, too.
"""
import calendar
import email.utils
import glob
import os
import re
import sys
import time
import unittest
import urllib.parse
import xml.etree.ElementTree as xml
from xml.sax.saxutils import escape

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402

API = os.path.join(HERE, "..", "api")
CLOCK_S = 120  # how far a date may be from where it should be: tests run beside each other
WEEK_S = 7 * 24 * 3600
ERROR = b'<?xml version="1.0" encoding="UTF-8"?>'

# --- the format


class Pair:
    SETTINGS = ("given", "signed", "header", "encoding", "padding", "service", "sent")

    def __init__(self, text):
        about, request, reply = re.split(r"\n[ \t]*\n", text.strip("\n"))
        self.settings = {name: [] for name in self.SETTINGS}
        for line in about.splitlines():
            if not line.startswith("#"):
                name, value = line.split(":", 1)
                self.settings[name].append(value.strip())
        first, *self.parameters = request.splitlines()
        self.method, self.path = first.split(" ", 1)
        lines = reply.splitlines()
        body = next(i for i, line in enumerate(lines) if line.lstrip().startswith("<"))
        self.status, self.headers = int(lines[0]), dict(re.split(r":\s*", line, maxsplit=1)
                                                        for line in lines[1:body])
        self.document = "\n".join(lines[body:])

    def setting(self, name, otherwise=None):
        values = self.settings[name]
        assert len(values) < 2, f"{name} is there twice"
        return values[0] if values else otherwise

    def encoded(self, values):
        """The parameters as they are on the wire."""
        lines = [fill(line, values, str) for line in self.parameters]
        if self.setting("encoding") != "none":
            lines = ["=".join(urllib.parse.quote_plus(side) for side in line.split("=", 1))
                     for line in lines]
        text = "&".join(lines)
        return text.ljust(int(self.setting("padding", 0)), "&")


def fill(text, values, how):
    """The text with the values in it that are known; {300 x} is the letter x, 300 times."""
    def value(found):
        times = re.fullmatch(r"(\d+) (\S)", found[1])
        if times:
            return times[2] * int(times[1])
        return how(values[found[1]]) if found[1] in values else found[0]
    return re.sub(r"\{([^{}]+)\}", value, text)


KINDS = {"uuid": contract.UUID, "any": r"(?s:.+)", "more": r"(?s:.*)",
         "date+7d": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
         "new volume task": r"import-vol-[0-9a-z]{8}", "new instance task": r"import-i-[0-9a-z]{8}",
         "volume id": r"vol-[0-9a-f]{8}(?:[0-9a-f]{9})?", "checksum": r"[0-9a-f]{32,128}",
         "instance id": r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?"}


def pattern(text):
    """The regular expression of a text with placeholders."""
    whole = ""
    for i, piece in enumerate(re.split(r"\{([^{}]*)\}", text)):
        if i % 2 == 0:
            whole += re.escape(piece)
        elif "|" in piece:
            whole += "(?:" + "|".join(map(re.escape, piece.split("|"))) + ")"
        else:
            whole += KINDS[piece]
    return whole


def in_a_week(text):
    there = time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return abs(calendar.timegm(there) - time.time() - WEEK_S) < CLOCK_S


def differences(wanted, got, where=""):
    """What is not as wanted, a line each."""
    where += "/" + got.tag.rsplit("}", 1)[-1]
    if wanted.tag != got.tag:
        return [f"{where}: wanted {wanted.tag}, got {got.tag}"]
    wrong = [f"{where}: there are attributes: {got.attrib}"] if wanted.attrib != got.attrib else []
    names = [[child.tag.rsplit("}", 1)[-1] for child in element] for element in (wanted, got)]
    if names[0] != names[1]:
        return wrong + [f"{where}: wanted the elements {names[0]}, got {names[1]}"]
    mine, text = wanted.text or "", got.text or ""
    if len(got):
        mine, text = mine.strip(), text.strip() + "".join((c.tail or "").strip() for c in got)
    if not re.fullmatch(pattern(mine), text):
        wrong.append(f"{where}: wanted '{mine}', got '{text}'")
    elif mine == "{date+7d}" and not in_a_week(text):
        wrong.append(f"{where}: '{text}' is not seven days from now")
    for pair in zip(wanted, got):
        wrong += differences(*pair, where)
    return wrong


def header_faults(answer):
    """What is wrong with the headers that every answer has."""
    wrong = []
    if answer.headers["Content-Type"] != "text/xml;charset=UTF-8":
        wrong.append(f"Content-Type: {answer.headers['Content-Type']}")
    root = xml.fromstring(answer.body)
    inside = root.find("RequestID") if root.tag == "Response" else root.find("{*}requestId")
    if inside is None or inside.text != answer.headers["x-amzn-RequestId"]:
        wrong.append(f"x-amzn-RequestId: {answer.headers['x-amzn-RequestId']}, not what is inside")
    date = answer.headers["Date"] or ""
    try:
        if abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) > CLOCK_S:
            wrong.append(f"Date: {date} is not now")
    except (TypeError, ValueError):
        wrong.append(f"Date: '{date}'")
    if root.tag == "Response" and not answer.body.startswith(ERROR):
        wrong.append("the XML declaration is not that of AWS: " + answer.text[:60])
    return wrong


# --- preconditions: phrase -> function of the world that makes its {}


def volume_task(world, account=None, **more):
    upload = world.open_upload()
    reply = (account or world.main).ask("ImportVolume", upload.parameters(
        upload.missing, **{"Description": "data disk", **more}))
    return made(reply)


def instance_task(world, *disks, **more):
    disks = disks or [world.boot_upload()]
    parameters = {"Platform": "Linux", "LaunchSpecification.Architecture": "x86_64",
                  "LaunchSpecification.Placement.AvailabilityZone": contract.ZONE}
    for i, upload in enumerate(disks):
        parameters.update(upload.disk(i + 1))
    return made(world.main.ask("ImportInstance", {**parameters, **more}))


def made(reply):
    assert reply.status == 200, reply.text
    return reply["conversionTask/conversionTaskId"]


def waiting_instance(world):
    upload = world.boot_upload()
    return instance_task(world, upload, **{"DiskImage.1.Image.ImportManifestUrl": upload.missing,
                                           "Description": "web", "DiskImage.1.Description": "root"})


def ended(world, task, state="completed"):
    item = world.main.wait(task, "completed", "cancelled")
    assert item.find("{*}state").text == state, xml.tostring(item).decode()
    return task, item


def completed_volume(world):
    upload = world.open_upload()
    task = made(world.main.ask("ImportVolume", upload.parameters(Description="data disk")))
    _, item = ended(world, task)
    return task, item.find("{*}importVolume/{*}volume/{*}id").text


def completed_instance(world):
    task, item = ended(world, instance_task(world))
    return (task, item.find("{*}importInstance/{*}instanceId").text,
            item.find("{*}importInstance/{*}volumes/{*}item/{*}volume/{*}id").text)


def cancelled(world, task):
    assert world.main.cancel(task, ReasonMessage="not needed").status == 200
    return ended(world, task, "cancelled")[:1]


def tagged(world):
    task = volume_task(world)
    reply = world.main.ask("CreateTags", {"ResourceId.1": task, "Tag.1.Key": "Name",
                                          "Tag.1.Value": "web 1", "Tag.2.Key": "empty"})
    assert reply.status == 200, reply.text
    return (task,)


def fully_tagged(world):
    task = volume_task(world)
    for first in (0, 25):
        reply = world.main.ask("CreateTags", {"ResourceId.1": task, **{
            f"Tag.{i + 1}.Key": f"key {first + i}" for i in range(25)}})
        assert reply.status == 200, reply.text
    return (task,)


GIVEN = {
    "a waiting task {}": lambda w: (volume_task(w),),
    "a completed task {} with volume {}": completed_volume,
    "a cancelled task {}": lambda w: cancelled(w, volume_task(w)),
    "a task {} of another account": lambda w: (volume_task(w, w.account("other")),),
    "a task {} made with ClientToken=tok-1": lambda w: (volume_task(w, ClientToken="tok-1"),),
    "a task {} with tags": tagged,
    "a task {} with fifty tags": fully_tagged,
    "a waiting instance task {}": lambda w: (waiting_instance(w),),
    "a completed instance task {} with instance {} and volume {}": completed_instance,
    "a cancelled instance task {}": lambda w: cancelled(w, waiting_instance(w)),
    "a service without tasks": None,
}

# --- who signs: phrase -> function of world, method, path, text that gives target, headers, body


def by(account, **how):
    def request(world, method, path, text, headers):
        return account(world).signed(text, method, path, headers=headers, **how)
    return request


def nobody(_, method, path, text, headers):
    kind = {**contract.FORM, **headers} if method == "POST" else headers
    return (path, kind, text.encode()) if method == "POST" else (path + "?" + text, kind, b"")


def another_body(world, method, path, text, headers):
    target, signed, body = world.main.signed(text, method, path, headers=headers)
    return target, signed, body + b"&"


def presigned(world, method, path, text, headers, **how):
    query = sign.v4_presigned(world.main.key, world.main.secret, method, world.main.host, path,
                              service="ec2", parameters=dict(urllib.parse.parse_qsl(text)), **how)
    return path + "?" + query, {**(contract.FORM if method == "POST" else {}), **headers}, b""


def version_2(digest):
    def request(world, method, path, text, headers):
        parameters = sign.v2_query(world.main.key, world.main.secret, method, world.main.host, path,
                                   dict(urllib.parse.parse_qsl(text)), digest)
        return nobody(world, method, path, urllib.parse.urlencode(parameters), headers)
    return request


def unreadable(world, method, path, text, headers):
    target, signed, body = world.main.signed(text, method, path, headers=headers)
    return target, {**signed, "authorization": signed["authorization"].split(", Sig")[0]}, body


def two_places(world, method, path, text, headers):
    where, _, rest = text.partition("&")
    headers = {**contract.FORM, **headers}
    headers = sign.v4(world.main.key, world.main.secret, method, world.main.host, path, where,
                      rest.encode(), headers)
    return path + "?" + where, headers, rest.encode()


def main_account(world):
    return world.main


def other_clock(seconds):
    def request(world, method, path, text, headers):
        return world.main.signed(text, method, path, headers=headers, when=time.time() + seconds)
    return request


SIGNED = {
    "in the header": by(main_account),
    "in the query": presigned,
    "in the query, for 604801 seconds": lambda *a: presigned(*a, expires=604801),
    "in query and body": two_places,
    "as version 2": version_2("SHA256"),
    "as version 2 with SHA1": version_2("SHA1"),
    "by nobody": nobody,
    "with a wrong secret": by(lambda w: w.main.replace(secret="wrong")),
    "with an unknown key": by(lambda w: w.main.replace(key="AKIAAAAAAAAAAAAAAAAA")),
    "with a disabled key": by(lambda w: w.account("disabled")),
    "with a session token": by(lambda w: w.session),
    "with a changed session token": by(lambda w: w.session.replace(
        token=w.session.token[:-1] + ("A" if w.session.token[-1] != "A" else "B"))),
    "without its session token": by(lambda w: w.session.replace(token=None)),
    "with an expired session token": by(lambda w: w.expired_session()),
    "by an account that may only describe": by(lambda w: w.account("reader")),
    "for another body": another_body,
    "without a signature in the header": unreadable,
    "20 minutes ago": other_clock(-20 * 60),
    "20 minutes from now": other_clock(20 * 60),
}


class World(contract.World):
    """The service of the pairs, and what their settings name."""

    def __init__(self, config):
        super().__init__(config)
        self.accounts = {}

    def boot_upload(self):
        if "boot" not in self.uploads:
            self.uploads["boot"] = self.upload("RAW", self.disk("mbr-ext4", 8))
        return self.uploads["boot"]

    def account(self, kind):
        if kind not in self.accounts:
            more = ["--allow", "DescribeConversionTasks"] if kind == "reader" else []
            self.accounts[kind] = self.keys("add", "--name", kind, *more)
            if kind == "disabled":
                self.service.account("disable", self.accounts[kind].key)
        return self.accounts[kind]

    @property
    def session(self):
        if "session" not in self.accounts:
            self.accounts["session"] = self.keys(
                "session", self.account("owner").number, "--duration", "900")
        return self.accounts["session"]

    def expired_session(self):
        short = self.keys("session", self.account("owner").number, "--duration", "1")
        service.wait_for(lambda: short.describe().code == "RequestExpired")
        return short

    def values(self):
        """What requests and replies may name without a precondition."""
        upload = self.open_upload()
        return {"zone": contract.ZONE, "bytes": upload.bytes, "manifest": upload.missing,
                "uploaded manifest": upload.url}

    def instance_values(self):
        upload = self.boot_upload()
        return {"boot bytes": upload.bytes, "boot manifest": upload.missing,
                "uploaded boot manifest": upload.url}


class Pairs(unittest.TestCase):
    maxDiff = None
    worlds = {}

    @classmethod
    def world(cls, config, fresh=False):
        if fresh or config not in cls.worlds:
            world = World(config)
            cls.addClassCleanup(world.close)
            if fresh:
                return world
            cls.worlds[config] = world
        return cls.worlds[config]

    def prepare(self, pair):
        """The world in which the preconditions hold, and the values that they give."""
        config = "\n".join(pair.settings["service"])
        world = self.world(config, "a service without tasks" in pair.settings["given"])
        self.addCleanup(self.leave_no_tasks, world)
        values = world.values()
        if "boot " in "".join(pair.parameters) + pair.document:
            values.update(world.instance_values())
        for phrase in pair.settings["given"]:
            names = re.findall(r"\{([^}]+)\}", phrase)
            make = GIVEN[re.sub(r"\{[^}]+\}", "{}", phrase)]
            values.update(zip(names, make(world) if make else ()))
        return world, values

    @staticmethod
    def leave_no_tasks(world):
        for task in world.main.describe().tasks():
            if task.find("{*}state").text == "active":
                world.main.cancel(task.find("{*}conversionTaskId").text)

    def send(self, pair, world, values):
        lines = [line.split(": ", 1) for line in pair.settings["header"]]
        headers = {name.lower(): value for name, value in lines}
        target, headers, body = SIGNED[pair.setting("signed", "in the header")](
            world, pair.method, pair.path, pair.encoded(values), headers)
        return sign.send(world.main.host, pair.method, target, headers, body)

    def check(self, pair):
        world, values = self.prepare(pair)
        for _ in range(int(pair.setting("sent", "1 times").split(" ")[0])):
            answer = self.send(pair, world, values)
        wanted = xml.fromstring(fill(pair.document, values, lambda v: escape(str(v))))
        wrong = [] if answer.status == pair.status else [f"status {answer.status}, not {pair.status}"]
        wrong += [f"{name}: {answer.headers[name]}, not {value}" for name, value in pair.headers.items()
                  if answer.headers[name] != value]
        wrong += header_faults(answer) + differences(wanted, xml.fromstring(answer.body))
        self.assertFalse(wrong, "\n" + "\n".join(wrong) + "\nthe answer:\n" + answer.text)


def add_pairs():
    for path in sorted(glob.glob(os.path.join(API, "*", "*"))):
        name = "_".join(path.split(os.sep)[-2:])

        def test(self, path=path):
            with open(path, encoding="utf-8") as file:
                self.check(Pair(file.read()))
        setattr(Pairs, "test_" + name, test)


class Data(unittest.TestCase):
    """The pairs as a whole, and the comparison itself."""

    def test_every_error_has_a_pair(self):
        shown = set()
        for path in glob.glob(os.path.join(API, "*", "*")):
            with open(path, encoding="utf-8") as file:
                pair = Pair(file.read())
            shown |= {(code, pair.status)
                      for code in re.findall(r"<Code>([^<]*)</Code>", pair.document)}
        with open(os.path.join(API, "errors"), encoding="utf-8") as file:
            rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
        self.assertEqual(shown, {(code, int(status)) for status, code in rows})

    def test_what_differs_is_found(self):
        wanted = ("<a xmlns='urn:n'><id>{uuid}</id><when>{date+7d}</when><b>say '{any}'</b>"
                  "<c>{RAW|raw}</c><d/></a>")
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + WEEK_S))
        good = (f"<a xmlns='urn:n'>\n <id>3be1508e-c444-4fef-89cc-0b1223c4f02f</id><when>{soon}</when>"
                "<b>say 'x'</b><c>raw</c><d/></a>")
        self.assertEqual(differences(xml.fromstring(wanted), xml.fromstring(good)), [])
        for old, new in (("urn:n", "urn:m"), ("xmlns='urn:n'", ""), ("<d/>", ""), ("<d/>", "<d>1</d>"),
                         ("<d/>", "<d/><d/>"), ("<d/>", "<d x='1'/>"), ("say 'x'", "say ''"),
                         ("say 'x'", "says 'x'"), ("say 'x'", "say 'x' "), (">raw<", ">Raw<"),
                         ("<c>raw</c><d/>", "<d/><c>raw</c>"), ("3be1508e", "3BE1508E"),
                         (soon, "2026-01-01T00:00:00Z"), (soon, soon[:-1] + ".0Z"), ("\n ", "\n x"),
                         ("<d/>", "<D/>"), ("<d/>", "<d><e/></d>"), ("<d/>", "<d/>x")):
            self.assertIn(old, good)
            changed = good.replace(old, new)
            self.assertTrue(differences(xml.fromstring(wanted), xml.fromstring(changed)), changed)


add_pairs()

if __name__ == "__main__":
    contract.main()
