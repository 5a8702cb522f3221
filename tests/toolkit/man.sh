#!/bin/bash
# There is a page for every command, format and stage; it names every option of the command; all
# pages are installed; and every page of ours that a page or a document names is there.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires scdoc

. "$lib/pages.sh"

man=$top_srcdir/imaging-toolkit/man
page imaging-toolkit imaging-toolkit 1
commands=$("$IMAGING_TOOLKIT" --help | awk '/^  [a-z][a-z-]* +[a-z]/ && $1 != "imaging-toolkit" { print $1 }')
[ -n "$commands" ] || fail "no command was found in --help"
for command in $commands; do
    page imaging-toolkit "imaging-toolkit-$command" 1
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
while read -r kind name section; do page imaging-toolkit "imaging-$kind-$name" "$section"; done <names

references 51 "$man"/*.scd "$top_srcdir"/docs/*.md "$top_srcdir"/HACKING.md "$top_srcdir"/README.md
