# shellcheck shell=bash disable=SC1090,SC1091,SC2034
# functions.sh - what every story in bash begins with:
#
#   . "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
#
# It is not a test.  A story runs in a private directory ($tmp) that goes away at its end, as does
# everything it started.  With KEEP=1 in the environment the directory stays and its name is printed.
#
# The programs come from IMAGING_TOOLKIT, IMAGING_SERVICE and EUCA_TOOLS_DIR, else from the build
# directory one stands in (or in whose tests/ one stands), else from build/ beside the sources.

set -euo pipefail
export LC_ALL=C PATH="/usr/bin:/bin:/usr/sbin:/sbin:$PATH"
# Nothing of the user's own cloud, proxy or Python may reach a test.
unset EC2_URL S3_URL http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY PYTHONPATH PYTHONHOME
while read -r _variable; do unset "$_variable"; done < <(compgen -v | grep -E '^(AWS|EUCA)_' |
    grep -vx EUCA_TOOLS_DIR || :)
export EUCA_CONFIG_PATH= # none

top_srcdir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
lib=$top_srcdir/tests/lib

say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }
skip() { say "skipped: $*"; exit 77; }

# built NAME: full path of a program of the build.
built() {
    local dir
    for dir in "${top_builddir:-.}" "$PWD" "$PWD/.." "$top_srcdir/build"; do
        if [ -e "$dir/$1" ]; then
            (cd "$dir/$(dirname "$1")" && printf '%s/%s\n' "$PWD" "$(basename "$1")")
            return
        fi
    done
    printf '%s\n' "$1-was-not-built"
}

: "${IMAGING_TOOLKIT:=$(built imaging-toolkit/imaging-toolkit)}"
: "${IMAGING_SERVICE:=$(built imaging-service/imaging-service)}"
: "${EUCA_TOOLS_DIR:=$(dirname "$(built euca-tools/euca-import-volume)")}"
export top_srcdir IMAGING_TOOLKIT IMAGING_SERVICE EUCA_TOOLS_DIR

story=$(realpath "$0")
tmp=$(mktemp -d "${TMPDIR:-/tmp}/story.XXXXXX")
started=() # pids of what runs in the background
service_log=
searched=() # for lib/left.py: directories of services, files that hold secrets
cd "$tmp"
mkdir home
export HOME=$tmp/home

# keep_searched: what lib/left.py keeps of this test, while it is there.
keep_searched() {
    [ ${#searched[@]} -eq 0 ] || "$lib/left.py" "$story" "${searched[@]}" || return 1
    searched=()
}

finish() {
    local status=$? pid
    trap - EXIT
    for pid in ${started[@]+"${started[@]}"}; do kill -KILL "$pid" 2>/dev/null || :; done
    wait 2>/dev/null || :
    if [ $status -ne 0 ] && [ $status -ne 77 ] && [ -s "$service_log" ]; then
        say "--- the service's log, last lines:"
        tail -n 40 "$service_log"
    fi
    keep_searched || status=1
    cd /
    if [ -n "${KEEP:-}" ]; then say "kept: $tmp"; else rm -rf "$tmp"; fi
    exit $status
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# requires TOOL...: skip the test when one is missing.
requires() {
    local tool
    for tool; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
}

# wait_for SECONDS COMMAND...: until the command succeeds; fails when it does not in time.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ $SECONDS -ge $end ]; then
            say "FAILED: waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}

# ended PID: the process is gone, or only its exit status is left.
ended() { ! grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }

# sanitized: whether make says that the programs are AddressSanitizer's build, which is several
# times slower; a test of many alike runs takes fewer of them then.
sanitized() { [ -n "${SANITIZED:-}" ]; }

# holds_text TEXT FILE
holds_text() { grep -qF -- "$1" "$2" 2>/dev/null; }

# no_sanitizer FILE: no report of ASan or UBSan in it.
no_sanitizer() {
    ! grep -E 'Sanitizer|runtime error:' "$1" || fail "a sanitizer reported, see above"
}

# fails_with STATUS TEXT COMMAND...: it must end with that status and say TEXT; what it said is in
# $tmp/said.
fails_with() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$@" >"$tmp/said" 2>&1 </dev/null || status=$?
    no_sanitizer "$tmp/said"
    if [ "$status" != "$wanted" ] || ! holds_text "$text" "$tmp/said"; then
        say "FAILED: wanted status $wanted and the words '$text', got $status and:" >&2
        cat "$tmp/said" >&2
        say "from: $*" >&2
        return 1
    fi
}

# fails_saying TEXT COMMAND...: with status 1 and those words.
fails_saying() { fails_with 1 "$@"; }

# nothing_but DIR NAME...: DIR holds these names and no other, hidden ones included.
nothing_but() {
    local dir=$1 left
    shift
    left=$(find "$dir" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)
    if [ "$left" != "$(printf '%s\n' "$@" | sort)" ]; then
        say "FAILED: in $dir there should be '$*', but there is:" "$left" >&2
        return 1
    fi
}

# same_as_raw RAW VOLUME: equal up to the raw's size, zeros from there on.
same_as_raw() {
    local size rest
    size=$(stat -c %s "$1")
    rest=$(($(stat -c %s "$2") - size))
    [ $rest -ge 0 ] || { say "FAILED: $2 is $((-rest)) bytes shorter than $1" >&2; return 1; }
    cmp -n "$size" "$1" "$2" || return 1
    [ $rest -eq 0 ] || cmp -n "$rest" -i "$size:0" "$2" /dev/zero
}

# in_own_mounts COMMAND...: as root of private mounts; skips the test where that is not allowed.
in_own_mounts() {
    local how=(unshare -m)
    requires unshare
    [ "$(id -u)" = 0 ] || how=(unshare -rm)
    "${how[@]}" mount -t tmpfs -o size=1m none /mnt 2>/dev/null ||
        skip "private mounts are not allowed here"
    "${how[@]}" "$@"
}

# --- the service

service_is_ready() {
    ended "$service_pid" && fail "the service ended at its start"
    [ "$(tail -n 1 "$service_dir.out")" = ready ]
}

# start_service DIR [OPTION...]: on a port of the kernel's choice, or of service_port (set by the
# first start, so that a second one has the same), at an address of the test's own, where nobody
# takes the port between the two.  It may fetch from this machine.  Sets the
# variables of DIR/env.sh; what it prints is in DIR.out, its log in DIR.log.
start_service() {
    service_dir=$1 service_log=$1.log
    case " ${searched[*]-} " in *" $1 "*) ;; *) searched+=("$1") ;; esac
    shift
    : "${service_address:=127.$((RANDOM % 254 + 1)).$((RANDOM % 256)).1}"
    echo 'manifest-networks = {"127.0.0.0/8"}' >"$service_dir.conf"
    "$IMAGING_SERVICE" --standalone "$service_dir" --config "$service_dir.conf" --listen "$service_address:${service_port:-0}" \
        --toolkit "$IMAGING_TOOLKIT" "$@" >"$service_dir.out" 2>>"$service_log" </dev/null &
    service_pid=$!
    started+=("$service_pid")
    wait_for 60 service_is_ready
    . "$service_dir/env.sh"
    service_port=$(printf '%s\n' "$EC2_URL" | sed -E 's,^[a-z]+://[^/]*:([0-9]+).*,\1,')
}

