#!/usr/bin/python3
"""Temporary credentials in every kind of signature: the right token is accepted, and a missing, wrong,
foreign or ended one refused, by the query API and by the object store."""
import os
import sys
import time
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import Case, DESCRIBE, FORM  # noqa: E402

TOKEN = "x-amz-security-token"


class Sessions(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good = cls.service.account("session", "default")
        cls.other = cls.service.account("session", "default")
        cls.ended = cls.service.account("session", "default", "--duration", "1")
        cls.root = urllib.parse.urlsplit(cls.service.env["S3_URL"]).path.rstrip("/")
        cls.path = cls.root + "/b/k"
        for path, body in ((cls.root + "/b", b""), (cls.path, b"data")):
            sign.send(cls.host, "PUT", path, sign.v4(cls.key, cls.secret, "PUT", cls.host, path, "",
                                                     body, service="s3"), body)

        def over():
            return cls.form(cls.ended, cls.ended["session_token"]).status != 200
        service.wait_for(over)

    # ---- the ways to sign; token None: none is sent ----

    @classmethod
    def form(cls, keys, token, drop=()):
        body = urllib.parse.urlencode(DESCRIBE).encode()
        headers = {**FORM, **({TOKEN: token} if token is not None else {})}
        return sign.send(cls.host, "POST", "/", sign.v4(
            keys["access_key"], keys["secret_key"], "POST", cls.host, "/", "", body, headers,
            drop=drop), body)

    def form_unsigned_token(self, keys, token):
        return self.form(keys, token, drop=(TOKEN,))

    def presigned(self, keys, token):
        inside = {"X-Amz-Security-Token": token} if token is not None else {}
        return sign.send(self.host, "GET", "/?" + sign.v4_presigned(
            keys["access_key"], keys["secret_key"], "GET", self.host, "/", service="ec2",
            parameters={**DESCRIBE, **inside}))

    def presigned_token_outside(self, keys, token):
        after = "&X-Amz-Security-Token=" + sign.quote(token) if token is not None else ""
        return sign.send(self.host, "GET", "/?" + sign.v4_presigned(
            keys["access_key"], keys["secret_key"], "GET", self.host, "/", service="ec2",
            parameters=DESCRIBE) + after)

    def version2(self, keys, token):
        return sign.send(self.host, "GET", "/?" + urllib.parse.urlencode(sign.v2_query(
            keys["access_key"], keys["secret_key"], "GET", self.host, "/", DESCRIBE,
            SecurityToken=token)))

    def s3_v4(self, keys, token, drop=()):
        headers = {TOKEN: token} if token is not None else {}
        return sign.send(self.host, "GET", self.path, sign.v4(
            keys["access_key"], keys["secret_key"], "GET", self.host, self.path, headers=headers,
            service="s3", drop=drop))

    def s3_v4_presigned(self, keys, token):
        inside = {"X-Amz-Security-Token": token} if token is not None else {}
        return sign.send(self.host, "GET", self.path + "?" + sign.v4_presigned(
            keys["access_key"], keys["secret_key"], "GET", self.host, self.path, parameters=inside))

    def s3_v2(self, keys, token):
        return sign.send(self.host, "GET", self.path, sign.v2(
            keys["access_key"], keys["secret_key"], "GET", self.path,
            amz={TOKEN: token} if token is not None else None))

    def s3_v2_presigned(self, keys, token):
        return sign.send(self.host, "GET", self.path + "?" + sign.v2_presigned(
            keys["access_key"], keys["secret_key"], "GET", self.path, int(time.time()) + 600,
            amz={TOKEN: token} if token is not None else None))

    # ---- the query API ----

    def test_query_api(self):
        for way in (self.form, self.form_unsigned_token, self.presigned, self.presigned_token_outside,
                    self.version2):
            with self.subTest(way.__name__):
                token = self.good["session_token"]
                self.assert_accepted(way(self.good, token))
                for wrong in (None, token[:-1], token + "x", token[:-1] + chr(ord(token[-1]) ^ 1),
                              self.other["session_token"], self.ended["session_token"]):
                    self.assert_refused(way(self.good, wrong), 401, "AuthFailure")
                self.assert_refused(way({**self.good, "secret_key": "x"}, token), 403,
                                    "SignatureDoesNotMatch")
                self.assert_refused(way(self.first, token), 401, "AuthFailure")
                self.assert_refused(way({**self.good, "access_key": "ASIA" + "A" * 16}, token), 401,
                                    "AuthFailure")

    def test_they_end(self):
        token = self.ended["session_token"]
        for way in (self.form, self.form_unsigned_token, self.presigned, self.presigned_token_outside,
                    self.version2):
            with self.subTest(way.__name__):
                self.assert_refused(way(self.ended, token), 400, "RequestExpired", "Request has expired")
                # that they have ended is told to their owner only
                self.assert_refused(way({**self.ended, "secret_key": "x"}, token), 403,
                                    "SignatureDoesNotMatch")
                self.assert_refused(way(self.ended, "x"), 401, "AuthFailure")

    # ---- the object store ----

    def assert_s3(self, answer, status, code):
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(xml.fromstring(answer.body).find("Code").text, code)

    def test_object_store(self):
        for way in (self.s3_v4, lambda keys, token: self.s3_v4(keys, token, drop=(TOKEN,)),
                    self.s3_v4_presigned, self.s3_v2, self.s3_v2_presigned):
            with self.subTest(way.__name__):
                token = self.good["session_token"]
                self.assertEqual(way(self.good, token).body, b"data")
                self.assert_s3(way(self.good, None), 403, "InvalidAccessKeyId")
                for wrong in (token[:-1], self.other["session_token"]):
                    self.assert_s3(way(self.good, wrong), 400, "InvalidToken")
                self.assert_s3(way({**self.good, "secret_key": "x"}, token), 403,
                               "SignatureDoesNotMatch")
                self.assert_s3(way(self.first, token), 400, "InvalidToken")
                self.assert_s3(way(self.ended, self.ended["session_token"]), 400, "ExpiredToken")

    # ---- clients ----

    def test_boto3(self):
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import ClientError
        except ImportError:
            self.skipTest("boto3 is not installed")

        def client(name, url, kind, token):
            return boto3.client(
                name, endpoint_url=self.service.env[url], region_name="us-east-1",
                aws_access_key_id=self.good["access_key"], aws_session_token=token,
                aws_secret_access_key=self.good["secret_key"],
                config=Config(signature_version=kind, retries={"max_attempts": 0},
                              s3={"addressing_style": "path"}))
        right, wrong = self.good["session_token"], self.other["session_token"]
        for kind in ("v2", "v4", "v4-query"):
            with self.subTest(kind):
                client("ec2", "EC2_URL", kind, right).describe_conversion_tasks()
                with self.assertRaises(ClientError) as caught:
                    client("ec2", "EC2_URL", kind, wrong).describe_conversion_tasks()
                self.assertEqual(caught.exception.response["Error"]["Code"], "AuthFailure")
        for kind in ("s3v4", "s3"):
            with self.subTest(kind):
                s3 = client("s3", "S3_URL", kind, right)
                s3.put_object(Bucket="b", Key=kind, Body=b"x")
                self.assertEqual(s3.get_object(Bucket="b", Key=kind)["Body"].read(), b"x")
                with self.assertRaises(ClientError) as caught:
                    client("s3", "S3_URL", kind, wrong).get_object(Bucket="b", Key=kind)
                self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidToken")
                for some, status in ((s3, 200), (client("s3", "S3_URL", kind, wrong), 400)):
                    url = urllib.parse.urlsplit(some.generate_presigned_url(
                        "get_object", {"Bucket": "b", "Key": kind}))
                    self.assertEqual(sign.send(self.host, "GET", url.path + "?" + url.query).status,
                                     status)


if __name__ == "__main__":
    unittest.main(warnings="ignore", verbosity=2)
