/* delete-upload - delete the parts and the manifest of an upload by the manifest's own URLs. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/json.h"
#include "cmd/cmd.h"
#include "cmd/confined.h"
#include "core/progress.h"
#include "core/urls.h"
#include "source/discard.h"

/* An URL of 4 KiB, each byte escaped, and two lists of 256 entries of 300 bytes. */
#define JOB_MAX 196608

static const char help[] =
    "usage: imaging-toolkit delete-upload [--output text|json] [--progress-fd N] [URL]\n"
    "\n"
    "  imaging-toolkit delete-upload 'https://s3.example.com/b/disk.manifest.xml?Signature=…'\n"
    "\n"
    "Deletes the parts that the import manifest at URL lists, by their delete-urls, and then the\n"
    "manifest by its self-destruct-url.  What is gone already is no failure, so the command may\n"
    "be repeated.  Nothing is deleted when one of these URLs does not name the part's own\n"
    "object, in or below the manifest's directory.\n"
    "\n"
    "Without URL, a JSON object {\"manifest\": URL} is read from standard input, so that the URL\n"
    "does not show in the list of processes.\n"
    "\n"
    "      --output FORMAT   of the result: text (the default) or json\n"
    "      --progress-fd N   write the result or the error as JSON Lines to descriptor N\n"
    "\n"
    "Exit status: 0 all is gone, 2 usage, 3 access was denied, 4 the manifest cannot be used, 6\n"
    "the store does not answer now, 130 cancelled.\n";

static const struct option options[] = {
    { "output", required_argument, NULL, 'o' },
    { "progress-fd", required_argument, NULL, 'p' },
    { NULL, 0, NULL, 0 },
};

/* {"manifest": URL, "urls": … (core/urls.h)}; the URL is owned by the caller. */
static int parse_job(const char *text, char **ret_url, struct im_error *err)
{
    json_t *job = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *url = json_string_value(json_object_get(job, "manifest"));
    const json_t *urls = json_object_get(job, "urls");
    int r = 0;

    if (im_json_lost()) /* a character of the URL, too */
        r = im_fail_memory(err);
    else if (!url || json_object_size(job) != (urls ? 2 : 1))
        r = im_fail(err, EINVAL,
                    "job: an object with \"manifest\", an URL, and perhaps \"urls\" is expected");
    else if (urls)
        r = im_urls_parse(urls, err);
    *ret_url = r == 0 && url ? strdup(url) : NULL;
    if (r == 0 && !*ret_url)
        r = im_fail_memory(err);
    json_decref(job);
    return r;
}

static int get_url(const char *argument, char **ret_url, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(JOB_MAX);
    int r;

    if (argument) {
        *ret_url = strdup(argument);
        return *ret_url ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    r = im_read_job(&text, err);
    return r < 0 ? r : parse_job(text.data ? text.data : "", ret_url, err);
}

static int print_result(const struct im_discarded *done, bool json, struct im_progress *progress,
                        struct im_error *err)
{
    json_t *object =
        json_pack("{s:I, s:b}", "parts", (json_int_t)done->parts, "was_gone", (int)done->was_gone);
    char *text IM_FREE = object ? json_dumps(object, JSON_COMPACT) : NULL;

    json_decref(object);
    if (!text || im_json_lost())
        return im_fail_memory(err);
    im_progress_result(progress, text);
    if (json)
        puts(text);
    else if (done->was_gone)
        puts("there is no manifest any more");
    else
        printf("%zu parts and their manifest are deleted\n", done->parts);
    return 0;
}

static int delete_upload(const char *argument, bool json, int fd, struct im_error *err)
{
    struct im_progress *progress = im_progress_new(fd);
    struct im_discarded done;
    char *url IM_FREE = NULL;
    int r;

    if (!progress)
        return im_fail(err, ENOMEM, "out of memory");
    r = get_url(argument, &url, err);
    if (r == 0)
        r = im_confined_client(err);
    if (r == 0)
        r = im_discard_upload(url, &done, err);
    if (r == 0)
        r = print_result(&done, json, progress, err);
    if (r < 0)
        im_progress_error(progress, err);
    im_progress_free(progress);
    return r;
}

static int run(int argc, char **argv, struct im_error *err)
{
    bool json = false;
    int fd = -1;
    int r = 0;
    int c;

    im_http_global();
    while (r == 0 && (c = im_getopt(argc, argv, ":", options, err)) != -1)
        r = c == 'o'   ? im_parse_output(optarg, &json, err)
            : c == 'p' ? im_parse_fd(optarg, &fd, err)
                       : -EINVAL;
    if (r == 0 && argc - optind > 1)
        r = im_fail(err, EINVAL, "one URL is needed, %d given; see 'delete-upload --help'",
                    argc - optind);
    if (r == 0)
        r = delete_upload(argv[optind], json, fd, err);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_delete_upload = {
    .name = "delete-upload",
    .summary = "delete an upload by its manifest's own URLs",
    .help = help,
    .run = run,
};
