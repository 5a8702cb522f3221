#!/bin/bash
# verify: a volume is what its manifest says, or what its image holds; whatever is not so is told,
# with the exit status that fits.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img

verify() { "$IMAGING_TOOLKIT" verify "$@"; }
size=$((8 << 20))
hole=$((size - 60000)) # an offset where checker has none but zeros
data=200

"$lib/make-disk" checker disk.raw 8
"$IMAGING_TOOLKIT" convert -f raw -O raw --digest fs-verity,sha256 disk.raw good >out

# --- by the manifest

sha256=$(sha256sum <good | cut -d ' ' -f 1)
verify good >out
holds_text "sha256: $sha256, as in the manifest" out
[ "$(wc -l <out)" = 2 ]
if command -v fsverity >/dev/null; then
    holds_text "fs-verity: $(fsverity digest good | cut -d ' ' -f 1), as in the manifest" out
fi
verify --output json good >out
/usr/bin/python3 - "$sha256" "$size" <<'END_PYTHON'
import json
import sys
report = json.load(open("out"))
assert report["digests"]["sha256"] == sys.argv[1], report
assert report["digests"]["fs-verity"].startswith("sha256:"), report
assert report["size"] == int(sys.argv[2]) and report["volume"] == "good", report
END_PYTHON

# changed COMMAND...: the volume `bad`, which COMMAND has made of a good one, is found out by each
# digest alone and by its image.
changed() {
    local text=$1
    shift
    cp good bad
    "$@"
    for digest in fs-verity sha256; do
        /usr/bin/python3 - $digest <<'END_PYTHON'
import json
import sys
manifest = json.load(open("good.manifest.json"))
manifest["digests"] = {name: manifest["digests"][name] for name in sys.argv[1:]}
json.dump(manifest, open("bad.manifest.json", "w"))
END_PYTHON
        fails_with 8 "$text" verify bad
        [ "$text" != "digest of 'bad'" ] || holds_text "the $digest digest" said
    done
    rm bad.manifest.json
}
flip() { printf '\x55' | dd of=bad bs=1 seek="$1" conv=notrunc status=none; }
byte_of() { od -An -tx1 -j "$1" -N 1 good | tr -d ' '; }

changed "digest of 'bad'" flip $data
fails_with 8 "in 1 of $size bytes, first at byte $data: 0x55 instead of 0x$(byte_of $data)" \
    verify --against disk.raw -f raw bad
changed "digest of 'bad'" flip $hole
fails_with 8 "first at byte $hole: 0x55 instead of 0x00" verify --against disk.raw -f raw bad
changed "8388607 bytes, but its manifest says 8388608" truncate -s $((size - 1)) bad
fails_with 8 "'bad' has 8388607 bytes, but the disk in 'disk.raw' 8388608" \
    verify --against disk.raw -f raw bad
changed "12582912 bytes, but its manifest says 8388608" truncate -s $((12 << 20)) bad
verify --against disk.raw -f raw bad >out # zeros may follow …
holds_text "identical: $size bytes, read by qemu-img " out
flip $((11 << 20)) # … and nothing else may
fails_with 8 "1 bytes are not zero, first 0x55 at byte $((11 << 20))" \
    verify --against disk.raw -f raw bad
flip 7
flip $((5 << 20))
fails_with 8 'in 3 of 12582912 bytes, first at byte 7: 0x55' verify --against disk.raw -f raw bad

# --- both at once: a manifest that is there counts, one that is not is not missed

verify --against disk.raw -f raw --output json --progress-fd 3 good >out 3>progress
holds_text '"identical_bytes": 8388608' out
holds_text '"sha256"' out
holds_text '"event":"result"' progress
holds_text '"stage":"compare"' progress
cp good bad
sed "s/$sha256/$(tr 0-9a-f f0-9a-e <<<"$sha256")/" good.manifest.json >bad.manifest.json
fails_with 8 "sha256 digest of 'bad' is $sha256" verify --against disk.raw -f raw bad
fails_with 8 "sha256 digest of 'good' is $sha256" verify --manifest bad.manifest.json good
verify --manifest good.manifest.json bad >out
rm bad.manifest.json
verify --against disk.raw -f raw bad >out
fails_with 3 'no manifest' verify --against disk.raw -f raw --manifest no-such good

# --- manifests that are none

