/* params - request parameters into an operation's input, by its table. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/operation.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/text.h"

/* Highest N of NAME.N; far above what IM_QUERY_MAX parameters can need. */
#define INDEX_MAX 1000000

/* How much of a customer's value is repeated in a sentence. */
#define SHOWN_MAX 200

/* Bytes of a name in our tables with the indexes in it. */
#define NAME_MAX_BYTES 128

/* What is decoded, and from where: the parameters whose names begin with prefix. */
struct decoder {
    struct svc_call *call;
    const struct im_query *params;
    const char *prefix;
};

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

/* The N of "LIST.N" with what follows it in *ret_rest ("" or ".MEMBER"); 0 when the name is
 * something else.  No leading zeros: one index has one spelling, so that a repeated name is a
 * repeated index. */
static uint64_t index_of(const char *list, const char *name, const char **ret_rest)
{
    size_t len = strlen(list), digits;
    char number[16];
    uint64_t index;

    if (strncmp(name, list, len) != 0 || name[len] != '.' || name[len + 1] == '0')
        return 0;
    digits = strspn(name + len + 1, "0123456789");
    if (digits == 0 || digits >= sizeof(number))
        return 0;
    memcpy(number, name + len + 1, digits);
    number[digits] = '\0';
    *ret_rest = name + len + 1 + digits;
    return im_parse_uint(number, INDEX_MAX, &index) < 0 ? 0 : index;
}

/* The tables are ours and nest two deep. */
static bool is_known(const struct svc_param *table, const char *name, bool strict)
{
    for (const struct svc_param *row = table; row->name; row++) {
        const char *rest = "";
        bool matches;

        if (strict && row->old_only)
            continue;
        if (row->type == SVC_TABLE)
            matches = is_known(row->members, name, strict);
        else if (row->type == SVC_LIST)
            matches = index_of(row->name, name, &rest) > 0 && !*rest;
        else if (row->type == SVC_STRUCTS)
            matches = index_of(row->name, name, &rest) > 0 && *rest == '.' &&
                      is_known(row->members, rest + 1, strict);
        else
            matches = strcmp(row->name, name) == 0;
        if (matches)
            return true;
    }
    return false;
}

static int refuse_unknown(struct svc_call *call, const struct svc_operation *operation,
                          const struct im_query *params)
{
    for (size_t i = 0; i < params->count; i++)
        if (!is_known(operation->params, params->param[i].name, true) &&
            !is_common(params->param[i].name))
            return svc_refuse(call, SVC_UNKNOWN_PARAMETER, "The parameter %.*s is not recognized",
                              SHOWN_MAX, params->param[i].name);
    return 0;
}

/* ---- one parameter's value; name is the whole one ---- */

static int decode_word(struct svc_call *call, const struct svc_param *row, const char *name,
                       const char *value, const char **slot)
{
    struct im_buffer list IM_BUFFER_DONE = IM_BUFFER(SVC_TEXT_MAX);

    for (const char *const *word = row->words; *word; word++) {
        if (strcasecmp(value, *word) == 0) {
            *slot = *word;
            return 0;
        }
        (void)im_buffer_printf(&list, "%s%s", list.len ? ", " : "", *word);
    }
    return svc_refuse(call, SVC_INVALID_VALUE,
                      "Value (%.*s) for parameter %s is invalid. It must be one of: %s.", SHOWN_MAX,
                      value, name, list.data ? list.data : "");
}

static int decode_text(struct svc_call *call, const struct svc_param *row, const char *name,
                       const char *value, const char **slot)
{
    uint64_t max = row->max ? row->max : SVC_TEXT_MAX;

    if (strlen(value) > max)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%.60s…) for parameter %s is invalid. It has %zu bytes; at most "
                          "%" PRIu64 " are allowed.",
                          value, name, strlen(value), max);
    if (row->words)
        return decode_word(call, row, name, value, slot);
    *slot = value;
    return 0;
}

static int decode_flag(struct svc_call *call, const char *name, const char *value,
                       const char **slot)
{
    if (strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0)
        *slot = "true";
    else if (strcasecmp(value, "false") == 0 || strcmp(value, "0") == 0)
        *slot = "false";
    else
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%.*s) for parameter %s is invalid. It must be true or false.",
                          SHOWN_MAX, value, name);
    return 0;
}

