/* chain - stages in a row, each taking what the one before it gives; compiled to one job.
 *
 * A chain does nothing by itself: the job (core/job.h) runs it in one pass. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "core/job.h"
#include "core/stage.h"

/* What a job takes, and the four steps it does itself. */
#define IM_CHAIN_MAX (IM_JOB_STAGES_MAX + 4)

struct im_chain {
    bool raw_disk; /* what the first stage fetches is a raw disk, byte for byte */
    unsigned count;
    struct im_link {
        const struct im_stage *stage;
        struct im_args args;
        bool optional;
    } link[IM_CHAIN_MAX];
};

/* Add the stage `name` at the end, without arguments; `optional` as the stage itself says.
 * *ret_link is the chain's.  -EINVAL: there is none of that name, it is there already, or the chain
 * is full. */
int im_chain_add(struct im_chain *chain, const char *name, struct im_link **ret_link,
                 struct im_error *err);

/* Does each stage take what the one before it gives, from nothing to nothing, or to a validator?
 * -EINVAL names the two that do not fit, and what would. */
int im_chain_check(const struct im_chain *chain, struct im_error *err);

/* Make a job of the chain, which is empty afterwards.  -EINVAL: it is no chain (im_chain_check), or
 * an argument is not understood.  ret_job is the caller's to im_job_done, and untouched on failure.
 */
int im_chain_job(struct im_chain *chain, struct im_job *ret_job, struct im_error *err);

/* Release all arguments; the chain is empty afterwards. */
void im_chain_done(struct im_chain *chain);
#define IM_CHAIN_DONE __attribute__((cleanup(im_chain_done)))
