#!/bin/bash
# The bench itself: it measures, sees a wrong result, tells why a command failed, finds scratch and
# memory that a program used, and keeps what is written by hand.  No time is judged here.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img mke2fs sfdisk cc

# The sanitizer's own memory would be measured.
! grep -q __asan_init "$IMAGING_TOOLKIT" || skip "built with AddressSanitizer"

bench() { "$top_srcdir/tests/bench/bench" --dir bench --gib 0.0625 --runs 1 "$@"; }

# fake NAME: the tool with a flaw; its body comes on standard input, "$out" is the file it writes.
fake() {
    { printf '#!/bin/bash\nset -e\nout=${*: -1}\ntool=%q\n' "$IMAGING_TOOLKIT"; cat; } >"$1"
    chmod +x "$1"
}

# cell ROW COLUMN: of the table in file "said", where fails_with puts it, too.
cell() {
    awk -F '|' -v row="$1" -v n="$2" '
        $2 ~ "^ " row " *$" { gsub(/^ +| +$/, "", $(n + 1)); print $(n + 1) }' said
}

say "# a row, measured and compared"
bench --toolkit "$IMAGING_TOOLKIT" --rows 'small blank-vhd' >said
[[ "$(cell small 5) $(cell small 6)" =~ ^[0-9.]+\ [0-9.]+$ ]] || fail "no times: $(cat said)"
[ "$(cell blank-vhd 9)" = yes ] || fail "the blank disk is not judged: $(cat said)"

say "# a wrong byte"
fake wrong <<'EOT'
"$tool" "$@"
printf x | dd of="$out" bs=1 seek=1234567 conv=notrunc status=none
EOT
fails_with 1 'small: FAILED: wrong result: it differs' bench --toolkit ./wrong --rows small

say "# a command that fails does not keep the other rows from being measured"
fake broken <<'EOT'
[[ "$*" != *small* ]] || { printf 'first line\nthe last line\n' >&2; exit 1; }
"$tool" "$@"
EOT
fails_with 1 'small: FAILED: the last line' bench --toolkit ./broken --rows 'small blank-vhd'
[ "$(cell blank-vhd 9)" = yes ] || fail "the second row is missing: $(cat said)"

say "# scratch that has no name, and memory of two children at once"
fake greedy <<'EOT'
"$tool" "$@"
python3 -c '
import os, tempfile, time
child = os.fork()
hog = bytearray(40 << 20)
with tempfile.TemporaryFile() as scratch:
    scratch.write(bytes(5 << 20))
    scratch.flush()
    time.sleep(1)  # work that takes a while: ten looks of the bench
if child:
    os.wait()'
EOT
bench --toolkit ./greedy --rows blank-vhd >said
[[ "$(cell blank-vhd 9)" = no:*memory ]] || fail "80 MiB were not seen: $(cat said)"
[ "$(cell blank-vhd 12)" -ge 10 ] || fail "10 MiB of scratch were not seen: $(cat said)"

say "# the document: this size anew, other sizes and the notes as they were"
/usr/bin/python3 -B - "$top_srcdir/tests/bench" <<'EOT'
import sys
sys.path.insert(0, sys.argv[1])
import report
one = report.document("", 4096, "four\n")
notes = one.replace(report.NOTES[1], "a thought\n" + report.NOTES[1])
two = report.document(report.document(notes, 1024, "one\n"), 4096, "anew\n")
assert "a thought" in two and "four" not in two, two
assert two.index("of 1 GiB") < two.index("one\n") < two.index("of 4 GiB") < two.index("anew"), two
assert report.document(two, 4096, "anew\n") == two
EOT

say "# nothing is left but what the next run needs"
left=$(ls -A bench)
! grep -vxE 'corpus-64|inflate-floor|loop-vhd|loop-vmdk|meter' <<<"$left" ||
    fail "left behind, see above"
