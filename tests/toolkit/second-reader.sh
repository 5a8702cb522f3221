#!/bin/bash
# Every kind of image of every layout of disk holds, to a program that others wrote, exactly what
# convert made of it: libvhdi, libvmdk and qemu-img give the second opinion.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img sfdisk mke2fs mkfs.vfat
for reader in imaging-read-vhd imaging-read-vmdk; do
    [ -x "$(dirname "$IMAGING_TOOLKIT")/$reader" ] || skip "$reader was not built"
done

wrong=0

# agree FORMAT READER [OPTION...]: what becomes of `image` is what READER finds in it.
agree() {
    local format=$1 reader=$2 size
    shift 2
    "$IMAGING_TOOLKIT" convert -f "$format" -O raw --no-sync --force "$@" image out >/dev/null || return 1
    size=$(stat -c %s out)
    "$IMAGING_TOOLKIT" verify --against image -f "$format" "$@" out >said || return 1
    grep -q "^identical: $size bytes, read by $reader [0-9]" said || { cat said; return 1; }
}

# all NAME KIND...
all() {
    local raw=$1.raw kind format
    shift
    for kind; do
        format=${kind%%-*}
        "$lib/make-disk" "$kind" image "$raw"
        case $format in
        vhd*) reader=libvhdi ;;
        vmdk) reader=libvmdk ;;
        *) reader=qemu-img ;;
        esac
        if ! agree "$format" $reader; then
            say "FAILED: $kind of $raw"
            wrong=$((wrong + 1))
        fi
    done
}

kinds="raw vmdk-stream vmdk-vmware vmdk-mono vmdk-alloc vhd-dyn vhd-fixed vhd-dyn-force
    vhd-fixed-force vhd-alloc vhdx vhdx-fixed vdi qcow2 qcow2-zlib"

# libvhdi reads a dynamic VHD sector by sector: the disks are small.
layouts='mbr-ext4:16 gpt-multi:24 edges:10 checker:6 blank:6 random:6'
! sanitized || layouts='edges:10 random:6'
for layout in $layouts; do
    "$lib/make-disk" "${layout%:*}" "${layout%:*}.raw" "${layout#*:}"
    # shellcheck disable=SC2086
    all "${layout%:*}" $kinds
done

# A size that is no multiple of a grain, a block or a page.
"$lib/make-disk" edges odd.raw 6
printf 'the end' | dd of=odd.raw bs=1 seek=$((6 * 1048576 + 1536 - 7)) conv=notrunc status=none
# shellcheck disable=SC2086
all odd $kinds

# libvmdk alone would look for a stream-optimized file under the name in its descriptor; renamed or
# without any name (fetched, in scratch) it is read all the same.
"$lib/make-disk" vmdk-stream first-name.vmdk edges.raw
mv first-name.vmdk image
agree vmdk libvmdk || wrong=$((wrong + 1))

# split SUBFORMAT: an image of several files, in a directory.
split() {
    rm -rf extents
    mkdir extents
    qemu-img convert -f raw -O vmdk -o "subformat=$1" border.raw extents/image
    mv extents/image image
    if ! agree vmdk libvmdk --extents extents; then
        say "FAILED: $1"
        wrong=$((wrong + 1))
    fi
}
# data on both sides of where the second extent begins
truncate -s 2200M border.raw
for at in 0 2046 2047 2048 2199; do
    dd if=random.raw of=border.raw bs=1M count=1 skip=$((at % 5)) seek=$at conv=notrunc status=none
done
for subformat in twoGbMaxExtentSparse twoGbMaxExtentFlat monolithicFlat; do
    split $subformat
done

# What libvmdk would get wrong or cannot read is refused, and nothing outside the directory is read.
flat() {
    printf '%s\n' '# Disk DescriptorFile' version=1 CID=7e57da7a parentCID=ffffffff \
        'createType="twoGbMaxExtentFlat"' '' '# Extent description' "$@" '' \
        '# The Disk Data Base' '#DDB' '' 'ddb.adapterType = "lsilogic"' >image
}
helper=$(dirname "$IMAGING_TOOLKIT")/imaging-read-vmdk
reads() { "$helper" <image 3<extents >out; }
rm -rf extents
mkdir extents
cp random.raw extents/flat
cp random.raw outside
ln -s flat extents/link
flat 'RW 2048 FLAT "flat" 0' 'RW 2048 FLAT "flat" 0'
reads 2>said
cmp <(head -c 1M random.raw; head -c 1M random.raw) out
flat 'RW 2048 FLAT "flat" 0' 'RW 2048 FLAT "flat" 2048'
fails_with 1 'extent 1 begins inside its file' reads
flat 'RW 2048 FLAT "flat" 0' 'RW 2048 ZERO'
fails_with 1 'extent 1 is of type 7' reads
for name in ../outside "$tmp/outside" link missing; do
    flat 'RW 2048 FLAT "flat" 0' "RW 2048 FLAT \"$name\" 0"
    fails_with 1 'cannot open extent 1: ' reads
done

[ $wrong -eq 0 ] || fail "the readers disagree about $wrong images"
