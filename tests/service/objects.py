#!/usr/bin/python3
"""The object store endpoint: what boto3 and hand-signed requests can do, and what nobody can."""
import base64
import concurrent.futures
import email.utils
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

import boto3
import botocore.config
import botocore.exceptions

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402

MIB = 1 << 20
# Keys that careless code makes equal, or loses: sorted as the store sorts, by their bytes.
KEYS = sorted(["a", "a/b", "a//b", "/a/b", "//", "a/", "a/./b", "a/../b", "./a", "../../etc/passwd",
               "..", ".", "a b", "a+b", "a%20b", "%2e%2e", "a?b", "a#b", "a&b=c", "\u00e9", "\u65e5\u672c",
               "~*'()!$,;:@", "-", "_", "A", "\U0001f4be", "<&>\"", "k" * 1024], key=str.encode)


def md5(data):
    return hashlib.md5(data).hexdigest()


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = service.Service()
        cls.addClassCleanup(cls.service.stop)
        cls.connect()
        cls.s3.create_bucket(Bucket="b")

    @classmethod
    def connect(cls):
        env = cls.service.env
        url = urllib.parse.urlsplit(env["S3_URL"])
        cls.host, cls.root = url.netloc, url.path.rstrip("/")
        cls.key, cls.secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        cls.s3 = cls.client()

    @classmethod
    def client(cls, key=None, secret=None, signature="s3v4"):
        return boto3.client(
            "s3", endpoint_url=cls.service.env["S3_URL"], region_name="us-east-1",
            aws_access_key_id=key or cls.key, aws_secret_access_key=secret or cls.secret,
            config=botocore.config.Config(signature_version=signature, retries={"max_attempts": 0},
                                          s3={"addressing_style": "path"}))

    def refused(self, code, status, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**arguments)
        answer = caught.exception.response
        self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]),
                         (code, status))
        return answer["Error"]["Message"]

    def assert_refused(self, answer, status, code):
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(answer.headers["Content-Type"], "application/xml")
        root = xml.fromstring(answer.body)
        self.assertEqual((root.tag, root.find("Code").text), ("Error", code), answer.text)
        self.assertEqual(root.find("RequestId").text, answer.headers["x-amz-request-id"])
        return root

    def v4(self, method, key, body=b"", query="", headers=None, **how):
        path = self.root + "/b/" + sign.quote(key, "/")
        return sign.v4(how.pop("akid", self.key), how.pop("secret", self.secret), method, self.host,
                       path, query, body, headers, service="s3", **how)

    def send(self, method, key, headers=None, body=None, query=""):
        path = self.root + "/b/" + sign.quote(key, "/")
        return sign.send(self.host, method, path + ("?" + query if query else ""), headers, body)

    def files(self, bucket="b"):
        return os.listdir(os.path.join(self.service.dir, "objects", bucket))

    def uploads(self):
        return [name for name in self.files() if name.startswith(".")]

    def get(self, key):
        return self.s3.get_object(Bucket="b", Key=key)["Body"].read()


