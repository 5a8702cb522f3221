"""api_report - the table of `make bench-api`, and docs/benchmarks-api.md."""
import os
import platform
import re
import statistics

from report import MIB, NOTES, field, file_system, first_line, table

INTRO = """# Benchmarks of the query API

`make bench-api` loads a service of its own and prints this table; `make bench-api BENCH_WRITE=1`
writes it here.  Only what stands between the two marks of "Notes" is written by hand.

- Clients and service share the machine's cores.  Each client keeps its connection, sends its next
  request when it has its answer (but for the rows "by schedule"), and signs each afresh.  Every
  answer's status, length and number of tasks is checked.
- All rows run in each round, forwards and backwards in turn; figures are medians of the rounds, in
  parentheses the smallest and largest.
- **of the ceiling**: of a bare libmicrohttpd handler in the same run, with the same library options
  and answers of the same length, which reads the request and nothing more.
- **p50**, **p99**, **max**: from sending a request, or the moment its schedule names, to the last byte
  of its answer.  Clients that wait for nothing but their answers see clients / answers a second on
  average, however fast the service is.
- **service**, **clients**: CPU time per answer in microseconds, of all threads and children.
- The service has one worker.  Meanwhile it follows one conversion that takes no CPU and never ends
  (a program that sleeps stands in for the toolkit); in the row `import-looking` it runs the real
  toolkit, which asks for one manifest after the other and finds none.
- **row**: `make bench-api BENCH_ROWS=NAME` measures it alone (patterns are allowed).
"""

HEAD = ["row", "what is asked", "answers/s (min–max)", "of the ceiling", "p50 ms", "p99 ms",
        "max ms", "service µs", "clients µs", "to reach", "reached"]


def ms(value):
    return f"{value / 1000:.2f}" if value < 100000 else f"{value / 1000:.0f}"


def rate(one):
    return one["answers"] / (one["wall_us"] / 1e6)


def median(results, key):
    return statistics.median(one[key] for one in results)


def median_rate(results):
    return statistics.median(rate(one) for one in results)


def per_answer(results, key):
    return statistics.median(one[key] / max(one["answers"], 1) for one in results)


def figures(row):
    parts = []
    if row.rate:
        parts.append(f"≥ {row.rate}/s")
    if row.p99:
        parts.append(f"p99 ≤ {row.p99} ms")
    if row.seconds:
        parts.append(f"≤ {row.seconds} s")
    if row.memory:
        parts.append(f"≤ {row.memory} MiB")
    return ", ".join(parts) or "–"


def missed(row, results):
    wrong = {
        # a schedule can be kept, not exceeded
        "rate": row.rate and median_rate(results) < row.rate *
                (0.99 if "rate-wanted" in row.options else 1),
        "p99": row.p99 and median(results, "p99_us") > row.p99 * 1000,
        "time": row.seconds and median(results, "p99_us") > row.seconds * 1e6,
        "memory": row.memory and median(results, "memory") > row.memory * 1024,
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def reached(row, results):
    if figures(row) == "–":
        return "–"
    wrong = missed(row, results)
    text = "no: " + ", ".join(wrong) if wrong else "yes"
    return text + (f" ({median(results, 'memory') / 1024:.1f} MiB)" if row.memory else "")


def share(row, results, all_results):
    ceiling = all_results.get(row.ceiling)
    if not ceiling or isinstance(ceiling, str) or not median_rate(ceiling):
        return "–"
    return f"{median_rate(results) / median_rate(ceiling):.2f}"


def measured(row, results, all_results):
    rates = [rate(one) for one in results]
    times = [ms(median(results, key)) if row.target else "–"
             for key in ("p50_us", "p99_us", "max_us")]
    form = "{:.1f}" if max(rates) < 100 else "{:.0f}"
    spread = (form + " (" + form + "–" + form + ")").format(
        statistics.median(rates), min(rates), max(rates))
    return [row.name, row.title, spread, share(row, results, all_results), *times,
            f"{per_answer(results, 'watched_us'):.0f}" if row.target else "–",
            f"{per_answer(results, 'client_us'):.0f}", figures(row), reached(row, results)]


def machine(bench):
    args = bench.args
    commit = first_line("git", "-C", bench.source, "describe", "--always", "--dirty", "--abbrev=12")
    if " " in commit:
        commit = "not from a git checkout"
    syncs = statistics.median(bench.syncs)
    return table(["what", "which"], [
        ("clients", f"{args.clients}, one thread; {args.tasks} tasks in the table of the describing "
                    "rows, none at first in that of the importing ones"),
        ("runs", f"{args.runs} rounds of {args.seconds:g} s a row, after a quarter of that to warm up"),
        ("answers", f"{bench.body_one} bytes for one task, {bench.body_all} for all"),
        ("CPU", f"{field('/proc/cpuinfo', 'model name')}, {len(os.sched_getaffinity(0))} cores"),
        ("memory", f"{int(field('/proc/meminfo', 'MemTotal').split()[0]) / MIB:.1f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("file system", f"{file_system(bench.top)}; one writer makes 24 KiB durable {syncs:.0f} "
                        "times a second"),
        ("service", first_line(os.environ["IMAGING_SERVICE"], "--version") + f", commit {commit}"),
        ("libraries", ", ".join(f"{name} {first_line('pkg-config', '--modversion', name)}"
                                for name in ("libmicrohttpd", "sqlite3", "libcrypto"))),
    ])


def tables(bench, rows, results):
    """results: {name: [one dictionary a round], or why there is none}"""
    lines, why = [], []
    for row in rows:
        result = results[row.name]
        if isinstance(result, str):
            lines.append([row.name, row.title, "FAILED"] + [""] * (len(HEAD) - 3))
            why.append(f"- {row.name}: {result}\n")
        else:
            lines.append(measured(row, result, results))
    text = machine(bench) + "\n" + table(HEAD, lines)
    if why:
        text += "\nFailed:\n\n" + "".join(why)
    return text


def document(old, text):
    """The whole of docs/benchmarks-api.md: the table anew, the notes as they were."""
    notes = re.search(re.escape(NOTES[0]) + "(.*?)" + re.escape(NOTES[1]), old, re.S)
    return f"{INTRO}\n{text}\n## Notes\n\n{NOTES[0]}{notes[1] if notes else chr(10)}{NOTES[1]}\n"
