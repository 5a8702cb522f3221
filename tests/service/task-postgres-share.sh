#!/bin/bash
# Two services that share the tasks of one PostgreSQL database.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

program=$(built tests/service/test-task-share)
[ -x "$program" ] || skip "test-task-share was not built: cmocka is not installed"
"$lib/with-postgres" "$program"
