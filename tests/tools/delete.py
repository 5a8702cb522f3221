#!/usr/bin/python3
"""euca-delete-disk-image on a real service and its object store; a scripted store where it must fail."""
import http.server
import os
import re
import signal
import sys
import threading
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import euca  # noqa: E402
import service  # noqa: E402
import sign  # noqa: E402

DELETE = "delete-disk-image"
PART = 10 << 20
URLS = "".join(f"<{verb}-url>http://s3/x</{verb}-url>" for verb in ("head", "get", "delete"))


def manifest(*keys):
    """An import manifest of parts of one byte."""
    parts = "".join(f'<part index="{i}"><byte-range start="{i}" end="{i}"/><key>{key}</key>{URLS}</part>'
                    for i, key in enumerate(keys))
    return ("<?xml version='1.0'?><manifest><version>2010-11-15</version><file-format>RAW</file-format>"
            "<importer><name>t</name><version>1</version><release>0</release></importer>"
            f"<self-destruct-url>http://s3/x</self-destruct-url><import><size>{len(keys)}</size>"
            f'<volume-size>1</volume-size><parts count="{len(keys)}">{parts}</parts></import></manifest>'
            ).encode()


class Delete(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = service.Service()
        cls.addClassCleanup(cls.service.stop)
        cls.file = os.path.join(cls.service.tmp, "disk.img")
        with open(cls.file, "wb") as file:
            file.truncate(2 * PART + 512)
        cls.s3(cls, "PUT", "b")

    def s3(self, method, path, body=b""):
        """Status and body of the object store's answer."""
        env = self.service.env
        url = urllib.parse.urlsplit(env["S3_URL"])
        path = url.path.rstrip("/") + "/" + urllib.parse.quote(path)
        return sign.send(url.netloc, method, path, sign.v4(
            env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], method, url.netloc, path, "", body,
            service="s3"), body)

    def there(self, *keys):
        """Those of the keys that are in the store."""
        return [key for key in keys if self.s3("HEAD", "b/" + key).status == 200]

    def put(self, **objects):
        for key, body in objects.items():
            self.assertEqual(self.s3("PUT", "b/" + key.replace("__", "/"), body).status, 200)

    def url(self, key):
        return self.service.env["S3_URL"].rstrip("/") + "/b/" + key

    def import_(self, kind="volume", *arguments, file=None):
        out = self.good("import-" + kind, "-f", "raw", "-z", "standalone", "-b", "b", *arguments,
                        *(file or [self.file]))
        return euca.field(out, "TaskId")

    def ended(self, id):
        return service.wait_for(lambda: euca.field(self.good("describe-conversion-tasks", id), "Status")
                                in euca.ENDED)

    def good(self, *arguments):
        status, out, err = euca.run(self.service.env, *arguments)
        self.assertEqual((status, err), (0, ""))
        return out

    def refused(self, status, sentence, *arguments, env=None):
        """One line of standard error behind the usage, if there is any, and nothing on standard output."""
        got = euca.run(env or self.service.env, DELETE, *arguments)
        self.assertEqual((got[0], got[1], got[2].splitlines()[-1]),
                         (status, "", "euca-delete-disk-image: error: " + sentence), got)
        self.assertEqual(got[2].startswith("usage: euca-delete-disk-image "), status == 2, got)

    def test_of_a_task_that_has_ended(self):
        id = self.import_()
        self.ended(id)
        keys = self.good(DELETE, "-t", id, "--dry-run").splitlines()
        directory = os.path.dirname(keys[0])
        self.assertEqual([os.path.basename(key) for key in keys],
                         [f"disk.img.part.{n}" for n in range(3)] + ["disk.img.manifest.xml"])
        keys = [key[len("b/"):] for key in keys]
        self.assertEqual(self.there(*keys), keys)  # only listed until now

        self.s3("DELETE", "b/" + keys[1])  # as one that was interrupted leaves it
        self.assertEqual(self.good(DELETE, "-t", id), "Deleted 3 parts and manifest "
                         f"{directory}/disk.img.manifest.xml ({2 * PART + 512} bytes)\n")
        self.assertEqual(self.there(*keys), [])
        self.refused(2, f'import manifest "{directory}/disk.img.manifest.xml" does not exist', "-t", id)

    def test_of_an_active_task(self):
        id = self.import_("volume", "--no-upload")
        self.refused(1, f"task {id} is still active; cancel it first with: euca-cancel-conversion-task "
                     f"{id} (or delete what it needs all the same, with --ignore-active-task)", "-t", id)
        key = re.search(r'b/[^"?]*', self.good("describe-conversion-tasks", "--output=json", id))[0]
        self.put(**{key[2:].replace("/", "__"): manifest(os.path.dirname(key[2:]) + "/p")})
        self.assertEqual(self.good(DELETE, "-t", id, "--ignore-active-task"),
                         f"Deleted 1 part and manifest {key} (1 bytes)\n")
        self.good("cancel-conversion-task", id)

    def test_of_an_instance(self):
        """All its disks, also when some are gone."""
        small = self.service.write("small.img", "x" * 512)
        id = self.import_("instance", "-t", "m1.small", "-a", "x86_64", "-p", "Linux",
                          file=[small, small])
        self.ended(id)
        listed = self.good(DELETE, "-t", id, "--dry-run").splitlines()
        self.assertEqual(len(listed), 4)
        self.s3("DELETE", listed[1])  # the first manifest
        self.assertEqual(self.good(DELETE, "-t", id),
                         f"Deleted 1 part and manifest {listed[3]} (512 bytes)\n")
        self.assertEqual(self.there(*(key[2:] for key in listed)), [listed[0][2:]])
        self.refused(2, f'import manifest "{listed[3]}" does not exist', "-t", id)

    def test_of_unknown_tasks(self):
        for id, code in (("import-vol-00000000", "InvalidConversionTaskId"),
                         ("x", "InvalidConversionTaskId.Malformed")):
            got = euca.run(self.service.env, DELETE, "-t", id)
            self.assertEqual(got[:2], (1, ""))
            self.assertTrue(got[2].startswith(f"euca-delete-disk-image: error ({code}): "), got)

    def test_by_url(self):
        self.put(d__m=manifest("d/x.part.0", "d//y", "d/below/z"), d__x=b"1", d__below__z=b"2")
        self.assertEqual(self.good(DELETE, "-u", self.url("d/m") + "?Signature=old"),
                         "Deleted 3 parts and manifest b/d/m (3 bytes)\n")
        self.assertEqual(self.there("d/m", "d/x", "d/below/z"), ["d/x"])
        key = "/".join(["k" * 200] * 4)  # is told whole
        self.refused(2, f'import manifest "b/{key}" does not exist', "-u", self.url(key))
        self.put(flat=manifest("flat/p"), flat__p=b"1", p=b"2")
        self.assertEqual(self.good(DELETE, "-u", self.url("flat")),
                         "Deleted 1 part and manifest b/flat (1 bytes)\n")
        self.assertEqual(self.there("flat", "flat/p", "p"), ["p"])

    def test_what_a_manifest_may_not_name(self):
        """Nothing outside its directory is deleted, nor anything else then."""
        self.put(e__part=b"1", other__x=b"2", ex=b"3")
        for key in ("other/x", "ex", "e", "e/", "e/../other/x", "e/./part", "e/..", "/e/part", "e/m"):
            with self.subTest(key):
                self.put(e__m=manifest("e/part", key))
                self.refused(1, f'part 1 of the import manifest "b/e/m" is \'{key}\', which is not in the '
                             "manifest's directory: no upload made that, and nothing was done",
                             "-u", self.url("e/m"))
        self.assertEqual(self.there("e/m", "e/part", "other/x", "ex"), ["e/m", "e/part", "other/x", "ex"])
        self.put(e__m=b"<manifest/>")
        status, _, err = euca.run(self.service.env, DELETE, "-u", self.url("e/m"))
        self.assertEqual(status, 1)
        self.assertIn("error: ", err)
        self.assertEqual(self.there("e/m"), ["e/m"])

    def test_a_store_that_fails(self):
        """What heals is tried again; what does not leaves the manifest, and that is said."""
        keys = [f"d/p{n}" for n in range(9)]
        store = Store({"/b/d/m": manifest(*keys), **{"/b/" + key: b"1" for key in keys}})
        self.addCleanup(store.stop)
        store.fails = {"/b/d/p2": [500, 503], "/b/d/p4": [403]}
        env = {**self.service.env, "S3_URL": store.url, "IMAGING_HASTE": "20"}
        arguments = "-u", store.url + "/b/d/m"
        status, out, err = euca.run(env, DELETE, *arguments)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, "euca-delete-disk-image: the manifest is still there: the same command "
                         "deletes the rest\neuca-delete-disk-image: error (Fault403): as told\n")
        self.assertEqual({"/b/d/m", "/b/d/p4"} - set(store.objects), set())
        self.assertEqual(self.run_(env, *arguments), "Deleted 9 parts and manifest b/d/m (9 bytes)\n")
        self.assertEqual(store.objects, {})
        self.assertEqual(store.deleted[-1], "/b/d/m")

        store.objects["/b/d/m"] = manifest(*keys)
        store.fails = {"GET": [403]}
        self.assertEqual(euca.run(env, DELETE, *arguments),
                         (1, "", "euca-delete-disk-image: error (Fault403): as told\n"))

    def test_a_failure_stops_the_others(self):
        """What is under way then is broken off, not waited for."""
        keys = [f"d/p{n}" for n in range(9)]
        store = Store({"/b/d/m": manifest(*keys), **{"/b/" + key: b"1" for key in keys}})
        self.addCleanup(store.stop)
        store.gate = threading.Event()  # nobody opens it before the end
        self.addCleanup(store.gate.set)
        store.fails = {"/b/d/p2": [403]}
        status, out, err = euca.run({**self.service.env, "S3_URL": store.url}, DELETE,
                                    "-u", store.url + "/b/d/m")
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.endswith("euca-delete-disk-image: error (Fault403): as told\n"), err)
        self.assertEqual(set(store.objects), {"/b/d/m", *("/b/" + key for key in keys)})

    def test_interrupted(self):
        store = Store({"/b/d/m": manifest(*(f"d/p{n}" for n in range(9)))})
        self.addCleanup(store.stop)
        store.gate = threading.Event()
        self.addCleanup(store.gate.set)
        process = euca.start({**self.service.env, "S3_URL": store.url}, DELETE, "-u", store.url + "/b/d/m")
        service.wait_for(lambda: len(store.deleted) == 4)  # so many at a time
        process.send_signal(signal.SIGTERM)
        self.assertEqual(euca.finish(process), (130, "", (
            "euca-delete-disk-image: the manifest is still there: the same command deletes the rest\n"
            "euca-delete-disk-image: error: interrupted\n")))
        self.assertEqual((len(store.deleted), list(store.objects)), (4, ["/b/d/m"]))

    def run_(self, env, *arguments):
        status, out, err = euca.run(env, DELETE, *arguments)
        self.assertEqual((status, err), (0, ""))
        return out


class Store:
    """Objects by path; fails: what a path, or a method, is answered with first; gate: what a deletion
    waits for."""

    def __init__(self, objects):
        self.objects, self.fails, self.deleted, self.gate = objects, {}, [], None
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that leave are part of it
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/s3"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def _handler(self):
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body=b""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):  # noqa: N802
                path = self.path[len("/s3"):]
                fails = store.fails.get(path) or store.fails.get(self.command)
                if fails:
                    self.answer(fails[0], b"<Error><Code>Fault%d</Code><Message>as told</Message></Error>"
                                % fails.pop(0))
                elif self.command == "GET":
                    self.answer(200, store.objects[path])
                else:
                    store.deleted.append(path)
                    if store.gate:
                        store.gate.wait(service.DEADLINE_S)
                    there = store.objects.pop(path, None)
                    self.answer(404 if there is None else 204)

            do_DELETE = do_GET

            def log_message(self, *_):
                pass

        return Handler


if __name__ == "__main__":
    unittest.main()
