#!/usr/bin/python3
"""What the system shows of our processes: no secret in the command line or environment of any program
that the service, the toolkit or a client starts, from the upload to the launched machine; and no core
dump of any of them."""
import http.server
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import euca  # noqa: E402
import guest  # noqa: E402
import left  # noqa: E402
import listening  # noqa: E402
import ranged  # noqa: E402
import resuming  # noqa: E402
import service  # noqa: E402
from procfs import children  # noqa: E402

EXEC = re.compile(r'^([0-9]+) +execve\("([^"]*)", \[(.*)\], \[(.*)\]\)? ', re.M)
LAUNCHER = "#!/bin/sh\necho '{}'\n"


class File(ranged.Handler):
    """server.body, whatever is asked for."""

    def do_GET(self):  # noqa: N802
        self.wfile.write(self.answer_head(self.server.body))

    do_HEAD = do_GET


class Started(unittest.TestCase):
    def setUp(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        if os.environ.get("SANITIZED"):
            self.skipTest("LeakSanitizer wants ptrace for itself")
        self.tmp = tempfile.mkdtemp(prefix="started.")
        self.addCleanup(shutil.rmtree, self.tmp, True)

    def traced(self, name):
        """What starts a program so that the list of all that it starts is in the file of this name."""
        return ("strace", "-D", "-f", "-v", "-s", "65536", "-e", "trace=execve", "-o", os.path.join(self.tmp, "trace." + name))

    def client(self, env, name, *arguments):
        done = subprocess.run([*self.traced(name), euca.program(name), *arguments], check=True, text=True,
                              env=euca.environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return euca.field(done.stdout, "TaskId")

    def state(self, env, task, wanted):
        _, out, _ = euca.run(env, "describe-conversion-tasks", task)
        return euca.field(out, "Status") == wanted

    def machine(self):
        """A disk that boots by its look."""
        disk = os.path.join(self.tmp, "disk.raw")
        guest.build(disk, guest.debian(), table="mbr", fs="ext4")
        return disk

    def import_it(self, one):
        bucket = ("-b", "b", "--no-progress")
        task = self.client(one.env, "import-instance", "-f", "raw", "-t", "m1.small", "-a", "x86_64", "-p", "Linux",
                           "-z", one.env["EC2_AVAILABILITY_ZONE"], *bucket, self.machine())
        service.wait_for(lambda: self.state(one.env, task, "completed"))
        task = self.client(one.env, "import-volume", "-f", "raw", "-z", one.env["EC2_AVAILABILITY_ZONE"], *bucket,
                           "--check", os.path.join(self.tmp, "disk.raw"))  # which the toolkit does
        service.wait_for(lambda: self.state(one.env, task, "completed"))
        self.client(one.env, "delete-disk-image", "-t", task)

    def test_started(self):
        program = os.path.join(self.tmp, "launcher")
        with open(program, "w", encoding="ascii") as file:
            file.write(LAUNCHER)
        os.chmod(program, 0o755)
        one = service.Service(start=False, config=service.STORES_HERE +
                              f'launcher = command\nlauncher-command = "{program}"\n')
        one.prefix = self.traced("service")
        with one.start():
            secrets = [one.env["AWS_SECRET_ACCESS_KEY"].encode(), left.read(os.path.join(one.dir, "master.key"))]
            self.import_it(one)
        self.assertLessEqual({"imaging-service", "imaging-toolkit", "launcher", "euca-import-instance"},
                        self.names(secrets))

    def names(self, secrets):
        """Of all programs that were started; none may have been told a secret."""
        names = set()
        for name in os.listdir(self.tmp):
            if name.startswith("trace."):
                started = EXEC.findall(left.read(os.path.join(self.tmp, name)).decode())
                self.assertGreater(len(started), name == "trace.import-volume", name)
                for number, (_, path, arguments, environment) in enumerate(started):
                    names.add(os.path.basename(path))
                    # a client was given its keys by its user, who started it
                    shown = arguments if number == 0 and "euca-" in path else arguments + environment
                    self.assertEqual(left.found(shown.encode(), secrets), [], path)
        print("started:", *sorted(names), flush=True)
        return names

    def test_job(self):
        """Of the service's kind, with a presigned URL, and of a format that a program of others reads."""
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        raw, image = self.machine(), os.path.join(self.tmp, "disk.qcow2")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), File)
        server.body = left.read(image)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        job = {"source": f"http://127.0.0.1:{server.server_address[1]}/disk?X-Amz-Signature={'5ec7e7' * 10}",
               "format": "qcow2", "store": os.path.join(self.tmp, "volume"), "scratch": self.tmp}
        done = subprocess.run([*self.traced("toolkit"), resuming.toolkit(), "run"], input=json.dumps(job), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertLessEqual({"imaging-toolkit", "qemu-img"}, self.names([b"5ec7e7" * 10]))


class Dumped(unittest.TestCase):
    """Killed by a signal that makes others leave their memory behind."""

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="dumped.")
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.tmp)
        before = resource.getrlimit(resource.RLIMIT_CORE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_CORE, before)
        resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
        # Only this machine's others tell whether it would make one.
        other = subprocess.Popen(["sleep", "1000"])
        if not self.dumps(other, signal.SIGABRT):
            self.skipTest("nobody leaves a core dump here")
        for name in os.listdir(self.tmp):
            os.unlink(name)

    def dumps(self, process, number):
        """It dies by this signal; whether the kernel wrote its memory somewhere."""
        process.send_signal(number)
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -number
        self.assertTrue(os.WIFSIGNALED(status) and os.WTERMSIG(status) == number, status)
        return os.WCOREDUMP(status)

    def no_core(self, process):
        # AddressSanitizer takes SIGSEGV for itself
        number = signal.SIGABRT if os.environ.get("SANITIZED") else signal.SIGSEGV
        with open(f"/proc/{process.pid}/limits", encoding="ascii") as limits:
            self.assertRegex(limits.read(), r"(?m)^Max core file size +[01] +[01] ")
        self.assertFalse(self.dumps(process, number))
        self.assertEqual([name for name in os.listdir(self.tmp) if "core" in name], [])

    def test_service(self):
        one = service.Service()
        self.addCleanup(one.process.stdout.close)
        self.addCleanup(shutil.rmtree, one.tmp, True)
        self.no_core(one.process)

    def test_toolkit(self):
        """While it fetches; whoever fetches for it does neither."""
        resuming.make_disk("random", "disk.raw", 10)
        gate = self.enterContext(resuming.Gate("RAW", "disk.raw", "7-8"))
        run = subprocess.Popen([resuming.toolkit(), "run"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        with run.stdin:
            run.stdin.write(json.dumps({"source": gate.source, "format": "raw",
                                        "store": os.path.abspath("volume")}).encode())
        gate.wait()
        fetcher = children(run.pid)[0]
        with open(f"/proc/{fetcher}/limits", encoding="ascii") as limits:
            self.assertRegex(limits.read(), r"(?m)^Max core file size +[01] +[01] ")
        self.no_core(run)

    def test_client(self):
        """While it waits for an answer."""
        came = []
        listener = listening.start(came.append)
        self.addCleanup(listener.close)
        env = {"EC2_URL": f"http://127.0.0.1:{listener.getsockname()[1]}/", "AWS_ACCESS_KEY_ID": "A" * 20,
               "AWS_SECRET_ACCESS_KEY": "s" * 40}
        process = euca.start(env, "describe-conversion-tasks")
        self.addCleanup(process.communicate)
        service.wait_for(lambda: came)
        self.no_core(process)
        came[0].close()


if __name__ == "__main__":
    unittest.main()
