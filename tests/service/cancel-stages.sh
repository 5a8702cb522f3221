#!/bin/bash
# A few cancellations in each stage of a task's life; the storm of them is long/cancel.py.  The time
# is not the promised one: the machine may be busy.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires strace

/usr/bin/python3 "$top_srcdir/tests/long/cancel.py" --times 2 --seconds 30 --delay 1
