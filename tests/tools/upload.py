#!/usr/bin/python3
"""upload - euca-import-volume and its sisters against a scripted stand-in for EC2 and S3
(lib/standin.py).  "upload.py NAME..." runs some of the scenarios.
"""
import contextlib
import json
import os
import pty
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import standin  # noqa: E402
from standin import (content, DEADLINE, DRY, ended, equal, error, fetch, finish, fresh, importing, KEYS, LINES,  # noqa: E402
                     make_file, manifest, PART, puts, run, scratch, server, start, TASK, uploaded, UUID)
from service import wait_for  # noqa: E402


def test_whole():
    """Order of events, four at a time, contents, manifest, lines."""
    size = 5 * PART + 12345
    path = make_file("disk one.img", size)
    server.hold = 4
    result = importing("-f", "raw", "-b", "my.bucket", "--prefix", "//pre/fix/", "-d", "a b+c&d~é", path)
    ended(result, 0, "", LINES % ("RAW", size, 1))

    key, doc = manifest()
    found = re.fullmatch(rf"/my\.bucket/(pre/fix/{UUID})/disk one\.img\.manifest\.xml", key)
    assert found, key
    web = "/my.bucket/" + found[1] + "/disk%20one.img"
    equal(server.events[:5], ["GET /my.bucket?max-keys=0", "PUT /my.bucket", "ImportVolume",
                              f"GET {web}.manifest.xml", f"PUT {web}.manifest.xml"])
    equal(sorted(server.events[5:]), [f"PUT {web}.part.{n}" for n in range(6)])
    equal(server.most, 4)
    equal([len(p) for p in uploaded(path)], [PART] * 5 + [12345])

    form = server.calls[0]
    url = form.pop("Image.ImportManifestUrl")
    equal(form, {"Action": "ImportVolume", "Version": "2015-10-01", "AvailabilityZone": "zone-a",
                 "Image.Format": "RAW", "Image.Bytes": str(size), "Volume.Size": "1",
                 "Description": "a b+c&d~é"})
    equal(fetch("GET", url), (200, server.objects[key]))

    equal(doc.findtext("version"), "2010-11-15")
    equal(doc.findtext("file-format"), "RAW")
    equal(doc.findtext("import/size"), str(size))
    equal(doc.findtext("import/volume-size"), "1")
    parts = doc.find("import/parts")
    equal((parts.get("count"), len(parts)), ("6", 6))
    for n, part in enumerate(parts):
        equal((part.get("index"), part.find("byte-range").attrib),
              (str(n), {"start": str(n * PART), "end": str(min((n + 1) * PART, size) - 1)}))
        equal(part.findtext("key"), f"{found[1]}/disk one.img.part.{n}")
        assert "X-Amz-Expires=604800&" in part.findtext("get-url")
    last = parts[5]
    equal(fetch("GET", last.findtext("get-url")), (200, content(path)[5 * PART:]))
    equal(fetch("HEAD", last.findtext("head-url"))[0], 200)
    equal(fetch("DELETE", last.findtext("delete-url"))[0], 200)
    equal(fetch("DELETE", doc.findtext("self-destruct-url"))[0], 200)
    equal(server.complaints, [])
    equal(fetch("GET", last.findtext("delete-url"))[0], 403)
    server.complaints.clear()


def test_prefix():
    """A name that leads elsewhere, or cannot be shown, is no prefix; slashes alone are none."""
    path = make_file("disk.img", 10)
    for prefix in ("..", ".", "a//b", "a/../b", "../a", "a/..", "./a", "a/./b//"):
        ended(importing("-f", "raw", "-b", "b", "--prefix", prefix, path), 2,
              f"error: argument --prefix: '{prefix}' has a component that is empty, '.' or '..'; leave it out\n")
    for prefix in ("a\nb", "a\tb", "\x7f", "\x85"):
        ended(importing("-f", "raw", "-b", "b", "--prefix", prefix, path), 2, " holds control characters\n")
    equal(server.events, [])
    for prefix, before in (("", ""), ("//", ""), ("/...", ".../"), ("a.b/..c/", "a.b/..c/")):
        fresh()
        equal(importing("-f", "raw", "-b", "b", "--prefix", prefix, path)[0], 0)
        assert re.fullmatch(rf"/b/{re.escape(before)}{UUID}/disk\.img\.manifest\.xml", manifest()[0]), manifest()[0]


def test_memory():
    """No part is ever held in memory: four would be 40 MiB."""
    def peak(size):
        fresh()
        server.gate = threading.Event()
        path = make_file("disk.img", size)
        process = start("euca-import-volume", "-z", "zone-a", "-f", "raw", "-b", "b", path)
        server.wait(lambda: len(puts()) == (size + PART - 1) // PART, "all parts are there, unanswered")
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            kib = int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1])
        server.gate.set()
        equal(finish(process)[0], 0)
        return kib

    more = peak(4 * PART) - peak(4)
    assert more < 20 * 1024, f"{more} KiB more than for a tiny file"


def test_faults_heal():
    """A 503, a wrong ETag, a connection cut in the middle, damage told by S3: each part again."""
    path = make_file("disk.img", 4 * PART + 1)
    server.buckets.add("/b")
    server.faults = {0: [503], 1: ["etag"], 2: ["cut"], 3: [500, "cut"]}
    ended(importing("-f", "raw", "-b", "b", path), 0, "", LINES % ("RAW", 4 * PART + 1, 1))
    equal([puts().count(n) for n in range(5)], [2, 2, 2, 3, 1])
    assert "PUT /b" not in server.events, "the bucket was there"
    uploaded(path)


