#!/usr/bin/python3
"""The query API's other signatures: Version 4 in the query, Version 2 in query and form.  What a right
key signed is accepted; what was changed afterwards, and what botocore's own signers make, too."""
import os
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import sign  # noqa: E402
from api import Case, DESCRIBE, FORM, IMPORT  # noqa: E402

STRANGE = {**DESCRIBE, "ConversionTaskId.1": "import-vol-0123abcd"}


class Presigned(Case):
    """Version 4 in the query."""

    def query(self, parameters=DESCRIBE, method="GET", **how):
        return sign.v4_presigned(how.pop("key", self.key), how.pop("secret", self.secret), method,
                                 how.pop("host", self.host), "/", service="ec2",
                                 parameters=parameters, **how)

    def get(self, query):
        return sign.send(self.host, "GET", "/?" + query)

    def test_accepted(self):
        self.assert_accepted(self.get(self.query()))
        self.assert_accepted(self.get(self.query(host=self.host.split(":")[0])))
        self.assert_accepted(self.get(self.query(when=time.time() - 86000, expires=86400)))
        # a POST whose parameters are in the query (botocore), and one with a form that is signed
        self.assert_accepted(sign.send(self.host, "POST", "/?" + self.query(method="POST"), FORM))

    def test_form_and_query_are_not_mixed(self):
        body = urllib.parse.urlencode(DESCRIBE).encode()
        query = self.query({}, method="POST", body=body)
        self.assert_refused(sign.send(self.host, "POST", "/?" + query, FORM, body),
                            400, "MalformedQueryString")

    def test_refused(self):
        good = self.query(STRANGE)
        self.assert_refused(self.get(good), 400, "InvalidConversionTaskId")
        for changed in (good.replace("import-vol-0123abcd", "import-vol-0123abce"),
                        good.replace("Expires=600", "Expires=601"), good + "&DryRun=true",
                        good.replace("us-east-1", "us-east-2"), good[:-1] + "-"):
            self.assert_refused(self.get(changed), 403, "SignatureDoesNotMatch")
        self.assert_refused(sign.send(self.host, "POST", "/?" + good, FORM),
                            403, "SignatureDoesNotMatch")
        self.assert_refused(sign.send(self.host, "POST", "/?" + self.query(method="POST"), FORM,
                                      b"a=b"), 400, "MalformedQueryString")
        self.assert_refused(self.get(self.query(secret="x")), 403, "SignatureDoesNotMatch")
        self.assert_refused(self.get(self.query(key="AKIAAAAAAAAAAAAAAAAA")), 401, "AuthFailure")
        self.assert_refused(self.get(self.query(when=time.time() - 700)), 400, "RequestExpired")
        self.assert_refused(self.get(self.query(when=time.time() + 1000)), 400, "RequestExpired")
        for expires in ("0", "604801", "-1", "x"):
            answer = self.get(self.query(expires=expires))
            self.assertIn(answer.status, (400, 403), answer.text)
            self.assertNotIn("InternalError", answer.text)
        self.assert_refused(self.get(self.query() + "&X-Amz-Security-Token=abc"),
                            401, "AuthFailure")


