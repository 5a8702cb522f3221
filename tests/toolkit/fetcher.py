#!/usr/bin/python3
"""Whoever decodes an image of the network has no socket to it; the process that has parses no image.
They end together, and each tells what became of the other."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import resuming  # pylint: disable=wrong-import-position
import service  # pylint: disable=wrong-import-position
from procfs import children, filters, hidden, opened  # pylint: disable=wrong-import-position

MIB = 1 << 20
TOTAL = 10
SEEN = unittest.skipIf(hidden(), "what a program has open is hidden here")


def sockets(pid):
    return {link for link in opened(pid).values() if link.startswith("socket:")}


def of_the_network(pid):
    """Sockets of all families but AF_UNIX, as its network has them."""
    known = set()
    with open(f"/proc/{pid}/net/unix", encoding="ascii", errors="replace") as table:
        for line in table.readlines()[1:]:
            known.add(f"socket:[{line.split()[6]}]")
    return sockets(pid) - known


def ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the second: buried between opening and reading
        return True


class Fetching(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="fetcher.")  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory.name)
        resuming.make_disk("random", "disk.raw", TOTAL)
        os.mkdir("out")

    def start(self, *options, form="raw", image="disk.raw", start=resuming.start):
        """A conversion that waits for its eighth part, and the process that fetches for it."""
        self.gate = self.enterContext(resuming.Gate(form.upper(), image, "7-8"))
        run = start(form, self.gate.source, "out/disk", *options)
        self.addCleanup(run.stdout.close)
        self.addCleanup(run.kill)
        self.gate.wait()
        fetchers = children(run.pid)
        self.assertEqual(len(fetchers), 1, fetchers)
        return run, fetchers[0]

    def enterContext(self, manager):  # pylint: disable=invalid-name # unittest's, from Python 3.11 on
        entered = manager.__enter__()  # pylint: disable=unnecessary-dunder-call
        self.addCleanup(manager.__exit__, None, None, None)
        return entered

    def finish(self, run, fetcher):
        self.gate.open()
        resuming.end(run)
        self.assertTrue(resuming.same("disk.raw", "out/disk"))
        service.wait_for(lambda: ended(fetcher))

    @SEEN
    def test_who_decodes_has_no_network(self):
        run, fetcher = self.start()
        self.assertEqual(of_the_network(run.pid), set())
        self.assertNotEqual(sockets(run.pid), set())
        self.assertNotEqual(of_the_network(fetcher), set())
        self.finish(run, fetcher)

    @unittest.skipIf(os.environ.get("UNCONFINED"), "nothing is confined by this build")
    def test_who_adds_to_the_cache_has_no_network(self):
        with open("disk.raw", "rb") as disk:
            wanted = hashlib.sha256(disk.read()).hexdigest()
        os.mkdir("place")

        def start(_, source, __):
            return subprocess.Popen([resuming.toolkit(), "cache", "add", "--place", "place", "--sha256", wanted, source],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        run, fetcher = self.start(start=start)
        self.assertEqual((filters(run.pid), of_the_network(run.pid)), (2, set()))
        self.gate.open()
        self.assertEqual(resuming.end(run), wanted + "\n")
        service.wait_for(lambda: ended(fetcher))

    def convert_traced(self, trace, out, *options):
        """The image is converted, and each prctl of who decodes is a line of `trace`."""
        done = subprocess.run(["strace", "-o", trace, "-e", "trace=prctl", *options, resuming.toolkit(), "convert",
                               "-f", "raw", "-O", "raw", self.gate.source, out],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        if "PTRACE" in done.stdout or "ptrace" in done.stdout:
            self.skipTest("strace is not allowed here")
        self.assertEqual(done.returncode, 0, done.stdout)
        return done

    @unittest.skipIf(os.environ.get("UNCONFINED"), "nothing is confined by this build")
    def test_who_cannot_go_offline_says_so(self):
        """A first run tells which call takes the network away: of its filters the last."""
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        self.gate = self.enterContext(resuming.Gate("RAW", "disk.raw"))
        self.convert_traced("trace", "out/before")
        with open("trace", encoding="ascii") as trace:
            calls = [number for number, line in enumerate(trace, 1) if line.startswith("prctl(PR_SET_SECCOMP, ")]
        self.assertEqual(len(calls), 2)
        done = self.convert_traced("/dev/null", "out/disk", "-e", f"inject=prctl:error=EPERM:when={calls[-1]}")
        self.assertRegex(done.stdout, "^imaging-toolkit: warning: this process cannot go offline: ")
        self.assertNotIn("error:", done.stdout)
        self.assertTrue(resuming.same("disk.raw", "out/disk"))

    @SEEN
    def test_who_fetches_has_nothing_else(self):
        run, fetcher = self.start("--resume")
        links = opened(fetcher)
        self.assertEqual((links.pop(0), links.pop(1)), ("/dev/null", "/dev/null"))
        del links[2]  # standard error
        odd = [link for link in links.values() if not re.match(r"socket:|/memfd:segments|anon_inode:|pipe:", link)]
        self.assertEqual(odd, [])
        self.assertNotEqual(opened(run.pid)[0], None)
        self.finish(run, fetcher)

    def test_planning_and_running_share_it(self):
        """An image that needs scratch is opened twice, by one process."""
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vdi", "disk.raw", "disk.vdi"], check=True)
        run, fetcher = self.start(form="vdi", image="disk.vdi")
        self.finish(run, fetcher)

    @SEEN
    def test_urls_are_told_to_nobody(self):
        """A job comes through standard input so that no list of processes shows its URLs."""
        def start(form, source, out):
            job = {"source": source, "format": form, "store": os.path.abspath(out)}
            run = subprocess.Popen([resuming.toolkit(), "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
            run.stdin.write(json.dumps(job))
            run.stdin.close()
            run.stdin = None
            return run
        run, fetcher = self.start(start=start)
        for pid in run.pid, fetcher:
            for name in "cmdline", "environ", "comm":
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    self.assertNotIn(b"http:", file.read(), name)
        self.finish(run, fetcher)

    @SEEN
    def test_standard_error_may_be_closed(self):
        """Nothing else that is opened is taken for it."""
        def start(form, source, out):
            return subprocess.Popen(["sh", "-c", 'exec "$@" 2>&-', "sh", resuming.toolkit(), "convert", "-f", form,
                                     "-O", "raw", source, out], stdout=subprocess.PIPE, text=True)
        run, fetcher = self.start(start=start)
        for pid in run.pid, fetcher:
            self.assertEqual(opened(pid)[2], "/dev/null")
        self.finish(run, fetcher)

    def test_its_end_is_told(self):
        run, fetcher = self.start()
        os.kill(fetcher, signal.SIGKILL)
        said = resuming.end(run, 6, "by signal 9 (KILL); try again")
        self.assertIn(self.gate.base, said)
        self.assertEqual(os.listdir("out"), [])

    def test_what_was_done_is_kept(self):
        run, fetcher = self.start("--resume")
        resuming.wait_marked("out/disk.journal", 7 * MIB)
        os.kill(fetcher, signal.SIGKILL)
        resuming.end(run, 6)
        self.gate.open()
        before = self.gate.requests()
        resuming.end(resuming.start("raw", self.gate.source, "out/disk", "--resume"))
        self.assertTrue(resuming.same("disk.raw", "out/disk"))
        after = self.gate.requests()
        self.assertEqual([after[part] - before[part] for part in range(7)], [0] * 7)

    def test_it_ends_with_the_other(self):
        run, fetcher = self.start()
        resuming.kill(run)
        service.wait_for(lambda: ended(fetcher))

    def test_it_ends_with_the_other_that_was_stopped(self):
        run, fetcher = self.start()
        os.kill(fetcher, signal.SIGSTOP)
        resuming.kill(run)
        service.wait_for(lambda: ended(fetcher))

    def test_a_wish_to_stop_reaches_both(self):
        run, fetcher = self.start()
        run.send_signal(signal.SIGTERM)
        resuming.end(run, 130, "cancelled by a signal")
        self.assertTrue(ended(fetcher))
        self.assertEqual(os.listdir("out"), [])

    def test_a_wish_to_stop_is_the_others(self):
        """Of a signal to the whole group the one that fetches makes nothing."""
        run, fetcher = self.start()
        os.kill(fetcher, signal.SIGTERM)
        os.kill(fetcher, signal.SIGINT)
        self.finish(run, fetcher)


if __name__ == "__main__":
    unittest.main()
