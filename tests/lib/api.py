"""api - test cases that talk to the query API of a service of their own."""
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

import service
import sign

DESCRIBE = {"Action": "DescribeConversionTasks", "Version": "2016-11-15"}
IMPORT = {"Action": "ImportVolume", "Version": "2015-10-01", "AvailabilityZone": "standalone",
          "Image.Format": "RAW", "Image.Bytes": "4096", "Volume.Size": "1",
          "Image.ImportManifestUrl": "http://127.0.0.1:9/m?Signature=very-secret-token"}
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


class Case(unittest.TestCase):
    options, config = (), None  # of the service

    @classmethod
    def setUpClass(cls):
        cls.service = service.Service(*cls.options, config=cls.config)
        cls.addClassCleanup(cls.service.stop)
        env = cls.service.env
        cls.host = urllib.parse.urlsplit(env["EC2_URL"]).netloc
        cls.key, cls.secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        cls.first = {"access_key": cls.key, "secret_key": cls.secret}

    def ask(self, keys, parameters=None, headers=None, **how):
        """A form signed with Version 4 by keys as Service.account gives them, with their token."""
        body = urllib.parse.urlencode(parameters or DESCRIBE).encode()
        token = keys.get("session_token")
        headers = {**FORM, **({"x-amz-security-token": token} if token else {}), **(headers or {})}
        return sign.send(self.host, "POST", "/", sign.v4(
            keys["access_key"], keys["secret_key"], "POST", self.host, "/", "", body, headers, **how),
            body)

    def assert_accepted(self, answer):
        self.assertEqual(answer.status, 200, answer.text)
        root = xml.fromstring(answer.body)
        self.assertEqual(root[0].text, answer.headers["x-amzn-RequestId"])
        self.assertRegex(root[0].text, r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        self.assertEqual(answer.headers["Content-Type"], "text/xml;charset=UTF-8")
        self.assertIsNotNone(answer.headers["Date"])

    def assert_refused(self, answer, status, code, words=""):
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(answer.headers["Content-Type"], "text/xml;charset=UTF-8")
        root = xml.fromstring(answer.body)
        self.assertEqual([root.tag, root[0].tag, root[0][0].tag], ["Response", "Errors", "Error"])
        self.assertEqual(root.find("Errors/Error/Code").text, code, answer.text)
        self.assertIn(words, root.find("Errors/Error/Message").text)
        self.assertEqual(root.find("RequestID").text, answer.headers["x-amzn-RequestId"])