static int decode_number(struct svc_call *call, const struct svc_param *row, const char *name,
                         const char *value, uint64_t *slot)
{
    uint64_t max = row->max ? row->max : INT64_MAX;
    uint64_t number;

    if (im_parse_uint(value, max, &number) < 0 || number < row->min)
        return svc_refuse(
            call, SVC_INVALID_VALUE,
            "Value (%.*s) for parameter %s is invalid. It must be a whole number from "
            "%" PRIu64 " to %" PRIu64 ".",
            SHOWN_MAX, value, name, row->min, max);
    *slot = number;
    return 0;
}

/* ---- lists ---- */

static int compare_items(const void *a, const void *b)
{
    const struct svc_item *x = a, *y = b;

    return x->index < y->index ? -1 : x->index > y->index;
}

static int decode_list(const struct decoder *decoder, const struct svc_param *row, const char *name,
                       struct svc_list *list)
{
    const struct im_query *params = decoder->params;
    int r;

    for (size_t i = 0; i < params->count; i++) {
        const char *rest = "";
        uint64_t index = index_of(name, params->param[i].name, &rest);

        if (index == 0 || *rest)
            continue;
        if (!list->item)
            list->item = calloc(params->count, sizeof(*list->item));
        if (!list->item)
            return im_fail(&decoder->call->err, ENOMEM, "out of memory");
        r = decode_text(decoder->call, row, name, params->param[i].value,
                        &list->item[list->count].value);
        if (r < 0)
            return r;
        list->item[list->count++].index = index;
    }
    if (list->count > 1)
        qsort(list->item, list->count, sizeof(*list->item), compare_items);
    return 0;
}

