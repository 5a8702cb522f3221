/* parts-inner - what the files of source/parts.h share: places, and the state of a source. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/md5.h"
#include "source/fetch.h"
#include "source/lend.h"
#include "source/local.h"
#include "source/parts.h"
#include "source/pool.h"

/* One object, in one or more segments. */
struct piece {
    char *url;
    uint64_t start, len;
    size_t first, segments; /* its segments, counted over the whole source */
    char etag[128];         /* "" until known */
    bool told;              /* it was known from the start */
    bool sealed;            /* … and no MD5, whatever it looks like */
    char *file;             /* where it stands, NULL: nowhere that we can read */
    bool proven_file;       /* it has the MD5 it must have */
    struct im_md5_run md5;  /* running MD5 of a piece of several segments */
    size_t hashed;          /* segments it has seen, in order */
    size_t told_hashed;     /* … when parts_proven told of them last */
    bool hashing;           /* a thread is at it */
    unsigned knocks;        /* times a thread found it so, or did it */
};

struct parts {
    struct im_source base;
    char *what;
    size_t piece_count, segment_count;
    struct piece *piece;
    struct im_pool *pool;
    struct im_local *local; /* NULL: all is fetched */
    struct im_fetch_rules rules;
    atomic_int budget;
    volatile bool stop;
    atomic_bool finishing; /* nothing is read any more: only what is not proven yet is wanted */

    pthread_mutex_t lock;  /* guards what follows, and the pieces; taken after the pool's */
    pthread_cond_t hashed; /* some thread stopped hashing */
    bool *fetched;         /* per segment: was here, proven but for its piece's MD5 */
    bool *told;            /* … and parts_proven has told of it */
    struct im_reads reads;
    struct im_error broken; /* a piece proved wrong after its first bytes were given out */
};

/* The piece that holds a segment. */
struct piece *parts_piece_of(struct parts *parts, size_t segment);

/* The piece that holds the byte at an offset. */
struct piece *parts_piece_at(struct parts *parts, uint64_t offset);

/* Where a segment begins in its piece, in bytes. */
uint64_t parts_offset_in_piece(const struct piece *piece, size_t segment);

/* ---- parts-proof.c ---- */

/* A pool that fetches and proves the segments; the pieces do not change any more. */
int parts_start_pool(struct parts *parts, struct im_error *err);

/* Prove a piece that stands on this machine, and those after it, before bytes of it are given out:
 * its store did when it wrote the file, but disks forget.  Nothing to do for a piece without a
 * file, which is fetched.  -EBADMSG code "DamagedPart". */
int parts_prove_file(struct parts *parts, struct piece *piece, struct im_error *err);

/* The file that holds the piece, good until the next call for any piece; -1: there is none, and
 * from now on the piece is fetched.  Lock held. */
int parts_file_of(struct parts *parts, struct piece *piece);

/* From now on the piece is fetched.  Lock held. */
void parts_forget_file(struct piece *piece);

/* The segment that holds the byte at an offset of the piece. */
size_t parts_segment_at(const struct piece *piece, uint64_t offset_in_piece);

/* Whether the piece has an MD5 that is found in a running fashion.  Lock held. */
bool parts_has_running_digest(const struct piece *piece);

/* im_source_ops of the same names: parts-resume.c. */
int parts_identify(struct im_source *source, struct im_buffer *text);
int parts_proven(struct im_source *source, struct im_buffer *proof);
int parts_trust(struct im_source *source, const void *proof, size_t len);

/* Whether nothing needs to be read any more to know that the segment is right. */
bool parts_is_proven(struct parts *parts, size_t segment);

/* Carry the running MD5 of a piece on as far as the segments in the pool reach; another thread may
 * be at it, and then does that. */
void parts_advance_digest(struct parts *parts, struct piece *piece);

/* Wait until no thread is at it. */
void parts_wait_digest(struct parts *parts, struct piece *piece);

/* 0, or why a piece proved wrong after its first bytes were given out. */
int parts_is_broken(struct parts *parts, struct im_error *err);
