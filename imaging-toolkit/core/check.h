/* check - let a set of validators look at one disk, each for itself: what keeps one of them from
 * looking is told, and stops no other.
 *
 * A chain of stages (core/job.h) ends at the first validator that is required and finds a fault;
 * here all of them look, and a report is made. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/args.h"
#include "core/disk.h"
#include "core/report.h"
#include "core/stage.h"

/* Validators in one check: all of them, and room. */
#define IM_CHECK_RULES_MAX 32

/* The validator that starts the disk, and so takes minutes: looks only where it is added by name.
 */
#define IM_CHECK_DYNAMIC "boot-test"

struct im_check_rule {
    const struct im_stage *stage;
    struct im_args args;
    bool optional;
    enum im_severity worst; /* of what it found, once it has looked */
};

struct im_check {
    unsigned count;
    struct im_check_rule rule[IM_CHECK_RULES_MAX];
};

/* Add every validator there is, but the dynamic one and those that need an argument. */
void im_check_all(struct im_check *check);

/* Add one, as required or optional as it says itself, unless it is there; *ret_rule (may be NULL)
 * is it.  -EINVAL: there is no validator of that name. */
int im_check_add(struct im_check *check, const char *name, struct im_check_rule **ret_rule,
                 struct im_error *err);

/* Take one out that is there.  -EINVAL: there is no validator of that name at all. */
int im_check_remove(struct im_check *check, const char *name, struct im_error *err);

/* Let all look at `disk`, the required ones first; look's guest is found once for all.  context's
 * scratch is set.  What was found is in the report: a fault in it is one of a required validator.
 * 0 also when there are faults; -ECANCELED; the disk's own errors where its image is damaged and a
 * required validator reads there. */
int im_check_run(struct im_check *check, struct im_disk *disk, int fd,
                 const struct im_context *context, struct im_report *report, struct im_error *err);

/* Findings of a severity. */
unsigned im_check_count(const struct im_report *report, enum im_severity severity);

void im_check_done(struct im_check *check);
#define IM_CHECK_DONE __attribute__((cleanup(im_check_done)))
