#!/usr/bin/python3
"""Rows 1 to 9 of the EC2 contract's feature table: what holds for every request."""
import email.utils
import os
import random
import re
import sys
import time
import urllib.parse
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contract  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402
from contract import DESCRIBE, FORM, VERSION, VERSIONS, refused  # noqa: E402

DRY_RUN = 412, "DryRunOperation"
TEXT = """ü € \U0001f4be & < > " ' ]]> &amp; %20 + = ~ *"""


def without_id(reply):
    """The document, but for the request's id: two answers to one question are then equal."""
    return re.sub(contract.UUID, "", reply.text)


class Requests(contract.Case):
    def dry_runs(self):
        """Action and parameters of one good request per operation."""
        upload = self.world.open_upload()
        task = {"ConversionTaskId": self.waiting()}
        tags = {"ResourceId.1": task["ConversionTaskId"], "Tag.1.Key": "a", "Tag.1.Value": "b"}
        return {"ImportVolume": upload.parameters(upload.missing), "DescribeConversionTasks": {},
                "ImportInstance": {"Platform": "Linux", "LaunchSpecification.Architecture": "x86_64",
                                   **upload.disk(1)},
                "CancelConversionTask": task, "CreateTags": tags, "DeleteTags": tags}

    def test_row_1_post_form_and_get_query(self):
        task = self.waiting()
        service.wait_for(lambda: "waiting for the upload" in self.main.describe(task).text)
        for parameters, status in (
                (DESCRIBE, 200), ({**DESCRIBE, "ConversionTaskId.1": task}, 200),
                ({**DESCRIBE, "ConversionTaskId.1": "import-vol-zzzzzzzz"}, 400),
                ({**DESCRIBE, "DryRun": "true"}, 412), ({"Action": "Fish", "Version": VERSION}, 400)):
            answers = [self.main.query(parameters), self.main.query(parameters, "GET"),
                       self.main.query(parameters, "POST", in_query=True),
                       self.main.query(parameters, headers={"content-type": FORM["content-type"]
                                                            .split(";")[0]})]
            self.assertEqual([a.status for a in answers], [status] * 4)
            self.assertEqual({without_id(a) for a in answers}, {without_id(answers[0])})
        upload = self.world.open_upload()
        made = [self.main.ask("ImportVolume", upload.parameters(upload.missing), method=method)
                for method in ("GET", "POST")]
        self.assertEqual(*[re.sub(r"import-vol-\w{8}|<expirationTime>[^<]*", "", without_id(reply))
                           for reply in made])
        self.assertEqual(self.main.boto3(signature_version="v4-query").describe_conversion_tasks(
            ConversionTaskIds=[task])["ConversionTasks"][0]["ConversionTaskId"], task)

    def test_row_2_ways_to_escape(self):
        text = "a b*~é+&=/%-_."

        def escape(how):
            return lambda parameters: "&".join(f"{name}={how(value)}"
                                               for name, value in parameters.items())
        ways = {"plus": urllib.parse.quote_plus, "percent": lambda t: urllib.parse.quote(t, safe=""),
                "raw * and ~": lambda t: urllib.parse.quote(t, safe="*~"),
                "escaped * and ~": lambda t: urllib.parse.quote(t, safe="").replace("~", "%7E"),
                "lower case": lambda t: re.sub("%..", lambda e: e[0].lower(),
                                               urllib.parse.quote(t, safe="")),
                "everything": lambda t: "".join(f"%{byte:02X}" for byte in t.encode())}
        upload = self.world.open_upload()
        for name, how in ways.items():
            for method in ("POST", "GET"):
                with self.subTest(name, method=method):
                    reply = self.main.ask("ImportVolume", upload.parameters(
                        upload.missing, Description=text), method=method, encode=escape(how))
                    self.assertEqual(reply.status, 200, reply.text)
                    self.assertEqual(reply["conversionTask/importVolume/description"], text)
                    self.main.cancel(self.task_of(reply))

    def test_row_3_order_of_parameters_and_of_lists(self):
        upload = self.world.open_upload()
        names = list({"Action": "ImportVolume", "Version": VERSION,
                      **upload.parameters(upload.missing, Description="x")}.items())
        for seed in range(4):
            random.Random(seed).shuffle(names)
            self.main.cancel(self.task_of(self.main.query(dict(names))))
        tasks = [self.waiting() for _ in range(3)]
        numbered = dict(zip((f"ConversionTaskId.{i}" for i in (2, 10, 1)), tasks))
        wanted = [tasks[2], tasks[0], tasks[1]]
        for order in (1, -1):
            self.assertEqual(self.main.query({**DESCRIBE, **dict(list(numbered.items())[::order])})
                             .ids(), wanted)
        parameters = {"Platform": "Linux", "LaunchSpecification.Architecture": "x86_64"}
        for number in (10, 2, 1):
            parameters.update(upload.disk(number, Description=f"disk {number}"))
        reply = self.main.ask("ImportInstance", parameters)
        self.task_of(reply)
        self.assertEqual([e.text for e in reply.all(
            "conversionTask/importInstance/volumes/item/description")], ["disk 1", "disk 2", "disk 10"])

    def test_row_4_namespace_of_the_version(self):
        task = self.waiting()
        for version in VERSIONS:
            for reply in (self.main.describe(task, version=version),
                          self.main.ask("CancelConversionTask", {"ConversionTaskId": task},
                                        version=version)):
                self.assertEqual(reply.status, 200, reply.text)
                self.assertTrue(reply.root.tag.startswith(
                    "{http://ec2.amazonaws.com/doc/%s/}" % version), reply.root.tag)
            wrong = self.main.describe("x", version=version)
            self.assertEqual((wrong.status, wrong.root.tag), (400, "Response"))
        import boto3
        from botocore.config import Config
        old = boto3.session.Session().client(
            "ec2", api_version="2015-10-01", endpoint_url=self.main.url, region_name="us-east-1",
            aws_access_key_id=self.main.key, aws_secret_access_key=self.main.secret,
            config=Config(retries={"max_attempts": 0}))
        self.assertEqual(old.meta.service_model.api_version, "2015-10-01")
        self.assertEqual(old.describe_conversion_tasks(ConversionTaskIds=[task])
                         ["ConversionTasks"][0]["ConversionTaskId"], task)

    def test_row_5_request_id_and_date(self):
        seen = set()
        for reply in (self.main.describe(), self.main.describe(), self.main.describe("x"),
                      self.main.replace(secret="x").describe(),
                      contract.Reply(sign.send(self.main.host, "GET", "/nowhere")),
                      contract.Reply(sign.send(self.main.host, "PUT", "/"))):
            inside = reply["requestId"] or reply["RequestID"]
            self.assertRegex(inside, "^" + contract.UUID + "$")
            self.assertEqual(reply.headers["x-amzn-RequestId"], inside)
            when = email.utils.parsedate_to_datetime(reply.headers["Date"]).timestamp()
            self.assertLess(abs(when - time.time()), 60)
            self.assertTrue(reply.headers["Date"].endswith(" GMT"))
            self.assertEqual(reply.headers["Content-Type"], "text/xml;charset=UTF-8")
            seen.add(inside)
        self.assertEqual(len(seen), 6)
        about = self.ec2.describe_conversion_tasks()["ResponseMetadata"]
        self.assertEqual(about["RequestId"], about["HTTPHeaders"]["x-amzn-requestid"])

    def test_row_6_text_comes_back_intact(self):
        upload = self.world.open_upload()
        url = upload.missing + "?AWSAccessKeyId=A&Expires=1&Signature=a%2Bb%3D"
        made = self.ec2.import_volume(**upload.boto3(ImportManifestUrl=url),
                                      Description=TEXT)["ConversionTask"]
        task = made["ConversionTaskId"]
        shown = self.ec2.describe_conversion_tasks(ConversionTaskIds=[task])["ConversionTasks"][0]
        status, printed, said = self.main.aws("describe-conversion-tasks", "--conversion-task-ids", task)
        self.assertEqual(status, 0, said)
        for volume in (task["ImportVolume"] for task in (made, shown, printed["ConversionTasks"][0])):
            self.assertEqual(volume["Description"], TEXT)
            self.assertEqual(volume["Image"]["ImportManifestUrl"], url)
        self.ec2.cancel_conversion_task(ConversionTaskId=task, ReasonMessage=TEXT)
        item = self.main.wait(task, "cancelled")
        self.assertEqual(item.find("{*}statusMessage").text, TEXT)

    def test_row_7_unknown_action_version_and_parameter(self):
        for parameters, code, message in (
                ({"Version": VERSION}, "MissingAction", None),
                ({"Action": "", "Version": VERSION}, "{MissingAction|InvalidAction}", None),
                ({"Action": "Fish", "Version": VERSION}, "InvalidAction",
                 "The action Fish is not valid for this web service."),
                ({"Action": "DescribeConversionTasks"}, "MissingParameter",
                 "The request must contain the parameter Version"),
                ({**DESCRIBE, "Version": "1999-01-01"}, "NoSuchVersion", None),
                ({**DESCRIBE, "Version": "2016-11-31"}, "NoSuchVersion", None),
                ({**DESCRIBE, "Fish": "1"}, "UnknownParameter", "The parameter Fish is not recognized"),
                ({**DESCRIBE, "ConversionTaskId": "x"}, "UnknownParameter",
                 "The parameter ConversionTaskId is not recognized"),
                ({**DESCRIBE, "ConversionTaskId.x": "x"}, "UnknownParameter", None)):
            reply = self.main.query(parameters)
            with self.subTest(parameters):
                self.assertEqual(reply.status, 400)
                self.assertIn(reply.code, code.strip("{}").split("|"))
                self.assertEqual([e.tag for e in reply.root], ["Errors", "RequestID"])
                self.assertEqual([e.tag for e in reply.root[0][0]], ["Code", "Message"])
                self.assertTrue(reply.message)
                if message:
                    self.assertEqual(reply.message, message)
        # euca2ools' models are older: what they do not know is passed over
        self.assertEqual(self.main.query({**DESCRIBE, "Version": "2015-10-01", "Fish": "1"}).status, 200)
        self.assertEqual(refused(self.ec2.describe_regions), (400, "InvalidAction"))
        status, _, said = self.main.aws("describe-regions")
        self.assertEqual(status, 254)
        self.assertIn("InvalidAction", said)

    def test_row_8_malformed_transport(self):
        big = urllib.parse.urlencode(DESCRIBE).encode().ljust(65537, b"&")
        odd = {"%": "a=%", "%z1": "a=%z1", "latin-1": "a=%e9", "overlong": "a=%c0%80",
               "surrogate": "a=%ed%b0%80"}
        host = self.main.host
        answers = [
            (404, sign.send(host, "GET", "/nowhere")), (404, sign.send(host, "POST", "/x", FORM, b"")),
            (405, sign.send(host, "PUT", "/", FORM, b"")), (405, sign.send(host, "DELETE", "/")),
            (405, sign.send(host, "OPTIONS", "/")), (413, sign.send(host, "POST", "/", FORM, big)),
            *[(400, self.main.query_raw(urllib.parse.urlencode(DESCRIBE) + "&" + text, method))
              for text in odd.values() for method in ("GET", "POST")],
            (400, sign.send(host, "GET", "/")), (400, sign.send(host, "POST", "/", FORM, b""))]
        for status, answer in answers:
            self.assertEqual(answer.status, status, answer.text)
            self.assertEqual(answer.headers["Content-Type"], "text/xml;charset=UTF-8")
            self.assertEqual(xml.fromstring(answer.body).tag, "Response")
            self.assertTrue(contract.Reply(answer).code)
            self.assertTrue(contract.Reply(answer).message)
        self.assertEqual({contract.Reply(answer).code for status, answer in answers[6:16]},
                         {"MalformedQueryString"})
        for method, length in (("FISH", 0), ("POST", 99999999)):
            answer = sign.raw(host, sign.head(method, "/", {"Host": "x", "Content-Length": length,
                                                            "Connection": "close"}), end=False)
            self.assertRegex(answer, rb"^HTTP/1.1 4\d\d ")
            self.assertEqual(xml.fromstring(answer.split(b"\r\n\r\n", 1)[1]).tag, "Response")

    def test_row_9_dry_run(self):
        asked = self.dry_runs()
        for action, parameters in asked.items():
            for truth in ("true", "1"):
                with self.subTest(action, truth=truth):
                    reply = self.assert_nothing_stored(lambda: self.main.ask(
                        action, {**parameters, "DryRun": truth}))
                    self.assertEqual(reply.refusal, DRY_RUN, reply.text)
                    self.assertEqual(reply.message,
                                     "Request would have succeeded, but DryRun flag is set.")
        task = asked["CancelConversionTask"]["ConversionTaskId"]
        self.assertEqual(self.main.describe(task)["conversionTasks/item/state"], "active")
        self.assertIsNone(self.main.describe(task)["conversionTasks/item/tagSet"])

    def test_row_9_invalid_parameters_win_over_dry_run(self):
        upload = self.world.open_upload()
        good = {**upload.boto3(), "DryRun": True}
        image = good["Image"]
        before = self.main.describe().ids()
        for change, code in (({"Image": {**image, "Format": "FLOPPY"}}, "InvalidFormat"),
                             ({"Image": {**image, "Bytes": 0}}, "InvalidParameterValue"),
                             ({"Image": {**image, "ImportManifestUrl": "ftp://h/m"}},
                              "InvalidParameterValue"),
                             ({"Volume": {"Size": 16385}}, "InvalidParameterValue"),
                             ({"AvailabilityZone": "atlantis"}, "InvalidZone.NotFound")):
            self.assertEqual(refused(self.ec2.import_volume, **{**good, **change}), (400, code))
        self.assertEqual(refused(self.ec2.import_volume, **good), DRY_RUN)
        disks = [{"Image": image, "Volume": {"Size": 1}}]
        for platform, answer in (("Amiga", (400, "InvalidParameterValue")), ("Linux", DRY_RUN)):
            self.assertEqual(refused(self.ec2.import_instance, Platform=platform, DiskImages=disks,
                                     DryRun=True), answer)
        for call in (self.ec2.cancel_conversion_task, self.ec2.describe_conversion_tasks):
            name = "ConversionTaskId" + ("" if call == self.ec2.cancel_conversion_task else "s")
            for value, code in (("x", "InvalidConversionTaskId.Malformed"),
                                ("import-vol-zzzzzzzz", "InvalidConversionTaskId")):
                self.assertEqual(refused(call, **{name: value if name[-1] == "d" else [value]},
                                         DryRun=True), (400, code), name)
        self.assertEqual(self.main.describe().ids(), before)

    def test_row_9_dry_run_of_the_cli(self):
        task = self.waiting()
        for arguments in (["describe-conversion-tasks"],
                          ["cancel-conversion-task", "--conversion-task-id", task]):
            status, _, said = self.main.aws(*arguments, "--dry-run")
            self.assertEqual(status, 254)
            self.assertIn("DryRunOperation", said)
        self.assertEqual(self.main.describe(task)["conversionTasks/item/state"], "active")



if __name__ == "__main__":
    contract.main()
