/* filter - which of the tasks a user wants to see.
 *
 * DescribeConversionTasks has no filters, so they work on its answer, by the rules of EC2's: values
 * of one name are alternatives, all names must fit, '*' and '?' are wildcards. */
#pragma once

#include <stdbool.h>

#include "options.h"
#include "reply.h"

/* Values in all filters together, as EC2 has it. */
#define EUCA_FILTER_VALUES_MAX 200

struct euca_filter {
    size_t count;
    struct euca_filter_value {
        const char *name; /* of a row of the table in filter.c */
        char *pattern;    /* as im_text_matches takes it */
    } value[EUCA_FILTER_VALUES_MAX];
};

/* Read "NAME=VALUE[,VALUE...]" of each --filter; a backslash takes the meaning of a comma or
 * wildcard away.  Usage errors: a name that is unknown (the others are listed), no value, too many.
 */
int euca_filter_parse(const struct euca_list *texts, struct euca_filter *ret_filter,
                      struct im_error *err);

/* True when the task has, for each name, a value that fits; an empty filter fits every task. */
bool euca_filter_matches(const struct euca_filter *filter, const struct euca_task *task);

void euca_filter_done(struct euca_filter *filter);
#define EUCA_FILTER_DONE __attribute__((cleanup(euca_filter_done)))
