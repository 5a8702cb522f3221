#!/bin/bash
# The euca tools and the service, nothing else: upload, import, look, cancel.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img sfdisk mke2fs

"$lib/make-disk" mbr-ext4 disk.raw
for kind in vmdk-stream vmdk-vmware vhd-dyn vhd-fixed; do
    "$lib/make-disk" "$kind" "disk.$kind" disk.raw
done
start_service "$tmp/service"

say "# each format of the API becomes the volume"
task=$(import_disk RAW disk.raw -d 'a raw disk' -s 1)
wait_task "$task" completed
same_as_raw disk.raw "$(volume_of "$task")"
[ "$(stat -c %s "$(volume_of "$task")")" = 1073741824 ] || fail "the volume is not of 1 GiB"
for kind in vmdk-stream vmdk-vmware; do
    task=$(import_disk vmdk "disk.$kind")
    wait_task "$task" completed
    same_as_raw disk.raw "$(volume_of "$task")"
done
# More than one task at once, and a name with slashes.
fixed=$(import_disk VHD "$tmp/disk.vhd-fixed" --image-size 64M)
dynamic=$(import_disk vhd disk.vhd-dyn --image-size 67108864 -s 2)
wait_task "$fixed" completed
wait_task "$dynamic" completed
same_as_raw disk.raw "$(volume_of "$fixed")"
same_as_raw disk.raw "$(volume_of "$dynamic")"
[ "$(stat -c %s "$(volume_of "$dynamic")")" = 2147483648 ] || fail "the volume is not of 2 GiB"

# Signed in the old way.
old=$(import_disk RAW disk.raw --signature 2)
wait_task "$old" completed
same_as_raw disk.raw "$(volume_of "$old")"

say "# the lines programs parse"
euca describe-conversion-tasks "$task" >lines
[ "$(wc -l <lines)" = 2 ] || fail "not two lines: $(cat lines)"
t=$'\t'
# A finished task has no status message.
grep -qE "^TaskType${t}IMPORTVOLUME${t}TaskId${t}$task${t}ExpirationTime${t}[^$t]+${t}Status${t}completed\$" \
    lines || fail "first line: $(cat lines)"
grep -qE "^DISKIMAGE${t}DiskImageFormat${t}VMDK${t}DiskImageSize${t}67108864${t}VolumeId${t}vol-[0-9a-f]+${t}VolumeSize${t}1${t}AvailabilityZone${t}$EC2_AVAILABILITY_ZONE${t}ApproximateBytesConverted${t}67108864\$" \
    lines || fail "second line: $(cat lines)"
[ "$(euca describe-conversion-tasks | grep -c ^TaskType)" = 6 ] || fail "not all tasks are listed"

say "# a damaged image: cancelled with the reason, nothing left"
head -c 1000000 disk.vmdk-stream >cut.vmdk
task=$(import_disk VMDK cut.vmdk)
wait_task "$task" cancelled
task_says "$task" 'ClientError: '
left_are 6

say "# an image that is not what it is said to be: told by the client, and by the service"
fails_saying 'disk.vmdk-vmware' import_disk RAW disk.vmdk-vmware
task=$(import_disk RAW disk.vmdk-vmware --dont-verify-format)
wait_task "$task" cancelled
task_says "$task" 'ClientError: '

say "# an image larger than the volume: refused at once where the request shows it, else by the task"
truncate -s 1100M large.raw
fails_saying 'at least 2 GiB' import_disk RAW large.raw -s 1 --no-upload
"$lib/make-disk" vhd-dyn-force large.vhd large.raw
task=$(import_disk VHD large.vhd -s 1 --image-size 1M)
wait_task "$task" cancelled
task_says "$task" 1153433600
left_are 6

say "# a task whose upload never came waits, and can be cancelled"
task=$(import_disk RAW disk.raw --no-upload)
task_is "$task" active
euca cancel-conversion-task "$task" >said
[ ! -s said ] || fail "it printed: $(cat said)"
wait_task "$task" cancelled
say "# cancelling twice is no error, cancelling what is complete is"
euca cancel-conversion-task "$task"
fails_saying DeleteConversionTaskError euca cancel-conversion-task "$fixed"
task_is "$fixed" completed
fails_saying InvalidConversionTaskId euca cancel-conversion-task import-vol-aaaaaaaa
fails_saying InvalidConversionTaskId euca describe-conversion-tasks import-vol-aaaaaaaa

say "# wrong secret, unknown key"
AWS_SECRET_ACCESS_KEY=wrong fails_saying SignatureDoesNotMatch euca describe-conversion-tasks
AWS_ACCESS_KEY_ID=AKIAUNKNOWN fails_saying AuthFailure euca describe-conversion-tasks
say "# a format the API has not"
fails_saying InvalidFormat euca import-volume -f QCOW2 --image-size 64M --dont-verify-format \
    -z "$EC2_AVAILABILITY_ZONE" -b images --no-upload disk.raw

say "# no secret and no signature in the log"
for secret in "$AWS_SECRET_ACCESS_KEY" Signature=; do
    ! grep -F -- "$secret" "$service_log" || fail "the log shows it"
done
left_are 6
stop_service
