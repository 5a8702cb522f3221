"""Faults of the store, one of each kind at each place: what may heal does, what may not ends at once with
its cause, every request is counted, and no volume has a wrong byte.  The whole matrix is
tests/long/faults-matrix.py."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import faults  # noqa: E402

RANDOM_RUNS = 40


def main():
    with faults.Bench() as bench:
        cells = 0
        for kind in faults.KINDS:
            for where in faults.WHERE:
                if kind not in faults.SLOW:
                    cells += bench.check(kind, where, 1)
        cells += bench.check("gzip+noetag", "manifest", 1)
        for where in faults.WHERE:  # a kind of each class that does not heal
            cells += bench.check("503", where, 3)
            cells += bench.check("resethead", where, faults.ALWAYS)
            cells += bench.check("gzip", where, faults.ALWAYS)
        for where in ("manifest", "HEAD", "GET"):
            bench.check_refused(where)
            bench.check_tls(where)
            cells += 2
        seed = random.SystemRandom().randrange(1 << 32)
        print("seed", seed, flush=True)
        dice = random.Random(seed)
        good = sum(bench.check_random(dice) for _ in range(RANDOM_RUNS))
        print(f"{cells} cells; {RANDOM_RUNS} random runs, {good} of them with a volume, 0 wrong")
    return 0


sys.exit(main())
