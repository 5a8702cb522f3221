"""faults - an upload on a web server with scripted faults, and the toolkit let loose on it.

    with faults.Bench() as bench:
        bench.check("503", "GET", 1)   # the first GET of one part is answered with 503

A cell is a kind of fault, where it strikes and how often; `expected` says what must come of it: the exit
status, the code of the failure, and how often that request is made, exactly.  Whatever happens, a volume
has the upload's bytes or does not exist.
"""
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from xml.sax.saxutils import escape

LIB = os.path.dirname(os.path.abspath(__file__))
TOOLKIT = os.environ.get("IMAGING_TOOLKIT") or os.path.join(
    LIB, "../../build/imaging-toolkit/imaging-toolkit")
DEADLINE_S = 300

PART, PARTS, ODD = 60000, 4, 1  # bytes of a part, parts, and the part that is struck
LARGE = 11 << 20                # a part that is fetched in ranges
ALWAYS = 1000000

WHERE = ("manifest", "HEAD", "GET", "DELETE", "self-destruct")
# Before the first byte is read questions are put twice, later eight times; damaged bytes are asked for
# three times at most.
TRIES = {"manifest": 2, "HEAD": 2, "GET": 8, "DELETE": 8, "self-destruct": 8}

SLOW = ("silent", "stall", "drip")
# kind: what the server is told to do, and what the failure is called
HEALING = {
    "resetfirst": "ConnectionFailed", "resethead": "ConnectionFailed", "resetbody": "ConnectionFailed",
    "cut": "ConnectionFailed", "500": "ServerBusy", "502": "ServerBusy", "503": "ServerBusy",
    "504": "ServerBusy", "503+after": "ServerBusy",
    "silent": "TimedOut", "stall": "TimedOut", "drip": "TimedOut",
}
FINAL = {"403": "AccessDenied", "404": "PendingUpload", "416": "DownloadFailed"}
DAMAGING = ("short", "long", "wrongetag", "wrongrange", "xml", "gzip")
KINDS = (*HEALING, *FINAL, *DAMAGING)
BODY_FAULTS = ("resetbody", "cut", "stall")  # an answer to HEAD has no body
# Random runs: anything but what takes long
ANY = [kind for kind in KINDS if kind not in SLOW] + ["corrupt", "changed", "noetag", "weaketag", "nosize",
                                                      "short+nosize", "long+noetag", "429"]

OK, INPUT, INVALID, TRANSIENT = 0, 3, 4, 6


def expected(kind, where, times):
    """(exit status, code, requests) of a cell; None when the fault cannot strike there."""
    tries = TRIES[where]
    deletes = where in ("DELETE", "self-destruct")
    if kind in BODY_FAULTS and where == "HEAD":
        return None
    if kind in FINAL:
        if deletes and kind == "404":
            return OK, "", 1
        return INPUT, "NotFound" if deletes and kind == "404" else FINAL[kind], 1
    code, status = HEALING.get(kind), TRANSIENT
    if kind == "xml" and where != "GET" and where != "HEAD":  # the document is read: 200 is no success
        code = "ServerBusy"
    elif code is None:
        if deletes:
            return OK, "", 1
        if kind == "wrongrange" and where != "GET":
            return OK, "", 1
        status, code, tries = INVALID, "DamagedPart", min(tries, 3)
        if where == "manifest":
            code = "InvalidManifest"
        elif where == "HEAD" and kind == "wrongetag":  # it is believed, and the part does not have it
            return status, code, 1
    if where == "manifest" and status == TRANSIENT:
        code = "StoreAway"
    return (OK, "", times + 1) if times < tries else (status, code, tries)


