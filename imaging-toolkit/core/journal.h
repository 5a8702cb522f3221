/* journal - what a conversion has done for good, in a file beside the volume in the making.
 *
 * A header tells which conversion it is.  Behind it marks follow each other: each says how far the
 * volume was when all before it had reached the disk, and carries what changed since the mark
 * before. A mark counts only when it is whole and follows the one before, so that a torn end is no
 * end at all.  What the numbers mean is core/trail.h's; here is the file.
 *
 * Not a database: one process writes, at the end, and who comes later reads from the start. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define IM_JOURNAL_IDENTITY 32 /* bytes of what tells one conversion from another */

/* Bytes of a mark without its head: some MiB of structure, of runs and of bytes not used yet
 * (core/trail.c has the ceilings).  More is not read, so that a damaged length costs no memory. */
#define IM_JOURNAL_MARK_MAX (16u << 20)

/* Bytes that were written to the volume, never 0 of them, and their CRC (im_zlib_crc32). */
struct im_journal_run {
    uint64_t offset;
    uint32_t len;
    uint32_t crc;
};

/* A mark; what it points to is its buffer's or the caller's. */
struct im_journal_mark {
    uint64_t data;        /* bytes of data that the decoder has given away, in its order */
    uint64_t position;    /* in the source, for the progress */
    uint64_t rest_offset; /* of the source … */
    const uint8_t *rest;  /* … bytes that were fetched and not used yet */
    size_t rest_len;
    const uint8_t *log; /* structure the decoder has read since the last mark */
    size_t log_len;
    const uint8_t *proof; /* what the source has proven since then */
    size_t proof_len;
    const uint8_t *runs; /* written since then, as they stand in the file: im_journal_run_at */
    size_t run_count;
};

struct im_journal {
    int fd;          /* not owned */
    uint64_t end;    /* of the last mark that counts */
    uint64_t number; /* marks before the end */
    uint32_t chain;  /* CRC of the last one; of the header when there is none */
};

/* Make the file fd a journal without marks; durable with its first mark.  -errno. */
int im_journal_create(struct im_journal *ret_journal, int fd,
                      const uint8_t identity[IM_JOURNAL_IDENTITY]);

/* Take the file fd for a journal of that identity (NULL: any) and stand before its first mark.
 * -ESTALE: it is none, or another's; or -errno of reading. */
int im_journal_open(struct im_journal *ret_journal, int fd,
                    const uint8_t identity[IM_JOURNAL_IDENTITY]);

/* Read the mark at journal->end into buffer (whose ceiling is IM_JOURNAL_MARK_MAX) and go behind
 * it. 1; 0 when none is there that counts; -ENOMEM or -errno of reading. */
int im_journal_next(struct im_journal *journal, struct im_buffer *buffer,
                    struct im_journal_mark *ret_mark);

/* Append a mark (whose `runs` point to what im_journal_add_run made) behind journal->end, cut off
 * whatever stood there, and wait until it is on the disk.  -EFBIG: larger than a mark may be;
 * -ENOMEM; -errno of writing: nothing has changed then. */
int im_journal_append(struct im_journal *journal, const struct im_journal_mark *mark);

/* Run number i of a mark. */
struct im_journal_run im_journal_run_at(const struct im_journal_mark *mark, size_t i);

/* Append a run to a list for a mark; errors as im_buffer_add. */
int im_journal_add_run(struct im_buffer *runs, const struct im_journal_run *run);
