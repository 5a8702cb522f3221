#!/usr/bin/python3
"""Row 49 of the EC2 contract's feature table: too many requests are told so, and clients recover."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402

TOO_MANY = 503, "RequestLimitExceeded"


class Throttling(contract.Case):
    CONFIG = """
rate "DescribeConversionTasks" {
    requests-per-second = 2
    burst = 4
}
rate "ImportVolume" {
    requests-per-second = 1
    burst = 2
}
"""

    def tearDown(self):
        pass  # the looks at all tasks would be throttled; there are fewer than may be active

    def exhaust(self, account):
        """Until the account's describing is throttled; that answer."""
        for _ in range(20):
            reply = account.describe()
            if reply.status != 200:
                return reply
        raise AssertionError("20 requests in a moment, and none was throttled")

    def test_row_49_the_answer(self):
        reply = self.exhaust(self.main)
        self.assertEqual(reply.refusal, TOO_MANY)
        self.assertEqual(reply.message, "Request limit exceeded.")
        # another action, and after a while the same one, too
        self.assertEqual(self.main.cancel("import-vol-zzzzzzzz").code, "InvalidConversionTaskId")
        service.wait_for(lambda: self.main.describe().status == 200)

    def test_row_49_each_account_for_itself(self):
        other = self.world.keys("add", "--name", "other")
        self.exhaust(self.main)
        self.assertEqual(other.describe().status, 200)
        # who holds no key uses up nobody's requests
        service.wait_for(lambda: self.main.describe().status == 200)
        for _ in range(20):
            self.assertEqual(self.main.replace(secret="x").describe().status, 403)
        service.wait_for(lambda: self.main.describe().status == 200, 5)

    def test_row_49_nothing_is_stored(self):
        account = self.world.keys("add", "--name", "eager")
        upload = self.world.open_upload()
        made = []
        for _ in range(8):
            reply = account.ask("ImportVolume", upload.parameters(upload.missing))
            if reply.status == 200:
                made.append(self.task_of(reply))
            else:
                self.assertEqual(reply.refusal, TOO_MANY)
        self.assertLess(len(made), 8)
        self.assertEqual(account.describe().ids(), made)
        for task in made:
            account.cancel(task)

    def test_row_49_clients_recover(self):
        for mode, attempts in (("legacy", 5), ("standard", 8)):
            with self.subTest(mode):
                client = self.main.boto3(retries={"mode": mode, "max_attempts": attempts})
                self.exhaust(self.main)  # last: to make a client takes long enough for tokens to come back
                answers = [client.describe_conversion_tasks() for _ in range(3)]
                tries = [answer["ResponseMetadata"]["RetryAttempts"] for answer in answers]
                self.assertGreater(sum(tries), 0)
        os.environ["AWS_MAX_ATTEMPTS"] = "8"
        self.addCleanup(os.environ.update, AWS_MAX_ATTEMPTS="1")
        self.exhaust(self.main)
        status, document, said = self.main.aws("describe-conversion-tasks")
        self.assertEqual(status, 0, said)
        self.assertIn("ConversionTasks", document)


if __name__ == "__main__":
    contract.main()
