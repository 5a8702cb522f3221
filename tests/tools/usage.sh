#!/bin/bash
# Every wrong command line, endpoint or key: the historical text on standard error, nothing on
# standard output, the historical status.  No server is there to be asked.
. "${top_srcdir:-$(dirname "$0")/../..}/tests/lib/functions.sh"

export EC2_URL=http://127.0.0.1:9/ S3_URL=http://127.0.0.1:9/s3 AWS_ACCESS_KEY_ID=A AWS_SECRET_ACCESS_KEY=S
head -c 1000 /dev/zero >disk.img

# tells STATUS ERROR COMMAND [ARGUMENT...]: with that status and, on standard error, the error in
# one line behind the program's name, which a usage error has the usage in front of.
tells() {
    local wanted=$1 text=$2 program=$3 status=0 first
    shift 3
    "$EUCA_TOOLS_DIR/$program" "$@" >out 2>err </dev/null || status=$?
    first=$(head -n 1 err)
    [ "$wanted" = 1 ] || [[ $first == "usage: $program "* ]] || fail "$program $*: no usage: $first"
    if [ $status != "$wanted" ] || [ "$(tail -n 1 err)" != "$program: error: $text" ] || [ -s out ]; then
        fail "$program $*: status $status, wanted $wanted and '$text'; said: $(cat out err)"
    fi
    [ "$wanted" = 2 ] || [ "$(wc -l <err)" = 1 ] || fail "$program $*: more than one line: $(cat err)"
}

volume=(euca-import-volume -f raw -z z -b b)

# --- arguments of import-volume
tells 2 'too few arguments' euca-import-volume
tells 2 'too few arguments' ec2-import-volume -f raw -z z -b b
tells 2 'argument -f/--format is required' euca-import-volume -z z -b b disk.img
tells 2 'argument -z/--availability-zone is required' euca-import-volume -f raw -b b disk.img
tells 2 'one of the arguments -b/--bucket --manifest-url is required' \
    euca-import-volume -f raw -z z disk.img
tells 2 'argument --manifest-url: not allowed with argument -b/--bucket' \
    "${volume[@]}" --manifest-url http://x/b/k disk.img
tells 2 'argument -f/--format: expected one argument' euca-import-volume disk.img -f
tells 2 'argument --prefix: expected one argument' euca-import-volume disk.img --prefix
tells 2 'unrecognized arguments: --nonsense' "${volume[@]}" --nonsense disk.img
tells 2 'unrecognized arguments: -q' "${volume[@]}" -q disk.img
tells 2 'unrecognized arguments: other.img' "${volume[@]}" disk.img other.img
tells 2 'ambiguous option: --no could match --no-upload, --no-progress' "${volume[@]}" --no disk.img
tells 2 "argument --no-upload: ignored explicit argument 'x'" "${volume[@]}" --no-upload=x disk.img
tells 2 'argument --no-progress: not allowed with argument --progress' \
    "${volume[@]}" --progress --no-progress disk.img
for wrong in x 1.5 -1 '' 1g 99999999999999999999 ' 1'; do
    tells 2 "argument -s/--volume-size: invalid int value: '$wrong'" "${volume[@]}" -s "$wrong" disk.img
done
for wrong in x 1.5g -1 '' 1kk 1p 99999999999999999999 16777216t; do
    tells 2 "argument --image-size: invalid filesize value: '$wrong'" \
        "${volume[@]}" --image-size "$wrong" disk.img
done
tells 2 "argument -x/--expires: invalid int value: 'x'" "${volume[@]}" -x x disk.img
tells 2 'argument -x/--expires: value must be positive' "${volume[@]}" -x -1 disk.img
# The historical default was 30 days; scripts that say so go on working.
"$EUCA_TOOLS_DIR/euca-import-volume" -f raw -z z -b b -x 30 missing.img >out 2>err && fail "-x 30: a missing file"
grep -q 'warning: -x 30: .* 7 days at most' err || fail "-x 30: $(cat err)"
grep -q 'No such file or directory: missing.img' err || fail "-x 30: $(cat err)"
tells 2 'argument --image-size is required for qcow2 files' euca-import-volume -f qcow2 -z z -b b disk.img
tells 2 'argument -o/--owner-akid also requires -w/--owner-sak' "${volume[@]}" -o A disk.img
tells 2 'argument -w/--owner-sak also requires -o/--owner-akid' "${volume[@]}" -w A disk.img
for wrong in '' a/b 'a b' ..; do
    tells 2 "argument -b/--bucket: '$wrong' is no bucket name: those have 1 to 255 letters, digits, '.', '-' and '_'" \
        euca-import-volume -f raw -z z -b "$wrong" disk.img
