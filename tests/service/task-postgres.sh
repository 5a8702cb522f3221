#!/bin/bash
# The task table on PostgreSQL: its tests on a file, but those of files, asked of a server.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

for test in test-task test-task-ends test-task-ledger test-task-model test-task-scale \
    test-task-share test-task-work; do
    program=$(built "tests/service/$test")
    [ -x "$program" ] || skip "$test was not built: cmocka is not installed"
    "$lib/with-postgres" "$program"
done
