/* cmd - the table of sub-commands and what their option parsing shares. */

#include <config.h>

#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"
#include "core/inflate.h"

const struct im_command *const im_commands[] = {
    &im_command_bundle,
    &im_command_cache,
    &im_command_check,
    &im_command_convert,
    &im_command_delete_upload,
    &im_command_doctor,
    &im_command_info,
    &im_command_inspect,
    &im_command_plan,
    &im_command_run,
    &im_command_stages,
    &im_command_unbundle,
    &im_command_verify,
    NULL,
};

int im_getopt(int argc, char **argv, const char *shorts, const struct option *longs,
              struct im_error *err)
{
    char letter[] = "-?";
    const char *name;
    int c;

    opterr = 0;
    c = getopt_long(argc, argv, shorts, longs, NULL);
    letter[1] = (char)optopt; /* 0 for a long one */
    name = optopt > 0 && optopt < 128 ? letter : argv[optind - 1];
    if (c == ':')
        (void)im_fail(err, EINVAL, "option '%s' needs a value", name);
    else if (c == '?')
        (void)im_fail(err, EINVAL, "there is no option '%s'; see '%s --help'", name, argv[0]);
    return c == ':' ? '?' : c;
}

int im_parse_output(const char *text, bool *ret_json, struct im_error *err)
{
    if (strcmp(text, "json") != 0 && strcmp(text, "text") != 0)
        return im_fail(err, EINVAL, "--output '%s' is neither text nor json", text);
    *ret_json = strcmp(text, "json") == 0;
    return 0;
}

int im_parse_jobs(const char *text, unsigned *ret_jobs, struct im_error *err)
{
    uint64_t jobs;

    if (im_parse_uint(text, IM_INFLATE_JOBS_MAX, &jobs) < 0 || jobs == 0)
        return im_fail(err, EINVAL, "--jobs '%s' is not a number from 1 to %d", text,
                       IM_INFLATE_JOBS_MAX);
    *ret_jobs = (unsigned)jobs;
    return 0;
}

int im_parse_rate(const char *text, uint64_t *ret_rate, struct im_error *err)
{
    if (im_parse_size(text, ret_rate) < 0 || *ret_rate == 0)
        return im_fail(err, EINVAL, "--io-rate '%s' is not a size like 512K or 20M", text);
    return 0;
}

int im_print_json(json_t *value, struct im_error *err)
{
    char *text IM_FREE = value ? json_dumps(value, JSON_INDENT(2)) : NULL;

    json_decref(value);
    if (im_json_lost() || !text)
        return im_fail_memory(err);
    puts(text);
    return 0;
}

json_t *im_text_json(const char *text)
{
    char printable[PATH_MAX];

    return json_string(im_text_printable(printable, sizeof(printable), text));
}

int im_read_job(struct im_buffer *text, struct im_error *err)
{
    char chunk[4096];
    ssize_t n;
    int r;

    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return im_fail_code(err, EIO, "ReadFailed", "cannot read the job from standard input");
        r = im_buffer_add(text, chunk, (size_t)n);
        if (r == -ENOMEM)
            return im_fail_memory(err);
        if (r < 0)
            return im_fail(err, EINVAL, "the job is longer than %zu bytes", text->ceiling);
    }
    return 0;
}

int im_parse_fd(const char *text, int *ret_fd, struct im_error *err)
{
    uint64_t fd;

    if (im_parse_uint(text, 1023, &fd) < 0 || fcntl((int)fd, F_GETFD) < 0)
        return im_fail(err, EINVAL, "--progress-fd '%s' is not an open descriptor", text);
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC); /* not for qemu-img */
    *ret_fd = (int)fd;
    return 0;
}
