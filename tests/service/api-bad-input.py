#!/usr/bin/python3
"""What the query API refuses: wrong keys, changed requests, broken HTTP.  Every refusal is AWS's code
and status in AWS's document, and each has an accepted neighbour."""
import os
import sys
import time
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import sign  # noqa: E402
from api import Case, DESCRIBE, FORM, IMPORT  # noqa: E402

LIMIT = 64 * 1024


class BadInput(Case):
    # -- tools

    def signed(self, body, method="POST", path="/", query="", **how):
        return sign.v4(how.pop("key", self.key), how.pop("secret", self.secret), method, self.host,
                       path, query, body, {**FORM, **how.pop("headers", {})}, **how)

    def post(self, parameters=DESCRIBE, change=None, path="/", query="", **how):
        """Sign a form (dict or bytes) and send it, or with `change` another body in its place."""
        body = parameters if isinstance(parameters, bytes) else \
            urllib.parse.urlencode(parameters).encode()
        return sign.send(self.host, "POST", path + ("?" + query if query else ""),
                         self.signed(body, path=path, query=query, **how), change or body)

    def get(self, parameters, **how):
        query = parameters if isinstance(parameters, str) else urllib.parse.urlencode(parameters)
        return sign.send(self.host, "GET", "/?" + query,
                         self.signed(b"", "GET", query=query, **how))

    # -- signatures

    def test_good_requests(self):
        self.assert_accepted(self.post())
        self.assert_accepted(self.get(DESCRIBE))
        for path in ("/services/compute", "/services/compute/"):
            self.assert_accepted(self.post(path=path))
        self.assert_accepted(self.post(region="us-east-1", service="anything"))
        # everything in the query of a POST, as one of botocore's signers sends it
        self.assert_accepted(self.post(b"", query=urllib.parse.urlencode(DESCRIBE)))
        # old boto signs the host's name without its port; the service tries both
        headers = sign.v4(self.key, self.secret, "POST", self.host.split(":")[0], "/",
                          body=b"Action=DescribeConversionTasks&Version=2014-10-01", headers=FORM)
        del headers["host"]
        self.assert_accepted(sign.send(self.host, "POST", "/", headers,
                                       b"Action=DescribeConversionTasks&Version=2014-10-01"))

    def test_unknown_key(self):
        self.assert_refused(self.post(key="AKIAAAAAAAAAAAAAAAAA"), 401, "AuthFailure")
        self.assert_refused(self.post(key=self.key.lower()), 401, "AuthFailure")
        # a stranger learns nothing about his request
        for how in ({"when": 0}, {"secret": "x"}):
            self.assert_refused(self.post(key="AKIAAAAAAAAAAAAAAAAA", **how), 401, "AuthFailure")
        self.assert_refused(self.post(headers={"x-amz-security-token": "abc"}), 401, "AuthFailure")

    def test_wrong_signature(self):
        def wrong(answer):
            self.assert_refused(answer, 403, "SignatureDoesNotMatch")
        wrong(self.post(secret=self.secret + "x"))
        wrong(self.post(secret=""))
        body = urllib.parse.urlencode(DESCRIBE).encode()
        wrong(self.post(change=body.replace(b"2016-11-15", b"2016-11-14")))
        wrong(self.post(change=body + b"&"))
        wrong(self.post(headers={"x-amz-content-sha256": sign.EMPTY}))
        headers = self.signed(body)
        date = headers["x-amz-date"]  # another second of the same day
        date = date[:-2] + ("0" if date[-2] != "0" else "1") + "Z"
        for name, value in (("content-type", "text/plain"), ("x-amz-date", date),
                            ("authorization", headers["authorization"][:-1] + "-"),
                            ("authorization", headers["authorization"].replace("undefined", "us"))):
            wrong(sign.send(self.host, "POST", "/", {**headers, name: value}, body))
        wrong(sign.send(self.host, "GET", "/", headers, body))
        wrong(sign.send(self.host, "POST", "/services/compute", headers, body))
        wrong(sign.send(self.host, "POST", "/?a=b", headers, body))
        self.assert_accepted(sign.send(self.host, "POST", "/", headers, body))

    def test_clock(self):
        for minutes in (-20, -16, 16, 20):
            self.assert_refused(self.post(when=time.time() + 60 * minutes), 400, "RequestExpired")
        for minutes in (-14, 14):
            self.assert_accepted(self.post(when=time.time() + 60 * minutes))

    def test_incomplete_signatures(self):
        body = urllib.parse.urlencode(DESCRIBE).encode()
        headers = self.signed(body)
        good = headers["authorization"]
        for value in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=",
                      "AWS4-HMAC-SHA256 x", "AWS4-ECDSA-P256-SHA256" + good[16:], "Basic eDp5",
                      "AWS " + self.key + ":abc", "Bearer x", good.replace("aws4_request", "x"),
                      good.replace("SignedHeaders", "Signed"), good.split(", Sig")[0],
                      good.replace("SignedHeaders=content-type;host", "SignedHeaders=content-type"),
                      good.replace("content-type;host", "host;content-type"),
                      good.replace(self.key, "A" * 5000), good.replace("/", "", 1)):
            self.assert_refused(sign.send(self.host, "POST", "/",
                                          {**headers, "authorization": value}, body),
                                400, "IncompleteSignature")
        self.assert_refused(sign.send(self.host, "POST", "/", {**headers, "x-amz-date": "today"},
                                      body), 400, "IncompleteSignature")
        self.assert_refused(self.post(drop=["host"]), 400, "IncompleteSignature")
        self.assert_refused(self.post(headers={"x-amz-extra": "1"}, drop=["x-amz-extra"]),
                            400, "IncompleteSignature")
        del headers["x-amz-date"]
        self.assert_refused(sign.send(self.host, "POST", "/", headers, body),
                            400, "IncompleteSignature")

    def test_other_ways_to_sign(self):
        body = urllib.parse.urlencode(DESCRIBE).encode()
        plain = sign.send(self.host, "POST", "/", FORM, body)
        self.assert_refused(plain, 400, "MissingParameter",
                            "The request must contain the parameter AWSAccessKeyId")
        old = urllib.parse.urlencode(sign.v2_query(self.key, self.secret, "GET", self.host, "/", {}))
        presigned = sign.v4_presigned(self.key, self.secret, "GET", self.host, "/", service="ec2")
        # two at once
        self.assert_refused(self.post(old.encode()), 400, "IncompleteSignature", "one signature")
        self.assert_refused(self.get(old), 400, "IncompleteSignature")
        self.assert_refused(self.get(presigned), 400, "IncompleteSignature")
        self.assert_refused(sign.send(self.host, "GET", f"/?{presigned}&{old}"),
                            400, "IncompleteSignature")

    def test_bodies_must_be_covered(self):
        for payload in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                        "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
            self.assert_refused(self.post(payload=payload,
                                          headers={"x-amz-content-sha256": payload}),
                                400, "InvalidRequest")

    # -- parameters

    def test_parameters_that_cannot_be_decoded(self):
        for text in ("a=%", "a=%z1", "a=%1", "a=%00", "a=%ff", "a=%c0%80", "%ed%a0%80=1"):
            full = urllib.parse.urlencode(DESCRIBE) + "&" + text
            self.assert_refused(self.post(full.encode()), 400, "MalformedQueryString")
            # said to nobody without a signature, unless that may be what is broken
            self.assert_refused(sign.send(self.host, "POST", "/", FORM, full.encode()),
                                400, "MalformedQueryString")
            self.assert_refused(self.post(full.encode(), secret="x"), 403, "SignatureDoesNotMatch")
        self.assert_accepted(self.post((urllib.parse.urlencode(DESCRIBE) + "&&").encode()))

    def test_parameters_in_two_places(self):
        self.assert_refused(self.post(query="Action=CancelConversionTask"),
                            400, "MalformedQueryString", "not in both")

    def test_too_many_parameters(self):
        many = urllib.parse.urlencode(DESCRIBE) + "&a=" * 1000
        self.assert_refused(self.post(many.encode()), 400, "MalformedQueryString")

    def test_missing_and_malformed_parameters(self):
        for name in IMPORT:
            without = {k: v for k, v in IMPORT.items() if k != name}
            self.assert_refused(self.post(without), 400,
                                "MissingAction" if name == "Action" else "MissingParameter", name)
        self.assert_refused(self.post({**IMPORT, "Image.Bytes": "0x10"}), 400,
                            "InvalidParameterValue", "Value (0x10) for parameter Image.Bytes")
        self.assert_refused(self.post({**IMPORT, "Description": "a\x07"}), 400, "InvalidCharacter")
        self.assert_refused(self.post({**IMPORT, "DryRun": "true"}), 412, "DryRunOperation")
        self.assert_refused(self.post(urllib.parse.urlencode(IMPORT).encode() + b"&Volume.Size=2"),
                            400, "MalformedQueryString", "more than once")
        self.assertEqual(xml.fromstring(self.post().body)[1][:], [])

    # -- HTTP

    def test_body_size(self):
        base = urllib.parse.urlencode(DESCRIBE) + "&"
        for size, refused in ((LIMIT, False), (LIMIT + 1, True), (1 << 20, True)):
            body = base.encode() + b"&" * (size - len(base))
            answer = self.post(body)
            if refused:
                self.assert_refused(answer, 413, "RequestEntityTooLarge", "65536")
            else:
                self.assert_accepted(answer)

    def test_body_size_is_refused_before_the_body_is_sent(self):
        headers = {"Host": self.host, "Content-Length": str(1 << 40), "Expect": "100-continue"}
        answer = sign.raw(self.host, sign.head("POST", "/", headers), end=False)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)
        self.assertIn(b"<Code>RequestEntityTooLarge</Code>", answer)

    def test_chunked_bodies(self):
        def chunked(body):
            head = sign.head("POST", "/", {**self.signed(body), "transfer-encoding": "chunked",
                                           "connection": "close"})
            pieces = [body[i:i + 1000] for i in range(0, len(body), 1000)]
            return sign.raw(self.host, head + b"".join(b"%x\r\n%s\r\n" % (len(p), p)
                                                       for p in pieces) + b"0\r\n\r\n", end=False)
        good = urllib.parse.urlencode(DESCRIBE).encode()
        self.assertTrue(chunked(good).startswith(b"HTTP/1.1 200 "))
        answer = chunked(good + b"&" * LIMIT)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer[:300])
        self.assertIn(b"<Code>RequestEntityTooLarge</Code>", answer)

    def test_paths_and_methods(self):
        body = urllib.parse.urlencode(DESCRIBE).encode()
        for path in ("/x", "//", "/services", "/services/compute/x", "/index.html", "/objectsx",
                     "/%2e%2e/", "/../", "/services/Eucalyptus?a=b"):
            self.assert_refused(sign.send(self.host, "POST", path, FORM, body), 404, "NotFound")
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FISH"):
            answer = sign.send(self.host, method, "/", FORM, b"")
            self.assert_refused(answer, 405, "MethodNotAllowed")
            self.assertEqual(answer.headers["Allow"], "GET, POST")
        answer = sign.send(self.host, "HEAD", "/")
        self.assertEqual((answer.status, answer.body), (405, b""))

    def test_requests_with_two_meanings(self):
        body = urllib.parse.urlencode(DESCRIBE).encode()
        headers = {**self.signed(body), "content-length": str(len(body)), "connection": "close"}

        def ask(*lines):
            extra = "".join(line + "\r\n" for line in lines).encode("latin-1")
            data = sign.head("POST", "/", headers)[:-2] + extra + b"\r\n" + body
            return sign.raw(self.host, data, end=False)
        self.assertTrue(ask().startswith(b"HTTP/1.1 200 "))
        for name in ("Host", "Content-Type", "Authorization", "X-Amz-Date", "Content-Length"):
            value = headers[name.lower()]
            answer = ask(f"{name}: {value}")
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (name, answer))
            if name != "Host":
                self.assertIn(b"<Code>InvalidRequest</Code>", answer, name)
        for lines in (["X-Amz-Content-Sha256: a", "X-Amz-Content-Sha256: a"],
                      ["Transfer-Encoding: identity"], ["Transfer-Encoding: chunked"],
                      ["X-Odd: a\x01b"], ["X-Odd: a\x7fb"]):
            answer = ask(*lines)
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (lines, answer))
            self.assertIn(b"<Code>InvalidRequest</Code>", answer, lines)
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, lines)
        # the number of lines is bounded
        self.assertTrue(ask(*(f"A{i}: 1" for i in range(40))).startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"too many header lines", ask(*(f"A{i}: 1" for i in range(80))))

    def test_lengths_that_cannot_be(self):
        for line, words in (("content-length: 0", b"<DescribeConversionTasksResponse"),
                            ("content-length: 9223372036854775807", b"longer than the 65536 bytes allowed"),
                            ("content-length: 9223372036854775808", b"its Content-Length is not a number"),
                            ("transfer-encoding: identity", b"its Transfer-Encoding is not 'chunked'")):
            query = urllib.parse.urlencode(DESCRIBE)
            headers = {**sign.v4(self.key, self.secret, "POST", self.host, "/", query), "connection": "close"}
            data = sign.head("POST", "/?" + query, headers)[:-2] + line.encode() + b"\r\n\r\n"
            self.assertIn(words, sign.raw(self.host, data, end=False))

    def test_junk(self):
        for data in (b"", b"\r\n\r\n", b"\0" * 100, b"GET\r\n\r\n", b"GET /\r\n\r\n",
                     b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
                     b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
                     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100000 + b"\r\n\r\n",
                     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500):
            answer = sign.raw(self.host, data)
            self.assertNotIn(b"HTTP/1.1 2", answer, data[:80])
            self.assertNotIn(b"HTTP/1.1 500", answer, data[:80])
        self.assert_accepted(self.post())

    def test_a_target_that_is_a_url_with_a_password(self):
        target = "http://somebody:hunter-password@x/objects/b"
        sign.raw(self.host, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        log = self.service.log_text()
        self.assertIn("GET http://", log)
        self.assertNotIn("hunter-password", log)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
