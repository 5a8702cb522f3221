#!/bin/bash
# kill -9 of the service in mid-conversion and a restart: each task ends, nothing is left behind.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires python3

"$lib/make-disk" random disk.raw 16

# gated_task: a task whose conversion stops at the fifth of its sixteen parts.  Sets gate_pid, task.
gated_task() {
    rm -f gate
    "$lib/gate-server" RAW disk.raw 1 4 >gate 2>&1 &
    gate_pid=$!
    started+=("$gate_pid")
    wait_for 10 test -s gate
    task=$(euca import-volume -f RAW -z "$EC2_AVAILABILITY_ZONE" --no-upload disk.raw \
        --manifest-url "http://127.0.0.1:$(head -n 1 gate)/manifest.xml" | field TaskId)
    wait_for 30 grep -q waiting gate
}

# children: pids of what the service runs.
children() { cat "/proc/$service_pid/task"/*/children 2>/dev/null; }
has_children() { [ -n "$(children)" ]; }

# die: kill -9; the toolkit must not survive its master.
die() {
    local toolkit
    wait_for 10 has_children
    toolkit=$(children)
    kill_service
    for pid in $toolkit; do wait_for 10 ended "$pid"; done
}

given_up_or_waiting() { task_ended "$task" || grep -q waiting gate; }

start_service "$tmp/service" # sets service_port, so that the next start is on the same

say "# killed, started, the upload goes on: completed, once"
gated_task
die
start_service "$tmp/service"
kill -USR1 "$gate_pid" # open the gate
wait_task "$task" completed
same_as_raw disk.raw "$(volume_of "$task")"
left_are 1

say "# killed again and again"
gated_task
for _ in 1 2; do
    die
    echo >gate
    start_service "$tmp/service"
    wait_for 60 grep -q waiting gate
done
kill -USR1 "$gate_pid"
wait_task "$task" completed
same_as_raw disk.raw "$(volume_of "$task")"
left_are 2

say "# a task whose processes die each time is given up"
gated_task
for _ in 1 2 3; do
    die
    echo >gate
    start_service "$tmp/service"
    wait_for 60 given_up_or_waiting
done
wait_task "$task" cancelled
task_says "$task" 'ServerError: '
left_are 2

say "# killed, started, cancelled by its owner"
gated_task
die
start_service "$tmp/service"
task_is "$task" active
euca cancel-conversion-task "$task"
wait_task "$task" cancelled
[ -n "$(euca describe-conversion-tasks "$task" | field StatusMessage)" ] || fail "no message"
left_are 2

say "# killed while cancelling"
gated_task
euca cancel-conversion-task "$task"
kill_service
start_service "$tmp/service"
wait_task "$task" cancelled
left_are 2

say "# a stop in mid-conversion is no accident: the task goes on at the next start"
gated_task
stop_service
start_service "$tmp/service"
kill -USR1 "$gate_pid"
wait_task "$task" completed
left_are 3
stop_service
