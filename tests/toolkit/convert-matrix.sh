#!/bin/bash
# Every kind of image of every layout of disk becomes exactly that disk.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img sfdisk mke2fs mkfs.vfat

kinds="raw vmdk-stream vmdk-vmware vmdk-mono vmdk-alloc vhd-dyn vhd-fixed vhd-dyn-force
    vhd-fixed-force vhd-alloc vhdx vhdx-fixed vdi qcow2 qcow2-zlib"
wrong=0

# one NAME KIND: convert an image of NAME.raw and compare.
one() {
    local raw=$1.raw kind=$2 format=${2%%-*} size
    "$lib/make-disk" "$kind" image "$raw" &&
        "$IMAGING_TOOLKIT" convert -f "$format" -O raw image out || return 1
    # VHD rounds the size up to whole cylinders; no other kind changes it.
    size=$(stat -c %s out)
    [ "$format" = vhd ] || [ "$size" = "$(stat -c %s "$raw")" ] || { say "size $size"; return 1; }
    # Zeros became holes again: blocks of the volume are no more than the disk's own (and some slack
    # for the file system's).
    [ "$(stat -c %b out)" -le $(($(stat -c %b "$raw") + 512)) ] || { say "not sparse"; return 1; }
    same_as_raw "$raw" out
}

all() {
    local kind
    for kind in $kinds; do
        if ! one "$1" "$kind"; then
            say "FAILED: $kind of $1"
            wrong=$((wrong + 1))
        fi
        rm -f out image
    done
    rm "$1.raw"
}

for layout in mbr-ext4 gpt-multi edges checker blank random; do
    "$lib/make-disk" "$layout" "$layout.raw"
    all "$layout"
done

# A size that is no multiple of a grain, a block or a page.
"$lib/make-disk" edges odd.raw 38
printf 'the end' | dd of=odd.raw bs=1 seek=$((38 * 1048576 + 1536 - 7)) conv=notrunc status=none
all odd

[ $wrong -eq 0 ] || fail "$wrong images were not converted exactly"
