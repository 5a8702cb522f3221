#!/bin/bash
# Stages in one command, and the same stages as commands with pipes between them, give the same.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

run() { "$IMAGING_TOOLKIT" run "$@"; }

head -c 3000000 /dev/urandom >disk.raw
truncate -s 8M disk.raw

say "# one command: a chain of stages"
run fetch from=disk.raw decode format=raw encode to=vmdk store to=disk.vmdk
run fetch from=disk.vmdk decode format=vmdk grow size=9M store to=whole.raw
cp --sparse=always disk.raw expected
truncate -s 9M expected
cmp expected whole.raw

say "# the same with a pipe between every two stages"
run fetch from=disk.vmdk | run decode format=vmdk store to=piped.raw
cmp disk.raw piped.raw
run fetch from=disk.raw | run decode format=raw | run store to=copy.raw
cmp disk.raw copy.raw
run fetch from=disk.raw decode format=raw encode to=vhd subformat=fixed store to=disk.vhd
run fetch from=disk.vhd | run decode format=vhd | run store to=vhd.raw
cmp -n 8388608 disk.raw vhd.raw

say "# bytes that are an image stay what they are while they only flow"
run fetch from=disk.vmdk | run store to=again.vmdk
cmp disk.vmdk again.vmdk

say "# what others make flows in, and out to others"
gzip -c disk.vmdk | gzip -d | run decode format=vmdk store to=gzip.raw
cmp disk.raw gzip.raw
run fetch from=disk.raw decode format=raw | cmp - disk.raw

say "# the result is told where it does not mix with the data"
run fetch from=disk.raw --output json 2>told >data
cmp data disk.raw
python3 -c 'import json; assert json.load(open("told"))["size"] == 8 << 20'

say "# a validator gives nothing: it looks, and its status tells"
fails_with 4 'No valid partitions' run fetch from=disk.raw decode format=raw boot-layout
run fetch from=disk.raw decode format=raw boot-layout optional >said
holds_text 'warning boot-layout' said || fail "$(cat said)"

say "# what does not fit is refused before anything is read"
fails_with 2 "put a 'decode' between" run fetch from=missing grow size=9M
fails_with 2 "what is encoded is stored" run encode to=vhd grow size=9M
fails_with 2 "there is no stage 'shrink'" run fetch from=missing shrink
fails_with 2 "'grow' needs size=" run fetch from=missing decode format=raw grow
fails_with 2 "the stage 'grow' is there already" run grow size=1G grow size=2G
fails_with 4 "comes through a pipe" run grow size=9M

say "# a stage that fails ends the pipe with its status"
status=0
run decode format=vmdk <disk.raw 2>said | run store to=broken.raw 2>>said || status=$?
[ "$status" = 4 ] || fail "status $status: $(cat said)"
holds_text 'nothing came through the pipe' said || fail "$(cat said)"
[ ! -e broken.raw ] || fail "nothing became a result"
fails_with 4 'nothing came through the pipe' run decode format=raw store to=broken.raw </dev/null
fails_with 4 'nothing came through the pipe' run import-volume image=- format=raw volume=broken.raw \
    </dev/null
[ ! -e broken.raw ] || fail "nothing became a result"
printf x | run store to=one.raw
[ "$(cat one.raw)" = x ] || fail "one byte is a result"