def test_refused_part():
    """A 403 is not tried again, stops the upload, and the task that remains is named."""
    path = os.path.join(scratch, "disk.img")
    with open(path, "wb") as f:
        f.truncate(30 * PART)
    server.faults = {1: [403]}
    result = importing("-f", "raw", "-b", "b", path)
    ended(result, 1, "euca-import-volume: error (Fault403): as told\n")
    assert "euca-cancel-conversion-task import-vol-1a2b3c4d\n" in result[2], result[2]
    equal(puts().count(1), 1)
    assert len(puts()) < 20, "the other parts went on"


def test_import_volume_is_not_sent_twice():
    """After an answer that was lost the task may exist: one request, and the user is told."""
    path = make_file("disk.img", 1000)
    for fault, text in (("drop", "error: connection error ("), ((502, b""), "error (502): Bad Gateway")):
        fresh()
        server.faults = {"ImportVolume": [fault]}
        result = importing("-f", "raw", "-b", "b", path)
        ended(result, 1, text)
        assert "may have made its task" in result[2], result[2]
        equal(len(server.calls), 1)
        assert not server.objects
    fresh()
    server.faults = {"ImportVolume": [(500, error("InternalError", "out of order"))]}
    ended(importing("-f", "raw", "-b", "b", path), 1,
          "euca-import-volume: error (InternalError): out of order\n")
    equal(len(server.calls), 1)


def test_import_volume_answered_strangely():
    """Success in words that name no task: it may be there, and that is said."""
    path = make_file("disk.img", 1000)
    for answer, text in ((b"<html>hello</html>", "error: "), (b"", "error: "),
                         (b"<ImportVolumeResponse><conversionTask><state>active</state><importVolume/>"
                          b"</conversionTask></ImportVolumeResponse>", "names no conversion task; "),
                         *((b"<ImportVolumeResponse><conversionTask><conversionTaskId>%s</conversionTaskId>"
                            b"<importVolume/></conversionTask></ImportVolumeResponse>" % name,
                            "names no conversion task; ") for name in (b"-rf", b"x$(touch y)", b"a b"))):
        fresh()
        server.faults = {"ImportVolume": [(200, answer)]}
        result = importing("-f", "raw", "-b", "b", path)
        ended(result, 1, text)
        assert "; ImportVolume was sent and may have made its task: look with " in result[2], result[2]
        equal((len(server.calls), server.objects), (1, {}))


def test_import_volume_is_sent_again():
    """503 says that nothing was done."""
    path = make_file("disk.img", 1000)
    busy = (503, error("RequestLimitExceeded", "Request limit exceeded."))
    server.faults = {"ImportVolume": [busy, busy]}
    ended(importing("-f", "raw", "-b", "b", path), 0, "", LINES % ("RAW", 1000, 1))
    equal(len(server.calls), 3)
    fresh()
    server.faults = {"ImportVolume": [busy, busy, busy]}
    ended(importing("-f", "raw", "-b", "b", path), 1,
          "euca-import-volume: error (RequestLimitExceeded): Request limit exceeded.\n")
    equal(len(server.calls), 3)


def test_refused_import():
    """The service's words, and nothing is uploaded."""
    path = make_file("disk.img", 1000)
    server.faults = {"ImportVolume": [(400, error("InvalidParameterValue", "no such &lt;zone&gt;"))]}
    ended(importing("-f", "raw", "-b", "b", path), 1,
          "euca-import-volume: error (InvalidParameterValue): no such <zone>\n")
    equal(server.events[-1], "ImportVolume")


