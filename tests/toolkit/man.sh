#!/bin/bash
# There is a page for every command, format and stage; it names every option of the command; all
# pages are installed; and every page of ours that a page or a document names is there.
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
    "$IMAGING_TOOLKIT" "$command" --help | # but for its examples of other commands
        awk -v own="$command" '!match($0, /imaging-toolkit [a-z-]+/) || index($0, "imaging-toolkit " own)' |
        grep -oE -- '--[a-z][a-z-]*' | sort -u |
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

# "*imaging-stage-grow*(7)", and in Markdown without asterisks
cd "$top_srcdir"
grep -oE 'imaging-[a-z0-9-]+\*?\([157]\)' imaging-toolkit/man/*.scd docs/*.md HACKING.md README.md |
    tr -d '*' | sort -u >"$OLDPWD/named"
[ "$(wc -l <"$OLDPWD/named")" -gt 50 ] || fail "pages name only these: $(cat "$OLDPWD/named")"
while IFS=: read -r file name; do
    scd=${name%)}
    [ -f "$man/${scd/(/.}.scd" ] || fail "$file names $name, which is not there"
done <"$OLDPWD/named"
