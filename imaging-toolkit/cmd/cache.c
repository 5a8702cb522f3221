/* cache - look at the scratch of this machine, limit it, keep images in it: the command line, and
 * what looks or limits. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cmd/cache-inner.h"
#include "cmd/cmd.h"
#include "core/format.h"

static const char help[] =
    "usage: imaging-toolkit cache status [--place DIR] [--output text|json]\n"
    "       imaging-toolkit cache limit [--place DIR] [--policy wait|fail] [SIZE|none]\n"
    "       imaging-toolkit cache gc [--place DIR] [--target SIZE]\n"
    "       imaging-toolkit cache add [--place DIR] [--sha256 HEX] SOURCE\n"
    "       imaging-toolkit cache get [--place DIR] [--force] HEX OUT\n"
    "       imaging-toolkit cache format [--force] DEVICE\n"
    "\n"
    "  imaging-toolkit cache limit --place /srv/scratch 50G\n"
    "  imaging-toolkit convert --scratch /srv/scratch -f qcow2 -O raw disk.qcow2 disk.raw\n"
    "\n"
    "A place is a directory, or a block device with ext4 or XFS, that second copies of images are\n"
    "made in.  With a limit, all processes that use it together never have more in it: entries of\n"
    "the cache make room, the one used longest ago first; who then finds none waits, or fails.\n"
    "\n"
    "status prints what is in a place.  limit sets or prints its limit.  gc takes back what dead\n"
    "processes left, and with --target lets entries go until they take no more than that.  add\n"
    "keeps a file or URL and prints its SHA-256; with --sha256, an entry that is there is not "
    "read\n"
    "again.  get copies an entry into a file, and proves it meanwhile.  format makes ext4 on a\n"
    "blank device; --force on any, which destroys what is there.\n"
    "\n"
    "      --place DIR       the place (default: TMPDIR, else /var/tmp)\n"
    "      --policy POLICY   what becomes of who finds no room: wait (default) or fail\n"
    "      --target SIZE     let entries go until they take at most SIZE\n"
    "      --sha256 HEX      what SOURCE must have\n"
    "      --force           replace OUT; overwrite DEVICE\n"
    "      --output FORM     text (default) or json\n"
    "\n"
    "exit status: 0 done, 1 failed, 2 usage, 3 not there, 5 no space or over the limit,\n"
    "8 SHA-256 differs, 130 cancelled\n";

enum { OPT_PLACE = 256, OPT_POLICY, OPT_TARGET, OPT_SHA256, OPT_FORCE, OPT_OUTPUT };

static const struct option options[] = {
    { "place", required_argument, NULL, OPT_PLACE },
    { "policy", required_argument, NULL, OPT_POLICY },
    { "target", required_argument, NULL, OPT_TARGET },
    { "sha256", required_argument, NULL, OPT_SHA256 },
    { "force", no_argument, NULL, OPT_FORCE },
    { "output", required_argument, NULL, OPT_OUTPUT },
    { NULL, 0, NULL, 0 },
};

/* ---- status, limit, gc ---- */

/* A number of bytes, or null for none. */
static json_t *bytes_or_null(uint64_t bytes)
{
    return bytes == UINT64_MAX ? json_null() : json_integer((json_int_t)bytes);
}

static json_t *entry_json(const struct im_cache_entry *entry)
{
    char used[32];

    return json_pack("{s:s, s:s*, s:I, s:I, s:s, s:b, s:i}", "id", entry->id, "parent",
                     *entry->parent ? entry->parent : NULL, "size", (json_int_t)entry->size,
                     "bytes", (json_int_t)entry->bytes, "last_use",
                     im_clock_iso8601(used, sizeof(used), entry->used_ms), "in_use", entry->in_use,
                     "dependents", (int)entry->dependents);
}

static json_t *status_json(const char *place, const struct im_cache_status *status)
{
    json_t *entries = json_array();

    for (unsigned i = 0; i < status->count; i++)
        (void)json_array_append_new(entries, entry_json(&status->entry[i]));
    return json_pack("{s:s, s:b, s:o, s:s, s:I, s:{s:I, s:I, s:I, s:I}, s:i, s:o}", "place", place,
                     "set_up", status->set_up, "limit", bytes_or_null(status->limit), "policy",
                     status->fail ? "fail" : "wait", "free", (json_int_t)status->free, "used",
                     "reservations", (json_int_t)status->scratch, "entries",
                     (json_int_t)status->entries, "foreign", (json_int_t)status->foreign,
                     "bookkeeping", (json_int_t)status->books, "reservations",
                     (int)status->reservations, "entries", entries);
}

static void print_entry(const struct im_cache_entry *entry)
{
    char size[16], used[32];

    printf("%s  %10s  used %s%s", entry->id, im_format_size(size, sizeof(size), entry->bytes),
           im_clock_iso8601(used, sizeof(used), entry->used_ms), entry->in_use ? ", in use" : "");
    if (entry->dependents)
        printf(", %u depend on it", entry->dependents);
    if (*entry->parent)
        printf(", made of %.16s", entry->parent);
    putchar('\n');
}

