/* cache-entry - `cache add` and `cache get`: images into the cache, and out of it. */

#include <config.h>

#include "cmd/cache-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/io.h"
#include "cache/cache.h"
#include "cmd/confined.h"
#include "core/cancel.h"
#include "core/digest.h"
#include "core/source.h"
#include "core/store.h"

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
static int add(const struct im_cache_request *request, struct im_source **source, const char *spec,
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

int im_cache_add_command(const struct im_cache_request *request, struct im_error *err)
{
    char id[IM_CACHE_ID + 1];
    struct im_source *source = NULL;
    int r = im_cache_expect(request, 1, "SOURCE is", err);
    const struct im_confined_names names = { .source = request->argv[0],
                                             .scratch = request->place,
                                             .entries = true };

    if (r == 0)
        r = im_cache_set_up(request->place, err);
    if (r == 0)
        r = im_confined_look(&names, err);
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

int im_cache_get_command(const struct im_cache_request *request, struct im_error *err)
{
    struct im_store_options to = { .force = request->force };
    struct im_entry *entry = NULL;
    struct im_store *store = NULL;
    int r = im_cache_expect(request, 2, "HEX and OUT are", err);

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
