#!/usr/bin/python3
"""left - what programs under test leave behind: kept until system/left-secrets.py has searched it, with the
secrets that must not be in it.

    left.secret(key, …)              # text or bytes that a test has come to know
    left.keep_service(dir, log)      # at the end of a service's life
    left.keep_postgres(server)       # at the end of a server's
    left.found(data, secrets)        # what bytes hold of them
    left.holders(secrets, paths)     # the files that hold one of them
    left.py TEST DIR|FILE...         # services of a test, whose logs are DIR.log; files that hold secrets

Kept is below LEFT_DIR, which `make check` sets; without it nothing is.  A test that runs again replaces what it
has kept.  Left out is where secrets, and what customers uploaded, belong.
"""
import base64
import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import urllib.parse

PLACE = os.environ.get("LEFT_DIR")
# Of the test: "service-start.py"; where this or with-postgres is the program, that of its first argument.
NAME = "-".join(os.path.abspath(sys.argv[sys.argv[0].endswith(("left.py", "with-postgres"))]).split("/")[-2:])
SECRETS = "secrets"  # the file, a line of hexadecimal digits for each
CUSTOMERS = re.compile(r"(^|/)objects/|\.(raw|part)$")  # uploads, manifests with their URLs, volumes
EXPORTED = re.compile(r"^(?:export )?\w*(?:SECRET|TOKEN)\w*=(\S+)$", re.M)
# A signature, a password in a URL, a private key.
LOOKS = re.compile(rb"""Signature=[^&\s"'<]{8}|Security-?Token=[^&\s"'<]{8}|"""
                   rb"""://[^/?#@\s"'<>]*:[^/?#@\s"'<>]+@|-----BEGIN [A-Z ]*PRIVATE KEY-----""")
MOST = 64 << 20  # bytes of a file that is kept: larger ones are images
SIGNIFICANT = 20  # bytes: so a secret is found that was cut off, too

known = set()  # by this process
_own = None  # its directory


def read(path):
    with open(path, "rb") as file:
        return file.read()


def _directory():
    """That of this test, empty at first."""
    global _own
    if not _own:
        _own = os.path.join(PLACE, NAME)
        shutil.rmtree(_own, ignore_errors=True)
        os.makedirs(_own, mode=0o700)
    return _own


def secret(*values):
    """None among them is passed over."""
    new = {value.encode() if isinstance(value, str) else value for value in values if value} - known
    known.update(new)
    if PLACE and new:
        path = os.path.join(_directory(), SECRETS)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.writelines(value.hex() + "\n" for value in new)


def take(path):
    """The secrets in a file: what env.sh exports, all of any other."""
    secret(*(EXPORTED.findall(read(path).decode()) if path.endswith("env.sh") else [read(path)]))


# ---- keeping

def _fresh():
    """A new directory below this test's."""
    path = os.path.join(_directory(), str(len(os.listdir(_directory()))))
    os.mkdir(path)
    return path


def _copy(path, to):
    """A regular file; what a killed service's toolkit still takes away is gone."""
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_size <= MOST:
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copyfile(path, to)


def keep_service(directory, log):
    """Its log (a path, or None) and all it has written below a directory, at a moment when nobody writes.  What
    env.sh and master.key hold, written for their owner alone, becomes a secret."""
    if not PLACE:
        return
    kept = _fresh()
    if log and os.path.exists(log):
        shutil.copyfile(log, os.path.join(kept, "service.log"))
    for top, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(top, name)
            below = os.path.relpath(path, directory)
            if name in ("env.sh", "master.key"):
                take(path)
            elif not CUSTOMERS.search(below):
                _copy(path, os.path.join(kept, below))


def keep_postgres(server):
    """Rows of all its databases, while it runs; and nothing in its files may be a secret of this test.  One that
    knows none has had no service."""
    if not PLACE or not known:
        return
    secret(server.password)
    kept = _fresh()
    for name in server.query("SELECT datname FROM pg_database WHERE datname ~ '^d[0-9]+$'").split():
        rows = server.query("SELECT database_to_xml(false, false, '')", name)
        with open(os.path.join(kept, name + ".xml"), "w", encoding="utf-8") as file:
            file.write(rows)
    server.stop()
    shutil.copyfile(server.log, os.path.join(kept, "postgres.log"))
    found = holders(known, [server.data, server.log])
    if found:
        raise AssertionError(f"PostgreSQL has written a secret to {found}")


# ---- searching

def secrets_of(kept):
    """Those of a test, by its directory."""
    path = os.path.join(kept, SECRETS)
    return {bytes.fromhex(line) for line in read(path).decode().split()} if os.path.exists(path) else set()


def spellings(value):
    """How a secret may be written; each without line feeds, for grep."""
    for text in (value, urllib.parse.quote(value, safe="").encode(), value.replace(b"/", b"\\/"), value.hex().encode(),
                 base64.b64encode(value)):
        yield max(text[:SIGNIFICANT].split(b"\n"), key=len)


def found(data, secrets):
    """What bytes hold of these, and what looks like one: the beginnings."""
    return ([match[0][:12] for match in LOOKS.finditer(data)] +
            [text[:4] for value in secrets for text in spellings(value) if text in data])


def holders(secrets, paths):
    """Files, at or below these paths, that hold one of the secrets, however it is spelled."""
    wanted = sorted({text for value in secrets for text in spellings(value)})
    if not wanted:
        return []
    done = subprocess.run(["grep", "-raFlf", "-", "--exclude=" + SECRETS, "--", *paths], check=False,
                          input=b"\n".join(wanted) + b"\n", stdout=subprocess.PIPE, env={"LC_ALL": "C"})
    if done.returncode > 1:
        raise RuntimeError("grep failed")
    return sorted(done.stdout.decode().splitlines())


if __name__ == "__main__":
    for told in sys.argv[2:]:
        if os.path.isdir(told):
            keep_service(told, told + ".log")
        elif PLACE:
            take(told)
