"""What /proc tells of a process that goes on meanwhile: a descriptor or a thread may be gone as soon as it is listed."""
import contextlib
import glob
import os
import re
import resource


def opened(pid):
    """{descriptor: where it leads}; of a process that is gone, or of another user, nothing."""
    found = {}
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(OSError):
            found[int(os.path.basename(path))] = os.readlink(path)
    return found


def hidden():
    """Whether this user sees neither descriptors nor environments of our programs: where cores were forbidden before, they
    give up being dumped (imaging-toolkit/base/no-core.c)."""
    return os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_CORE)[1] == 0


def children(pid):
    """The processes that its threads have started and not yet buried."""
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as text:
            found += [int(word) for word in text.read().split()]
    return found


def filters(pid):
    """How many filters of system calls it is under (Linux 5.9 tells); None when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        told = re.search(r"^Seccomp_filters:\t(\d+)$", status.read(), re.MULTILINE)
        return int(told.group(1)) if told else None
    return None
