#!/bin/bash
# The benchmark of the query API itself: every row is measured, a wrong answer and a slow one are
# seen, the schedule is kept, and what is written by hand stays.  No time is judged here.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

service=$(built imaging-service/imaging-service)
load=$(built tests/bench/load)
"$service" --help >help
grep -q -- --config help || skip "this imaging-service reads no configuration file"

bench() {
    "$top_srcdir/tests/bench/bench-api" --build "$(dirname "$(dirname "$service")")" --dir bench \
        --seconds 0.1 --runs 1 --clients 5 --tasks 30 "$@"
}

# cell ROW COLUMN: of the table in file "said", where fails_with puts it, too.
cell() {
    awk -F '|' -v row="$1" -v n="$2" '
        $2 ~ "^ " row " *$" { gsub(/^ +| +$/, "", $(n + 1)); print $(n + 1) }' said
}

# tell NAME: a number of the JSON in file "said".
tell() { sed -E "s/.*\"$1\": ([0-9]+).*/\1/" said; }

say "# every row (in so short a time a busy disk may give no answer: 0.0), and the document"
bench --write bench.md >said
for row in $("$top_srcdir/tests/bench/bench-api" --list | cut -d ' ' -f 1); do
    [[ "$(cell "$row" 3)" =~ ^[0-9][0-9.]*\ \( ]] || fail "$row was not measured: $(cat said)"
done
[[ "$(cell describe-all 11)" =~ MiB ]] || fail "no memory: $(cat said)"
[ ! -e bench ] || fail "left behind: $(ls -R bench)"
sed -i 's/<!-- notes: end -->/a thought\n&/' bench.md
/usr/bin/python3 -B - "$top_srcdir/tests/bench" bench.md <<'EOT'
import sys
sys.path.insert(0, sys.argv[1])
import api_report
old = open(sys.argv[2], encoding="utf-8").read()
new = api_report.document(old, "anew\n")
assert "a thought" in new and "anew" in new and "bare-all |" not in new, new
EOT

export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret
coproc BARE { exec "$(built tests/bench/bare-httpd)"; }
started+=("$BARE_PID")
read -r port <&"${BARE[0]}"

say "# answers are counted, and those of a schedule come by it"
"$load" "$port" path=/1000 connections=3 requests=50 >said
[ "$(tell answers) $(tell wrong) $(tell body)" = "50 0 1000" ] || fail "$(cat said)"
"$load" "$port" path=/10 connections=3 requests=20 rate=100 >said
[ "$(tell wall_us)" -ge 190000 ] || fail "20 requests came before their time: $(cat said)"
[ "$(tell p50_us)" -le "$(tell p99_us)" ] || fail "$(cat said)"

say "# wrong answers: another status, other tasks"
"$load" "$port" path=/10 requests=4 status=404 >said 2>why
[ "$(tell wrong)" = 4 ] || fail "$(cat said)"
grep -q '4 wrong answers, the first: HTTP/1.1 200 OK … xxxxxxxxxx' why || fail "$(cat why)"
"$load" "$port" path=/10 requests=4 tasks=1 >said 2>why
[ "$(tell wrong)" = 4 ] || fail "$(cat said)"

say "# no answer"
fails_with 1 'closed a connection after 0 bytes' "$load" "$port" path=/x requests=1

say "# a row whose answers are wrong does not keep the others from being measured"
mkdir -p without-toolkit/imaging-service without-toolkit/tests
ln -s "$service" without-toolkit/imaging-service/
ln -s "$(dirname "$load")" without-toolkit/tests/bench
fails_with 1 'import-looking: FAILED: load: ' bench --build without-toolkit \
    --rows 'import-looking describe'
grep -q 'the first: HTTP/1.1 503' said || fail "$(cat said)"
[[ "$(cell describe 3)" =~ ^[0-9] ]] || fail "the other row is missing: $(cat said)"
