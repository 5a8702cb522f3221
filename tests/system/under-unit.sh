#!/bin/bash
# The service and its toolkit work under the system calls, address families, limits and lack of
# capabilities that the unit leaves them, with the master key of a credential.  What they make is
# closed to others, whatever umask they were started with.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires python3 qemu-img mke2fs sfdisk systemd-analyze
[ -z "${SANITIZED:-}" ] || skip "sanitizers trace their process at its end, which the unit refuses"
unit=$(built init/imaging-service.service)

say "# what the unit leaves"
cat >calls.py <<'END'
"""Which calls (of x86-64) are refused; a call that is not is told that its arguments are wrong."""
import ctypes
import errno
import platform

CALLS = {"ptrace": (101, "EPERM"), "bpf": (321, "EPERM"), "setpriority": (141, "EPERM"),
         "openat2": (437, None), "seccomp": (317, None), "landlock_create_ruleset": (444, None),
         "landlock_add_rule": (445, None), "landlock_restrict_self": (446, None)}
libc = ctypes.CDLL(None, use_errno=True)
for name, (number, wanted) in CALLS.items() if platform.machine() == "x86_64" else ():
    assert libc.syscall(number, -1, 0, 0, 0, 0) == -1, name
    said = errno.errorcode[ctypes.get_errno()]
    assert said == wanted or (not wanted and said not in ("EPERM", "ENOSYS")), (name, said)
END
"$lib/under-unit" "$unit" python3 calls.py

say "# the toolkit finds what it needs, and qemu-img runs"
umask 022 # as a login shell has it; what is asserted below is our own doing
"$lib/make-disk" mbr-ext4 disk.raw 32
"$lib/make-disk" vmdk-stream disk.vmdk disk.raw
"$lib/make-disk" qcow2 disk.qcow2 disk.raw
under() { "$lib/under-unit" "$unit" "$@"; }
"$IMAGING_TOOLKIT" doctor >outside || :
under "$IMAGING_TOOLKIT" doctor >inside || :
cmp <(grep -v free outside) <(grep -v free inside) || fail "$(diff outside inside)"
TMPDIR=$tmp under "$IMAGING_TOOLKIT" convert -f qcow2 -O raw disk.qcow2 out
cmp disk.raw out

say "# imports, and nothing is for others"
mkdir -m 700 credentials
head -c 32 /dev/urandom >credentials/master.key
cp credentials/master.key first.key
searched+=("$tmp/first.key")
chmod 400 credentials/master.key
printf '#!/bin/sh\nexec "%s" "%s" "%s" "$@"\n' "$lib/under-unit" "$unit" "$IMAGING_SERVICE" >service.sh
chmod +x service.sh
export CREDENTIALS_DIRECTORY=$tmp/credentials
umask 000
IMAGING_SERVICE=$tmp/service.sh start_service "$tmp/service"
umask 022
task=$(import_disk vmdk disk.vmdk)
wait_task "$task" completed
same_as_raw disk.raw "$(volume_of "$task")"
! grep -qE "GET /objects/images/[^ ]*part[^:]*: 200," "$service_log" ||
    fail "uploads are not opened as files"
left_are 1
stop_service
open=$(find service -perm /077)
[ -z "$open" ] || fail "others may get at: $open"
[ ! -e service/master.key ] || fail "it made a master key although it was given one"
printf 'standalone = "%s/service"\n' "$tmp" >config
"$IMAGING_SERVICE" account list --config config >accounts
[ -s accounts ] || fail "no accounts"

say "# without the credential it does not start again, nor are there accounts"
unset CREDENTIALS_DIRECTORY
fails_saying "there is no master key" "$IMAGING_SERVICE" account list --config config
fails_saying "there is no master key" "$IMAGING_SERVICE" --standalone service --listen 127.0.0.1:0

say "# another credential is none; nor is one that others can read"
export CREDENTIALS_DIRECTORY=$tmp/credentials
chmod 600 credentials/master.key
head -c 32 /dev/urandom >credentials/master.key
fails_saying "is not the one" "$IMAGING_SERVICE" --standalone service --listen 127.0.0.1:0
chmod 444 credentials/master.key
fails_saying "has mode 0444" "$IMAGING_SERVICE" --standalone service --listen 127.0.0.1:0

say "# a setting wins over it"
fails_saying "no master key '$tmp/other'" "$IMAGING_SERVICE" --standalone service \
    --listen 127.0.0.1:0 --master-key "$tmp/other"

say "# scratch of the toolkit that stays is closed, too"
mkdir -m 755 place
umask 000
"$IMAGING_TOOLKIT" cache limit --place place 1G
"$IMAGING_TOOLKIT" cache add --place place disk.raw >/dev/null
[ "$(find place -mindepth 1 -type f | wc -l)" -ge 1 ] || fail "nothing was kept"
open=$(find place -mindepth 1 -perm /077)
[ -z "$open" ] || fail "others may get at: $open"
