#!/bin/bash
# A toolkit that cannot be found: said at start, in the log, and in the answer to ImportVolume.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

truncate -s 1M disk.raw
start_service "$tmp/service" --toolkit /nonexistent/imaging-toolkit
holds_text /nonexistent/imaging-toolkit "$service_dir.out" || fail "not said at start"
holds_text /nonexistent/imaging-toolkit "$service_log" || fail "not in the log"

fails_saying /nonexistent/imaging-toolkit euca import-volume -f RAW -z "$EC2_AVAILABILITY_ZONE" -b images disk.raw
[ -z "$(euca describe-conversion-tasks)" ] || fail "a task was stored"

say "# with a toolkit there again, the same directory works"
stop_service
start_service "$tmp/service"
task=$(import_disk RAW disk.raw)
wait_task "$task" completed
stop_service
