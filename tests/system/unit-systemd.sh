#!/bin/bash
# The unit under systemd itself: as process 1 of namespaces of its own, without a network, on a copy of
# this file system that goes away (an overlay).  There the service is installed, started with a master
# key from /etc/credstore, imports a disk, is restarted and stopped.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
[ "$(id -u)" = 0 ] || skip "it needs root"
[ -z "${SANITIZED:-}" ] || skip "sanitizers trace their process at its end, which the unit refuses"
requires unshare pivot_root ip make qemu-img systemd-sysusers
[ -x /lib/systemd/systemd ] || skip "systemd is not installed"
build=$(dirname "$(dirname "$(built init/imaging-service.service)")")
export -n MAKEFLAGS

# What process 1 runs beside the service, and then ends.
cat >story.sh <<'END'
set -eu
conf=$(sed -n 's/^ExecStart=.* --config //p' "$(systemctl show imaging-service -P FragmentPath)")
for i in $(seq 200); do [ ! -s /var/lib/imaging-service/env.sh ] || break; sleep 0.1; done
. /var/lib/imaging-service/env.sh
for i in $(seq 200); do ! euca-describe-conversion-tasks || break; sleep 0.1; done
process=$(systemctl show imaging-service -P MainPID)
grep -E '^(Uid|CapBnd|NoNewPrivs|Seccomp):' "/proc/$process/status"
head -c 12M /dev/urandom >/tmp/disk
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized /tmp/disk /tmp/disk.vmdk
euca-import-volume -f vmdk -z "$EC2_AVAILABILITY_ZONE" -b images --no-progress /tmp/disk.vmdk
for i in $(seq 300); do
    ! euca-describe-conversion-tasks | grep -E 'completed|cancelled' || break
    sleep 0.1
done
cmp -n 12582912 /tmp/disk /var/lib/imaging-service/volumes/vol-*.raw
[ ! -e /var/lib/imaging-service/master.key ]
grep -E 'GET .*part.*: 206' /log # of uploads only the names are asked for
if grep -E 'GET .*part.*: 200|warning|error' /log; then exit 1; fi
if grep -F "$AWS_SECRET_ACCESS_KEY" /log; then exit 1; fi
runuser -u imaging -- imaging-service task list --config "$conf"
[ -z "$(find /var/lib/imaging-service /var/cache/imaging-service -perm /077)" ]
systemctl reload imaging-service
systemctl restart imaging-service
systemctl stop imaging-service
[ "$(systemctl show imaging-service -P Result)" = success ]
echo 'all is well'
END

# The copy, and its process 1; its standard error is the console.
cat >boot.sh <<'END'
set -eu
tmp=$1 build=$2 root=$1/mnt/root
mkdir "$tmp/mnt"
mount -t tmpfs none "$tmp/mnt"
mkdir "$tmp/mnt/up" "$tmp/mnt/work" "$root"
mount -t overlay none -o "lowerdir=/,upperdir=$tmp/mnt/up,workdir=$tmp/mnt/work" "$root"
for part in imaging-toolkit imaging-service euca-tools init; do
    make -s -C "$build/$part" install DESTDIR="$root" >"$tmp/install.log" 2>&1 ||
        { tail "$tmp/install.log"; exit 1; }
done
systemd-sysusers --root="$root" >&2
rm -rf "$root/etc/systemd/system"
mkdir -p "$root/etc/systemd/system/imaging-service.service.d"
mkdir -pm 700 "$root/etc/credstore"
(umask 377; head -c 32 /dev/urandom >"$root/etc/credstore/imaging-service.master.key")
# there is no journal, and nothing else to be started
printf '%s\n' '[Unit]' DefaultDependencies=no Wants= After= '[Service]' StandardError=append:/log \
    >"$root/etc/systemd/system/imaging-service.service.d/alone.conf"
printf '%s\n' '[Unit]' DefaultDependencies=no Wants=imaging-service.service \
    After=imaging-service.service '[Service]' Type=oneshot 'ExecStart=/bin/bash -x /story.sh' \
    StandardOutput=append:/said StandardError=append:/said \
    'ExecStopPost=/bin/systemctl --force poweroff' >"$root/etc/systemd/system/story.service"
cp "$tmp/story.sh" "$root/story.sh"

mount -t tmpfs none "$root/dev" -o mode=755
for node in null zero full random urandom tty; do cp -a "/dev/$node" "$root/dev/"; done
mkdir "$root/dev/shm" "$root/dev/pts" "$root/old"
mount -t devpts none "$root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mkfifo "$root/dev/kmsg" # systemd's own log
mount -t sysfs none "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mount -t proc none "$root/proc"
ip link set lo up
exec 9<>"$root/dev/kmsg"
cat <&9 >"$tmp/kmsg" &
reader=$!
unshare --pid --fork --kill-child --mount bash -c 'set -eu
    cd "$1"
    mount -t proc none proc
    pivot_root . old
    umount -l /old
    mount --make-rshared /
    exec env -i container=story PATH="$PATH" /lib/systemd/systemd --unit=story.service \
        --log-target=kmsg --log-level=info --show-status=0 9<&-' - "$root" </dev/null || :
kill "$reader"
wait "$reader" || :
cp "$root/said" "$root/log" "$tmp/"
END

# A cgroup of its own, which becomes the root of all that process 1 sees.
cat >start.sh <<'END'
set -eu
tmp=$1
mkdir "$tmp/cgroup"
mount -t cgroup2 none "$tmp/cgroup"
home=$tmp/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup) own=$tmp/cgroup/${tmp##*/}
mkdir "$own"
echo $$ >"$own/cgroup.procs"
status=0
timeout -k 5 120 unshare --cgroup --ipc --net --uts --mount bash "$tmp/boot.sh" "$@" || status=$?
echo $$ >"$home/cgroup.procs"
for _ in {1..50}; do # a process that was killed may take a moment to leave
    find "$own" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done
[ ! -e "$own" ]
exit $status
END

unshare --mount --propagation private bash -c 'mkdir a u w m && mount -t cgroup2 none m &&
    mount -t tmpfs none u && mkdir u/u u/w && mount -t overlay none -o lowerdir=/,upperdir=u/u,workdir=u/w w' \
    2>/dev/null || skip "private mounts of cgroup2 and overlay are not allowed here"
unshare --mount --propagation private bash start.sh "$tmp" "$build" || fail "it did not start"
tail -n 1 said | grep -qx 'all is well' ||
    fail "$(cat kmsg; cat log said)"
grep -qP '^NoNewPrivs:\t1$' said
grep -qP '^Seccomp:\t2$' said
grep -qP '^CapBnd:\t0+$' said
! grep -qP '^Uid:\t0' said || fail "it runs as root"
say "a disk was imported by the unit under $(/lib/systemd/systemd --version | head -n 1)"
