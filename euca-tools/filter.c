/* filter - a table of names and where a task has their values. */

#include <config.h>

#include "filter.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum place { OF_TASK, OF_DISK, OF_TYPE };

/* A name may stand in several rows: each is one more place where its value may be. */
static const struct row {
    const char *name;
    enum place place;
    size_t offset; /* of a char * in struct euca_task or struct euca_task_disk */
} rows[] = {
    { "conversion-task-id", OF_TASK, offsetof(struct euca_task, id) },
    { "state", OF_TASK, offsetof(struct euca_task, state) },
    { "task-type", OF_TYPE, 0 },
    { "status-message", OF_TASK, offsetof(struct euca_task, status_message) },
    { "status-message", OF_DISK, offsetof(struct euca_task_disk, status_message) },
    { "volume-id", OF_DISK, offsetof(struct euca_task_disk, volume_id) },
    { "instance-id", OF_TASK, offsetof(struct euca_task, instance_id) },
    { "availability-zone", OF_DISK, offsetof(struct euca_task_disk, zone) },
    { "format", OF_DISK, offsetof(struct euca_task_disk, format) },
    { "platform", OF_TASK, offsetof(struct euca_task, platform) },
    { "description", OF_TASK, offsetof(struct euca_task, description) },
    { "description", OF_DISK, offsetof(struct euca_task_disk, description) },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* ---- reading ---- */

/* All names as "a, b, c". */
static const char *list_names(char *buf, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < ROWS && used < size; i++)
        if (i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0)
            used +=
                (size_t)snprintf(buf + used, size - used, "%s%s", i > 0 ? ", " : "", rows[i].name);
    return buf;
}

static const char *find_name(const char *text, size_t len)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, text, len) == 0)
            return rows[i].name;
    return NULL;
}

/* Bytes up to the next comma that separates values. */
static size_t value_length(const char *text)
{
    size_t len = 0;

    while (text[len] && text[len] != ',')
        len += text[len] == '\\' && text[len + 1] ? 2 : 1;
    return len;
}

static int add_value(struct euca_filter *filter, const char *name, const char *text, size_t len,
                     const char *whole, struct im_error *err)
{
    struct euca_filter_value *value = &filter->value[filter->count];

    if (len == 0)
        return euca_usage(err, "argument --filter: '%s' lacks a value", whole);
    if (filter->count == EUCA_FILTER_VALUES_MAX)
        return euca_usage(err, "argument --filter: there are more than %d values",
                          EUCA_FILTER_VALUES_MAX);
    *value = (struct euca_filter_value){ name, strndup(text, len) };
    if (!value->pattern)
        return im_fail_memory(err);
    filter->count++;
    return 0;
}

static int parse_one(struct euca_filter *filter, const char *text, struct im_error *err)
{
    const char *values = strchr(text, '=');
    const char *name;
    char names[256];
    int r = 0;

    if (!values)
        return euca_usage(err, "argument --filter: '%s' is not of the form NAME=VALUE", text);
    name = find_name(text, (size_t)(values - text));
    if (!name)
        return euca_usage(err, "argument --filter: invalid name: '%.*s' (choose from %s)",
                          (int)(values - text), text, list_names(names, sizeof(names)));
    do {
        size_t len = value_length(++values);

        r = add_value(filter, name, values, len, text, err);
        values += len;
    } while (r == 0 && *values);
    return r;
}

int euca_filter_parse(const struct euca_list *texts, struct euca_filter *ret_filter,
                      struct im_error *err)
{
    int r = 0;

    *ret_filter = (struct euca_filter){ 0 };
    for (size_t i = 0; i < texts->count && r == 0; i++)
        r = parse_one(ret_filter, texts->value[i], err);
    if (r < 0)
        euca_filter_done(ret_filter);
    return r;
}

void euca_filter_done(struct euca_filter *filter)
{
    for (size_t i = 0; i < filter->count; i++)
        free(filter->value[i].pattern);
    filter->count = 0;
}

/* ---- matching ---- */

static bool fits(const struct euca_filter *filter, const char *name, const char *text)
{
    for (size_t i = 0; text && i < filter->count; i++)
        if (filter->value[i].name == name && im_text_matches(filter->value[i].pattern, text))
            return true;
    return false;
}

static const char *text_at(const void *holder, size_t offset)
{
    return *(char *const *)(const void *)((const char *)holder + offset);
}

/* Has the task, at the place of this row, a value that fits? */
static bool row_fits(const struct euca_filter *filter, const struct row *row, const char *name,
                     const struct euca_task *task)
{
    switch (row->place) {
    case OF_TYPE:
        return fits(filter, name, euca_task_type(task));
    case OF_TASK:
        return fits(filter, name, text_at(task, row->offset));
    default:
        for (size_t i = 0; i < task->disk_count; i++)
            if (fits(filter, name, text_at(&task->disk[i], row->offset)))
                return true;
        return false;
    }
}

static bool name_fits(const struct euca_filter *filter, const char *name,
                      const struct euca_task *task)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0 && row_fits(filter, &rows[i], name, task))
            return true;
    return false;
}

bool euca_filter_matches(const struct euca_filter *filter, const struct euca_task *task)
{
    for (size_t i = 0; i < filter->count; i++)
        if (!name_fits(filter, filter->value[i].name, task))
            return false;
    return true;
}
