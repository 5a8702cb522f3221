#!/usr/bin/python3
"""config - where endpoints and keys come from, and which place wins.

The programs are run with files, variables and options that each name another endpoint, key or region,
and ask a stand-in that answers everything and remembers who asked.  The rows of each table are in the
order of docs/clients.md: each row takes away the place that won in the row before.
"""
import http.server
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import euca  # noqa: E402

DESCRIBE = "euca-describe-conversion-tasks"
DEADLINE = 60
NOBODY = 65534
AUTHORIZATION = re.compile("AWS4-HMAC-SHA256 Credential=([^/]*)/[0-9]+/([^/]*)/(ec2|s3)/aws4_request")
TASKS = (b'<DescribeConversionTasksResponse xmlns="http://ec2.amazonaws.com/doc/2015-10-01/">'
         b"<requestId>r</requestId><conversionTasks/></DescribeConversionTasksResponse>")
TASK = (b'<ImportVolumeResponse xmlns="http://ec2.amazonaws.com/doc/2015-10-01/"><requestId>r</requestId>'
        b"<conversionTask><conversionTaskId>import-vol-1a2b3c4d</conversionTaskId><state>active</state>"
        b"</conversionTask></ImportVolumeResponse>")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        key, region, name = AUTHORIZATION.match(self.headers["Authorization"]).groups()
        server.seen.append({"key": key, "region": region, "service": name, "path": self.path.split("?")[0],
                            "token": self.headers.get("X-Amz-Security-Token")})
        if server.silent:
            server.silent.wait(DEADLINE)
        status = server.statuses.pop(0) if server.statuses else 200
        text = TASK if b"Action=ImportVolume" in body else TASKS if self.command == "POST" else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_HEAD = answer


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context=None):
        super().__init__(("127.0.0.1", 0), Handler)
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.server_port}"
        self.seen, self.statuses, self.silent = [], [], None
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients that refuse a certificate

    def stop(self):
        self.shutdown()
        self.server_close()


