"""cloud - test cases with an EC2 endpoint that is scripted here: it checks every signature with
botocore, records the calls, and misbehaves on demand."""
import http.server
import json
import os
import re
import sys
import threading
import urllib.parse

import launching
from launching import INSTANCE

try:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError:
    print("skipped: python3-botocore is not installed")
    sys.exit(77)

KEY, SECRET, TOKEN, REGION = "AKIDEXAMPLE", "wJalr/XUtnFEMI+K7MDENG=", "to/ken==", "eucalyptus"
TASK = "import-i-0a1b2c3d"
WHOLE = ["DescribeSnapshots", "CreateSnapshot", "DescribeSnapshots", "CreateSnapshot",
         "DescribeSnapshots", "DescribeSnapshots", "DescribeImages", "RegisterImage",
         "DescribeImages", "RunInstances"]


def signature_of(handler, body, token):
    """The Authorization that botocore gives the request, from the headers that were signed."""
    names = re.search("SignedHeaders=([^,]*)", handler.headers["Authorization"])[1].split(";")
    request = AWSRequest("POST", "http://%s%s" % (handler.headers["Host"], handler.path), data=body,
                         headers={name: handler.headers[name] for name in names})
    request.context["timestamp"] = handler.headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials(KEY, SECRET, token), "ec2", REGION)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return names, "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s" % (
        auth.scope(request), ";".join(names), auth.signature(text, request))


def error(status, code, message="no"):
    return status, ("<?xml version=\"1.0\"?><Response><Errors><Error><Code>%s</Code><Message>%s"
                    "</Message></Error></Errors><RequestID>x</RequestID></Response>" % (
                        code, message)).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        cloud = self.server.cloud
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names, wanted = signature_of(self, body, cloud.token)
        if self.headers["Authorization"] != wanted or not {"host", "x-amz-date"} <= set(names):
            cloud.unsigned.append((self.headers["Authorization"], wanted))
        params = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True,
                                             strict_parsing=True))
        answer = cloud.call(params)
        if callable(answer):
            answer(self)
            return
        status, text = answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


