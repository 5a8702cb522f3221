/* stages - what can be composed here: sources, formats, stages, stores, and what is missing. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/spawn.h"
#include "cmd/cmd.h"
#include "core/registry.h"

static const char help[] =
    "usage: imaging-toolkit stages [--output text|json]\n"
    "\n"
    "Lists sources, formats, stages and stores.  One that needs a program which is not installed\n"
    "is listed as missing, with the reason; everything else works without it.\n";

static const struct option options[] = {
    { "output", required_argument, NULL, 'o' },
    { NULL, 0, NULL, 0 },
};

/* Add a row; takes nothing over. */
static void add(json_t *rows, const char *kind, const char *name, const char *summary,
                const char *needs)
{
    char *found IM_FREE = needs ? im_spawn_find(needs) : NULL;
    bool available = !needs || found;
    json_t *row = json_pack("{s:s, s:s, s:s, s:b}", "kind", kind, "name", name, "summary", summary,
                            "available", available);

    if (needs)
        (void)json_object_set_new(row, "needs", json_string(needs));
    if (!available)
        (void)json_object_set_new(row, "reason", json_sprintf("%s is not installed", needs));
    (void)json_array_append_new(rows, row);
}

static json_t *collect(void)
{
    json_t *rows = json_array();

    for (size_t i = 0; im_source_types[i]; i++)
        add(rows, "source", im_source_types[i]->name, im_source_types[i]->summary, NULL);
    for (size_t i = 0; im_formats[i]; i++)
        add(rows, "format", im_formats[i]->name, im_formats[i]->summary, im_formats[i]->needs);
    for (size_t i = 0; im_stages[i]; i++)
        add(rows, "stage", im_stages[i]->name, im_stages[i]->summary, NULL);
    for (size_t i = 0; im_store_types[i]; i++)
        add(rows, "store", im_store_types[i]->name, im_store_types[i]->summary, NULL);
    return rows;
}

static void print_text(const json_t *rows)
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *reason = json_string_value(json_object_get(row, "reason"));

        printf("%-7s %-9s %s%s%s%s\n", json_string_value(json_object_get(row, "kind")),
               json_string_value(json_object_get(row, "name")),
               json_string_value(json_object_get(row, "summary")), reason ? " [missing: " : "",
               reason ? reason : "", reason ? "]" : "");
    }
}

static int stages(int argc, char **argv, struct im_error *err)
{
    bool as_json = false;
    json_t *rows;
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":", options, err)) != -1)
        r = c == 'o' ? im_parse_output(optarg, &as_json, err) : -EINVAL;
    if (r == 0 && optind != argc)
        r = im_fail(err, EINVAL, "'%s' is not expected", argv[optind]);
    if (r < 0)
        return (int)im_error_status(err);
    rows = collect();
    if (as_json) {
        (void)json_dumpf(rows, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_text(rows);
    }
    json_decref(rows);
    return 0;
}

const struct im_command im_command_stages = {
    .name = "stages",
    .summary = "list sources, formats, stages and stores",
    .help = help,
    .run = stages,
};
