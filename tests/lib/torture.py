"""torture - run a program again and again, each time with another of its allocations failing.

    bench = torture.Bench(points=200, seconds=8)
    bench.run(torture.Subject("info", [TOOLKIT, "info", "{in}/disk"], make=…))
    print(bench.wrong)

A first run counts the allocations and notes from where each is made (lib/fail-alloc.c).  Then for each
stack that made one there is a run in which the first of its allocations fails, and for every third of
these stacks one in which all that follow fail as well: memory that is short stays short.  Where there
are more stacks than points or seconds, some of them are left out.

After each run: no signal, no report of a sanitizer (a leak is one, in a build with --enable-asan), ended
in time.  Ended with 0: it said and made what the first run did.  Ended otherwise: with a status that
stands for our trouble, not for the image's, and a line on standard error; no result, nothing in TMPDIR.
"""
import concurrent.futures
import glob
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
import time

LIB = os.path.dirname(os.path.abspath(__file__))
DEADLINE_S = 60
TOLD = re.compile(rb"^fail-alloc: (\d+) at ([^\n]*)\n", re.M)
# Not that the sanitizer itself had no memory.
REPORT = re.compile(rb"^.*(?:Sanitizer(?!: CHECK failed)|runtime error:).*$", re.M)
# Where a report says that something was, but for the library that fails.
FRAME = re.compile(rb"^ *#\d+ .*?(?:/(imaging-toolkit|imaging-service|euca-tools|tests)/(?!lib/fail-alloc)\S+:\d+"
                   rb"|(libcmocka))", re.M)
OURS = (1, 6)  # failed, transient
# Libraries that die by themselves when they get no memory; OpenSSL does while it starts up.
FRAGILE = re.compile(rb" (?:libconfuse|libarchive)\.so| libcrypto\.so\S*:CRYPTO_THREAD_run_once")
# Hashes have no result (base/crypto.c): who has no memory for one stops.
STOPPED = b"euca-imaging: OpenSSL cannot "


class Subject:
    """A command; in its words and in text, its standard input, {in} becomes a directory with what
    make(path) put there, {out} an empty one for results, and a last word of /* the files' names.  ends: its
    status without failures.  unit: a test, whose own assertions may stop it anywhere and leave everything
    where it is.  random: what is made differs from run to run, and its names alone are compared."""

    def __init__(self, name, command, make=None, text="", statuses=OURS, unit=False, ends=0,
                 random=False):
        self.name, self.command, self.make, self.text = name, command, make, text
        self.statuses, self.unit, self.ends, self.random = statuses, unit, ends, random
        self.deadline = 10 * DEADLINE_S


class Result:
    """One run: status (negative: a signal; None: none in time), outputs, files made, what failed."""

    def __init__(self, status, out, err, made, left):
        self.status, self.out, self.made, self.left = status, out, made, left
        self.failed = TOLD.findall(err)
        self.err = TOLD.sub(b"", err)


def content(directory):
    found = {}
    for top, directories, files in os.walk(directory):
        for name in files:
            path = os.path.join(top, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, directory)] = file.read()
        for name in directories:
            found[os.path.relpath(os.path.join(top, name), directory)] = None
    return found


