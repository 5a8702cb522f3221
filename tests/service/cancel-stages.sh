#!/bin/bash
# A few cancellations in each stage of a task's life; the storm of them is long/cancel.py.  The time
# is not the promised one: the machine may be busy.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires strace

cancel() { /usr/bin/python3 "$top_srcdir/tests/long/cancel.py" --seconds 30 --delay 1 "$@"; }

cancel --instances 1 --times 2
cancel --instances 2 --times 1 --stages queued,part,commit,race