fails_with 3 'convert with --digest fs-verity' verify bad
fails_with 3 "cannot open 'no-such'" verify no-such
fails_with 3 'neither a file nor a block device' verify "$tmp"
mkfifo fifo
fails_with 3 'neither a file nor a block device' timeout 10 "$IMAGING_TOOLKIT" verify fifo

# refused TEXT MANIFEST: with status 4.
refused() {
    printf '%s' "$2" >bad.manifest.json
    fails_with 4 "$1" verify bad
}
head='"version": 1, "size": 8388608'
zeros=$(printf '%064d' 0)
refused 'is not JSON' ''
refused 'is not JSON' '{'
refused 'is not JSON, see line 1, column' "{$head, \"digests\": {\"sha256\": \"\\ud800\"}}"
refused 'is not JSON' "{$head, \"digests\": {\"sha256\": \"$zeros\", \"sha256\": \"$zeros\"}}"
refused 'is not JSON' "$(printf '[%.0s' {1..100000})"
refused 'no "version"' '[]'
refused 'no "version"' '{}'
refused 'no "version"' '{"version": "1", "size": 8388608}'
refused 'of version 2, not 1' '{"version": 2, "size": 8388608}'
refused 'no "size"' '{"version": 1}'
refused 'no "size"' '{"version": 1, "size": -1}'
refused 'is not JSON' '{"version": 1, "size": 99999999999999999999}'
refused 'no "size"' '{"version": 1, "size": 8388608.0}'
refused 'holds no digest' "{$head}"
refused 'holds no digest' "{$head, \"digests\": {}}"
refused 'holds no digest' "{$head, \"digests\": \"sha256\"}"
refused "the digest 'md5'" "{$head, \"digests\": {\"sha256\": \"$sha256\", \"md5\": \"00\"}}"
refused "the digest 'a?b'" "{$head, \"digests\": {\"a\\u001bb\": \"00\"}}"
refused "'' as sha256" "{$head, \"digests\": {\"sha256\": null}}"
refused "' as sha256" "{$head, \"digests\": {\"sha256\": \"${sha256}0\"}}"
refused "' as sha256" "{$head, \"digests\": {\"sha256\": \"${sha256^^}\"}}"
refused "' as fs-verity, not sha256: and 64" "{$head, \"digests\": {\"fs-verity\": \"$zeros\"}}"
/usr/bin/python3 -c 'print("[" + " " * (1 << 20) + "]")' >bad.manifest.json
fails_with 4 'longer than 1048576 bytes' verify bad
# their neighbour
printf '%s' "{$head, \"digests\": {\"sha256\": \"$sha256\"}}" >bad.manifest.json
verify bad >out
rm bad.manifest.json

# --- usage

fails_with 2 'one volume is needed, 0 given' verify
fails_with 2 'one volume is needed, 2 given' verify good bad
fails_with 2 '-f FORMAT is missing' verify --against disk.raw good
fails_with 2 'give --against IMAGE' verify -f raw good
fails_with 2 'give --against IMAGE' verify --extents . good
fails_with 2 'can be read only once' verify --against - -f raw good
fails_with 3 "no-such" verify --against no-such -f raw good

# --- the image is proven by our decoder first: libvhdi looks at no checksum

"$lib/make-disk" vhd-dyn-force disk.vhd disk.raw
if [ -x "$(dirname "$IMAGING_TOOLKIT")/imaging-read-vhd" ]; then
    verify --against disk.vhd -f vhd good >out
    holds_text "identical: $size bytes, read by libvhdi 2" out
fi
cp disk.vhd damaged.vhd
printf '\x77' | dd of=damaged.vhd bs=1 seek=90 conv=notrunc status=none
printf '\x77' | dd of=damaged.vhd bs=1 seek=$(($(stat -c %s disk.vhd) - 512 + 90)) conv=notrunc \
    status=none

# --- second readers that are not there, or not what they should be: played by programs beside a copy
# of the toolkit.  They are confined as the true ones are: no shell, no file, so each holds the disk.

mkdir copy
cp "$IMAGING_TOOLKIT" copy/imaging-toolkit
IMAGING_TOOLKIT=$tmp/copy/imaging-toolkit
if ! [ -e /usr/local/libexec/euca-imaging/imaging-read-vhd ]; then
    fails_with 7 "install Debian's libvhdi-dev" verify --against disk.vhd -f vhd good
fi

