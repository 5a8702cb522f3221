/* copy - the loop that moves a disk into a store: zeros skipped, grains inflated on all cores. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"
#include "core/digest.h"
#include "core/progress.h"
#include "core/result.h"
#include "core/store.h"
#include "core/trail.h"

struct im_copy_limits {
    unsigned jobs;            /* inflating threads, 1…IM_INFLATE_JOBS_MAX */
    uint64_t max_size;        /* bytes a disk of unknown size may turn out to have */
    bool bytes;               /* what is copied is not a disk: it may be an image itself */
    struct im_digest *digest; /* gets all data that are written; NULL: none */
    struct im_trail *trail; /* knows what an earlier attempt wrote, and is told what this one does;
                               stopped afterwards; NULL: there is none.  Needs a digest. */
};

/* Copy all of disk into store.  Does not commit.
 * Errors: the disk's, the store's, -EFBIG above max_size, -ECANCELED; -ESTALE when what an earlier
 * attempt left cannot be gone on with. */
int im_copy(struct im_disk *disk, struct im_store *store, const struct im_copy_limits *limits,
            struct im_progress *progress, struct im_copy_result *ret_result, struct im_error *err);
