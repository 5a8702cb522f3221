#!/bin/bash
# doctor tells what is here, what is missing, who needs it and which package has it.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img

"$IMAGING_TOOLKIT" doctor --scratch "$tmp" >said || [ $? -eq 7 ]
grep -q '^ok *program *qemu-img: here$' said || fail "$(cat said)"
grep -q "^ok *scratch *$tmp: .* free\$" said || fail "$(cat said)"

# what is covered by something that is no program is missing, and only that changes
cat >inside <<'END'
for place in /usr/local/bin/qemu-img /usr/bin/qemu-img; do
    [ ! -e $place ] || mount --bind /dev/null $place
done
status=0
"$IMAGING_TOOLKIT" doctor --scratch "$1" --output json >"$1/said.json" || status=$?
[ $status -eq 7 ] || exit 1
END
in_own_mounts bash inside "$tmp"
/usr/bin/python3 - said said.json <<'END'
import json, sys
rows = {row["name"]: row for row in json.load(open(sys.argv[2]))}
row = rows["qemu-img"]
assert row["ok"] is False and "Debian's qemu-utils" in row["detail"], row
assert "format qcow2" in row["needed_by"] and "format vdi" in row["needed_by"], row
before = open(sys.argv[1]).read()
for name, row in rows.items():
    if name != "qemu-img":
        assert row["ok"] == (f"ok " in [line[:3] for line in before.splitlines() if f" {name}: " in line]), row
END

# a place that cannot be used
status=0
"$IMAGING_TOOLKIT" doctor --scratch "$tmp/none" >said || status=$?
[ $status -eq 1 ] || fail "exit status $status"
grep -q "^MISSING *scratch *$tmp/none: .*No such file" said || fail "$(cat said)"

fails_with 2 --nothing "$IMAGING_TOOLKIT" doctor --nothing

say "# a place that cannot be used although files could be made there"
mkdir -p "$tmp/place/.imaging-cache"
chmod 755 "$tmp/place/.imaging-cache"
status=0
"$IMAGING_TOOLKIT" doctor --scratch "$tmp/place" >said || status=$?
[ "$status" = 1 ] || fail "status $status"
grep -q "^MISSING *scratch *$tmp/place: .*mode 0700" said || fail "$(cat said)"
