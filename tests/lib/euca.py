"""euca - the clients, run as their users run them.

    status, out, err = euca.run(service.env, "import-volume", "-f", "raw", …)
    process = euca.start(service.env, "describe-conversion-tasks", "--watch")

They are told what env says (that of a service is what its env.sh says), and nothing else of clouds: no
files of this machine's either.  The programs are those in EUCA_TOOLS_DIR, or in the build directory.
"""
import os
import re
import subprocess

import service

TIMEOUT_S = 60
ENDED = {"completed", "cancelled"}
OURS = re.compile("(AWS|EUCA|EC2|S3|SSL)_|.*_proxy$", re.I)


def tools():
    """The directory of the programs."""
    return os.environ.get("EUCA_TOOLS_DIR") or os.path.dirname(service.built("euca-tools/euca-tools"))


def program(name):
    """Path of a program; without "euca-" in front, or by its own path."""
    return os.path.join(tools(), name if re.match("/|euca-|ec2-", name) else "euca-" + name)


def environment(env, **more):
    """What a client is started with: of ours only what tells nothing of clouds, then env, then more,
    where None takes away."""
    clean = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    all = {**clean, "HOME": "/nonexistent", "LC_ALL": "C", "EUCA_CONFIG_PATH": "", **env, **more}
    return {name: value for name, value in all.items() if value is not None}


def start(env, command, *arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
          stderr=subprocess.PIPE, cwd=None, pass_fds=(), user=None, **more):
    how = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    return subprocess.Popen([program(command), *arguments], env=environment(env, **more), cwd=cwd,
                            stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, text=True, **how)


def finish(process, timeout_s=TIMEOUT_S):
    """Its exit status, standard output and standard error."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if re.search("Sanitizer|runtime error", err or ""):
        raise AssertionError(err)
    return process.returncode, out, err


def run(env, command, *arguments, **more):
    return finish(start(env, command, *arguments, **more))


def read_until(file, pattern):
    """What a process that goes on has written up to a line in which the pattern is found."""
    text = ""
    for line in iter(file.readline, ""):
        text += line
        if re.search(pattern, line):
            return text
    raise AssertionError(f"no line with {pattern!r} in:\n{text}")


def field(lines, name):
    """The value of the first pair of this name in a task's lines."""
    found = re.search(rf"\t{name}\t([^\t\n]*)", lines)
    return found and found[1]
