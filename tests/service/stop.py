#!/usr/bin/python3
"""Stopping: what is under way is finished and answered, for a time; nothing new is begun."""
import os
import signal
import socket
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import DESCRIBE, FORM  # noqa: E402

SIZE = 3 * 1024 * 1024
BODY = urllib.parse.urlencode(DESCRIBE).encode()


class Stop(unittest.TestCase):
    def start(self, config=""):
        self.service = service.Service(config=config)
        self.addCleanup(self.service.stop)
        self.look()
        self.assertEqual(self.put("/objects/bucket", b"").status, 200)

    def look(self):
        env = self.service.env
        self.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        self.keys = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    def headers(self, method, target, body, kind="s3"):
        return sign.v4(*self.keys, method, self.host, target, "", body, {}, service=kind)

    def put(self, target, body):
        return sign.send(self.host, "PUT", target, self.headers("PUT", target, body), body)

    def half_an_upload(self, content):
        """A connection on which an upload is half done, of which the service knows."""
        s = sign.open_socket(self.host)
        self.addCleanup(s.close)
        target = "/objects/bucket/slow"
        s.sendall(sign.head("PUT", target, {**self.headers("PUT", target, content),
                                            "Content-Length": len(content), "Expect": "100-continue"}))
        self.assertTrue(s.recv(4096).startswith(b"HTTP/1.1 100 "))
        s.sendall(content[:SIZE // 2])
        return s

    def signal(self):
        """Tell the service to stop, and see it begin: an idle connection is closed."""
        with sign.open_socket(self.host) as idle:
            idle.sendall(sign.head("GET", "/", {"Host": "x"}))
            self.assertTrue(idle.recv(4096).startswith(b"HTTP/1.1 400 "))
            self.service.process.send_signal(signal.SIGTERM)
            self.assertEqual(sign.rest(idle), b"")

    def refused(self):
        try:
            with sign.open_socket(self.host):
                return False
        except ConnectionError:
            return True

    def test_an_upload_under_way_is_finished(self):
        self.start()
        content = os.urandom(SIZE)
        upload = self.half_an_upload(content)
        self.signal()
        self.assertTrue(self.refused())
        self.assertIsNone(self.service.process.poll())
        upload.sendall(content[SIZE // 2:])
        answer = sign.rest(upload)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertIn(b"\r\nconnection: close\r\n", answer.lower())
        self.assertEqual(self.service.process.wait(30), 0)
        self.assertNotIn("cut off", self.service.log_text())
        self.service.start()
        self.look()
        got = sign.send(self.host, "GET", "/objects/bucket/slow",
                        self.headers("GET", "/objects/bucket/slow", b""))
        self.assertEqual(got.body, content)

    def test_a_call_under_way_is_answered(self):
        self.start()
        headers = {**sign.v4(*self.keys, "POST", self.host, "/", "", BODY, FORM),
                   "Content-Length": len(BODY), "Expect": "100-continue"}
        s = sign.open_socket(self.host)
        self.addCleanup(s.close)
        s.sendall(sign.head("POST", "/", headers))
        self.assertTrue(s.recv(4096).startswith(b"HTTP/1.1 100 "))
        self.signal()
        s.sendall(BODY)
        answer = sign.rest(s)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertIn(b"\r\nconnection: close\r\n", answer.lower())
        self.assertEqual(self.service.process.wait(30), 0)

    def test_it_does_not_wait_for_ever(self):
        self.start("limits { stop-seconds = 1 }")
        upload = self.half_an_upload(os.urandom(SIZE))
        start = time.monotonic()
        self.signal()
        self.assertEqual(self.service.process.wait(30), 0)
        took = time.monotonic() - start
        self.assertGreater(took, 0.8)
        self.assertLess(took, 15)
        self.assertIn("1 connections did not end in time", self.service.log_text())
        self.assertEqual(sign.rest(upload), b"")
        self.service.start()
        self.look()
        target = "/objects/bucket/slow"
        self.assertEqual(sign.send(self.host, "GET", target, self.headers("GET", target, b"")).status,
                         404)

    def test_a_second_signal_ends_at_once(self):
        self.start()
        self.half_an_upload(os.urandom(SIZE))
        self.signal()
        start = time.monotonic()
        service.wait_for(lambda: self.service.process.send_signal(signal.SIGTERM) or
                         self.service.process.poll() is not None)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(self.service.process.returncode, -signal.SIGTERM)
        self.service.start()

    def test_with_idle_connections_it_ends_at_once(self):
        self.start()
        idle = [sign.open_socket(self.host) for _ in range(50)]
        start = time.monotonic()
        self.assertEqual(self.service.terminate(), 0)
        self.assertLess(time.monotonic() - start, 15)
        self.assertNotIn("cut off", self.service.log_text())
        for s in idle:
            with s:
                s.settimeout(30)
                self.assertEqual(sign.rest(s), b"")

    def test_no_request_is_lost_while_stopping(self):
        """Who is connected and has sent is answered, whenever the signal comes."""
        self.start()
        sockets = []
        for _ in range(40):
            s = socket.create_connection(self.host.rsplit(":", 1), 30)
            s.sendall(sign.head("POST", "/", {
                **sign.v4(*self.keys, "POST", self.host, "/", "", BODY, FORM),
                "Content-Length": len(BODY)}) + BODY)
            sockets.append(s)
        self.service.process.send_signal(signal.SIGTERM)
        for s in sockets:
            with s:
                self.assertTrue(sign.rest(s).startswith(b"HTTP/1.1 200 "))
        self.assertEqual(self.service.process.wait(30), 0)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
