#!/bin/bash
# Every kind of image of every layout of disk becomes exactly that disk.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img sfdisk mke2fs mkfs.vfat

kinds="raw vmdk-stream vmdk-vmware vmdk-mono vmdk-alloc vmdk-split vmdk-flat vmdk-splitflat
    vhd-dyn vhd-fixed vhd-dyn-force vhd-fixed-force vhd-alloc vhdx vhdx-fixed vdi qcow2 qcow2-zlib"
wrong=0

# one NAME KIND: convert an image of NAME.raw and compare.
one() {
    local raw=$1.raw kind=$2 format=${2%%-*} size extents=()
    case $kind in *split* | *flat) extents=(--extents .) ;; esac
    "$lib/make-disk" "$kind" image "$raw" &&
        "$IMAGING_TOOLKIT" convert -f "$format" -O raw ${extents[@]+"${extents[@]}"} image out ||
        return 1
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
        rm -f out image image-*
    done
    rm "$1.raw"
}

layouts='mbr-ext4 gpt-multi edges checker blank random'
! sanitized || layouts='gpt-multi edges'
for layout in $layouts; do
    "$lib/make-disk" "$layout" "$layout.raw"
    all "$layout"
done

# A size that is no multiple of a grain, a block or a page.
"$lib/make-disk" edges odd.raw 38
printf 'the end' | dd of=odd.raw bs=1 seek=$((38 * 1048576 + 1536 - 7)) conv=notrunc status=none
all odd

# A disk with data on both sides of where its first extent ends.
truncate -s 2052M long.raw
dd if=/dev/urandom of=long.raw bs=1M count=2 seek=2047 conv=notrunc status=none
kinds='vmdk-split vmdk-splitflat'
all long

[ $wrong -eq 0 ] || fail "$wrong images were not converted exactly"
