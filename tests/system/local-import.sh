#!/bin/bash
# The toolkit beside its object store reads uploads from the store's files, and only those that a
# valid signature opens.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires python3 sfdisk mke2fs qemu-img

"$lib/make-disk" mbr-ext4 disk.raw 32
"$lib/make-disk" vmdk-stream disk.vmdk disk.raw
start_service "$tmp/service"

# fetched WAY: GETs of parts of images/WAY/… that were answered with the whole part.
fetched() { grep -cE "GET /objects/images/$1/[^ ]*part[^:]*: 200," "$service_log" || :; }

say "# what is uploaded here is not fetched again, whatever the format"
for image in RAW:disk.raw vmdk:disk.vmdk; do
    task=$(import_disk "${image%%:*}" "${image#*:}" --prefix "${image%%:*}")
    wait_task "$task" completed
    same_as_raw disk.raw "$(volume_of "$task")"
    grep -qE "GET /objects/images/${image%%:*}/[^ ]*part[^:]*: 206," "$service_log" ||
        fail "the store was not asked for files"
    [ "$(fetched "${image%%:*}")" = 0 ] || fail "parts were fetched all the same"
done

# manifest NAME PATTERN REPLACEMENT: the manifest of the RAW upload with its URLs changed so.
manifest() {
    python3 - "$service_dir/objects/images" "$@" <<'END'
import glob, re, sys
objects, name, pattern, replacement = sys.argv[1:]
for path in glob.glob(objects + "/*"):
    data = open(path, "rb").read()
    if data.lstrip().startswith((b"<manifest", b"<?xml")) and b">RAW<" in data:
        text = data[:data.index(b"</manifest>") + len(b"</manifest>")].decode()
changed = re.sub(pattern, replacement, text)
assert name == "good" or changed != text
open(name, "w").write(changed)
END
}

# convert MANIFEST [PREFIX]: as the service does it.
convert() {
    printf '{"source":"manifest:%s","format":"raw","store":"out","force":true,"jobs":1,
             "objects":{"prefix":"%s","dir":"%s"}}' \
        "$tmp/$1" "${2:-$S3_URL}" "$service_dir/objects" | "$IMAGING_TOOLKIT" run
}

say "# a manifest as it should be"
manifest good '' ''
: >"$service_log"
convert good
cmp disk.raw out
[ "$(fetched RAW)" = 0 ] || fail "parts were fetched"
rm out
say "# the same, when the store is somebody else's"
convert good http://127.0.0.1:1/objects/
cmp disk.raw out
[ "$(fetched RAW)" -ge 4 ] || fail "parts were not fetched"
rm out

say "# manifests that name objects they have no right to"
manifest unsigned '(<(get|head)-url>[^?]*)\?[^<]*' '\1'
manifest unsigned-get '(<get-url>[^?]*)\?[^<]*' '\1'
# the signature of another part
manifest borrowed '(part[-.0-9]*)1(\?)' '\g<1>2\2'
manifest borrowed-get '(<get-url>[^<]*part[-.0-9]*)1(\?)' '\g<1>2\2'
# HEAD of what may be read, GET of what may not
manifest forged '(<get-url>[^<]*ignature=)[^&<]{4}' '\1AAAA'
for crafted in unsigned unsigned-get borrowed borrowed-get forged; do
    fails_with 3 '403 Forbidden' convert "$crafted"
    [ ! -e out ] || fail "$crafted: something was written"
done
stop_service
