#!/usr/bin/python3
"""upload - euca-import-volume and its sisters against a scripted stand-in for EC2 and S3.

The stand-in answers on one free loopback port, checks every signature by computing it anew, records
what arrives in which order, and fails where a scenario tells it to.  Each scenario is a function
called test_…; they run one after the other, "upload.py NAME..." runs some.
"""
import base64
import hashlib
import hmac
import http.client
import http.server
import os
import pty
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import xml.etree.ElementTree as ET

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

    def check_signature(self, path, query, body):
        """None when it is right, else what is wrong with it."""
        params = urllib.parse.parse_qsl(query, keep_blank_values=True)
        given = dict(params)
        if "X-Amz-Signature" in given:
            names = given["X-Amz-SignedHeaders"].split(";")
            claimed, credential = given["X-Amz-Signature"], given["X-Amz-Credential"]
            date, payload = given["X-Amz-Date"], "UNSIGNED-PAYLOAD"
            params = [p for p in params if p[0] != "X-Amz-Signature"]
            if int(given["X-Amz-Expires"]) > 604800:
                return "it would live for more than seven days"
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

    def answer(self, status, body=b"", headers=()):
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
        if part and self.command == "PUT":
            with server.cond:
                server.in_flight += 1
                server.most = max(server.most, server.in_flight)
                server.cond.notify_all()
        try:
            self.serve(path, query, event)
        finally:
            if event is not None:
                with server.cond:
                    server.in_flight -= 1
                    server.cond.notify_all()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def serve(self, path, query, part):
        server = self.server
        length = int(self.headers["Content-Length"] or 0)
        fault = None
        with server.cond:
            if part is not None and server.faults.get(part):
                fault = server.faults[part].pop(0)
        if fault == "cut":  # in the middle of the body
            self.rfile.read(length // 2)
            self.record(f"{self.command} {self.path}", None)
            return self.drop()
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
            server.requests.append((self.command, self.path, self.headers, body))
            server.cond.notify_all()

    def object_store(self, path, query, body, part, fault):
        server = self.server
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
        return self.answer(200, held, [("ETag", f'"{hashlib.md5(held).hexdigest()}"')])

    def put(self, path, body, part, fault):
        server = self.server
        md5 = hashlib.md5(body)
        if base64.b64encode(md5.digest()).decode() != self.headers["Content-MD5"]:
            server.complaints.append(f"PUT {path}: Content-MD5 is not the body's")
        if part is not None:
            self.wait_with_others()
        if isinstance(fault, int):
            return self.answer(fault, f"<Error><Code>Fault{fault}</Code><Message>as told</Message></Error>".encode())
        server.objects[urllib.parse.unquote(path)] = body
        etag = "0" * 32 if fault == "etag" else md5.hexdigest()
        return self.answer(200, b"", [("ETag", f'"{etag}"')])

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
            item = f"<item>{TASK % ('RAW', 5, 1)}</item>"
            inner = f"<conversionTasks>{item}</conversionTasks>"
        else:
            inner = "<return>true</return>"
        return self.answer(200, (f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2015-10-01/">'
                                 f"<requestId>r</requestId>{inner}</{action}Response>").encode())


# --- helpers of the scenarios

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TOOLS = os.environ.get("EUCA_TOOLS_DIR") or next(
    (d for d in ("euca-tools", "../euca-tools", TOP + "/build/euca-tools")
     if os.path.exists(d + "/euca-import-volume")), "euca-tools-were-not-built")
server = None
scratch = None


def fresh():
    """A new stand-in that has seen nothing; what still arrives at the old one is lost."""
    global server
    if server:
        if server.gate:
            server.gate.set()
        server.shutdown()
        server.server_close()
    server = Server()


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not re.match("AWS_|EUCA_|EC2_|S3_|.*_proxy$", k)}
    env.update(EC2_URL=f"{server.url}/services/compute/", S3_URL=f"{server.url}/s3/",
               AWS_ACCESS_KEY_ID="AKIDEC2", AWS_SECRET_ACCESS_KEY=KEYS["AKIDEC2"], LC_ALL="C",
               HOME=scratch)
    env.update(more)
    return {k: v for k, v in env.items() if v is not None}


