"""The whole matrix of the store's faults: each kind, at each place, once, thrice and always; then a thousand
runs with faults at random.  Prints the figures; ends with 1 at the first thing that is not as it must be.

usage: faults-matrix.py [RUNS [SEED]]"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import faults  # noqa: E402

TIMES = (1, 3, faults.ALWAYS)
# What stalls is waited for; anything else is given more time than a busy machine takes.
STALL_S = 2


def matrix(bench, kinds):
    cells = 0
    for kind in kinds:
        for where in faults.WHERE:
            for times in TIMES:
                cells += bench.check(kind, where, times)
    return cells


def main(runs=1000, seed=None):
    start = time.monotonic()
    with faults.Bench() as bench:
        cells = matrix(bench, [kind for kind in faults.KINDS if kind not in faults.SLOW])
        for where in ("manifest", "HEAD", "GET"):
            bench.check_refused(where)
            bench.check_tls(where)
            cells += 2
    with faults.Bench(STALL_S) as bench:
        cells += matrix(bench, faults.SLOW)
    print(f"faults-matrix: {cells} cells as expected, {time.monotonic() - start:.0f} s", flush=True)

    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    print("faults-matrix: seed", seed, flush=True)
    dice = random.Random(seed)
    with faults.Bench() as bench:
        good = sum(bench.check_random(dice) for _ in range(runs))
    print(f"faults-matrix: {runs} runs with random faults: {good} volumes, 0 of them wrong, "
          f"{runs - good} clean failures, {time.monotonic() - start:.0f} s")
    return 0


sys.exit(main(*(int(argument) for argument in sys.argv[1:3])))
