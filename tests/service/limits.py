#!/usr/bin/python3
"""Limits on connections, heads and times: who is over them is told or cut off, and nobody else waits."""
import os
import re
import resource
import select
import socket
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import DESCRIBE, FORM  # noqa: E402

BODY = urllib.parse.urlencode(DESCRIBE).encode()


class Limits(unittest.TestCase):
    def start(self, config="", **how):
        self.service = service.Service(config=config, **how)
        self.addCleanup(self.service.stop)
        env = self.service.env
        self.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        self.port = int(self.host.rsplit(":", 1)[1])
        self.key, self.secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    def connect(self, source="127.0.0.1"):
        s = socket.create_connection(("127.0.0.1", self.port), 30, (source, 0))
        self.addCleanup(s.close)
        return s

    def request(self, keep=True):
        headers = sign.v4(self.key, self.secret, "POST", self.host, "/", "", BODY, FORM)
        headers.update({"Content-Length": len(BODY)} | ({} if keep else {"Connection": "close"}))
        return sign.head("POST", "/", headers) + BODY

    def assert_served(self, s=None):
        s = s or self.connect()
        s.sendall(self.request(keep=False))
        self.assertTrue(sign.rest(s).startswith(b"HTTP/1.1 200 "))

    def assert_refused(self, answer, status, code, words=b""):
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), answer)
        self.assertIn(b"<Code>%s</Code>" % code, body)
        self.assertIn(words, body)
        self.assertIn(b"\r\nx-amzn-RequestId: " + body.split(b"<RequestID>")[1].split(b"<")[0], head)
        self.assertIn(b"\r\nContent-Type: text/xml;charset=UTF-8", head)
        self.assertIn(b"\r\nDate: ", head)

    def drip(self, s, data, pause=0.05):
        """Send byte after byte until there is an answer; the answer."""
        s.settimeout(pause)
        for i in range(len(data)):
            try:
                s.send(data[i:i + 1])
                piece = s.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                piece = b""
            s.settimeout(30)
            return piece + (sign.rest(s) if piece else b"")
        self.fail("all was sent, and nothing came back")

    # -- connections

    def test_a_thousand_idle_connections_hold_nobody_up(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.start()
        idle = [self.connect() for _ in range(1000)]
        for s in idle[:500]:
            s.sendall(b"POST / HTTP/1.1\r\nHo")
        used = self.connect()
        used.sendall(self.request())
        self.assertTrue(used.recv(65536).startswith(b"HTTP/1.1 200 "))
        for _ in range(5):
            start = time.monotonic()
            self.assert_served()
            self.assertLess(time.monotonic() - start, 5)
        # and they are still there
        idle[999].sendall(self.request(keep=False))
        self.assertTrue(sign.rest(idle[999]).startswith(b"HTTP/1.1 200 "))

    def test_one_connection_too_many(self):
        self.start("limits { connections = 5 }")
        held = [self.connect() for _ in range(5)]
        for _ in range(3):
            self.assert_refused(sign.rest(self.connect()), 503, b"Unavailable", b"too many connections")
        excess = self.connect()  # one that sends first and reads then
        excess.sendall(self.request())
        self.assert_refused(sign.rest(excess), 503, b"Unavailable")
        held[0].sendall(self.request())
        self.assertTrue(held[0].recv(65536).startswith(b"HTTP/1.1 200 "))
        held[1].close()

        def again():
            s = self.connect()
            s.sendall(self.request(keep=False))
            return sign.rest(s).startswith(b"HTTP/1.1 200 ")
        service.wait_for(again)
        self.assertIn("connections turned away: too many in all", self.service.log_text())
        # one line for all, not one for each
        self.assertEqual(self.service.log_text().count("turned away"), 1)

    def test_too_many_from_one_address(self):
        self.start("limits { connections-per-address = 3 }")
        for _ in range(3):
            self.connect()
        self.assert_refused(sign.rest(self.connect()), 503, b"Unavailable", b"from this address")
        self.assert_served(self.connect("127.0.0.2"))
        for _ in range(3):  # from a third: that the second's has ended the service may not have seen yet
            self.connect("127.0.0.3")
        self.assert_refused(sign.rest(self.connect("127.0.0.3")), 503, b"Unavailable")

    def test_connections_that_end_are_forgotten(self):
        self.start("limits { connections = 4\nconnections-per-address = 3 }")
        for _ in range(50):
            service.wait_for(self.answered)
            self.connect().close()
            broken = self.connect()
            broken.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1")
            broken.close()
            service.wait_for(self.answered)

    def answered(self):
        s = self.connect()
        s.sendall(self.request(keep=False))
        return sign.rest(s).startswith(b"HTTP/1.1 200 ")

    def test_few_descriptors_mean_few_connections(self):
        """Where the service cannot have more: a soft limit is raised."""
        for option, most, said in ("-n", 6, ["only 6 connections"]), ("-Sn", 20, []):
            s = service.Service(start=False, config="limits { connections = 20 }")
            self.addCleanup(s.stop)
            s.program = s.write("limited", f'#!/bin/bash\nulimit {option} 1036\nexec "{s.program}" "$@"\n', 0o700)
            s.start()
            self.assertEqual(re.findall(r"only \d+ connections", s.log_text()), said)
            self.port = urllib.parse.urlsplit(s.env["EC2_URL"]).port
            for _ in range(most):
                self.connect()
            self.assert_refused(sign.rest(self.connect()), 503, b"Unavailable")

    # -- times

    def test_silence_is_ended(self):
        self.start("limits { idle-seconds = 1\nrequest-seconds = 60 }")
        silent, half, used = self.connect(), self.connect(), self.connect()
        half.sendall(b"POST / HTTP/1.1\r\nHost")
        used.sendall(self.request())
        self.assertTrue(used.recv(65536).startswith(b"HTTP/1.1 200 "))
        start = time.monotonic()
        self.assertEqual([sign.rest(s) for s in (silent, half, used)], [b""] * 3)
        self.assertLess(time.monotonic() - start, 10)

    def test_a_request_that_drips_is_ended(self):
        """Each byte breaks the silence; the whole takes too long."""
        self.start("limits { idle-seconds = 2\nrequest-seconds = 1 }")
        head = b"POST / HTTP/1.1\r\n"
        fields = b"Host: x\r\nContent-Length: 60000\r\n"
        for whole, drops, least in ((b"", b"GET /" + b"a" * 2000, 3),
                                    (head, b"A: " + b"a" * 2000, 1),
                                    (head + fields + b"\r\n", b"a" * 2000, 1),
                                    (head + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n7D0\r\n",
                                     b"a" * 2000, 1),
                                    # an upload that is refused, and read only to be dropped
                                    (b"PUT /objects/b/k HTTP/1.1\r\n" + fields + b"\r\n", b"a" * 2000, 1)):
            start = time.monotonic()  # the service counts from here at the earliest
            s = self.connect()
            s.sendall(whole)
            answer = self.drip(s, drops)
            took = time.monotonic() - start
            self.assert_refused(answer, 400, b"RequestTimeout")
            self.assertGreater(took, least - 0.2)
            self.assertLess(took, least + 10)
            self.assert_served()

    def test_many_dripping_clients_hold_nobody_up(self):
        self.start("limits { idle-seconds = 2\nrequest-seconds = 2 }")
        slow = [self.connect() for _ in range(200)]
        for s in slow:
            s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
        start, longest = time.monotonic(), 0
        while time.monotonic() - start < 2:
            for s in slow:
                try:
                    s.send(b"A")
                except ConnectionError:
                    pass
            asked = time.monotonic()
            self.assert_served()
            longest = max(longest, time.monotonic() - asked)
        self.assertLess(longest, 5)
        for s in slow:
            answer = sign.rest(s)
            self.assertTrue(not answer or b"RequestTimeout" in answer, answer)

    def test_an_upload_may_take_its_time(self):
        self.start("limits { idle-seconds = 2\nrequest-seconds = 1 }")
        for target, body in (("/objects/bucket", b""), ("/objects/bucket/slow", b"0123456789" * 4)):
            headers = sign.v4(self.key, self.secret, "PUT", self.host, target, "", body, {}, service="s3")
            s = self.connect()
            s.sendall(sign.head("PUT", target, {**headers, "Content-Length": len(body),
                                                "Connection": "close"}))
            start = time.monotonic()
            for i in range(len(body)):  # nothing comes back before all is there
                self.assertEqual(select.select([s], [], [], 0.05)[0], [], i)
                s.sendall(body[i:i + 1])
            self.assertTrue(sign.rest(s).startswith(b"HTTP/1.1 200 "))
            if body:
                self.assertGreater(time.monotonic() - start, 1.5)

    # -- heads

    def test_heads_too_long(self):
        self.start()

        def ask(data):
            s = self.connect()
            s.sendall(data)
            return sign.rest(s)
        close = b"Host: x\r\nConnection: close\r\n"
        for size, code in ((61000, b"NotFound"), (62000, b"InvalidRequest"), (100000, b"InvalidRequest")):
            answer = ask(b"GET /" + b"a" * size + b" HTTP/1.1\r\n" + close + b"\r\n")
            self.assertIn(b"<Code>%s</Code>" % code, answer, size)
        for size, code in ((61000, b"MissingParameter"), (62000, b"InvalidRequest"),
                           (100000, b"InvalidRequest")):
            answer = ask(b"GET / HTTP/1.1\r\n" + close + b"A: " + b"a" * size + b"\r\n\r\n")
            self.assertIn(b"<Code>%s</Code>" % code, answer, size)
        self.assertIn(b"more than 61440 bytes", answer)
        for line, words in ((b"GET / HTTP/1.1\r\n", b"no Host header"),
                            (b"GET /a b HTTP/1.1\r\nHost: x\r\n", b"target holds a blank"),
                            (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n", b"blank in the name")):
            self.assert_refused(ask(line + b"Connection: close\r\n\r\n"), 400, b"InvalidRequest", words)

    def test_what_the_library_answers_itself(self):
        """docs/service.md names these: the library cannot read them, so no handler sees them."""
        self.start()
        good = b"Host: x\r\nConnection: close\r\n"
        for data, status in (
                (b"GET /\r\n\r\n", 400), (b"GET / HTTP/2.0\r\n" + good + b"\r\n", 505),
                (b"GET / HTTP/1.1\r\n" + good + b"no colon\r\n\r\n", 400),
                (b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\n" + good + b"\r\n", 414),
                (b"GET / HTTP/1.1\r\n" + good + b"A: " + b"a" * 200000 + b"\r\n\r\n", 431),
                (b"POST / HTTP/1.1\r\n" + good + b"Content-Length: -1\r\n\r\n", 400),
                (b"POST / HTTP/1.1\r\n" + good + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
                (b"POST / HTTP/1.1\r\n" + good + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400)):
            s = self.connect()
            s.sendall(data)
            answer = sign.rest(s)
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (data[:60], answer[:200]))
            self.assert_served()

    def memory(self):
        """KiB of the service that are resident."""
        with open(f"/proc/{self.service.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])

    def test_what_the_library_refuses_costs_no_memory(self):
        self.start()
        with open(f"/proc/{self.service.pid}/maps", encoding="utf-8") as file:
            sanitized = "libasan" in file.read()

        def flood():
            for _ in range(100):
                s = self.connect()
                s.sendall(b"GET /?" + b"a&" * 15000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                sign.rest(s)
                s = self.connect()
                s.sendall(b"GET /" + b"a" * 30000 + b" HTTP/1.1\r\nHo")
                s.close()
            self.assert_served()
        flood()
        before = self.memory()
        flood()
        if not sanitized:  # which keeps what was freed, and tells what was not when the service ends
            self.assertLess(self.memory() - before, 1500)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
