/* layout-fill - what new partitions begin with: swap space and an empty file system. */
#pragma once

#include "base/error.h"
#include "core/stage.h"
#include "stage/layout.h"
#include "stage/segments.h"

/* Most bytes of scratch an empty file system of `len` bytes takes. */
uint64_t layout_ephemeral_scratch(uint64_t len);

/* Make the swap space and the ephemeral file system that the layout has a place for.
 * Errors: -ENOPKG without mke2fs, -ENOSPC of scratch, -EBADMSG with mke2fs's words, -ENOMEM. */
int layout_fill(const struct layout *layout, const struct im_context *context,
                struct segments *segments, struct im_error *err);

/* Is there mke2fs, if the layout needs it?  -ENOPKG. */
int layout_can_fill(const struct layout *layout, struct im_error *err);
