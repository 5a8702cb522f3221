/* keep - when a stage of a workflow has failed: keep what flows into it in a file, and say the one
 * command that repeats that stage and nothing else.
 *
 * In one pass nothing lies between two stages.  So the chain in front of the one that failed is run
 * once more, into that file. */

#include <config.h>

#include "cmd/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

char *im_keep_path(const struct im_request *request, const struct im_job *job, const char *what)
{
    const char *name = request->workflow->name;

    if (job->store && strcmp(job->store, "-") != 0)
        return im_asprintf("%s.%s", job->store, what);
    return im_asprintf("%s/%s.%s-%ld", job->scratch ? job->scratch : im_scratch_default(),
                       im_text_basename(name), what, (long)getpid());
}

/* ---- the command ---- */

/* One word for a shell. */
static void print_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_./:=,+@%-";

    if (*word && word[strspn(word, plain)] == '\0') {
        fprintf(stderr, " %s", word);
        return;
    }
    fputs(" '", stderr);
    for (; *word; word++)
        fprintf(stderr, *word == '\'' ? "'\\''" : "%c", *word);
    fputc('\'', stderr);
}

/* What an URL is signed with is nobody's to read off a terminal or out of a log. */
static void print_input(const char *given)
{
    const char *url = strchr(given, '=') + 1;
    char shown[IM_ARG_TEXT_MAX + 64];
    char cut[IM_ARG_TEXT_MAX];

    if (!strstr(url, "://")) {
        print_word(given);
        return;
    }
    (void)snprintf(shown, sizeof(shown), "%.*s%s", (int)(url - given), given,
                   im_text_url(cut, sizeof(cut), url));
    print_word(shown);
}

/* file: what the first input is now; NULL: what was given. */
static void print_command(const struct im_request *request, const char *stage, const char *file)
{
    const char *first = request->workflow->input_count ? request->workflow->input[0].name : "";
    size_t len = strlen(first);
    char *own IM_FREE = file ? im_asprintf("%s=%s", first, file) : NULL;

    fprintf(stderr, "repeat:");
    print_word(program_invocation_name);
    fputs(" run", stderr);
    print_word(request->workflow->name);
    if (own)
        print_word(own);
    for (unsigned i = 0; i < request->ask.count; i++) {
        const char *given = request->ask.inputs[i];

        if (!own || strncmp(given, first, len) != 0 || given[len] != '=')
            print_input(given);
    }
    if (request->scratch) {
        fputs(" --scratch", stderr);
        print_word(request->scratch);
    }
    if (request->jobs)
        fprintf(stderr, " --jobs %u", request->jobs);
    fprintf(stderr, "%s%s --until %s\n", file ? " --from " : "", file ? stage : "", stage);
}

/* ---- what flows into it ---- */

/* A step that the workflow does not name cannot be asked for by name. */
static bool names(const struct im_workflow *workflow, const char *stage)
{
    for (unsigned i = 0; i < workflow->line_count; i++)
        if (strcmp(workflow->line[i].stage->name, stage) == 0)
            return true;
    return false;
}

/* The link in front of `stage`, with its chain; NULL: there is none. */
static const struct im_link *link_before(const struct im_chain *chain, const char *stage)
{
    for (unsigned i = 1; i < chain->count; i++)
        if (strcmp(chain->link[i].stage->name, stage) == 0)
            return &chain->link[i - 1];
    return NULL;
}

/* A file that is what `link` gives; NULL: it has to be made. */
static const char *file_of(const struct im_link *link, const char *spooled)
{
    const char *from =
        strcmp(link->stage->name, "fetch") == 0 ? im_arg_text(&link->args, "from") : NULL;
    struct stat st;

    if (from && strcmp(from, "-") == 0)
        return spooled;
    return from && stat(from, &st) == 0 && S_ISREG(st.st_mode) ? from : NULL;
}

/* Run the chain up to `until` into path. */
static int make_file(const struct im_request *request, const char *until, const char *spooled,
                     const char *path, struct im_error *err)
{
    struct im_workflow_ask ask = request->ask;
    struct im_progress *progress = im_progress_new(-1);
    struct im_copy_result result = { 0 };
    struct im_job job IM_JOB_DONE = { 0 };
    int r = progress ? 0 : im_fail(err, ENOMEM, "out of memory");

    ask.until = until;
    ask.store = path;
    if (r == 0)
        r = im_request_job(request, &ask, &job, err);
    if (r == 0 && spooled) {
        free(job.source);
        job.source = strdup(spooled);
        r = job.source ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    if (r == 0)
        r = im_job_run(&job, progress, &result, err);
    im_progress_free(progress);
    return r;
}

/* *ret_path is the caller's. */
static int keep_input(const struct im_request *request, const struct im_job *job,
                      const struct im_link *before, const char *failed, const char *spooled,
                      char **ret_path, struct im_error *err)
{
    const char *file = file_of(before, spooled);
    char *what IM_FREE = im_asprintf("%s-input", failed);
    char *path IM_FREE = file ? strdup(file) : what ? im_keep_path(request, job, what) : NULL;
    int r = path ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (r == 0 && !file)
        r = make_file(request, before->stage->name, spooled, path, err);
    if (r == 0)
        *ret_path = im_steal(path);
    return r;
}

void im_keep(const struct im_request *request, const struct im_job *job, const char *failed,
             const char *spooled)
{
    struct im_workflow_ask ask = request->ask;
    struct im_chain chain IM_CHAIN_DONE = { 0 };
    const struct im_link *before;
    struct im_error err = { 0 };
    char *path IM_FREE = NULL;
    char shown[1024];
    int r;

    ask.until = failed;
    r = im_workflow_chain(request->workflow, &ask, &chain, &err);
    before = r == 0 ? link_before(&chain, failed) : NULL;
    if (before)
        r = keep_input(request, job, before, failed, spooled, &path, &err);
    if (r < 0)
        fprintf(stderr, "what flows into '%s' could not be kept: %s\n", failed,
                im_text_printable(shown, sizeof(shown), err.message));
    else if (path)
        fprintf(stderr, "kept: %s holds what flows into '%s'\n",
                im_text_printable(shown, sizeof(shown), path), failed);
    if (spooled && (!path || strcmp(path, spooled) != 0))
        (void)unlink(spooled);
    if (r == 0 && names(request->workflow, failed))
        print_command(request, failed, path);
}
