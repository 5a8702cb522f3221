#!/usr/bin/python3
"""Each tool and library that a stage or format needs is hidden in turn: what needs it is listed as
unavailable with the reason, a workflow that wants it ends with status 7, and everything else works.

The toolkit looks for programs in fixed places only, so these are covered in a mount namespace of our
own by something that is no program.  A library is hidden by a file of its name that is no library
and is found first."""
import json
import os
import shutil
import subprocess
import sys
import unittest

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import toolkit  # noqa: E402

PLACES = "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"
COVER = r"""
for path in $1; do [ ! -e "$path" ] || mount --bind /dev/null "$path" || exit 99; done
shift
exec "$@"
"""


def namespace():
    """How a command gets mounts of its own; None where that is not allowed."""
    for how in ["unshare", "-m"], ["unshare", "-rm"]:
        if subprocess.run(how + ["sh", "-c", "mount --bind /dev/null /dev/null"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0:
            return how
    return None


def linked(path):
    """Names of the shared libraries that a program or library cannot be loaded without."""
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    return {line.split()[0] for line in said.splitlines() if "=>" in line}


def libraries_of(need):
    """The same of a library by its soname; nothing of a program, which finds its own."""
    said = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    paths = [line.split("=> ")[1] for line in said.splitlines() if line.split()[:1] == [need]]
    return linked(paths[0]) if paths else set()


OWN = linked(toolkit.TOOLKIT)  # without these nothing works


class Missing(toolkit.Case):
    how = namespace() if shutil.which("unshare") else None

    def stages(self, hidden=None, env=None):
        """Rows by kind and name; without these programs."""
        return {(row["kind"], row["name"]): row
                for row in json.loads(self.hide(hidden, ["stages", "--output", "json"], env).stdout)}

    def hide(self, hidden, args, env=None):
        command = [toolkit.TOOLKIT, *args]
        if hidden:
            paths = [os.path.realpath(os.path.join(place, hidden)) for place in PLACES] \
                if not hidden.startswith("/") else [hidden]
            command = self.how + ["bash", "-c", COVER, "cover", " ".join(dict.fromkeys(paths)),
                                  *command]
        done = subprocess.run(command, cwd=self.tmp, capture_output=True, check=False,
                              env={**os.environ, **(env or {})}, timeout=toolkit.TIMEOUT)
        self.assertNotIn(done.returncode, (99, 127), done.stderr.decode())
        return done

    def without(self, need):
        """Rows where it is hidden, and how to run without it."""
        if ".so" not in need or need.startswith("/"):
            if not self.how:
                self.skipTest("private mounts are not allowed here")
            return need, None
        alone = self.path(need + ".d")  # those that were hidden before are there again
        os.makedirs(alone, exist_ok=True)
        self.write(os.path.join(alone, need), "no library")
        return None, {"LD_LIBRARY_PATH": alone}

    def needs(self):
        """What is needed, and by which rows; of those that are here."""
        found = {}
        for key, row in self.stages().items():
            for need in row.get("needs", []) if row["available"] else []:
                if need not in OWN:
                    found.setdefault(need, set()).add(key)
        return found

    def test_without_each_only_what_needs_it_is_unavailable(self):
        whole = self.stages()
        needs = self.needs()
        self.assertTrue(needs, "nothing is needed by anything here: install qemu-utils")
        self.image("disk.raw", 1)
        for need, users in needs.items():
            with self.subTest(need):
                program, env = self.without(need)
                rows = self.stages(program, env)
                gone = {key for key, row in rows.items()
                        if whole[key]["available"] and not row["available"]}
                self.assertLessEqual(users, gone)
                for key in gone:
                    why = rows[key]["reason"]
                    self.assertTrue(any("unavailable: %s is missing" % other in why and
                                        (other == need or need in libraries_of(other))
                                        for other in rows[key]["needs"]), why)
                out = "out-" + os.path.basename(need)
                done = self.hide(program, ["run", "import-volume", "image=disk.raw", "volume=" + out],
                                 env)
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                self.assertEqual(self.read(out), self.read("disk.raw"))

    def test_a_workflow_that_wants_it_ends_with_7_and_its_name(self):
        self.image("disk.raw", 1)
        wanting = {"qcow2": ["export", "disk=disk.raw", "image=x", "to=qcow2"]}
        for key, row in self.stages().items():
            if key[0] == "stage" and row["class"] == "validator" and row["available"]:
                wanting[key[1]] = ["fetch", "from=disk.raw", "decode", "format=raw", key[1],
                                   "required"]
        for need, users in self.needs().items():
            for _, name in sorted(users & {("format", "qcow2")} |
                                  {key for key in users if key[1] in wanting}):
                with self.subTest(need=need, stage=name):
                    program, env = self.without(need)
                    for verb in "plan", "run":
                        done = self.hide(program, [verb, *wanting[name]], env)
                        self.assertEqual(done.returncode, 7, done.stderr.decode())
                        self.assertIn("%s is missing" % need, done.stderr.decode())
                    self.assertFalse(os.path.exists(self.path("x")))

    def test_an_optional_validator_that_is_missing_is_left_out(self):
        self.image("disk.raw", 1)
        for key, row in self.stages().items():
            if key[0] != "stage" or row["class"] != "validator" or not row["available"]:
                continue
            for need in set(row["needs"]) - OWN:
                with self.subTest(need=need, stage=key[1]):
                    program, env = self.without(need)
                    chain = ["fetch", "from=disk.raw", "decode", "format=raw", key[1], "optional",
                             "store", "to=out-" + key[1]]
                    done = self.hide(program, ["plan", *chain, "--output", "json"], env)
                    self.assertEqual(done.returncode, 0, done.stderr.decode())
                    self.assertIn("'%s' would be left out: unavailable: %s is missing" %
                                  (key[1], need), " ".join(json.loads(done.stdout)["warnings"]))
                    done = self.hide(program, ["run", *chain], env)
                    self.assertEqual(done.returncode, 0, done.stderr.decode())
                    self.assertIn("%s is missing" % need, done.stdout.decode())
                    os.unlink(self.path("out-" + key[1]))

    def test_what_is_listed_of_a_stage(self):
        rows = self.stages()
        grow = rows["stage", "grow"]
        self.assertEqual((grow["class"], grow["takes"], grow["gives"], grow["optional"]),
                         ("layout", "disk", "disk", False))
        self.assertEqual(grow["parameters"], [{
            "name": "size", "type": "size", "required": True,
            "summary": "bytes of the disk; the new space reads as zeros"}])
        level = [param for param in rows["stage", "encode"]["parameters"]
                 if param["name"] == "level"][0]
        self.assertEqual(level["choices"], ["fast", "best"])
        classes = [row["class"] for row in rows.values() if row["kind"] == "stage"]
        order = ["transfer", "bundler", "converter", "layout", "validator"]
        self.assertEqual(classes, sorted(classes, key=order.index))
        for kind, name in (("source", "http"), ("format", "vmdk"), ("store", "file")):
            self.assertTrue(rows[kind, name]["available"])
        text = self.run_ok("stages")
        for (_, name), row in rows.items():
            self.assertIn(" %s " % name, text)
            self.assertIn(row["summary"], text)


if __name__ == "__main__":
    unittest.main()
