#!/bin/bash
# The account store on PostgreSQL: what test-accounts.c asks of a file it asks of a server.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

program=$(built tests/service/test-accounts)
[ -x "$program" ] || skip "test-accounts was not built: cmocka is not installed"
"$lib/with-postgres" "$program"
