/* as-file - the disk as a file, for programs that read files: the image itself where it is one,
 * else a copy in scratch. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "cache/scratch.h"
#include "core/stage.h"

/* A descriptor, borrowed, of a file that is the whole disk from its first byte on; it may be
 * shorter than the disk, what is past its end reads as zeros.  Only to be read.  The copy is made
 * at the first call, holds the data and no zeros, and goes with the look (im_look_done). Errors:
 * -ENOSPC of scratch, the disk's, -ECANCELED. */
int im_look_file(struct im_look *look, int *ret_fd, struct im_error *err);

/* The file the disk is already, borrowed; -1: it is none. */
int im_file_of(const struct im_look *look);

/* A new file in context's scratch that is `len` bytes of the disk from `offset` on. */
int im_range_file(struct im_disk *disk, const struct im_context *context, uint64_t offset,
                  uint64_t len, struct im_scratch **ret_scratch, struct im_error *err);

/* As .required_capacity of a validator that reads file systems or needs the disk as a file: 0 where
 * the image is one, else the bytes that are not known to be zero. */
int im_look_capacity(const struct im_args *args, const struct im_context *context,
                     const struct im_input *input, uint64_t *ret_bytes, struct im_error *err);
