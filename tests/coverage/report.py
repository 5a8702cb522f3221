#!/usr/bin/python3
"""report.py - how much of the parsers and of the authentication ran, from gcov's counts.

    report.py DIR            of a build in DIR, a table of all files that FILES names
    report.py DIR FILE...    of these, the lines that did not run, too

Lines are gcov's: those with code.  Memory never ends here, so a line that did not run is not counted
where it does nothing but say so (it returns or sets ENOMEM); the column `left out` says how many
these are.  Nothing else is left out.  Ends with 1 when a file is below LEAST percent."""

import glob
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile

LEAST = 95.0

# Who reads what strangers send or operators write, and who decides whose request it is.  Not here are those
# who move bytes and files without reading them, of whose lines more are for disks and networks that fail.
FILES = """
euca-tools/ini.c
euca-tools/manifest.c
euca-tools/reply.c
euca-tools/vhd.c
imaging-service/api/disk-image.c
imaging-service/api/filter.c
imaging-service/api/launch-specification.c
imaging-service/api/manifest-url.c
imaging-service/api/params.c
imaging-service/api/tags.c
imaging-service/auth/*.c
imaging-service/conf/*.c
imaging-service/dispatch/child.c
imaging-service/dispatch/message.c
imaging-service/http/httpd.c
imaging-service/http/message.c
imaging-service/http/query-handler.c
imaging-service/launch/ec2-reply.c
imaging-service/objects/target.c
imaging-toolkit/aws/*.c
imaging-toolkit/base/text.c
imaging-toolkit/base/url*.c
imaging-toolkit/base/xml-read.c
imaging-toolkit/core/gunzip.c
imaging-toolkit/core/inflate.c
imaging-toolkit/core/job-json.c
imaging-toolkit/core/journal.c
imaging-toolkit/core/urls.c
imaging-toolkit/format/*.c
imaging-toolkit/guest/*.c
imaging-toolkit/source/*manifest*.c
imaging-toolkit/source/bundle.c
imaging-toolkit/source/parts-proof.c
imaging-toolkit/source/served-wire.c
imaging-toolkit/source/served.c
imaging-toolkit/source/tar.c
imaging-toolkit/unpack/*.c
""".split()

OUT_OF_MEMORY = re.compile(r"^\s*(return|\w+ =) (-ENOMEM|im_fail\([&\w.>-]+, ENOMEM, .*\)"
                           r"|(im_fail|svc_conf_no)_memory\(err\));$")

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))


def names():
    """The files that FILES names; a pattern without a file is a mistake."""
    found = []
    for pattern in FILES:
        some = sorted(glob.glob(os.path.join(TOP, pattern)))
        if not some:
            sys.exit(f"report.py: there is no {pattern}")
        found += [os.path.relpath(name, TOP) for name in some]
    return found


def counts(build, name):
    """How often each line with code ran."""
    ran = {}
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["gcov", "--json-format", os.path.abspath(f"{build}/{name[:-2]}.gcno")],
                       cwd=tmp, check=True, capture_output=True)
        for out in os.listdir(tmp):
            with gzip.open(os.path.join(tmp, out)) as file:
                units = json.load(file)["files"]
            for unit in units:
                if os.path.abspath(os.path.join(build, unit["file"])) == f"{TOP}/{name}":
                    for line in unit["lines"]:
                        number = line["line_number"]
                        ran[number] = max(ran.get(number, 0), line["count"])
    return ran


class File:
    """What is to be said of one."""

    def __init__(self, build, name):
        with open(os.path.join(TOP, name), encoding="utf-8") as file:
            self.text = file.read().split("\n")
        ran = counts(build, name)
        missed = [number for number in sorted(ran) if not ran[number]]
        self.missed = [n for n in missed if not OUT_OF_MEMORY.match(self.text[n - 1])]
        self.left_out = len(missed) - len(self.missed)
        self.lines = len(ran) - self.left_out

    def show(self):
        for number in self.missed:
            print(f"{number:5}: {self.text[number - 1]}")


def percent(lines, missed):
    return 100.0 * (lines - missed) / lines


def row(name, lines, missed, left_out):
    print(f"{name:46} {lines:6} {lines - missed:8} {percent(lines, missed):8.1f} {left_out:9}")


def main():
    build, *shown = sys.argv[1:]
    total = [0, 0, 0]
    low = []
    print(f"{'file':46} {'lines':>6} {'covered':>8} {'percent':>8} {'left out':>9}")
    for name in shown or names():
        file = File(build, name)
        figures = file.lines, len(file.missed), file.left_out
        total = [a + b for a, b in zip(total, figures)]
        row(name, *figures)
        if percent(*figures[:2]) < LEAST:
            low.append(name)
        if shown:
            file.show()
    row("total", *total)
    print(f"below {LEAST:g} percent: {len(low)}", *low)
    sys.exit(1 if low else 0)


main()
