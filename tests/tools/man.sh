#!/bin/bash
# There is a page for every command.  The options in it are those that the program knows: those of
# --help, and under "ACCEPTED FOR OLD SCRIPTS" all the others.  All pages are installed, and every
# page of ours that a page or a document names is there.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"
requires scdoc
! sanitized || skip "the pages and the options of this build are the other's, and each option is a run of a program"

. "$lib/pages.sh"

cat >options.py <<'END'
"""All options of a program, told by its answers to wrong ones: lines of "-U --url", or "--debug"."""
import re
import subprocess
import sys

NONE = "--0"


def said(*words):
    done = subprocess.run([sys.argv[1], *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2].partition(": error: ")[2]


def called(text):
    match = re.match(r"argument (?:(-\w)/)?(--[\w-]+): ", text)
    return [match.groups()] if match else None


def starting(prefix):
    """Options that --PREFIX may stand for."""
    answer = said(f"--{prefix}=x", NONE)
    several = re.search("ambiguous option: .* could match (.*)", answer)
    if several:
        assert len(answer) < 300, f"too many options for one message: {answer}"
        return [one for name in several[1].split(", ") for one in starting(name[2:])]
    if called(answer):
        return called(answer)                   # a flag, which takes no x
    if answer != f"unrecognized arguments: {NONE}":
        assert answer == f"unrecognized arguments: --{prefix}", answer
        return []
    answer = said(f"--{prefix}")
    if "expected one argument" in answer:
        return called(answer)
    longer = [one for letter in "abcdefghijklmnopqrstuvwxyz-" for one in starting(prefix + letter)]
    return longer or [(None, f"--{prefix}")]    # one whose argument may be missing


for letter in "abcdefghijklmnopqrstuvwxyz":
    for short, name in starting(letter):
        print(short or "", name)
END

# defined FILE: options where they are explained, as "-U --url" and "--debug"
defined() {
    grep '^\*-' "$1" | grep -oE '(\*-[a-zA-Z]\*, )?\*--[a-z0-9-]+' | tr -d '*,' |
        awk '{ print (NF == 2 ? $1 : ""), $NF }' | sort
}

same() { # WHAT FILE FILE
    cmp -s "$2" "$3" || fail "$1 ('<': only the page has it): $(diff "$2" "$3")"
}

page euca-tools euca-tools 7
commands=$("$EUCA_TOOLS_DIR/euca-tools" --help | sed -n 's/^  //p')
[ -n "$commands" ] || fail "euca-tools --help lists nothing"
: >anywhere
for command in $commands; do
    page euca-tools "euca-$command" 1
    program=$EUCA_TOOLS_DIR/euca-$command scd=$top_srcdir/euca-tools/man/euca-$command.1.scd
    sed '/^# ACCEPTED FOR OLD SCRIPTS/,$d' "$scd" >new.scd
    sed -n '/^# ACCEPTED FOR OLD SCRIPTS/,$p' "$scd" >old.scd
    /usr/bin/python3 options.py "$program" | sort >known
    cat known >>anywhere
    grep -q -- '-U --url' known && grep -q ' --debug' known || fail "$command: found only: $(cat known)"
    "$program" --help | grep -oE '(^|[ ,])--[a-z0-9-]+' | tr -d ' ,' | sort -u >helped
    defined new.scd >new
    defined old.scd >old
    sort new old >both
    same "options of $command" both known
    awk '{ print $NF }' new | sort >names
    same "options in $command --help" names helped
    grep -q "^\*euca-$command\* " "$scd" || fail "the page of $command has no synopsis"
    for section in NAME SYNOPSIS EXAMPLES DESCRIPTION OPTIONS OUTPUT 'EXIT STATUS' 'WHEN IT FAILS'; do
        grep -qx "# $section" "$scd" || fail "the page of $command has no $section"
    done
done

say "# options of all commands are in the common page, and it has none that nobody knows"
count=$(wc -w <<<"$commands")
sort anywhere | uniq -c | awk -v count="$count" '$1 == count { print $NF }' | sort >common
defined "$top_srcdir/euca-tools/man/euca-tools.7.scd" | awk '{ print $NF }' | sort -u >told
awk '{ print $NF }' anywhere | sort -u >all
[ -z "$(comm -23 common told)" ] || fail "euca-tools(7) does not know: $(comm -23 common told)"
[ -z "$(comm -23 told all)" ] || fail "nobody knows what euca-tools(7) has: $(comm -23 told all)"

references 20 "$top_srcdir"/euca-tools/man/*.scd "$top_srcdir"/docs/*.md "$top_srcdir"/README.md
