#!/usr/bin/python3
"""The launcher "command": what its program gets, what may come back, and what becomes of programs
that hang, fork, die or talk nonsense."""
import json
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import launching  # noqa: E402
import service  # noqa: E402
from launching import IMAGE, INSTANCE, USER_DATA  # noqa: E402


def gone(pid):
    """True when the process has ended (a zombie has)."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Command(launching.Case):
    launcher = "command"

    def program(self, text, shell="#!/bin/sh\n"):
        path = os.path.join(self.dir, "program")
        with open(path, "w", encoding="utf-8") as program:
            program.write(shell + text.replace("$DIR", self.dir))
        os.chmod(path, 0o755)
        self.machine["command"] = path

    def pid_in(self, name):
        """The process id a program wrote to a file of this test."""
        path = os.path.join(self.dir, name)

        def read():
            try:
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                return int(text) if text.endswith("\n") else None
            except FileNotFoundError:
                return None
        return service.wait_for(read)

    def test_input_and_environment(self):
        self.program('cat >"$DIR/input"; env >"$DIR/env"; ls -l /proc/self/fd/ >"$DIR/fds"\n'
                     'cut -d " " -f 5 /proc/$$/stat >"$DIR/group"; echo $$ >>"$DIR/group"\n'
                     "echo '{\"instance_id\": \"vm-17\", \"state\": \"pending\"}'\n")
        os.environ["SECRET_OF_THE_SERVICE"] = "1"
        self.assert_started(self.start(), "vm-17", "pending")
        with open(os.path.join(self.dir, "input"), encoding="utf-8") as text:
            got = json.load(text)
        self.assertEqual(got, {
            "version": 1, "task_id": "import-i-0a1b2c3d", "instance_id": INSTANCE,
            "zone": "standalone", "image": self.image(),
            "launch_specification": {"InstanceType": "m1.small", "UserData": USER_DATA}})
        with open(os.path.join(self.dir, "env"), encoding="utf-8") as text:
            names = {line.split("=")[0] for line in text} - {"_", "PWD", "SHLVL", "OLDPWD"}
        self.assertEqual(names, {"PATH", "LANG"})
        with open(os.path.join(self.dir, "group"), encoding="utf-8") as text:
            group, pid = text.read().split()
        self.assertEqual(group, pid)
        instance = self.instance()
        self.assertEqual((instance["state"], instance["launcher"],
                          instance["launcher_instance_id"]), ("pending", "command", "vm-17"))

    def test_answers(self):
        longest = "a" * 64
        for said, instance_id, state in (("", INSTANCE, "running"), ("\n", INSTANCE, "running"),
                                         ("{}", INSTANCE, "running"),
                                         ('{"state": "stopped", "more": 1}', INSTANCE, "stopped"),
                                         ('{"instance_id": "%s"}' % longest, longest, "running")):
            with self.subTest(said[:40]):
                self.program("cat <<'END'\n%s\nEND\n" % said)
                self.assert_started(self.start(), instance_id, state)
                self.withdraw()
        for said in ("hello", "[]", '"x"', "{", '{"instance_id": 7}', '{"instance_id": ""}',
                     '{"instance_id": "%sa"}' % longest, '{"instance_id": "a b"}',
                     '{"instance_id": "../x"}', '{"instance_id": "a\\u0000b"}', '{"state": "on"}',
                     '{"state": null}', '{} {}', '{"instance_id": "a", "instance_id": "b"}',
                     " " * 5000):
            with self.subTest(said[:40]):
                self.program("cat <<'END'\n%s\nEND\n" % said)
                self.assert_failed(self.start(), "the launcher's program printed '")
                self.assertEqual(self.instance()["state"], "pending")

    def test_exit_status(self):
        self.program("echo 'no host has room' >&2; exit 75\n")
        self.assert_failed(self.start(), "ended with status 75: no host has room", again=True)
        self.program("echo '{\"instance_id\": \"vm-1\"}'; exit 1\n")
        self.assert_failed(self.start(), "the launcher's program ended with status 1")
        self.program("printf 'first\\033[2J\\377 line\\nsecond' >&2; exit 3\n")
        answer = self.start()
        self.assert_failed(answer, "ended with status 3: first?[2J? line")
        self.assertNotIn("second", answer["message"])
        self.program("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 4\n")
        answer = self.start()
        self.assert_failed(answer, "ended with status 4: xxx")
        self.assertLess(len(answer["message"]), 400)
        self.program("kill -SEGV $$\n")
        self.assert_failed(self.start(), "died by signal %d" % signal.SIGSEGV)

    def test_no_program(self):
        self.machine["command"] = os.path.join(self.dir, "missing")
        self.assert_failed(self.start(), "missing' was not found")

    def test_garbage_without_end(self):
        self.seconds = 1
        self.program("exec cat /dev/zero\n")
        self.assert_failed(self.start(), "did not end in time")
        self.program("exec cat /dev/zero >&2\n")
        self.assert_failed(self.start(), "did not end in time")

    def test_hanging(self):
        self.seconds = 3  # with the time its program takes to begin
        self.program("trap '' TERM; echo $$ >\"$DIR/pid\"; while :; do sleep 100; done\n")
        self.assert_failed(self.start(), "did not end in time")
        self.assertTrue(gone(self.pid_in("pid")))

    def test_cancel_takes_children_along(self):
        self.program("trap '' TERM; (trap '' TERM; sleep 1000) & echo $! >\"$DIR/child\"\n"
                     'echo $$ >"$DIR/pid"; wait; wait; sleep 1000\n')
        process = self.begin()
        pid, child = self.pid_in("pid"), self.pid_in("child")
        self.cancel(process)
        self.assertTrue(gone(pid))
        service.wait_for(lambda: gone(child), 5)

    def test_children_of_a_program_that_ended(self):
        """One keeps the pipes open: nobody waits for it, and it is ended, too."""
        self.program("sleep 1000 & echo $! >\"$DIR/child\"; echo '{\"instance_id\": \"vm-2\"}'\n")
        began = time.monotonic()
        self.assert_started(self.start(), "vm-2", "running")
        self.assertLess(time.monotonic() - began, 10)
        service.wait_for(lambda: gone(self.pid_in("child")), 5)

    def test_started_once(self):
        """The record remembers what the task has not come to know."""
        self.program("echo x >>\"$DIR/runs\"; echo '{\"instance_id\": \"vm-3\"}'\n")
        self.assert_started(self.start(), "vm-3", "running")
        self.assert_started(self.start(), "vm-3", "running")
        with open(os.path.join(self.dir, "runs"), encoding="utf-8") as runs:
            self.assertEqual(runs.read(), "x\n")
        self.withdraw()
        self.assertFalse(os.path.exists(self.path("image", IMAGE)))


if __name__ == "__main__":
    unittest.main()
