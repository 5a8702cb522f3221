#!/bin/bash
# Completion knows the options of every command, what may follow them, and files; it asks no server.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

. "$top_srcdir/euca-tools/completion/euca-tools"

# completes WORD... : what is offered for the last one
completes() {
    COMP_WORDS=("$EUCA_TOOLS_DIR/$1" "${@:2}")
    COMP_CWORD=$(($# - 1))
    _euca "${COMP_WORDS[0]}"
    printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
}

# offers WANTED WORD... : WANTED, words between blanks, are all that is offered
offers() {
    local wanted=$1 offered
    shift
    offered=$(completes "$@" | sort | tr '\n' ' ')
    [ "${offered% }" = "$wanted" ] || fail "$*: wanted '$wanted', offered '$offered'"
}

commands=$("$EUCA_TOOLS_DIR/euca-tools" --help | sed -n 's/^  //p')
[ -n "$commands" ] || fail "euca-tools --help lists nothing"
for command in $commands; do
    for name in "euca-$command" "ec2-$command"; do
        complete -p "$name" >/dev/null || fail "nothing is registered for $name"
    done
    options=$(completes "euca-$command" -)
    for option in -U --url -h --help; do
        grep -qxe "$option" <<<"$options" || fail "$command: $option is not offered"
    done
    while read -r option; do
        "$EUCA_TOOLS_DIR/euca-$command" "$option" x --0 >/dev/null 2>err || :
        ! grep -qe "unrecognized arguments: $option" err || fail "$command: $option is offered, but is none"
    done <<<"$options"
done
offers import-instance euca-tools import-i
offers --user-data-file euca-tools import-instance --user-data-

touch 'disk of mine.vmdk' data.img
offers data.img ec2-import-volume -f raw da
offers 'disk of mine.vmdk' euca-resume-import -t import-vol-1 di
offers data.img euca-import-instance disk.vmdk da
offers data.img euca-import-volume --wait da
offers data.img euca-import-instance --user-data-file = da
offers 'vhd vmdk' euca-import-volume -f v
offers 'vhd vmdk' euca-import-volume --format = v
offers 'raw vhd vmdk' euca-import-instance --format =
offers Windows euca-import-instance -p W
offers x86_64 euca-import-instance -a x
offers 'stop terminate' euca-import-instance --instance-initiated-shutdown-behavior ''
offers '2 4' euca-delete-disk-image --signature ''
offers json euca-describe-conversion-tasks --output j
offers 'state= status-message=' euca-describe-conversion-tasks --filter s
offers 'cancelled cancelling completed' euca-describe-conversion-tasks --filter state = c
offers --dont-verify-format euca-import-volume --do

say "# what a server knows, and free text"
for words in 'euca-import-volume -b' 'euca-import-volume -z' 'euca-resume-import --task' \
    'euca-cancel-conversion-task' 'euca-describe-conversion-tasks' 'euca-delete-disk-image -t'; do
    offers '' $words ''
done
