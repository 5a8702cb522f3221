/* rows - what commands print: lines of columns, or JSON. */

#include <config.h>

#include "cmd/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

void rows_decref(json_t **json)
{
    json_decref(*json);
}

json_t *rows_text(const char *text)
{
    char *shown IM_FREE = NULL;
    size_t len = text ? strlen(text) : 0;

    if (len == 0)
        return json_null();
    if (im_text_is_utf8(text, len))
        return json_string(text);
    shown = malloc(len + 1);
    return shown ? json_string(im_text_printable(shown, len + 1, text)) : NULL;
}

json_t *rows_time(int64_t ms)
{
    char text[24];

    return ms ? json_string(im_clock_iso8601(text, sizeof(text), ms)) : json_null();
}

/* Whoever wrote a value may not begin a column or line of his own, nor talk to the terminal. */
static void print_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *shown IM_FREE = malloc(size);

    (void)fputs(shown ? im_text_printable(shown, size, text) : "?", stdout);
}

static void print_value(const json_t *value)
{
    if (json_is_string(value) && *json_string_value(value))
        print_text(json_string_value(value));
    else if (json_is_integer(value))
        (void)printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        (void)fputs(json_is_true(value) ? "yes" : "no", stdout);
    else
        (void)putchar('-');
}

void rows_print_line(json_t *row)
{
    const char *name, *before = "";
    json_t *value;

    json_object_foreach(row, name, value)
    {
        (void)fputs(before, stdout);
        print_value(value);
        before = "\t";
    }
    (void)putchar('\n');
}

void rows_print_fields(const char *prefix, json_t *row)
{
    const char *name;
    json_t *value;

    json_object_foreach(row, name, value)
    {
        (void)fputs(prefix, stdout);
        print_text(name);
        (void)putchar('\t');
        print_value(value);
        (void)putchar('\n');
    }
}

int rows_add(struct rows *rows, json_t *row)
{
    json_t *added JSON_DONE = row;

    if (!added)
        return -ENOMEM;
    if (rows->json) {
        (void)fputs(rows->count ? ",\n  " : "[\n  ", stdout);
        (void)json_dumpf(added, stdout, JSON_COMPACT);
    } else {
        rows_print_line(added);
    }
    rows->count++;
    return 0;
}

int rows_end(struct rows *rows, struct im_error *err)
{
    if (rows->json)
        (void)puts(rows->count ? "\n]" : "[]");
    return rows_flush(err);
}

int rows_print_json(const json_t *json, struct im_error *err)
{
    if (!json)
        return im_fail(err, ENOMEM, "out of memory");
    if (json_dumpf(json, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF)
        return im_fail_errno(err, errno, "cannot write to standard output");
    return rows_flush(err);
}

int rows_flush(struct im_error *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return im_fail_errno(err, errno ? errno : EIO, "cannot write to standard output");
    return 0;
}
