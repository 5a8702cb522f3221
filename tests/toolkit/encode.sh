#!/bin/bash
# The way back: every image the toolkit writes is the disk again, as our decoder, qemu-img and the
# libraries read it.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img

convert() { "$IMAGING_TOOLKIT" convert "$@"; }

# same RAW FORMAT IMAGE: equal by every reader, and of the disk's own size.
same() {
    local raw=$1 format=$2 image=$3 qemu=$2 size
    [ "$format" != vhd ] || qemu=vpc
    size=$((($(stat -c %s "$raw") + 511) / 512 * 512))
    qemu-img compare -q -f raw -F "$qemu" "$raw" "$image" || fail "$image: qemu-img reads another disk"
    [ "$(qemu-img info -f "$qemu" --output=json "$image" | field_of virtual-size)" = $size ] ||
        fail "$image: qemu-img finds another size than $size"
    convert -f "$format" -O raw --force "$image" back >/dev/null
    same_as_raw "$raw" back
    [ "$(stat -c %s back)" = $size ] || fail "$image: $(stat -c %s back) bytes came back"
    rm back
    "$IMAGING_TOOLKIT" verify --against "$image" -f "$format" "$raw.padded" >said ||
        fail "$image: $(cat said)"
}

field_of() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# all RAW: in every form there is.
all() {
    local raw=$1 level sub
    cp --sparse=always "$raw" "$raw.padded"
    truncate -s %512 "$raw.padded"
    for level in fast best; do
        convert -f raw -O vmdk --level $level "$raw" image.vmdk
        same "$raw" vmdk image.vmdk
        convert -f raw -O vmdk --level $level "$raw" - >piped.vmdk
        same "$raw" vmdk piped.vmdk
        rm piped.vmdk
        [ $level = best ] || rm image.vmdk
    done
    # the same disk and name give the same bytes, however many threads (with ISA-L's, which is fast,
    # about one grain in ten thousand comes out otherwise)
    mv image.vmdk first.vmdk
    convert -f raw -O vmdk --level best --jobs 3 "$raw" image.vmdk
    cmp first.vmdk image.vmdk
    rm image.vmdk first.vmdk
    for sub in dynamic fixed; do
        convert -f raw -O vhd --subformat $sub "$raw" image.vhd
        same "$raw" vhd image.vhd
        rm image.vhd
    done
    convert -f raw -O vhd --subformat fixed "$raw" - >image.vhd
    same "$raw" vhd image.vhd
    convert -f raw -O qcow2 "$raw" image.qcow2
    qemu-img check -q image.qcow2
    same "$raw" qcow2 image.qcow2
    # from an image to an image
    convert -f vhd -O vmdk image.vhd image.vmdk
    same "$raw" vmdk image.vmdk
    convert -f vmdk -O vhd --force image.vmdk image.vhd
    same "$raw" vhd image.vhd
    convert -f vmdk -O qcow2 --force image.vmdk image.qcow2
    same "$raw" qcow2 image.qcow2
    rm "$raw" "$raw.padded" image.*
}

for layout in mbr-ext4 edges checker random; do
    "$lib/make-disk" "$layout" disk.raw 16
    all disk.raw
done
"$lib/make-disk" blank disk.raw 3
all disk.raw
say "# sizes that are no multiple of anything"
for size in 512 65024 66048 2097664 33554944 1000; do
    head -c $size /dev/urandom >disk.raw
    all disk.raw
done

say "# data in the last sector of a disk that is a hole otherwise"
truncate -s 5G disk.raw
printf x | dd of=disk.raw bs=1 seek=$((5 * 1073741824 - 1)) conv=notrunc status=none
for form in vmdk vhd; do
    convert -f raw -O $form disk.raw image
    [ "$(stat -c %b image)" -le 4096 ] || fail "$form: $(stat -c %b image) blocks for one byte"
    qemu-img compare -q -f raw -F ${form/vhd/vpc} disk.raw image
    rm image
done

say "# --round-up"
head -c 1000000 /dev/urandom >disk.raw
convert -f raw -O vhd --subformat fixed --round-up 1M disk.raw image
[ "$(stat -c %s image)" = $((1048576 + 512)) ] || fail "$(stat -c %s image) bytes"
rm image
fails_with 2 'a multiple of 512' "$IMAGING_TOOLKIT" convert -f raw -O vmdk --round-up 1000 disk.raw image
fails_with 2 "--round-up '0'" "$IMAGING_TOOLKIT" convert -f raw -O vmdk --round-up 0 disk.raw image

say "# whole sectors, and what is printed is what is there"
head -c 1000 /dev/urandom >odd.raw
for form in vmdk vhd qcow2; do
    convert -f raw -O $form odd.raw image >out
    holds_text 'image: 1024 bytes' out
    "$IMAGING_TOOLKIT" info image >out
    holds_text 'virtual-size: 1024 bytes' out
    rm image
done
rm odd.raw out

say "# a blank disk of 1 TiB takes no time and no space"
truncate -s 1T disk.raw
for form in vmdk vhd; do
    timeout 60 "$IMAGING_TOOLKIT" convert -f raw -O $form disk.raw image
    [ "$(stat -c %b image)" -le 32768 ] || fail "$form: $(stat -c %b image) blocks for nothing"
    rm image
done

say "# what cannot be written is refused before anything is"
: >empty.raw
for form in vmdk vhd qcow2; do
    fails_with 2 '0 bytes cannot be written' "$IMAGING_TOOLKIT" convert -f raw -O $form empty.raw image
done
truncate -s 2041G large.raw
fails_with 5 '2040 GiB' "$IMAGING_TOOLKIT" convert -f raw -O vhd large.raw image
fails_with 5 '2040 GiB' "$IMAGING_TOOLKIT" convert -f raw -O vhd --subformat fixed large.raw image
fails_with 4 'known only at its end' sh -c "'$IMAGING_TOOLKIT' convert -f raw -O vmdk - image <disk.raw"
fails_with 4 'subformat fixed' sh -c "'$IMAGING_TOOLKIT' convert -f raw -O vhd disk.raw - | cat; exit \${PIPESTATUS:-4}" || :
fails_with 2 'no subformat' "$IMAGING_TOOLKIT" convert -f raw -O vhd --subformat split disk.raw image
fails_with 2 'cannot be written' "$IMAGING_TOOLKIT" convert -f raw -O vdi disk.raw image
fails_with 2 'no level' "$IMAGING_TOOLKIT" convert -f raw -O vmdk --level 9 disk.raw image
[ ! -e image ] || fail "something was left"
nothing_but . disk.raw empty.raw large.raw said home

say "# a manifest for an image, too"
"$lib/make-disk" mbr-ext4 disk.raw 16
convert -f raw -O vmdk --digest fs-verity,sha256 --force disk.raw image.vmdk
"$IMAGING_TOOLKIT" verify image.vmdk
[ "$(sha256sum <image.vmdk)" = "$(field_of digests <image.vmdk.manifest.json | grep -o "sha256': '[0-9a-f]*" |
    cut -d"'" -f3)  -" ] || fail "the manifest's sha256 is another"
