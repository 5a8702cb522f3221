/* rows - what commands print: rows of named values, as lines of columns between tabs, or as JSON.
 *
 * A row is a JSON object whose names are in the order of the columns, so that both outputs tell the
 * same.  What is not known is JSON's null, and "-" in a line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"

void rows_decref(json_t **json);
#define JSON_DONE IM_CLEANUP(rows_decref)

/* Text as a value; NULL and "" are null.  What is no UTF-8 is made so. */
json_t *rows_text(const char *text);

/* The same of a moment in ms, 0: null. */
json_t *rows_time(int64_t ms);

/* One row as a line. */
void rows_print_line(json_t *row);

/* The values of a row as lines "PREFIXname<TAB>value". */
void rows_print_fields(const char *prefix, json_t *row);

/* Rows as they come: lines, or the elements of one JSON array, which is never in memory as a
 * whole. */
struct rows {
    bool json;
    size_t count;
};

/* Print the row and free it.  0, or -ENOMEM when row is NULL. */
int rows_add(struct rows *rows, json_t *row);

/* What belongs behind the last; 0, or the failure of the writing. */
int rows_end(struct rows *rows, struct im_error *err);

/* Print one JSON value, and see to it that all of it is written. */
int rows_print_json(const json_t *json, struct im_error *err);

/* See to it that all was written. */
int rows_flush(struct im_error *err);