done
tells 2 'argument --prefix: it is not text in UTF-8' "${volume[@]}" --prefix $'\xff' disk.img
tells 2 "argument --prefix: with the file's name the keys of the upload have 1059 bytes; an object store takes 1024" \
    "${volume[@]}" --prefix "$(printf '%01000d' 0)" disk.img

# --- of the others
tells 2 'too few arguments' euca-cancel-conversion-task
tells 2 'unrecognized arguments: b' ec2-cancel-conversion-task a b
tells 2 'argument TASK-ID: it is empty' euca-cancel-conversion-task ''
tells 2 'argument TASK: it is empty' euca-describe-conversion-tasks a ''
tells 2 'argument TASK: 991 tasks are too many for one request; at most 990' \
    euca-describe-conversion-tasks $(seq 991)
tells 2 'argument -U/--url: expected one argument' euca-describe-conversion-tasks -U

# --- endpoints and keys
no_endpoint() {
    echo "No $1 endpoint to connect to was given. $1 endpoints may be specified in a config file with \"$1-url\"."
}
for command in 'euca-describe-conversion-tasks' 'ec2-cancel-conversion-task x' "${volume[*]} disk.img"; do
    # shellcheck disable=SC2086
    EC2_URL='' tells 1 "$(no_endpoint ec2)" $command
    # shellcheck disable=SC2086
    AWS_ACCESS_KEY_ID='' tells 1 'missing access key ID; please supply one with -I' $command
done
S3_URL='' tells 1 "$(no_endpoint s3)" "${volume[@]}" disk.img
S3_URL='' tells 1 "$(no_endpoint s3)" euca-import-volume -f raw -z z --manifest-url http://x/b/k disk.img
tells 1 'missing secret key; please supply one with -S' euca-describe-conversion-tasks -I X
tells 1 'missing access key ID; please supply one with -I' euca-describe-conversion-tasks -S X
AWS_CREDENTIAL_EXPIRATION=2020-01-02T03:04:05Z \
    tells 1 'credentials have expired (at 2020-01-02T03:04:05Z); please get new ones' \
    euca-describe-conversion-tasks
AWS_ACCESS_KEY_ID='' AWS_CREDENTIAL_FILE=$tmp/none \
    tells 1 "No such file or directory: $tmp/none" euca-describe-conversion-tasks
AWS_ACCESS_KEY_ID=$'A\nX-Evil: 1' \
    tells 1 'the access key ID holds a character that no key has (number 10, at place 2); please check where it was copied from' \
    euca-describe-conversion-tasks
tells 1 "'ftp://x/' is no URL that starts with http:// or https://" euca-describe-conversion-tasks -U ftp://x/
tells 1 'the ec2 endpoint may hold neither a user name nor a query: it is a plain URL such as http://host:8773/services/' \
    euca-describe-conversion-tasks -U http://me@x/

# --- a file whose name cannot be written down
cp disk.img $'\xff.img'
tells 1 "the name of '?.img' is not text in UTF-8 and cannot go into an import manifest; please rename the file" \
    "${volume[@]}" $'\xff.img'

# --- output that cannot be written is no success
if [ -w /dev/full ]; then
    status=0
    "$EUCA_TOOLS_DIR/euca-import-volume" --help >/dev/full 2>err || status=$?
    [ $status = 1 ] && grep -q 'cannot write to standard output' err || fail "full device: $status $(cat err)"
fi

# --- help and version, of all commands and names
for program in import-volume describe-conversion-tasks cancel-conversion-task; do
    for name in "euca-$program" "ec2-$program"; do
        "$EUCA_TOOLS_DIR/$name" --help >out 2>err
        [ ! -s err ] && [[ $(head -n 1 out) == "usage: $name "* ]] || fail "$name --help: $(cat out err)"
        lines=$(wc -l <out)
        [ "$lines" -le 24 ] || fail "$name --help has $lines lines: more than a screen"
        [ "$(wc -L <out)" -le 80 ] || fail "$name --help has a line above 80 columns"
        example=$(grep -n -m 1 "^  euca-$program" out | cut -d: -f1)
        option=$(grep -n -m 1 '^  -' out | cut -d: -f1)
        [ "$example" -lt "$option" ] || fail "$name --help: examples come first"
        "$EUCA_TOOLS_DIR/$name" --version >out
        grep -qE '^euca2ools [0-9.]+ \(euca-imaging\)$' out || fail "$name --version: $(cat out)"
    done
    "$EUCA_TOOLS_DIR/euca-tools" "$program" -h >out
    [[ $(head -n 1 out) == "usage: euca-$program "* ]] || fail "euca-tools $program: $(cat out)"
done
