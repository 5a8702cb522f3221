#!/bin/bash
# What a machine starts the service with: the unit file and its score, what `make install` puts where,
# and the init script in directories of its own.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires python3 systemd-analyze systemd-sysusers systemd-tmpfiles shellcheck logrotate start-stop-daemon
init=$(dirname "$(built init/imaging-service.service)")
export -n MAKEFLAGS # of the make that runs the tests

# installing TARGET
installing() { make -s -C "$init" "$1" DESTDIR="$tmp/root" >said 2>&1 || fail "$(cat said)"; }

say "# installed where they are looked for; settings that were changed stay"
installing install
files=$(cd root && find . -type f | sort)
for name in /lib/systemd/system/imaging-service.service /lib/sysusers.d/imaging-service.conf \
    /lib/tmpfiles.d/imaging-service.conf /init.d/imaging-service /logrotate.d/imaging-service \
    /imaging-service/imaging-service.conf; do
    [ "$(grep -c -- "$name\$" <<<"$files")" = 1 ] || fail "$name is not among: $files"
done
! grep -rE '@[a-z]+@' root || fail "that has not been filled in"
installed() { find "$tmp/root" -path "*$1"; }
conf=$(installed /imaging-service/imaging-service.conf)
"$IMAGING_SERVICE" --check-config --config "$conf" | grep -qx 'standalone = "/var/lib/imaging-service"'
echo 'workers = 3' >>"$conf"
installing install
grep -qx 'workers = 3' "$conf" || fail "the settings were overwritten"
cp -r root again
installing uninstall
[ "$(find root -type f)" = "${conf#"$tmp/"}" ] || fail "left: $(find root -type f)"
rm "$conf"
installing install
installing uninstall
[ -z "$(find root -type f)" ] || fail "left: $(find root -type f)"
rm -r root
mv again root

say "# the unit: no higher than 1.5, and nothing in it that systemd does not know"
unit=$(installed /imaging-service.service)
program=$(sed -n 's/^ExecStart=\([^ ]*\) .*/\1/p' "$unit")
mkdir unit
sed "s,$program,$IMAGING_SERVICE," "$unit" >unit/imaging-service.service
said=$(systemd-analyze verify --man=no unit/imaging-service.service 2>&1) || fail "$said"
[ -z "$said" ] || fail "$said"
systemd-analyze security --offline=true --no-pager --threshold=15 unit/imaging-service.service >score ||
    fail "$(cat score)"
tail -n 1 score

if [ "$(id -u)" = 0 ]; then
    say "# its user and directories"
    mkdir root/etc
    systemd-sysusers --root="$tmp/root" "$(installed /sysusers.d/imaging-service.conf)" >said 2>&1 ||
        fail "$(cat said)"
    grep -qE '^imaging:x:[0-9]+:[0-9]+:imaging-service:/var/lib/imaging-service:.*/nologin$' \
        root/etc/passwd || fail "$(cat root/etc/passwd)"
    uid=$(awk -F : '/^imaging:/ { print $3 }' root/etc/passwd)
    systemd-tmpfiles --create --root="$tmp/root" "$(installed /tmpfiles.d/imaging-service.conf)"
    for name in lib cache; do
        [ "$(stat -c %a:%u "root/var/$name/imaging-service")" = "700:$uid" ] || fail "/var/$name"
    done
fi

say "# rules for the log"
cp "$(installed /logrotate.d/imaging-service)" rotate
chmod 644 rotate
logrotate --debug --state "$tmp/rotated" rotate >said 2>&1 || fail "$(cat said)"
! grep -i error said || fail "$(cat said)"

# --- the init script, with everything it uses in this directory

script=$tmp/etc/init.d/imaging-service
mkdir -p etc/init.d etc/default etc/imaging-service bin
sed -e "s,@bindir@,$tmp/bin,g" -e "s,@sysconfdir@,$tmp/etc,g" \
    "$top_srcdir/init/imaging-service.init.in" >"$script"
chmod +x "$script"
shellcheck "$script"
cp "$IMAGING_SERVICE" bin/
cat >bin/imaging-toolkit <<END
#!/bin/sh
case "\$1" in doctor) [ ! -e "$tmp/doctor" ] || { cat "$tmp/doctor"; exit \$(cat "$tmp/status"); } ;; esac
exec "$IMAGING_TOOLKIT" "\$@"
END
chmod +x bin/imaging-toolkit
cat >etc/default/imaging-service <<END
user=$(id -un)
state=$tmp/lib cache=$tmp/cache run=$tmp/run log=$tmp/log
END
config=etc/imaging-service/imaging-service.conf
printf 'standalone = "%s/lib"\nlisten = "127.0.0.1:0"\n' "$tmp" >$config
searched+=("$tmp/lib" "$tmp/log" "$tmp/run")
process() { cat run/pid; }
rescue() { # a script that fails leaves no service
    local status=$?
    [ ! -s "$tmp/run/pid" ] || kill -KILL "$(cat "$tmp/run/pid")" 2>/dev/null || :
    return $status
}
trap 'rescue || :; finish' EXIT

say "# nothing runs"
fails_with 3 'not running' "$script" status
fails_with 7 'not running' "$script" reload
fails_with 2 'usage' "$script"
"$script" stop

say "# no start with settings, or a toolkit, that do not work"
echo 'workers = 0' >>$config
fails_with 6 "workers" "$script" start
sed -i '$d' $config
mv bin/imaging-toolkit bin/away
fails_with 5 "imaging-toolkit" "$script" start
printf '#!/bin/sh\nexit 127\n' >bin/imaging-toolkit
chmod +x bin/imaging-toolkit
fails_with 1 "does not run" "$script" start
mv bin/away bin/imaging-toolkit
echo 'no room at all' >doctor
echo 1 >status
fails_with 1 "unfit: no room at all" "$script" start
fails_with 3 'not running' "$script" status

say "# a stage that misses something is no reason"
echo 7 >status
"$script" start >said 2>&1 || fail "$(cat said log)"
grep -q 'something is missing that some images need' said || fail "$(cat said)"
"$script" status
pid=$(process)
. lib/env.sh
euca describe-conversion-tasks >/dev/null
grep -q "^Max core file size *[01] " "/proc/$pid/limits" || fail "it may dump its core"
! grep -rqF "$AWS_SECRET_ACCESS_KEY" log run etc || fail "a key was kept"
[ -z "$(find lib cache log -perm /077)" ] || fail "others may get at $(find lib cache log -perm /077)"

say "# started twice is once; reloaded; restarted only with settings that work"
rm doctor
"$script" start
[ "$(process)" = "$pid" ] || fail "there is another"
"$script" reload
wait_for 10 grep -q 'signal 1' log
echo 'workers = 0' >>$config
fails_with 6 "workers" "$script" restart
"$script" status
sed -i '$d' $config
"$script" restart
[ "$(process)" != "$pid" ] || fail "it is the same process"
ended "$pid" || fail "the old one runs"

say "# stopped; and one that was killed is not running"
pid=$(process)
"$script" stop
ended "$pid" || fail "it still runs"
fails_with 3 'not running' "$script" status
"$script" start
kill -KILL "$(process)"
wait_for 10 ended "$(process)"
fails_with 1 'not running' "$script" status
"$script" stop

say "# one that cannot start says why"
chmod 600 lib/master.key
echo >>lib/master.key
fails_with 1 "did not get ready: imaging-service: error: the master key" "$script" start
fails_with 1 'not running' "$script" status
no_sanitizer log