class Cloud:
    """An EC2 service with snapshots, images and instances."""

    def __init__(self):
        self.calls, self.unsigned, self.script = [], [], []
        self.snapshots, self.images, self.instances = {}, {}, {}
        self.looks, self.token = 0, None  # looks at which something is still pending
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.cloud = self
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = "http://127.0.0.1:%d/services/compute" % self.server.server_port

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def actions(self):
        return [params["Action"] for params in self.calls]

    def said(self, action):
        """The parameters of all calls of an action."""
        return [params for params in self.calls if params["Action"] == action]

    def on(self, action, answer, times=1, skip=0):
        """Answer the next calls of an action (None: any) in another way; a function of the handler
        does as it likes."""
        self.script += [[action, None]] * skip + [[action, answer]] * times

    def call(self, params):
        with self.lock:
            self.calls.append(params)
            for row in self.script:
                if row[0] in (None, params["Action"]):
                    self.script.remove(row)
                    if row[1] is not None:
                        return row[1](params) if getattr(row[1], "wants_params", 0) else row[1]
                    break
            return self.act(params)

    def act(self, params):
        answer = getattr(self, params["Action"])(params)
        if isinstance(answer, tuple):
            return answer
        return 200, ('<?xml version="1.0" encoding="UTF-8"?><%sResponse xmlns="http://ec2.amazonaws.'
                     'com/doc/2016-11-15/"><requestId>r</requestId>%s</%sResponse>' % (
                         params["Action"], answer, params["Action"])).encode()

    def chosen(self, things, params, id_param, member):
        if id_param in params:
            return [params[id_param]] if params[id_param] in things else None
        return [i for i, thing in things.items()
                if thing[member] == params["Filter.1.Value.1"]]

    def look(self, thing, good):
        thing["looks"] += 1
        return good if thing["looks"] > self.looks else "pending"

    def CreateSnapshot(self, params):
        snapshot = "snap-%d" % (len(self.snapshots) + 1)
        self.snapshots[snapshot] = {"description": params["Description"], "looks": 0,
                                    "volume": params["VolumeId"]}
        return "<snapshotId>%s</snapshotId><status>pending</status>" % snapshot

    def DescribeSnapshots(self, params):
        ids = self.chosen(self.snapshots, params, "SnapshotId.1", "description")
        if ids is None:
            return error(400, "InvalidSnapshot.NotFound")
        return "<snapshotSet>%s</snapshotSet>" % "".join(
            "<item><snapshotId>%s</snapshotId><status>%s</status></item>" % (
                i, self.look(self.snapshots[i], "completed")) for i in ids)

    def DeleteSnapshot(self, params):
        del self.snapshots[params["SnapshotId"]]
        return "<return>true</return>"

    def RegisterImage(self, params):
        if params["Name"] in [image["name"] for image in self.images.values()]:
            return error(400, "InvalidAMIName.Duplicate")
        image = "ami-%d" % (len(self.images) + 1)
        self.images[image] = {"name": params["Name"], "looks": 0}
        return "<imageId>%s</imageId>" % image

    def DescribeImages(self, params):
        ids = self.chosen(self.images, params, "ImageId.1", "name")
        if ids is None:
            return error(400, "InvalidAMIID.NotFound")
        return "<imagesSet>%s</imagesSet>" % "".join(
            "<item><imageId>%s</imageId><imageState>%s</imageState></item>" % (
                i, self.look(self.images[i], "available")) for i in ids)

    def DeregisterImage(self, params):
        del self.images[params["ImageId"]]
        return "<return>true</return>"

    def RunInstances(self, params):
        token = params["ClientToken"]
        if token not in self.instances:
            self.instances[token] = {"id": "i-%d" % (len(self.instances) + 1), "params": params}
        if self.instances[token]["params"] != params:
            return error(400, "IdempotentParameterMismatch")
        return ("<instancesSet><item><instanceId>%s</instanceId><instanceState><code>0</code><name>"
                "pending</name></instanceState></item></instancesSet>" % self.instances[token]["id"])

    def DescribeInstances(self, params):
        found = self.instances.get(params["Filter.1.Value.1"])
        return "<reservationSet>%s</reservationSet>" % (
            "<item><instancesSet><item><instanceId>%s</instanceId></item></instancesSet></item>"
            % found["id"] if found else "")

    def TerminateInstances(self, params):
        for token in [t for t, i in self.instances.items() if i["id"] == params["InstanceId.1"]]:
            del self.instances[token]
        return "<instancesSet/>"


def never(handler):
    """No answer, until the client goes away."""
    handler.connection.settimeout(30)
    try:
        handler.connection.recv(1)
    except OSError:
        pass
    handler.close_connection = True


def cut(handler):
    """The connection breaks before there is an answer."""
    handler.close_connection = True


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"<a>" * 65536)
    except OSError:
        handler.close_connection = True


class Ec2(launching.Case):
    launcher = "ec2"

    def setUp(self):
        super().setUp()
        self.cloud = Cloud()
        self.addCleanup(self.cloud.close)
        self.machine.update(endpoint=self.cloud.url, region=REGION,
                            credentials=self.keys(KEY + "\n" + SECRET + "\n"))

    def tearDown(self):
        self.assertEqual(self.cloud.unsigned, [])

    def keys(self, text, mode=0o600):
        path = os.path.join(self.dir, "credentials")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def answer(self, process):
        answer = super().answer(process)
        for secret in SECRET, TOKEN:
            self.assertNotIn(secret, str(answer) + self.said)
        return answer

    def fresh(self):
        """Another cloud, and no records."""
        self.withdraw()
        self.assertEqual(self.cloud.unsigned, [])
        self.cloud.close()
        self.cloud = Cloud()
        self.addCleanup(self.cloud.close)
        self.machine["endpoint"] = self.cloud.url

    def forget(self):
        """As if the service had died before it could write the end of the start down."""
        path = self.path("instance", INSTANCE)
        record = self.instance()
        del record["launcher_instance_id"]
        with open(path, "w", encoding="utf-8") as text:
            json.dump(record, text)

    def assert_whole(self, cloud=None):
        """Exactly one of everything, and it hangs together."""
        cloud = cloud or self.cloud
        self.assertEqual([s["volume"] for s in cloud.snapshots.values()],
                         [disk["volume_id"] for disk in self.machine["disks"]])
        self.assertEqual((len(cloud.images), len(cloud.instances)), (1, 1))
        image = cloud.said("RunInstances")[-1]["ImageId"]
        self.assertIn(image, cloud.images)
