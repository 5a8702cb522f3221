#!/usr/bin/python3
"""golden - what the euca tools print and how they end, to the letter: the cases of tools/golden.

    tools/golden.py                    all of them
    tools/golden.py NAME...            some: tools/golden/NAME.case
    tools/golden.py --write NAME...    give the lines of these cases that tell of no outcome yet the one
                                       that was seen, for review

One service and one Ceph S3 are started for all.  Each case runs twice: as euca-* with objects in the
service's own store, and as ec2-* with objects in Ceph.  golden/README.md explains the cases.
"""
import concurrent.futures
import contextlib
import datetime
import difflib
import glob
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import boto3

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "lib")
sys.path.insert(0, LIB)
import euca  # noqa: E402
import left  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402
from api import FORM  # noqa: E402
from tasks import make_bootable  # noqa: E402

CASES = os.path.join(HERE, "golden")
SECONDS = 60  # for one command, on a machine that is busy with other tests

# --- placeholders

# Name, and number if there are several of them, stand for the same text wherever the case has them.
SAME = {
    "TASK": r"import-(?:vol|i)-[0-9a-z]{8}",
    "VOLUME": r"vol-[0-9a-f]{17}",
    "INSTANCE": r"i-[0-9a-f]{17}",
    "LINK": r"http://[^ ]*Signature=[^ ]*",
    "UUID": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
}
# These may be another text each time.
OTHER = {
    "TIME": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
    "NUMBER": r"[0-9]+",
    "SENTENCE": r"[^\t]+",
    "MORE": r".*",
    # A week is what an object store takes at most.
    "SIGNED": r"\?(?=[^<]*X-Amz-Expires=604800&)[^<]*X-Amz-Signature=[0-9a-f]{64}[^<]*",
}


def filled(text, values):
    """The text with the placeholders in it whose values are known."""
    return re.sub(r"\{([A-Z0-9_]+)\}", lambda m: values.get(m[1], m[0]), text)


def pattern(line, values):
    """The regular expression of an expected line; a SAME text met for the first time is a group."""
    result, seen = "", set()
    for literal, name, words in re.findall(r"([^{]+|\{(?![A-Z0-9_]+[:}]))|\{([A-Z0-9_]+)(?:: ([^}]*))?\}",
                                           filled(line, values)):
        kind = name.rstrip("0123456789")
        if not name:
            result += re.escape(literal)
        elif kind in SAME:
            result += f"(?P={name})" if name in seen else f"(?P<{name}>{SAME[kind]})"
            seen.add(name)
        else:
            result += "".join(f"(?=.*{re.escape(w)})" for w in words.split(", ") if w) + OTHER[name]
    return result


def usages():
    """The lines of each command's usage, by its name without "euca-": help.case has them."""
    found = {}
    with open(os.path.join(CASES, "help.case"), encoding="utf-8") as file:
        for name, rest, more in re.findall(r"^out usage: euca-([a-z-]+)( .*\n)((?:out  .*\n)*)", file.read(), re.M):
            found[name] = [rest[:-1], *(line[4:] for line in more.splitlines())]
    return found


def folded(lines, command):
    """The usage of a program of the command as the one line {USAGE}, when it is that to the letter."""
    for prefix, name in re.findall(r"\b(euca|ec2)-([a-z-]+)", command):
        first, *more = USAGES.get(name, [""])
        usage = [f"usage: {prefix}-{name}{first}", *more]
        for start in range(len(lines)):
            if lines[start:start + len(usage)] == usage:
                return [*lines[:start], "{USAGE}", *lines[start + len(usage):]]
    return lines


USAGES = usages()


def compared(expected, seen, values):
    """The lines that were seen, those that are as expected in the words of the case.  Adds to the
    values."""
    result = []
    for at, line in enumerate(expected):
        if line == "{ANY}":  # any lines, or none; the last one
            return [*result, line]
        if at == len(seen):
            return result
        found = re.fullmatch(pattern(line, values), seen[at]) if line != "{USAGE}" else None
        if found:
            values.update(found.groupdict())
        result.append(line if found else seen[at])
    return result + seen[len(expected):]


def generalised(line, values, commands):
    """A line for a case, out of one that was seen; what stands in the commands of the case remains.
    Adds to the values."""
    for kind, wanted in SAME.items():
        for text in re.findall(rf"(?<![\w-]){wanted}(?![\w-])", line):
            if text not in values.values() and text not in commands:
                names = [kind, *(f"{kind}{n}" for n in range(2, 100))]
                values[next(n for n in names if n not in values)] = text
    for name, value in sorted(values.items(), key=lambda item: -len(item[1])):
        line = line.replace(value, "{%s}" % name) if len(value) > 3 else line
    line = re.sub(OTHER["TIME"], lambda m: m[0] if m[0] in commands else "{TIME}", line)
    return re.sub(OTHER["SIGNED"], "{SIGNED}", line)


