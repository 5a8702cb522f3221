/* copy - the loop that moves a disk into a store: zeros skipped, grains inflated on all cores. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"
#include "core/digest.h"
#include "core/progress.h"
#include "core/result.h"
#include "core/store.h"

struct im_copy_limits {
    unsigned jobs;            /* inflating threads, 1…IM_INFLATE_JOBS_MAX */
    uint64_t max_size;        /* bytes a disk of unknown size may turn out to have */
    struct im_digest *digest; /* gets all data that are written; NULL: none */
};

/* Copy all of disk into store.  Does not commit.
 * Errors: the disk's, the store's, -EFBIG above max_size, -ECANCELED. */
int im_copy(struct im_disk *disk, struct im_store *store, const struct im_copy_limits *limits,
            struct im_progress *progress, struct im_copy_result *ret_result, struct im_error *err);
