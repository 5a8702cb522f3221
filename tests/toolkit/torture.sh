#!/bin/bash
# A few of the runs of `make check-torture`: allocations that fail, in what is most often run.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires cc openssl tar

/usr/bin/python3 "$top_srcdir/tests/long/torture.py" --points 12 --only 'as json' \
    --only 'vhd to raw' --only 'run a job' || fail "a failed allocation did harm"
