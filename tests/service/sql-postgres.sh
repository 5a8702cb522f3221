#!/bin/bash
# The SQL layer on PostgreSQL: what test-sql.c asks of a file it asks of a server, and
# test-sql-server.c asks what happens when the server goes, hangs, or comes back.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

for test in test-sql test-sql-server; do
    program=$(built "tests/service/$test")
    [ -x "$program" ] || skip "$test was not built: cmocka is not installed"
    "$lib/with-postgres" "$program"
done
