#!/usr/bin/python3
"""/live, /ready and /metrics of a real service: what each says, when, and that every count moves."""
import http.client
import os
import re
import signal
import subprocess
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import DESCRIBE, FORM, IMPORT  # noqa: E402
from tasks import Tasks  # noqa: E402

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
                    r'(?:,(?=[a-z])|(?=\})))+)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|\+Inf|NaN)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"')
LATENCY = "imaging_request_duration_seconds"


def parse(text):
    """Text format 0.0.4, strictly: {(name, labels): value}.  Families are whole, with HELP and TYPE
    first, and no series stands twice."""
    assert text.endswith("\n")
    lines, families, series = text[:-1].split("\n"), {}, {}
    helped = family = None
    for line in lines:
        if line.startswith("# HELP "):
            helped = re.fullmatch(r"# HELP (\S+) \S.*", line)[1]
            assert helped not in families, line
            continue
        if line.startswith("# TYPE "):
            family, kind = re.fullmatch(r"# TYPE (\S+) (counter|gauge|histogram)", line).groups()
            assert family == helped and re.fullmatch(r"imaging_[a-z_]+", family), line
            assert family.endswith("_total") == (kind == "counter"), line
            families[family] = kind
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, labels = found[1], tuple(LABEL.findall(found[2] or ""))
        ends = ("_bucket", "_sum", "_count") if families[family] == "histogram" else ("",)
        assert name in [family + end for end in ends], line
        assert (name, labels) not in series, line
        assert float(found[3]) >= 0, line
        series[name, labels] = float(found[3])
    check_histogram(series)
    return series


def check_histogram(series):
    actions = {labels[0][1] for name, labels in series if name == LATENCY + "_count"}
    assert "DescribeConversionTasks" in actions and "other" in actions
    for action in actions:
        buckets = [(float(labels[1][1].replace("+Inf", "inf")), value)
                   for (name, labels), value in series.items()
                   if name == LATENCY + "_bucket" and labels[0][1] == action]
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
        assert [v for _, v in buckets] == sorted(v for _, v in buckets)
        assert buckets[-1][1] == series[LATENCY + "_count", (("action", action),)]