class Semantics(Base):
    def test_put_get_head_delete(self):
        data = os.urandom(100000)
        self.assertEqual(self.s3.put_object(Bucket="b", Key="one", Body=data)["ETag"],
                         f'"{md5(data)}"')
        for call in (self.s3.get_object, self.s3.head_object):
            answer = call(Bucket="b", Key="one")
            self.assertEqual((answer["ETag"], answer["ContentLength"], answer["AcceptRanges"]),
                             (f'"{md5(data)}"', len(data), "bytes"))
            self.assertLess(abs(answer["LastModified"].timestamp() - time.time()), 60)
        self.assertEqual(self.get("one"), data)
        self.s3.put_object(Bucket="b", Key="one", Body=b"")
        self.assertEqual(self.get("one"), b"")
        for _ in range(2):
            answer = self.s3.delete_object(Bucket="b", Key="one")
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.refused("NoSuchKey", 404, self.s3.get_object, Bucket="b", Key="one")
        self.refused("404", 404, self.s3.head_object, Bucket="b", Key="one")

    def test_the_file_is_told_to_who_may_read_it(self):
        ask = {"x-euca-object-file": "wanted"}

        def told(headers):
            answer = self.send("GET", "here", headers)
            return answer.headers.get("X-Euca-Object-File")

        for data in (b"first", b"second, of another file"):
            self.s3.put_object(Bucket="b", Key="here", Body=data)
            name, identity = told(self.v4("GET", "here", headers=dict(ask))).split(" ")
            self.assertEqual(name, "b/" + hashlib.sha256(b"here").hexdigest())
            path = os.path.join(self.service.dir, "objects", name)
            with open(path, "rb") as file:
                self.assertEqual(file.read(len(data)), data)
            stat = os.stat(path)
            self.assertEqual(identity, f"{stat.st_ino}-{stat.st_mtime_ns // 10**9}."
                                       f"{stat.st_mtime_ns % 10**9:09d}")
        self.assertIsNotNone(told(self.v4("GET", "here", headers={**ask, "range": "bytes=0-0"})))
        self.assertIsNone(told(self.v4("GET", "here")))  # nobody asked
        self.assertIsNone(told(ask))  # no signature
        self.assertIsNone(told(self.v4("GET", "here", headers=dict(ask), secret="wrong")))
        self.assertIsNone(told(self.v4("GET", "here", headers={
            **ask, "if-none-match": f'"{md5(data)}"'})))

    def test_missing_buckets(self):
        for call, more in ((self.s3.put_object, {"Key": "k", "Body": b"x"}),
                           (self.s3.get_object, {"Key": "k"}), (self.s3.delete_object, {"Key": "k"}),
                           (self.s3.list_objects, {}), (self.s3.list_objects, {"MaxKeys": 0})):
            self.refused("NoSuchBucket", 404, call, Bucket="missing", **more)
        self.refused("404", 404, self.s3.head_bucket, Bucket="missing")
        self.s3.head_bucket(Bucket="b")

    def test_buckets(self):
        for _ in range(2):
            self.s3.create_bucket(Bucket="second.bucket-x",
                                  CreateBucketConfiguration={"LocationConstraint": "eu"})
        names = {bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]}
        self.assertLessEqual({"b", "second.bucket-x"}, names)
        for name in ("Upper_Case", "x", "n" * 255):  # stock euca2ools allows these
            path = f"{self.root}/{name}"
            self.assertEqual(sign.send(self.host, "PUT", path,
                                       sign.v2(self.key, self.secret, "PUT", path)).status, 200)
        for name in ("..", ".hidden", "-x", "n" * 256, "a%2Fb", "a%00b", "a b", "%zz", ""):
            path = f"{self.root}/{name.replace(' ', '%20')}/k"
            answer = sign.send(self.host, "PUT", path,
                               sign.v2(self.key, self.secret, "PUT", path), b"x")
            self.assert_refused(answer, 400, "InvalidBucketName")
        large = sign.v4(self.key, self.secret, "PUT", self.host, self.root + "/big",
                        body=b" " * 70000, service="s3")
        self.assert_refused(sign.send(self.host, "PUT", self.root + "/big", large, b" " * 70000),
                            400, "EntityTooLarge")
        self.assertNotIn("big", os.listdir(os.path.join(self.service.dir, "objects")))

    def test_keys_are_kept_as_they_are(self):
        self.s3.create_bucket(Bucket="keys")
        for key in KEYS:
            self.s3.put_object(Bucket="keys", Key=key, Body=key.encode())
        for key in KEYS:
            self.assertEqual(self.s3.get_object(Bucket="keys", Key=key)["Body"].read(), key.encode())
        listed = self.s3.list_objects(Bucket="keys")["Contents"]
        self.assertEqual([entry["Key"] for entry in listed], KEYS)
        self.assertEqual([(e["Size"], e["ETag"]) for e in listed],
                         [(len(k.encode()), f'"{md5(k.encode())}"') for k in KEYS])
        self.assertEqual(len(self.files("keys")), len(KEYS))
        for version in ("list_objects", "list_objects_v2"):
            pages = self.s3.get_paginator(version).paginate(Bucket="keys",
                                                            PaginationConfig={"PageSize": 5})
            self.assertEqual([e["Key"] for page in pages for e in page["Contents"]], KEYS)
            call = getattr(self.s3, version)
            some = call(Bucket="keys", Prefix="a/", MaxKeys=2)
            self.assertEqual([e["Key"] for e in some["Contents"]],
                             [k for k in KEYS if k.startswith("a/")][:2])
            self.assertTrue(some["IsTruncated"])
            none = call(Bucket="keys", MaxKeys=0)
            self.assertEqual((none.get("Contents"), none["IsTruncated"]), (None, False))
            self.assertNotIn("Contents", call(Bucket="keys", Prefix="nothing"))
        after = self.s3.list_objects_v2(Bucket="keys", StartAfter=KEYS[3], MaxKeys=1)
        self.assertEqual(after["Contents"][0]["Key"], KEYS[4])
        for bad in ("-1", "x", "99999999999"):
            path = self.root + "/keys"
            headers = sign.v4(self.key, self.secret, "GET", self.host, path, "max-keys=" + bad,
                              service="s3")
            self.assert_refused(sign.send(self.host, "GET", path + "?max-keys=" + bad, headers),
                                400, "InvalidArgument")

    def test_keys_that_cannot_be(self):
        answer = self.send("PUT", "k" * 1025, self.v4("PUT", "k" * 1025, b"x"), b"x")
        self.assert_refused(answer, 400, "KeyTooLongError")
        for raw in ("a%00b", "a%zz", "a%1", "a%", "a%ff", "a%01b"):
            path = self.root + "/b/" + raw
            answer = sign.send(self.host, "PUT", path,
                               sign.v2(self.key, self.secret, "PUT", path), b"x")
            self.assert_refused(answer, 400, "InvalidURI")

    def test_ranges(self):
        data = bytes(range(256)) * 4
        self.s3.put_object(Bucket="b", Key="range", Body=data)
        self.s3.put_object(Bucket="b", Key="empty", Body=b"")
        path = self.root + "/b/range"
        url = path + "?" + sign.v4_presigned(self.key, self.secret, "GET", self.host, path)

        def ask(text):
            return sign.send(self.host, "GET", url, {"Range": text})
        for text, first, last in (("bytes=0-0", 0, 0), ("bytes=0-1023", 0, 1023),
                                  ("bytes=100-199", 100, 199), ("bytes=1000-", 1000, 1023),
                                  ("bytes=1000-5000", 1000, 1023), ("bytes=-24", 1000, 1023),
                                  ("bytes=-5000", 0, 1023), ("BYTES=5-6", 5, 6),
                                  ("bytes=7-18446744073709551615", 7, 1023)):
            answer = ask(text)
            self.assertEqual((answer.status, answer.body), (206, data[first:last + 1]), text)
            self.assertEqual(answer.headers["Content-Range"], f"bytes {first}-{last}/1024", text)
            self.assertEqual(answer.headers["ETag"], f'"{md5(data)}"')
        for text in ("bytes=1024-", "bytes=5000-6000", "bytes=-0"):
            self.assert_refused(ask(text), 416, "InvalidRange")
        for text in ("bytes=5-4", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2",
                     "bytes=99999999999999999999-", "bytes=1", "bytes=+1-2", "bytes=0x1-2"):
            answer = ask(text)
            self.assertEqual((answer.status, answer.body), (200, data), text)
        self.refused("InvalidRange", 416, self.s3.get_object, Bucket="b", Key="empty",
                     Range="bytes=0-0")
        head = self.s3.head_object(Bucket="b", Key="range", Range="bytes=1-10")
        self.assertEqual(head["ContentLength"], 10)

    def test_preconditions(self):
        etag = self.s3.put_object(Bucket="b", Key="cond", Body=b"x")["ETag"]
        self.assertEqual(self.s3.get_object(Bucket="b", Key="cond", IfMatch=etag)["ContentLength"], 1)
        other = '"' + "0" * 32 + '"'
        self.refused("PreconditionFailed", 412, self.s3.get_object, Bucket="b", Key="cond",
                     IfMatch=other)
        self.refused("304", 304, self.s3.get_object, Bucket="b", Key="cond", IfNoneMatch=etag)
        self.s3.get_object(Bucket="b", Key="cond", IfNoneMatch=other)

    def test_what_is_not_there_is_refused(self):
        self.s3.put_object(Bucket="b", Key="x", Body=b"old")
        message = self.refused("NotImplemented", 501, self.s3.create_multipart_upload, Bucket="b",
                               Key="x")
        self.assertIn("multipart_threshold", message)
        self.refused("NotImplemented", 501, self.s3.upload_part, Bucket="b", Key="x", PartNumber=1,
                     UploadId="1", Body=b"part")
        self.refused("NotImplemented", 501, self.s3.copy_object, Bucket="b", Key="x",
                     CopySource="b/y")
        self.refused("NotImplemented", 501, self.s3.delete_objects, Bucket="b",
                     Delete={"Objects": [{"Key": "x"}]})
        self.refused("MethodNotAllowed", 405, self.s3.delete_bucket, Bucket="b")
        for value in ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
            headers = self.v4("PUT", "x", b"new", headers={"x-amz-content-sha256": value},
                              payload=value)
            root = self.assert_refused(self.send("PUT", "x", headers, b"new"), 501, "NotImplemented")
            self.assertIn("UNSIGNED-PAYLOAD", root.find("Message").text)
        headers = self.v4("PUT", "x", b"new", headers={"content-encoding": "aws-chunked"})
        self.assert_refused(self.send("PUT", "x", headers, b"new"), 501, "NotImplemented")
        self.assert_refused(self.send("POST", "x", self.v4("POST", "x")), 405, "MethodNotAllowed")
        self.assertEqual(self.get("x"), b"old")

    def test_unknown_parameters_are_ignored(self):
        query = "progressbar_label=disk.img.part.0+%281%2F3%29"
        path = self.root + "/b/label"
        headers = sign.v2(self.key, self.secret, "PUT", path)
        self.assertEqual(self.send("PUT", "label", headers, b"v2", query).status, 200)
        self.assertEqual(self.get("label"), b"v2")
        headers = self.v4("PUT", "label", b"v4", query=query)
        self.assertEqual(self.send("PUT", "label", headers, b"v4", query).status, 200)
        self.assertEqual(self.get("label"), b"v4")

    def test_many_at_once(self):
        def trip(i):
            data = os.urandom(MIB) + bytes([i])
            self.s3.put_object(Bucket="b", Key=f"many/{i}", Body=data)
            self.s3.put_object(Bucket="b", Key="many/all", Body=data)
            return self.get(f"many/{i}") == data, md5(data)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            results = list(pool.map(trip, range(24)))
        self.assertTrue(all(right for right, _ in results))
        self.assertIn(md5(self.get("many/all")), [digest for _, digest in results])
        self.assertEqual(self.uploads(), [])

    def test_connections_are_kept(self):
        with sign.open_socket(self.host) as s:
            for i in range(3):
                s.sendall(sign.head("HEAD", self.root + "/b/none", self.v4("HEAD", "none")))
                answer = b""
                while b"\r\n\r\n" not in answer:
                    piece = s.recv(65536)
                    self.assertNotEqual(piece, b"", f"closed after {i} answers")
                    answer += piece
                self.assertTrue(answer.startswith(b"HTTP/1.1 404 "))


