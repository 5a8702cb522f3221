#!/bin/bash
# A full disk ends a conversion with status 5 and leaves nothing.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

"$lib/make-disk" random disk.raw 8
cat >inside <<'END'
. "$lib/functions.sh"
mount -t tmpfs -o size=1m none /mnt
fails_with 5 '' "$IMAGING_TOOLKIT" convert -f raw -O raw "$1" /mnt/volume
nothing_but /mnt
END
lib=$lib in_own_mounts bash inside "$tmp/disk.raw"
