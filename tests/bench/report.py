"""report - the tables, the description of the machine, and docs/benchmarks.md."""
import os
import platform
import re
import shutil
import subprocess

from floors import TITLES

MIB = 1 << 20
NOTES = ("<!-- notes: begin -->", "<!-- notes: end -->")
INTRO = """# Benchmarks

`make bench` measures the tool beside `qemu-img convert` and others, in one run on one machine, and
prints these tables; `make bench BENCH_WRITE=1` writes them here.  Only what stands between the two
marks of "Notes" is written by hand.

- **ours**, **theirs**: median wall time of alternating runs, caches warm, outputs deleted and
  `sync` called between runs.  **ratio**: median of ours to theirs pair by pair, with the smallest
  and largest.
- **sync**: *yes* when both sides wait until the result is on the disk (ours by default, qemu-img by
  flags that flush), *no* when neither has to (ours by `--no-sync`, qemu-img by default).
- **against**: in parentheses the flags of qemu-img, the fastest of those listed below the tables.
- **to reach**: the figure of the project's plan.  In parentheses: it was set for the other
  discipline and stands for comparison.
- **CPU**, **memory**, **scratch**: ours / theirs; seconds, peak resident set of all processes in
  MiB, peak of temporary files in MiB.
- **floor**: the best this machine can do for that path, by the table of floors.
- **row**: `make bench BENCH_ROWS=NAME` measures it alone (patterns are allowed).
- Each result was compared with the disk it had to be, once per row and side.
"""