def start(command, *args, **more):
    stderr = more.pop("stderr", subprocess.PIPE)
    return subprocess.Popen([os.path.join(TOOLS, command), *args], env=environment(**more),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                            text=True)


def finish(process):
    try:
        out, err = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert not re.search("Sanitizer|runtime error", err or ""), err
    return process.returncode, out, err


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


# --- scenarios

def test_whole():
    """Order of events, four at a time, contents, manifest, lines."""
    size = 5 * PART + 12345
    path = make_file("disk one.img", size)
    server.hold = 4
    result = importing("-f", "raw", "-b", "my.bucket", "--prefix", "pre/fix/", "-d", "a b+c&d~é", path)
    ended(result, 0, "", LINES % ("RAW", size, 1))

    key, doc = manifest()
    found = re.fullmatch(rf"/my\.bucket/(pre/fix/{UUID})/disk one\.img\.manifest\.xml", key)
    assert found, key
    web = "/my.bucket/" + found[1] + "/disk%20one.img"
    equal(server.events[:5], ["GET /my.bucket?max-keys=0", "PUT /my.bucket", "ImportVolume",
                              f"GET {web}.manifest.xml", f"PUT {web}.manifest.xml"])
    equal(sorted(server.events[5:]), [f"PUT {web}.part.{n}" for n in range(6)])
    equal(server.most, 4)
    equal([len(p) for p in uploaded(path)], [PART] * 5 + [12345])

    form = server.calls[0]
    url = form.pop("Image.ImportManifestUrl")
    equal(form, {"Action": "ImportVolume", "Version": "2015-10-01", "AvailabilityZone": "zone-a",
                 "Image.Format": "RAW", "Image.Bytes": str(size), "Volume.Size": "1",
                 "Description": "a b+c&d~é"})
    equal(fetch("GET", url), (200, server.objects[key]))

    equal(doc.findtext("version"), "2010-11-15")
    equal(doc.findtext("file-format"), "RAW")
    equal(doc.findtext("import/size"), str(size))
    equal(doc.findtext("import/volume-size"), "1")
    parts = doc.find("import/parts")
    equal((parts.get("count"), len(parts)), ("6", 6))
    for n, part in enumerate(parts):
        equal((part.get("index"), part.find("byte-range").attrib),
              (str(n), {"start": str(n * PART), "end": str(min((n + 1) * PART, size) - 1)}))
        equal(part.findtext("key"), f"{found[1]}/disk one.img.part.{n}")
        assert "X-Amz-Expires=604800&" in part.findtext("get-url")
    last = parts[5]
    equal(fetch("GET", last.findtext("get-url")), (200, content(path)[5 * PART:]))
    equal(fetch("HEAD", last.findtext("head-url"))[0], 200)
    equal(fetch("DELETE", last.findtext("delete-url"))[0], 200)
    equal(fetch("DELETE", doc.findtext("self-destruct-url"))[0], 200)
    equal(server.complaints, [])
    equal(fetch("GET", last.findtext("delete-url"))[0], 403)
    server.complaints.clear()


def test_memory():
    """No part is ever held in memory: four would be 40 MiB."""
    def peak(size):
        fresh()
        server.gate = threading.Event()
        path = make_file("disk.img", size)
        process = start("euca-import-volume", "-z", "zone-a", "-f", "raw", "-b", "b", path)
        server.wait(lambda: len(puts()) == (size + PART - 1) // PART, "all parts are there, unanswered")
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            kib = int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1])
        server.gate.set()
        equal(finish(process)[0], 0)
        return kib

    more = peak(4 * PART) - peak(4)
    assert more < 20 * 1024, f"{more} KiB more than for a tiny file"