cat >player.h <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
asm(".section .rodata\ndisk: .incbin \"disk.raw\"\ndisk_end:\n.text\n");
extern const char disk[], disk_end[];
static void give(size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(1, disk + done, len - done);
        if (n <= 0)
            _exit(99);
        done += (size_t)n;
    }
}
static void give_disk(void) { give((size_t)(disk_end - disk)); }
static void say(const char *text) { write(2, text, strlen(text)); }
static void babble(void)
{
    static const char zeros[300000];
    write(2, zeros, sizeof(zeros));
}
END
# plays C: what the reader of VHD does.
plays() {
    printf '#include "player.h"\nint main(void) { %s; return 0; }\n' "$1" >player.c
    cc -w -o copy/imaging-read-vhd player.c
}
against() { verify --against disk.vhd -f vhd good; }

requires cc
plays 'give_disk(); say("player 1\n")'
against >out
holds_text "identical: $size bytes, read by player 1" out
fails_with 4 'checksum' verify --against damaged.vhd -f vhd good
plays 'say("error while loading shared libraries: libvhdi.so.1"); return 127'
fails_with 7 "install Debian's libvhdi-dev" against
plays 'give(4096)'
fails_with 8 'finds a disk of 4096 bytes, imaging-toolkit one of 8388608' against
plays 'give_disk(); give(1)'
fails_with 8 'finds a disk of at least 8388609 bytes, imaging-toolkit one of 8388608' against
plays 'give_disk(); say("no such block\n"); return 1'
fails_with 4 'libvhdi cannot read this image (exit status 1): no such block' against
plays 'give_disk(); raise(SIGSEGV)'
fails_with 4 'libvhdi was stopped by signal 11 (SEGV)' against
# more text than a pipe holds, before and between the data
plays 'babble(); give_disk(); babble()'
timeout 20 "$IMAGING_TOOLKIT" verify --against disk.vhd -f vhd good >out
holds_text 'identical' out
# it has the image, the pipe and nothing else: no environment, no descriptor, no file to read or write
plays 'give_disk(); for (int fd = 0; fd < 64; fd++) if (fcntl(fd, F_GETFD) >= 0) dprintf(2, "%d,", fd);
       dprintf(2, "[%s%s]", getenv("HOME") ? "HOME" : "", getenv("USER") ? "USER" : "")'
against >out 3</dev/null 9</dev/null
holds_text 'read by 0,1,2,[]' out
plays "give_disk(); if (open(\"$tmp/disk.raw\", O_RDONLY) < 0) say(\"no file, \");
       if (open(\"$tmp/written\", O_WRONLY | O_CREAT, 0600) < 0) say(strerrorname_np(errno))"
against >out
holds_text 'read by no file, EACCES' out
[ ! -e written ]

# --- stopped

plays 'sleep(600)'
"$IMAGING_TOOLKIT" verify --against disk.vhd -f vhd good >out 2>&1 &
toolkit=$!
started+=("$toolkit")
wait_for 20 pgrep -f "$tmp/copy/imaging-read-vhd" >reader
kill -TERM $toolkit
wait_for 10 ended $toolkit
status=0
wait $toolkit || status=$?
[ $status = 130 ] || fail "stopped, it ended with $status"
wait_for 10 ended "$(tail -n 1 reader)"

# --- no file that is none, and no word of another file

mkfifo pipe
fails_with 4 'no regular file' timeout 10 "$IMAGING_TOOLKIT" verify --manifest pipe good
printf 'canary-4711' >secret
fails_with 4 'is not JSON, see line 1' "$IMAGING_TOOLKIT" verify --manifest secret good
! grep canary said || fail "it tells what stands in another file"

# --- whose manifest is it?

# Of two that write one volume the second to end touches nothing of the first.
mkfifo slow
"$IMAGING_TOOLKIT" convert -f raw -O raw --digest fs-verity - twice <slow >loser 2>&1 &
exec 3>slow
"$IMAGING_TOOLKIT" convert -f raw -O raw --digest fs-verity good twice >out
cp twice.manifest.json kept
head -c 4096 /dev/urandom >&3
exec 3>&-
! wait $! || fail "two wrote one volume"
holds_text 'exists; --force replaces it' loser
cmp kept twice.manifest.json
verify twice >out

# A manifest that stands there alone is replaced only on demand.
rm twice
fails_with 1 "'twice.manifest.json' exists; --force replaces it" \
    "$IMAGING_TOOLKIT" convert -f raw -O raw --digest fs-verity good twice
cmp kept twice.manifest.json
[ ! -e twice ]
"$IMAGING_TOOLKIT" convert --force -f raw -O raw --digest fs-verity good twice >out
verify twice >out