def test_bad_files_send_nothing():
    """Everything wrong with a file is found before the first request."""
    def vmdk(flags=3 << 16, capacity=4096, gd=20, unclean=0, compression=1, magic=b"KDMV"):
        header = bytearray(512)
        header[0:4] = magic
        header[8:12] = flags.to_bytes(4, "little")
        header[12:20] = capacity.to_bytes(8, "little")
        header[56:64] = gd.to_bytes(8, "little")
        header[72] = unclean
        header[77:79] = compression.to_bytes(2, "little")
        return bytes(header)

    at_end = (1 << 64) - 1
    name = os.path.join(scratch, "image")
    cases = [
        ("vmdk", vmdk()[:511], "File {} is to small to be a valid Stream Optimized VMDK"),
        ("vmdk", vmdk(gd=at_end) + bytes(1023), "File {} is to small to be a valid Stream Optimized VMDK"),
        ("vmdk", bytes(4096), "File {} is not a Stream Optimized VMDK"),
        ("vmdk", vmdk(flags=2 << 16), "File {} does not contain compressed parts"),
        ("vmdk", vmdk(flags=1 << 16), "File {} does not have all data present"),
        ("vmdk", vmdk(unclean=1), "File {} marked with unclean shutdown"),
        ("vmdk", vmdk(compression=2), "File {} uses unsupported compression algorithm"),
        ("vmdk", vmdk(gd=at_end) + vmdk(unclean=1) + bytes(512), "File {} marked with unclean shutdown"),
        ("vmdk", vmdk(capacity=1 << 60), "File {} has a capacity of 1152921504606846976 sectors"),
        ("vmdk", vmdk(capacity=0), "File {} holds a disk of 0 bytes"),
        ("vhd", bytes(511), "File {} is not a VHD"),
        ("vhd", bytes(1024), "File {} is not a VHD"),
        ("vhd", b"conectix" + bytes(504), "File {} has a damaged VHD footer"),
        ("raw", b"", "'{}' is empty"),
    ]
    for form, data, text in cases:
        with open(name, "wb") as f:
            f.write(data)
        ended(importing("-f", form, "-b", "b", name), 1,
              "euca-import-volume: error: " + text.format(name))
    os.mkdir(name + ".d")
    os.mkfifo(name + ".fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name + ".sock")
    for special in (name + ".d", name + ".fifo", name + ".sock", "/dev/null"):
        ended(importing("-f", "raw", "-b", "b", special), 1,
              f"euca-import-volume: error: '{special}' does not have a usable file size\n")
    ended(importing("-f", "raw", "-b", "b", name + ".not"), 1,
          f"euca-import-volume: error: No such file or directory: {name}.not\n")
    equal(server.events, [])

    # The same cases with everything right are sent.
    def vhd(size):
        footer = bytearray(b"conectix" + bytes(504))
        footer[48:56] = size.to_bytes(8, "big")
        footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
        return bytes(footer)

    good = [("VmDk", vmdk(capacity=4097), [], ("VMDK", 4097 * 512, 1)),
            ("vmdk", vmdk(gd=at_end, capacity=0) + vmdk(capacity=3 << 21) + bytes(512), [], ("VMDK", 3 << 30, 3)),
            ("vhd", bytes(512) + vhd((1 << 30) + 512), [], ("VHD", (1 << 30) + 512, 2)),
            ("vmdk", b"anything", ["--dont-verify-format", "--image-size", "2GB"], ("VMDK", 2 << 30, 2)),
            ("partition", b"anything", ["--image-size", "25m", "-s", "7"], ("partition", 25 << 20, 7))]
    for form, data, options, wanted in good:
        with open(name, "wb") as f:
            f.write(data)
        ended(importing("-f", form, "-b", "b", "--no-upload", *options, name), 0, "", LINES % wanted)
    equal(server.objects, {})


def test_changing_file():
    """A file that changes while it is uploaded is an error, never a strange volume; where there is no
    going on, the task and its objects are not left."""
    def changing(size, *options, parts=6):
        server.gate = threading.Event()
        path = make_file("disk.img", parts * PART)
        process = start("euca-import-volume", "-f", "raw", "-z", "z", *(options or ("-b", "b")), path)
        server.wait(lambda: server.in_flight >= 1, "a part arrives")
        os.truncate(path, size)
        server.gate.set()
        result = finish(process)
        ended(result, 1, f"euca-import-volume: error: '{path}' changed while it was uploaded")
        return result[2]

    def deleted():
        return sorted(e[len("DELETE "):] for e in server.events if e.startswith("DELETE "))

    undone = "; as a file has another size now, task import-vol-1a2b3c4d was cancelled, "
    for size in (PART, 2 * PART + 7, 7 * PART):
        fresh()
        said = changing(size)
        assert said.endswith(undone + "and what was uploaded is deleted\n") and said.count("\n") == 1, said
        equal(server.calls[-1]["ConversionTaskId"], "import-vol-1a2b3c4d")
        found = server.events[-1].removeprefix("DELETE ")
        equal(deleted(), [found, *(found.replace("manifest.xml", f"part.{n}") for n in range(6))])
        equal(server.objects, {})
    # what was there before is the user's
    fresh()
    url = f"{server.url}/s3/b/d/disk.img.manifest.xml"
    equal(importing("-f", "raw", "--manifest-url", url, make_file("disk.img", PART))[0], 0)
    server.objects.pop("/b/d/disk.img.part.0")
    assert undone in changing(2 * PART, "--manifest-url", url, parts=1)
    equal(deleted(), [])
    # a store that does not delete, and a service that does not cancel
    fresh()
    server.refuses = "DELETE"
    said = changing(2 * PART, "-b", "b", "-o", "AKIDS3", "-w", KEYS["AKIDS3"], parts=1)
    assert "the keys have to be given as before: -o, -w\n" in said, said
    assert said.endswith(undone + "delete what was uploaded with: euca-delete-disk-image -t import-vol-1a2b3c4d\n"), said
    fresh()
    server.faults = {"CancelConversionTask": [(400, error("IncorrectState", "no"))]}
    said = changing(2 * PART, parts=1)
    assert "cancel it with: " in said and "resume it with" not in said and undone not in said, said
    equal(deleted(), [])
    fresh()
    server.gate = threading.Event()
    path = make_file("disk.img", 100)
    process = start("euca-import-volume", "-f", "raw", "-z", "z", "-b", "b", path)
    server.wait(lambda: len(puts()) == 1, "the part is there, unanswered")
    with open(path, "r+b") as f:  # same size
        f.write(b"other bytes")
    server.gate.set()
    ended(finish(process), 1, f"error: '{path}' was written to while it was uploaded")


def test_interrupt():
    """Stops at once with 130, and says which task remains."""
    for number in (signal.SIGINT, signal.SIGTERM):
        fresh()
        server.gate = threading.Event()
        path = make_file("disk.img", 6 * PART)
        process = start("euca-import-volume", "-f", "raw", "-z", "z", "-b", "b", path)
        server.wait(lambda: len(puts()) == 4, "four parts are there, unanswered")
        process.send_signal(number)
        began = time.monotonic()
        result = finish(process)
        took = time.monotonic() - began
        server.gate.set()
        ended(result, 130, "task import-vol-1a2b3c4d remains")
        assert "euca-cancel-conversion-task import-vol-1a2b3c4d\n" in result[2], result[2]
        assert f"resume it with: euca-resume-import -t import-vol-1a2b3c4d {path}\n" in result[2], result[2]
        assert took < 5, f"it took {took} s"
        equal(sorted(puts()), [0, 1, 2, 3])


def asleep(process):
    """Does it wait for something, ready to be interrupted?"""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        status = dict(line.split(":\t", 1) for line in f.read().splitlines())
    return status["State"][0] == "S" and int(status["SigCgt"], 16) >> signal.SIGINT - 1 & 1


def test_interrupt_while_reading():
    """One Ctrl-C is enough where something is read that does not come."""
    path = make_file("disk.img", 10)
    pipe = os.path.join(scratch, "pipe")
    os.mkfifo(pipe)
    machine = ("euca-import-instance", "-f", "raw", "-t", "t", "-a", "x86_64", "-p", "Linux", "-b", "b", path)
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    for opened, command, more in (
            (False, (*machine, "--user-data-file", pipe), {}),
            (True, (*machine, "--user-data-file", pipe), {}),
            (True, (*machine, "--user-data-file", "-"), {"stdin": pipe}),
            (False, ("euca-describe-conversion-tasks",), {**none, "AWS_CREDENTIAL_FILE": pipe}),
            (True, ("euca-describe-conversion-tasks",), {**none, "AWS_CREDENTIAL_FILE": pipe})):
        with contextlib.ExitStack() as stack:
            if opened or "stdin" in more:  # O_RDWR: nobody waits for the other end
                end = os.open(pipe, os.O_RDWR)
                stack.callback(os.close, end)
            if "stdin" in more:
                more = {"stdin": end}
            process = start(*command, **more)
            wait_for(lambda process=process: asleep(process), DEADLINE)
            process.send_signal(signal.SIGINT)
            ended(finish(process), 130, f"{command[0]}: error: interrupted\n")
    equal(server.events, [])


def test_faults_in_the_middle():
    """503, a reset, silence in the middle of a body; S3's own words for damage; Retry-After."""
    path = make_file("disk.img", 7 * PART + 12345)
    damage = [(400, f"<Error><Code>{code}</Code></Error>".encode())
              for code in ("BadDigest", "RequestTimeout", "XAmzContentSHA256Mismatch")]
    server.faults = {0: ["early"], 1: ["reset", "early"], 2: [damage[0]], 3: [damage[1], "reset"],
                     4: [damage[2], "etag"], 5: ["stall"],
                     6: [(503, b"<Error><Code>SlowDown</Code></Error>", [("Retry-After", "10")])],
                     7: ["slow"]}
    result = run("euca-import-volume", "-z", "z", "-f", "raw", "-b", "b", "--json", path,
                 IMAGING_STALL_SECONDS="1", IMAGING_HASTE="10")
    equal(result[::2], (0, ""))
    first, second = [t for e, t in zip(server.events, server.times) if e.endswith("part.6")]
    assert second - first >= 1, "the server was not left alone"
    equal([puts().count(n) for n in range(8)], [2, 3, 2, 3, 3, 2, 2, 1])
    uploaded(path)
    last = json.loads(result[1].splitlines()[-1])
    equal((last["event"], last["bytes"], last["parts"]), ("uploaded", 7 * PART + 12345, 8))


def test_uploads():
    """As many at a time as were asked for; fewer parts need fewer threads."""
    path = make_file("disk.img", 7 * PART)
    for uploads in (1, 6):
        fresh()
        server.hold = uploads
        equal(importing("-f", "raw", "-b", "b", "--uploads", str(uploads), path)[0], 0)
        equal(server.most, uploads)
        uploaded(path)
    for wrong, text in (("0", "is not in the range 1-64"), ("65", "is not in the range 1-64"),
                        ("x", "invalid int value: 'x'")):
        ended(importing("-f", "raw", "-b", "b", "--uploads", wrong, path), 2, text)


def test_version_2():
    """--signature 2: every request and every URL; 30 days, or as many as are wanted."""
    path = make_file("disk one.img", PART + 1)
    for options, days in (([], 30), (["-x", "100"], 100)):
        fresh()
        equal(importing("-f", "raw", "-b", "b", "--signature", "2", *options, path)[::2], (0, ""))
        equal(server.versions, {"V2", "V4"})  # EC2's is the other
        _, doc = manifest()
        part = doc.find("import/parts")[0]
        url = part.findtext("get-url")
        expires = int(re.search("Expires=([0-9]+)", url)[1])
        assert abs(expires - time.time() - days * 86400) < 60, url
        equal(fetch("GET", url)[1], content(path)[:PART])
        equal(fetch("HEAD", part.findtext("head-url"))[0], 200)
        equal(fetch("DELETE", part.findtext("head-url"))[0], 403)
        equal(server.complaints.pop().rsplit(": ")[-1], "SignatureDoesNotMatch")
        equal(fetch("GET", server.calls[0]["Image.ImportManifestUrl"])[0], 200)
        assert "V2 URL" in server.versions and "V4 URL" not in server.versions
    fresh()
    equal(importing("-f", "raw", "-b", "b", "--signature", "2", path, AWS_SECURITY_TOKEN="to/k+en")[0], 0)
    equal({s[3] for s in server.scopes}, {"to/k+en"})
    equal(fetch("GET", manifest()[1].find("import/parts")[0].findtext("get-url"))[0], 200)
    ended(importing("-f", "raw", "-b", "b", "--signature", "3", path), 2,
          "argument --signature: invalid choice: '3' (choose from '2', '4')")


def test_buckets():
    """Somebody else's is said to be one; one that another command made meanwhile is fine."""
    path = make_file("disk.img", 10)
    denied = (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
    taken = (409, b"<Error><Code>BucketAlreadyExists</Code><Message>taken</Message></Error>")
    mine = (409, b"<Error><Code>BucketAlreadyOwnedByYou</Code></Error>")
    for faults, text in (({"GET /b": [denied]}, "error (AccessDenied): Access Denied (bucket 'b' belongs to"),
                         ({"PUT /b": [taken]}, "error (BucketAlreadyExists): taken (bucket 'b' belongs to"),
                         ({"PUT /b": [(403, b"")]}, "error (403): Forbidden\n")):
        fresh()
        for dry_run in ([], ["--dry-run"] if "GET /b" in faults else []):
            server.faults = {event: list(answers) for event, answers in faults.items()}
            ended(importing("-f", "raw", "-b", "b", *dry_run, path), 1, text)
            equal(server.calls, [])
    fresh()
    server.faults = {"PUT /b": [mine]}
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    uploaded(path)


def test_events():
    """--json: one object per line on standard output; the error, too."""
    path = make_file("disk.img", 2 * PART)
    result = importing("-f", "raw", "-b", "b", "--json", path)
    equal(result[::2], (0, ""))
    events = [json.loads(line) for line in result[1].splitlines()]
    equal([e["event"] for e in events if e["event"] != "progress"], ["task", "uploaded"])
    equal(events[0]["task"]["ConversionTaskId"], "import-vol-1a2b3c4d")
    last = events[-1]
    equal({k: last[k] for k in ("file", "bytes", "total", "eta_s", "parts", "parts_total")},
          {"file": path, "bytes": 2 * PART, "total": 2 * PART, "eta_s": 0, "parts": 2, "parts_total": 2})
    assert last["rate"] > 0
    server.faults = {"ImportVolume": [(400, error("InvalidParameterValue", "no (such): zone"))]}
    result = importing("-f", "raw", "-b", "b", "--json", path)
    ended(result, 1, "error (InvalidParameterValue): no (such): zone\n",
          out='{"event":"error","code":"InvalidParameterValue","message":"no (such): zone"}\n')
    ended(importing("-f", "raw", "-b", "b", "--json", path + ".not"), 1, "No such file",
          out='{"event":"error","code":"NotFound","message":"No such file or directory: %s.not"}\n' % path)
    for words, text in ((["--json"], "too few arguments"),
                        (["--json", "--nonsense", path], "unrecognized arguments: --nonsense"),
                        (["--nonsense", "-q", "--json", path], "unrecognized arguments: --nonsense"),
                        (["--no", "--json", "-f"], "ambiguous option: --no could match --no-upload, --no-progress"),
                        (["--js", "--uploads", "0", "-b", "b", "-f", "raw", path],
                         "argument --uploads: '0' is not in the range 1-64")):
        result = importing(*words)
        ended(result, 2, f"error: {text}\n", '{"event":"error","code":"Usage","message":"%s"}\n' % text)
        assert result[2].startswith("usage: "), result[2]


def test_status_events():
    """--wait --json: numbers, of all disks together, and the words of the service."""
    path = make_file("disk.img", 10)

    def told(message, *numbers):
        disks = "".join(f"<item><image><format>RAW</format>{size}</image><volume/>{converted}</item>"
                        for converted, size in numbers)
        server.tasks = [f"""<conversionTaskId>import-vol-1a2b3c4d</conversionTaskId><state>active</state>{message}
            <importInstance><volumes>{disks}</volumes></importInstance>"""]

    process = start("euca-import-volume", "-z", "z", "-f", "raw", "-b", "b", "--no-upload", "--wait", "--json",
                    path, IMAGING_HASTE="20")
    equal(json.loads(process.stdout.readline())["event"], "task")
    common = {"event": "status", "task_id": "import-vol-1a2b3c4d", "state": "active"}
    for message, numbers, wanted in (
            (None, [], {"message": None, "bytes": None, "total": None}),
            ("Converting", [(3, 5)], {"message": "Converting", "bytes": 3, "total": 5}),
            ("Converting", [(4, 5), (None, 10)], {"message": "Converting", "bytes": 4, "total": 15}),
            ("Converting", [(9, 5), (2, 10)], {"message": "Converting", "bytes": 7, "total": 15}),
            ("On", [(4, 5), (4, None)], {"message": "On", "bytes": None, "total": None})):
        told(message and f"<statusMessage>{message}</statusMessage>" or "",
             *((f"<bytesConverted>{done}</bytesConverted>" if done else "", f"<size>{size}</size>" if size else "")
               for done, size in numbers))
        while (seen := json.loads(process.stdout.readline())) != {**common, **wanted}:
            assert seen["event"] == "status" and seen["message"] == "Pending import-image upload", seen
    server.tasks = [(TASK % ("RAW", 10, 1)).replace(">active<", ">completed<")]
    status, out, err = finish(process)
    equal((status, json.loads(out)["event"], err), (0, "task", ""))


def test_manifest_url():
    """A manifest to be, under a key of the user's; URLs elsewhere are refused, or just passed on."""
    path = make_file("disk.img", 1000)
    for key, parts in (("/b/some%20where/m.xml", "/b/some where/disk.img.part.0"),
                       ("/b/flat", "/b/flat/disk.img.part.0")):
        fresh()
        url = f"{server.url}/s3{key}?AWSAccessKeyId=x&Signature=y"
        equal(importing("-f", "raw", "--manifest-url", url, path)[0], 0)
        equal(server.events[:4], [f"GET {key}", "ImportVolume", f"GET {key}", f"PUT {key}"])
        equal(server.objects[parts], content(path))
        equal(server.calls[0]["Image.ImportManifestUrl"], url)
    fresh()
    url = "http://elsewhere.example/b/m.xml"
    ended(importing("-f", "raw", "--manifest-url", url, path), 1,
          f"euca-import-volume: error: URL '{url}' matches no known object storage endpoints.  "
          "Supply one via the command line or configuration.\n")
    equal(server.events, [])
    for store in (None, f"{server.url}/s3"):
        ended(importing("-f", "raw", "--manifest-url", url, "--no-upload", path, S3_URL=store), 0, "",
              LINES % ("RAW", 1000, 1))
        equal(server.calls[-1]["Image.ImportManifestUrl"], url)
    equal(server.events, ["ImportVolume"] * 2)


def test_manifest_url_without_upload():
    """What is in a store of one's own is signed for the service, unless its URL has a query."""
    path = make_file("disk.img", 1000)
    server.objects["/b/m.xml"] = b"<manifest/>"
    url = f"{server.url}/s3/b/m.xml"

    def passed_on(url, **more):
        ended(importing("-f", "raw", "--manifest-url", url, "--no-upload", path, **more), 0, "",
              LINES % ("RAW", 1000, 1))
        return server.calls[-1]["Image.ImportManifestUrl"]

    for given in (url, url.replace("http", "HTTP")):
        equal(fetch("GET", passed_on(given)), (200, b"<manifest/>"))
    for given in (url, url + "?Signature=x"):
        equal(passed_on(given, S3_URL=None), given)
    equal(passed_on(url + "?Signature=x", S3_URL="nonsense"), url + "?Signature=x")
    equal(set(server.events), {"GET /b/m.xml?signed", "ImportVolume"})


def test_manifest_in_another_region():
    """The stores of all regions that are configured are known, and each is asked for its own."""
    path = make_file("disk.img", 1000)
    config = os.path.join(scratch, "euca.ini")
    with open(config, "w", encoding="ascii") as f:
        f.write(f"[region aws:*]\ns3-url = http://127.0.0.1:1/\n[region broken]\ns3-url = use nowhere\n"
                f"[region west]\nname = far-west\ns3-url = {server.url}/s3/\n")
    there = {"EUCA_CONFIG_PATH": config, "S3_URL": "http://127.0.0.1:1/"}
    url = f"{server.url}/s3/b/d/m.xml"
    ended(importing("-f", "raw", "--manifest-url", url, path, **there), 0, "", LINES % ("RAW", 1000, 1))
    equal(server.objects["/b/d/disk.img.part.0"], content(path))
    signed = server.calls[0]["Image.ImportManifestUrl"]
    equal(fetch("GET", signed), (200, server.objects["/b/d/m.xml"]))
    equal({s[1] for s in server.scopes if s[2] == "s3"}, {"far-west"})
    server.tasks = [(TASK % ("RAW", 1000, 1)).replace("Url>x<", f"Url>{signed.replace('&', '&amp;')}<")]
    server.objects.pop("/b/d/disk.img.part.0")
    ended(run("euca-resume-import", "-t", "import-vol-1a2b3c4d", path, **there), 0)
    equal(server.objects["/b/d/disk.img.part.0"], content(path))
    ended(run("euca-delete-disk-image", "-u", url, **there), 0,
          out="Deleted 1 part and manifest b/d/m.xml (1000 bytes)\n")


def test_manifest_in_no_bucket():
    """Nothing can be uploaded there: no task is made.  Nor is there anything to be deleted."""
    path = make_file("disk.img", 1000)
    url = f"{server.url}/s3/b/m.xml"
    gone = (404, b"<Error><Code>NoSuchBucket</Code></Error>")
    server.faults = {"GET /b/m.xml": [gone] * 3}
    for options in ((), ("--dry-run",)):
        ended(importing("-f", "raw", "--manifest-url", url, *options, path), 1,
              "euca-import-volume: error (NoSuchBucket): Not Found (there is no bucket 'b'; make it first)\n")
    ended(run("euca-delete-disk-image", "-u", url), 2, 'error: import manifest "b/m.xml" does not exist\n')
    equal(server.events, ["GET /b/m.xml"] * 3)


def test_hints():
    """Commands that are proposed go to the same cloud as the one that failed."""
    path = make_file("disk.img", 10)
    cloud = ("--region", "me@west", "-U", f"{server.url}/services/compute/")
    hint = f"--region me@west -U {server.url}/services/compute/ "
    cancel = f"euca-cancel-conversion-task {hint}import-vol-1a2b3c4d"
    here = {"EC2_URL": None}
    importing_there = ("-f", "raw", "-b", "b", *cloud, path)

    server.faults = {0: [403]}
    result = importing("-x", "3", *importing_there, **here)
    ended(result, 1, f"resume it with: euca-resume-import {hint}-t import-vol-1a2b3c4d -x 3 {path}\n")
    assert f"cancel it with: {cancel}\n" in result[2], result[2]
    server.tasks = [(TASK % ("RAW", 10, 1)).replace(
        "Url>x<", f"Url>{server.calls[0]['Image.ImportManifestUrl'].replace('&', '&amp;')}<")]
    server.faults = {0: [403]}
    ended(run("euca-resume-import", *cloud, "-t", "import-vol-1a2b3c4d", "-x", "2", path, **here), 1,
          f"resume it with: euca-resume-import {hint}-t import-vol-1a2b3c4d -x 2 {path}\n")
    server.faults = {"CancelConversionTask": [(400, error("IncorrectState", "no"))]}
    result = importing("--dry-run", "-I", "AKIDEC2", "-S", KEYS["AKIDEC2"], *importing_there, **here)
    ended(result, 1, f"; cancel it with: {cancel}\n")
    assert "the keys have to be given as before: -I, -S\n" in result[2], result[2]
    ended(run("euca-delete-disk-image", *cloud, "-t", "import-vol-1a2b3c4d", **here), 1,
          f"; cancel it first with: {cancel} (or ")
    calls = len(server.calls)
    process = start("euca-import-volume", "-z", "z", "--no-upload", "--wait", *importing_there, **here)
    server.wait(lambda: len(server.calls) > calls + 1, "the task is looked at")
    process.send_signal(signal.SIGINT)
    ended(finish(process), 130, "goes on; watch it with: euca-describe-conversion-tasks "
          f"{hint}--watch import-vol-1a2b3c4d\n")


def test_disks_in_one_place():
    """Two disks whose objects would overwrite each other: told before anything is sent."""
    def two(first, second, *files):
        server.faults = {"ImportInstance": [DRY]}
        return run("euca-import-instance", "-f", "raw", "-t", "t", "-a", "x86_64", "-p", "Linux", "--dry-run",
                   "--manifest-url", f"{server.url}/s3/{first}", "--manifest-url", f"{server.url}/s3/{second}",
                   *files)

    one, other = (os.path.join(scratch, d, "disk.img") for d in ("one", "two"))
    for path in (one, other):
        os.mkdir(os.path.dirname(path))
        make_file(os.path.relpath(path, scratch), 1000)
    third = make_file("third.img", 1000)
    for first, second in (("b/w/a.xml", "b/w/b.xml"), ("b/w/a.xml", "b/%77/b.xml?Signature=x"),
                          ("b/w", "b/w/b.xml")):
        ended(two(first, second, one, other), 2,
              f"error: argument --manifest-url: '{one}' and '{other}' would be uploaded to the same objects, "
              f"\"b/w/disk.img.part.N\"; name manifests in two directories\n")
    for same in (("b/w/a.xml", "b/w/a.xml"), ("b/w/a.xml", "b/w/a%2Exml?X-Amz-Signature=y")):
        ended(two(*same, one, third), 2,
              f"error: argument --manifest-url: '{one}' and '{third}' would have the same manifest, "
              "\"b/w/a.xml\"; name one for each\n")
    equal(server.events, [])
    for first, second, *files in (("b/w/a.xml", "b/w/b.xml", one, third), ("b/w/a.xml", "b/v/a.xml", one, other),
                                  ("b/w/a.xml", "c/w/a.xml", one, other), ("b/w/a.xml", "b/ww/b.xml", one, other)):
        ended(two(first, second, *files), 0, "")


def test_object_store_refuses():
    """What the object store says is told, in its words or its status."""
    path = make_file("disk.img", 1000)
    ended(importing("-f", "raw", "-b", "b", "-o", "AKIDS3", "-w", "wrong", path), 1,
          "euca-import-volume: error (SignatureDoesNotMatch): ")
    equal(server.calls, [])
    server.complaints.clear()


def test_dry_run():
    """The service checks too; one that does not know dry runs made a task, which is cancelled."""
    path = make_file("disk.img", 1000)
    server.faults = {"ImportVolume": [(412, error("DryRunOperation", "Request would have succeeded")),
                                      (400, error("InvalidFormat", "no"))]}
    ended(importing("-f", "raw", "-b", "b", "--dry-run", path), 0, "")
    equal(server.calls[0]["DryRun"], "true")
    ended(importing("-f", "raw", "-b", "b", "--dry-run", path), 1, "error (InvalidFormat): no\n")
    ended(importing("-f", "raw", "-b", "b", "--dry-run", path), 1,
          "error: the service does not know dry runs: it made task import-vol-1a2b3c4d, which was cancelled\n")
    equal(server.calls.pop()["ConversionTaskId"], "import-vol-1a2b3c4d")
    equal(server.events.pop(), "CancelConversionTask")
    server.faults = {"ImportVolume": [
        (400, error("400 Bad Request", "Failed to bind the following fields:\nDryRun")),
        (400, error("UnknownParameter", "The parameter DryRun is not recognized"))]}
    for _ in range(2):
        ended(importing("-f", "raw", "-b", "b", "--dry-run", path), 1,
              "error: the service does not know dry runs: ")
    equal(server.events, ["GET /b?max-keys=0", "ImportVolume"] * 5)
    equal(server.buckets, set())
    ended(importing("-f", "raw", "-b", "b", "--dry-run", "-o", "AKIDS3", "-w", "wrong", path), 1,
          "euca-import-volume: error (SignatureDoesNotMatch): ")
    equal(len(server.calls), 5)
    server.complaints.clear()


def test_progress():
    """Lines when asked for without a terminal, a bar on one, silence with --no-progress."""
    path = make_file("disk.img", PART + 1)
    result = importing("-f", "raw", "-b", "b", "--progress", path)
    ended(result, 0, "euca-import-volume: disk.img: 100%  10.0 MiB of 10.0 MiB", LINES % ("RAW", PART + 1, 1))

    def on_terminal(*options):
        ours, theirs = pty.openpty()
        process = start("euca-import-volume", "-z", "z", "-f", "raw", "-b", "b", *options, path, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # how Linux tells that the other end is closed
                break
            if not data:
                break
            shown += data
        os.close(ours)
        equal(finish(process)[:2], (0, LINES % ("RAW", PART + 1, 1)))
        return shown.decode()

    shown = on_terminal()
    assert re.search(r"\rdisk\.img \[=+\] 100%  10\.0 MiB of 10\.0 MiB  \S+ \S+/s  parts 2/2\x1b\[K\r\n$", shown), repr(shown)
    equal(on_terminal("--no-progress"), "")


def test_describe_and_cancel():
    """The small commands: ids, lines, the server's errors, retries; also by their other names."""
    ended(run("euca-describe-conversion-tasks", "import-vol-1a2b3c4d", "IMPORT-VOL-1A2B3C4D"), 0, "", LINES % ("RAW", 5, 1))
    equal(server.calls[-1], {"Action": "DescribeConversionTasks", "Version": "2015-10-01",
                             "ConversionTaskId.1": "import-vol-1a2b3c4d",
                             "ConversionTaskId.2": "IMPORT-VOL-1A2B3C4D"})
    ended(run("ec2-describe-conversion-tasks", "--show-empty-fields"), 0, "", LINES % ("RAW", 5, 1))
    equal(set(server.calls[-1]), {"Action", "Version"})
    ended(run("euca-tools", "cancel-conversion-task", "import-vol-1"), 0, "")
    equal(server.calls[-1], {"Action": "CancelConversionTask", "Version": "2015-10-01",
                             "ConversionTaskId": "import-vol-1"})
    unknown = (400, error("InvalidConversionTaskId", "unknown"))
    for command in ("describe-conversion-tasks", "cancel-conversion-task"):
        action = "".join(w.capitalize() for w in command.split("-"))
        fresh()
        server.faults = {action: [unknown]}
        ended(run("ec2-" + command, "import-vol-9"), 1,
              f"ec2-{command}: error (InvalidConversionTaskId): unknown\n")
        fresh()
        server.faults = {action: [(500, b""), "drop"]}
        equal(run("euca-" + command, "import-vol-1a2b3c4d")[0], 0)
        equal(len(server.calls), 3)
        fresh()
        server.faults = {action: [(500, b"")] * 3}
        ended(run("euca-" + command, "import-vol-9"), 1, f"euca-{command}: error (500): Internal Server Error\n")
        equal(len(server.calls), 3)
    ended(run("euca-describe-conversion-tasks", "import-vol-1a2b3c4d", "import-vol-9"), 1,
          "error: there is no task 'import-vol-9'; ", LINES % ("RAW", 5, 1))
    server.faults = {"DescribeConversionTasks": [(200, b"<html>hello</html>")]}
    ended(run("euca-describe-conversion-tasks"), 1, "holds no conversion tasks")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        ended(run("euca-describe-conversion-tasks", "-U", url), 1,
              "euca-describe-conversion-tasks: error: connection error (")


def test_strange_tasks():
    """An answer about another task, or in a state nobody knows, is believed by no one."""
    path = make_file("disk.img", 1000)
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    url = server.calls[0]["Image.ImportManifestUrl"].replace("&", "&amp;")
    task = (TASK % ("RAW", 1000, 1)).replace("Url>x<", f"Url>{url}<").replace(">active<", ">completed<")
    there = dict(server.objects)
    delete = ("euca-delete-disk-image", "-t", "import-vol-1a2b3c4d")
    resume = ("euca-resume-import", "-t", "import-vol-1a2b3c4d", path)
    other = "asked for task 'import-vol-1a2b3c4d', the server answered with "
    for items, text in (([task.replace("1a2b3c4d", "1a2b3c4e")], other + "task 'import-vol-1a2b3c4e'\n"),
                        ([task.replace("conversionTaskId>", "x>")], other + "one that has no name\n"),
                        ([task, task], other + "2 tasks\n")):
        server.tasks = items
        for command in (delete, (*delete, "--ignore-active-task"), resume):
            ended(run(*command), 1, f"{command[0]}: error: {text}")
    odd = "says that task import-vol-1a2b3c4d is '%s', not active, cancelling, cancelled or completed\n"
    for state, text in (("<state>over</state>", odd % "over"), ("<state>Completed</state>", odd % "Completed"),
                        ("", odd % "")):
        server.tasks = [task.replace("<state>completed</state>", state)]
        ended(run(*delete), 1, "euca-delete-disk-image: error: the server's answer " + text)
        equal(server.objects, there)
        server.objects.clear()
        ended(importing("-f", "raw", "-b", "b", "--wait", path), 1,
              "euca-import-volume: error: the server's answer " + text)
        server.objects.clear()
        server.objects.update(there)
        describe = ("euca-describe-conversion-tasks", "import-vol-1a2b3c4d")
        equal(run(*describe, "--watch"), run(*describe))  # nothing more is to be seen
    assert not any(e.startswith("DELETE") for e in server.events), server.events
    equal(run(*delete, "--ignore-active-task")[::2], (0, ""))
    equal(len([e for e in server.events if e.startswith("DELETE")]), 2)


def test_credentials():
    """Keys of a file in whatever layout, and the object store's own, which EC2's token does not belong to."""
    file = os.path.join(scratch, "credentials")
    with open(file, "w", encoding="ascii") as f:
        f.write("# mine\n AWSAccessKeyId = AKIDS3 # yes\nAWSSecretKey=s3secret\r\nAWSSecretKey=other\n")
    for name in (file, "~/credentials"):
        server.scopes.clear()
        equal(run("euca-cancel-conversion-task", "x", AWS_CREDENTIAL_FILE=name, AWS_SECRET_ACCESS_KEY=None)[::2],
              (0, ""))
        equal(server.scopes[0][0], "AKIDS3")
    path = make_file("disk.img", 10)
    server.scopes.clear()
    equal(importing("-f", "raw", "-b", "b", "-o", "AKIDS3", "-w", "s3secret", "--s3-url", f"r::{server.url}/s3",
                    path, S3_URL=None, AWS_SECURITY_TOKEN="tok/en==")[0], 0)
    equal(set(s[::2] + s[3:] + (s[1],) for s in server.scopes if s[2] == "s3"), {("AKIDS3", "s3", None, "r")})
    equal([s[3] for s in server.scopes if s[2] == "ec2"], ["tok/en=="])


if __name__ == "__main__":
    sys.exit(standin.main(globals()))
