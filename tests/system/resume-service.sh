#!/bin/bash
# A conversion of the service that was interrupted goes on where it was, whatever died: no part that
# had come is fetched again, and when the task has ended nothing is left of the attempts.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires python3 qemu-img

mib=1048576
"$lib/make-disk" random disk.raw 10
"$lib/make-disk" vmdk-stream disk.vmdk disk.raw

# gated_task FORMAT FILE: a task that stops before the eighth part, all before it written.  Sets
# gate_pid, task.
gated_task() {
    rm -f gate requests
    GATE_LOG=requests "$lib/gate-server" "$1" "$2" 1 7-8 >gate 2>&1 &
    gate_pid=$!
    started+=("$gate_pid")
    wait_for 30 test -s gate
    task=$(euca import-volume -f "$1" -z "$EC2_AVAILABILITY_ZONE" --no-upload "$2" \
        --manifest-url "http://127.0.0.1:$(head -n 1 gate)/manifest.xml" | field TaskId)
    wait_for 60 is_marked
}

# is_marked: what came before the gate is on the disk, and written down.
is_marked() {
    /usr/bin/python3 - "$lib" "$service_dir/volumes/.$task.1."*.job/.*.journal <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import resuming
sys.exit(not any(resuming.is_marked(path, 7 << 20) for path in sys.argv[2:]))
END
}

# none_again: no part before the gate was asked for twice.
none_again() {
    local again
    again=$(awk '$1 < 7 { print $1 }' requests | sort -n | uniq -d)
    [ -z "$again" ] || fail "fetched again:" $again
    [ "$(awk '$1 < 7 { print $1 }' requests | sort -un | wc -l)" = 7 ] || fail "$(cat requests)"
}

# goes_on N: the gate opens, the task is completed, as one of N volumes.
goes_on() {
    kill -USR1 "$gate_pid"
    wait_task "$task" completed
    none_again
    same_as_raw disk.raw "$(volume_of "$task")"
    left_are "$1"
}

children() { cat "/proc/$service_pid/task"/*/children 2>/dev/null; }

another_child() {
    local now
    now=$(children)
    [ -n "$now" ] && [ "$now" != "$victim" ]
}

start_service "$tmp/service" # sets service_port, so that the next start is on the same

say "# kill -9 of the service"
gated_task VMDK disk.vmdk
kill_service
start_service "$tmp/service"
[ "$(find "$service_dir/volumes" -name '*.journal' | wc -l)" = 1 ] || fail "the start removed it"
goes_on 1

say "# kill -9 of the toolkit, twice"
gated_task RAW disk.raw
for _ in 1 2; do
    victim=$(children)
    kill -KILL $victim
    wait_for 60 another_child
    wait_for 60 is_marked
done
goes_on 2

say "# the service is stopped and started; what it left lies where earlier versions left it"
gated_task VMDK disk.vmdk
stop_service
left=$(find "$service_dir/volumes" -name '.*' -printf '%f ')
case $left in *.journal*.partial* | *.partial*.journal*) ;; *) fail "kept: $left" ;; esac
mv "$service_dir"/volumes/.*.job/.* "$service_dir/volumes/"
rmdir "$service_dir"/volumes/.*.job
start_service "$tmp/service"
goes_on 3

say "# cancelled with half of it done, at work and between two attempts"
gated_task RAW disk.raw
euca cancel-conversion-task "$task"
wait_task "$task" cancelled
left_are 3
gated_task RAW disk.raw
kill_service
start_service "$tmp/service"
euca cancel-conversion-task "$task"
wait_task "$task" cancelled
left_are 3
stop_service
