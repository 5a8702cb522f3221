/* segments - a disk that is put together out of pieces: bytes in memory, files, and the disk below
 * at another offset.  What no piece covers reads as zeros.  Nothing is copied. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "cache/scratch.h"
#include "core/disk.h"

/* Pieces of one disk; a layout has ten. */
#define SEGMENTS_MAX 24

struct segments;

/* A disk of `size` bytes without pieces, over `below`, which it owns once segments_finish was
 * called.  NULL when out of memory. */
struct segments *segments_new(uint64_t size, struct im_disk *below);

/* Add a piece; pieces come in any order, do not overlap, lie inside the disk and are not empty.
 * bytes: owned by the segments from now on, also on failure; the shared ones are another piece's,
 * or outlive the disk.  -ENOMEM. */
int segments_add_bytes(struct segments *segments, uint64_t offset, void *bytes, size_t len,
                       struct im_error *err);
int segments_add_shared(struct segments *segments, uint64_t offset, const void *bytes, size_t len,
                        struct im_error *err);
/* len bytes from the beginning of `source`, which is a direct one and becomes the segments' own,
 * also on failure.  Its finish is asked when the last byte of a walk was given. */
int segments_add_source(struct segments *segments, uint64_t offset, struct im_source *source,
                        uint64_t len, struct im_error *err);
/* The disk below, whose size is len bytes, or is unknown and must turn out to be that; once. */
int segments_add_below(struct segments *segments, uint64_t offset, uint64_t len,
                       struct im_error *err);

/* Hold on to what a source's file has in scratch, until the disk is closed. */
void segments_keep(struct segments *segments, struct im_scratch *scratch);

/* The finished disk; segments is part of it. */
struct im_disk *segments_finish(struct segments *segments);

/* Release what was not finished, without the disk below.  Takes NULL, returns NULL. */
struct segments *segments_free(struct segments *segments);
