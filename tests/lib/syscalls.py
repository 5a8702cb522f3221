"""syscalls - the system calls of a process: counted, and held or killed at by strace.

    tracer = syscalls.attach(threads, ["-e", "inject=rename:delay_enter=3s", …])
    trace = syscalls.Trace(path)                # what strace -f -o path wrote
    trace.points(threads)                       # [(call, how often it was called by then), …]
"""
import collections
import glob
import os
import re
import subprocess

# Calls that change what somebody else can see: files, processes, the other side of a socket.
CHANGING = {"openat", "write", "writev", "pwrite64", "pwritev", "fsync", "fdatasync", "syncfs",
            "sync_file_range", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "unlink",
            "unlinkat", "rmdir", "mkdir", "mkdirat", "ftruncate", "fallocate", "copy_file_range",
            "sendfile", "ioctl", "fchmod", "flock", "clone", "clone3", "vfork", "execve", "wait4",
            "waitid", "kill", "memfd_create", "pipe2", "socket", "bind", "listen", "connect", "sendto",
            "sendmsg", "shutdown", "exit_group"}
OPENS_TO_CHANGE = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE")


class Trace:
    """What strace -f wrote: {thread: [(call, changes something), …]}, threads in order."""

    LINE = re.compile(r"^([0-9]+) +(\w+)\((.*)$")

    def __init__(self, path, every=False):
        self.threads = collections.defaultdict(list)
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                found = self.LINE.match(line)
                if found:
                    call, rest = found[2], found[3]
                    changes = every or (call in CHANGING and
                                        (call != "openat" or OPENS_TO_CHANGE.search(rest)))
                    self.threads[int(found[1])].append((call, bool(changes)))

    def points(self, threads):
        """Which counts of which calls to kill at, so that each call of each of these threads that is
        no other's first is met."""
        found = set()
        for thread in threads:
            counts = collections.Counter()
            for call, changes in self.threads[thread]:
                counts[call] += 1
                if changes:
                    found.add((call, counts[call]))
        return sorted(found)

    def calling(self, *calls):
        return {thread for thread, made in self.threads.items()
                if any(call in calls for call, _ in made)}


def in_call(pid, numbers):
    """A thread of the process is in one of these system calls (as strace may hold it there)."""
    for path in glob.glob(f"/proc/{pid}/task/*/syscall"):
        try:
            with open(path, encoding="ascii") as text:
                if text.read().split()[0] in numbers:
                    return True
        except OSError:
            pass
    return False


def attach(threads, options):
    """strace of these threads, when it has them; without -f each by itself."""
    words = [word for tid in threads for word in ("-p", str(tid))]
    tracer = subprocess.Popen(["strace", *options, *words], stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL)
    for _ in threads:
        tracer.stderr.readline()  # "strace: Process N attached"
    return tracer


def threads_of(pid):
    return sorted(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))
