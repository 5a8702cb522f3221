"""standin - a scripted stand-in for EC2 and S3, and the scenarios of clients against it.

It answers on one free loopback port, checks every signature by computing it anew, records what arrives
in which order, and fails where a scenario tells it to.  Each scenario is a function called test_…; they
run one after the other:

    sys.exit(standin.main(globals()))
"""
import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import http.server
import os
import re
import resource
import select
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import xml.etree.ElementTree as ET

import euca

MIB = 1 << 20
PART = 10 * MIB
KEYS = {"AKIDEC2": "ec2+secret/key", "AKIDS3": "s3secret"}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
DEADLINE = 20

TASK = """<conversionTaskId>import-vol-1a2b3c4d</conversionTaskId>
<expirationTime>2026-11-28T00:00:00Z</expirationTime>
<importVolume><bytesConverted>0</bytesConverted><availabilityZone>zone-a</availabilityZone>
<image><format>%s</format><size>%s</size><importManifestUrl>x</importManifestUrl></image>
<volume><size>%s</size></volume></importVolume>
<state>active</state><statusMessage>Pending import-image upload</statusMessage>"""
LINES = ("TaskType\tIMPORTVOLUME\tTaskId\timport-vol-1a2b3c4d\tExpirationTime\t2026-11-28T00:00:00Z"
         "\tStatus\tactive\tStatusMessage\tPending import-image upload\n"
         "DISKIMAGE\tDiskImageFormat\t%s\tDiskImageSize\t%s\tVolumeSize\t%s\tAvailabilityZone\tzone-a"
         "\tApproximateBytesConverted\t0\n")


DRY = (412, b"<Response><Errors><Error><Code>DryRunOperation</Code></Error></Errors></Response>")


def quote(text):
    return urllib.parse.quote(text, safe="-_.~")