class Uploads(Base):
    def test_digests_are_compared_before_anything_is_visible(self):
        self.s3.put_object(Bucket="b", Key="k", Body=b"old")
        right = base64.b64encode(hashlib.md5(b"new").digest()).decode()
        wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        self.refused("BadDigest", 400, self.s3.put_object, Bucket="b", Key="k", Body=b"new",
                     ContentMD5=wrong)
        self.refused("InvalidDigest", 400, self.s3.put_object, Bucket="b", Key="k", Body=b"new",
                     ContentMD5="abc")
        self.assert_refused(self.send("PUT", "k", self.v4("PUT", "k", b"new"), b"neW"),
                            400, "XAmzContentSHA256Mismatch")
        self.assert_refused(self.send("PUT", "k", self.v4("PUT", "k", b"new", payload="00"), b"new"),
                            400, "InvalidArgument")
        self.assertEqual((self.get("k"), self.uploads()), (b"old", []))
        self.s3.put_object(Bucket="b", Key="k", Body=b"new", ContentMD5=right)
        self.assertEqual(self.get("k"), b"new")
        open_payload = self.v4("PUT", "k", payload="UNSIGNED-PAYLOAD")
        self.assertEqual(self.send("PUT", "k", open_payload, b"newer").status, 200)
        self.assertEqual(self.get("k"), b"newer")

    def test_bodies_and_version_4_without_a_digest(self):
        def put(payload, body):
            headers = sign.v4(self.key, self.secret, "PUT", self.host, self.root + "/b/none",
                              payload=payload)  # as for other services than S3
            return self.send("PUT", "none", headers, body)
        self.assertEqual(put(sign.EMPTY, b"").status, 200)
        for payload in sign.EMPTY, "UNSIGNED-PAYLOAD":
            self.assert_refused(put(payload, b"x"), 400, "InvalidRequest")
        self.assertEqual(self.get("none"), b"")

    def test_a_length_is_needed(self):
        headers = {**self.v4("PUT", "chunked", payload="UNSIGNED-PAYLOAD"),
                   "transfer-encoding": "chunked"}
        answer = sign.raw(self.host, sign.head("PUT", self.root + "/b/chunked", headers)
                          + b"3\r\nabc\r\n0\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 411 "), answer)
        self.assertIn(b"<Code>MissingContentLength</Code>", answer)
        self.refused("NoSuchKey", 404, self.s3.get_object, Bucket="b", Key="chunked")

    def start_upload(self, key, size, data=b"", **how):
        """A connection with the head of an upload, and some of its body, sent and taken."""
        headers = {**self.v4("PUT", key, payload="UNSIGNED-PAYLOAD", **how),
                   "content-length": str(size), "expect": "100-continue"}
        s = sign.open_socket(self.host)
        s.sendall(sign.head("PUT", self.root + "/b/" + key, headers))
        answer = s.recv(65536)
        if answer.startswith(b"HTTP/1.1 100 "):
            self.assertEqual(len(self.uploads()) > 0, True)
            s.sendall(data)
        return s, answer

    def test_uploads_that_break_off_leave_nothing(self):
        self.s3.put_object(Bucket="b", Key="cut", Body=b"old")
        before = sorted(self.files())
        for size in (1000, 20 * MIB):
            for sent in (0, 999, size - 1):
                s, answer = self.start_upload("cut", size, b"x" * sent)
                self.assertEqual(answer, b"HTTP/1.1 100 Continue\r\n\r\n")
                s.close()
        service.wait_for(lambda: not self.uploads())
        self.assertEqual((sorted(self.files()), self.get("cut")), (before, b"old"))

    def test_nothing_is_left_of_uploads_the_service_did_not_survive(self):
        with service.Service() as mine:
            test = type("Mine", (Uploads,), {"service": mine})("test_a_length_is_needed")
            test.__class__.connect()
            test.s3.create_bucket(Bucket="b")
            test.s3.put_object(Bucket="b", Key="cut", Body=b"old")
            s, _ = test.start_upload("cut", 5 * MIB, b"x" * MIB)
            mine.kill()
            s.close()
            self.assertEqual(len(test.uploads()), 1)
            mine.start()
            test.__class__.connect()
            self.assertEqual(test.uploads(), [])
            self.assertEqual(test.get("cut"), b"old")

    def test_refused_before_the_body_is_sent(self):
        before = sorted(self.files())
        for code, how in ((b"SignatureDoesNotMatch", {"secret": "x"}),
                          (b"InvalidAccessKeyId", {"akid": "AKIAAAAAAAAAAAAAAAAA"}),
                          (b"RequestTimeTooSkewed", {"when": time.time() - 3600})):
            s, answer = self.start_upload("no", 1 << 40, **how)
            with s:
                self.assertTrue(answer.startswith(b"HTTP/1.1 403 "), answer)
                self.assertIn(b"<Code>" + code + b"</Code>", answer)
        s, answer = self.start_upload("no", 1 << 60)
        s.close()
        self.assertTrue(answer.startswith(b"HTTP/1.1 507 "), answer)
        self.assertEqual(sorted(self.files()), before)

    def test_an_early_refusal_reaches_a_client_that_just_sends(self):
        for _ in range(5):
            answer = self.send("PUT", "no", self.v4("PUT", "no", secret="x",
                                                    payload="UNSIGNED-PAYLOAD"), b"x" * (10 * MIB))
            self.assert_refused(answer, 403, "SignatureDoesNotMatch")

    def test_a_full_disk(self):
        """Two uploads for which there is room alone: the second fails on its way."""
        how = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        if not shutil.which("unshare") or subprocess.run(
                [*how, "mount", "-t", "tmpfs", "none", "/mnt"], stderr=subprocess.DEVNULL,
                check=False).returncode:
            self.skipTest("private mounts are not allowed here")

        class Small(service.Service):
            def command(self, *options):
                objects = os.path.join(self.dir, "objects")
                os.makedirs(objects, exist_ok=True)
                return [*how, "sh", "-c", 'mount -t tmpfs -o size=8m none "$0" && exec "$@"', objects,
                        *super().command(*options)]
        with Small() as small:
            test = type("Mine", (Uploads,), {"service": small, "uploads": lambda self: ["hidden"]})(
                "test_a_length_is_needed")
            test.__class__.connect()
            test.s3.create_bucket(Bucket="b")
            body = b"x" * (6 * MIB)
            first, _ = test.start_upload("first", len(body))
            second, _ = test.start_upload("second", len(body))
            with first, second:
                first.sendall(body)
                self.assertTrue(first.recv(65536).startswith(b"HTTP/1.1 200 "))
                second.sendall(body)
                answer = second.recv(65536)
            self.assertTrue(answer.startswith(b"HTTP/1.1 507 "), answer)
            self.assertIn(b"<Code>InsufficientStorage</Code>", answer)
            listed = test.s3.list_objects(Bucket="b")["Contents"]
            self.assertEqual([entry["Key"] for entry in listed], ["first"])
            test.s3.delete_object(Bucket="b", Key="first")
            test.s3.put_object(Bucket="b", Key="second", Body=body)  # the space was given back

    def test_large_objects_pass_through(self):
        def peak():
            with open(f"/proc/{self.service.pid}/status", encoding="ascii") as status:
                return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024
        block = os.urandom(MIB)
        self.s3.put_object(Bucket="b", Key="warm", Body=block * 4)
        self.get("warm")
        before, size = peak(), 300 * MIB

        class Body(io.RawIOBase):
            left = size

            def read(self, n=-1):
                n = min(self.left, MIB if n < 0 else n, MIB)
                self.left -= n
                return block[:n]
        headers = {**self.v4("PUT", "large", payload="UNSIGNED-PAYLOAD"),
                   "content-length": str(size)}
        answer = self.send("PUT", "large", headers, Body())
        self.assertEqual(answer.status, 200, answer.text)
        digest = hashlib.md5()
        for piece in self.s3.get_object(Bucket="b", Key="large")["Body"].iter_chunks(MIB):
            digest.update(piece)
        self.assertEqual(answer.headers["ETag"], f'"{digest.hexdigest()}"')
        self.s3.delete_object(Bucket="b", Key="large")
        self.assertLess(peak() - before, 16 * MIB)


