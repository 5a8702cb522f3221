#!/bin/bash
# The AWS CLI against both endpoints: tasks, and objects of standalone mode.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires aws

export AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true AWS_PAGER='' AWS_MAX_ATTEMPTS=1
start_service "$tmp/service"
ec2() { aws --endpoint-url "$EC2_URL" --output text ec2 "$@"; }
s3() { aws --endpoint-url "$S3_URL" --output text s3api "$@"; }

say "# tasks"
[ "$(ec2 describe-conversion-tasks --query 'length(ConversionTasks)')" = 0 ] || fail "there are tasks"
"$lib/make-disk" edges disk.raw 12
task=$(import_disk RAW disk.raw)
wait_task "$task" completed
ec2 wait conversion-task-completed --conversion-task-ids "$task"
volume=$(ec2 describe-conversion-tasks --conversion-task-ids "$task" \
    --query 'ConversionTasks[0].ImportVolume.Volume.Id')
same_as_raw disk.raw "$service_dir/volumes/$volume.raw"

task=$(import_disk RAW disk.raw --no-upload)
ec2 cancel-conversion-task --conversion-task-id "$task" --reason-message 'of no use'
wait_task "$task" cancelled
[ "$(ec2 describe-conversion-tasks --conversion-task-ids "$task" \
    --query 'ConversionTasks[0].[State,StatusMessage]')" = $'cancelled\tof no use' ] ||
    fail "the reason is lost"
fails_with 254 InvalidConversionTaskId ec2 cancel-conversion-task --conversion-task-id import-vol-zzzzzzzz
# The waiter gives up on a cancelled task at once.
fails_with 255 '' ec2 wait conversion-task-completed --conversion-task-ids "$task"
AWS_SECRET_ACCESS_KEY=wrong fails_with 254 SignatureDoesNotMatch ec2 describe-conversion-tasks

say "# objects"
s3 create-bucket --bucket shelf >/dev/null
s3 head-bucket --bucket shelf >/dev/null
fails_with 254 404 s3 head-bucket --bucket missing
etag=$(s3 put-object --bucket shelf --key 'a//b c+ü.raw' --body disk.raw --query ETag)
[ "$etag" = "\"$(md5sum <disk.raw | cut -d' ' -f1)\"" ] || fail "ETag $etag"
s3 get-object --bucket shelf --key 'a//b c+ü.raw' back >/dev/null
cmp disk.raw back
s3 get-object --bucket shelf --key 'a//b c+ü.raw' --range bytes=1000-1999 part >/dev/null
cmp part <(tail -c +1001 disk.raw | head -c 1000)
[ "$(s3 head-object --bucket shelf --key 'a//b c+ü.raw' --query ContentLength)" = 12582912 ] ||
    fail "wrong length"
s3 delete-object --bucket shelf --key 'a//b c+ü.raw'
fails_with 254 404 s3 head-object --bucket shelf --key 'a//b c+ü.raw'
fails_with 254 NoSuchKey s3 get-object --bucket shelf --key 'a//b c+ü.raw' back
fails_with 254 NoSuchBucket s3 put-object --bucket missing --key a --body disk.raw
AWS_SECRET_ACCESS_KEY=wrong fails_with 254 SignatureDoesNotMatch \
    s3 put-object --bucket shelf --key a --body disk.raw
left_are 1
stop_service
