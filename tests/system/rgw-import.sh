#!/bin/bash
# Manifest and parts lie in Ceph's RADOS gateway, put there by euca-import-volume; the service only
# follows the presigned URLs.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img ceph ceph-mon ceph-osd radosgw radosgw-admin monmaptool

"$lib/rgw" start "$tmp/rgw"
while read -r pid; do started+=("$pid"); done <rgw/pids
. rgw/env.sh
searched+=("$tmp/rgw/env.sh")
s3_url=$S3_URL
start_service "$tmp/service"
S3_URL=$s3_url # env.sh has set it to the service's own object store

# Three parts, the last one short; signed in the new way and in the old.
"$lib/make-disk" random disk.raw 25
"$lib/make-disk" vmdk-stream disk.vmdk disk.raw
for format in RAW VMDK; do
    file=disk.$(tr '[:upper:]' '[:lower:]' <<<$format)
    task=$(import_disk $format "$tmp/$file" -o "$S3_ACCESS_KEY" -w "$S3_SECRET_KEY")
    wait_task "$task" completed
    same_as_raw disk.raw "$(volume_of "$task")"
done
task=$(import_disk RAW disk.raw -o "$S3_ACCESS_KEY" -w "$S3_SECRET_KEY" --signature 2 -x 30)
wait_task "$task" completed
same_as_raw disk.raw "$(volume_of "$task")"
left_are 3
[ -z "$(find "$service_dir/objects" -type f)" ] || fail "the service's own store was used"

say "# a manifest in RGW that cannot be read there: refused by it, told to the user"
task=$(euca import-volume -f RAW -z "$EC2_AVAILABILITY_ZONE" --no-upload \
    --manifest-url "$s3_url/images/nobody-may-read-this" -o "$S3_ACCESS_KEY" -w wrong disk.raw |
    field TaskId)
wait_task "$task" cancelled
task_says "$task" 403
left_are 3
stop_service
