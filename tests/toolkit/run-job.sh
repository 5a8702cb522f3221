#!/bin/bash
# A job as the service gives it: JSON on standard input, stages applied, result as JSON.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img python3

"$lib/make-disk" edges disk.raw 8
"$lib/make-disk" vmdk-stream disk.vmdk disk.raw
mkdir out

job() { printf '%s' "$1" | "$IMAGING_TOOLKIT" run --progress-fd 5 5>progress; }

say "# the stage grows the disk, the job is done"
job '{"source": "disk.vmdk", "format": "VMDK", "store": "out/a", "max_size": 1073741824,
      "stages": [{"name": "grow", "size": 1073741824}]}' >result
python3 -c '
import json
assert json.load(open("result"))["size"] == 1 << 30
lines = [json.loads(line) for line in open("progress")]
assert lines[-1]["event"] == "result", lines
assert lines[-1]["size"] == 1 << 30, lines'
[ "$(stat -c %s out/a)" = 1073741824 ] || fail "the disk was not grown"
same_as_raw disk.raw out/a
rm out/a

say "# a job that cannot be done says why, on the descriptor too"
fails_with 5 8388608 job '{"source": "disk.vmdk", "format": "vmdk", "store": "out/a",
    "stages": [{"name": "grow", "size": 4096}]}'
tail -n 1 progress | grep -q '"event":"error"' || fail "no error line: $(cat progress)"
fails_with 5 8388608 job '{"source": "disk.raw", "format": "raw", "store": "out/a", "max_size": 4096}'
fails_with 4 'has 8388608 bytes, but 8388609 were announced' \
    job '{"source": "disk.raw", "bytes": 8388609, "format": "raw", "store": "out/a"}'
job '{"source": "disk.raw", "bytes": 8388608, "format": "raw", "store": "out/a"}' >said
rm out/a
fails_with 3 missing job '{"source": "missing", "format": "raw", "store": "out/a"}'

say "# a job that is not understood is refused whole"
for bad in '' '{' '[]' '{}' \
    '{"source": "disk.raw", "format": "raw"}' \
    '{"source": "disk.raw", "format": "floppy", "store": "out/a"}' \
    '{"source": "disk.raw", "format": "raw", "store": "out/a", "colour": "red"}' \
    '{"source": "disk.raw", "format": "raw", "store": "out/a", "store": "out/b"}' \
    '{"source": "disk.raw", "format": "raw", "store": "out/a", "stages": [{"name": "shrink"}]}' \
    '{"source": "disk.raw", "format": "raw", "store": "out/a", "max_size": -1}'; do
    fails_with 2 job job "$bad"
done
nothing_but out
