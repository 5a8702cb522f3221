#!/bin/bash
# On a file system that can, data are shared by reference instead of copied, and the result is right.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img mkfs.xfs

# A small XFS in a file, mounted where only this test sees it.
truncate -s 400M xfs.img
mkfs.xfs -q -m reflink=1 xfs.img || skip "mkfs.xfs makes no file system with reflink here"
"$lib/make-disk" mbr-ext4 disk.raw 64

cat >inside <<'END'
. "$top_srcdir/tests/lib/functions.sh"
cd "$1"
mkdir x
mount -o loop xfs.img x 2>/dev/null || skip "a loop file cannot be mounted here"
top=$1
trap 'status=$?; cd /; umount "$top/x"; (exit $status); finish' EXIT

free_kib() { df --output=avail -k x | tail -n 1; }

# shared KIND FORMAT COPIED: that kind of image is converted with all data shared, but for so many KiB.
shared() {
    local kind=$1 format=$2 copied=$3 before used said
    "$lib/make-disk" "$kind" "x/image" disk.raw
    sync x/image
    before=$(free_kib)
    said=$("$IMAGING_TOOLKIT" convert -f "$format" -O raw --output json x/image x/out)
    used=$((before - $(free_kib)))
    same_as_raw disk.raw x/out
    python3 - "$said" "$copied" <<'PY'
import json, sys
said, copied = json.loads(sys.argv[1]), int(sys.argv[2]) * 1024
left = said["data_bytes"] - said["shared_bytes"]
assert said["shared_bytes"] > 1 << 20, said
assert left <= copied, (said, left)
assert said["scratch_peak_bytes"] == 0, said
PY
    # metadata of the file system may grow a little
    [ $used -le $((copied + 1024)) ] || fail "$kind: $used KiB of the file system were used"
    rm x/out

    # with a digest, which must see all that is shared
    "$IMAGING_TOOLKIT" convert -f "$format" -O raw --digest fs-verity x/image x/out
    same_as_raw disk.raw x/out
    same_digest x/out
    rm -f x/out x/out.manifest.json x/image
}

same_digest() {
    ! command -v fsverity >/dev/null ||
        grep -qF "$(fsverity digest --compact "$1")" "$1.manifest.json" ||
        fail "the digest of $1 is not what fsverity says"
}

shared raw raw 0
shared vhd-fixed-force vhd 0

shared vhdx vhdx 0
shared vmdk-mono vmdk 0

# Blocks of a dynamic VHD are one sector longer than they should be, so that one in eight begins at a
# block of the file system: the others are copied, and all are right.
"$lib/make-disk" vhd-dyn-force x/image disk.raw
said=$("$IMAGING_TOOLKIT" convert -f vhd -O raw --output json x/image x/out)
same_as_raw disk.raw x/out
python3 -c 'import json, sys; r = json.loads(sys.argv[1]); assert r["shared_bytes"] * 4 < r["data_bytes"], r' "$said"
rm x/out x/image

# layout SOURCE STORE STAGE…: a stage that moves offsets shares what it moves.
layout() {
    said=$("$IMAGING_TOOLKIT" run <<<'{"source":"'"$1"'","format":"raw","store":"'"$2"'","stages":[{'"$3"'}]}')
    python3 - "$said" <<'PY'
import json, sys
said = json.loads(sys.argv[1])
assert said["shared_bytes"] > 1 << 20, said
assert said["data_bytes"] - said["shared_bytes"] <= 1 << 20, said  # the new table
PY
}
cp disk.raw x/disk
layout x/disk x/part '"name":"partition-from-disk","number":1'
layout x/part x/out '"name":"disk-from-partition","boot":"no"'
cmp <(tail -c +$(((1 << 20) + 1)) x/out | head -c "$(stat -c %s x/part)") x/part
cmp <(tail -c +$(((1 << 20) + 1)) disk.raw | head -c "$(stat -c %s x/part)") x/part
rm x/disk x/part x/out

# From another file system: copied.
said=$("$IMAGING_TOOLKIT" convert -f raw -O raw --output json disk.raw x/out)
same_as_raw disk.raw x/out
case $said in *'"shared_bytes":0,'*) ;; *) fail "shared across file systems: $said" ;; esac
END
lib=$lib in_own_mounts bash inside "$tmp"
