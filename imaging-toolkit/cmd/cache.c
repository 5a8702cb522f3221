/* cache - look at the scratch of this machine, limit it, keep images in it. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/io.h"
#include "base/text.h"
#include "box/box.h"
#include "cache/cache.h"
#include "cmd/cmd.h"
#include "core/cancel.h"
#include "core/digest.h"
#include "core/format.h"
#include "core/source.h"
#include "core/store.h"

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

struct request {
    const char *place, *policy, *sha256;
    uint64_t target;
    bool targeted, force, json;
    int argc; /* what is left: words that are no options */
    char **argv;
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

static int expect(const struct request *request, int words, const char *what, struct im_error *err)
{
    if (request->argc == words)
        return 0;
    return im_fail(err, EINVAL, "%s expected, %d words given; see 'cache --help'", what,
                   request->argc);
}

static int show(const struct request *request, struct im_error *err)
{
    struct im_cache_status status;
    int r = im_cache_look(request->place, &status, err);
    json_t *object;

    if (r < 0)
        return r;
    if (request->json) {
        object = status_json(request->place, &status);
        (void)json_dumpf(object, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(object);
    } else {
        print_status(request->place, &status);
    }
    im_cache_status_done(&status);
    return 0;
}

static int run_status(const struct request *request, struct im_error *err)
{
    int r = expect(request, 0, "nothing further is", err);

    return r < 0 ? r : show(request, err);
}

/* What is not said stays. */
static int run_limit(const struct request *request, struct im_error *err)
{
    struct im_cache_status status;
    uint64_t limit;
    bool fail;
    int r;

    if (request->argc == 0 && !request->policy)
        return show(request, err);
    if (request->argc > 1)
        return expect(request, 1, "SIZE or none is", err);
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

static int run_gc(const struct request *request, struct im_error *err)
{
    char text[16];
    uint64_t freed = 0;
    int r = expect(request, 0, "nothing further is", err);

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

/* ---- add and get ---- */

/* What comes without a size is reserved in steps of so many bytes. */
#define STEP (16u << 20)
/* Moved at once. */
#define PIECE (1u << 20)

/* Read all of source into the scratch. */
static int fill(struct im_source *source, struct im_scratch *scratch, struct im_error *err)
{
    void *buf IM_FREE = malloc(PIECE);
    uint64_t offset = 0;
    size_t got = 0;
    int r = buf ? 0 : im_fail(err, ENOMEM, "out of memory");

    do {
        if (r == 0)
            r = im_cancel_check(err);
        if (r == 0)
            r = im_source_read_some(source, buf, PIECE, offset, &got, err);
        if (r == 0 && offset + got > scratch->bytes)
            r = im_scratch_grow(scratch, offset + got + STEP, err);
        if (r < 0)
            return r;
        r = im_pwrite(scratch->fd, buf, got, offset);
        if (r < 0)
            return im_fail_errno(err, -r, "cannot write byte %" PRIu64 " of '%s' to the cache",
                                 offset, source->name);
        offset += got;
    } while (got > 0);
    return im_source_finish(source, err);
}

/* The digest of a file that can be read twice, so that it need not be copied when it is there. */
static int find_digest(struct im_source *source, char *ret_hex, struct im_error *err)
{
    uint8_t digest[32];
    uint64_t at, len;
    int fd, r;

    if (im_source_local(source, 0, source->size, &fd, &at, &len) < 0 || at || len != source->size)
        return im_fail(err, EINVAL,
                       "'%s' cannot be read twice: say what it is, --sha256 HEX, or save it in a "
                       "file first",
                       source->name);
    r = im_sha256_file(fd, source->size, NULL, digest, err);
    if (r == 0)
        im_hex(digest, sizeof(digest), ret_hex);
    return r;
}

static int keep(struct im_source *source, struct im_scratch *scratch, const char *id,
                struct im_entry **ret_entry, struct im_error *err)
{
    int r = fill(source, scratch, err);

    if (r == 0)
        return im_cache_put(scratch, id, NULL, ret_entry, err);
    im_scratch_free(scratch);
    return r;
}

/* Only what is not there is read. */
static int add(const struct request *request, struct im_source **source, const char *spec,
               char id[IM_CACHE_ID + 1], struct im_error *err)
{
    struct im_entry *entry = NULL;
    struct im_scratch *scratch = NULL;
    struct im_error miss = { 0 };
    uint64_t size = 0;
    int r = im_cache_get(request->place, id, false, &entry, &miss);

    if (r < 0 && r != -ENOENT)
        *err = miss;
    if (r == -ENOENT) {
        r = *source ? 0 : im_source_open(spec, source, err);
        if (r == 0)
            size = (*source)->size == IM_SIZE_UNKNOWN ? STEP : (*source)->size;
        if (r == 0)
            r = im_cache_take(request->place, id, size, &entry, &scratch, err);
        if (r == 0 && scratch)
            r = keep(*source, scratch, id, &entry, err);
    }
    im_entry_free(entry);
    return r;
}

static int run_add(const struct request *request, struct im_error *err)
{
    char id[IM_CACHE_ID + 1];
    struct im_source *source = NULL;
    int r = expect(request, 1, "SOURCE is", err);

    if (r == 0)
        r = im_cache_set_up(request->place, err);
    if (r == 0 && request->sha256) {
        memcpy(id, request->sha256, sizeof(id));
    } else if (r == 0) {
        r = im_source_open(request->argv[0], &source, err);
        if (r == 0)
            r = find_digest(source, id, err);
    }
    if (r == 0)
        r = add(request, &source, request->argv[0], id, err);
    im_source_close(source);
    if (r < 0)
        return r;
    puts(id);
    return 0;
}

/* All of it is proven before any of it is given. */
static int copy_out(const struct im_entry *entry, struct im_store *store, struct im_error *err)
{
    void *buf IM_FREE = malloc(PIECE);
    int r = buf ? 0 : im_fail(err, ENOMEM, "out of memory");

    for (uint64_t offset = 0; r == 0 && offset < entry->size;) {
        size_t step = (size_t)im_min(PIECE, entry->size - offset);
        ssize_t n = im_pread(entry->fd, buf, step, offset);

        r = im_cancel_check(err);
        if (r == 0 && (n < 0 || (size_t)n != step))
            r = im_fail_code(err, EIO, "ReadFailed", "cannot read byte %" PRIu64 " of entry %s",
                             offset, entry->id);
        if (r == 0)
            r = im_store_write(store, buf, step, offset, err);
        offset += step;
    }
    return r < 0 ? r : im_store_commit(store, entry->size, err);
}

static int run_get(const struct request *request, struct im_error *err)
{
    struct im_store_options to = { .force = request->force };
    struct im_entry *entry = NULL;
    struct im_store *store = NULL;
    int r = expect(request, 2, "HEX and OUT are", err);

    if (r == 0 && !im_cache_is_id(request->argv[0]))
        r = im_fail(err, EINVAL, "'%s' is no SHA-256: 64 hexadecimal digits in lower case",
                    request->argv[0]);
    if (r == 0)
        r = im_cache_get(request->place, request->argv[0], true, &entry, err);
    if (r == 0) {
        to.size = entry->size;
        r = im_store_open(request->argv[1], &to, &store, err);
    }
    if (r == 0)
        r = copy_out(entry, store, err);
    im_store_close(store);
    im_entry_free(entry);
    return r;
}

/* ---- format ---- */

/* Where every kind of file system, partition table and RAID has something. */
#define HEAD (4u << 20)

static int check_blank(int fd, const char *path, struct im_error *err)
{
    uint8_t *head IM_FREE = malloc(HEAD);
    ssize_t n = head ? im_pread(fd, head, HEAD, 0) : -ENOMEM;

    if (n < 0)
        return im_fail_errno(err, (int)-n, "cannot read '%s'", path);
    for (ssize_t i = 0; i < n; i++)
        if (head[i])
            return im_fail_code(err, EEXIST, "Exists",
                                "'%s' is not blank: byte %zd is 0x%02x; --force destroys what is "
                                "there",
                                path, i, head[i]);
    return 0;
}

static int make_file_system(int fd, uint64_t size, const char *path, struct im_error *err)
{
    char root[64];
    const char *const argv[] = { "mke2fs", "-q", "-F", "-t",       "ext4", "-m",
                                 "0",      "-E", root, IM_BOX_FD3, NULL };
    struct im_box box IM_BOX_DONE = IM_BOX("mke2fs", argv, -1);
    int r;

    (void)snprintf(root, sizeof(root), "root_owner=%ju:%ju,nodiscard", (uintmax_t)geteuid(),
                   (uintmax_t)getegid());
    box.fd3 = fd;
    box.file_size = box.work = size;
    r = im_box_run(&box, err);
    if (r < 0 || im_box_succeeded(&box))
        return r;
    r = im_box_refused(&box, "make a file system on", "device", err);
    im_error_prefix(err, "'%s'", path);
    return r;
}

static int run_format(const struct request *request, struct im_error *err)
{
    const char *path = request->argc == 1 ? request->argv[0] : "";
    int r = expect(request, 1, "DEVICE is", err);
    int fd IM_CLOSE = -1;
    uint64_t size = 0;
    struct stat st;

    if (r < 0)
        return r;
    /* nobody else has it open as a disk of theirs, mounted or not */
    fd = open(path, O_RDWR | O_EXCL | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", path);
    if (!S_ISBLK(st.st_mode) || ioctl(fd, BLKGETSIZE64, &size) < 0)
        return im_fail_code(err, EINVAL, "InvalidArgument", "'%s' is no block device", path);
    if (!request->force)
        r = check_blank(fd, path, err);
    if (r == 0) { /* mke2fs wants to be the only one, too */
        int again = open(path, O_RDWR | O_CLOEXEC);

        (void)close(fd);
        fd = again;
        if (fd < 0)
            return im_fail_errno(err, errno, "cannot open '%s'", path);
        r = make_file_system(fd, size, path, err);
    }
    return r;
}

/* ---- which ---- */

static const struct verb {
    const char *name;
    int (*run)(const struct request *request, struct im_error *err);
} verbs[] = {
    { "status", run_status }, { "limit", run_limit }, { "gc", run_gc },
    { "add", run_add },       { "get", run_get },     { "format", run_format },
};

static int set_option(int option, struct request *request, struct im_error *err)
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

static int run_verb(const char *name, const struct request *request, struct im_error *err)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return verbs[i].run(request, err);
    return im_fail(err, EINVAL, "'%s' is not status, limit, gc, add, get or format", name);
}

static int cache(int argc, char **argv, struct im_error *err)
{
    struct request request = { .place = im_scratch_default() };
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
