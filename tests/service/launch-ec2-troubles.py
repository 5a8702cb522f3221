#!/usr/bin/python3
"""The launcher "ec2" at an endpoint that throttles, breaks off, refuses and answers with hostile
documents."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cloud import Ec2, cut, endless, error  # noqa: E402

class Troubles(Ec2):
    def test_passing(self):
        self.cloud.on("DescribeSnapshots", error(503, "RequestLimitExceeded"))
        self.cloud.on("CreateSnapshot", error(400, "Throttling"))
        self.cloud.on("RegisterImage", error(500, "InternalError"))
        self.cloud.on("DescribeImages", error(400, "InvalidAMIID.NotFound"), skip=1)
        self.cloud.on("RunInstances", error(400, "InvalidAMIID.Unavailable"))
        self.assert_started(self.start(), "i-1", "pending")
        self.assert_whole()

    def test_not_listed_yet(self):
        """What was made a moment ago is not made again because it is not listed."""
        self.cloud.on("DescribeSnapshots", (200, b"<x><snapshotSet/></x>"), skip=2, times=2)
        self.cloud.on("DescribeImages", (200, b"<x><imagesSet/></x>"), skip=1, times=2)
        self.assert_started(self.start(), "i-1", "pending")
        self.assert_whole()

    def test_lasting(self):
        for answer, words in ((error(503, "RequestLimitExceeded", "too many"),
                               "answered RequestLimitExceeded: too many"),
                              ((502, b"<html>bad gateway"), "answered HTTP status 502"),
                              (cut, "the launcher's endpoint does not answer: ")):
            self.fresh()
            self.cloud.on("RegisterImage", answer, times=100)
            self.assert_failed(self.start(), words, again=True)
            self.assertEqual(len(self.cloud.said("RegisterImage")), 4)
            self.cloud.script.clear()
            self.assert_started(self.start(), "i-1", "pending")
            self.assert_whole()
        self.fresh()
        self.cloud.close()
        self.assert_failed(self.start(), "does not answer", again=True)

    def test_final(self):
        for action in "DescribeSnapshots", "CreateSnapshot", "RegisterImage", "RunInstances":
            self.fresh()
            self.cloud.on(action, error(403, "UnauthorizedOperation", "not\x09you\n&lt;b&gt;"))
            self.assert_failed(self.start(), "the launcher's endpoint http://127.0.0.1:",
                               "answered UnauthorizedOperation: not you <b>")
            self.assertEqual(len(self.cloud.said(action)), 1)
        for answer, words in (((301, b""), "HTTP status 301"), ((404, b"x"), "HTTP status 404")):
            self.fresh()
            self.cloud.on("RunInstances", answer)
            self.assert_failed(self.start(), words)

    def test_bad_states(self):
        self.cloud.on("DescribeSnapshots", (200, b"<x><snapshotSet><item><snapshotId>snap-1"
                                            b"</snapshotId><status>error</status><statusMessage>"
                                            b"volume gone</statusMessage></item></snapshotSet></x>"),
                      skip=2)
        self.assert_failed(self.start(), "snapshot snap-1 at the launcher's endpoint is in the state "
                           "'error': volume gone")
        self.fresh()
        self.cloud.on("DescribeImages", (200, b"<x><imagesSet><item><imageId>ami-1</imageId>"
                                         b"<imageState>failed</imageState><stateReason><message>why"
                                         b"</message></stateReason></item></imagesSet></x>"), skip=1)
        self.assert_failed(self.start(), "image ami-1", "in the state 'failed': why")
        self.fresh()
        self.cloud.on("RunInstances", (200, b"<x><instancesSet><item><instanceId>i-7</instanceId>"
                                       b"<instanceState><name>terminated</name></instanceState>"
                                       b"</item></instancesSet></x>"))
        self.assert_failed(self.start(), "instance i-7", "in the state 'terminated'")

    def test_deadline(self):
        self.seconds, self.cloud.looks = 1, 1000
        self.assert_failed(self.start(), "snapshot snap-1", "is not there yet", again=True)
        self.seconds, self.cloud.looks = 30, 0
        self.assert_started(self.start(), "i-1", "pending")
        self.assert_whole()

    def test_hostile_answers(self):
        bomb = (b'<!DOCTYPE x [<!ENTITY a "%s">%s]>' % (
            b"a" * 1000, b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10)
                                  for i in range(9))))
        run = (b"<x><instancesSet><item><instanceId>%s</instanceId><instanceState><name>running"
               b"</name></instanceState></item></instancesSet></x>")
        for answer, words in (
                (endless, "is larger than the 262144 bytes allowed"),
                ((200, b""), "0 bytes that are not XML"), ((200, b"{}"), "not XML as EC2"),
                ((200, b"<x>"), "not XML as EC2"), ((200, b"<x/>"), "named the instance ''"),
                ((200, bomb + run % b"&j;"), "not XML as EC2"),
                ((200, (bomb.decode() + "<x/>").encode("utf-16")), "not XML as EC2"),
                ((200, b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>'), "not XML as EC2"),
                ((200, b"<x>" * 5000 + b"</x>" * 5000), "not XML as EC2"),
                ((200, run % b"i-1/../x"), "named the instance 'i-1/../x'"),
                ((200, run % b"i 1"), "which is not an id"),
                ((200, run % (b"i" * 65)), "which is not an id"),
                ((200, run % b"i-\xc3\xa9"), "which is not an id"),
                ((400, bomb + b"<Response><Errors><Error><Code>&j;</Code></Error></Errors>"
                  b"</Response>"), "answered HTTP status 400"),
                (error(400, "C" * 1000, "M" * 100000), "answered CCCC"),
                (error(400, "Code&#10;", "&#x7f;&#9;x\u00e9"), "answered Code : ? x\u00e9")):
            with self.subTest(words):
                self.fresh()
                self.cloud.on("RunInstances", answer)
                answer = self.start()
                self.assert_failed(answer, words)
                self.assertLess(len(answer["message"]), 512)
                self.assertNotRegex(answer["message"], "[\x00-\x1f]")
        self.fresh()
        self.cloud.on("RunInstances", (200, run % (b"i" * 64)))
        self.assert_started(self.start(), "i" * 64, "running")


if __name__ == "__main__":
    unittest.main()
