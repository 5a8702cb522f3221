#!/usr/bin/python3
"""resume - euca-resume-import, and euca-import-volume with a manifest that is there, against a scripted
stand-in for EC2 and S3 (lib/standin.py).  "resume.py NAME..." runs some of the scenarios.
"""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import euca  # noqa: E402
import standin  # noqa: E402
from standin import (DEADLINE, DRY, ended, environment, equal, fetch, finish, fresh, importing, KEYS,  # noqa: E402
                     LINES, make_file, manifest, MIB, PART, puts, run, server, start, TASK,
                     uploaded)


def import_again(path, *options, status="active"):
    """The task of the import that was just made, as DescribeConversionTasks has it."""
    url = server.calls[0]["Image.ImportManifestUrl"].replace("&", "&amp;")
    size = os.path.getsize(path)
    text = (TASK % ("RAW", size, 1)).replace("<importManifestUrl>x<", f"<importManifestUrl>{url}<")
    text = text.replace("<state>active<", f"<state>{status}<")
    server.tasks = [text]
    server.events.clear()
    return run("euca-resume-import", "-t", "import-vol-1a2b3c4d", *options, path)


def test_key_service():
    """ETags that are no MD5: PUTs are believed, what is there is sent again on resume."""
    path = make_file("disk.img", 2 * PART)
    server.sealed = True
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    equal(import_again(path), (0, "", ""))
    equal(sorted(puts()), [0, 1])
    uploaded(path)


def test_resume_import():
    """Only what is missing or another's is sent, by whom it is compared with: the file as it is."""
    path = make_file("disk.img", 5 * PART + 5)
    server.faults = {3: [(403, b"<Error><Code>AccessDenied</Code></Error>")]}
    equal(importing("-f", "raw", "-b", "b", path)[0], 1)
    server.wait(lambda: server.in_flight == 0, "what was broken off is through")
    server.faults = {}
    missing = {n for n in range(6)} - {int(k.rsplit(".", 1)[1]) for k in server.objects if ".part." in k}
    before = manifest()
    equal(import_again(path), (0, "", ""))
    equal(server.events[0], "DescribeConversionTasks")
    equal(set(puts()), missing)
    assert 3 in missing
    uploaded(path)
    equal(import_again(path), (0, "", ""))  # complete: nothing is sent
    equal([e for e in server.events if not e.startswith(("GET", "HEAD"))], ["DescribeConversionTasks"])

    # The file changed between the attempts, at the same size: all parts are compared.
    with open(path, "r+b") as f:
        f.seek(4 * PART + 7)
        f.write(b"changed")
    equal(import_again(path), (0, "", ""))
    equal(puts(), [4])
    uploaded(path)
    key = before[0][:-len(".manifest.xml")] + ".part.0"
    server.objects[key] = server.objects[key][:-1]
    equal(import_again(path, "--progress")[:2], (0, "Uploading image for task import-vol-1a2b3c4d\n"))
    equal(puts(), [0])
    uploaded(path)
    del server.objects[key]
    result = import_again(path, "--json")
    equal(result[::2], (0, ""))
    last = json.loads(result[1].splitlines()[-1])
    equal((last["event"], last["bytes"], last["parts"]), ("uploaded", 5 * PART + 5, 6))
    equal(import_again(path, "--dry-run"), (0, "", ""))
    equal([e for e in server.events if e.startswith(("PUT", "HEAD"))], [])
    for threads in ("2", "0", "100"):  # which never had an effect
        equal(import_again(path, "--user-threads", threads, "--dont-verify-format", "--part-size", "3"), (0, "", ""))