class Config(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="config.")
        self.addCleanup(shutil.rmtree, self.home)
        self.server = Server()
        self.addCleanup(self.server.stop)

    def url(self, name):
        return f"{self.server.url}/{name}/"

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run_tool(self, *arguments, **more):
        """Files below the home directory are the only ones but where a variable says otherwise.  Its
        exit status and what it said."""
        self.server.seen.clear()
        env = {"HOME": self.home, "EUCA_CONFIG_PATH": "~/.euca/*.ini"}
        return euca.run(env, *arguments, cwd=self.home, **more)

    def asked(self, *arguments, stderr="", **variables):
        """What the first request of a describe shows."""
        result = self.run_tool(DESCRIBE, *arguments, **variables)
        self.assertEqual(result, (0, "", stderr))
        self.assertEqual(len(self.server.seen), 1)
        return self.server.seen[0]

    def imported(self, *arguments, **variables):
        """What the first requests to the object store and to EC2 show."""
        disk = self.write("disk.img", "x")
        result = self.run_tool("euca-import-volume", "-f", "raw", "-z", "z", "-b", "bucket", "--no-upload",
                               *arguments, disk, **variables)
        self.assertEqual(result[::2], (0, ""))
        return [next(seen for seen in self.server.seen if seen["service"] == name) for name in ("s3", "ec2")]

    def told(self, message, *arguments, **variables):
        """It fails with that line, before anything is sent."""
        result = self.run_tool(DESCRIBE, *arguments, **variables)
        self.assertEqual(result,
                         (1, "", f"{DESCRIBE}: error: {message}\n"))
        self.assertEqual(self.server.seen, [])

    def falling(self, places, field, *arguments, **variables):
        """places: (option, its value) or (variable, its value), or a call that takes away a file, each
        with what is seen while it is there and all before it are not."""
        options, rest = dict(), dict(variables)
        for name, value, _ in places:
            if name.startswith("-"):
                options[name] = value
            elif name.isupper() or name.startswith("AWS"):
                rest[name] = value
        for name, value, expected in places:
            flat = [*arguments, *(word for option in options.items() for word in option)]
            with self.subTest(place=name):
                self.assertRegex(self.asked(*flat, **rest)[field], f"^{expected}$")
            options.pop(name, None)
            if name in rest:
                del rest[name]
            if name == "file":
                os.remove(os.path.join(self.home, value))

    # --- the orders

    def test_ec2_endpoint(self):
        self.write(".euca/a.ini", f"[region r]\nec2-url = {self.url('region')}\n")
        self.write(".aws/config", f"[default]\nservices = mine\nendpoint_url = {self.url('profile')}\n"
                   f"[services mine]\ns3 =\n  endpoint_url = {self.url('s3')}\n"
                   f"ec2 =\n  endpoint_url = {self.url('service')}\n")
        self.falling([("-U", self.url("option"), "/option/"),
                      ("EC2_URL", self.url("variable"), "/variable/"),
                      ("file", ".euca/a.ini", "/region/"),
                      ("AWS_ENDPOINT_URL_EC2", self.url("aws-ec2"), "/aws-ec2/"),
                      ("AWS_ENDPOINT_URL", self.url("aws"), "/aws/"),
                      ("nothing", None, "/service/")], "path", "-I", "A", "-S", "S", "--region", "r")
        self.write(".aws/config", f"[default]\nendpoint_url = {self.url('profile')}\n")
        self.assertEqual(self.asked("-I", "A", "-S", "S")["path"], "/profile/")

    def test_s3_endpoint(self):
        keys = ("-I", "A", "-S", "S", "-U", self.url("ec2"))
        region = self.write(".euca/a.ini", "[global]\ndefault-region = r\n"
                            f"[region r]\ns3-url = {self.url('region')}\n")
        self.write(".aws/config", f"[profile p]\nendpoint_url = {self.url('profile')}\n")
        variables = {"S3_URL": self.url("variable"), "AWS_ENDPOINT_URL_S3": self.url("aws-s3"),
                     "AWS_ENDPOINT_URL": self.url("aws"), "AWS_PROFILE": "p"}
        self.assertEqual(self.imported(*keys, "--s3-url", self.url("option"), **variables)[0]["path"],
                         "/option/bucket")
        self.assertEqual(self.imported(*keys, **variables)[0]["path"], "/variable/bucket")
        del variables["S3_URL"]
        self.assertEqual(self.imported(*keys, **variables)[0]["path"], "/region/bucket")
        os.remove(region)
        for name, expected in (("AWS_ENDPOINT_URL_S3", "aws-s3"), ("AWS_ENDPOINT_URL", "aws"),
                               ("AWS_PROFILE", "profile")):
            self.assertEqual(self.imported(*keys, **variables)[0]["path"], f"/{expected}/bucket")
            del variables[name]

    def test_region(self):
        self.write(".euca/a.ini", "[global]\ndefault-region = global\n" + "".join(
            f"[region {name}]\nec2-url = {self.url(name)}\n" for name in ("option", "euca", "aws", "global")))
        self.falling([("--region", "option", "option"), ("EUCA_DEFAULT_REGION", "euca", "euca"),
                      ("AWS_DEFAULT_REGION", "aws", "aws"), ("nothing", None, "global")],
                     "region", "-I", "A", "-S", "S")
        self.assertEqual(self.server.seen[0]["path"], "/global/")

    def test_user(self):
        self.write(".euca/a.ini", "[global]\ndefault-region = r\n"
                   f"[region *]\nec2-url = {self.url('x')}\n[region r]\nuser = region\n[region s]\n" + "".join(
                       f"[user {name}]\nkey-id = {name}\nsecret-key = s\n"
                       for name in ("option", "euca", "aws", "region")))
        self.falling([("--region", "option@s", "option"), ("EUCA_DEFAULT_REGION", "euca@s", "euca"),
                      ("AWS_DEFAULT_REGION", "aws@", "aws"), ("nothing", None, "region")], "key")
        # one may name the user, the next the region
        seen = self.asked("--region", "option@", EUCA_DEFAULT_REGION="euca@s", AWS_DEFAULT_REGION="r")
        self.assertEqual((seen["key"], seen["region"]), ("option", "s"))
        self.assertEqual(self.asked("--region", "@s", EUCA_DEFAULT_REGION="euca@")["region"], "s")

    def test_keys(self):
        self.write(".euca/a.ini", "[user u]\nkey-id = user\nsecret-key = s\nsecurity-token = user-token\n")
        self.write("file", "AWSAccessKeyId=file\nAWSSecretKey=s\n")
        self.write(".aws/credentials", "[default]\naws_access_key_id = default\naws_secret_access_key = s\n"
                   "aws_session_token = default-token\n"
                   "[p]\naws_access_key_id = profile\naws_secret_access_key = s\n")
        url = self.url("x")
        environment = {"AWS_ACCESS_KEY_ID": "variable", "AWS_SECRET_ACCESS_KEY": "s",
                       "AWS_SESSION_TOKEN": "variable-token"}
        rest = {"AWS_PROFILE": "p", "AWS_CREDENTIAL_FILE": "~/file", "EUCA_DEFAULT_REGION": "u@", "EC2_URL": url}

        def seen(*options, **variables):
            first = self.asked(*options, **variables)
            return first["key"], first["token"]

        self.assertEqual(seen("-I", "option", "-S", "s", **environment, **rest), ("option", None))
        self.assertEqual(seen(**environment, **rest), ("variable", "variable-token"))
        self.assertEqual(seen(AWS_ACCESS_KEY="old", AWS_SECRET_KEY="s", AWS_SECURITY_TOKEN="t", **rest), ("old", "t"))
        self.assertEqual(seen("--security-token", "option", **environment, **rest), ("variable", "option"))
        # half a pair is none, and is mixed with no other half
        self.assertEqual(seen(AWS_ACCESS_KEY_ID="half", AWS_SECURITY_TOKEN="half", **rest), ("file", None))
        self.assertEqual(seen(**rest), ("file", None))
        rest.pop("AWS_CREDENTIAL_FILE")
        self.assertEqual(seen(**rest), ("user", "user-token"))
        self.assertEqual(seen("--security-token", "option-token", **rest), ("user", "option-token"))
        # AWS's own files come last, whoever names a profile
        self.write(".euca/b.ini", "[region r]\nuser = u\n")
        self.assertEqual(seen(**{**rest, "EUCA_DEFAULT_REGION": "r"}), ("user", "user-token"))
        rest.pop("EUCA_DEFAULT_REGION")
        self.assertEqual(seen(AWS_ACCESS_KEY_ID="half", **rest), ("profile", None))
        self.assertEqual(seen(**rest), ("profile", None))
        rest.pop("AWS_PROFILE")
        self.assertEqual(seen(AWS_DEFAULT_PROFILE="p", **rest), ("profile", None))
        self.assertEqual(seen(**rest), ("default", "default-token"))
        self.assertEqual(seen("--security-token", "t", **rest), ("default", "t"))
        os.remove(os.path.join(self.home, ".aws/credentials"))
        no_id = "missing access key ID; please supply one with -I"
        no_secret = "missing secret key; please supply one with -S"
        self.told(no_id, **rest)
        self.told(no_secret, AWS_ACCESS_KEY_ID="half", **rest)
        self.told(no_id, AWS_SECRET_ACCESS_KEY="half", **rest)
        self.write("file", "AWSAccessKeyId=file\n")
        self.told(no_secret, AWS_CREDENTIAL_FILE="~/file", **rest)

    def test_s3_keys(self):
        urls = {"EC2_URL": self.url("ec2"), "S3_URL": self.url("s3")}
        self.write(".euca/a.ini", "[user u]\nkey-id = user\nsecret-key = s\nsecurity-token = t\n")
        s3, ec2 = self.imported("--region", "u@", **urls)
        self.assertEqual((s3["key"], s3["token"], ec2["key"], ec2["token"]), ("user", "t", "user", "t"))
        s3, ec2 = self.imported("--region", "u@", "-o", "owner", "-w", "s", **urls)
        self.assertEqual((s3["key"], s3["token"], ec2["key"], ec2["token"]), ("owner", None, "user", "t"))

    def test_signing_region(self):
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S"}
        config = (f"[global]\ndefault-region = group:plain\n[region group:plain]\nec2-url = {self.url('x')}\n"
                  f"[region named]\nname = my-name\nec2-url = {self.url('x')}\ns3-url = {self.url('s3')}\n"
                  "[region other]\nec2-url = use named\n[region group:*]\nname = star\n"
                  f"[region colons]\nec2-url = inside::{self.url('x')}\n")
        self.write(".euca/a.ini", config)
        url = self.url("x")
        for arguments, variables, expected in (
                ((), {"EC2_URL": "told::" + url, "AWS_DEFAULT_REGION": "named", "AWS_AUTH_REGION": "auth"}, "told"),
                (("-U", "told::" + url), {"EC2_URL": "x::" + url}, "told"),
                (("--region", "named"), {"EC2_URL": "told::" + url}, "told"),
                (("--region", "named"), {"AWS_AUTH_REGION": "auth"}, "my-name"),
                (("--region", "other"), {}, "my-name"),
                (("--region", "colons"), {}, "inside"),
                ((), {"AWS_AUTH_REGION": "auth"}, "plain"),
                (("--region", "plain"), {}, "plain"),
                # an endpoint from elsewhere, with a region that is meant, and one that is only the default
                (("--region", "named"), {"EC2_URL": url}, "my-name"),
                ((), {"EC2_URL": url, "AWS_DEFAULT_REGION": "eu-west-9", "AWS_AUTH_REGION": "auth"}, "eu-west-9"),
                ((), {"EC2_URL": url, "EUCA_DEFAULT_REGION": "me@euca", "AWS_DEFAULT_REGION": "aws"}, "euca"),
                (("--region", "me@option"), {"EC2_URL": url, "EUCA_DEFAULT_REGION": "euca"}, "option"),
                ((), {"EC2_URL": url, "AWS_AUTH_REGION": "auth", "AWS_REGION": "region"}, "auth"),
                ((), {"EC2_URL": url, "AWS_REGION": "region"}, "region"),
                ((), {"EC2_URL": url}, "undefined-[0-9]+")):
            with self.subTest(arguments=arguments, variables=variables):
                self.assertRegex(self.asked(*arguments, **variables, **keys)["region"], f"^{expected}$")
        s3, ec2 = self.imported("--region", "named", **keys)
        self.assertEqual((s3["region"], ec2["region"]), ("my-name", "my-name"))
        # an object store of which nothing is said is where EC2 is
        s3, ec2 = self.imported(EC2_URL="told::" + url, S3_URL=url, **keys)
        self.assertEqual((s3["region"], ec2["region"]), ("told", "told"))
        for options, variables in (((), {"S3_URL": "s3::" + url}), (("--s3-url", "s3::" + url), {})):
            s3, ec2 = self.imported(*options, EC2_URL="told::" + url, **variables, **keys)
            self.assertEqual((s3["region"], ec2["region"]), ("s3", "told"))

    def test_profile(self):
        """What a profile says of keys, endpoint and region belongs together."""
        self.write(".aws/config", "[default]\nregion = wrong\n[profile p]\nregion = eu-west-9\n"
                   f"endpoint_url = {self.url('p')}\n[profile \"two words\"]\naws_access_key_id = two\n"
                   f"aws_secret_access_key = s\n[profile all]\naws_access_key_id = c\naws_secret_access_key = c\n")
        self.write(".aws/credentials", "[p]\naws_access_key_id = P\naws_secret_access_key = s\n"
                   "aws_security_token = old-spelling\n[all]\naws_access_key_id = credentials\n"
                   "aws_secret_access_key = s\n")
        s3, ec2 = self.imported(AWS_PROFILE="p")
        self.assertEqual(ec2, {"key": "P", "region": "eu-west-9", "service": "ec2", "path": "/p/",
                               "token": "old-spelling"})
        self.assertEqual((s3["key"], s3["region"], s3["path"]), ("P", "eu-west-9", "/p/bucket"))
        self.assertEqual(self.asked("-U", self.url("x"), AWS_PROFILE="two words")["key"], "two")
        self.assertEqual(self.asked("-U", self.url("x"), AWS_PROFILE="all")["key"], "credentials")
        elsewhere = self.write("elsewhere", "[p]\naws_access_key_id = E\naws_secret_access_key = s\n")
        self.assertEqual(self.asked(AWS_PROFILE="p", AWS_SHARED_CREDENTIALS_FILE=elsewhere)["key"], "E")
        config = self.write("config", f"[profile p]\nendpoint_url = {self.url('config')}\n")
        self.assertEqual(self.asked(AWS_PROFILE="p", AWS_CONFIG_FILE=config)["path"], "/config/")

    # --- files

    def test_later_files_win_by_option(self):
        self.write(".euca/a.ini", f"[region r]\nec2-url = {self.url('a')}\nuser = u\n"
                   "[user u]\nkey-id = a\nsecret-key = s\n")
        self.write(".euca/b.ini", f"[region r]\nec2-url = {self.url('b')}\n")
        self.write(".euca/.c.ini", f"[region r]\nec2-url = {self.url('hidden')}\n")
        self.write(".euca/d.ini.old", "this is no such file")
        seen = self.asked("--region", "r", EUCA_CONFIG_PATH=None)
        self.assertEqual((seen["path"], seen["key"]), ("/b/", "a"))
        other = self.write("other/x.ini", f"[region r]\nec2-url = {self.url('x')}\n")
        both = f"{self.home}/other/*.ini:~/.euca/a.ini:{self.home}/none.ini"
        self.assertEqual(self.asked("--region", "r", EUCA_CONFIG_PATH=both)["path"], "/a/")
        both = f"~/.euca/a.ini:{other}"
        self.assertEqual(self.asked("--region", "r", EUCA_CONFIG_PATH=both)["path"], "/x/")
        for none in ("", "/dev/null", "/nowhere/*.ini", ":"):
            self.told("region 'r' is not known: no configuration file has [region r]; regions with an ec2 "
                      "endpoint: none", "--region", "r", EUCA_CONFIG_PATH=none)

    def test_files_are_read_once(self):
        """Also by a command that needs two endpoints: they may be pipes."""
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        with open(theirs, "w", encoding="ascii") as pipe:
            pipe.write(f"[region r]\nec2-url = {self.url('e')}\ns3-url = {self.url('s')}\nuser = u\n"
                       "[user u]\nkey-id = A\nsecret-key = S\n")
        s3, ec2 = self.imported("--region", "r", EUCA_CONFIG_PATH=f"/dev/fd/{ours}", pass_fds=(ours,))
        self.assertEqual((s3["path"], s3["key"], ec2["path"]), ("/s/bucket", "A", "/e/"))

    def test_groups_wildcards_and_use(self):
        self.write(".euca/a.ini", "[region aws:*]\nuser = use\tnobody\nuser = use r:x user\n"
                   f"[region aws:east]\nec2-url = {self.url('east')}\n[region r:x]\nuser = u\n"
                   "[user *]\nsecret-key = s\n[user u]\nkey-id = key\n")
        seen = self.asked("--region", "east")
        self.assertEqual(seen, {"key": "key", "region": "east", "service": "ec2", "path": "/east/", "token": None})

    def test_global_options(self):
        def configure(text):
            self.write(".euca/a.ini", f"[global]\n{text}\n")

        here = ("-U", self.url("x"), "-I", "A", "-S", "S")
        for debug in ("true", "color", "colour", "1"):
            configure(f"debug = {debug}")
            self.asked(*here, stderr=f"debug: POST {self.url('x')} -> 200\n")
        configure("debug = no")
        self.asked(*here)
        for retries, failures, ends in (("0", 1, 1), ("0", 0, 0), ("4", 4, 0), ("4", 5, 1)):
            configure(f"max-retries = {retries}")
            self.server.statuses = [503] * failures
            result = self.run_tool(DESCRIBE, *here, IMAGING_HASTE="1000")
            self.assertEqual((result[0], len(self.server.seen)), (ends, min(failures, int(retries)) + 1))
        configure("max-retries = 0")
        self.server.statuses = [503]
        self.run_tool("euca-import-volume", "-f", "raw", "-z", "z", "-b", "b", "--s3-url", self.url("x"),
                      self.write("disk.img", "x"), *here)
        self.assertEqual(len(self.server.seen), 1)
        self.server.statuses = []
        configure("timeout = 0.5\nmax-retries = 0")
        self.server.silent = threading.Event()
        began = time.monotonic()
        result = self.run_tool(DESCRIBE, *here)
        self.assertLess(time.monotonic() - began, 20)  # 30 s are the preset
        self.server.silent.set()
        self.assertIn("connection error (", result[2])
        self.assertEqual(result[0], 1)

    def test_certificates(self):
        cert, key = os.path.join(self.home, "cert.pem"), os.path.join(self.home, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=127.0.0.1",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        plain, self.server = self.server, Server(context)
        self.addCleanup(self.server.stop)
        url = self.url("x")
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S"}

        def configure(text, ec2=url):
            self.write(".euca/a.ini", f"[region r]\nec2-url = {ec2}\ns3-url = {ec2}\n{text}\n")

        def refused(*arguments, **variables):
            result = self.run_tool(DESCRIBE, *arguments, **keys, **variables)
            self.assertEqual(result[0], 1)
            self.assertIn("error: connection error (", result[2])
            self.assertEqual((self.server.seen, len(result[2].splitlines())), ([], 1))

        warning = (f": warning: region 'r' has verify-ssl = false: whoever answers for {url} is believed, "
                   "and may read and change what is sent\n")
        for text in ("", "verify-ssl = true", "certificate = " + cert):
            configure(text)
            refused("--region", "r")
        for variable in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
            self.asked("--region", "r", **{variable: cert}, **keys)
        configure("ca-file = ~/cert.pem")
        self.asked("--region", "r", **keys)
        refused("--region", "r", AWS_CA_BUNDLE="/etc/hostname")
        configure("verify-ssl = false")
        self.asked("--region", "r", stderr=DESCRIBE + warning, **keys)
        result = self.run_tool("euca-tools", "describe-conversion-tasks", "--region", "r", **keys)
        self.assertEqual(result[::2], (0, DESCRIBE + warning))
        result = self.run_tool("euca-import-volume", "--region", "r", "-f", "raw", "-z", "z", "-b", "b", "--no-upload",
                               self.write("disk.img", "x"), **keys)
        self.assertEqual(result[::2], (0, "euca-import-volume" + warning))
        # it is said of the region's own endpoint, of no other
        refused("--region", "r", "-U", url)
        refused("--region", "r", EC2_URL=url)
        configure("verify-ssl = false", ec2=plain.url)
        result = self.run_tool(DESCRIBE, "--region", "r", **keys)
        self.assertEqual(result[::2], (0, ""))

    # --- what is wrong

    def test_wrong_files(self):
        ini = os.path.join(self.home, ".euca/a.ini")
        for text, message in (
                ("[region r]\n\nsecret-key s3cret\n", f"{ini}:3: neither [SECTION] nor NAME = VALUE"),
                ("secret-key = s3cret\n", f"{ini}:1: an option stands before the first [SECTION]"),
                ("[region a@b]\n", f"{ini}: section [region a@b]: no name has an '@', which separates user and region"),
                ("[user a::b]\n", f"{ini}: section [user a::b]: there must be a word before and behind each colon"),
                ("[user a b]\n", f"{ini}: section [user a b]: no name has a blank"),
                ("[region]\n", f"{ini}: section [region]: it has no name"),
                (f"[region {'x' * 256}]\n", f"{ini}: section [region {'x' * 256}]: the name is too long"),
                ("[user x]\0\n", f"{ini}:1: a zero byte: this is no text"),
                ("#" * (1 << 20) + "\n", f"'{ini}' is larger than the 1048576 bytes allowed")):
            with self.subTest(text=text[:40]):
                self.write(".euca/a.ini", text)
                self.told(message, "-U", self.url("x"), "-I", "A", "-S", "S")
        os.remove(ini)
        os.mkdir(ini)
        self.told(f"cannot read '{ini}': Is a directory", "-U", self.url("x"), "-I", "A", "-S", "S")
        os.rmdir(ini)
        os.symlink("nowhere", ini)
        self.told(f"No such file or directory: {ini}", "-U", self.url("x"), "-I", "A", "-S", "S")

    def test_unreadable_file(self):
        """By somebody who may not read everything."""
        ini = self.write("a.ini", "", mode=0)
        user = NOBODY if os.geteuid() == 0 else None
        os.chmod(self.home, 0o755)
        try:
            result = self.run_tool(DESCRIBE, EUCA_CONFIG_PATH=ini, user=user)
        except PermissionError:
            self.skipTest("the programs are where nobody else comes")
        self.assertEqual(result[::2], (1, f"{DESCRIBE}: error: Permission denied: {ini}\n"))

    def test_wrong_names_and_values(self):
        self.write(".euca/a.ini", f"[region r]\nec2-url = {self.url('r')}\nuser = gone\n[region b:twice]\n"
                   f"ec2-url = {self.url('b')}\n[region a:twice]\nec2-url = {self.url('a')}\n[region blank]\n"
                   "[region circle]\nec2-url = use circle\n[region lost]\nec2-url = use nowhere\n"
                   "[user half]\nkey-id = A\n[user other]\nsecret-key = S\n[user spaced]\nkey-id = A B\n"
                   f"secret-key = s3cret\n[region slash]\nname = a/b\nec2-url = {self.url('x')}\n"
                   f"[region v]\nec2-url = {self.url('x')}\nverify-ssl = perhaps\n")
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S"}
        listed = "a:twice, b:twice, circle, lost, r, slash, v"
        for region, message in (
                ("none", "region 'none' is not known: no configuration file has [region none]; regions with an ec2 "
                 f"endpoint: {listed}"),
                ("blank", "No ec2 endpoint to connect to was given. Configured regions with ec2 endpoints are: " + listed),
                ("", "No ec2 endpoint to connect to was given. Configured regions with ec2 endpoints are: " + listed),
                ("twice", "region 'twice' is ambiguous; closest matches are b:twice, a:twice"),
                ("circle", "region 'circle': ec2-url is sent on by 'use' more than 10 times: a circle?"),
                ("lost", "region 'lost': ec2-url = use nowhere leads nowhere: there is no such section"),
                ("slash", "the region 'a/b' holds a character that no region has"),
                ("v", "configuration: verify-ssl = perhaps is neither true nor false")):
            with self.subTest(region=region):
                self.told(message, "--region", region, **keys)
        for user, message in (
                ("nobody", "user 'nobody' is not known: no configuration file has [user nobody]"),
                ("half", "user 'half' of the configuration has no secret-key"),
                ("other", "user 'other' of the configuration has no key-id"),
                ("spaced", "the access key ID holds a character that no key has (number 32, at place 2); please check "
                 "where it was copied from")):
            with self.subTest(user=user):
                self.told(message, "--region", f"{user}@r")
        self.told("user 'gone' is not known: no configuration file has [user gone]", "--region", "r")
        for text, message in (("debug = perhaps", "debug = perhaps is neither true nor false"),
                              ("max-retries = -1", "max-retries = -1 is no number up to 100"),
                              ("max-retries = 101", "max-retries = 101 is no number up to 100"),
                              ("timeout = 0", "timeout = 0 is no number of seconds up to 3600"),
                              ("timeout = nan", "timeout = nan is no number of seconds up to 3600"),
                              ("timeout = 3601", "timeout = 3601 is no number of seconds up to 3600"),
                              ("timeout =", "timeout =  is no number of seconds up to 3600")):
            with self.subTest(text=text):
                self.write(".euca/a.ini", f"[global]\n{text}\n")
                self.told("configuration: " + message, "-U", self.url("x"), **keys)

    def test_wrong_profiles(self):
        url = self.url("x")

        def elsewhere(name, option):
            return (f"profile '{name}' gets its keys by {option}, which is not supported here; put them into the "
                    f'environment: eval "$(aws configure export-credentials --profile {name} --format env)"')

        self.write(".aws/config", "[default]\nsso_session = x\n[profile role]\nrole_arn = arn\nsource_profile = p\n"
                   "aws_access_key_id = A\naws_secret_access_key = S\n[profile sso]\nsso_start_url = https://x/\n"
                   "[profile run]\ncredential_process = /bin/true\n[profile web]\nweb_identity_token_file = x\n"
                   "[profile blank]\n[profile both]\ncredential_process = /bin/true\naws_access_key_id = A\n"
                   "aws_secret_access_key = S\n[profile bad]\nservices = s\n[services s]\nec2 =\n  x\n")
        self.write(".aws/credentials", "[half]\naws_access_key_id = A\n[other]\naws_secret_access_key = s3cret\n")
        for name, message in (
                ("role", elsewhere("role", "role_arn")), ("sso", elsewhere("sso", "sso_start_url")),
                ("run", elsewhere("run", "credential_process")),
                ("web", elsewhere("web", "web_identity_token_file")), ("", elsewhere("default", "sso_session")),
                ("half", "profile 'half' has aws_access_key_id, but no aws_secret_access_key"),
                ("other", "profile 'other' has aws_secret_access_key, but no aws_access_key_id"),
                ("blank", "missing access key ID; please supply one with -I"),
                ("none", "AWS_PROFILE: there is no profile 'none' in ~/.aws/credentials or ~/.aws/config, nor in files "
                 "named in their place")):
            with self.subTest(profile=name):
                self.told(message, EC2_URL=url, AWS_PROFILE=name)
        self.assertEqual(self.asked("-U", url, AWS_PROFILE="both")["key"], "A")
        self.told("AWS's services section:3: neither [SECTION] nor NAME = VALUE", AWS_PROFILE="bad")
        # nobody is told of faults in files that are not needed
        self.write(".aws/config", "nonsense\n")
        self.asked("-U", url, "-I", "A", "-S", "S", AWS_PROFILE="none")
        self.told(f"{self.home}/.aws/config:1: neither [SECTION] nor NAME = VALUE", EC2_URL=url)


if __name__ == "__main__":
    unittest.main()