class Signatures(Base):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket="b", Key="k", Body=b"secret")
        cls.path = cls.root + "/b/k"

    def ask(self, method="GET", headers=None, query="", path=None):
        return sign.send(self.host, method, (path or self.path) + ("?" + query if query else ""),
                         headers)

    def good(self, answer):
        self.assertEqual((answer.status, answer.body), (200, b"secret"))

    def test_unsigned(self):
        self.assert_refused(self.ask(), 403, "AccessDenied")
        for authorization in ("Basic eDp5", "Bearer x", "AWS3 x"):
            self.assert_refused(self.ask(headers={"authorization": authorization}),
                                400, "InvalidArgument")
        self.assert_refused(self.ask(query="a=%zz"), 400, "InvalidURI")

    def test_v4(self):
        self.good(self.ask(headers=self.v4("GET", "k")))
        self.good(self.ask(headers=self.v4("GET", "k", region="x", when=time.time() - 800)))
        for code, how in (("InvalidAccessKeyId", {"akid": "AKIAAAAAAAAAAAAAAAAA"}),
                          ("SignatureDoesNotMatch", {"secret": "x"}),
                          ("RequestTimeTooSkewed", {"when": time.time() - 1000}),
                          ("RequestTimeTooSkewed", {"when": time.time() + 1000})):
            self.assert_refused(self.ask(headers=self.v4("GET", "k", **how)), 403, code)
        headers = self.v4("GET", "k")
        self.assert_refused(self.ask("DELETE", headers), 403, "SignatureDoesNotMatch")
        self.assert_refused(self.ask("GET", headers, path=self.path + "k"), 403,
                            "SignatureDoesNotMatch")
        self.assert_refused(self.ask("GET", headers, "a=b"), 403, "SignatureDoesNotMatch")
        self.assert_refused(self.ask(headers={**headers, "authorization": "AWS4-HMAC-SHA256 x"}),
                            400, "AuthorizationHeaderMalformed")
        self.assert_refused(self.ask(headers=self.v4("GET", "k", drop=["host"])), 400,
                            "AuthorizationHeaderMalformed")
        self.assert_refused(self.ask(headers={**self.v4(
            "GET", "k", headers={"x-amz-security-token": "abc"})}), 400, "InvalidToken")
        self.good(self.ask(headers=headers))

    def test_v4_presigned(self):
        def query(method="GET", **how):
            return sign.v4_presigned(how.pop("akid", self.key), how.pop("secret", self.secret),
                                     method, self.host, self.path, **how)
        self.good(self.ask(query=query()))
        self.good(self.ask(query=query(when=time.time() - 3600, expires=3700)))
        for code, text in (("AccessDenied", query(when=time.time() - 3600, expires=3500)),
                           ("AccessDenied", query(when=time.time() + 3600)),
                           ("SignatureDoesNotMatch", query(secret="x")),
                           ("SignatureDoesNotMatch", query("HEAD")),
                           ("SignatureDoesNotMatch", query("PUT")),
                           ("SignatureDoesNotMatch", query() + "&a=b"),
                           ("SignatureDoesNotMatch", query().replace("Expires=600", "Expires=601")),
                           ("InvalidAccessKeyId", query(akid="AKIAAAAAAAAAAAAAAAAA"))):
            self.assert_refused(self.ask(query=text), 403, code)
        self.assertEqual(self.ask("HEAD", query=query()).status, 403)
        for text in (query(expires=0), query(expires=604801), query().replace("X-Amz-Date", "Date"),
                     query().replace("HMAC", "X"), query() + "&X-Amz-Expires=600"):
            self.assert_refused(self.ask(query=text), 400, "AuthorizationQueryParametersError")
        # a URL of boto3's own making
        url = self.s3.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
        parts = urllib.parse.urlsplit(url)
        self.good(self.ask(path=parts.path, query=parts.query))

    def test_v2(self):
        def headers(method="GET", resource=self.path, **how):
            return sign.v2(how.pop("akid", self.key), how.pop("secret", self.secret), method,
                           resource, **how)
        # the resource with and without the endpoint's own path
        self.good(self.ask(headers=headers()))
        self.good(self.ask(headers=headers(resource="/b/k")))
        self.good(self.ask(headers=headers(when=time.time() - 800)))
        self.good(self.ask(headers=headers(), query="progressbar_label=x"))
        for code, how in (("InvalidAccessKeyId", {"akid": "AKIAAAAAAAAAAAAAAAAA"}),
                          ("SignatureDoesNotMatch", {"secret": "x"}),
                          ("SignatureDoesNotMatch", {"resource": "/b/other"}),
                          ("SignatureDoesNotMatch", {"resource": "/x/objects/b/k"}),
                          ("SignatureDoesNotMatch", {"method": "PUT"}),
                          ("RequestTimeTooSkewed", {"when": time.time() - 1000}),
                          ("RequestTimeTooSkewed", {"when": time.time() + 1000})):
            self.assert_refused(self.ask(headers=headers(**how)), 403, code)
        for value in ("AWS ", "AWS x", f"AWS {self.key}", f"AWS {self.key}:"):
            self.assert_refused(self.ask(headers={**headers(), "authorization": value}), 400,
                                "InvalidArgument")
        body = b"by v2"
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        for resource in (self.root + "/b/old", "/b/old"):
            put = headers("PUT", resource, md5=digest, kind="text/plain")
            answer = self.send("PUT", "old", put, body)
            self.assertEqual((answer.status, answer.headers["ETag"]), (200, f'"{md5(body)}"'))
        self.assert_refused(self.send("PUT", "old", put, b"by me"), 400, "BadDigest")
        self.assert_refused(self.send("PUT", "old", {**put, "content-type": "x"}, body), 403,
                            "SignatureDoesNotMatch")
        put = headers("PUT", "/b/old", amz={"x-amz-content-sha256": hashlib.sha256(body).hexdigest()})
        self.assertEqual(self.send("PUT", "old", put, body).status, 200)
        self.assert_refused(self.send("PUT", "old", put, b"by me"), 400, "XAmzContentSHA256Mismatch")
        bucket = sign.send(self.host, "GET", self.root + "/b?max-keys=0",
                           headers(resource="/b"))
        self.assertEqual(bucket.status, 200, bucket.text)

    def test_v2_presigned(self):
        soon, past = int(time.time()) + 60, int(time.time()) - 60

        def query(method="GET", resource=self.path, expires=soon, **how):
            return sign.v2_presigned(how.get("akid", self.key), how.get("secret", self.secret),
                                     method, resource, expires)
        self.good(self.ask(query=query()))
        self.good(self.ask(query=query(resource="/b/k")))
        for code, text in (("AccessDenied", query(expires=past)),
                           ("SignatureDoesNotMatch", query(secret="x")),
                           ("SignatureDoesNotMatch", query("HEAD")),
                           ("SignatureDoesNotMatch", query(resource="/b/other")),
                           ("SignatureDoesNotMatch", query().replace(str(soon), str(soon + 1))),
                           ("InvalidAccessKeyId", query(akid="AKIAAAAAAAAAAAAAAAAA"))):
            self.assert_refused(self.ask(query=text), 403, code)
        self.assertEqual(self.ask("HEAD", query=query()).status, 403)
        self.assertEqual(self.ask("HEAD", query=query("HEAD")).status, 200)

    def test_two_signatures_are_none(self):
        soon = int(time.time()) + 60
        for text in (sign.v4_presigned(self.key, self.secret, "GET", self.host, self.path),
                     sign.v2_presigned(self.key, self.secret, "GET", self.path, soon)):
            for headers in (sign.v2(self.key, self.secret, "GET", self.path), self.v4("GET", "k")):
                self.assert_refused(self.ask(headers=headers, query=text), 400, "InvalidArgument")

    def test_boto3_with_wrong_keys(self):
        for signature in ("s3v4", "s3"):
            good = self.client(signature=signature)
            self.assertEqual(good.get_object(Bucket="b", Key="k")["Body"].read(), b"secret")
            good.put_object(Bucket="b", Key=signature, Body=b"x")
            url = urllib.parse.urlsplit(good.generate_presigned_url(
                "put_object", {"Bucket": "b", "Key": signature}))
            put = sign.send(self.host, "PUT", f"{url.path}?{url.query}", {}, b"presigned")
            self.assertEqual(put.status, 200, put.text)
            self.assertEqual(self.get(signature), b"presigned")
            for code, client in (
                    ("SignatureDoesNotMatch", self.client(secret="x", signature=signature)),
                    ("InvalidAccessKeyId", self.client(key="AKIAX", signature=signature))):
                self.refused(code, 403, client.get_object, Bucket="b", Key="k")
                self.refused(code, 403, client.put_object, Bucket="b", Key="k", Body=b"x")
                self.refused(code, 403, client.list_buckets)
        self.assertEqual(self.get("k"), b"secret")

    def test_malformed_requests_are_answered_in_s3_s_shape(self):
        for lines in (["content-length: 0", "content-length: 0"], ["x-odd: a\x01"]):
            data = sign.head("GET", self.path, self.v4("GET", "k"))[:-2]
            answer = sign.raw(self.host, data + "".join(x + "\r\n" for x in lines).encode() + b"\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
            self.assertIn(b"<Error><Code>InvalidRequest</Code>", answer)
        self.assertLess(abs(email.utils.parsedate_to_datetime(self.ask().headers["Date"]).timestamp()
                            - time.time()), 60)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