def test_resume_refuses():
    """Files and tasks that do not fit: told before anything is sent."""
    path = make_file("disk.img", PART + 5)
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    other = make_file("other.img", PART + 4)
    for options in ([], ["--dry-run"]):
        ended(import_again(other, *options), 2, f'file "{other}" is not the same size as the file the import '
              f"started with (expected: {PART + 5}, actual: {PART + 4})\n")
    equal(import_again(path, status="completed"), (0, "", ""))  # nothing is missing
    equal([e for e in server.events if e.startswith(("PUT", "HEAD"))], [])
    for state in ("cancelled", "cancelling"):
        ended(import_again(path, status=state), 1,
              f"euca-resume-import: error: task 'import-vol-1a2b3c4d' is {state} (Pending import-image "
              "upload): it takes no upload any more")
    ended(import_again(path, path), 2, "task 'import-vol-1a2b3c4d' has 1 disk, but 2 files were given")
    ended(import_again(path, "-U", server.url + "/ec2", "--s3-url", "http://127.0.0.1:9"), 1,
          "matches no known object storage endpoints.")
    server.tasks = []
    resume = ("euca-resume-import", "-t", "import-vol-9")
    ended(run(*resume, path), 1, "euca-resume-import: error: there is no task 'import-vol-9'")
    ended(run(*resume, path + ".not"), 1,
          f"euca-resume-import: error: No such file or directory: {path}.not\n")
    ended(run(*resume), 2, "euca-resume-import: error: too few arguments\n")
    ended(run("euca-resume-import", path), 2, "error: argument -t/--task is required\n")
    for wrong in ("0", "5121", "x"):
        ended(run(*resume, "--part-size", wrong, path), 2, "argument --part-size: ")
    key, _ = manifest()
    good = server.objects[key]
    server.objects[key] = good.replace(b".img.part.0</key>", b".img/../../x</key>")
    ended(import_again(path), 1, "is not in the manifest's directory: no upload made that")
    server.objects[key] = b"<manifest/>"
    ended(import_again(path), 1, "error: manifest: there is no <version>")
    equal([e for e in server.events if e.startswith(("PUT", "HEAD"))], [])


def test_resume_of_a_file_that_ends():
    """What was cut meanwhile cannot be gone on with: nothing says so."""
    path = make_file("disk.img", 2 * PART)
    equal(importing("-f", "raw", "-b", "b", "--no-upload", path)[0], 0)
    url = server.calls[0]["Image.ImportManifestUrl"].replace("&", "&amp;")
    server.tasks = [(TASK % ("RAW", 2 * PART, 1)).replace("Url>x<", f"Url>{url}<")]
    server.gate = threading.Event()
    process = start("euca-resume-import", "-t", "import-vol-1a2b3c4d", "--uploads", "1", path)
    server.wait(lambda: server.in_flight == 1, "a part arrives")
    os.truncate(path, PART)
    server.gate.set()
    result = finish(process)
    ended(result, 1, f"error: '{path}' changed while it was uploaded")
    assert "cancel it with: " in result[2] and "resume it with" not in result[2], result[2]


def test_wait_for_a_forgotten_task():
    """There is nothing to go on watching."""
    path = make_file("disk.img", 5)
    server.tasks = []
    equal(importing("-f", "raw", "-b", "b", "--no-upload", "--wait", path),
          (1, "", "euca-import-volume: error: the service does not know task 'import-vol-1a2b3c4d' any more\n"))


def test_long_refusals():
    """What a server says is told whole; AWS's encoded messages are long."""
    said = "You are not authorized. Encoded authorization failure message: " + "x" * 1200 + " (see sts)"
    server.tasks = []
    server.faults = {"DescribeConversionTasks": [
        (403, f"<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>{said}</Message></Error>"
              "</Errors></Response>".encode())]}
    equal(run("euca-resume-import", "-t", "import-vol-9", make_file("disk.img", 5)),
          (1, "", f"euca-resume-import: error (UnauthorizedOperation): {said}\n"))


