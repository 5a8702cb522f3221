# Every fuzz target runs over its seeds and over mutations of them that are always the same, so that
# targets, mutators and seeds do not rot.  "make fuzz" is the long form.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

"$top_srcdir/tests/fuzz/make-seeds" seeds
for seeds in seeds/*; do
    target=${seeds#seeds/}
    program=$(built "tests/fuzz/fuzz-$target")
    # of the service and the clients: --disable-service
    [[ $target != @(form|ini) ]] || [ -x "$program" ] || continue
    if ! "$program" --rounds 100 "$seeds"/* >out 2>&1; then
        cat out >&2
        say "the last input, in base64:" >&2
        base64 last-mutation >&2
        fail "$target found something"
    fi
    no_sanitizer out
    say "$target: $(tail -n 1 out)"
    # seeds named here must be refused, all others accepted
    case $target in
    manifest) refused='encoding' ;;
    qcow2-header) refused='backing data-file encrypted' ;;
    raw) refused='vhd-at-end vdi' ;;
    signature) refused='bare' ;;
    vdi-header) refused='differencing' ;;
    vmdk-descriptor) refused='missing outside' ;;
    *) refused= ;;
    esac
    [ "$(sed -n 's,^refused: .*/,,p' out | sort)" = "$(printf '%s\n' $refused | sort)" ] ||
        fail "refused should be '$refused', but: $(grep ^refused out)"
done
