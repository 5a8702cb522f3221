#!/bin/bash
# A blank disk of 1 TiB costs neither blocks nor time.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img

# blank FORMAT FILE [EXTRA-BYTES]
blank() {
    local begun=$EPOCHREALTIME ms
    "$IMAGING_TOOLKIT" convert -f "$1" -O raw "$2" volume
    ms=$(((${EPOCHREALTIME/./} - ${begun/./}) / 1000))
    say "$2: $ms ms, $(stat -c '%s bytes in %b blocks' volume)"
    [ "$(stat -c %s volume)" -ge $((1 << 40)) ] || fail "the volume is too short"
    [ "$(stat -c %b volume)" -le 64 ] || fail "the volume has blocks"
    # Meant to be below a second; a busy machine must not make this test fail, reading it all would.
    [ $ms -lt 20000 ] || fail "it took $ms ms"
    rm volume
}

qemu-img create -q -f vmdk mono.vmdk 1T
qemu-img create -q -f vmdk -o subformat=streamOptimized stream.vmdk 1T
qemu-img create -q -f vpc -o force_size=on dynamic.vhd 1T
truncate -s 1T disk.raw

blank vmdk mono.vmdk
blank vmdk stream.vmdk
blank vhd dynamic.vhd
blank raw disk.raw
