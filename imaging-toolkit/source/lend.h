/* lend - bytes of a source where they stand, for somebody who copies them: im_source_ops.lend. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/source.h"

/* How to lend. */
#define IM_LEND_FORWARDS 1u /* the bytes behind the run will be wanted, too */
#define IM_LEND_MEMORY   2u /* not from a file: it could not be read */

/* A run of bytes, good until it is given back; one in a file only until the next is lent. */
struct im_lent {
    uint64_t offset, len; /* in the source */
    int file;             /* the descriptor (the source's own) of the file it is in, … */
    const uint8_t *bytes; /* … or, when that is -1, where it is in memory */
    uint64_t at;          /* where it begins in the file, or in im_source_ops.memory */
    size_t segment;       /* the source's own note */
};

/* Read like im_source_ops.read from a source that lends. */
int im_lend_read(struct im_source *source, void *buf, size_t len, uint64_t offset, bool forwards,
                 size_t *ret_len, struct im_error *err);

/* Copy what of len bytes at offset, which is in it, a run has; *ret_len bytes.  -EIO: its file
 * cannot be read. */
int im_lend_copy(const struct im_lent *lent, void *buf, size_t len, uint64_t offset,
                 size_t *ret_len);

/* Where reads go; starts as { 0 }. */
struct im_reads {
    uint64_t next, run; /* where the last one ended; how long they went forwards */
};

/* Keep account of a read; true when they go forwards and will go on. */
bool im_reads_note(struct im_reads *reads, uint64_t offset, size_t len);
