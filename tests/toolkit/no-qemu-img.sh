#!/bin/bash
# Without qemu-img only what needs it fails, with status 7 and its name.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img

"$lib/make-disk" edges disk.raw 4
for kind in vmdk-stream vhd-dyn qcow2 vhdx vdi; do
    "$lib/make-disk" "$kind" "disk.$kind" disk.raw
done

# The toolkit looks in fixed places only, so these are covered by something that is no program.
cat >inside <<'END'
cd "$1"
. "$lib/functions.sh"
for place in /usr/local/bin/qemu-img /usr/bin/qemu-img; do
    [ ! -e $place ] || mount --bind /dev/null $place
done
for format in qcow2 vdi; do
    fails_with 7 qemu-img "$IMAGING_TOOLKIT" convert -f $format -O raw "$1/disk.$format" out
done
"$IMAGING_TOOLKIT" convert -f vmdk -O raw "$1/disk.vmdk-stream" out
same_as_raw "$1/disk.raw" out
"$IMAGING_TOOLKIT" convert -f vhd -O raw --force "$1/disk.vhd-dyn" out
same_as_raw "$1/disk.raw" out
"$IMAGING_TOOLKIT" convert -f vhdx -O raw --force "$1/disk.vhdx" out
same_as_raw "$1/disk.raw" out
END
lib=$lib in_own_mounts bash inside "$tmp"
