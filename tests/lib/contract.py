"""contract - what the tests of the EC2 contract share: a service of their own, uploads to import from,
and the ways to ask: requests made by hand, boto3 and the AWS CLI.

    class Rows(contract.Case):
        CONFIG = "max-active-tasks = 5"     # written to a file that the service reads
        def test_row_19_...(self): ...

Not here: how a request is signed (sign.py) and how a service is started (service.py).
"""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import unittest
import urllib.parse
import urllib.request
import xml.etree.ElementTree as xml

import service
import sign

for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
    os.environ[name] = "/dev/null"  # nobody's own settings
os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_PAGER="", AWS_MAX_ATTEMPTS="1")

LIB = os.path.dirname(os.path.abspath(__file__))
AWS = "/usr/bin/aws"  # Debian's own, as /usr/bin/python3 has Debian's boto3
ZONE = "standalone"
VERSION = "2016-11-15"
VERSIONS = (VERSION, "2015-10-01", "2014-10-01", "2014-06-15")
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ALL = 1 << 30  # "the gate is behind the last part"
DESCRIBE = {"Action": "DescribeConversionTasks", "Version": VERSION}


def make_disk(path, *arguments):
    subprocess.run([os.path.join(LIB, "make-disk"), arguments[0], path, *arguments[1:]], check=True)
    return path


class Upload:
    """A file cut into parts, with its manifest at .url, served until close().  From part `closed` on
    there is silence until open(); wait() returns when somebody waits for such a part.  rate: bytes per
    second, of all parts together."""

    def __init__(self, form, path, gib=1, closed=ALL, part=1 << 20, rate=0):
        self.form, self.bytes, self.gib = form, os.path.getsize(path), gib
        self.process = subprocess.Popen(
            [os.path.join(LIB, "gate-server"), form, path, str(gib), str(closed), str(part),
             str(rate)],
            stdout=subprocess.PIPE, text=True)
        self.base = f"http://127.0.0.1:{self.process.stdout.readline().strip()}"
        self.url = self.base + "/manifest.xml"
        self.missing = self.base + "/not-yet.xml"  # where no manifest has been put so far

    def wait(self):
        assert self.process.stdout.readline().strip() == "waiting"

    def open(self):
        self.process.send_signal(signal.SIGUSR1)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def parameters(self, url=None, **more):
        """Those of ImportVolume."""
        return {"AvailabilityZone": ZONE, "Image.Format": self.form, "Image.Bytes": str(self.bytes),
                "Image.ImportManifestUrl": url or self.url, "Volume.Size": str(self.gib), **more}

    def disk(self, number, **more):
        """Those of one disk of ImportInstance."""
        return {f"DiskImage.{number}.{name}": value for name, value in {
            "Image.Format": self.form, "Image.Bytes": str(self.bytes),
            "Image.ImportManifestUrl": self.url, "Volume.Size": str(self.gib), **more}.items()}

    def boto3(self, **image):
        """The same for boto3's import_volume."""
        return {"AvailabilityZone": ZONE, "Volume": {"Size": self.gib},
                "Image": {"Format": self.form, "Bytes": self.bytes, "ImportManifestUrl": self.url,
                          **image}}


# --- what came back, and who asks


class Reply:
    """An answer and its document: reply["conversionTask/state"] is the text of the one element at
    that path below the root (None without it), whatever its namespace."""

    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.body
        self.text = answer.text
        self.root = xml.fromstring(answer.body)

    def all(self, path):
        return self.root.findall("/".join("{*}" + step for step in path.split("/")))

    def __getitem__(self, path):
        found = self.all(path)
        return found[0].text or "" if found else None

    @property
    def code(self):
        return self["Errors/Error/Code"]

    @property
    def message(self):
        return self["Errors/Error/Message"]

    @property
    def refusal(self):
        return self.status, self.code

    def tasks(self):
        assert self.status == 200, self.text
        return self.all("conversionTasks/item")

    def ids(self):
        return [task.find("{*}conversionTaskId").text for task in self.tasks()]


