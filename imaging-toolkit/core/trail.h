/* trail - how far a conversion is, for another process to go on from there.
 *
 * A decoder is deterministic: given the same source it asks for the same bytes in the same order.
 * So a trail keeps the bytes it asks for to understand the image (headers, tables, markers) in that
 * order, and counts the others, which it only hands on (the data).  Whoever goes on lets the
 * decoder run from the start: what was kept is given again, as many bytes of data as stand in the
 * volume are passed over, and the first byte that neither holds for is the first one fetched.
 *
 * A mark of the journal (core/journal.h) says so for a moment of the walk.  It is written by a
 * thread of its own, while the walk goes on, once the data given until then have reached the disk.
 * What was written is told with CRCs, and read and compared before it is believed.
 *
 * All functions are for the thread that walks but where another is named. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/journal.h"
#include "core/source.h"

struct im_trail;

/* Bytes of one run; longer writes are several. */
#define IM_TRAIL_RUN_MAX (512u * 1024)

/* Begin, and let source->trail be it: behind what the journal says, of which all marks are read and
 * the source's proofs trusted.  Volume is the file the data go to; both descriptors stay the
 * caller's.  -ESTALE: the journal does not fit; -ENOMEM, -EAGAIN (no thread), -EIO. */
int im_trail_new(struct im_source *source, const struct im_journal *journal, int volume,
                 struct im_trail **ret_trail, struct im_error *err);

/* End the thread and free; the journal stays as it is.  Takes NULL, returns NULL. */
struct im_trail *im_trail_free(struct im_trail *trail);

/* ---- for the copy loop ---- */

/* Who writes the data, in generations. */
struct im_trail_writer {
    /* End a generation and give its number: one more than the last time. */
    uint64_t (*fence)(void *arg);
    /* Wait until all of a generation has been written; called by the trail's thread. */
    int (*passed)(void *arg, uint64_t generation, struct im_error *err);
    void *arg;
};
void im_trail_writer(struct im_trail *trail, const struct im_trail_writer *writer);

/* Bytes were written; by any thread, before its generation has passed. */
void im_trail_wrote(struct im_trail *trail, uint64_t generation, const void *buf, size_t len,
                    uint64_t offset);

/* Give every run that the journal tells of to fn, in no order.  Errors: fn's; -EIO. */
typedef int (*im_trail_run_fn)(void *arg, const struct im_journal_run *run, struct im_error *err);
int im_trail_past(struct im_trail *trail, im_trail_run_fn fn, void *arg, struct im_error *err);

/* Whether an earlier process has been here. */
bool im_trail_has_past(const struct im_trail *trail);

/* The walk is so far, in bytes of the source: what to tell of it, which never falls, not behind an
 * earlier attempt either.  And what was told last, at first by that. */
uint64_t im_trail_tell(struct im_trail *trail, uint64_t position);
uint64_t im_trail_told(const struct im_trail *trail);

/* Bytes of the source. */
uint64_t im_trail_total(const struct im_trail *trail);

/* Whether a conversion that failed so may be gone on with: it was cancelled, the network failed, a
 * part was not there, or something is in the way of the result. */
bool im_trail_may_go_on(const struct im_error *err);

/* The walk is over; nothing is written any more.  `interrupted`: another process will go on, so
 * that a last mark is made of what has been written.  The writer is not asked any more.  -EIO when
 * data could not be written to the disk: then no later success may be believed. */
int im_trail_stop(struct im_trail *trail, bool interrupted, struct im_error *err);

/* Whether the journal has marks: something that can be gone on with.  Once it is stopped. */
bool im_trail_has_marks(const struct im_trail *trail);

/* ---- for sources and windows ---- */

/* Read structure, as im_source_read_some.  Also -ESTALE: the decoder does not ask for what it asked
 * an earlier process for, and all must begin anew. */
int im_trail_read(struct im_trail *trail, void *buf, size_t len, uint64_t offset, size_t *ret_len,
                  struct im_error *err);

/* The same only from what was kept; 1 when it was, 0 when the source must be asked, and whoever
 * does tells im_trail_note what it gave. */
int im_trail_replay(struct im_trail *trail, void *buf, size_t len, uint64_t offset, size_t *ret_len,
                    struct im_error *err);
void im_trail_note(struct im_trail *trail, const void *buf, size_t len, size_t got,
                   uint64_t offset);

/* Of the next len bytes of data, how many stand in the volume; they count as given. */
uint64_t im_trail_skip(struct im_trail *trail, uint64_t len);

/* So many bytes of data were handed on. */
void im_trail_gave(struct im_trail *trail, uint64_t len);

/* The failure (-ESTALE) of a decoder that does not do what it did. */
int im_trail_diverged(uint64_t offset, struct im_error *err);

/* Bytes of the source at offset, at most len, that an earlier process has left unused; into buf
 * when that is not NULL. */
size_t im_trail_rest(const struct im_trail *trail, void *buf, size_t len, uint64_t offset);

/* A moment at which a mark can be made: what was read is noted, what was given is counted. waits_at
 * says that the walk will wait for the byte there (UINT64_MAX: it will not), the rest is what has
 * been fetched and not used; nothing else is needed to go on.  Errors: -EIO as im_trail_stop. */
int im_trail_point(struct im_trail *trail, uint64_t waits_at, uint64_t rest_offset,
                   const void *rest, size_t rest_len, struct im_error *err);
