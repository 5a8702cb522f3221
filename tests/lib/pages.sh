# shellcheck shell=bash disable=SC2154
# pages.sh - what the tests of manual pages share; sourced behind functions.sh.

# page COMPONENT NAME SECTION: it is there and is scdoc, calls itself so, and is installed.  What
# scdoc makes of it is in ./page.
page() {
    local name=$2.$3 scd=$top_srcdir/$1/man/$2.$3.scd
    [ -f "$scd" ] || fail "there is no page $name"
    scdoc <"$scd" >page || fail "$name.scd is no scdoc"
    grep -q "^\.TH \"$2\" \"$3\"" page || fail "$name.scd calls itself otherwise: $(grep '^\.TH' page)"
    grep -q "man/$name " "$top_srcdir/$1/Makefile.am" || fail "$name is not in the Makefile's list"
}

# references ATLEAST FILE...: every page of ours that these files name is there; as
# "*imaging-stage-grow*(7)", and in Markdown without asterisks.  They name that many at least.
references() {
    local least=$1 file name scd
    shift
    grep -HoE '(imaging|euca)-[a-z0-9-]+\*?\([157]\)' "$@" | tr -d '*' | sort -u >named
    [ "$(wc -l <named)" -ge "$least" ] || fail "pages name only these: $(cat named)"
    while IFS=: read -r file name; do
        scd=${name%)}.scd
        scd=${scd/(/.}
        [ -f "$top_srcdir/imaging-toolkit/man/$scd" ] || [ -f "$top_srcdir/euca-tools/man/$scd" ] ||
            fail "$file names $name, which is not there"
    done <named
}