class Client:
    """Asks one service's status address."""

    def __init__(self, one):
        self.host = "%s:%s" % re.search(r"^Its status is at (\S+) port (\d+):", one.printed, re.M).groups()

    def get(self, path, method="GET"):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers
        finally:
            connection.close()

    def metrics(self):
        status, text, headers = self.get("/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        return parse(text)

    def metric(self, name, **labels):
        return self.metrics().get((name, tuple(labels.items())), 0)

    def ready(self):
        """None when it is, else the reasons."""
        status, text, _ = self.get("/ready")
        assert text.split("\n", 1)[0] == ("ready" if status == 200 else "not ready"), text
        return None if status == 200 else text.splitlines()[1:]


class Counts(Tasks):
    options = ("--status-listen", "127.0.0.1:0")
    config = ('rate "CreateTags" { requests-per-second = 1  burst = 1 }\n'
              "limits { connections-per-address = 40 }")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = Client(cls.service)

    def moves(self, by, name, **labels):
        """A with-block in which that series moves by so much (None: at all), within a while."""
        return Moves(self, by, name, labels)

    def test_requests_and_their_time(self):
        with self.moves(2, "imaging_requests_total", action="DescribeConversionTasks", code="200"), \
                self.moves(2, LATENCY + "_count", action="DescribeConversionTasks"), \
                self.moves(None, LATENCY + "_sum", action="DescribeConversionTasks"):
            self.call(DESCRIBE)
            self.call(DESCRIBE)
        with self.moves(1, "imaging_requests_total", action="DescribeConversionTasks", code="400"):
            self.call({**DESCRIBE, "Version": "x"})
        with self.moves(1, "imaging_requests_total", action="other", code="400"):
            self.call({**DESCRIBE, "Action": 'Fly"} 1'})
        with self.moves(1, "imaging_requests_total", action="other", code="404"):
            sign.send(self.host, "GET", "/nothing")
        self.assertNotIn("Fly", self.client.get("/metrics")[1])

    def test_the_log_names_action_and_account(self):
        self.call(DESCRIBE)
        self.assertRegex(self.service.log_text(),
                         r"info: POST / DescribeConversionTasks, account \d{12}: 200, request ")
        self.call({**DESCRIBE, "Action": "Fly"})
        self.assertRegex(self.service.log_text(), r"info: POST /, account \d{12}: 400, request ")

    def test_objects(self):
        def s3(method, target, body=b""):
            return sign.send(self.host, method, target, sign.v4(
                self.key, self.secret, method, self.host, target, "", body, service="s3"), body)
        for method, target, action, code in (
                ("PUT", "/objects/counted", "CreateBucket", 200),
                ("PUT", "/objects/counted/x", "PutObject", 200),
                ("GET", "/objects/counted/x", "GetObject", 200),
                ("HEAD", "/objects/counted/y", "HeadObject", 404),
                ("GET", "/objects/counted", "ListObjects", 200), ("GET", "/objects/", "ListBuckets", 200),
                ("DELETE", "/objects/counted/x", "DeleteObject", 204)):
            with self.moves(1, "imaging_requests_total", action=action, code=str(code)):
                self.assertEqual(s3(method, target).status, code, action)
        self.assertRegex(self.service.log_text(), r"PUT /objects/counted/x PutObject, account \d{12}: 200")

    def test_signatures(self):
        def ask(key, secret, **how):
            body = urllib.parse.urlencode(DESCRIBE).encode()
            sign.send(self.host, "POST", "/", sign.v4(key, secret, "POST", self.host, "/", "", body,
                                                      FORM, **how), body)
        for reason, how in (("SignatureDoesNotMatch", (self.key, "x" * 40)),
                            ("AuthFailure", ("AKIA" + "A" * 16, self.secret))):
            with self.moves(1, "imaging_auth_failures_total", reason=reason):
                ask(*how)
        with self.moves(1, "imaging_auth_failures_total", reason="RequestExpired"):
            ask(self.key, self.secret, when=time.time() - 3600)
        with self.moves(1, "imaging_auth_failures_total", reason="InvalidAccessKeyId"):
            sign.send(self.host, "GET", "/objects/x/y", sign.v4(
                "AKIA" + "A" * 16, self.secret, "GET", self.host, "/objects/x/y", service="s3"))

    def test_calls_too_many(self):
        tags = {"Action": "CreateTags", "Version": "2016-11-15", "ResourceId.1": "import-vol-00000000",
                "Tag.1.Key": "k", "Tag.1.Value": "v"}
        before = self.client.metric("imaging_requests_throttled_total", action="CreateTags")

        def throttled():
            self.call(tags)
            return self.client.metric("imaging_requests_throttled_total", action="CreateTags") > before
        service.wait_for(throttled)

    def test_connections(self):
        sockets = []

        def hang_up():
            while sockets:
                sockets.pop().close()
            # a client is done before the service has seen the end of its connection
            service.wait_for(lambda: self.client.metric("imaging_connections") == 0)
        self.addCleanup(hang_up)
        hang_up()
        sockets += [sign.open_socket(self.host) for _ in range(5)]
        service.wait_for(lambda: self.client.metric("imaging_connections") == 5)
        with self.moves(None, "imaging_connections_refused_total", limit="address"):
            sockets += [sign.open_socket(self.host) for _ in range(50)]
        hang_up()

    def test_a_conversion(self):
        upload = self.upload("RAW", self.raw, 1)
        size = os.path.getsize(self.raw)
        with self.moves(1, "imaging_stage_claims_total", kind="convert"), \
                self.moves(1, "imaging_stages_ended_total", result="completed"), \
                self.moves(1, "imaging_toolkit_exits_total", status="0"), \
                self.moves(size, "imaging_conversion_input_bytes_total"), \
                self.moves(None, "imaging_conversion_output_bytes_total"):
            id = self.import_volume(upload)
            upload.open()
            self.wait(id, "completed")

    def test_a_conversion_that_waits_and_fails(self):
        upload = self.upload("VMDK", self.raw, 1, missing=True)
        with self.moves(None, "imaging_stage_retries_total", cause="PendingUpload"), \
                self.moves(None, "imaging_toolkit_exits_total", status="3"):
            id = self.import_volume(upload)
        with self.moves(1, "imaging_stages_ended_total", result="cancelled"), \
                self.moves(1, "imaging_toolkit_exits_total", status="4"):
            upload.show()
            upload.open()
            self.wait(id, "cancelled")

    def import_volume(self, upload):
        task = self.good({"Action": "ImportVolume", "Version": "2016-11-15",
                          "AvailabilityZone": "standalone", "Image.Format": upload.form,
                          "Image.Bytes": str(len(upload.data)), "Volume.Size": "1",
                          "Image.ImportManifestUrl": upload.url})
        return task.findtext("conversionTaskId")

    def test_gauges(self):
        series = self.client.metrics()
        self.assertEqual(series["imaging_ready", ()], 1)
        self.assertEqual(series["imaging_workers", ()], 2)
        self.assertEqual(series["imaging_scratch_reserve_bytes", ()], 64 << 20)
        self.assertEqual(series["imaging_scratch_used_bytes", ()] + series["imaging_scratch_free_bytes", ()],
                         series["imaging_scratch_size_bytes", ()])


class Moves:
    def __init__(self, case, by, name, labels):
        self.case, self.by, self.name, self.labels = case, by, name, labels

    def value(self):
        return self.case.client.metric(self.name, **self.labels)

    def __enter__(self):
        self.before = self.value()

    def __exit__(self, kind, *_):
        if kind:
            return
        # what a completed stage moved is counted after its row
        service.wait_for(lambda: self.value() > self.before)
        if self.by is not None:
            self.case.assertEqual(self.value() - self.before, self.by, (self.name, self.labels))


TOOLKIT = """#!/bin/sh
# a toolkit that does what the file `mode` beside it says
mode=$(cat "$(dirname "$0")/mode")
case $1 in
stages) echo '[{"kind": "format", "name": "qcow2", "needs": "qemu-img", "available": '$mode' }]' ;;
run) case $mode in
    true) echo '{"event": "error", "code": "ConnectionFailed", "message": "no route"}' >&3; exit 6 ;;
    *) kill -KILL $$ ;;
    esac ;;
esac
"""


class Ready(unittest.TestCase):
    def start(self, config="", mode="true"):
        one = service.Service("--status-listen", "127.0.0.1:0", start=False, config=config)
        self.addCleanup(one.stop)
        self.service, self.mode = one, os.path.join(one.tmp, "mode")
        one.write("mode", mode)
        one.toolkit = one.write("toolkit", TOOLKIT, 0o700)
        one.start()
        self.client = Client(one)
        self.env = one.env

    def wait_ready(self):
        service.wait_for(lambda: self.client.ready() is None)

    def wait_reason(self, *words):
        """Until it is not ready, for these reasons alone."""
        def there():
            reasons = self.client.ready()
            return reasons and len(reasons) == len(words) and all(
                word in reason for word, reason in zip(words, reasons))
        service.wait_for(there)
        self.assertEqual(self.client.get("/live")[:2], (200, "live\n"))

    def test_what_is_served(self):
        self.start()
        self.wait_ready()
        self.assertEqual(self.client.get("/live", "HEAD")[:2], (200, ""))
        self.assertEqual(self.client.get("/ready", "HEAD")[:2], (200, ""))
        self.assertEqual(self.client.get("/ready?x")[0], 200)
        status, _, headers = self.client.get("/ready", "POST")
        self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))
        for path in ("/", "/ready/", "/objects/", "/services/compute"):
            self.assertEqual(self.client.get(path)[0], 404, path)
        self.assertNotIn("/ready", self.service.log_text())
        host = urllib.parse.urlsplit(self.env["EC2_URL"]).netloc
        self.assertEqual(sign.send(host, "GET", "/ready").status, 404)

    def test_reasons_come_and_go(self):
        self.start()
        self.wait_ready()
        scratch, toolkit = os.path.join(self.service.dir, "scratch"), self.service.toolkit
        os.rename(scratch, scratch + ".away")
        self.wait_reason("scratch directory", "free space")
        os.rename(toolkit, toolkit + ".away")
        self.wait_reason("imaging-toolkit was not found", "scratch directory", "free space")
        self.assertEqual(self.client.metric("imaging_ready"), 0)
        os.rename(scratch + ".away", scratch)
        self.wait_reason("imaging-toolkit was not found")
        os.rename(toolkit + ".away", toolkit)
        self.wait_ready()
        log = self.service.log_text()
        self.assertIn("error: not ready: the scratch directory", log)
        self.assertIn("info: ready again", log)

    def test_a_reserve_that_is_not_there(self):
        self.start(config=f"scratch-reserve = {1 << 30}\n")
        self.wait_reason("less than scratch-reserve, 1.0 PiB")

    def test_a_format_that_misses_its_program(self):
        self.start(mode="false")
        self.wait_ready()
        self.assertEqual(self.client.get("/ready")[1], "ready\nformat qcow2: qemu-img was not found\n")

    def import_volume(self):
        host = urllib.parse.urlsplit(self.env["EC2_URL"]).netloc
        body = urllib.parse.urlencode(IMPORT).encode()
        answer = sign.send(host, "POST", "/", sign.v4(
            self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"], "POST", host, "/", "", body,
            FORM), body)
        self.assertEqual(answer.status, 200, answer.text)

    def test_deaths_and_tries(self):
        self.start()
        self.import_volume()
        service.wait_for(lambda: self.client.metric("imaging_stage_retries_total", cause="ConnectionFailed"))
        self.assertGreater(self.client.metric("imaging_toolkit_exits_total", status="6"), 0)
        self.service.write("mode", "false")
        service.wait_for(lambda: self.client.metric("imaging_stage_retries_total", cause="Died"))
        self.assertGreater(self.client.metric("imaging_toolkit_signals_total", signal="SIGKILL"), 0)

    def test_while_stopping_it_serves_until_others_have_noticed(self):
        self.start(config="limits { stop-delay-seconds = 2 }")
        self.wait_ready()
        host = urllib.parse.urlsplit(self.env["EC2_URL"]).netloc
        body = urllib.parse.urlencode(DESCRIBE).encode()
        headers = sign.v4(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"], "POST", host,
                          "/", "", body, FORM)
        idle = http.client.HTTPConnection(host, timeout=30)
        self.addCleanup(idle.close)
        idle.request("POST", "/", body, headers)
        self.assertEqual(sign.Answer(idle.getresponse()).status, 200)
        began = time.monotonic()
        self.service.process.send_signal(signal.SIGTERM)
        service.wait_for(self.client.ready)
        self.assertIn("stopping: ", self.client.ready()[0])
        if time.monotonic() < began + 1.5:  # else this machine is too slow to be sure of anything
            idle.request("POST", "/", body, headers)  # on the connection that was idle, and a new one
            self.assertEqual(sign.Answer(idle.getresponse()).status, 200)
            self.assertEqual(sign.send(host, "POST", "/", headers, body).status, 200)
        self.assertEqual(self.service.process.wait(30), 0)
        self.assertGreater(time.monotonic() - began, 1.9)

    def test_a_second_signal_ends_the_delay(self):
        self.start(config="limits { stop-delay-seconds = 3600 }")
        self.wait_ready()
        self.service.process.send_signal(signal.SIGTERM)
        service.wait_for(self.client.ready)
        service.wait_for(lambda: self.service.process.send_signal(signal.SIGTERM) or
                         self.service.process.poll() is not None)
        self.assertEqual(self.service.process.returncode, -signal.SIGTERM)

    def test_the_port_is_taken(self):
        self.start()
        with service.Service(start=False) as other:
            result = subprocess.run(other.command("--status-listen", self.client.host), check=False,
                                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        port = self.client.host.rsplit(":", 1)[1]
        self.assertIn(f"cannot listen on 127.0.0.1 port {port}: ", result.stderr)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
