#!/bin/bash
# The toolkit is built, installed and used alone: from the sources, where none of the libraries of the
# service is there, without the service or the clients being built.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires make pkg-config
[ -z "${SANITIZED:-}" ] || skip "it builds for itself, without sanitizers"
[ -x "$top_srcdir/configure" ] || skip "there is no configure (autoreconf -i makes it)"
[ ! -e "$top_srcdir/config.status" ] || skip "the source tree is a build directory"

# a pkg-config that knows nothing of them
cat >pkg-config <<END2
#!/bin/sh
case " \$* " in *sqlite3*|*libpq*|*microhttpd*|*confuse*|*gnutls*) exit 1 ;; esac
exec $(command -v pkg-config) "\$@"
END2
chmod +x pkg-config
mkdir whole build
configure() { PKG_CONFIG=$tmp/pkg-config "$top_srcdir/configure" -q CFLAGS=-O0 "$@"; }
export MAKEFLAGS= MFLAGS= # what calls this test is another make

say "# the whole wants them, the toolkit does not"
(cd whole && fails_with 1 sqlite3 configure)
(cd build && configure --disable-service --prefix="$tmp/usr" >"$tmp/said" 2>&1) || fail "$(cat said)"
make -s -C build -n all 2>/dev/null | grep -E '(^|/)(imaging-service|euca-tools)( |/|$)' && fail "more would be built"

make -s -j2 -C build/imaging-toolkit install >said 2>&1 || fail "$(cat said)"
[ -z "$(find build/imaging-service build/euca-tools -name '*.o')" ] || fail "more was built"
ldd usr/bin/imaging-toolkit | grep -E 'sqlite|libpq|microhttpd|confuse' && fail "it is linked with more"

say "# where it was installed, a local file is converted with one command"
truncate -s 3M disk.raw
printf 'one sector' | dd of=disk.raw bs=1 seek=70000 conv=notrunc status=none
PATH=$tmp/usr/bin:$PATH # the first of that name
imaging-toolkit convert -f raw -O vmdk disk.raw disk.vmdk
imaging-toolkit run import-volume image=disk.vmdk volume=volume
cmp disk.raw volume

say "# its tests run there alone: of the programs they are written in C one is enough here"
make -C build/imaging-toolkit check-toolkit toolkit_programs=toolkit/test-text toolkit_tests='toolkit/test-text toolkit/pipes.sh' \
    >said 2>&1 || fail "$(cat said)"
grep -q '^# PASS:  2$' said || fail "$(cat said)"
[ -z "$(find build/imaging-service build/euca-tools -name '*.o')" ] || fail "the tests built more"
