#!/usr/bin/python3
"""TLS: which versions, for which clients, and certificates that change while the service runs."""
import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import sys
import unittest
import urllib.parse

import boto3
from botocore.config import Config

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402


class Tls(unittest.TestCase):
    def setUp(self):
        self.service = service.Service(start=False)
        self.addCleanup(self.service.stop)
        self.ca = self.path("ca.pem")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-keyout", self.path("ca.key"), "-out", self.ca, "-days", "2", "-subj", "/CN=test CA",
                     "-addext", "keyUsage=critical,keyCertSign")
        self.make_pair(1)

    def path(self, name):
        return os.path.join(self.service.tmp, name)

    def openssl(self, *arguments, check=True):
        return subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, check=check,
                              capture_output=True, text=True, timeout=60)

    def make_pair(self, serial, kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """cert.pem and key.pem, signed by the CA."""
        self.openssl("req", "-newkey", *kind, "-nodes", "-keyout", self.path("key.pem"),
                     "-out", self.path("csr"), "-subj", "/CN=imaging")
        self.service.write("ext", "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self.openssl("x509", "-req", "-in", self.path("csr"), "-CA", self.ca, "-CAkey",
                     self.path("ca.key"), "-set_serial", str(serial), "-days", "2", "-extfile",
                     self.path("ext"), "-out", self.path("cert.pem"))

    def start(self, more=""):
        config = self.service.write("config", f'tls {{ certificate = "{self.path("cert.pem")}"\n'
                                              f'key = "{self.path("key.pem")}" }}\n' + more)
        self.service.options = ("--config", config)
        self.service.start()
        env = self.service.env
        self.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        self.keys = {"aws_access_key_id": env["AWS_ACCESS_KEY_ID"], "region_name": "us-east-1",
                     "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"], "verify": self.ca}

    def connect(self):
        return http.client.HTTPSConnection(self.host, timeout=30,
                                           context=ssl.create_default_context(cafile=self.ca))

    def serial(self):
        """Of the certificate a new connection gets."""
        connection = self.connect()
        connection.connect()
        try:
            return int(connection.sock.getpeercert()["serialNumber"], 16)
        finally:
            connection.close()

    def handshake(self, *options):
        """What openssl says about a connection: its status and all it printed."""
        result = self.openssl("s_client", "-connect", self.host, "-CAfile", self.ca,
                              "-verify_return_error", *options, check=False)
        return result.returncode, result.stdout + result.stderr

    def test_versions_and_ciphers(self):
        self.start()
        for options, words in ((["-tls1_2"], "TLSv1.2"), (["-tls1_3"], "TLSv1.3"),
                               ([], "TLSv1.3"), (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
                                                 "ECDHE-ECDSA-AES128-GCM-SHA256")):
            status, text = self.handshake(*options)
            self.assertEqual(status, 0, text)
            self.assertIn(words, text)
        weak = ["-cipher", "ALL:@SECLEVEL=0"]
        for options in (["-tls1_1", *weak], ["-tls1", *weak],
                        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
                        ["-tls1_2", "-cipher", "NULL:@SECLEVEL=0"]):
            status, text = self.handshake(*options)
            self.assertNotEqual(status, 0, options)
            # it is the service that does not want: the client has sent its hello
            self.assertRegex(text, r"read 0 bytes and written [1-9]\d+ bytes")
        status, _ = self.handshake()
        self.assertEqual(status, 0)

    def test_clients(self):
        self.make_pair(2, ("rsa:2048",))
        self.start()
        env = self.service.env
        self.assertRegex(env["EC2_URL"], r"^https://127\.0\.0\.1:\d+/$")
        self.assertEqual(env["S3_URL"], env["EC2_URL"] + "objects/")
        self.assertIn("export EC2_URL=https://", self.service.printed)
        ec2 = boto3.client("ec2", endpoint_url=env["EC2_URL"], **self.keys)
        self.assertEqual(ec2.describe_conversion_tasks()["ConversionTasks"], [])
        s3 = boto3.client("s3", endpoint_url=env["S3_URL"],
                          config=Config(s3={"addressing_style": "path"}), **self.keys)
        s3.create_bucket(Bucket="bucket")
        body = os.urandom(3 * 1024 * 1024)
        s3.put_object(Bucket="bucket", Key="k", Body=body)
        self.assertEqual(s3.get_object(Bucket="bucket", Key="k")["Body"].read(), body)
        self.assertEqual(s3.get_object(Bucket="bucket", Key="k", Range="bytes=7-9")["Body"].read(),
                         body[7:10])
        url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"})
        curl = subprocess.run(["curl", "-sS", "--cacert", self.ca, url], check=True, capture_output=True,
                              timeout=60)
        self.assertEqual(curl.stdout, body)
        curl = subprocess.run(["curl", "-sS", "--cacert", self.ca, env["EC2_URL"]], check=True,
                              capture_output=True, timeout=60)
        self.assertIn(b"<Code>MissingParameter</Code>", curl.stdout)
        self.assertEqual(subprocess.run(["curl", "-sS", env["EC2_URL"]], check=False, timeout=60,
                                        capture_output=True).returncode, 60)  # a CA nobody knows

    def reload(self, words):
        before = self.service.log_text().count(words)
        self.service.process.send_signal(signal.SIGHUP)
        service.wait_for(lambda: self.service.log_text().count(words) > before)

    def test_reload(self):
        self.start()
        self.assertEqual(self.serial(), 1)
        old = self.connect()
        old.request("GET", "/")
        self.assertEqual(old.getresponse().read()[:5], b"<?xml")
        old_socket = old.sock
        self.make_pair(2, ("rsa:2048",))
        self.assertEqual(self.serial(), 1)  # not before it is told
        self.reload("certificate and key have been read again")
        self.assertEqual(self.serial(), 2)
        old.request("GET", "/")
        self.assertEqual(old.getresponse().read()[:5], b"<?xml")
        self.assertIs(old.sock, old_socket)
        old.close()
        # what cannot be used changes nothing
        good = {name: open(self.path(name), encoding="ascii").read() for name in ("key.pem", "cert.pem")}
        self.make_pair(3)
        other_key = open(self.path("key.pem"), encoding="ascii").read()
        for name, text, mode, why in (
                ("key.pem", other_key, 0o600, "with key"), ("key.pem", "junk", 0o600, "with key"),
                ("cert.pem", "", 0o600, "TLS cannot use"), ("key.pem", good["key.pem"], 0o644, "chmod 600"),
                ("key.pem", good["key.pem"], 0o620, "chmod 600"), ("cert.pem", None, 0, "cert.pem")):
            for file, content in good.items():
                self.service.write(file, content)
            if text is None:
                os.remove(self.path(name))
            else:
                self.service.write(name, text, mode)
            self.reload("the old certificate stays in use")
            self.assertIn(why, self.service.log_text().splitlines()[-1])
            self.assertEqual(self.serial(), 2)
        os.mkfifo(self.path("cert.pem"))
        self.reload("the old certificate stays in use")
        self.assertIn("no regular file", self.service.log_text().splitlines()[-1])
        os.remove(self.path("cert.pem"))
        self.make_pair(4)
        os.chmod(self.path("key.pem"), 0o640)
        self.reload("certificate and key have been read again")
        self.assertEqual(self.serial(), 4)
        self.assertNotIn("PRIVATE KEY", self.service.log_text())

    def test_many_handshakes_while_it_changes(self):
        self.start()
        seen = set()
        for serial in range(2, 8):
            self.make_pair(serial)
            self.service.process.send_signal(signal.SIGHUP)
            for _ in range(10):
                seen.add(self.serial())
        service.wait_for(lambda: self.serial() == 7)
        self.assertLess(len(seen), 8)

    def test_a_key_others_can_read_is_refused(self):
        os.chmod(self.path("key.pem"), 0o644)
        config = self.service.write("config", f'tls {{ certificate = "{self.path("cert.pem")}"\n'
                                              f'key = "{self.path("key.pem")}" }}\n')
        for option, status in (("--check-config", 2), ("--workers=1", 1)):
            result = subprocess.run(self.service.command("--config", config, option), check=False,
                                    capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, status)
            self.assertIn("0644", result.stderr)
            self.assertIn("chmod 600", result.stderr)

    def test_other_clients_at_the_port(self):
        self.start("limits { connections = 4\nidle-seconds = 1\nrequest-seconds = 1 }")
        self.assertNotIn(b"HTTP", sign.raw(self.host, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", end=False))
        refused = 0
        for _ in range(20):  # a handshake that does not go on holds no place for ever
            held = [sign.open_socket(self.host) for _ in range(4)]
            for s in held:
                s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            # one too many is closed; one that came so late that the others are gone is told goodbye
            refused += sign.raw(self.host, b"", end=False) == b""
            for s in held:
                while piece := s.recv(100):  # an alert that says goodbye, or nothing
                    self.assertEqual(piece[:1], b"\x15")
                s.close()
            if refused == 2:
                break
        self.assertEqual(refused, 2)

        def serial():
            with contextlib.suppress(OSError):  # turned away: the service has not seen yet that those have ended
                return self.serial()
        self.assertEqual(service.wait_for(serial), 1)

    def test_without_tls_sighup_changes_nothing(self):
        self.service.start()
        self.reload("nothing to read again")
        self.assertEqual(sign.send(urllib.parse.urlsplit(self.service.env["EC2_URL"]).netloc, "GET",
                                   "/").status, 400)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
