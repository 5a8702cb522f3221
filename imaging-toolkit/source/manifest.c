/* manifest - the parts of an import manifest as a source.
 *
 * A manifest or part that is missing is "not yet": stock clients ask for the import first and
 * upload afterwards.  Every part is asked for before the first byte is read, from the last to the
 * first, because clients upload in order: while an upload runs, one question is enough. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "aws/manifest.h"
#include "base/cleanup.h"
#include "base/http.h"
#include "base/io.h"
#include "base/text.h"
#include "core/cancel.h"
#include "core/objects.h"
#include "core/source.h"
#include "source/fetch.h"
#include "source/local.h"
#include "source/manifest-fetch.h"
#include "source/parts.h"
#include "source/served.h"

#define PREFIX  "manifest:"
#define PENDING "PendingUpload"

/* HEADs in flight, each on a connection of its own. */
#define ASKERS 4

/* Tries of each question before the first byte is read.  Nothing is lost by giving up early: the
 * service asks again later, and a dead store does not hold one of its workers meanwhile. */
#define OPEN_TRIES 2

static bool manifest_accepts(const char *spec)
{
    return strncmp(spec, PREFIX, strlen(PREFIX)) == 0;
}

static void free_http(struct im_http **http)
{
    im_http_free(*http);
}

static void free_manifest(struct im_manifest **manifest)
{
    im_manifest_free(*manifest);
}

/* ---- the document ---- */

static int read_path(const char *path, struct im_manifest **ret_manifest, struct im_error *err)
{
    char *text IM_FREE = NULL;
    size_t len;
    int r = im_read_file(path, IM_MANIFEST_MAX, &text, &len, err);

    if (r == -EFBIG)
        return im_fail_code(err, EBADMSG, "InvalidManifest",
                            "the manifest is larger than the %u bytes allowed", IM_MANIFEST_MAX);
    return r < 0 ? r : im_manifest_parse(text, len, ret_manifest, err);
}

/* A RAW image has nothing in it that would tell that its end is missing. */
static int check_raw_size(const struct im_manifest *manifest, struct im_error *err)
{
    if (strcasecmp(manifest->file_format, "RAW") != 0 || manifest->size == manifest->file_size)
        return 0;
    return im_fail_code(err, EBADMSG, "InvalidManifest",
                        "the manifest gives the RAW image %" PRIu64
                        " bytes, but its parts hold %" PRIu64,
                        manifest->size, manifest->file_size);
}

/* No part is asked for when the manifest leads somewhere that is not allowed. */
static int check_urls(const struct im_manifest *manifest, struct im_error *err)
{
    for (size_t i = 0; i < manifest->part_count; i++) {
        const struct im_manifest_part *part = &manifest->part[i];
        int r = im_http_may(part->head_url, err);

        if (r == 0)
            r = im_http_may(part->get_url, err);
        if (r < 0) {
            im_error_prefix(err, "part %zu of %zu", i + 1, manifest->part_count);
            return r;
        }
    }
    return 0;
}

/* ---- are all parts there? ---- */

/* What was told of a part. */
struct told {
    char etag[128];
    bool sealed;
    char *file; /* as im_piece has it */
};

/* What the askers share. */
struct roll {
    const struct im_manifest *manifest;
    const struct im_fetch_rules *rules;
    struct told *told;    /* per part, filled in */
    pthread_mutex_t lock; /* guards what follows */
    size_t left;          /* parts nobody has asked for; the last of them is next */
    struct im_error err;  /* of the last part that failed, by index */
    size_t failed;        /* its index + 1, or 0 */
};

/* Ask the object store of this machine for the file that holds a part.  It is asked by the very GET
 * that would fetch the part, for one byte of it, so that it tells nobody who could not have the
 * bytes.  Whatever is odd means that the part is fetched. */
static void ask_for_file(const struct im_fetch_rules *rules, struct im_http *http,
                         const struct im_manifest_part *part, struct told *told)
{
    static const char *const headers[] = { IM_LOCAL_ASK, "Range: bytes=0-0", NULL };
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct im_http_request request = { .method = "GET", .url = part->get_url, .headers = headers };
    char range[64];

    (void)snprintf(range, sizeof(range), "bytes 0-0/%" PRIu64, part->end - part->start + 1);
    if (!im_objects.prefix ||
        strncmp(part->get_url, im_objects.prefix, strlen(im_objects.prefix)) != 0 ||
        im_fetch_exchange(http, &request, rules, "a part", &response, NULL) < 0)
        return;
    if (strcmp(response.content_range, range) == 0 && told->etag[0] &&
        strcmp(response.etag, told->etag) == 0 && response.object_file[0])
        told->file = strdup(response.object_file);
}

static int ask_once(const struct roll *roll, struct im_http *http, size_t index,
                    struct im_http_response *response, struct im_error *err)
{
    const struct im_manifest_part *part = &roll->manifest->part[index];
    struct im_http_request request = { .method = "HEAD", .url = part->head_url };
    uint64_t want = part->end - part->start + 1;
    char what[64];
    int r;

    (void)snprintf(what, sizeof(what), "part %zu of %zu", index + 1, roll->manifest->part_count);
    r = im_fetch_exchange(http, &request, roll->rules, what, response, err);
    if (r < 0)
        return r;
    if (response->length != UINT64_MAX && response->length != want)
        return im_fail_code(err, EBADMSG, "DamagedPart",
                            "%s holds %" PRIu64 " bytes, but its range in the manifest has %" PRIu64
                            "; upload it again",
                            what, response->length, want);
    return 0;
}

