#!/usr/bin/python3
"""Rows 10 to 13 of the EC2 contract's feature table: signatures and clients, live.

The vectors of row 10 are run by toolkit/test-sigv4 and toolkit/test-sigv2; here is what only a request
can show of them."""
import os
import re
import subprocess
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import contract  # noqa: E402
import euca  # noqa: E402
import sign  # noqa: E402
from contract import DESCRIBE, FORM, VERSION  # noqa: E402

WRONG = 403, "SignatureDoesNotMatch"
EXPIRED = 400, "RequestExpired"
BODY = urllib.parse.urlencode(DESCRIBE).encode()

# --- clients: each takes an account and returns what the service answered to DescribeConversionTasks


def by_curl(account):
    return run(["/usr/bin/curl", "--silent", "--show-error", "--aws-sigv4", "aws:amz:us-east-1:ec2",
                "--user", f"{account.key}:{account.secret}", "--data", BODY.decode(), account.url])


def by_aws_cli(account):
    status, document, said = account.aws("describe-conversion-tasks")
    return str(document) if status == 0 else said


def by_botocore(version, **config):
    def ask(account):
        from botocore.exceptions import ClientError
        try:
            return str(account.boto3(signature_version=version, **config).describe_conversion_tasks())
        except ClientError as refusal:
            return str(refusal)
    return ask


def by_boto2(account):
    """The boto before boto3, which signs for region 0 and service 127 at an address without names."""
    return run(["/usr/bin/python3", "-W", "ignore", "-c", """
import sys, boto.ec2.connection, boto.ec2.regioninfo
key, secret, host, port, version = sys.argv[1:]
ec2 = boto.ec2.connection.EC2Connection(
    key, secret, is_secure=False, host=host, port=int(port),
    region=boto.ec2.regioninfo.RegionInfo(name='local', endpoint=host))
ec2.APIVersion = version
print(ec2.make_request('DescribeConversionTasks', {}).read().decode())
""", account.key, account.secret, *account.host.split(":"), "2014-10-01"])


def by_libcloud(version):
    def ask(account):
        return run(["/usr/bin/python3", "-W", "ignore", "-c", """
import sys, libcloud.compute.drivers.ec2 as ec2, libcloud.common.types
key, secret, host, port, version = sys.argv[1:]
driver = ec2.EC2NodeDriver(key, secret, region='us-east-1', secure=False, host=host, port=int(port),
                           signature_version=version)
try:
    print(driver.connection.request('/', params={'Action': 'DescribeConversionTasks'}).body)
except Exception as refusal:
    print(refusal)
""", account.key, account.secret, *account.host.split(":"), version])
    return ask


def by_perl(version):
    """It signs the host's name without the port."""
    def ask(account):
        return run(["/usr/bin/perl", "-MNet::Amazon::EC2", "-MJSON::PP", "-e", """
my ($key, $secret, $url, $version) = @ARGV;
my $ec2 = Net::Amazon::EC2->new(AWSAccessKeyId => $key, SecretAccessKey => $secret, base_url => $url,
                                region => 'us-east-1', signature_version => $version);
print encode_json($ec2->_sign(Action => 'DescribeConversionTasks'));
""", account.key, account.secret, account.url.rstrip("/"), version])
    return ask


def by_euca_tools(account):
    _, out, err = euca.run({"EC2_URL": account.url, "AWS_ACCESS_KEY_ID": account.key,
                            "AWS_SECRET_ACCESS_KEY": account.secret}, "describe-conversion-tasks")
    return out + err


def run(command, **environment):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, **environment})
    return done.stdout


CLIENTS = {
    "botocore, version 4 in the header": by_botocore("v4"),
    "botocore, version 4 in the query": by_botocore("v4-query"),
    "botocore, version 2": by_botocore("v2"),
    "AWS CLI": by_aws_cli, "boto 2": by_boto2, "curl": by_curl,
    "libcloud, version 4": by_libcloud("4"), "libcloud, version 2": by_libcloud("2"),
    "Net::Amazon::EC2, version 4": by_perl("4"), "Net::Amazon::EC2, version 2": by_perl("2"),
    "euca tools": by_euca_tools,
}