def error(code, message):
    return (f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>"
            "</Errors><RequestID>1</RequestID></Response>").encode()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        self.cond = threading.Condition()
        self.events = []      # what arrived, in order: "GET /bucket?max-keys=0", "ImportVolume"
        self.times = []       # when each did
        self.requests = []    # (method, path, query, headers, body)
        self.complaints = []  # signatures and digests that were wrong
        self.buckets = set()
        self.objects = {}     # "/bucket/key": bytes
        self.faults = {}      # event or part number: list of what to do with its next arrivals
        self.calls = []       # form of each EC2 action
        self.in_flight = self.most = 0
        self.hold = None      # number of part PUTs to collect before any is answered
        self.gate = None      # an event: part PUTs are answered when it is set
        self.scopes = []
        self.versions = set() # of the signatures that were right: "V2", "V2 URL", "V4", "V4 URL"
        self.sealed = False   # a key service encrypts: ETags are no MD5
        self.refuses = None   # a method that nobody may use with the object store
        self.tasks = None     # what DescribeConversionTasks answers, in place of a task

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the scenarios

    def wait(self, condition, what):
        with self.cond:
            assert self.cond.wait_for(condition, DEADLINE), f"waited in vain until {what}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # --- signatures, computed from the rules of AWS's documents

    def signature(self, secret, day, region, service, date, canonical):
        scope = f"{day}/{region}/{service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = ("AWS4" + secret).encode()
        for piece in (day, region, service, "aws4_request"):
            key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def canonical(self, path, params, names, payload):
        query = "&".join(f"{k}={v}" for k, v in sorted((quote(k), quote(v)) for k, v in params))
        headers = "".join(f"{n}:{' '.join((self.headers[n] or '').split())}\n" for n in names)
        return "\n".join((self.command, path, query, headers, ";".join(names), payload))

    def check_version_2(self, path, given):
        """S3's older signature, of a header or a URL."""
        if "Signature" in given:
            akid, claimed, date = given["AWSAccessKeyId"], given["Signature"], given["Expires"]
            if int(date) < time.time():
                return "it has expired"
        else:
            akid, claimed = self.headers["Authorization"][len("AWS "):].split(":")
            date = self.headers["Date"]
            if abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) > 60:
                return "its Date is not now"
        token = self.headers["X-Amz-Security-Token"] or given.get("x-amz-security-token")
        text = "\n".join((self.command, self.headers["Content-MD5"] or "",
                          self.headers["Content-Type"] or "", date,
                          (f"x-amz-security-token:{token}\n" if token else "") + path[3:]))
        mac = hmac.new(KEYS[akid].encode(), text.encode(), hashlib.sha1).digest()
        self.server.scopes.append((akid, None, "s3", token))
        self.server.versions.add("V2 URL" if "Signature" in given else "V2")
        return None if base64.b64encode(mac).decode() == claimed else "SignatureDoesNotMatch"

    def check_signature(self, path, query, body):
        """None when it is right, else what is wrong with it."""
        params = urllib.parse.parse_qsl(query, keep_blank_values=True)
        given = dict(params)
        if "Signature" in given or (self.headers["Authorization"] or "").startswith("AWS "):
            return self.check_version_2(path, given)
        self.server.versions.add("V4 URL" if "X-Amz-Signature" in given else "V4")
        if "X-Amz-Signature" in given:
            names = given["X-Amz-SignedHeaders"].split(";")
            claimed, credential = given["X-Amz-Signature"], given["X-Amz-Credential"]
            date, payload = given["X-Amz-Date"], "UNSIGNED-PAYLOAD"
            params = [p for p in params if p[0] != "X-Amz-Signature"]
            if int(given["X-Amz-Expires"]) > 604800:
                return "it would live for more than seven days"
            if names != ["host"]:
                return "not everybody could fetch it"
        else:
            found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\S+), ?SignedHeaders=(\S+), ?"
                                 r"Signature=([0-9a-f]{64})", self.headers["Authorization"] or "")
            if not found:
                return "there is none"
            credential, names, claimed = found[1], found[2].split(";"), found[3]
            date, payload = self.headers["X-Amz-Date"], hashlib.sha256(body).hexdigest()
            if self.headers["X-Amz-Content-SHA256"] != payload:
                return "X-Amz-Content-SHA256 is not the body's"
            for name in self.headers:
                if name.lower().startswith("x-amz-") or name.lower() in ("host", "content-md5"):
                    if name.lower() not in names:
                        return f"{name} is not signed"
        akid, day, region, service, _ = credential.split("/")
        self.server.scopes.append((akid, region, service, self.headers["X-Amz-Security-Token"]))
        if service != ("s3" if path.startswith("/s3/") else "ec2"):
            return f"service {service}"
        canonical = self.canonical(path, params, names, payload)
        if self.signature(KEYS[akid], day, region, service, date, canonical) != claimed:
            return "SignatureDoesNotMatch"
        return None

    # --- answers

    def uncount(self):
        """A part is no longer on its way: from just before its answer, when the next may come."""
        with self.server.cond:
            self.server.in_flight -= self.counted
            self.counted = 0
            self.server.cond.notify_all()

    def answer(self, status, body=b"", headers=()):
        self.uncount()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self):
        """Hang up without a word."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def do_any(self):
        server = self.server
        path, _, query = self.path.partition("?")
        part = re.search(r"\.part\.([0-9]+)$", path)
        event = int(part[1]) if part and self.command == "PUT" else None
        self.counted = 0
        if part and self.command == "PUT":
            self.counted = 1
            with server.cond:
                server.in_flight += 1
                server.most = max(server.most, server.in_flight)
                server.cond.notify_all()
        try:
            self.serve(path, query, event)
        finally:
            self.uncount()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def serve(self, path, query, part):
        server = self.server
        length = int(self.headers["Content-Length"] or 0)
        fault = None
        with server.cond:
            if part is not None and server.faults.get(part):
                fault = server.faults[part].pop(0)
        if fault == "stall":  # the body is not taken, until the client has had enough
            self.record(f"{self.command} {self.path}", None)
            poll = select.poll()
            poll.register(self.connection, select.POLLRDHUP)
            poll.poll(DEADLINE * 1000)
            return self.drop()
        if fault in ("early", "reset"):  # both in the middle of the body
            self.rfile.read(length // 2)
            self.record(f"{self.command} {self.path}", None)
            if fault == "early":
                self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if fault == "reset":
                self.connection.close()
            self.close_connection = True
            return None
        if fault == "cut":  # in the middle of the body
            self.rfile.read(length // 2)
            self.record(f"{self.command} {self.path}", None)
            return self.drop()
        if fault == "slow":  # it takes longer than a silence may
            body = b"".join(self.rfile.read(length // 20) for _ in range(19) if not slowness.wait(0.08))
            body += self.rfile.read(length - len(body))
        else:
            body = self.rfile.read(length)
        if len(body) < length:  # the client hung up
            return self.drop()
        wrong = self.check_signature(path, query, body)
        if wrong:
            server.complaints.append(f"{self.command} {path}: {wrong}")
            return self.answer(403, error("SignatureDoesNotMatch", wrong))
        if path.startswith("/s3/"):
            self.record(f"{self.command} {re.sub('[?]X-Amz-Algorithm=.*', '?signed', self.path)[3:]}",
                        body)
            return self.object_store(path[3:], query, body, part, fault)
        return self.ec2(path, body)

    def record(self, event, body):
        server = self.server
        with server.cond:
            server.events.append(event)
            server.times.append(time.monotonic())
            server.requests.append((self.command, self.path, self.headers, body))
            server.cond.notify_all()

    def object_store(self, path, query, body, part, fault):
        server = self.server
        with server.cond:
            event = f"{self.command} {path}"
            told = server.faults[event].pop(0) if server.faults.get(event) else None
        if told:
            return self.answer(*told)
        if self.command == server.refuses:
            return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        if path.count("/") == 1:
            if self.command == "PUT":
                server.buckets.add(path)
            found = path in server.buckets
            return self.answer(200 if found else 404,
                               b"<ListBucketResult/>" if found else b"<Error><Code>NoSuchBucket</Code></Error>")
        if self.command == "PUT":
            return self.put(path, body, part, fault)
        held = server.objects.get(urllib.parse.unquote(path))
        if held is None:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if self.command == "DELETE":
            del server.objects[urllib.parse.unquote(path)]
            return self.answer(200)
        return self.answer(200, held, self.etag(held))

    def etag(self, body, wrong=False):
        if self.server.sealed:
            return [("ETag", f'"{hashlib.md5(body + b"sealed").hexdigest()}"'),
                    ("x-amz-server-side-encryption", "aws:kms")]
        return [("ETag", '"%s"' % ("0" * 32 if wrong else hashlib.md5(body).hexdigest()))]

    def put(self, path, body, part, fault):
        server = self.server
        md5 = hashlib.md5(body)
        if base64.b64encode(md5.digest()).decode() != self.headers["Content-MD5"]:
            server.complaints.append(f"PUT {path}: Content-MD5 is not the body's")
        if part is not None:
            self.wait_with_others()
        if isinstance(fault, int):
            return self.answer(fault, f"<Error><Code>Fault{fault}</Code><Message>as told</Message></Error>".encode())
        if isinstance(fault, tuple):
            return self.answer(*fault)
        server.objects[urllib.parse.unquote(path)] = body
        return self.answer(200, b"", self.etag(body, fault == "etag"))

    def wait_with_others(self):
        server = self.server
        if server.gate:
            server.gate.wait(DEADLINE)
        with server.cond:
            wanted = server.hold
            if wanted:
                server.cond.wait_for(lambda: not server.hold or server.in_flight >= wanted, 10)
                # One more than allowed would come now, while these are unanswered.
                server.cond.wait_for(lambda: not server.hold or server.in_flight > wanted, 0.4)
                server.hold = None
                server.cond.notify_all()

    def ec2(self, path, body):
        server = self.server
        form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        action = form.get("Action")
        server.calls.append(form)
        self.record(action, body)
        with server.cond:
            fault = server.faults[action].pop(0) if server.faults.get(action) else None
        if fault == "drop":
            return self.drop()
        if fault:
            status, text = fault
            return self.answer(status, text)
        if action == "ImportVolume":
            task = TASK % (form["Image.Format"], form["Image.Bytes"], form["Volume.Size"])
            inner = f"<conversionTask>{task}</conversionTask>"
        elif action == "DescribeConversionTasks":
            items = server.tasks if server.tasks is not None else [TASK % ("RAW", 5, 1)]
            inner = "".join(f"<item>{item}</item>" for item in items)
            inner = f"<conversionTasks>{inner}</conversionTasks>"
        else:
            inner = "<return>true</return>"
        return self.answer(200, (f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2015-10-01/">'
                                 f"<requestId>r</requestId>{inner}</{action}Response>").encode())


# --- helpers of the scenarios


class Current:
    """The stand-in of the scenario that runs, under one name for all of them."""
    one = None

    def __getattr__(self, name):
        return getattr(Current.one, name)

    def __setattr__(self, name, value):
        setattr(Current.one, name, value)


server = Current()
slowness = threading.Event()  # which never comes
scratch = tempfile.mkdtemp(prefix="standin-")  # empty when a scenario begins


def fresh():
    """A new stand-in that has seen nothing; what still arrives at the old one is lost."""
    if Current.one:
        if server.gate:
            server.gate.set()
        server.shutdown()
        server.server_close()
    Current.one = Server()


def environment(**more):
    return euca.environment({"EC2_URL": f"{server.url}/services/compute/", "S3_URL": f"{server.url}/s3/",
                             "AWS_ACCESS_KEY_ID": "AKIDEC2", "AWS_SECRET_ACCESS_KEY": KEYS["AKIDEC2"],
                             "HOME": scratch}, **more)


def start(command, *args, **more):
    return euca.start(environment(), command, *args, **more)


def finish(process):
    return euca.finish(process, DEADLINE)


def run(command, *args, **more):
    return finish(start(command, *args, **more))


def importing(*args, **more):
    return run("euca-import-volume", "-z", "zone-a", *args, **more)


def make_file(name, size):
    path = os.path.join(scratch, name)
    block = os.urandom(MIB)
    with open(path, "wb") as f:
        for i in range(0, size, MIB):
            f.write((i.to_bytes(8, "big") + block[8:])[:min(MIB, size - i)])
    return path


def content(path):
    with open(path, "rb") as f:
        return f.read()


def equal(got, wanted):
    assert got == wanted, f"\n   got: {got!r}\nwanted: {wanted!r}"


def ended(result, status, err=None, out=""):
    """Exit status, standard output and (a part of) standard error are these."""
    assert result[0] == status, result
    equal(result[1], out)
    if err is not None:
        assert err in result[2] if err else result[2] == "", f"{err!r} is not in:\n{result[2]}"


def puts():
    """Numbers of the parts that were PUT, in order of arrival."""
    return [int(e.rsplit(".", 1)[1]) for e in server.events if re.match(r"PUT .*\.part\.\d+$", e)]


def manifest():
    key = next(k for k in server.objects if k.endswith(".manifest.xml"))
    return key, ET.fromstring(server.objects[key])


def uploaded(path):
    """The parts in the store, in the order of the manifest, are the file."""
    key, doc = manifest()
    bucket = "/" + key.split("/")[1] + "/"
    parts = [server.objects[bucket + p.findtext("key")] for p in doc.find("import/parts")]
    assert b"".join(parts) == content(path), "the parts are not the file"
    return parts


def fetch(method, url):
    split = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(split.netloc, timeout=DEADLINE)
    connection.request(method, f"{split.path}?{split.query}")
    reply = connection.getresponse()
    return reply.status, reply.read()


def main(scenarios):
    """Run those the command line names, or all that are called test_…; the exit status."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tests = sys.argv[1:] or [n for n in scenarios if n.startswith("test_")]
    failed = 0
    for name in tests:
        fresh()
        began = time.monotonic()
        try:
            scenarios[name]()
            equal(server.complaints, [])
            print(f"ok      {name} {time.monotonic() - began:.1f} s")
        except Exception:
            failed += 1
            print(f"FAILED  {name}")
            traceback.print_exc(file=sys.stdout)
        finally:
            shutil.rmtree(scratch)
            os.mkdir(scratch)
    os.rmdir(scratch)
    return 1 if failed or not tests else 0