# --- cases


class Step:
    """A line that does something, and what the case says comes of it."""

    def __init__(self, kind, text):
        self.kind, self.text, self.expected, self.seen = kind, text, [], None


def read_case(path):
    """Its steps; comments and blank lines are steps of kind ''."""
    steps = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file.read().splitlines(), 1):
            if line[:2] in ("+ ", "$ ", "? "):
                steps.append(Step(line[0], line[2:]))
            elif re.match(r"(status|out|err)( |$)", line) and steps and steps[-1].kind:
                steps[-1].expected.append(line)
            elif not line or line[0] == "#":
                steps.append(Step("", line))
            else:
                raise ValueError(f"{path}:{number}: no case has such a line: {line}")
    return steps


def case_text(steps, attribute):
    return "".join("\n".join([f"{step.kind} {step.text}" if step.kind else step.text,
                              *getattr(step, attribute)]) + "\n" for step in steps)


def lines_of(text):
    lines = text.split("\n")
    if lines.pop():
        lines = [*text.split("\n"), "(no end of line)"]
    return lines


class Run:
    """One case in one store."""

    def __init__(self, world, store, name, writes):
        self.world, self.store, self.name, self.writes = world, store, name, writes
        self.steps = read_case(os.path.join(CASES, name + ".case"))
        if store == "rgw":
            for step in self.steps:
                step.text = self.renamed(step.text)
                step.expected = [re.sub(r"^(?:out|err) (?:usage: )?euca-\S+", lambda m: self.renamed(m[0]), line)
                                 for line in step.expected]
        self.values = {**world.values, **world.stores[store], "BUCKET": f"golden-{name}"}
        self.s3 = world.s3[store]
        self.dir = os.path.join(world.service.tmp, "cases", f"{name}.{store}")
        os.makedirs(os.path.join(self.dir, "home"))

    @staticmethod
    def renamed(text):
        return re.sub(r"\beuca-(?=(import|resume|describe|cancel|delete)-)", "ec2-", text)

    def environment(self):
        known = ("EC2_URL", "S3_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        env = {name: self.values[name] for name in known}
        if self.name.endswith("-arguments"):
            env.update(EC2_URL=f"http://{self.values['CLOSED']}/", S3_URL=f"http://{self.values['CLOSED']}/")
        return euca.environment(env, IMAGING_HASTE="100",
                                HOME=os.path.join(self.dir, "home"),
                                PATH=f"{self.world.tools}:{os.environ['PATH']}")

    def shell(self, command):
        return subprocess.run(["sh", "-c", command], cwd=self.dir, env=self.environment(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="backslashreplace", timeout=SECONDS, check=False)

    def command(self, step):
        result = self.shell(filled(step.text, self.values))
        said = result.stdout + result.stderr
        for secret in self.world.secrets:
            assert secret not in said, f"a secret is told by: {step.text}"
        assert not re.search(r"Signature=|Sanitizer|runtime error:", said), said
        step.seen = [f"status {result.returncode}"]
        for stream, text in (("out", result.stdout), ("err", result.stderr)):
            expected = [line[4:] for line in step.expected if line.split(" ")[0] == stream]
            lines = lines_of(text)
            if "{USAGE}" in expected or not step.expected:
                lines = folded(lines, filled(step.text, self.values))
            step.seen += self.told(stream, expected, lines)

    def told(self, stream, expected, seen):
        return [f"{stream} {line}" if line else stream for line in compared(expected, seen, self.values)]

    def question(self, step):
        name, *arguments = filled(step.text, self.values).split(" ")
        answer = getattr(self, "ask_" + name)(*arguments)
        step.seen = self.told("out", [line[4:] for line in step.expected], answer)

    def ask_state(self, task, wanted, *keys):
        """Waits until the task, of the account with these keys, is in it; ends when it never will be."""
        host = urllib.parse.urlsplit(self.values["EC2_URL"]).netloc
        body = urllib.parse.urlencode({"Action": "DescribeConversionTasks", "Version": "2016-11-15",
                                       "ConversionTaskId.1": task}).encode()
        keys = keys or (self.values["AWS_ACCESS_KEY_ID"], self.values["AWS_SECRET_ACCESS_KEY"])

        def ended():
            text = sign.send(host, "POST", "/", sign.v4(*keys, "POST", host, "/", "", body, FORM),
                             body).text
            state = (re.findall("<state>(.*?)</state>", text) or ["unknown"])[0]
            assert state == wanted or state in ("active", "cancelling"), f"{task} is {state}: {text}"
            return state == wanted
        # When something went wrong before, this may be in vain.
        service.wait_for(ended, SECONDS if all(s.seen == s.expected for s in self.steps) else 5)
        return []

    def ask_session_over(self):
        """Waits until the session of ENDED_ID has ended."""
        service.wait_for(lambda: time.time() > self.world.session_over_s)
        return []

    def ask_objects(self, bucket):
        """Sizes and keys of what is there, in the order of the keys."""
        try:
            found = self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])
        except self.s3.exceptions.NoSuchBucket:
            return ["no such bucket"]
        return [f"{o['Size']} {o['Key']}" for o in found]

    def ask_object(self, bucket, key):
        """Its text, with which no end of line comes."""
        text = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        return text.split("\n")

    def ask_link(self, bucket, key):
        """A presigned URL to get it with; it has a line to itself."""
        return [self.s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, 3600)]

    def ask_put(self, bucket, key, *words):
        self.s3.put_object(Bucket=bucket, Key=key, Body=" ".join(words).encode())
        return []

    def ask_remove(self, bucket, key):
        self.s3.delete_object(Bucket=bucket, Key=key)
        return []

    def preparation(self, step):
        result = self.shell(filled(step.text, self.values))
        assert result.returncode == 0, f"status {result.returncode} {result.stderr}"
        step.seen = []

    def __call__(self):
        """What differs, as text; nothing when all is as the case says."""
        kinds = {"+": self.preparation, "$": self.command, "?": self.question, "": lambda step: None}
        for step in self.steps:
            step.seen = step.expected
        for step in self.steps:
            try:
                kinds[step.kind](step)
            except Exception as error:  # of whatever kind; what comes after it has no meaning
                step.seen = [*step.expected, f"{type(error).__name__}: {error}"]
                self.writes = False
                break
            if self.writes and step.kind in ("$", "?") and not step.expected:
                commands = "\n".join(s.text for s in self.steps)
                step.seen = [generalised(line, self.values, commands) for line in step.seen]
        return "\n".join(difflib.unified_diff(
            case_text(self.steps, "expected").splitlines(),
            case_text(self.steps, "seen").splitlines(), "the case", "seen", lineterm="", n=4))

    def write(self, name):
        for step in self.steps:
            step.seen = step.expected or step.seen
        with open(os.path.join(CASES, name + ".case"), "w", encoding="utf-8") as file:
            file.write(case_text(self.steps, "seen"))