# reaped PID: its number may be another process's now.
reaped() {
    local pid rest=()
    for pid in "${started[@]}"; do [ "$pid" = "$1" ] || rest+=("$pid"); done
    started=(${rest[@]+"${rest[@]}"})
}

# stop_service: SIGTERM; it must leave with status 0, without a sanitizer's report.
stop_service() {
    local status=0
    kill -TERM "$service_pid"
    wait_for 30 ended "$service_pid"
    wait "$service_pid" || status=$?
    reaped "$service_pid"
    [ $status -eq 0 ] || fail "the service ended with status $status"
    no_sanitizer "$service_log"
}

# kill_service: as a power cut would.
kill_service() {
    disown "$service_pid" # bash need not tell of its death
    kill -KILL "$service_pid"
    wait_for 30 ended "$service_pid"
    reaped "$service_pid"
}

# --- tasks, seen by the euca tools

euca() { "$EUCA_TOOLS_DIR/euca-$1" "${@:2}"; }

# field NAME: the value behind NAME in the tools' lines on standard input, the first there is.
field() {
    awk -F '\t' -v name="$1" '
        !found { for (i = 1; i < NF; i++) if ($i == name) { print $(i + 1); found = 1; break } }'
}

# import_disk FORMAT FILE [OPTION...]: prints the task's id.
import_disk() {
    local format=$1 file=$2
    shift 2
    euca import-volume -f "$format" -z "$EC2_AVAILABILITY_ZONE" -b images --no-progress "$@" "$file" |
        field TaskId
}

task_is() { [ "$(euca describe-conversion-tasks "$1" | field Status)" = "$2" ]; }
task_says() { euca describe-conversion-tasks "$1" | field StatusMessage | grep -qF -- "$2"; }

# task_ends ID: no longer in work.
task_ended() { task_is "$1" completed || task_is "$1" cancelled; }

# wait_task ID STATE: until it has ended, and it must be in that state.
wait_task() {
    wait_for 120 task_ended "$1"
    if ! task_is "$1" "$2"; then
        say "FAILED: task $1 should be $2:" >&2
        euca describe-conversion-tasks "$1" >&2
        return 1
    fi
}

# volume_of ID: path of the volume of a completed task.
volume_of() {
    printf '%s/volumes/%s.raw\n' "$service_dir" \
        "$(euca describe-conversion-tasks "$1" | field VolumeId)"
}

# left_are N: N volumes, each with its manifest, and nothing half done: no other file beside them, an
# empty scratch.
left_are() {
    local volumes manifests other
    volumes=$(find "$service_dir/volumes" -name 'vol-*.raw' | wc -l)
    manifests=$(find "$service_dir/volumes" -name 'vol-*.raw.manifest.json' | wc -l)
    other=$(find "$service_dir/volumes" "$service_dir/scratch" -mindepth 1 ! -name 'vol-*.raw' \
        ! -name 'vol-*.raw.manifest.json')
    if [ "$volumes" != "$1" ] || [ "$manifests" != "$1" ] || [ -n "$other" ]; then
        say "FAILED: wanted $1 volumes and nothing else, there are $volumes and: $other" >&2
        return 1
    fi
}
