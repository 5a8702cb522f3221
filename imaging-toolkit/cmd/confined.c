/* confined - this process gives up what its job does not need; see confined.h. */

#include <config.h>

#include "cmd/confined.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/spawn.h"
#include "base/text.h"
#include "box/second-reader.h"
#include "cache/cache.h"
#include "core/need.h"
#include "core/objects.h"
#include "source/bundle-parts.h"

#define MANIFEST "manifest:"

static bool is_url(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

/* Is there a server to be asked?  Manifests name some wherever they are; the first stage opens one
 * where there is no source. */
static bool needs_network(const struct im_confined_names *names, const struct im_job *job)
{
    if (names->source)
        return is_url(names->source) || strncmp(names->source, MANIFEST, strlen(MANIFEST)) == 0;
    return job != NULL;
}

static bool is_device(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

static int allow_programs(struct im_confine *confine, struct im_error *err)
{
    const char *name;
    int r = im_confine_allow(confine, "/dev/kvm", IM_MAY_READ | IM_MAY_WRITE, err);

    if (r == 0) /* what guest/by-grub.c allows */
        r = im_confine_allow(confine, "/", IM_MAY_LIST, err);

    for (unsigned i = 0; r == 0 && (name = im_need_program(i)); i++) {
        struct im_program found;

        if (im_spawn_find(name, &found))
            r = im_confine_allow(confine, found.path, IM_MAY_READ | IM_MAY_RUN, err);
    }
    return r < 0 ? r : im_second_reader_allow(confine, err);
}

/* A file that is read; of a directory in its place no more than that it is one. */
static int allow_file(struct im_confine *confine, const char *path, struct im_error *err)
{
    struct stat st;
    bool directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);

    return im_confine_allow(confine, path, directory ? IM_MAY_LIST : IM_MAY_READ, err);
}

/* The directory that a path is in. */
static int allow_beside(struct im_confine *confine, const char *path, unsigned what,
                        struct im_error *err)
{
    const char *slash = strrchr(path, '/');
    char *dir IM_FREE = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");

    return dir ? im_confine_allow(confine, dir, what, err) : im_fail(err, ENOMEM, "out of memory");
}

static int allow_source(struct im_confine *confine, const char *spec, struct im_error *err)
{
    if (is_url(spec))
        return 0;
    if (strcmp(spec, "-") == 0) /* children open it again */
        return im_confine_allow_fd(confine, STDIN_FILENO, IM_MAY_READ, err);
    if (strncmp(spec, MANIFEST, strlen(MANIFEST)) == 0)
        spec += strlen(MANIFEST);
    return allow_file(confine, spec, err);
}

static int allow_argument(struct im_confine *confine, const struct im_arg *arg,
                          struct im_error *err)
{
    switch (arg->param->type) {
    case IM_PARAM_FILE:
        return allow_file(confine, arg->text, err);
    case IM_PARAM_BESIDE:
        return is_url(arg->text) ? 0 : allow_beside(confine, arg->text, IM_MAY_READ, err);
    case IM_PARAM_INTO:
        return im_confine_allow(confine, arg->text, IM_MAY_READ | IM_MAY_WRITE | IM_MAY_NEST, err);
    default:
        return 0;
    }
}

static int allow_stages(struct im_confine *confine, const struct im_job *job, struct im_error *err)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < job->stage_count; i++)
        for (unsigned j = 0; r == 0 && j < job->stage[i].args.count; j++)
            r = allow_argument(confine, &job->stage[i].args.arg[j], err);
    return r;
}

static int allow_names(struct im_confine *confine, const struct im_confined_names *names,
                       struct im_error *err)
{
    int r = names->source ? allow_source(confine, names->source, err) : 0;

    if (r == 0 && names->extents)
        r = im_confine_allow(confine, names->extents, IM_MAY_READ, err);
    if (r == 0 && names->file)
        r = allow_file(confine, names->file, err);
    return r;
}