class Account:
    """Keys with which to ask a service."""

    def __init__(self, url, key, secret, token=None, account=None):
        self.url, self.key, self.secret, self.token, self.number = url, key, secret, token, account
        self.host = urllib.parse.urlsplit(url).netloc

    def replace(self, **other):
        return Account(**{"url": self.url, "key": self.key, "secret": self.secret,
                          "token": self.token, "account": self.number, **other})

    # by hand

    def signed(self, parameters, method="POST", path="/", in_query=None, headers=None, encode=None,
               **how):
        """Target, headers and body of a request in the form, or in the query where the method is GET
        or in_query says so.  parameters: a dict, or text that is encoded already."""
        text = parameters if isinstance(parameters, str) else \
            (encode or urllib.parse.urlencode)(parameters)
        query, body = (text, b"") if in_query or (in_query is None and method == "GET") \
            else ("", text.encode())
        kind = {**(FORM if method == "POST" else {}), **(headers or {})}
        token = {"x-amz-security-token": self.token} if self.token else {}
        headers = sign.v4(self.key, self.secret, method, how.pop("host", self.host), path, query, body,
                          {**kind, **token}, **how)
        return path + ("?" + query if query else ""), headers, body

    def query(self, parameters, method="POST", **how):
        return Reply(self.query_raw(parameters, method, **how))

    def query_raw(self, parameters, method="POST", **how):
        target, headers, body = self.signed(parameters, method, **how)
        return sign.send(self.host, method, target, headers, body)

    def ask(self, action, parameters=None, **how):
        return self.query({"Action": action, "Version": how.pop("version", VERSION),
                           **(parameters or {})}, **how)

    def describe(self, *ids, **how):
        return self.ask("DescribeConversionTasks",
                        {f"ConversionTaskId.{i + 1}": task for i, task in enumerate(ids)}, **how)

    def cancel(self, task, **parameters):
        return self.ask("CancelConversionTask", {"ConversionTaskId": task, **parameters})

    def wait(self, task, *states):
        """Until the task is in one of these states; its <item>."""
        def there():
            item = self.describe(task).tasks()[0]
            return item if item.find("{*}state").text in states else None
        try:
            return service.wait_for(there)
        except TimeoutError as late:
            raise TimeoutError(f"{states}: " + self.describe(task).text) from late

    # by others' programs

    def boto3(self, **config):
        import boto3
        from botocore.config import Config
        config.setdefault("retries", {"max_attempts": 0})
        return boto3.session.Session().client(
            "ec2", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=self.key,
            aws_secret_access_key=self.secret, aws_session_token=self.token, config=Config(**config))

    def aws_environment(self):
        keys = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret,
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url}
        return {**keys, **({"AWS_SESSION_TOKEN": self.token} if self.token else {})}

    def aws_command(self, *arguments):
        return [AWS, "--endpoint-url", self.url, "--output", "json", "ec2", *arguments]

    def aws(self, *arguments):
        """The AWS CLI; its exit status, the document it printed or None, and its complaints."""
        done = subprocess.run(self.aws_command(*arguments), stdin=subprocess.DEVNULL, check=False,
                              capture_output=True, text=True, timeout=120,
                              env={**os.environ, **self.aws_environment()})
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr


def refused(call, *arguments, **parameters):
    """Status and code with which the service answers a call of boto3's."""
    from botocore.exceptions import ClientError
    try:
        call(*arguments, **parameters)
    except ClientError as refusal:
        return (refusal.response["ResponseMetadata"]["HTTPStatusCode"],
                refusal.response["Error"]["Code"])
    return 200, None