class Bench:
    """The server, the upload on it, and a directory for volumes.  stall_s: how long the toolkit waits
    for bytes; haste: what it divides its pauses by."""

    def __init__(self, stall_s=60, haste=1000):
        self.dir = tempfile.mkdtemp(prefix="faults.")
        self.files, self.out = os.path.join(self.dir, "files"), os.path.join(self.dir, "out")
        os.mkdir(self.files)
        os.mkdir(self.out)
        self.environment = {**os.environ, "IMAGING_STALL_SECONDS": str(stall_s),
                            "IMAGING_HASTE": str(haste)}
        self.server = subprocess.Popen([sys.executable, os.path.join(LIB, "fault-server.py"), self.files],
                                       stdout=subprocess.PIPE)
        self.port = int(self.server.stdout.readline())
        self.cells = 0
        self.runs = 0
        self.bytes = random.Random(1).randbytes(PART * PARTS)
        self.large = self.bytes[:PART] + random.Random(2).randbytes(LARGE)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        shutil.rmtree(self.dir)

    # -- the upload

    def url(self, script, name, base=None):
        """Each cell has paths of its own: the server counts by path.  All lie in one directory, as
        what may be deleted must."""
        fault, star, times = script.partition("*")
        return f"{base or f'http://127.0.0.1:{self.port}'}/in/{fault}+cell{self.cells}{star}{times},{name}"

    def put(self, name, data):
        with open(os.path.join(self.files, name), "wb") as file:
            file.write(data)

    def upload(self, scripts, large=False, base=None):
        """Lay an upload on the server; scripts: of "manifest" and of part numbers, "ok" where there is
        none.  base: of the part ODD's get-url or head-url, as {"GET": "https://…"}.  Its URL."""
        data = self.large if large else self.bytes
        ranges = [(0, PART), (PART, len(data))] if large else [(i * PART, (i + 1) * PART)
                                                               for i in range(PARTS)]
        parts = ""
        for i, (start, end) in enumerate(ranges):
            self.put(f"part{i}", data[start:end])
            script = scripts.get(i, "ok")
            urls = "".join(f"<{verb.lower()}-url>"
                           + escape(self.url(script, f"part{i}", base.get(verb) if base and i == ODD else None))
                           + f"?Signature=secret</{verb.lower()}-url>" for verb in ("HEAD", "GET", "DELETE"))
            parts += (f'<part index="{i}"><byte-range start="{start}" end="{end - 1}"/>'
                      f"<key>part{i}</key>{urls}</part>")
        url = self.url(scripts.get("manifest", "ok"), "manifest.xml") + "?Signature=secret"
        self.put("manifest.xml", (
            "<?xml version='1.0' encoding='UTF-8'?><manifest><version>2010-11-15</version><file-format>RAW"
            "</file-format><importer><name>test</name><version>1</version><release>0</release></importer>"
            f"<self-destruct-url>{escape(url)}</self-destruct-url><import><size>{len(data)}</size>"
            f"<volume-size>1</volume-size><parts count=\"{len(ranges)}\">{parts}</parts></import></manifest>"
            ).encode())
        self.put("log", b"")
        return url

    def requests(self, method, name):
        with open(os.path.join(self.files, "log"), encoding="latin-1") as log:
            return sum(line.startswith(f"{method}\t") and line.split("\t")[1].split("?")[0].endswith(name)
                       for line in log)

    # -- the toolkit

    def run(self, command, job):
        """`imaging-toolkit COMMAND` with a job; its exit status and the code of its failure."""
        read, write = os.pipe()
        with open(read, encoding="utf-8") as progress:
            process = subprocess.Popen([TOOLKIT, command, "--progress-fd", str(write)],
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, pass_fds=(write,), env=self.environment)
            os.close(write)
            watchdog = threading.Timer(DEADLINE_S, process.kill)
            watchdog.start()
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            events = [json.loads(line) for line in progress]
            words = process.stderr.read().decode()
            process.stderr.close()
            status = process.wait()
            watchdog.cancel()
        self.runs += 1
        assert "secret" not in words, words
        assert "Sanitizer" not in words and "runtime error" not in words, words
        return status, "".join(event["code"] for event in events if event["event"] == "error")

    def convert(self, url, large=False):
        """Import the upload: (status, code); a volume is right, or there is nothing at all."""
        volume = os.path.join(self.out, "volume.raw")
        result = self.run("run", {"source": "manifest:" + url, "format": "raw", "store": volume})
        left = sorted(os.listdir(self.out))
        if result[0] == OK:
            with open(volume, "rb") as file:
                assert file.read() == (self.large if large else self.bytes), "a wrong byte"
            for name in left:
                assert name.startswith("volume.raw"), left
                os.unlink(os.path.join(self.out, name))
        else:
            assert not left, left
        return result

    # -- cells

    def check(self, kind, where, times):
        """One cell; False when there is none.  The outcome must be the expected one."""
        want = expected(kind, where, times)
        if want is None:
            return False
        self.cells += 1
        method = {"manifest": "GET", "self-destruct": "DELETE"}.get(where, where)
        script = f"{method}:{kind}" + ("" if times == ALWAYS else f"*{times}")
        subject = "manifest.xml" if where in ("manifest", "self-destruct") else f"part{ODD}"
        scripts = {"manifest" if subject == "manifest.xml" else ODD: script}
        large = kind == "wrongrange" and where == "GET"
        url = self.upload(scripts, large)
        if where in ("DELETE", "self-destruct"):
            status, code = self.run("delete-upload", {"manifest": url})
            left = set(os.listdir(self.files)) - {"log"}
            if kind != "404":  # which is a lie here
                assert status != OK or not left, left
                assert "manifest.xml" in left or not left, left  # it goes last
        else:
            status, code = self.convert(url, large)
        have = status, code, self.requests(method, subject)
        most = want[2]
        if large:  # two ranges: both may fail
            most *= 2
        if kind == "resetfirst" and times == ALWAYS:
            # libcurl by itself repeats once what was sent on a kept connection that proved dead
            most += 1
        assert have[:2] == want[:2] and want[2] <= have[2] <= most, (
            f"{kind} at {where}, {times} times: {have} instead of {want}")
        return True

    def check_refused(self, where):
        """Nobody listens."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            self._check_base(where, f"http://127.0.0.1:{closed.getsockname()[1]}", "ConnectionFailed")

    def check_tls(self, where):
        """Somebody listens who knows no TLS and hangs up; counts how often."""
        count = 0

        def serve():
            nonlocal count
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                count += 1
                connection.recv(1024)
                connection.sendall(b"\x15\x03\x01\x00\x02\x02\x28")  # an alert: handshake_failure
                connection.close()

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=serve)
            thread.start()
            try:
                self._check_base(where, f"https://127.0.0.1:{server.getsockname()[1]}", "ConnectionFailed")
            finally:
                server.shutdown(socket.SHUT_RDWR)
                thread.join()
        assert count == TRIES[where], (where, count)

    def _check_base(self, where, base, code):
        self.cells += 1
        url = self.upload({}, base={where: base})
        if where == "manifest":
            url, code = self.url("ok", "manifest.xml", base), "StoreAway"
        have = self.convert(url)
        assert have == (TRANSIENT, code), (where, base, have)

    def check_random(self, dice):
        """Some faults anywhere; True when a volume came of it nevertheless."""
        self.cells += 1
        scripts = {}
        for subject in ["manifest", *range(PARTS)]:
            if dice.random() < 0.5:
                method = "GET" if subject == "manifest" else dice.choice(("HEAD", "GET"))
                kinds = dice.sample(ANY, dice.randint(1, 2))
                if subject == "manifest" and "corrupt" in kinds:
                    kinds = ["corrupt"]  # without its ETag nobody could tell, and it might lead anywhere
                scripts[subject] = f"{method}:{'+'.join(kinds)}*{dice.randint(1, 4)}"
        status, code = self.convert(self.upload(scripts))
        assert status in (OK, INPUT, INVALID, TRANSIENT) and bool(code) == (status != OK), (scripts, status, code)
        return status == OK