static void print_status(const char *place, const struct im_cache_status *status)
{
    char name[1024], a[16], b[16], c[16], d[16];

    im_text_printable(name, sizeof(name), place);
    if (!status->set_up) {
        printf("%s: nothing is counted here ('cache limit' changes that), %s free\n", name,
               im_format_size(a, sizeof(a), status->free));
        return;
    }
    printf("%s: limit %s (who finds no room %s), %s free\n", name,
           status->limit == UINT64_MAX ? "none" : im_format_size(a, sizeof(a), status->limit),
           status->fail ? "fails" : "waits", im_format_size(b, sizeof(b), status->free));
    printf("%u reservations %s, %u entries %s, other files %s, bookkeeping %s\n",
           status->reservations, im_format_size(a, sizeof(a), status->scratch), status->count,
           im_format_size(b, sizeof(b), status->entries),
           im_format_size(c, sizeof(c), status->foreign),
           im_format_size(d, sizeof(d), status->books));
    for (unsigned i = 0; i < status->count; i++)
        print_entry(&status->entry[i]);
}

int im_cache_expect(const struct im_cache_request *request, int words, const char *what,
                    struct im_error *err)
{
    if (request->argc == words)
        return 0;
    return im_fail(err, EINVAL, "%s expected, %d words given; see 'cache --help'", what,
                   request->argc);
}

static int show(const struct im_cache_request *request, struct im_error *err)
{
    struct im_cache_status status;
    int r = im_cache_look(request->place, &status, err);

    if (r < 0)
        return r;
    if (request->json)
        r = im_print_json(status_json(request->place, &status), err);
    else
        print_status(request->place, &status);
    im_cache_status_done(&status);
    return r;
}

static int run_status(const struct im_cache_request *request, struct im_error *err)
{
    int r = im_cache_expect(request, 0, "nothing further is", err);

    return r < 0 ? r : show(request, err);
}

/* What is not said stays. */
static int run_limit(const struct im_cache_request *request, struct im_error *err)
{
    struct im_cache_status status;
    uint64_t limit;
    bool fail;
    int r;

    if (request->argc == 0 && !request->policy)
        return show(request, err);
    if (request->argc > 1)
        return im_cache_expect(request, 1, "SIZE or none is", err);
    r = im_cache_look(request->place, &status, err);
    if (r < 0)
        return r;
    limit = status.limit;
    fail = request->policy ? strcmp(request->policy, "fail") == 0 : status.fail;
    im_cache_status_done(&status);
    if (request->argc == 1 && strcmp(request->argv[0], "none") == 0)
        limit = UINT64_MAX;
    else if (request->argc == 1 &&
             (im_parse_size(request->argv[0], &limit) < 0 || limit > INT64_MAX))
        return im_fail(err, EINVAL, "'%s' is neither a size like 64M or 50G nor 'none'",
                       request->argv[0]);
    return im_cache_limit(request->place, limit, fail, err);
}

static int run_gc(const struct im_cache_request *request, struct im_error *err)
{
    char text[16];
    uint64_t freed = 0;
    int r = im_cache_expect(request, 0, "nothing further is", err);

    if (r == 0)
        r = im_cache_collect(request->place, request->targeted ? request->target : UINT64_MAX,
                             &freed, err);
    if (r < 0)
        return r;
    if (request->json)
        printf("{\"freed_bytes\": %" PRIu64 "}\n", freed);
    else
        printf("%s freed\n", im_format_size(text, sizeof(text), freed));
    return 0;
}

/* ---- which ---- */

static const struct verb {
    const char *name;
    int (*run)(const struct im_cache_request *request, struct im_error *err);
} verbs[] = {
    { "status", run_status },
    { "limit", run_limit },
    { "gc", run_gc },
    { "add", im_cache_add_command },
    { "get", im_cache_get_command },
    { "format", im_cache_format_command },
};

static int set_option(int option, struct im_cache_request *request, struct im_error *err)
{
    switch (option) {
    case OPT_PLACE:
        request->place = optarg;
        return 0;
    case OPT_POLICY:
        request->policy = optarg;
        if (strcmp(optarg, "wait") != 0 && strcmp(optarg, "fail") != 0)
            return im_fail(err, EINVAL, "--policy '%s' is neither wait nor fail", optarg);
        return 0;
    case OPT_TARGET:
        request->targeted = true;
        if (im_parse_size(optarg, &request->target) < 0)
            return im_fail(err, EINVAL, "--target '%s' is not a size like 0 or 10G", optarg);
        return 0;
    case OPT_SHA256:
        request->sha256 = optarg;
        if (!im_cache_is_id(optarg))
            return im_fail(err, EINVAL,
                           "--sha256 '%s' is no SHA-256: 64 hexadecimal digits in lower case",
                           optarg);
        return 0;
    case OPT_FORCE:
        request->force = true;
        return 0;
    case OPT_OUTPUT:
        return im_parse_output(optarg, &request->json, err);
    default:
        return -EINVAL; /* err was filled by im_getopt */
    }
}

static int run_verb(const char *name, const struct im_cache_request *request, struct im_error *err)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return verbs[i].run(request, err);
    return im_fail(err, EINVAL, "'%s' is not status, limit, gc, add, get or format", name);
}

static int cache(int argc, char **argv, struct im_error *err)
{
    struct im_cache_request request = { .place = im_scratch_default() };
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":", options, err)) != -1)
        r = set_option(c, &request, err);
    if (r == 0 && optind == argc)
        r = im_fail(err, EINVAL, "what? status, limit, gc, add, get or format; see 'cache --help'");
    if (r == 0) {
        request.argc = argc - optind - 1;
        request.argv = argv + optind + 1;
        r = run_verb(argv[optind], &request, err);
    }
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_cache = {
    .name = "cache",
    .summary = "look at and limit the place of second copies, keep images there",
    .help = help,
    .run = cache,
};
