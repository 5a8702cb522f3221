#!/bin/bash
# A sparse disk of 60 GiB through the service: the volume is exact and as sparse, nothing was in
# scratch at any moment, and the toolkit stays inside its memory.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires qemu-img python3

limit_kib=$((128 * 1024))

# 60 GiB with 4 MiB of data every GiB, the last byte among them.
python3 - <<'END'
import os, random
GIB, MIB = 1 << 30, 1 << 20
random.seed(60)
with open("disk.raw", "wb") as disk:
    disk.truncate(60 * GIB)
    for i in range(60):
        disk.seek(i * GIB + random.randrange(1000) * MIB // 2)
        disk.write(random.randbytes(4 * MIB))
    disk.seek(60 * GIB - 512)
    disk.write(b"\x5a" * 512)
END
"$lib/make-disk" vmdk-stream disk.vmdk-stream disk.raw
"$lib/make-disk" vhd-dyn-force disk.vhd disk.raw

# The service runs the toolkit through this; what it used is in kib.*
cat >toolkit <<END
#!/bin/bash
exec "$lib/peak-memory" "$tmp/kib.\$\$" "$IMAGING_TOOLKIT" "\$@"
END
chmod +x toolkit
toolkit=$IMAGING_TOOLKIT
IMAGING_TOOLKIT=$tmp/toolkit start_service "$tmp/service"
IMAGING_TOOLKIT=$toolkit

# Whatever appears in scratch besides the claim's own empty directory is seen by this.
watch_scratch() {
    while :; do
        find "$service_dir/scratch" -type f -size +0 >>"$tmp/in-scratch" 2>/dev/null || :
        sleep 0.05
    done
}
watch_scratch &
started+=("$!")

# same_extents A B: equal where either has data, and of one size.
same_extents() {
    python3 - "$1" "$2" <<'END'
import os, sys

def data(fd, size):
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, at, os.SEEK_HOLE)
        yield at, end
        at = end

a, b = (os.open(name, os.O_RDONLY) for name in sys.argv[1:])
size = os.fstat(a).st_size
assert size == os.fstat(b).st_size, (size, os.fstat(b).st_size)
seen = 0
for fd in a, b:
    for start, end in data(fd, size):
        for at in range(start, end, 1 << 20):
            n = min(1 << 20, end - at)
            assert os.pread(a, n, at) == os.pread(b, n, at), at
            seen += n
assert seen > 400 << 20, seen
END
}

for image in vmdk:disk.vmdk-stream vhd:disk.vhd; do
    task=$(import_disk "${image%%:*}" "${image#*:}" --image-size 60G -s 60)
    wait_task "$task" completed
    volume=$(volume_of "$task")
    same_extents disk.raw "$volume"
    [ "$(du -m "$volume" | cut -f1)" -le 300 ] || fail "the volume is not sparse: $(du -m "$volume")"
    grep -q '"scratch_peak_bytes": 0,' "$volume.manifest.json" || fail "scratch was used"
    "$toolkit" verify "$volume"
done
[ ! -s in-scratch ] || fail "there was something in scratch: $(head -3 in-scratch)"
left_are 2
for kib in kib.*; do
    say "the toolkit used $(cat "$kib") KiB at most"
    [ -n "${SANITIZED:-}" ] || [ "$(cat "$kib")" -le $limit_kib ] || fail "that is more than $limit_kib"
done
stop_service