class World:
    """A service with its first account, uploads, and further accounts."""

    def __init__(self, config="", toolkit=None, prepare=None):
        self.clean = contextlib.ExitStack()
        self.service = service.Service(toolkit=toolkit, start=False, config=config)
        self.clean.callback(self.service.stop)
        self.tmp = self.service.tmp
        try:
            if prepare:
                prepare(self)
            self.service.start()
        except BaseException:
            self.close()
            raise
        env = self.service.env
        self.main = Account(env["EC2_URL"], env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
        self.uploads = {}

    def close(self):
        self.clean.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def path(self, name):
        return os.path.join(self.tmp, name)

    def keys(self, *arguments):
        """`account add` or `account session`: the keys that it printed."""
        made = self.service.account(*arguments)
        return self.main.replace(key=made["access_key"], secret=made["secret_key"],
                                 token=made.get("session_token"), account=made["account"])

    def disk(self, layout="edges", mib=1):
        path = self.path(f"{layout}-{mib}.raw")
        return path if os.path.exists(path) else make_disk(path, layout, str(mib))

    def upload(self, form="RAW", path=None, **how):
        """One that ends with the world."""
        made = Upload(form, path or self.disk(), **how)
        self.clean.callback(made.close)
        return made

    def open_upload(self):
        """A small one in which nothing is held, made once."""
        if "open" not in self.uploads:
            self.uploads["open"] = self.upload()
        return self.uploads["open"]

    def files(self):
        """A directory, and the address at which fault-server.py serves its files: base/FAULT/NAME."""
        if "files" not in self.uploads:
            place = self.path("files")
            os.mkdir(place)
            server = subprocess.Popen([sys.executable, os.path.join(LIB, "fault-server.py"), place],
                                      stdout=subprocess.PIPE, text=True)
            self.clean.callback(server.stdout.close)
            self.clean.callback(server.wait)
            self.clean.callback(server.kill)
            self.uploads["files"] = place, f"http://127.0.0.1:{server.stdout.readline().strip()}"
        return self.uploads["files"]

    def without_parts(self):
        """The address of a manifest that has been put there, while none of its parts has."""
        place, base = self.files()
        with urllib.request.urlopen(self.open_upload().url) as answer:
            manifest = answer.read().replace(b"/part.", b"/not-yet.")
        with open(os.path.join(place, "no-parts.xml"), "wb") as file:
            file.write(manifest)
        return base + "/ok/no-parts.xml"

    def volumes(self):
        return set(os.listdir(os.path.join(self.service.dir, "volumes")))

    def finished(self):
        """Without the directories of tasks at work, which come and go."""
        return {name for name in self.volumes() if not name.startswith(".")}

    def scratch(self):
        return os.listdir(os.path.join(self.service.dir, "scratch"))


class Case(unittest.TestCase):
    """Rows of the contract's feature table.  Tasks that a test leaves active are cancelled behind it,
    so that no test meets the limit on account of another."""
    CONFIG = ""
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.world = World(cls.CONFIG)
        cls.addClassCleanup(cls.world.close)
        cls.main = cls.world.main
        cls.ec2 = cls.main.boto3()

    def run(self, result=None):
        row = re.match(r"test_row_(\d+)_(.*)", self._testMethodName)
        if row:
            print(f"row {row[1]}: {row[2].replace('_', ' ')}", file=sys.stderr, flush=True)
        return super().run(result)

    def tearDown(self):
        for task in self.main.describe().tasks():
            if task.find("{*}state").text == "active":
                self.main.cancel(task.find("{*}conversionTaskId").text)
        # until they are they count against max-active-tasks
        service.wait_for(lambda: not {task.find("{*}state").text for task in self.main.describe().tasks()}
                         & {"active", "cancelling"})

    def task_of(self, reply):
        self.assertEqual(reply.status, 200, reply.text)
        return reply["conversionTask/conversionTaskId"]

    def waiting(self, account=None, **parameters):
        """The id of a new task whose upload has not begun."""
        upload = self.world.open_upload()
        return self.task_of((account or self.main).ask(
            "ImportVolume", upload.parameters(upload.missing, **parameters)))

    def completed(self):
        """The id of a task that has ended well."""
        task = self.task_of(self.main.ask("ImportVolume", self.world.open_upload().parameters()))
        self.assertEqual(self.main.wait(task, "completed", "cancelled").find("{*}state").text,
                         "completed", self.main.describe(task).text)
        return task

    def held(self, form="RAW", path=None, closed=0, **how):
        """The id of a task that waits for part `closed` of its upload, and the upload."""
        upload = self.world.upload(form, path, closed=closed, **how)
        task = self.task_of(self.main.ask("ImportVolume", upload.parameters()))
        upload.wait()
        return task, upload

    def assert_left(self, finished):
        """These volumes are there, and nothing that a task has made on its way."""
        with contextlib.suppress(TimeoutError):
            service.wait_for(lambda: self.world.volumes() == finished and not self.world.scratch(), 10)
        self.assertEqual((self.world.volumes(), self.world.scratch()), (finished, []))

    def assert_nothing_stored(self, call):
        """call() leaves no task, no volume."""
        before = self.stored()
        value = call()
        self.assertEqual(self.stored(), before)
        return value

    def stored(self):
        """Tasks and volumes; what tasks have there while they are at work comes and goes."""
        return self.main.describe().ids(), self.world.finished()


def main():
    unittest.main(verbosity=2, warnings="ignore")  # boto3 leaves its sockets to the collector
