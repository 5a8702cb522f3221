#!/bin/bash
# The task table on PostgreSQL: what its tests ask of a file they ask of a server; test-task-share
# and test-task-scale have stories of their own.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

for test in test-task test-task-ends test-task-ledger test-task-model test-task-work; do
    program=$(built "tests/service/$test")
    [ -x "$program" ] || skip "$test was not built: cmocka is not installed"
    "$lib/with-postgres" "$program"
done