def test_faults_heal():
    """A 503, a wrong ETag, a connection cut in the middle, damage told by S3: each part again."""
    path = make_file("disk.img", 4 * PART + 1)
    server.buckets.add("/b")
    server.faults = {0: [503], 1: ["etag"], 2: ["cut"], 3: [500, "cut"]}
    ended(importing("-f", "raw", "-b", "b", path), 0, "", LINES % ("RAW", 4 * PART + 1, 1))
    equal([puts().count(n) for n in range(5)], [2, 2, 2, 3, 1])
    assert "PUT /b" not in server.events, "the bucket was there"
    uploaded(path)


def test_refused_part():
    """A 403 is not tried again, stops the upload, and the task that remains is named."""
    path = os.path.join(scratch, "disk.img")
    with open(path, "wb") as f:
        f.truncate(30 * PART)
    server.faults = {1: [403]}
    result = importing("-f", "raw", "-b", "b", path)
    ended(result, 1, "euca-import-volume: error (Fault403): as told\n")
    assert "euca-cancel-conversion-task import-vol-1a2b3c4d\n" in result[2], result[2]
    equal(puts().count(1), 1)
    assert len(puts()) < 20, "the other parts went on"


def test_import_volume_is_not_sent_twice():
    """After an answer that was lost the task may exist: one request, and the user is told."""
    path = make_file("disk.img", 1000)
    for fault, text in (("drop", "error: connection error ("), ((502, b""), "error (502): Bad Gateway")):
        fresh()
        server.faults = {"ImportVolume": [fault]}
        result = importing("-f", "raw", "-b", "b", path)
        ended(result, 1, text)
        assert "may have made its task" in result[2], result[2]
        equal(len(server.calls), 1)
        assert not server.objects
    fresh()
    server.faults = {"ImportVolume": [(500, error("InternalError", "out of order"))]}
    ended(importing("-f", "raw", "-b", "b", path), 1,
          "euca-import-volume: error (InternalError): out of order\n")
    equal(len(server.calls), 1)


def test_import_volume_is_sent_again():
    """503 says that nothing was done."""
    path = make_file("disk.img", 1000)
    busy = (503, error("RequestLimitExceeded", "Request limit exceeded."))
    server.faults = {"ImportVolume": [busy, busy]}
    ended(importing("-f", "raw", "-b", "b", path), 0, "", LINES % ("RAW", 1000, 1))
    equal(len(server.calls), 3)
    fresh()
    server.faults = {"ImportVolume": [busy, busy, busy]}
    ended(importing("-f", "raw", "-b", "b", path), 1,
          "euca-import-volume: error (RequestLimitExceeded): Request limit exceeded.\n")
    equal(len(server.calls), 3)


def test_refused_import():
    """The service's words, and nothing is uploaded."""
    path = make_file("disk.img", 1000)
    server.faults = {"ImportVolume": [(400, error("InvalidParameterValue", "no such &lt;zone&gt;"))]}
    ended(importing("-f", "raw", "-b", "b", path), 1,
          "euca-import-volume: error (InvalidParameterValue): no such <zone>\n")
    equal(server.events[-1], "ImportVolume")


