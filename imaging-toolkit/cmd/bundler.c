/* bundler - what the commands bundle and unbundle share. */

#include <config.h>

#include "cmd/bundler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cmd/confined.h"

static int begin(struct bundler *bundler, const char *stage, struct im_error *err)
{
    *bundler = (struct bundler){
        .job = { .format = im_format_find("raw"), .max_size = UINT64_MAX },
        .progress_fd = -1,
    };
    return im_job_set_output(&bundler->job, "raw", NULL, err) < 0
               ? -EINVAL
               : im_job_add_stage(&bundler->job, stage, &bundler->args, err);
}

int bundler_argument(struct bundler *bundler, const char *name, const char *text,
                     struct im_error *err)
{
    const struct im_stage *stage = bundler->job.stage[0].stage;

    return im_args_add(bundler->args, stage->name, stage->params, name, text, err);
}

static int set_format(struct bundler *bundler, const char *name, struct im_error *err)
{
    bundler->job.format = im_format_find(name);
    return bundler->job.format ? 0
                               : im_fail(err, EINVAL,
                                         "-f '%s' is not a format; there are raw, vmdk, vhd (vpc), "
                                         "vhdx, vdi, qcow2",
                                         name);
}

static int take_options(struct bundler *bundler, int argc, char **argv,
                        const struct option *options, struct im_error *err)
{
    int r = 0, c;

    while (r == 0 && (c = im_getopt(argc, argv, bundler->job.stage[0].stage->sink ? ":f:" : ":",
                                    options, err)) != -1)
        switch (c) {
        case 'f':
            r = set_format(bundler, optarg, err);
            break;
        case BUNDLER_FORCE:
            bundler->job.force = true;
            break;
        case BUNDLER_PROGRESS_FD:
            r = im_parse_fd(optarg, &bundler->progress_fd, err);
            break;
        case BUNDLER_OUTPUT:
            r = im_parse_output(optarg, &bundler->json, err);
            break;
        case '?':
            return -EINVAL; /* err was filled by im_getopt */
        default:
            r = bundler_argument(bundler, options[c - BUNDLER_ARGUMENT].name, optarg, err);
            break;
        }
    if (r == 0 && argc - optind != 2)
        r = im_fail(err, EINVAL, "two operands are needed, %d given; see '%s --help'",
                    argc - optind, argv[0]);
    return r;
}

int bundler_command(const char *stage, int argc, char **argv, const struct option *options,
                    int (*run)(struct bundler *bundler, char **operands, struct im_error *err),
                    struct im_error *err)
{
    struct bundler bundler;
    int r = begin(&bundler, stage, err);

    if (r == 0)
        r = take_options(&bundler, argc, argv, options, err);
    if (r == 0)
        r = run(&bundler, argv + optind, err);
    im_job_done(&bundler.job);
    return r < 0 ? (int)im_error_status(err) : 0;
}

int bundler_run(struct bundler *bundler, struct im_copy_result *ret_result, struct im_error *err)
{
    const struct im_stage *stage = bundler->job.stage[0].stage;
    char *json IM_FREE = NULL;
    struct im_progress *progress;
    int r = im_args_complete(bundler->args, stage->name, stage->params, err);

    if (r == 0)
        r = im_job_check(&bundler->job, false, err);
    if (r == 0)
        r = im_confined(&bundler->job, err);
    if (r < 0)
        return r;
    progress = im_progress_new(bundler->progress_fd);
    if (!progress)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_job_run(&bundler->job, progress, ret_result, err);
    if (r == 0)
        r = im_job_result_json(&bundler->job, ret_result, &json, err);
    if (r < 0)
        im_progress_error(progress, err);
    else
        im_progress_result(progress, json);
    im_progress_free(progress);
    if (r == 0 && bundler->json)
        fprintf(bundler->job.store && strcmp(bundler->job.store, "-") == 0 ? stderr : stdout,
                "%s\n", json);
    return r;
}