def test_resume_without_manifest():
    """It is made of what the task says, with the parts and days that are asked for."""
    path = make_file("disk.img", 5 * MIB + 1)
    equal(importing("-f", "raw", "-b", "b", "--no-upload", path)[0], 0)
    equal(server.objects, {})
    equal(import_again(path, "--part-size", "2", "-x", "2"), (0, "", ""))
    equal([len(p) for p in uploaded(path)], [2 * MIB, 2 * MIB, MIB + 1])
    _, doc = manifest()
    equal((doc.findtext("file-format"), doc.findtext("import/size"), doc.findtext("import/volume-size")),
          ("RAW", str(5 * MIB + 1), "1"))
    assert "X-Amz-Expires=172800&" in doc.find("import/parts")[0].findtext("get-url")


def test_resume_after_a_week():
    """URLs that will not last are made anew, under the same keys; those that will are left alone."""
    path = make_file("disk.img", 2 * PART)
    for version, old in (("4", r"X-Amz-Date=[0-9TZ]*"), ("2", r"Expires=[0-9]*")):
        for seconds, days, anew in ((86300, "7", True), (86500, "7", False),
                                    (43100, "1", True), (43300, "1", False)):
            fresh()
            equal(importing("-f", "raw", "-b", "b", "--signature", version, path)[0], 0)
            key, doc = manifest()
            until = int(time.time()) + seconds
            began = time.strftime("X-Amz-Date=%Y%m%dT%H%M%SZ", time.gmtime(until - 604800))
            # one URL of one part
            text = server.objects[key].decode().split("<get-url>")
            text[2] = re.sub(old, began if version == "4" else f"Expires={until}", text[2], count=1)
            server.objects[key] = "<get-url>".join(text).encode()
            before = server.objects[key]
            equal(import_again(path, "--signature", version, "-x", days), (0, "", ""))
            equal(server.objects[key] != before, anew)
            equal(puts(), [])
            after = manifest()[1]
            equal([p.findtext("key") for p in after.find("import/parts")],
                  [p.findtext("key") for p in doc.find("import/parts")])
            if anew:
                for part in after.find("import/parts"):
                    equal(fetch("GET", part.findtext("get-url"))[0], 200)
                    equal(fetch("DELETE", part.findtext("delete-url"))[0], 200)
    # The task's own URL cannot be made anew.
    fresh()
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    server.calls[0]["Image.ImportManifestUrl"] = re.sub(
        "X-Amz-Date=[0-9TZ]*", "X-Amz-Date=20200101T000000Z", server.calls[0]["Image.ImportManifestUrl"])
    ended(import_again(path), 0, "expired 2020-01-08T00:00:00Z")


def test_pasted_command():
    """What an interrupted upload prints does what it says, in a shell; keys are not in it."""
    path = make_file("it's a $(disk).img", 6 * PART)
    server.gate = threading.Event()
    process = start("euca-import-volume", "-f", "raw", "-z", "z", "-b", "b", "--s3-url", server.url + "/s3",
                    "-o", "AKIDS3", "-w", KEYS["AKIDS3"], "--signature", "2", path, S3_URL=None)
    server.wait(lambda: len(puts()) == 4, "four parts are there, unanswered")
    process.send_signal(signal.SIGINT)
    result = finish(process)
    server.gate.set()
    ended(result, 130, "the keys have to be given as before: -o, -w\n")
    assert KEYS["AKIDS3"] not in result[2]
    command = re.search("resume it with: (.*)\n", result[2])[1]
    server.wait(lambda: server.in_flight == 0, "the parts are through")
    url = server.calls[0]["Image.ImportManifestUrl"].replace("&", "&amp;")
    server.tasks = [(TASK % ("RAW", 6 * PART, 1)).replace("Url>x<", f"Url>{url}<")]
    env = environment(S3_URL=None)
    env["PATH"] = euca.tools() + ":" + env["PATH"]
    done = subprocess.run(["sh", "-c", f"{command} -o AKIDS3 -w s3secret"], env=env, capture_output=True,
                          text=True, check=False, timeout=DEADLINE)
    equal((done.returncode, done.stdout, done.stderr), (0, "", ""))
    equal(server.versions & {"V4 URL", "V2"}, {"V2"})
    uploaded(path)