# --- what the cases run against


class Other(http.server.BaseHTTPRequestHandler):
    """A web server that is neither EC2 nor S3: /page is a page, /status/403 nothing but that status;
    /none knows no task, and says so in the way of the historical service;
    /cancelling has one that is about to end."""
    PAGES = {"/page": b"<html><body>It works!</body></html>\n",
             "/none": b"<DescribeConversionTasksResponse><requestId>r</requestId><conversionTasks/>"
                      b"</DescribeConversionTasksResponse>",
             "/cancelling": b"<DescribeConversionTasksResponse><conversionTasks><item><conversionTaskId>"
                            b"import-vol-1a2b3c4d</conversionTaskId><importVolume/><state>cancelling</state></item>"
                            b"</conversionTasks></DescribeConversionTasksResponse>"}

    def do_any(self):
        found, body = re.match("/status/([0-9]+)", self.path), self.PAGES.get(self.path.rstrip("/"), b"")
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(int(found[1]) if found else 200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_any

    def log_message(self, *_):
        pass


class World:
    """The service, with several accounts; Ceph, which knows the same keys; another web server; images."""

    def __init__(self):
        self.tools = os.path.abspath(euca.tools())
        self.values, self.stores, self.stack = {}, {}, contextlib.ExitStack()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        os.environ["IMAGING_HASTE"] = "100"
        self.service = service.Service(config='max-active-tasks = 1000\nzones = {"zone-a"}\n')
        self.stack.callback(self.service.stop)
        self.rgw = os.path.join(self.service.tmp, "rgw")
        self.stack.callback(subprocess.run, [os.path.join(LIB, "rgw"), "stop", self.rgw], check=False)
        starts = subprocess.Popen([os.path.join(LIB, "rgw"), "start", self.rgw])
        self.stack.callback(starts.wait)
        self.closed = self.stack.enter_context(socket.socket())
        self.closed.bind(("127.0.0.1", 0))  # and nobody listens
        self.other = self.stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other))
        threading.Thread(target=self.other.serve_forever, args=(0.02,), daemon=True).start()
        self.stack.callback(self.other.shutdown)
        self.make_images(os.path.join(self.service.tmp, "images"))
        self.name_things()
        assert starts.wait(300) == 0, "Ceph's S3 did not start"
        self.know_keys()
        self.s3 = {store: self.s3_client(values["S3_URL"]) for store, values in self.stores.items()}

    def stop(self):
        self.stack.close()

    def s3_client(self, url):
        return boto3.client("s3", endpoint_url=url, region_name="us-east-1",
                            aws_access_key_id=self.values["AWS_ACCESS_KEY_ID"],
                            aws_secret_access_key=self.values["AWS_SECRET_ACCESS_KEY"])

    def name_things(self):
        env, new = self.service.env, self.service.account
        ended = new("session", "default", "--duration", "1")
        # in whole seconds, rounded down
        self.session_over_s = datetime.datetime.fromisoformat(ended["expires"]).timestamp() + 1
        lasting = new("session", "default")
        self.values = {
            "EC2_URL": env["EC2_URL"], "ZONE": env["EC2_AVAILABILITY_ZONE"],
            "SERVICE": self.service.dir,
            "IMAGES": os.path.join(self.service.tmp, "images"),
            "CLOSED": f"127.0.0.1:{self.closed.getsockname()[1]}",
            "ANYBODY": "" if os.getuid() else "setpriv --bounding-set -dac_override,-dac_read_search "
                                              "--inh-caps -dac_override,-dac_read_search",
            "WEB": f"http://127.0.0.1:{self.other.server_port}",
            "AWS_ACCESS_KEY_ID": env["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": env["AWS_SECRET_ACCESS_KEY"],
        }
        for name, keys in (("SECOND", new("add")), ("SESSION", lasting), ("ENDED", ended)):
            self.values[name + "_ID"] = keys["access_key"]
            self.values[name + "_SECRET"] = keys["secret_key"]
            self.values[name + "_TOKEN"] = keys.get("session_token", "")
        for store in ("own", "rgw"):  # who have no tasks but those of one case
            quiet, lonely = new("add"), new("add")
            self.stores[store] = {
                "QUIET_ID": quiet["access_key"], "QUIET_SECRET": quiet["secret_key"],
                "LONELY_ID": lonely["access_key"], "LONELY_SECRET": lonely["secret_key"]}
        self.stores["own"]["S3_URL"] = env["S3_URL"].rstrip("/")
        every = [item for of in (self.values, *self.stores.values()) for item in of.items()]
        self.secrets = [value for name, value in every
                        if name.endswith(("_SECRET", "_TOKEN", "SECRET_ACCESS_KEY")) and value]
        left.secret(*self.secrets)

    def know_keys(self):
        """Ceph gets two users with the keys of the accounts."""
        for id, secret in (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("SECOND_ID", "SECOND_SECRET")):
            subprocess.run(["radosgw-admin", "-c", f"{self.rgw}/ceph.conf", "user", "create",
                            "--uid", self.values[id], "--display-name", id,
                            "--access-key", self.values[id], "--secret-key", self.values[secret]],
                           check=True, capture_output=True, timeout=SECONDS)
        with open(self.rgw + "/env.sh", encoding="utf-8") as file:
            self.stores["rgw"]["S3_URL"] = re.search("S3_URL=(.*)", file.read())[1]

    @staticmethod
    def make_images(directory):
        """disk.raw, 4 MiB and bootable by its look, and the same disk as disk.vmdk and disk.vhd."""
        os.makedirs(directory)
        raw = os.path.join(directory, "disk.raw")
        for kind, file, of in (("random", "disk.raw", "4"), ("vmdk-stream", "disk.vmdk", raw),
                               ("vhd-dyn", "disk.vhd", raw)):
            subprocess.run([os.path.join(LIB, "make-disk"), kind, os.path.join(directory, file), of],
                           check=True)
            if file == "disk.raw":
                make_bootable(raw)


def main(arguments):
    writes = "--write" in arguments
    names = [a for a in arguments if a != "--write"] or sorted(
        os.path.basename(p)[:-5] for p in glob.glob(os.path.join(CASES, "*.case")))
    world = World()
    failed = []

    def run(name, store):
        try:
            this = Run(world, store, name, writes)
            trouble = this()
            if this.writes:
                this.write(name)
        except (OSError, ValueError) as error:
            trouble = str(error)
        return name, store, trouble

    runs = [(name, store) for store in (["own"] if writes else ["own", "rgw"]) for name in names]
    try:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() + 1) as pool:
            for name, store, trouble in pool.map(run, *zip(*runs)):
                if trouble:
                    failed.append(name)
                    print(f"FAILED: {name}, objects in {store}:\n{trouble}\n", flush=True)
    finally:
        world.stop()
    print(f"{len(runs)} runs of {len(names)} cases, {len(failed)} failed", *sorted(set(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