static int compare_indexes(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static bool is_seen(const struct svc_structs *structs, uint64_t index)
{
    for (size_t i = 0; i < structs->count; i++)
        if (structs->index[i] == index)
            return true;
    return false;
}

/* Which structures there are; they must not be more than the row allows. */
static int find_indexes(const struct decoder *decoder, const struct svc_param *row,
                        const char *name, struct svc_structs *structs)
{
    const struct im_query *params = decoder->params;

    for (size_t i = 0; i < params->count; i++) {
        const char *rest = "";
        uint64_t index = index_of(name, params->param[i].name, &rest);

        if (index == 0 || *rest != '.' || is_seen(structs, index))
            continue;
        if (structs->count == row->max)
            return svc_refuse(decoder->call, SVC_INVALID_VALUE,
                              "The request holds more than %" PRIu64 " of %s.", row->max, name);
        if (!structs->index)
            structs->index = calloc((size_t)row->max, sizeof(*structs->index));
        if (!structs->index)
            return im_fail(&decoder->call->err, ENOMEM, "out of memory");
        structs->index[structs->count++] = index;
    }
    if (structs->count > 1)
        qsort(structs->index, structs->count, sizeof(*structs->index), compare_indexes);
    return 0;
}

static int decode_table(const struct decoder *decoder, const struct svc_param *table, void *base);

static int decode_structs(const struct decoder *decoder, const struct svc_param *row,
                          const char *name, struct svc_structs *structs)
{
    int r = find_indexes(decoder, row, name, structs);

    if (r < 0 || structs->count == 0)
        return r;
    structs->item = calloc(structs->count, row->size);
    if (!structs->item)
        return im_fail(&decoder->call->err, ENOMEM, "out of memory");
    for (size_t i = 0; i < structs->count && r == 0; i++) {
        char prefix[NAME_MAX_BYTES];
        const struct decoder inner = { decoder->call, decoder->params, prefix };

        if (snprintf(prefix, sizeof(prefix), "%s.%" PRIu64 ".", name, structs->index[i]) >=
            (int)sizeof(prefix))
            return im_fail(&decoder->call->err, ENAMETOOLONG, "'%s' is too long a name", name);
        r = decode_table(&inner, row->members, (char *)structs->item + i * row->size);
    }
    return r;
}

/* ---- tables ---- */

static int decode_row(const struct decoder *decoder, const struct svc_param *row, const char *name,
                      void *slot)
{
    struct svc_call *call = decoder->call;
    const char *value = im_query_get(decoder->params, name);

    if (row->type == SVC_LIST)
        return decode_list(decoder, row, name, slot);
    if (row->type == SVC_STRUCTS)
        return decode_structs(decoder, row, name, slot);
    if (row->type == SVC_TABLE)
        return decode_table(decoder, row->members, slot);
    if (!value || (!*value && !row->keep_empty)) /* clients that mean "none" send an empty value */
        return 0;
    if (row->type == SVC_NUMBER)
        return decode_number(call, row, name, value, slot);
    return row->type == SVC_FLAG ? decode_flag(call, name, value, slot)
                                 : decode_text(call, row, name, value, slot);
}

/* True when something is there for the row. */
static bool is_given(const struct decoder *decoder, const struct svc_param *row, const char *name)
{
    const char *value = im_query_get(decoder->params, name), *rest = "";

    if (row->type != SVC_LIST && row->type != SVC_STRUCTS)
        return value && *value;
    for (size_t i = 0; i < decoder->params->count; i++)
        if (index_of(name, decoder->params->param[i].name, &rest) > 0)
            return true;
    return false;
}

/* What is missing is said before what is wrong. */
static int decode_table(const struct decoder *decoder, const struct svc_param *table, void *base)
{
    char name[2 * NAME_MAX_BYTES];
    int r = 0;

    for (const struct svc_param *row = table; r == 0 && row->name; row++) {
        (void)snprintf(name, sizeof(name), "%s%s", decoder->prefix, row->name);
        if (row->required && !is_given(decoder, row, name))
            r = svc_refuse(decoder->call, SVC_MISSING_PARAMETER,
                           "The request must contain the parameter %s", name);
    }
    for (const struct svc_param *row = table; r == 0 && row->name; row++) {
        (void)snprintf(name, sizeof(name), "%s%s", decoder->prefix, row->name);
        r = decode_row(decoder, row, name, (char *)base + row->offset);
    }
    return r;
}

static void table_done(const struct svc_param *table, void *base)
{
    for (const struct svc_param *row = table; row->name; row++) {
        void *slot = (char *)base + row->offset;
        struct svc_structs *structs = slot;

        if (row->type == SVC_LIST)
            free(((struct svc_list *)slot)->item);
        if (row->type == SVC_TABLE)
            table_done(row->members, slot);
        if (row->type != SVC_STRUCTS)
            continue;
        for (size_t i = 0; structs->item && i < structs->count; i++)
            table_done(row->members, (char *)structs->item + i * row->size);
        free(structs->item);
        free(structs->index);
    }
}

/* ---- a request ---- */

static int compare_names(const void *a, const void *b)
{
    const struct im_param *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* A name that comes twice leaves open which value was meant. */
static int refuse_duplicates(struct svc_call *call, const struct im_param *const *sorted,
                             size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return svc_refuse(call, SVC_MALFORMED_QUERY,
                              "The parameter %.*s is given more than once", SHOWN_MAX,
                              sorted[i]->name);
    return 0;
}

/* Equal for requests that ask for the same: the operation's parameters but the token itself, in
 * whatever order they came. */
static int digest_parameters(struct svc_call *call, const struct svc_operation *operation,
                             const struct im_param *const *sorted, size_t count)
{
    struct im_hasher *hasher = im_hasher_new(IM_SHA256);
    uint8_t digest[IM_HASH_MAX];

    if (!hasher)
        return im_fail(&call->err, ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const char *name = sorted[i]->name, *value = sorted[i]->value;

        if (!*value || strcmp(name, "ClientToken") == 0 ||
            !is_known(operation->params, name, false))
            continue;
        im_hasher_add(hasher, name, strlen(name) + 1); /* no text holds a NUL */
        im_hasher_add(hasher, value, strlen(value) + 1);
    }
    im_hasher_end(hasher, digest);
    (void)im_hasher_free(hasher);
    im_hex(digest, im_hash_size(IM_SHA256), call->parameters);
    return 0;
}

int svc_params_decode(struct svc_call *call, const struct svc_operation *operation,
                      const struct im_query *params, bool strict, void *input)
{
    const struct decoder decoder = { call, params, "" };
    const struct im_param **sorted IM_FREE = calloc(params->count + 1, sizeof(*sorted));
    int r;

    if (!sorted)
        return im_fail(&call->err, ENOMEM, "out of memory");
    for (size_t i = 0; i < params->count; i++)
        sorted[i] = &params->param[i];
    qsort(sorted, params->count, sizeof(*sorted), compare_names);
    r = refuse_duplicates(call, sorted, params->count);
    if (r == 0 && strict)
        r = refuse_unknown(call, operation, params);
    if (r == 0)
        r = decode_table(&decoder, operation->params, input);
    if (r == 0 && im_query_get(params, "ClientToken"))
        r = digest_parameters(call, operation, sorted, params->count);
    return r;
}

void svc_params_done(const struct svc_operation *operation, void *input)
{
    table_done(operation->params, input);
}