class Version2(Case):
    def query(self, parameters=DESCRIBE, method="GET", **how):
        return sign.v2_query(how.pop("key", self.key), how.pop("secret", self.secret), method,
                             how.pop("host", self.host), how.pop("path", "/"), parameters, **how)

    def get(self, parameters, path="/", how=urllib.parse.urlencode):
        return sign.send(self.host, "GET", path + "?" + how(parameters))

    def post(self, parameters):
        return sign.send(self.host, "POST", "/", FORM, urllib.parse.urlencode(parameters).encode())

    def test_accepted(self):
        for digest in ("SHA256", "SHA1"):
            self.assert_accepted(self.get(self.query(digest=digest)))
            self.assert_accepted(self.post(self.query(digest=digest, method="POST")))
        self.assert_accepted(self.get(self.query(host=self.host.split(":")[0])))
        self.assert_accepted(self.get(self.query(path="/services/compute"), "/services/compute"))
        self.assert_accepted(self.get(self.query(SecurityToken="")))
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
        self.assert_accepted(self.get(self.query(Timestamp=None, Expires=soon)))
        for version in ("2014-10-01", "2014-06-15"):
            self.assert_accepted(self.get(self.query({**DESCRIBE, "Version": version})))
        # escaped as others do: "%20" for a blank, "*" and "~" raw
        wish = {**IMPORT, "Description": "a b*~é+", "DryRun": "true"}
        for how in (urllib.parse.urlencode, lambda p: urllib.parse.urlencode(
                p, quote_via=lambda text, *_: urllib.parse.quote(text, safe="*~"))):
            self.assert_refused(self.get(self.query(wish), how=how), 412, "DryRunOperation")

    def test_refused(self):
        good = self.query(STRANGE)
        self.assert_refused(self.get(good), 400, "InvalidConversionTaskId")
        for change in ({"ConversionTaskId.1": "import-vol-0123abce"}, {"DryRun": "true"},
                       {"Version": "2015-10-01"}, {"Signature": "x"}, {"Signature": good["Signature"][::-1]},
                       {"SignatureMethod": "HmacSHA1"}, {"SecurityToken": ""}):
            self.assert_refused(self.get({**good, **change}), 403, "SignatureDoesNotMatch")
        self.assert_refused(self.post(good), 403, "SignatureDoesNotMatch")
        self.assert_refused(self.get(self.query(secret="x")), 403, "SignatureDoesNotMatch")
        self.assert_refused(self.get(self.query(host="evil")), 403, "SignatureDoesNotMatch")
        self.assert_refused(self.get(self.query(), "/services/compute"),
                            403, "SignatureDoesNotMatch")
        self.assert_refused(self.get(self.query(key="AKIAAAAAAAAAAAAAAAAA")), 401, "AuthFailure")
        self.assert_refused(self.get(self.query(SecurityToken="abc")), 401, "AuthFailure")
        for minutes in (-16, 16):
            self.assert_refused(self.get(self.query(when=time.time() + 60 * minutes)),
                                400, "RequestExpired")

    def test_incomplete(self):
        for missing in ("AWSAccessKeyId", "SignatureVersion", "SignatureMethod", "Timestamp"):
            self.assert_refused(self.get(self.query(**{missing: None})), 400, "MissingParameter",
                                missing)
        without = self.query()
        del without["Signature"]
        self.assert_refused(self.get(without), 400, "MissingParameter", "Signature")
        for name, value in (("SignatureVersion", "1"), ("SignatureVersion", "4"),
                            ("SignatureMethod", "HmacMD5"), ("Timestamp", "yesterday"),
                            ("AWSAccessKeyId", "A" * 200)):
            self.assert_refused(self.get(self.query(**{name: value})), 400, "InvalidParameterValue",
                                name)
        self.assert_refused(self.get(self.query(Expires="2030-01-01T00:00:00Z")),
                            400, "InvalidParameterCombination")
        twice = urllib.parse.urlencode(self.query()) + "&Timestamp=2026-11-20T10:00:00Z"
        self.assert_refused(sign.send(self.host, "GET", "/?" + twice), 400, "InvalidParameterValue",
                            "once")


class Botocore(Case):
    """boto3 told to sign in another way."""

    def client(self, kind, secret=None):
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            self.skipTest("boto3 is not installed")
        return boto3.client("ec2", endpoint_url=self.service.env["EC2_URL"], region_name="us-east-1",
                            aws_access_key_id=self.key, aws_secret_access_key=secret or self.secret,
                            config=Config(signature_version=kind, retries={"max_attempts": 0}))

    def test_signers(self):
        from botocore.exceptions import ClientError
        for kind in ("v2", "v4", "v4-query"):
            with self.subTest(kind):
                self.assertEqual(self.client(kind).describe_conversion_tasks()["ConversionTasks"], [])
                with self.assertRaises(ClientError) as wrong:
                    self.client(kind, "wrong").describe_conversion_tasks()
                self.assertEqual(wrong.exception.response["Error"]["Code"], "SignatureDoesNotMatch")

    def test_presigned_url(self):
        url = self.client("v4").generate_presigned_url("describe_conversion_tasks",
                                                       HttpMethod="GET")
        self.assert_accepted(sign.send(self.host, "GET", "/?" + urllib.parse.urlsplit(url).query))
        url = self.client("v4").generate_presigned_url("describe_conversion_tasks") # for POST
        self.assert_refused(sign.send(self.host, "GET", "/?" + urllib.parse.urlsplit(url).query),
                            403, "SignatureDoesNotMatch")


if __name__ == "__main__":
    unittest.main(verbosity=2)
