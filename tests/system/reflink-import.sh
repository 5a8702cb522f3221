#!/bin/bash
# Object store and volumes on a file system that can share: the volume of a raw upload is the upload,
# by reference.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires mkfs.xfs filefrag sfdisk mke2fs

# A small XFS in a file, mounted where only this test sees it.
truncate -s 600M xfs.img
mkfs.xfs -q -m reflink=1 xfs.img || skip "mkfs.xfs makes no file system with reflink here"
"$lib/make-disk" mbr-ext4 disk.raw 100
# every block of it is data
python3 - <<'END'
import random
with open("disk.raw", "r+b") as disk:
    disk.seek(60 << 20)
    disk.write(random.Random(7).randbytes(38 << 20))
END

cat >inside <<'END'
. "$top_srcdir/tests/lib/functions.sh"
cd "$1"
story=$2
mkdir x
mount -o loop xfs.img x 2>/dev/null || skip "a loop file cannot be mounted here"
top=$1
left() {
    local status=$?
    set +e
    kill -KILL ${service_pid:+"$service_pid"} 2>/dev/null
    wait
    keep_searched || status=1
    cd /
    umount "$top/x"
    (exit $status)
    finish
}
trap left EXIT

size_kib=$(($(stat -c %s disk.raw) / 1024))
free_kib() { sync -f x; df --output=avail -k x | tail -n 1; }

start_service "$top/x/service"
before=$(free_kib)
task=$(import_disk RAW disk.raw)
wait_task "$task" completed
volume=$(volume_of "$task")
used=$((before - $(free_kib)))
say "# $size_kib KiB were uploaded and imported, and $used KiB used for both"
[ $used -lt $((size_kib + size_kib / 10)) ] || fail "the data are there twice"

same_as_raw disk.raw "$volume"
filefrag -v "$volume" >frag
grep -q shared frag || fail "the volume shares nothing: $(cat frag)"
! grep -E '^ *[0-9]+:' frag | grep -v shared || fail "not all of the volume is shared"
"$IMAGING_TOOLKIT" verify "$volume"
left_are 1

say "# the upload may go: the volume stays what it is"
stop_service
rm -r x/service/objects
same_as_raw disk.raw "$volume"
"$IMAGING_TOOLKIT" verify "$volume"
END
lib=$lib in_own_mounts bash inside "$tmp" "$story"
