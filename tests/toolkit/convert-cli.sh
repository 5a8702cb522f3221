#!/bin/bash
# imaging-toolkit as a command on its own: exit statuses, what it refuses, what it leaves behind.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img python3

toolkit=$IMAGING_TOOLKIT
mkdir out # whatever is written comes here, so that leftovers are seen
"$lib/make-disk" edges disk.raw 16
for kind in vmdk-stream vmdk-mono vhd-dyn vhd-fixed vhdx vdi qcow2; do
    "$lib/make-disk" "$kind" "disk.$kind" disk.raw
done

# is_json FILE [EXPRESSION]: one JSON document each line; the expression of its list `x` is true.
is_json() {
    python3 -c '
import json, sys
x = [json.loads(line) for line in open(sys.argv[1])]
assert x, "nothing was written"
assert eval(sys.argv[2]), x
' "$1" "${2:-True}"
}

say "# usage: 2"
fails_with 2 '' "$toolkit"
fails_with 2 no-such-command "$toolkit" no-such-command
fails_with 2 '' "$toolkit" convert -f raw -O raw disk.raw
fails_with 2 '' "$toolkit" convert -O raw --no-such-option disk.raw out/a
fails_with 2 floppy "$toolkit" convert -f floppy -O raw disk.raw out/a
fails_with 2 floppy "$toolkit" convert -f raw -O floppy disk.raw out/a
fails_with 2 10Q "$toolkit" convert -f raw -O raw --max-size 10Q disk.raw out/a
nothing_but out

say "# input missing or unreadable: 3"
for url in 's3://me:secret@bucket/x?sig=secret' 'manifest:htp://x/m?sig=secret'; do
    fails_with 3 'is no http(s) URL' "$toolkit" convert -f raw -O raw "$url" out/a
    ! grep -q secret "$tmp/said" || fail "$(cat "$tmp/said")"
done
fails_with 3 missing.raw "$toolkit" convert -f raw -O raw missing.raw out/a
fails_with 3 home "$toolkit" convert -f raw -O raw home out/a
nothing_but out

say "# invalid image: 4, with the place of the damage"
"$lib/make-disk" vmdk-vmware disk.vmdk-vmware disk.raw
head -c -512 disk.vmdk-vmware >cut.vmdk
fails_with 4 "$(stat -c %s cut.vmdk)" "$toolkit" convert -f vmdk -O raw cut.vmdk out/a
head -c 80000 disk.vmdk-stream >cut.vmdk
fails_with 4 80000 "$toolkit" convert -f vmdk -O raw cut.vmdk out/a
head -c 300000 disk.vhd-dyn >cut.vhd
fails_with 4 truncated "$toolkit" convert -f vhd -O raw cut.vhd out/a
fails_with 4 '' "$toolkit" convert -f vmdk -O raw disk.raw out/a
say "# an image is not read as what it was not declared to be"
fails_with 4 '' "$toolkit" convert -f raw -O raw disk.vmdk-stream out/a
fails_with 4 '' "$toolkit" convert -f raw -O raw disk.qcow2 out/a
fails_with 4 '' "$toolkit" convert -f vhd -O raw disk.vhdx out/a
nothing_but out

say "# over a limit: 5, before anything is written"
fails_with 5 16777216 "$toolkit" convert -f raw -O raw --max-size 8M disk.raw out/a
fails_with 5 16777216 "$toolkit" convert -f vmdk -O raw --max-size 16777215 disk.vmdk-mono out/a
nothing_but out
"$toolkit" convert -f vmdk -O raw --max-size 16M disk.vmdk-mono out/a
same_as_raw disk.raw out/a

say "# a destination that exists is refused, and kept"
echo precious >out/a
fails_saying --force "$toolkit" convert -f raw -O raw disk.raw out/a
[ "$(cat out/a)" = precious ] || fail "the destination was touched"
say "# a failure with --force keeps it, too"
fails_with 4 '' "$toolkit" convert -f vmdk -O raw --force cut.vmdk out/a
[ "$(cat out/a)" = precious ] || fail "the destination was touched"
"$toolkit" convert -f raw -O raw --force disk.raw out/a
same_as_raw disk.raw out/a
nothing_but out a
rm out/a

say "# transient: 6"
fails_with 6 '' "$toolkit" convert -f raw -O raw "http://127.0.0.1:1/disk" out/a
nothing_but out

say "# names of formats in any case, and vpc for VHD"
"$toolkit" convert -f VMDK -O RAW disk.vmdk-stream out/a
"$toolkit" convert -f Vpc -O raw --force disk.vhd-fixed out/a
same_as_raw disk.raw out/a
rm out/a
say "# the format is never guessed, but named in the advice"
fails_with 2 vmdk "$toolkit" convert -O raw disk.vmdk-mono out/a
nothing_but out

