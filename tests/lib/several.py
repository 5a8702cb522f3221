"""several - test cases with services that share a PostgreSQL database.

One server for all tests of a class, self.postgres; self.several(N) is a cluster.Cluster on a database of
its own, ended with the test.
"""
import re
import unittest
import urllib.parse
import xml.etree.ElementTree as xml

import cluster
import postgres
import service
import sign
from api import DESCRIBE, FORM


class Several(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.postgres = postgres.Postgres()
        cls.addClassCleanup(cls.postgres.close)

    def several(self, n=2, **more):
        several = cluster.Cluster(n, self.postgres.create_database(), **more)
        self.addCleanup(several.close)
        return several

    @staticmethod
    def send(one, account, parameters):
        """To the service, signed with keys as Service.account gives them."""
        host = urllib.parse.urlsplit(one.env["EC2_URL"]).netloc
        body = urllib.parse.urlencode(parameters).encode()
        return sign.send(host, "POST", "/", sign.v4(account["access_key"], account["secret_key"], "POST",
                                                    host, "/", "", body, FORM), body)

    def good(self, one, account, parameters):
        answer = self.send(one, account, parameters)
        self.assertEqual(answer.status, 200, answer.text)
        return xml.fromstring(re.sub(r' xmlns="[^"]*"', "", answer.text))

    def assert_refused(self, answer, status, code):
        self.assertEqual(answer.status, status, answer.text)
        self.assertIn(f"<Code>{code}</Code>", answer.text)

    def task(self, one, account, id):
        return self.good(one, account, {**DESCRIBE, "ConversionTaskId.1": id}).find(
            "conversionTasks/item")

    def wait(self, one, account, id, state):
        def there():
            task = self.task(one, account, id)
            if task.findtext("state") in ("completed", "cancelled"):
                self.assertEqual(task.findtext("state"), state, xml.tostring(task))
            return task if task.findtext("state") == state else None
        return service.wait_for(there)
