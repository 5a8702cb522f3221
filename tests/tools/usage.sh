#!/bin/bash
# --help and --version of all commands, by all their names: one screen, examples first.  What wrong
# command lines, endpoints and keys are answered with is in tools/golden.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

commands=$("$EUCA_TOOLS_DIR/euca-tools" --help | sed -n 's/^  //p')
[ "$(wc -w <<<"$commands")" -ge 6 ] || fail "euca-tools --help lists only: $commands"
for program in $commands; do
    for name in "euca-$program" "ec2-$program"; do
        "$EUCA_TOOLS_DIR/$name" --help >out 2>err
        [ ! -s err ] && [[ $(head -n 1 out) == "usage: $name "* ]] || fail "$name --help: $(cat out err)"
        lines=$(wc -l <out)
        [ "$lines" -le 24 ] || fail "$name --help has $lines lines: more than a screen"
        [ "$(wc -L <out)" -le 80 ] || fail "$name --help has a line above 80 columns"
        example=$(grep -n -m 1 "^  euca-$program" out | cut -d: -f1)
        option=$(grep -n -m 1 -e ' -[a-zA-Z], --' out | cut -d: -f1)
        [ "$example" -lt "$option" ] || fail "$name --help: examples come first"
        tail -n 1 out | grep -q "man euca-$program;.* man 7 euca-tools" ||
            fail "$name --help does not say where the rest is: $(tail -n 1 out)"
        "$EUCA_TOOLS_DIR/$name" --version >out
        grep -qE '^euca2ools [0-9.]+ \(euca-imaging\)$' out || fail "$name --version: $(cat out)"
    done
    "$EUCA_TOOLS_DIR/euca-tools" "$program" -h >out
    [[ $(head -n 1 out) == "usage: euca-$program "* ]] || fail "euca-tools $program: $(cat out)"
done