say "# standard input and output"
"$toolkit" convert -f raw -O raw - out/a <disk.raw
same_as_raw disk.raw out/a
# shellcheck disable=SC2002 # a pipe is meant
cat disk.vmdk-stream | "$toolkit" convert -f vmdk -O raw --force - out/a
same_as_raw disk.raw out/a
"$toolkit" convert -f raw -O raw disk.raw - | cmp - disk.raw
"$toolkit" convert -f vmdk -O raw disk.vmdk-mono - | cmp - disk.raw
status=0
"$toolkit" convert -f raw -O raw disk.raw - 2>said >/dev/full || status=$?
[ $status = 5 ] && grep -q 'no space behind standard output' said || fail "a full pipe: $status, $(cat said)"
rm out/a

say "# progress as JSON lines"
"$toolkit" convert -f vmdk -O raw --progress-fd 5 disk.vmdk-stream out/a 5>progress
is_json progress 'x[-1]["event"] == "result" and x[-1]["size"] == 16 << 20'
is_json progress 'x[-2]["event"] == "progress" and x[-2]["done"] == x[-2]["total"] > 0'
is_json progress 'all(set(y) >= {"time", "stage", "done", "total", "rate"} for y in x[:-1])'
# from a pipe, whose size nobody knows, the copy has no total until it is done
mkfifo slowly
"$toolkit" convert -f raw -O raw --force --progress-fd 5 - out/a <slowly 5>progress &
started+=($!)
exec 7>slowly
fed_until_told() {
    head -c 65536 /dev/urandom >&7
    grep -q '"stage":"copy","done":[1-9]' progress
}
wait_for 20 fed_until_told
exec 7>&-
wait $!
is_json progress 'any("total" not in y and y["done"] > 0 for y in x if y.get("stage") == "copy")'
is_json progress 'all(y["total"] >= y["done"] for y in x[:-1] if "total" in y)'
fails_with 4 '' "$toolkit" convert -f vmdk -O raw --force --progress-fd 5 cut.vmdk out/a 5>progress
is_json progress 'x[-1]["event"] == "error" and x[-1]["code"] and x[-1]["message"]'
rm out/a

say "# results as JSON"
"$toolkit" convert --output json -f vmdk -O raw disk.vmdk-mono out/a >result
is_json result 'x[0]["size"] == 16 << 20'
rm out/a
for kind in vmdk-stream vmdk-mono vhd-dyn vhd-fixed vhdx vdi qcow2; do
    "$toolkit" info "disk.$kind" >text
    grep -qi "${kind%%-*}" text || fail "info of $kind: $(cat text)"
    "$toolkit" info --output json "disk.$kind" >result
    python3 -c '
import json, sys
x = json.load(open("result"))
assert x["format"] == sys.argv[1], x
assert x["virtual-size"] >= 16 << 20, x' "${kind%%-*}"
done
"$toolkit" info --output json disk.raw | grep -q '"raw"'
fails_with 3 missing "$toolkit" info missing
cp disk.qcow2 $'\xff.qcow2' # a name that is no text
for command in info check; do
    "$toolkit" $command --output json $'\xff.qcow2' >result || [ $command = check ]
    python3 -c '
import json
x = json.load(open("result"))
assert x["image"] == "?.qcow2" and x["virtual-size"] == 16 << 20, x'
done

"$toolkit" stages >text
grep -q grow text
"$toolkit" stages --output json | python3 -c 'import json, sys; assert "grow" in str(json.load(sys.stdin))'

say "# SIGTERM in mid-conversion: 130 and nothing left"
mkfifo pipe
"$toolkit" convert -f raw -O raw - out/a <pipe 2>said &
started+=($!)
exec 7>pipe
head -c 3000000 disk.raw >&7
writes_out() { find "/proc/$1/fd" -lname "$tmp/out/*" 2>/dev/null | grep -q .; }
wait_for 20 writes_out $!
kill -TERM $!
wait_for 20 ended $!
status=0
wait $! || status=$?
exec 7>&-
[ $status = 130 ] || fail "status $status after SIGTERM: $(cat said)"
no_sanitizer said
nothing_but out

# changed_under_way COMMAND...: the status of a conversion whose image, changing.raw, COMMAND acts
# on while the conversion waits for its reader.
changed_under_way() {
    cp --sparse=always disk.raw changing.raw
    touch -d 2001-01-01 changing.raw
    "$toolkit" convert -f raw -O raw changing.raw - >pipe 2>said &
    started+=($!)
    exec 7<pipe
    head -c 4096 <&7 >/dev/null
    "$@"
    cat <&7 >/dev/null
    exec 7<&-
    status=0
    wait $! || status=$?
    no_sanitizer said
}

say "# an image that changes while it is read: 4, whatever was read of it"
changed_under_way true
[ $status = 0 ] || fail "status $status for an image left alone: $(cat said)"
for act in 'truncate -s -512' 'truncate -s 8M' 'truncate -s +512' 'touch'; do
    # shellcheck disable=SC2086
    changed_under_way $act changing.raw
    [ $status = 4 ] || fail "status $status after $act: $(cat said)"
done
grep -q "'changing.raw' was written to while it was read" said