static int allow_job(struct im_confine *confine, const struct im_job *job, struct im_error *err)
{
    const unsigned all = IM_MAY_READ | IM_MAY_WRITE;
    int r = 0;

    if (im_objects.dir)
        r = im_confine_allow(confine, im_objects.dir, IM_MAY_READ, err);
    if (r == 0 && job->store && strcmp(job->store, "-") != 0)
        r = allow_beside(confine, job->store, all, err);
    if (r == 0 && job->earlier)
        r = allow_beside(confine, job->earlier, all, err);
    return r < 0 ? r : allow_stages(confine, job, err);
}

static void warn(const struct im_error *why)
{
    fprintf(stderr, "imaging-toolkit: warning: %s; do not read images of strangers here\n",
            why->message);
}

/* Everything that is allowed; job: NULL where there are only names. */
static int allow_all(struct im_confine *confine, const struct im_confined_names *names,
                     const struct im_job *job, struct im_error *err)
{
    const char *scratch = names->scratch ? names->scratch : im_scratch_default();
    int r;

    confine->programs = true;
    confine->network = needs_network(names, job);
    confine->mounts = is_device(scratch);
    confine->sanitizers = IM_SANITIZED;
    r = im_confine_begin(confine, err);
    if (r == 0)
        r = allow_programs(confine, err);
    if (r == 0)
        r = im_confine_allow_libraries(confine, err);
    if (r == 0)
        r = im_cache_allow(scratch, confine, err);
    if (r == 0)
        r = allow_names(confine, names, err);
    return r < 0 || !job ? r : allow_job(confine, job, err);
}

/* Of what was tried with the result r: 0 also where the kernel cannot, which is told, unless it is
 * required. */
static int told(int r, const struct im_error *why, bool required, struct im_error *err)
{
    if (r == -ENOTSUP && required)
        return im_fail_code(err, ENOPKG, "Unconfined", "%s; this job is done only confined",
                            why->message);
    if (r == -ENOTSUP)
        warn(why);
    else if (r < 0 && err)
        *err = *why;
    return r == -ENOTSUP ? 0 : r;
}

/* What is fetched is fetched by a process of its own from now on, and this one reaches nobody. */
static int let_fetch(const struct im_confined_names *names, const struct im_job *job,
                     struct im_error *err)
{
    struct im_error why = { 0 };
    const char *manifest = names->source ? NULL : im_arg_text(&job->stage[0].args, "manifest");
    int r = names->source ? im_source_prepare(names->source, err)
            : manifest    ? im_bundle_parts_prepare(manifest, err)
                          : 0;

    if (r < 0)
        return r;
    return told(im_confine_offline(&why), &why, job && job->confined, err);
}

static int confine_self(struct im_confine *confine, bool required, struct im_error *err)
{
    struct im_error why = { 0 };

    return told(im_confine_self(confine, &why), &why, required, err);
}

static int enter(const struct im_confined_names *names, const struct im_job *job,
                 struct im_error *err)
{
    struct im_confine confine IM_CONFINE_DONE = IM_CONFINE;
    int r = allow_all(&confine, names, job, err);

    if (r == 0)
        r = confine_self(&confine, job && job->confined, err);
    return r == 0 && confine.network ? let_fetch(names, job, err) : r;
}

int im_confined_client(struct im_error *err)
{
    struct im_confine confine IM_CONFINE_DONE = IM_CONFINE;
    int r = im_confine_begin_client(&confine, err);

    return r < 0 ? r : confine_self(&confine, false, err);
}

int im_confined(const struct im_job *job, struct im_error *err)
{
    const struct im_confined_names names = {
        .source = job->source,
        .extents = job->extents,
        .scratch = job->scratch,
    };

    return enter(&names, job, err);
}

int im_confined_look(const struct im_confined_names *names, struct im_error *err)
{
    return enter(names, NULL, err);
}
