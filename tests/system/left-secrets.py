#!/usr/bin/python3
"""After all other tests: no secret is in what they and the programs under test have left (lib/left.py), and
each line of a service's log is a line.

Searched are the logs of all tests, and logs, databases and directories of services and of PostgreSQL.  What is
searched for: every secret key, session token, master key and password that the test came to know, in all usual
spellings; and whatever looks like a signature, a password in a URL, or a private key.
"""
import os
import re
import shutil
import sqlite3
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import left  # noqa: E402
import service  # noqa: E402

# What a service says that does not start is one line, too.
LINE = re.compile(service.LOG_LINE + r"|imaging-service: error: [^\x00-\x1f\x7f]*")
QUERY = re.compile(rb"""https?://[^\s"'<>]*\?[^\s"'<>]""")
# Where a task has the URLs that its owner sent: columns of tables, in both databases.
SENT = {"manifest_url", "url"}
SENT_XML = re.compile(rb"<(%b)>[^<]*</\1>" % b"|".join(name.encode() for name in SENT))


def rows(path):
    """All text of a database of SQLite, but what owners sent."""
    found = []
    db = sqlite3.connect(path)
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        lines = db.execute(f"SELECT * FROM {table}")
        columns = [i for i, column in enumerate(lines.description) if column[0] not in SENT]
        for line in lines:
            found += [line[i].encode() for i in columns if isinstance(line[i], str)]
    db.close()
    return b"\n".join(found)


def text(path):
    """What a file tells that need not look like a secret."""
    if path.endswith(".db"):
        return rows(path)
    return SENT_XML.sub(b"", left.read(path)) if path.endswith(".xml") else left.read(path)


def below(directory):
    return [os.path.join(top, name) for top, _, names in os.walk(directory) for name in names]


@unittest.skipUnless(left.PLACE and os.path.isdir(left.PLACE), "nothing was kept; `make check` does")
class Left(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tests = os.listdir(left.PLACE)
        cls.kept = [path for path in below(left.PLACE) if os.path.basename(path) != left.SECRETS
                    and not path.endswith(("-wal", "-shm"))]
        cls.builddir = os.path.dirname(left.PLACE)
        ours = [os.path.join(cls.builddir, name) for name in ("system/left-secrets.log", "test-suite.log")]
        cls.logs = [path for path in below(cls.builddir)
                    if path.endswith(".log") and path not in ours and not path.startswith(left.PLACE)]
        print(f"{len(cls.kept)} files of {len(cls.tests)} tests, {sum(map(os.path.getsize, cls.kept))} bytes; "
              f"{len(cls.logs)} logs of tests, {sum(map(os.path.getsize, cls.logs))} bytes", flush=True)

    def none(self, found):
        self.assertFalse(found, "\n" + "\n".join(found))

    def test_1_secrets(self):
        """Each test's own: nobody else has come to know them."""
        found, count = [], 0
        for test in self.tests:
            kept = os.path.join(left.PLACE, test)
            secrets = left.secrets_of(kept)
            log = os.path.join(self.builddir, os.path.splitext(test.replace("-", "/", 1))[0] + ".log")
            found += left.holders(secrets, [kept, *([log] if log in self.logs else [])])
            count += len(secrets)
        print(f"{count} secrets", flush=True)
        self.none(found)

    def test_2_what_looks_like_one(self):
        found = []
        for path in self.kept + self.logs:
            data = text(path)
            for kind in (left.LOOKS, QUERY) if path.endswith("service.log") else (left.LOOKS,):
                found += [f"{path}: {match[0][:12]!r}…" for match in kind.finditer(data)]
        self.none(found)

    def test_3_lines_of_logs(self):
        found = []
        for path in self.kept:
            if path.endswith("service.log"):
                found += [f"{path}: {line!r}" for line in left.read(path).decode(errors="replace").split("\n")
                          if line and not LINE.fullmatch(line)]
        self.none(found)

    def test_4_done(self):
        """Nothing was found, so that nothing need be kept."""
        shutil.rmtree(left.PLACE)


if __name__ == "__main__":
    unittest.main(failfast=True)
