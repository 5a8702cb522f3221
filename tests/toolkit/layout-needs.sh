#!/bin/bash
# Without GRUB, libfdisk or mke2fs only what needs them fails, with status 7 and their names.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires mke2fs grub-mkimage

truncate -s 4M image
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 image
{ head -c 514 /dev/zero; echo HdrS; head -c 4096 /dev/zero; } >kernel

# The toolkit looks in fixed places only, so these are covered by something that is no program.
cat >inside <<'END2'
. "$lib/functions.sh"
cp "$1"/image "$1"/kernel .
layout() { # MEMBERS
    rm -f out
    "$IMAGING_TOOLKIT" run <<<'{"source":"image","format":"raw","store":"out","stages":[{
        "name":"disk-from-partition"'"$1"'}]}'
}
hide() { # WHAT
    for place; do [ ! -e "$place" ] || mount --bind /dev/null "$place"; done
}
layout ',"kernel":"kernel"'
mount -t tmpfs -o size=1m none /usr/lib/grub/i386-pc
fails_with 7 grub-pc-bin layout ',"kernel":"kernel"'
layout ',"kernel":"kernel","firmware":"uefi"'
hide /usr/bin/grub-mkimage
fails_with 7 grub-common layout ',"kernel":"kernel","firmware":"uefi"'
layout ',"boot":"no","ephemeral":"4M"'
hide /usr/sbin/mke2fs /sbin/mke2fs
fails_with 7 mke2fs layout ',"boot":"no","ephemeral":"4M"'
layout ',"boot":"no"'
hide /usr/lib/*/libfdisk.so.1 /lib/*/libfdisk.so.1
fails_with 7 libfdisk.so.1 layout ',"boot":"no"'
END2
lib=$lib in_own_mounts bash inside "$tmp"
