#!/bin/bash
# There is a page for every command, format and stage; it names every option of the command; and all
# pages are installed.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires scdoc

man=$top_srcdir/imaging-toolkit/man
page() { # NAME SECTION
    local name=$1.$2
    [ -f "$man/$name.scd" ] || fail "there is no page $name"
    scdoc <"$man/$name.scd" >page || fail "$name.scd is no scdoc"
    grep -q "^\.TH \"$1\" \"$2\"" page || fail "$name.scd calls itself otherwise: $(grep '^\.TH' page)"
    grep -q "man/$name " "$top_srcdir/imaging-toolkit/Makefile.am" || fail "$name is not in the Makefile's list"
}

page imaging-toolkit 1
commands=$("$IMAGING_TOOLKIT" --help | awk '/^  [a-z][a-z-]* +[a-z]/ && $1 != "imaging-toolkit" { print $1 }')
[ -n "$commands" ] || fail "no command was found in --help"
for command in $commands; do
    page "imaging-toolkit-$command" 1
    "$IMAGING_TOOLKIT" "$command" --help | grep -oE -- '--[a-z][a-z-]*' | sort -u |
        while read -r option; do
            grep -qF -- "$option" "$man/imaging-toolkit-$command.1.scd" ||
                fail "the page of $command does not know $option"
        done
done
"$IMAGING_TOOLKIT" stages --output json >rows
/usr/bin/python3 - >names <<'END'
import json
for row in json.load(open("rows")):
    if row["kind"] in ("stage", "format"):
        print(row["kind"], row["name"], {"stage": 7, "format": 5}[row["kind"]])
END
grep -q '^format vmdk' names || fail "no format was found: $(cat names)"
while read -r kind name section; do page "imaging-$kind-$name" "$section"; done <names
