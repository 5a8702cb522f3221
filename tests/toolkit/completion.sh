#!/bin/bash
# Completion knows the commands, their options, formats and files.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

. "$top_srcdir/imaging-toolkit/completion/imaging-toolkit"
complete -p imaging-toolkit >/dev/null || fail "nothing is registered"

# completes WORD... : what is offered for the last one
completes() {
    COMP_WORDS=("$IMAGING_TOOLKIT" "$@")
    COMP_CWORD=$#
    _imaging_toolkit "$IMAGING_TOOLKIT"
    printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
}

[ "$(completes conv)" = convert ] || fail "conv: $(completes conv)"
[ "$(completes convert --max)" = --max-size ] || fail "--max: $(completes convert --max)"
completes convert -f vh | grep -qx vhdx || fail "-f vh: $(completes convert -f vh)"
[ "$(completes info --output j)" = json ] || fail "--output j: $(completes info --output j)"
for command in $(completes ''); do
    case $command in -*) continue ;; esac
    "$IMAGING_TOOLKIT" "$command" --help >/dev/null || fail "'$command' is offered, but is no command"
done
touch 'disk of mine.vmdk'
[ "$(completes convert -f vmdk disk)" = 'disk of mine.vmdk' ] || fail "file: $(completes convert disk)"
[ -z "$(completes convert --colour)" ] || fail "--colour: $(completes convert --colour)"

say "# chains: workflows and their inputs, stages"
[ "$(completes run import-v)" = import-volume ] || fail "run import-v: $(completes run import-v)"
[ "$(completes plan boot-l)" = boot-layout ] || fail "plan boot-l: $(completes plan boot-l)"
[ "$(completes run import-volume vol)" = volume= ] || fail "vol: $(completes run import-volume vol)"
[ "$(completes run import-volume volume = disk)" = 'disk of mine.vmdk' ] || fail "after ="
[ "$(completes run import-volume --from unp)" = unpack ] || fail "--from: $(completes run import-volume --from unp)"
[ "$(completes run decode format = raw boot-l)" = boot-layout ] || fail "a second stage"
[ "$(completes cache st)" = status ] || fail "cache st: $(completes cache st)"
[ "$(completes cache limit --policy w)" = wait ] || fail "--policy w"
[ "$(completes cache add --sha)" = --sha256 ] || fail "--sha: $(completes cache add --sha)"