def test_resume():
    """An existing manifest is followed; only what is missing or damaged is sent."""
    path = make_file("disk.img", 5 * PART + 5)
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    key, _ = manifest()
    base = key[:-len(".manifest.xml")]
    before = server.objects[key]
    del server.objects[base + ".part.1"]
    server.objects[base + ".part.3"] = server.objects[base + ".part.3"][:-1]
    server.objects[base + ".part.4"] = bytes(PART)
    server.events.clear()
    url = f"{server.url}/s3{key}"
    result = importing("-f", "raw", "--manifest-url", url, path)
    ended(result, 0, "", LINES % ("RAW", 5 * PART + 5, 1))
    # which the service, without keys, reads by a signed URL
    assert server.calls[-1]["Image.ImportManifestUrl"].startswith(url + "?X-Amz-"), server.calls[-1]
    equal(server.events[:3], [f"GET {key}", "ImportVolume", f"GET {key}"])
    equal(sorted(server.events[3:]), sorted([f"HEAD {base}.part.{n}" for n in range(6)] +
                                            [f"PUT {base}.part.{n}" for n in (1, 3, 4)]))
    for n in (1, 3, 4):
        assert server.events.index(f"HEAD {base}.part.{n}") < server.events.index(f"PUT {base}.part.{n}")
    equal(server.objects[key], before)
    uploaded(path)

    other = make_file("other.img", 5 * PART + 4)
    for options in ([], ["--dry-run"]):  # another's manifest: no task is made
        server.events.clear()
        ended(importing("-f", "raw", "--manifest-url", url, *options, other), 2,
              f'euca-import-volume: error: file "{other}" is not the same size as the file the import '
              f"started with (expected: {5 * PART + 5}, actual: {5 * PART + 4})\n")
        equal(server.events, [f"GET {key}"])
    server.faults = {"ImportVolume": [DRY]}
    ended(importing("-f", "raw", "--manifest-url", url, "--dry-run", path), 0, "")
    server.objects[key] = b"hello"
    ended(importing("-f", "raw", "--manifest-url", url, path), 1, "euca-import-volume: error: manifest: ")
    equal(server.events[-1], f"GET {key}")


def test_resume_of_a_changed_file():
    """The import begins when nothing is missing: until then every part is the file's as it is now."""
    path = make_file("disk.img", 6 * PART)
    equal(importing("-f", "raw", "-b", "b", path)[0], 0)
    key, _ = manifest()
    base = key[:-len(".manifest.xml")]
    for n in (0, 2):
        del server.objects[f"{base}.part.{n}"]
    with open(path, "r+b") as f:
        for n in (3, 5):
            f.seek(n * PART + 7)
            f.write(b"changed")

    def expire():  # nobody can look at it then, and that is to stay so
        server.objects[key] = re.sub(rb"X-Amz-Date=[0-9TZ]*", b"X-Amz-Date=20200101T000000Z", server.objects[key])

    expire()
    server.faults = {5: [(403, b"<Error><Code>AccessDenied</Code></Error>")]}
    equal(import_again(path, "--uploads", "1")[0], 1)
    equal(puts(), [3, 5])
    assert f"PUT {key}" not in server.events, server.events
    with open(path, "r+b") as f:
        f.seek(3 * PART)
        f.write(b"changed again")
    for uploads in ("1", "4"):
        server.faults = {5: [503, 503]}
        equal(import_again(path, "--uploads", uploads), (0, "", ""))
        sent = [e[len("PUT "):] for e in server.events if e.startswith("PUT ")]
        equal(sorted(sent[:4]), [f"{base}.part.{n}" for n in (3, 5, 5, 5)])
        equal((sent[4], sorted(sent[5:])), (key, [f"{base}.part.{n}" for n in (0, 2)]))
        uploaded(path)
        for n in (0, 2):
            del server.objects[f"{base}.part.{n}"]
        for n in (3, 5):
            server.objects[f"{base}.part.{n}"] = bytes(PART)
        expire()


if __name__ == "__main__":
    sys.exit(standin.main(globals()))
