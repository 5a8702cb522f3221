/* params - request parameters into an operation's input, by its table. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/operation.h"
#include "base/text.h"

/* Highest N of NAME.N; far above what IM_QUERY_MAX parameters can need. */
#define INDEX_MAX 1000000

/* How much of a customer's value is repeated in a sentence. */
#define SHOWN_MAX 200

/* Names any request may carry: what signatures add, and DryRun, which dispatch reads. */
static const char *const common[] = {
    "Action",
    "Version",
    "DryRun",
    "AWSAccessKeyId",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
    "Expires",
    "SecurityToken",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
};

static bool is_common(const char *name)
{
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
        if (strcmp(common[i], name) == 0)
            return true;
    return false;
}

/* The N of "NAME.N" for this row; 0 when it is something else.  No leading zeros: one index has one
 * spelling, so that a repeated name is a repeated index. */
static uint64_t index_of(const struct svc_param *row, const char *name)
{
    size_t len = strlen(row->name);
    uint64_t index;

    if (strncmp(name, row->name, len) != 0 || name[len] != '.' || name[len + 1] == '0' ||
        im_parse_uint(name + len + 1, INDEX_MAX, &index) < 0)
        return 0;
    return index;
}

static bool matches(const struct svc_param *row, const char *name)
{
    return row->type == SVC_LIST ? index_of(row, name) > 0 : strcmp(row->name, name) == 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct im_param *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* A name that comes twice leaves open which value was meant. */
static int refuse_duplicates(struct svc_call *call, const struct im_query *params)
{
    const struct im_param **sorted = calloc(params->count + 1, sizeof(*sorted));
    int r = 0;

    if (!sorted)
        return im_fail(&call->err, ENOMEM, "out of memory");
    for (size_t i = 0; i < params->count; i++)
        sorted[i] = &params->param[i];
    qsort(sorted, params->count, sizeof(*sorted), compare_names);
    for (size_t i = 1; i < params->count && r == 0; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            r = svc_refuse(call, SVC_MALFORMED_QUERY, "The parameter %.*s is given more than once",
                           SHOWN_MAX, sorted[i]->name);
    free(sorted);
    return r;
}

static int refuse_unknown(struct svc_call *call, const struct svc_operation *operation,
                          const struct im_query *params)
{
    for (size_t i = 0; i < params->count; i++) {
        const struct svc_param *row = operation->params;

        while (row->name && !matches(row, params->param[i].name))
            row++;
        if (!row->name && !is_common(params->param[i].name))
            return svc_refuse(call, SVC_UNKNOWN_PARAMETER, "The parameter %.*s is not recognized",
                              SHOWN_MAX, params->param[i].name);
    }
    return 0;
}

static int decode_text(struct svc_call *call, const struct svc_param *row, const char *value,
                       void *slot)
{
    uint64_t max = row->max ? row->max : SVC_TEXT_MAX;

    if (strlen(value) > max)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%.60s…) for parameter %s is invalid. It has %zu bytes; at most "
                          "%" PRIu64 " are allowed.",
                          value, row->name, strlen(value), max);
    *(const char **)slot = value;
    return 0;
}

static int decode_number(struct svc_call *call, const struct svc_param *row, const char *value,
                         void *slot)
{
    uint64_t max = row->max ? row->max : INT64_MAX;
    uint64_t number;

    if (im_parse_uint(value, max, &number) < 0 || number < row->min)
        return svc_refuse(
            call, SVC_INVALID_VALUE,
            "Value (%.*s) for parameter %s is invalid. It must be a whole number from "
            "%" PRIu64 " to %" PRIu64 ".",
            SHOWN_MAX, value, row->name, row->min, max);
    *(uint64_t *)slot = number;
    return 0;
}

static int compare_items(const void *a, const void *b)
{
    const struct svc_item *x = a, *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

static int decode_list(struct svc_call *call, const struct svc_param *row,
                       const struct im_query *params, struct svc_list *list)
{
    int r;

    for (size_t i = 0; i < params->count; i++) {
        uint64_t index = index_of(row, params->param[i].name);

        if (index == 0)
            continue;
        if (!list->item)
            list->item = calloc(params->count, sizeof(*list->item));
        if (!list->item)
            return im_fail(&call->err, ENOMEM, "out of memory");
        r = decode_text(call, row, params->param[i].value, &list->item[list->count].value);
        if (r < 0)
            return r;
        list->item[list->count++].index = index;
    }
    if (list->count > 1)
        qsort(list->item, list->count, sizeof(*list->item), compare_items);
    return 0;
}

static int decode_row(struct svc_call *call, const struct svc_param *row,
                      const struct im_query *params, void *slot)
{
    const char *value = im_query_get(params, row->name);

    if (row->type == SVC_LIST)
        return decode_list(call, row, params, slot);
    if (!value || !*value) /* clients that mean "none" send an empty value */
        return 0;
    return row->type == SVC_TEXT ? decode_text(call, row, value, slot)
                                 : decode_number(call, row, value, slot);
}

int svc_params_decode(struct svc_call *call, const struct svc_operation *operation,
                      const struct im_query *params, bool strict, void *input)
{
    int r = refuse_duplicates(call, params);

    if (r == 0 && strict)
        r = refuse_unknown(call, operation, params);
    for (const struct svc_param *row = operation->params; r == 0 && row->name; row++) {
        const char *value = im_query_get(params, row->name);

        if (row->required && (!value || !*value))
            r = svc_refuse(call, SVC_MISSING_PARAMETER, "The request must contain the parameter %s",
                           row->name);
    }
    for (const struct svc_param *row = operation->params; r == 0 && row->name; row++)
        r = decode_row(call, row, params, (char *)input + row->offset);
    return r;
}

void svc_params_done(const struct svc_operation *operation, void *input)
{
    for (const struct svc_param *row = operation->params; row->name; row++)
        if (row->type == SVC_LIST)
            free(((struct svc_list *)((char *)input + row->offset))->item);
}
