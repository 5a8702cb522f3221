#!/bin/bash
# euca-import-instance: a machine of two disks, in two formats, ends with an instance's record and
# two right volumes; uploaded to the service's own store and to Ceph's gateway.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img sfdisk mke2fs ceph ceph-mon ceph-osd radosgw radosgw-admin monmaptool

"$lib/rgw" start "$tmp/rgw"
while read -r pid; do started+=("$pid"); done <rgw/pids
. rgw/env.sh
searched+=("$tmp/rgw/env.sh")
rgw_url=$S3_URL
start_service "$tmp/service"

"$lib/make-disk" mbr-ext4 system.raw 32
"$lib/make-disk" vmdk-stream system.vmdk system.raw
"$lib/make-disk" random data.img 25
printf 'hostname: web1\n' >user-data

# import OPTION... : the machine; its task's lines are in `lines`, its id in task.
import() {
    euca import-instance -f vmdk -f raw -s 1 -s 2 -t m1.small -a x86_64 -p Linux -b machines \
        --user-data-file - -z "$EC2_AVAILABILITY_ZONE" -g default -d 'web server' "$@" \
        system.vmdk data.img <user-data >lines
    task=$(field TaskId <lines)
}

# volume N: file of the task's disk N, counted from 1.
volume() {
    printf '%s/volumes/%s.raw\n' "$service_dir" \
        "$(euca describe-conversion-tasks "$task" | grep ^DISKIMAGE | sed -n "$1p" | field VolumeId)"
}

arrived() {
    wait_task "$task" completed
    same_as_raw system.raw "$(volume 1)"
    same_as_raw data.img "$(volume 2)"
    [ "$(stat -c %s "$(volume 1)")" = $((1 << 30)) ] || fail "the first volume is not of 1 GiB"
    [ "$(stat -c %s "$(volume 2)")" = $((2 << 30)) ] || fail "the second volume is not of 2 GiB"
    instance=$(euca describe-conversion-tasks "$task" | field InstanceID)
    python3 - "$service_dir/instances/$instance.json" "$task" <<'END' || fail "the record of $instance"
import base64, json, sys
record = json.load(open(sys.argv[1]))
assert record["task_id"] == sys.argv[2], record
launch = record["launch_specification"]
assert launch["InstanceType"] == "m1.small", record
assert base64.b64decode(launch["UserData"]) == b"hostname: web1\n", record
assert record["state"] == "stopped", record
END
}

say "# two disks by way of the service's own store"
import
t=$'\t'
grep -qE "^TaskType${t}IMPORTINSTANCE${t}TaskId${t}import-i-[0-9a-z]+${t}" lines || fail "$(cat lines)"
[ "$(grep -c ^DISKIMAGE lines)" = 2 ] || fail "not two disks: $(cat lines)"
arrived

say "# and by way of RGW"
import --s3-url "$rgw_url" -o "$S3_ACCESS_KEY" -w "$S3_SECRET_KEY"
arrived

say "# a value for each file, or one for all: anything else is told before anything is made"
fails_with 2 'argument -f/--format: given 2 times for 3 files' \
    euca import-instance -f raw -f raw -t t -a x86_64 -p Linux -b b data.img data.img data.img
fails_with 2 'argument --manifest-url: given 1 times for 2 files' \
    euca import-instance -f raw -t t -a x86_64 -p Linux --manifest-url "$S3_URL/b/k" data.img data.img
fails_with 2 "argument -p/--platform: invalid choice: 'linux' (choose from 'Windows', 'Linux')" \
    euca import-instance -f raw -t t -a x86_64 -p linux -b b data.img
head -c 16385 /dev/zero >too-much
fails_with 1 'too-much' \
    euca import-instance -f raw -t t -a x86_64 -p Linux -b b --user-data-file too-much data.img
fails_with 1 'user data of 16385 bytes are too large; the limit is 16384' \
    euca import-instance -f raw -t t -a x86_64 -p Linux -b b --user-data "$(tr '\0' x <too-much)" data.img
[ "$(euca describe-conversion-tasks | grep -c ^TaskType)" = 2 ] || fail "a task was made"
stop_service
