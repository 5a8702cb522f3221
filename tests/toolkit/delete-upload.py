"""delete-upload: what it deletes, in which order, how it goes on after a failure, and above all what it
does not touch: an object that is not the part's own, beside the manifest."""
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import faults  # noqa: E402


class DeleteUpload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bench = faults.Bench().__enter__()
        cls.addClassCleanup(cls.bench.__exit__)

    def setUp(self):
        self.bench.cells += 1
        self.addCleanup(self.clear)

    def clear(self):
        for name in os.listdir(self.bench.files):
            os.unlink(os.path.join(self.bench.files, name))

    # -- tools

    def command(self, *arguments, stdin=""):
        return subprocess.run([faults.TOOLKIT, "delete-upload", *arguments], input=stdin, text=True,
                              env=self.bench.environment, capture_output=True, check=False, timeout=60)

    def left(self):
        return sorted(set(os.listdir(self.bench.files)) - {"log", "victim"})

    def log(self):
        with open(os.path.join(self.bench.files, "log"), encoding="latin-1") as log:
            return [line.split("\t")[:2] for line in log]

    def change(self, old, new):
        """The manifest, as its author might have it."""
        path = os.path.join(self.bench.files, "manifest.xml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn(old, text)
        self.bench.put("manifest.xml", text.replace(old, new).encode())

    def assert_refused(self, url, words):
        self.bench.put("victim", b"x")
        result = self.command(url)
        self.assertEqual(result.returncode, faults.INVALID, result.stderr)
        self.assertIn(words, result.stderr)
        self.assertIn("nothing of the upload is deleted", result.stderr)
        self.assertNotIn("secret", result.stderr)
        self.assertEqual([line for line in self.log() if line[0] != "GET"], [])
        self.assertEqual(len(self.left()), faults.PARTS + 1)

    def delete_url(self, part):
        return f"<delete-url>{self.bench.url('ok', f'part{part}')}?"

    # -- tests

    def test_parts_then_manifest(self):
        url = self.bench.upload({})
        result = self.command(url)
        self.assertEqual((result.returncode, result.stdout, result.stderr),
                         (0, "4 parts and their manifest are deleted\n", ""))
        names = [path.split("?")[0].rsplit(",", 1)[1] for method, path in self.log() if method == "DELETE"]
        self.assertEqual(names, ["part0", "part1", "part2", "part3", "manifest.xml"])
        self.assertTrue(all(path.endswith("?Signature=secret") for _, path in self.log()))
        self.assertEqual(self.left(), [])

        result = self.command("--output", "json", url)
        self.assertEqual((result.returncode, json.loads(result.stdout)), (0, {"parts": 0, "was_gone": True}))

    def test_headers_that_presigned_urls_have_signed(self):
        self.command(self.bench.upload({}))
        with open(os.path.join(self.bench.files, "log"), encoding="latin-1") as log:
            for line in log:
                self.assertIn("\taccept=*/*\taccept-encoding=gzip, deflate\t", line)

    def test_url_on_standard_input(self):
        url = self.bench.upload({})
        result = self.command(stdin=json.dumps({"manifest": url}))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(self.left(), [])

    def test_goes_on_after_a_failure(self):
        url = self.bench.upload({2: "DELETE:403*1"})
        result = self.command(url)
        self.assertEqual(result.returncode, faults.INPUT)
        self.assertIn("deleting part 3 of 4", result.stderr)
        self.assertNotIn("secret", result.stderr)
        self.assertEqual(self.left(), ["manifest.xml", "part2", "part3"])
        self.assertEqual(self.command(url).returncode, 0)
        self.assertEqual(self.left(), [])

    def test_other_object(self):
        url = self.bench.upload({})
        self.change(self.delete_url(1), f"<delete-url>{self.bench.url('ok', 'victim')}?")
        self.assert_refused(url, "delete-url of part 2 of 4 names another object than its get-url")

    def test_object_of_another_part(self):
        url = self.bench.upload({})
        self.change(self.delete_url(1), self.delete_url(2))
        self.assert_refused(url, "delete-url of part 2 of 4 names another object")

    def test_other_spelling(self):
        url = self.bench.upload({})
        self.change(self.delete_url(3), self.delete_url(3).replace(",part3", ",%70art3"))
        self.assert_refused(url, "delete-url of part 4 of 4 names another object")

    def test_outside_the_directory(self):
        """Of the get-url, too: a stranger's object, which this manifest calls its part."""
        for there in ("/other/%s", "/in", "/inside/part1", "/in/../%s", "/in/x/../../%s", "/in/%%2e%%2E/%s",
                      "/in/.%%2e/%s", "/in/./%s"):
            with self.subTest(there):
                self.bench.cells += 1
                url = self.bench.upload({})
                here = self.bench.url("ok", "part1").split("/", 3)[3]
                self.change(f"/{here}?", (there % here if "%s" in there else there) + "?")
                self.assert_refused(url, "delete-url of part 2 of 4 leads out of the manifest's directory")

    def test_below_the_directory(self):
        """The neighbours: deeper, and names that only look like dots."""
        for piece in ("deeper/", ".../", "..a/", "%2e%2e%2e/", "a../"):
            with self.subTest(piece):
                self.bench.cells += 1
                url = self.bench.upload({})
                self.change(f"/in/ok+cell{self.bench.cells},part1?", f"/in/ok,{piece}part1?")
                self.bench.put(piece.replace("/", "_") + "part1", b"x")
                self.assertEqual(self.command(url).returncode, 0)
                self.clear()

    def test_other_host(self):
        for other in ("127.0.0.1:1", "localhost:%d", "169.254.169.254"):
            other = other.replace("%d", str(self.bench.port))
            url = self.bench.upload({})
            here = f"127.0.0.1:{self.bench.port}/in/ok+cell{self.bench.cells},part1?"
            self.change(here, here.replace(f"127.0.0.1:{self.bench.port}", other))  # the get-url, too
            self.assert_refused(url, "delete-url of part 2 of 4 is of another server than the manifest")

    def test_other_scheme(self):
        url = self.bench.upload({})
        self.change(self.delete_url(0), self.delete_url(0).replace("http:", "https:"))
        self.assert_refused(url, "is of another server")

    def test_other_self_destruct_url(self):
        url = self.bench.upload({})
        self.change(f"<self-destruct-url>{self.bench.url('ok', 'manifest.xml')}",
                    f"<self-destruct-url>{self.bench.url('ok', 'victim')}")
        self.assert_refused(url, "self-destruct-url names another object than the manifest")

    def test_not_a_manifest(self):
        self.bench.put("manifest.xml", b"<other/>")
        result = self.command(self.bench.url("ok", "manifest.xml"))
        self.assertEqual(result.returncode, faults.INVALID)
        self.assertEqual(self.left(), ["manifest.xml"])

    def test_usage(self):
        for arguments, stdin in ((("a", "b"), ""), (("--nonsense",), ""), ((), ""), ((), "[]"),
                                 ((), '{"manifest": 7}'), ((), '{"manifest": "http://h/", "x": 1}'),
                                 ((), '{"manifest": "http://h/", "urls": []}'),
                                 ((), '{"manifest": "http://h/", "urls": {"networks": ["10.0.0.1/8"]}}'),
                                 ((), '{"manifest": "http://h/", "urls": {"x": []}}'),
                                 ((), "x" * 200000), (("ftp://127.0.0.1/manifest",), "")):
            result = self.command(*arguments, stdin=stdin)
            self.assertEqual(result.returncode, 2, (arguments, stdin, result.stderr))


if __name__ == "__main__":
    unittest.main()
