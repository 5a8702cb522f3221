#!/bin/bash
# Converting holds a bounded window of the image, however large the image is.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img python3

# The sanitizer's own memory would be measured.
! grep -q __asan_init "$IMAGING_TOOLKIT" || skip "built with AddressSanitizer"

limit_kib=$((64 * 1024))

# peak FORMAT IN: convert, compare, and look at the largest resident set.
peak() {
    local kib
    "$lib/peak-memory" kib "$IMAGING_TOOLKIT" convert -f "$1" -O raw "$2" out
    kib=$(cat kib)
    say "$2: $kib KiB at most for $(stat -c %s "$2") bytes"
    same_as_raw disk.raw out
    rm out
    [ "$kib" -le $limit_kib ] || fail "$kib KiB are more than $limit_kib"
}

# 512 MiB of noise, every second 64 KiB of 1 GiB: the image in any format is larger than the limit
# many times over.
"$lib/make-disk" checker disk.raw 1024
peak raw disk.raw
for kind in vmdk-vmware vmdk-mono vhd-dyn vhd-fixed; do
    "$lib/make-disk" "$kind" "disk.$kind" disk.raw
    peak "${kind%%-*}" "disk.$kind"
    rm "disk.$kind"
done
