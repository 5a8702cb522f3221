/* cmd - the sub-commands: one file each, one row each in cmd.c. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct im_command {
    const char *name;
    const char *summary;
    const char *help; /* all of --help: usage first, then an example, then the options */
    /* argv[0] is the command's name.  Returns the exit status; a failure is in err, printed by
     * main. */
    int (*run)(int argc, char **argv, struct im_error *err);
};

/* Ends with NULL. */
extern const struct im_command *const im_commands[];

extern const struct im_command im_command_bundle;
extern const struct im_command im_command_cache;
extern const struct im_command im_command_check;
extern const struct im_command im_command_convert;
extern const struct im_command im_command_delete_upload;
extern const struct im_command im_command_doctor;
extern const struct im_command im_command_info;
extern const struct im_command im_command_inspect;
extern const struct im_command im_command_plan;
extern const struct im_command im_command_run;
extern const struct im_command im_command_stages;
extern const struct im_command im_command_unbundle;
extern const struct im_command im_command_verify;

/* getopt_long with our messages: the option, or -1 at the end, or '?' with err filled. */
int im_getopt(int argc, char **argv, const char *shorts, const struct option *longs,
              struct im_error *err);

/* "text" or "json", as --output takes it; -EINVAL. */
int im_parse_output(const char *text, bool *ret_json, struct im_error *err);

/* A number of threads, as --jobs takes it; a size that is not 0, as --io-rate does.  -EINVAL. */
int im_parse_jobs(const char *text, unsigned *ret_jobs, struct im_error *err);
int im_parse_rate(const char *text, uint64_t *ret_rate, struct im_error *err);

/* Print a jansson value in lines, and let go of it.  -ENOMEM when there was no memory for all of
 * it: then nothing is printed.  Whether standard output takes it main asks. */
struct json_t;
int im_print_json(struct json_t *value, struct im_error *err);

/* A file's name or a string of the guest's, which need not be text, made fit for JSON, which must
 * be; as json_string. */
struct json_t *im_text_json(const char *text);

/* Append a job from standard input to text, whose ceiling bounds it.  0; -EINVAL when it is longer;
 * -EIO "ReadFailed". */
int im_read_job(struct im_buffer *text, struct im_error *err);

/* Descriptor number for --progress-fd; must be open.  -EINVAL. */
int im_parse_fd(const char *text, int *ret_fd, struct im_error *err);