class Bench:
    """points: the most runs for one subject, seconds: how long new ones are begun; jobs at a time.  Use as
    a context."""

    def __init__(self, points, seconds, jobs=2):
        self.points, self.seconds, self.wrong, self.runs, self.reached = points, seconds, [], 0, 0
        self.top = tempfile.mkdtemp(prefix="torture.")
        self.library = os.path.join(self.top, "fail-alloc.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-g", "-o", self.library,
                        os.path.join(LIB, "fail-alloc.c")], check=True)
        self.pool = concurrent.futures.ThreadPoolExecutor(jobs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        shutil.rmtree(self.top, ignore_errors=True)

    def environment(self, subject, place, **more):
        return {**os.environ, "srcdir": os.path.dirname(LIB), "TMPDIR": os.path.join(place, "tmp"), "LD_PRELOAD": self.library,
                **({} if subject.unit else {"IMAGING_HASTE": "100"}),
                "ASAN_OPTIONS": "intercept_tls_get_addr=0:verify_asan_link_order=0:abort_on_error=0:exitcode=99:"
                                "allow_user_segv_handler=0:fast_unwind_on_malloc=0",
                "UBSAN_OPTIONS": "print_stacktrace=1", "LSAN_OPTIONS": "print_suppressions=0", **more}

    def once(self, subject, inputs, **more):
        place = tempfile.mkdtemp(dir=self.top)
        for name in ("out", "tmp", "cwd"):
            os.mkdir(os.path.join(place, name))
        out = os.path.join(place, "out")
        text, *command = [word.replace("{in}", inputs).replace("{out}", out)
                          for word in (subject.text, *subject.command)]
        if command[-1].endswith("/*"):
            command[-1:] = sorted(glob.glob(command[-1]))
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, cwd=os.path.join(place, "cwd"),
                              env=self.environment(subject, place, **more)) as process:
            try:
                said, err = process.communicate(text.encode(), subject.deadline)
                status = process.returncode
            except subprocess.TimeoutExpired:
                process.kill()
                said, err = process.communicate()
                status = None
        left = content(os.path.join(place, "tmp"))
        result = Result(status, said.replace(place.encode(), b""), err, content(out),
                        {**left, **content(os.path.join(place, "cwd"))})
        shutil.rmtree(place, ignore_errors=True)
        return result

    def choose(self, path, unit):
        """The numbers of the allocations that are to fail, and how many there are."""
        places = {}
        with open(path, "rb") as file:
            entries = sorted(struct.iter_unpack("=QQ", file.read()))
        for number, place in entries:
            places.setdefault(place, number)
        each = sorted(places.values())
        wanted = [str(number) for number in each]
        if not unit: # there the sanitizer cannot even name the places
            wanted += [f"{number}+" for number in each[::3]]
        few = max(1, self.points)
        if len(wanted) > few:
            wanted = [wanted[i * len(wanted) // few] for i in range(few)]
        random.Random(1).shuffle(wanted)
        return wanted, len(entries), len(each)

    def run(self, subject):
        """Its runs; what is wrong is printed and counted.  Returns a line of figures."""
        inputs = tempfile.mkdtemp(dir=self.top)
        if subject.make:
            subject.make(inputs)
        path = os.path.join(inputs, ".list")
        start = time.monotonic()
        plain = self.once(subject, inputs, FAIL_ALLOC_LIST=path)
        subject.deadline = DEADLINE_S + 5 * (time.monotonic() - start)
        if plain.status != subject.ends:
            raise AssertionError(f"{subject.name} without failures: {plain.status} "
                                 + plain.err.decode(errors="replace"))
        wanted, allocations, places = self.choose(path, subject.unit)
        end = time.monotonic() + self.seconds
        done = reached = bad = 0

        def one(at):
            return self.once(subject, inputs, FAIL_ALLOC=at) if time.monotonic() < end else None
        for at, result in zip(wanted, self.pool.map(one, wanted)):
            if not result:
                continue
            done += 1
            reached += bool(result.failed)
            wrong = self.judge_unit(result) if subject.unit else judge(subject, plain, result)
            if wrong:
                bad += 1
                self.report(subject, at, wrong, result)
        self.runs += done
        self.reached += reached
        return (f"{subject.name}: {allocations} allocations from {places} stacks, {done} runs, "
                f"{reached} failed one, {bad} wrong")

    @staticmethod
    def judge_unit(result):
        """Tests stop at their own assertions, and then free nothing."""
        if result.status is None:
            return "did not end"
        if not_ours(result):
            return None
        report = REPORT.search(result.err)
        if report and 0 <= result.err.find(b"[  ERROR   ]") < report.start():
            return None
        if report and any(cmocka or where == b"tests" for where, cmocka in FRAME.findall(result.err)[:3]):
            return None # the test's own memory, or a NULL that it went on with
        return report[0].decode(errors="replace") if report else None

    def report(self, subject, at, wrong, result):
        self.wrong.append(f"{subject.name}, FAIL_ALLOC={at}: {wrong}")
        print("WRONG:", self.wrong[-1])
        for _, stack in result.failed[:1]:
            print("    failed at", " ".join(named(subject.command[0], stack.decode(errors="replace"))))
        said = result.err.decode(errors="replace")[-6000:].strip()
        print("    " + said.replace("\n", "\n    "), flush=True)


def named(program, stack):
    """The places of a stack, those in the program with the names of their functions and lines."""
    base = os.path.basename(program) + "+"
    ours = [place[len(base):].split(":")[0] for place in stack.split() if place.startswith(base)]
    told = subprocess.run(["addr2line", "-fse", program, *[hex(int(at, 16) - 1) for at in ours]], check=False,
                          capture_output=True, text=True).stdout.split("\n") if ours else []
    names = iter(f"{name}({line})" for name, line in zip(told[::2], told[1::2]))
    for place in stack.split():
        yield next(names, place) if place.startswith(base) else place


def not_ours(result):
    return (b"CHECK failed: sanitizer_" in result.err or
            any(FRAGILE.search(stack) for _, stack in result.failed))


def judge(subject, plain, result):
    """None, or what is wrong."""
    if not_ours(result):
        return None
    report = REPORT.search(result.err)
    if result.status is None:
        return "did not end"
    if report:
        return report[0].decode(errors="replace")
    if result.status < 0 and STOPPED not in result.err:
        return f"died by signal {-result.status}"
    if result.left:
        return f"left {sorted(result.left)}"
    if result.status == subject.ends:
        same = result.out == plain.out and result.made == plain.made
        if b"out of memory" in result.out: # it says what is missing
            same = True
        if subject.random: # what is made
            same = sorted(result.made) == sorted(plain.made)
        return None if same or subject.ends else f"ended with {result.status}, and another result"
    if result.status not in subject.statuses and result.status >= 0:
        return f"ended with {result.status}"
    if result.made and not (sorted(result.made) == sorted(plain.made) and b"is whole, but" in result.err):
        return f"failed and made {sorted(result.made)}"
    return None if result.err.strip() else "failed without a word"