/* A length that is wrong is mostly the upload's, but may be of an answer that is not the part. */
static int ask(struct roll *roll, struct im_http *http, size_t index, struct im_error *err)
{
    const struct im_manifest_part *part = &roll->manifest->part[index];
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct im_fetch_tries tries = { .rules = roll->rules };
    struct told *told = &roll->told[index];
    int r;

    do {
        im_http_response_done(&response);
        r = ask_once(roll, http, index, &response, err);
    } while (r == -EBADMSG && im_fetch_again(&tries, r));
    if (r < 0)
        return r;
    memcpy(told->etag, response.etag, sizeof(told->etag));
    told->sealed = im_http_is_sealed(&response);
    ask_for_file(roll->rules, http, part, told);
    return 0;
}

/* One asker: takes the last part nobody has asked for, until one is missing. */
static void *asker(void *arg)
{
    struct roll *roll = arg;
    struct im_http *http IM_CLEANUP(free_http) = im_http_new();

    (void)pthread_mutex_lock(&roll->lock);
    while (roll->left > 0 && !roll->failed) {
        size_t index = --roll->left;
        struct im_error why = { 0 };
        int r;

        (void)pthread_mutex_unlock(&roll->lock);
        r = http ? ask(roll, http, index, &why) : im_fail(&why, ENOMEM, "out of memory");
        (void)pthread_mutex_lock(&roll->lock);
        if (r < 0 && index + 1 > roll->failed) {
            roll->failed = index + 1;
            roll->err = why;
        }
    }
    (void)pthread_mutex_unlock(&roll->lock);
    return NULL;
}

static int call_roll(struct roll *roll, struct im_error *err)
{
    pthread_t thread[ASKERS - 1];
    size_t started = 0;

    (void)pthread_mutex_init(&roll->lock, NULL);
    while (started < ASKERS - 1 && started + 1 < roll->manifest->part_count &&
           pthread_create(&thread[started], NULL, asker, roll) == 0)
        started++;
    (void)asker(roll); /* this thread is one of them, and the only one when none can be started */
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(thread[i], NULL);
    (void)pthread_mutex_destroy(&roll->lock);
    if (!roll->failed)
        return 0;
    if (err)
        *err = roll->err;
    return -roll->err.number;
}

/* ---- opening ---- */

static int open_parts(const char *name, const struct im_manifest *manifest, const struct told *told,
                      const struct im_fetch_rules *rules, struct im_source **ret_source,
                      struct im_error *err)
{
    const struct im_parts_options options = { .missing_code = PENDING,
                                              .local_dir = im_objects.dir,
                                              .budget = atomic_load(rules->budget) };
    struct im_piece *pieces IM_FREE = calloc(manifest->part_count + 1, sizeof(*pieces));

    if (!pieces)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < manifest->part_count; i++) {
        const struct im_manifest_part *part = &manifest->part[i];

        pieces[i] = (struct im_piece){ .url = part->get_url,
                                       .len = part->end - part->start + 1,
                                       .etag = told[i].etag,
                                       .sealed = told[i].sealed,
                                       .file = told[i].file };
    }
    return im_parts_open(name, pieces, manifest->part_count, &options, ret_source, err);
}

static int ask_and_open(const char *name, const struct im_manifest *manifest,
                        const struct im_fetch_rules *rules, struct im_source **ret_source,
                        struct im_error *err)
{
    struct told *told IM_FREE = calloc(manifest->part_count + 1, sizeof(*told));
    struct roll roll = {
        .manifest = manifest, .rules = rules, .told = told, .left = manifest->part_count
    };
    int r;

    if (!told)
        return im_fail(err, ENOMEM, "out of memory");
    r = call_roll(&roll, err);
    if (r == 0)
        r = open_parts(name, manifest, told, rules, ret_source, err);
    for (size_t i = 0; i < manifest->part_count; i++)
        free(told[i].file);
    return r;
}

static int open_here(const char *place, struct im_source **ret_source, struct im_error *err)
{
    bool is_url = strncasecmp(place, "http://", 7) == 0 || strncasecmp(place, "https://", 8) == 0;
    struct im_manifest *manifest IM_CLEANUP(free_manifest) = NULL;
    atomic_int budget = IM_FETCH_BUDGET;
    const struct im_fetch_rules rules = {
        .tries = OPEN_TRIES, .cancel = &im_cancelled, .budget = &budget, .missing_code = PENDING
    };
    char shown[1024];
    int r;

    r = is_url ? im_manifest_fetch(place, &rules, &manifest, err)
               : read_path(place, &manifest, err);
    if (r == 0)
        r = check_raw_size(manifest, err);
    if (r == 0)
        r = check_urls(manifest, err);
    if (r < 0)
        return r;
    return ask_and_open(is_url ? im_text_url(shown, sizeof(shown), place) : place, manifest, &rules,
                        ret_source, err);
}

static int manifest_prepare(const char *spec, struct im_error *err)
{
    return im_served_prepare(open_here, spec + strlen(PREFIX), err);
}

static int manifest_open(const char *spec, struct im_source **ret_source, struct im_error *err)
{
    return im_served_open(open_here, spec + strlen(PREFIX), ret_source, err);
}

const struct im_source_type im_source_manifest = {
    .name = "manifest",
    .summary = "manifest:PATH-or-URL: the uploaded parts an import manifest lists",
    .accepts = manifest_accepts,
    .prepare = manifest_prepare,
    .open = manifest_open,
};
