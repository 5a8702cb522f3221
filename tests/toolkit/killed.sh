#!/bin/bash
# A conversion that is killed leaves nothing, neither where it writes nor in scratch, and while it works
# nobody else can read what is there.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img python3
python3 -c 'import os; os.open(".", os.O_TMPFILE | os.O_RDWR)' 2>/dev/null ||
    skip "files without a name are not to be had here"

"$lib/make-disk" random disk.raw 8
"$lib/make-disk" qcow2 disk.qcow2 disk.raw
mkdir out place limited
"$IMAGING_TOOLKIT" cache limit --place limited 64M
before=$(cd limited && find . | sort)

# held PID DIR: prints the open files of a process below DIR, if there are any.
held() { find "/proc/$1/fd" -lname "$tmp/$2/*" 2>/dev/null | grep .; }

# killed_with FORMAT PLACE WHERE: once it has a file below WHERE.
killed_with() {
    local pid file mode
    "$IMAGING_TOOLKIT" convert --no-sync --io-rate 64K --scratch "$2" -f "$1" -O raw "disk.$1" out/a 2>said &
    pid=$!
    started+=("$pid")
    wait_for 60 held "$pid" "$3" >/dev/null
    for file in $(held "$pid" "$3"); do
        mode=$(stat -L -c %a "$file" 2>/dev/null) || continue # closed meanwhile
        [ "$3" = out ] || [ -d "$file" ] || [ "$mode" = 600 ] || fail "$file has mode $mode"
    done
    disown "$pid"
    kill -KILL "$pid"
    wait_for 60 ended "$pid"
}

say "# a raw image: no scratch"
killed_with raw place out
nothing_but out
nothing_but place

say "# one that is copied into scratch"
killed_with qcow2 place place
nothing_but out
nothing_but place

say "# where scratch is limited, whoever comes next takes back what is left"
killed_with qcow2 limited limited/.imaging-cache/scratch
nothing_but out
for dir in limited/.imaging-cache limited/.imaging-cache/*/; do
    [ "$(stat -c %a "$dir")" = 700 ] || fail "$(ls -ld "$dir")"
done
taken_back() { "$IMAGING_TOOLKIT" cache gc --place limited >/dev/null; [ "$(cd limited && find . | sort)" = "$before" ]; }
wait_for 60 taken_back # a child may be about to die
