#!/usr/bin/python3
"""init/haproxy.cfg.example: which requests are sent a second time when a service ends without an answer,
and that nothing of what clients sign is changed.  The services here are made up."""
import http.client
import http.server
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import haproxy  # noqa: E402
import service  # noqa: E402

FORM = "application/x-www-form-urlencoded; charset=utf-8"
TRIES = 40


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        fake = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/ready":
            fake.checks += 1
            status = 200 if fake.is_ready else 503
        else:
            fake.requests.append((self.command, self.path, body.decode(), dict(
                (name.lower(), value) for name, value in self.headers.items())))
            status = 200
            if fake.dies:  # with the request, before its answer
                self.close_connection = True
                return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET


class Fake(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, dies):
        super().__init__(("127.0.0.1", 0), Handler)
        self.dies, self.is_ready, self.requests, self.checks = dies, True, [], 0
        self.host = f"127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def handle_error(self, *_):
        """A proxy may hang up whenever it likes."""

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


@unittest.skipUnless(haproxy.PROGRAM, "haproxy is not installed")
class LoadBalancer(unittest.TestCase):
    def setUp(self):
        self.dying, self.good = Fake(True), Fake(False)
        self.addCleanup(self.dying.stop)
        self.addCleanup(self.good.stop)
        self.proxy = haproxy.HAProxy([(fake.host, fake.host) for fake in (self.dying, self.good)])
        self.addCleanup(self.proxy.stop)

    def ask(self, method, target, body="", headers=None):
        connection = http.client.HTTPConnection(self.proxy.host, timeout=30)
        try:
            connection.request(method, target, body or None, {"Content-Type": FORM, **(headers or {})})
            return connection.getresponse().status
        finally:
            connection.close()

    def status_when_one_dies(self, *request):
        """What the client sees of a request that was sent to the one that dies; whether the other got
        it, too."""
        for _ in range(TRIES):
            before, others = len(self.dying.requests), len(self.good.requests)
            status = self.ask(*request)
            if len(self.dying.requests) > before:
                return status, len(self.good.requests) > others
            self.assertEqual(status, 200)
        return self.fail("it is never sent to the first server")

    def test_what_may_be_repeated_is(self):
        for request in (("POST", "/", "Action=DescribeConversionTasks&Version=2016-11-15"),
                        ("POST", "/", "Version=2016-11-15&Action=DescribeConversionTasks"),
                        ("GET", "/?Version=2016-11-15&Action=DescribeConversionTasks"),
                        ("POST", "/", "Action=CancelConversionTask&ConversionTaskId=x"),
                        ("POST", "/", "Action=CreateTags&ResourceId.1=x"),
                        ("POST", "/", "Action=DeleteTags&ResourceId.1=x"),
                        ("POST", "/", "Action=ImportVolume&ClientToken=abc&Version=2016-11-15"),
                        ("GET", "/?Action=ImportInstance&ClientToken=abc")):
            self.assertEqual(self.status_when_one_dies(*request), (200, True), request)

    def test_an_import_is_not(self):
        for request in (("POST", "/", "Action=ImportVolume&Version=2016-11-15"),
                        ("POST", "/", "Action=ImportInstance&Version=2016-11-15"),
                        ("GET", "/?Action=ImportVolume&Version=2016-11-15"),
                        ("POST", "/", "Action=ImportVolume&ClientToken=&Version=2016-11-15"),
                        ("POST", "/", "Action=ImportVolume&NoClientToken=abc"),
                        ("POST", "/", "Action=ImportVolume&Description=Action%3DDescribeTags"),
                        ("POST", "/", "Action=ImportVolume&ReAction=DescribeTags"),
                        ("POST", "/", "Action=Describe-ImportVolume"),
                        ("POST", "/", "")):
            status, repeated = self.status_when_one_dies(*request)
            self.assertEqual((status // 100, repeated), (5, False), request)

    def test_what_is_signed_arrives_as_it_was(self):
        self.dying.dies = False
        headers = {"Host": "imaging.example.com:8773", "X-Amz-Date": "20261120T100000Z",
                   "Authorization": "AWS4-HMAC-SHA256 Credential=x, Signature=0", "X-Forwarded-For": "me"}
        target = "/services/compute/?a=%2F%2f+b&&c=%20~"
        body = "Action=ImportInstance&UserData=" + "x" * 60000
        self.assertEqual(self.ask("POST", target, body, headers), 200)
        (method, path, arrived, seen), = self.dying.requests + self.good.requests
        self.assertEqual((method, path, arrived), ("POST", target, body))
        for name, value in headers.items():
            self.assertEqual(seen[name.lower()], value)

    def test_who_is_not_ready_gets_nothing(self):
        self.dying.dies = False
        self.good.is_ready = False
        service.wait_for(lambda: self.proxy.changes("DOWN") == 1)
        before = len(self.good.requests)
        for _ in range(20):
            self.assertEqual(self.ask("POST", "/", "Action=ImportVolume"), 200)
        self.assertEqual(len(self.good.requests), before)
        self.good.is_ready = True
        service.wait_for(lambda: self.proxy.changes("UP") == 1)

        def served():
            self.assertEqual(self.ask("POST", "/", "Action=ImportVolume"), 200)
            return len(self.good.requests) > before
        service.wait_for(served)

    def test_no_query_string_is_logged(self):
        self.dying.dies = False
        self.assertEqual(self.ask("GET", "/?Action=DescribeTags&Signature=secret"), 200)
        service.wait_for(lambda: "GET /" in self.proxy.log_text())
        self.assertNotIn("secret", self.proxy.log_text())


if __name__ == "__main__":
    unittest.main(warnings="ignore")