class Signatures(contract.Case):
    def assert_refused(self, answer, *wanted):
        reply = contract.Reply(answer)
        self.assertIn(reply.refusal, wanted, reply.text)

    def post(self, headers, body=BODY):
        return sign.send(self.main.host, "POST", "/", headers, body)

    def signed(self, **how):
        return sign.v4(self.main.key, self.main.secret, "POST", self.main.host, "/", body=BODY,
                       headers={**FORM, **how.pop("headers", {})}, **how)

    def test_row_10_the_edges_of_canonical_requests(self):
        # a run of blanks counts as one, those at the ends not at all
        for value in ("a  b   c", '"a   b"', "  a ", "b", "", "a,b"):
            one = re.sub(" +", " ", value.strip())
            headers = {**self.signed(headers={"my-header": one}), "my-header": value}
            self.assertEqual(self.post(headers).status, 200, value)
            self.assert_refused(self.post({**headers, "my-header": value + "x"}), WRONG)
        for query in ("Version=2016-11-15&Action=DescribeConversionTasks",
                      "Action=DescribeConversionTasks&Version=2016-11-15&",
                      "Action=DescribeConversionTasks&&Version=2016-11-15"):
            headers = sign.v4(self.main.key, self.main.secret, "GET", self.main.host, "/", query)
            self.assertEqual(sign.send(self.main.host, "GET", "/?" + query, headers).status, 200, query)
        # authorization: blanks and order are free
        good = self.signed()
        _, scope, names, signature = good["authorization"].replace(",", "").split(" ")
        for text in (f"AWS4-HMAC-SHA256 {scope},{names},{signature}",
                     f"AWS4-HMAC-SHA256 {signature}, {scope}, {names}"):
            self.assertEqual(self.post({**good, "authorization": text}).status, 200, text)
        self.assert_refused(self.post({**good, "authorization": good["authorization"].lower()}),
                            (400, "IncompleteSignature"))
        # the scope is the client's own
        for region, name in (("undefined-4711", "ec2"), ("0", "127"), ("eu-west-3", "compute")):
            self.assertEqual(self.post(self.signed(region=region, service=name)).status, 200)

    def test_row_11_clients(self):
        wrong = self.main.replace(secret=self.main.secret + "X")
        task = self.waiting()
        for name, ask in CLIENTS.items():
            with self.subTest(name):
                text = ask(self.main)
                self.assertIn(task, text)
                self.assertNotIn("SignatureDoesNotMatch", text)
                text = ask(wrong)
                self.assertIn("SignatureDoesNotMatch", text)
                self.assertNotIn(task, text)

    def test_row_12_changed_replayed_and_out_of_date(self):
        good = self.signed()
        self.assertEqual(self.post(good).status, 200)
        self.assertEqual(self.post(good).status, 200)  # the same within its time: a retry
        self.assert_refused(self.post(good, BODY + b"&DryRun=true"), WRONG)
        self.assert_refused(self.post(good, b""), WRONG)
        # a header added to SignedHeaders afterwards, there or not
        more = good["authorization"].replace("SignedHeaders=", "SignedHeaders=accept;")
        self.assert_refused(self.post({**good, "authorization": more}), WRONG)
        self.assert_refused(self.post({**good, "authorization": more, "accept": "*/*"}), WRONG)
        fewer = good["authorization"].replace("SignedHeaders=content-type;", "SignedHeaders=")
        self.assert_refused(self.post({**good, "authorization": fewer}), WRONG)
        # replayed when its time is over, and sent before it began
        for seconds in (-901, 915):
            self.assert_refused(self.post(self.signed(when=time.time() + seconds)), EXPIRED)
        for seconds in (-880, 880):
            self.assertEqual(self.post(self.signed(when=time.time() + seconds)).status, 200)
        # the scope is of another day than the date
        yesterday = self.signed(when=time.time() - 86400)
        self.assert_refused(self.post({**yesterday, "x-amz-date": good["x-amz-date"]}), WRONG,
                            (400, "IncompleteSignature"))
        day, before = (sign.amz_date(time.time() - ago)[:8] for ago in (0, 86400))
        self.assert_refused(self.post({**good, "authorization": good["authorization"].replace(
            f"/{day}/", f"/{before}/")}), WRONG, (400, "IncompleteSignature"))

    def test_row_12_presigned(self):
        def get(query):
            return sign.send(self.main.host, "GET", "/?" + query)

        def query(**how):
            return sign.v4_presigned(self.main.key, self.main.secret, "GET", self.main.host, "/",
                                     service="ec2", parameters=DESCRIBE, **how)
        for expires in (1, 604800):
            # by a clock that is a minute ahead: its second may have been over when it was signed
            self.assertEqual(get(query(when=time.time() + 60, expires=expires)).status, 200)
        self.assertEqual(get(query(when=time.time() - 604000, expires=604800)).status, 200)
        for expires in (604801, 0, -1, "x", ""):
            answer = contract.Reply(get(query(expires=expires)))
            self.assertEqual(answer.status, 400, answer.text)
            self.assertIn(answer.code, ("InvalidParameterValue", "IncompleteSignature"))
        self.assert_refused(get(query(when=time.time() - 61, expires=60)), EXPIRED)
        self.assert_refused(get(query(when=time.time() + 1000)), EXPIRED)
        self.assert_refused(get(query() + "&DryRun=true"), WRONG)
        self.assert_refused(get(query(expires=600).replace("Expires=600", "Expires=700")), WRONG)
        url = self.main.boto3().generate_presigned_url("describe_conversion_tasks")
        self.assert_refused(get(urllib.parse.urlsplit(url).query), WRONG)  # it signs a POST
        url = self.main.boto3().generate_presigned_url("describe_conversion_tasks", HttpMethod="GET")
        self.assertEqual(get(urllib.parse.urlsplit(url).query).status, 200)

    def test_row_13_bodies_that_are_not_signed(self):
        for payload in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"):
            extra = {"x-amz-content-sha256": payload}
            if payload.startswith("STREAMING"):
                extra.update({"content-encoding": "aws-chunked",
                              "x-amz-decoded-content-length": str(len(BODY))})
            for signed_as in (payload, None):
                with self.subTest(payload, signed_as=signed_as):
                    answer = self.post(self.signed(payload=signed_as, headers=extra))
                    self.assert_refused(answer, (400, "InvalidRequest"))
        unsigned = sign.v4(self.main.key, self.main.secret, "POST", self.main.host, "/", body=BODY,
                           headers={**FORM, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
                           payload="UNSIGNED-PAYLOAD")
        self.assert_nothing_stored(lambda: self.post(unsigned, urllib.parse.urlencode({
            "Action": "ImportVolume", "Version": VERSION,
            **self.world.open_upload().parameters()}).encode()))
        self.assertEqual(self.post(self.signed()).status, 200)


if __name__ == "__main__":
    contract.main()
