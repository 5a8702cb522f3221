#!/usr/bin/python3
"""Rows 14 and 15 of the EC2 contract's feature table: session tokens, and two accounts."""
import os
import re
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402
from contract import DESCRIBE, refused  # noqa: E402

WRONG = 403, "SignatureDoesNotMatch"
STRANGER = 401, "AuthFailure"
EXPIRED = 400, "RequestExpired"


class Tokens(contract.Case):
    """Temporary credentials."""
    TOKEN_REFUSED = STRANGER, (403, "InvalidClientTokenId")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.owner = cls.world.keys("add", "--name", "owner")
        cls.session = cls.world.keys("session", "owner", "--duration", "900")

    def clients(self):
        """Ways to present keys with a token; each returns status and code."""
        def v2(account):
            parameters = sign.v2_query(account.key, account.secret, "GET", account.host, "/", DESCRIBE,
                                       **({"SecurityToken": account.token} if account.token else {}))
            reply = contract.Reply(sign.send(account.host, "GET",
                                             "/?" + urllib.parse.urlencode(parameters)))
            return reply.status, reply.code

        def presigned(account):
            token = {"X-Amz-Security-Token": account.token} if account.token else {}
            reply = contract.Reply(sign.send(account.host, "GET", "/?" + sign.v4_presigned(
                account.key, account.secret, "GET", account.host, "/", service="ec2",
                parameters={**DESCRIBE, **token})))
            return reply.status, reply.code
        return {"header": lambda account: account.describe().refusal, "presigned": presigned,
                "version 2": v2,
                "boto3": lambda account: refused(account.boto3().describe_conversion_tasks),
                "boto3, version 2": lambda account: refused(
                    account.boto3(signature_version="v2").describe_conversion_tasks)}

    def test_row_14_session_tokens(self):
        other = self.world.keys("session", "owner", "--duration", "900")
        self.assertNotEqual((self.session.key, self.session.token), (self.owner.key, other.token))
        token = self.session.token
        wrong = {"missing": None, "of other keys": other.token, "cut": token[:-4],
                 "changed": token[:10] + ("A" if token[10] != "A" else "B") + token[11:],
                 "longer": token + "AAAA", "nonsense": "abc", "very long": "A" * 5000}
        for how, client in self.clients().items():
            with self.subTest(how):
                self.assertEqual(client(self.session), (200, None))
                self.assertEqual(client(self.session.replace(secret="x")), WRONG)
                for name, value in wrong.items():
                    answer = client(self.session.replace(token=value))
                    self.assertIn(answer, self.TOKEN_REFUSED if name != "very long" else
                                  (*self.TOKEN_REFUSED, (400, "IncompleteSignature"),
                                   (400, "InvalidParameterValue"), (400, "InvalidRequest")), name)
                # long-lived keys have no token
                self.assertIn(client(self.owner.replace(token=token)), self.TOKEN_REFUSED)
                self.assertEqual(client(self.owner), (200, None))

    def test_row_14_expired_session_tokens(self):
        short = self.world.keys("session", "owner", "--duration", "1")
        service.wait_for(lambda: short.describe().status != 200)
        for how, client in self.clients().items():
            with self.subTest(how):
                self.assertEqual(client(short), EXPIRED)
        status, _, said = short.aws("describe-conversion-tasks")
        self.assertEqual(status, 254)
        self.assertIn("RequestExpired", said)
        self.assertEqual(self.session.describe().status, 200)

    def test_row_14_a_session_sees_its_accounts_tasks(self):
        task = self.waiting(self.owner)
        self.addCleanup(self.owner.cancel, task)
        self.assertEqual(self.session.describe().ids(), [task])
        status, document, said = self.session.aws("describe-conversion-tasks")
        self.assertEqual(status, 0, said)
        self.assertEqual([t["ConversionTaskId"] for t in document["ConversionTasks"]], [task])
        self.assertEqual(self.session.cancel(task).status, 200)

    def test_row_15_two_accounts(self):
        one, two = (self.world.keys("add", "--name", name) for name in ("one", "two"))
        mine, yours = self.waiting(one), self.waiting(two)
        self.addCleanup(one.cancel, mine)
        self.addCleanup(two.cancel, yours)
        unknown = "import-vol-zzzzzzzz"
        for me, task, other in ((one, mine, yours), (two, yours, mine)):
            self.assertEqual(me.describe().ids(), [task])
            self.assertEqual([t["ConversionTaskId"] for t in
                              me.boto3().describe_conversion_tasks()["ConversionTasks"]], [task])
            for call in (me.describe, me.cancel, lambda *ids: me.describe(task, *ids),
                         lambda i: me.ask("CreateTags", {"ResourceId.1": i, "Tag.1.Key": "a"})):
                theirs, nobodys = call(other), call(unknown)
                self.assertEqual(theirs.refusal, (400, "InvalidConversionTaskId"), theirs.text)
                # nothing tells another's task from one that never was
                self.assertEqual(re.sub(contract.UUID, "", theirs.text).replace(other, "id"),
                                 re.sub(contract.UUID, "", nobodys.text).replace(unknown, "id"))
        status, document, _ = two.aws("describe-conversion-tasks", "--conversion-task-ids", mine)
        self.assertEqual((status, document), (254, None))
        self.assertEqual(one.describe(mine)["conversionTasks/item/state"], "active")


if __name__ == "__main__":
    contract.main()