def test_bad_files_send_nothing():
    """Everything wrong with a file is found before the first request."""
    def vmdk(flags=3 << 16, capacity=4096, gd=20, unclean=0, compression=1, magic=b"KDMV"):
        header = bytearray(512)
        header[0:4] = magic
        header[8:12] = flags.to_bytes(4, "little")
        header[12:20] = capacity.to_bytes(8, "little")
        header[56:64] = gd.to_bytes(8, "little")
        header[72] = unclean
        header[77:79] = compression.to_bytes(2, "little")
        return bytes(header)

    at_end = (1 << 64) - 1
    name = os.path.join(scratch, "image")
    cases = [
        ("vmdk", vmdk()[:511], "File {} is to small to be a valid Stream Optimized VMDK"),
        ("vmdk", vmdk(gd=at_end) + bytes(1023), "File {} is to small to be a valid Stream Optimized VMDK"),
        ("vmdk", bytes(4096), "File {} is not a Stream Optimized VMDK"),
        ("vmdk", vmdk(flags=2 << 16), "File {} does not contain compressed parts"),
        ("vmdk", vmdk(flags=1 << 16), "File {} does not have all data present"),
        ("vmdk", vmdk(unclean=1), "File {} marked with unclean shutdown"),
        ("vmdk", vmdk(compression=2), "File {} uses unsupported compression algorithm"),
        ("vmdk", vmdk(gd=at_end) + vmdk(unclean=1) + bytes(512), "File {} marked with unclean shutdown"),
        ("vmdk", vmdk(capacity=1 << 60), "File {} has a capacity of 1152921504606846976 sectors"),
        ("vmdk", vmdk(capacity=0), "File {} holds a disk of 0 bytes"),
        ("vhd", bytes(511), "File {} is too small to be a VHD"),
        ("vhd", bytes(1024), "File {} is not a VHD"),
        ("vhd", b"conectix" + bytes(504), "File {} has a damaged VHD footer"),
        ("raw", b"", "'{}' is empty"),
    ]
    for form, data, text in cases:
        with open(name, "wb") as f:
            f.write(data)
        ended(importing("-f", form, "-b", "b", name), 1,
              "euca-import-volume: error: " + text.format(name))
    os.mkdir(name + ".d")
    os.mkfifo(name + ".fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name + ".sock")
    for special in (name + ".d", name + ".fifo", name + ".sock", "/dev/null"):
        ended(importing("-f", "raw", "-b", "b", special), 1,
              f"euca-import-volume: error: '{special}' does not have a usable file size\n")
    ended(importing("-f", "raw", "-b", "b", name + ".not"), 1,
          f"euca-import-volume: error: No such file or directory: {name}.not\n")
    equal(server.events, [])

    # The same cases with everything right are sent.
    def vhd(size):
        footer = bytearray(b"conectix" + bytes(504))
        footer[48:56] = size.to_bytes(8, "big")
        footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
        return bytes(footer)

    good = [("VmDk", vmdk(capacity=4097), [], ("VMDK", 4097 * 512, 1)),
            ("vmdk", vmdk(gd=at_end, capacity=0) + vmdk(capacity=3 << 21) + bytes(512), [], ("VMDK", 3 << 30, 3)),
            ("vhd", bytes(512) + vhd((1 << 30) + 512), [], ("VHD", (1 << 30) + 512, 2)),
            ("vmdk", b"anything", ["--image-size", "2GB"], ("VMDK", 2 << 30, 2)),
            ("qcow2", b"anything", ["--image-size", "25m", "-s", "7"], ("qcow2", 25 << 20, 7))]
    for form, data, options, wanted in good:
        with open(name, "wb") as f:
            f.write(data)
        ended(importing("-f", form, "-b", "b", "--no-upload", *options, name), 0, "", LINES % wanted)
    equal(server.objects, {})


def test_changing_file():
    """A file that changes while it is uploaded is an error, never a strange volume."""
    for size in (PART, 2 * PART + 7):
        fresh()
        server.gate = threading.Event()
        path = make_file("disk.img", 6 * PART)
        process = start("euca-import-volume", "-f", "raw", "-z", "z", "-b", "b", path)
        server.wait(lambda: server.in_flight >= 1, "a part arrives")
        os.truncate(path, size)
        server.gate.set()
        result = finish(process)
        ended(result, 1, f"error: '{path}' changed while it was uploaded")
    fresh()
    server.gate = threading.Event()
    path = make_file("disk.img", 100)
    process = start("euca-import-volume", "-f", "raw", "-z", "z", "-b", "b", path)
    server.wait(lambda: len(puts()) == 1, "the part is there, unanswered")
    with open(path, "r+b") as f:  # same size
        f.write(b"other bytes")
    server.gate.set()
    ended(finish(process), 1, f"error: '{path}' was written to while it was uploaded")


def test_interrupt():
    """Stops at once with 130, and says which task remains."""
    for number in (signal.SIGINT, signal.SIGTERM):
        fresh()
        server.gate = threading.Event()
        path = make_file("disk.img", 6 * PART)
        process = start("euca-import-volume", "-f", "raw", "-z", "z", "-b", "b", path)
        server.wait(lambda: len(puts()) == 4, "four parts are there, unanswered")
        process.send_signal(number)
        began = time.monotonic()
        result = finish(process)
        took = time.monotonic() - began
        server.gate.set()
        ended(result, 130, "task import-vol-1a2b3c4d remains")
        assert "euca-cancel-conversion-task import-vol-1a2b3c4d\n" in result[2], result[2]
        assert took < 5, f"it took {took} s"
        equal(sorted(puts()), [0, 1, 2, 3])


def test_resume():
    """An existing manifest is followed; only what is missing or damaged is sent."""
    path = make_file("disk.img", 5 * PART + 5)
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    key, _ = manifest()
    base = key[:-len(".manifest.xml")]
    before = server.objects[key]
    del server.objects[base + ".part.1"]
    server.objects[base + ".part.3"] = server.objects[base + ".part.3"][:-1]
    server.objects[base + ".part.4"] = bytes(PART)
    server.events.clear()
    url = f"{server.url}/s3{key}"
    result = importing("-f", "raw", "--manifest-url", url, path)
    ended(result, 0, "", LINES % ("RAW", 5 * PART + 5, 1))
    equal(server.calls[-1]["Image.ImportManifestUrl"], url)
    equal(server.events[:2], ["ImportVolume", f"GET {key}"])
    equal(sorted(server.events[2:]), sorted([f"HEAD {base}.part.{n}" for n in range(6)] +
                                            [f"PUT {base}.part.{n}" for n in (1, 3, 4)]))
    for n in (1, 3, 4):
        assert server.events.index(f"HEAD {base}.part.{n}") < server.events.index(f"PUT {base}.part.{n}")
    equal(server.objects[key], before)
    uploaded(path)

    other = make_file("other.img", 5 * PART + 4)
    ended(importing("-f", "raw", "--manifest-url", url, other), 2,
          f'euca-import-volume: error: file "{other}" is not the same size as the file the import '
          f"started with (expected: {5 * PART + 5}, actual: {5 * PART + 4})\n")


def test_manifest_url():
    """A manifest to be, under a key of the user's; URLs elsewhere are refused, or just passed on."""
    path = make_file("disk.img", 1000)
    for key, parts in (("/b/some%20where/m.xml", "/b/some where/disk.img.part.0"),
                       ("/b/flat", "/b/flat/disk.img.part.0")):
        fresh()
        url = f"{server.url}/s3{key}?AWSAccessKeyId=x&Signature=y"
        equal(importing("-f", "raw", "--manifest-url", url, path)[0], 0)
        equal(server.events[:3], ["ImportVolume", f"GET {key}", f"PUT {key}"])
        equal(server.objects[parts], content(path))
        equal(server.calls[0]["Image.ImportManifestUrl"], url)
    fresh()
    url = "http://elsewhere.example/b/m.xml"
    ended(importing("-f", "raw", "--manifest-url", url, path), 1,
          f"euca-import-volume: error: URL '{url}' matches no known object storage endpoints.  "
          "Supply one via the command line or configuration.\n")
    equal(server.events, [])
    ended(importing("-f", "raw", "--manifest-url", url, "--no-upload", path, S3_URL=None), 0, "",
          LINES % ("RAW", 1000, 1))
    equal(server.events, ["ImportVolume"])


def test_object_store_refuses():
    """What the object store says is told, in its words or its status."""
    path = make_file("disk.img", 1000)
    ended(importing("-f", "raw", "-b", "b", "-o", "AKIDS3", "-w", "wrong", path), 1,
          "euca-import-volume: error (SignatureDoesNotMatch): ")
    equal(server.calls, [])
    server.complaints.clear()


def test_dry_run():
    """The service checks too; one that does not know dry runs made a task, and that is said."""
    path = make_file("disk.img", 1000)
    server.faults = {"ImportVolume": [(412, error("DryRunOperation", "Request would have succeeded")),
                                      (400, error("InvalidFormat", "no"))]}
    ended(importing("-f", "raw", "-b", "b", "--dry-run", path), 0, "")
    equal(server.calls[0]["DryRun"], "true")
    ended(importing("-f", "raw", "-b", "b", "--dry-run", path), 1, "error (InvalidFormat): no\n")
    ended(importing("-f", "raw", "-b", "b", "--dry-run", path), 1,
          "euca-cancel-conversion-task import-vol-1a2b3c4d\n")
    equal(server.events, ["ImportVolume"] * 3)


def test_progress():
    """Lines when asked for without a terminal, a bar on one, silence with --no-progress."""
    path = make_file("disk.img", PART + 1)
    result = importing("-f", "raw", "-b", "b", "--progress", path)
    ended(result, 0, "euca-import-volume: disk.img: 100%  10.0 MiB of 10.0 MiB", LINES % ("RAW", PART + 1, 1))

    def on_terminal(*options):
        ours, theirs = pty.openpty()
        process = start("euca-import-volume", "-z", "z", "-f", "raw", "-b", "b", *options, path, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # how Linux tells that the other end is closed
                break
            if not data:
                break
            shown += data
        os.close(ours)
        equal(finish(process)[:2], (0, LINES % ("RAW", PART + 1, 1)))
        return shown.decode()

    shown = on_terminal()
    assert re.search(r"\rdisk\.img \[=+\] 100%  10\.0 MiB of 10\.0 MiB  \S+ \S+/s\x1b\[K\r\n$", shown), repr(shown)
    equal(on_terminal("--no-progress"), "")


def test_describe_and_cancel():
    """The small commands: ids, lines, the server's errors, retries; also by their other names."""
    ended(run("euca-describe-conversion-tasks", "import-vol-1", "import-vol-2"), 0, "", LINES % ("RAW", 5, 1))
    equal(server.calls[-1], {"Action": "DescribeConversionTasks", "Version": "2015-10-01",
                             "ConversionTaskId.1": "import-vol-1", "ConversionTaskId.2": "import-vol-2"})
    ended(run("ec2-describe-conversion-tasks", "--show-empty-fields"), 0, "", LINES % ("RAW", 5, 1))
    equal(set(server.calls[-1]), {"Action", "Version"})
    ended(run("euca-tools", "cancel-conversion-task", "import-vol-1"), 0, "")
    equal(server.calls[-1], {"Action": "CancelConversionTask", "Version": "2015-10-01",
                             "ConversionTaskId": "import-vol-1"})
    unknown = (400, error("InvalidConversionTaskId", "unknown"))
    for command in ("describe-conversion-tasks", "cancel-conversion-task"):
        action = "".join(w.capitalize() for w in command.split("-"))
        fresh()
        server.faults = {action: [unknown]}
        ended(run("ec2-" + command, "import-vol-9"), 1,
              f"ec2-{command}: error (InvalidConversionTaskId): unknown\n")
        fresh()
        server.faults = {action: [(500, b""), "drop"]}
        equal(run("euca-" + command, "import-vol-9")[0], 0)
        equal(len(server.calls), 3)
        fresh()
        server.faults = {action: [(500, b"")] * 3}
        ended(run("euca-" + command, "import-vol-9"), 1, f"euca-{command}: error (500): Internal Server Error\n")
        equal(len(server.calls), 3)
    server.faults = {"DescribeConversionTasks": [(200, b"<html>hello</html>")]}
    ended(run("euca-describe-conversion-tasks"), 1, "holds no conversion tasks")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        ended(run("euca-describe-conversion-tasks", "-U", url), 1,
              "euca-describe-conversion-tasks: error: connection error (")


def test_credentials():
    """Where keys, endpoints and regions come from, and which come first."""
    file = os.path.join(scratch, "credentials")
    with open(file, "w", encoding="ascii") as f:
        f.write("# mine\n AWSAccessKeyId = AKIDS3 # yes\nAWSSecretKey=s3secret\r\nAWSSecretKey=other\n")
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}

    def scope(*args, **more):
        server.scopes.clear()
        equal(run("euca-cancel-conversion-task", "x", *args, **more)[::2], (0, ""))
        return server.scopes[0]

    undefined = scope()
    equal((undefined[0], undefined[2:]), ("AKIDEC2", ("ec2", None)))
    assert re.fullmatch(r"undefined-\d+", undefined[1])
    equal(scope("-I", "AKIDS3", "-S", "s3secret")[0], "AKIDS3")
    equal(scope(AWS_CREDENTIAL_FILE=file)[0], "AKIDEC2")
    equal(scope(AWS_CREDENTIAL_FILE=file, AWS_SECRET_ACCESS_KEY=None)[0], "AKIDS3")
    equal(scope(AWS_CREDENTIAL_FILE="~/credentials", **none)[0], "AKIDS3")
    equal(scope(AWS_ACCESS_KEY="AKIDS3", AWS_SECRET_KEY="s3secret", **none)[0], "AKIDS3")
    equal(scope(AWS_SECURITY_TOKEN="tok/en==")[3], "tok/en==")
    equal(scope("--security-token", "opt", AWS_SECURITY_TOKEN="env")[3], "opt")
    equal(scope(AWS_AUTH_REGION="auth")[1], "auth")
    equal(scope(AWS_AUTH_REGION="auth", AWS_DEFAULT_REGION="aws")[1], "aws")
    equal(scope(EUCA_DEFAULT_REGION="me@euca", AWS_DEFAULT_REGION="aws")[1], "euca")
    equal(scope("--region", "me@option", EUCA_DEFAULT_REGION="euca")[1], "option")
    equal(scope("--region", "option", EC2_URL=f"named::{server.url}/services/compute/")[1], "named")
    equal(scope("-U", server.url, EC2_URL="http://127.0.0.1:9/")[0], "AKIDEC2")
    path = make_file("disk.img", 10)
    server.scopes.clear()
    equal(importing("-f", "raw", "-b", "b", "-o", "AKIDS3", "-w", "s3secret", "--s3-url", f"r::{server.url}/s3",
                    path, S3_URL=None, AWS_SECURITY_TOKEN="token")[0], 0)
    equal(set(s[::2] + s[3:] + (s[1],) for s in server.scopes if s[2] == "s3"), {("AKIDS3", "s3", None, "r")})
    equal([s[3] for s in server.scopes if s[2] == "ec2"], ["token"])


def main():
    global scratch
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tests = sys.argv[1:] or [n for n in globals() if n.startswith("test_")]
    failed = 0
    for name in tests:
        scratch = tempfile.mkdtemp(prefix="upload-")
        fresh()
        began = time.monotonic()
        try:
            globals()[name]()
            equal(server.complaints, [])
            print(f"ok      {name} {time.monotonic() - began:.1f} s")
        except Exception:
            failed += 1
            print(f"FAILED  {name}")
            traceback.print_exc(file=sys.stdout)
        finally:
            shutil.rmtree(scratch)
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
