#!/bin/bash
# The task table on PostgreSQL with very many rows.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

program=$(built tests/service/test-task-scale)
[ -x "$program" ] || skip "test-task-scale was not built: cmocka is not installed"
"$lib/with-postgres" "$program"