def first_line(*command):
    path = shutil.which(command[0], path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        return "not installed"
    said = subprocess.run([path, *command[1:]], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return (said.stdout.decode(errors="replace").strip() or "?").split("\n")[0]


def field(path, name):
    with open(path, encoding="utf-8", errors="replace") as text:
        for line in text:
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    return "unknown"


def file_system(path):
    best = ("", "unknown")
    with open("/proc/mounts", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            _, place, kind = line.split()[:3]
            inside = os.path.realpath(path).startswith(place.rstrip("/") + "/")
            if inside and len(place) >= len(best[0]):
                best = (place, kind)
    return best[1]


def machine(bench):
    commit = first_line("git", "-C", bench.source, "describe", "--always", "--dirty", "--abbrev=12")
    if " " in commit:
        commit = "not from a git checkout"
    said = first_line(bench.toolkit, "--version")
    lines = [
        ("disk", f"{bench.mib / 1024:g} GiB, "
                 f"{bench.data / (1 << 30):.2f} GiB of it data; stream-optimized "
                 f"{os.path.getsize(bench.corpus.image('disk-stream.vmdk')) / MIB:.0f} MiB"),
        ("runs", f"{bench.runs} of each side, alternating"),
        ("CPU", f"{field('/proc/cpuinfo', 'model name')}, {len(os.sched_getaffinity(0))} cores"),
        ("memory", f"{int(field('/proc/meminfo', 'MemTotal').split()[0]) / MIB:.1f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("file system", file_system(bench.top)),
        ("ours", f"{said}, commit {commit}"),
        ("theirs", first_line("qemu-img", "--version")),
        ("nbdcopy", first_line("nbdcopy", "--version")),
        ("libraries", ", ".join(f"{name} {first_line('pkg-config', '--modversion', name)}"
                                for name in ("libvmdk", "libvhdi", "libdeflate"))),
    ]
    return table(["what", "which"], lines)


def table(head, lines):
    lines = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in [list(head), *lines]) for i in range(len(head))]
    text = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |"
            for line in [list(head), *lines]]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(text) + "\n"


def time_text(value):
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def ratio_text(value):
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def spread(ratio):
    return f"{ratio_text(ratio[0])} ({ratio_text(ratio[1])}–{ratio_text(ratio[2])})"


def figures(row):
    """What the row is to reach, in words."""
    parts = []
    if row.figure is not None:
        parts.append(f"≤ {row.figure:.2f}")
    if row.seconds is not None:
        parts.append(f"≤ {row.seconds:g} s")
    if row.size is not None:
        parts.append(f"size ≤ {row.size:.2f}")
    if row.memory is not None:
        parts.append(f"≤ {row.memory} MiB")
    if row.scratch is not None:
        parts.append("scratch 0")
    text = ", ".join(parts) or "–"
    return text if row.judged else f"({text})"


def missed(row, result):
    """Names of the figures the row does not reach."""
    ours = result.ours
    wrong = {
        "time": (row.figure is not None and result.ratio[0] > row.figure) or
                (row.seconds is not None and ours.wall > row.seconds),
        "size": row.size is not None and result.size > row.size,
        "memory": row.memory is not None and ours.rss > row.memory * MIB,
        "scratch": row.scratch is not None and ours.scratch > row.scratch,
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def reached(row, result):
    if not row.has_figure():
        return "–"
    wrong = missed(row, result)
    text = "no: " + ", ".join(wrong) if wrong else "yes"
    return text if row.judged else f"({text})"


def pair(ours, theirs, form):
    return form(ours) + (" / " + form(theirs) if theirs is not None else "")


def measured(row, result, floors):
    """Cells of a row that was measured."""
    ours, theirs = result.ours, result.theirs
    costs = [pair(getattr(ours, name), getattr(theirs, name) if theirs else None, form)
             for name, form in (("cpu", time_text), ("rss", lambda v: f"{v / MIB:.0f}"),
                                ("scratch", lambda v: f"{v / MIB:.0f}"))]
    ratio = spread(result.ratio) if result.ratio else "–"
    if result.size is not None:
        ratio += f", size {result.size:.3f}"
    if row.growth:
        return [row.name, row.title, time_text(theirs.wall), time_text(ours.wall), ratio,
                *[" → ".join(reversed(cost.split(" / "))) for cost in costs[:2]]]
    floor = floors.get(row.floor)
    against = row.against
    if against.endswith("qemu-img") and result.label:
        against += f" ({result.label})"
    return [row.name, row.title, row.sync, against, time_text(ours.wall),
            time_text(theirs.wall) if theirs else "–", ratio, figures(row), reached(row, result),
            *costs, time_text(floor) if floor else "–"]


HEAD = ["row", "path", "sync", "against", "ours s", "theirs s", "ratio (min–max)", "to reach",
        "reached", "CPU s", "memory MiB", "scratch MiB", "floor s"]
GROWTH_HEAD = ["row", "what grows", "before s", "after s", "factor (min–max)", "CPU s",
               "memory MiB"]


def tables(bench, results, floors):
    """results: [(row, Result, or the reason why there is none)]"""
    main, growth = [], []
    for row, result in results:
        head, lines = (GROWTH_HEAD, growth) if row.growth else (HEAD, main)
        if isinstance(result, str):
            cells = [row.name, row.title] + ([] if row.growth else [row.sync, row.against])
            lines.append(cells + [result.split(":")[0]] + [""] * (len(head) - len(cells) - 1))
        else:
            lines.append(measured(row, result, floors.seconds))
    text = machine(bench) + "\n"
    if main:
        text += table(HEAD, main) + "\n"
    if growth:
        text += "How cost grows:\n\n" + table(GROWTH_HEAD, growth) + "\n"
    why = [f"- {row.name}: {result}\n" for row, result in results if isinstance(result, str)]
    if why:
        text += "Not measured:\n\n" + "".join(why) + "\n"
    tried = [(row.name, result.tried) for row, result in results
             if not isinstance(result, str) and len(result.tried) > 1]
    if tried:
        text += "Flags of qemu-img that were tried, seconds of one run each:\n\n"
        for name, times in tried:
            text += f"- {name}: " + ", ".join(f"{label} {t}" for label, t in times) + "\n"
        text += "\n"
    lines = [(TITLES[name], time_text(value)) for name, value in floors.seconds.items()]
    lines += [(TITLES[name], "skipped: " + why) for name, why in floors.skipped.items()]
    if lines:
        text += "The machine's floors in this run:\n\n" + table(["floor", "s"], lines) + "\n"
    return text


def document(old, mib, text):
    """The whole of docs/benchmarks.md: this size's section anew, other sizes and the notes as they
    were."""
    sections = {int(size): body for size, body in
                re.findall(r"<!-- disk of (\d+) MiB: begin -->\n(.*?)<!-- disk of \1 MiB: end -->",
                           old, re.S)}
    sections[mib] = f"## A disk of {mib / 1024:g} GiB\n\n{text}"
    notes = re.search(re.escape(NOTES[0]) + "(.*?)" + re.escape(NOTES[1]), old, re.S)
    whole = INTRO
    for size in sorted(sections):
        whole += (f"\n<!-- disk of {size} MiB: begin -->\n{sections[size]}"
                  f"<!-- disk of {size} MiB: end -->\n")
    return whole + f"\n## Notes\n\n{NOTES[0]}{notes[1] if notes else chr(10)}{NOTES[1]}\n"
