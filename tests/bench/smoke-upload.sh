#!/bin/bash
# The benchmark of uploads itself: both sides are measured, an upload that fails is seen, and what is
# written by hand stays.  No time is judged here.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires cc aws ceph ceph-mon ceph-osd radosgw radosgw-admin monmaptool
/usr/bin/python3 -c 'import boto3' 2>/dev/null || skip "python3-boto3 is not installed"

bench() { "$top_srcdir/tests/bench/bench-upload" --dir bench --gib 0.02 --runs 1 "$@"; }

# cell ROW COLUMN: of the table in file "said".
cell() {
    awk -F '|' -v row="$1" -v n="$2" '
        $2 ~ "^ " row " *$" { gsub(/^ +| +$/, "", $(n + 1)); print $(n + 1) }' said
}

say "# both sides, and the document"
bench --build "$(dirname "$EUCA_TOOLS_DIR")" --write bench.md >said
[[ "$(cell upload 3) $(cell upload 4)" =~ ^[0-9.]+\ [0-9.]+$ ]] || fail "no times: $(cat said)"
[[ "$(cell upload 7)" =~ ^(yes|no) ]] || fail "it is not judged: $(cat said)"
sed -i 's/<!-- notes: end -->/a thought\n&/' bench.md

say "# an upload that fails, and one of other bytes"
mkdir -p broken/euca-tools wrong/euca-tools
printf '#!/bin/sh\necho first >&2; echo the last line >&2; exit 1\n' >broken/euca-tools/euca-import-volume
cat >wrong/euca-tools/euca-import-volume <<EOT
#!/bin/bash
head -c 20971520 /dev/zero >zeros
exec "$EUCA_TOOLS_DIR/euca-import-volume" "\${@:1:\$#-1}" zeros
EOT
chmod +x broken/euca-tools/* wrong/euca-tools/*
fails_with 1 'FAILED: the last line' bench --build broken --write bench.md
grep -q 'a thought' bench.md || fail "the notes are lost: $(cat bench.md)"
fails_with 1 'FAILED: what arrived is not the file' bench --build wrong
[ ! -e bench ] || fail "left behind: $(ls -R bench)"
