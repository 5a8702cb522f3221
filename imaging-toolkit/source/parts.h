/* parts - remote objects, one after the other, as one flat source of bytes.
 *
 * Segments of the objects are fetched into a bounded pool of memory (source/pool.h).  No byte is
 * given out before its segment is proven (source/fetch.h, and MD5).  Objects that lie in files of
 * this machine are not fetched at all (source/local.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/source.h"

/* An object of at most so many bytes (a stock client's part) is fetched whole, … */
#define IM_PARTS_WHOLE_MAX 10485760u
/* … a larger one in ranges of so many bytes. */
#define IM_PARTS_CUT (8u * 1024 * 1024)

/* Segments of one source: 64 TiB in ranges, the largest disk any format here can describe. */
#define IM_PARTS_SEGMENTS_MAX (8u * 1024 * 1024)

struct im_piece {
    const char *url;  /* for GET */
    uint64_t len;     /* bytes, never 0 */
    const char *etag; /* as a HEAD told it, or "" */
    bool sealed;      /* as a HEAD told it: the ETag is no MD5 (source/fetch.h) */
    const char *file; /* where it stands on this machine (source/local.h), NULL: nowhere */
};

struct im_parts_options {
    const char *what;         /* for messages about the only piece; NULL: "part 3 of 12" */
    const char *missing_code; /* error code of HTTP 404, static storage; NULL: "NotFound" */
    const char *local_dir;    /* in which the pieces' files lie; NULL: there are none */
    unsigned tries;           /* of one request, 0: IM_RETRY_TRIES */
    int budget;               /* tokens left of the job's retry budget, 0: IM_FETCH_BUDGET */
    long stall_timeout_s;     /* abort a try below 1000 bytes/s for so long, 0: 30 */
};

/* Open the pieces as one source called name.  Everything is copied.  Nothing is fetched yet.
 * Its finish() fetches what was never read, so that no damaged part is ever overlooked. */
int im_parts_open(const char *name, const struct im_piece *pieces, size_t count,
                  const struct im_parts_options *options, struct im_source **ret_source,
                  struct im_error *err);

/* Bytes of segment buffers the source has allocated, for tests: at most IM_POOL_SLOTS of them. */
uint64_t im_parts_memory(const struct im_source *source);
