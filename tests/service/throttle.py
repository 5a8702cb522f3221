#!/usr/bin/python3
"""Too many calls: RequestLimitExceeded for who makes them, in time for nothing to be done, and clients
that try again get through."""
import os
import sys
import time
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

import boto3
from botocore.config import Config

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import service  # noqa: E402
import sign  # noqa: E402
from api import DESCRIBE, FORM, IMPORT  # noqa: E402

# one token a second: none comes back by chance between two calls that follow each other at once
CONFIG = """rate "*" { requests-per-second = 1  burst = 4 }
rate "ImportVolume" { requests-per-second = 1  burst = 2 }
rate "DescribeConversionTasks" { requests-per-second = 5  burst = 3 }
"""


class Throttle(unittest.TestCase):
    def setUp(self):
        self.service = service.Service(config=CONFIG)
        self.addCleanup(self.service.stop)
        env = self.service.env
        self.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        self.key, self.secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]

    def post(self, parameters, secret=None):
        body = urllib.parse.urlencode(parameters).encode()
        return sign.send(self.host, "POST", "/", sign.v4(
            self.key, secret or self.secret, "POST", self.host, "/", "", body, FORM), body)

    def until_throttled(self, parameters, most):
        """Call until refused for that reason; the answers before."""
        answers = []
        while len(answers) <= most:
            answer = self.post(parameters)
            if answer.status == 503:
                root = xml.fromstring(answer.body)
                self.assertEqual(root.find("Errors/Error/Code").text, "RequestLimitExceeded")
                self.assertEqual(root.find("Errors/Error/Message").text, "Request limit exceeded.")
                self.assertEqual(root.find("RequestID").text, answer.headers["x-amzn-RequestId"])
                return answers
            answers.append(answer)
        return self.fail(f"{len(answers)} calls went through")

    def test_nothing_is_stored(self):
        accepted = self.until_throttled(IMPORT, 10)
        self.assertEqual({answer.status for answer in accepted}, {200})
        self.assertGreaterEqual(len(accepted), 2)
        tasks = service.wait_for(lambda: self.described())
        self.assertEqual(len(tasks), len(accepted))

    def described(self):
        answer = self.post(DESCRIBE)
        return answer.status == 200 and xml.fromstring(answer.body)[1]

    def test_actions_are_counted_apart(self):
        self.until_throttled(IMPORT, 10)
        self.assertEqual(self.post({**DESCRIBE, "Action": "CancelConversionTask",
                                    "ConversionTaskId": "import-vol-aaaaaaaa"}).status, 400)
        self.assertEqual(self.post(DESCRIBE).status, 200)
        # one for all that do not exist
        unknown = [self.post({**DESCRIBE, "Action": f"Fly{i}"}).status for i in range(10)]
        self.assertEqual(unknown[:4], [400] * 4)
        self.assertIn(503, unknown)

    def test_strangers_use_up_nothing(self):
        for _ in range(30):
            self.assertEqual(self.post(IMPORT, secret="wrong").status, 403)
        self.assertEqual([self.post(IMPORT).status for _ in range(2)], [200, 200])

    def test_a_rest_helps(self):
        self.until_throttled(IMPORT, 10)
        start = time.monotonic()
        service.wait_for(lambda: self.post(IMPORT).status == 200)
        self.assertLess(time.monotonic() - start, 5)

    def test_clients_recover(self):
        for mode in ("legacy", "standard"):
            ec2 = boto3.client("ec2", endpoint_url=self.service.env["EC2_URL"], region_name="us-east-1",
                               aws_access_key_id=self.key, aws_secret_access_key=self.secret,
                               config=Config(retries={"mode": mode, "max_attempts": 10}))
            retries = 0
            for _ in range(12):
                answer = ec2.describe_conversion_tasks()
                retries += answer["ResponseMetadata"]["RetryAttempts"]
            self.assertGreater(retries, 0, mode)


class NoLimit(unittest.TestCase):
    def test_by_default_there_is_none(self):
        with service.Service() as s:
            host = urllib.parse.urlsplit(s.env["EC2_URL"]).netloc
            body = urllib.parse.urlencode(DESCRIBE).encode()
            for _ in range(200):
                headers = sign.v4(s.env["AWS_ACCESS_KEY_ID"], s.env["AWS_SECRET_ACCESS_KEY"], "POST",
                                  host, "/", "", body, FORM)
                self.assertEqual(sign.send(host, "POST", "/", headers, body).status, 200)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
