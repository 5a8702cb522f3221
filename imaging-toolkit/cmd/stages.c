/* stages - what can be composed here: sources, formats, stages, stores, and what is missing. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/json.h"
#include "cmd/cmd.h"
#include "core/need.h"
#include "core/registry.h"

static const char help[] =
    "usage: imaging-toolkit stages [--output text|json]\n"
    "\n"
    "Lists the stages by class (transfer, bundler, converter, layout, validator), each with its\n"
    "parameters; then the sources 'fetch' reads, the formats, and the stores.  What needs a\n"
    "program, library or file that is not here is listed with the reason; everything else works\n"
    "without it.\n";

static const struct option options[] = {
    { "output", required_argument, NULL, 'o' },
    { NULL, 0, NULL, 0 },
};

/* A row of a kind, a name and a summary, unavailable for the reason in err where that is set. */
static json_t *add(json_t *rows, const char *kind, const char *name, const char *summary,
                   const struct im_error *err)
{
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:b, s:s*}", "kind", kind, "name", name, "summary", summary,
                  "available", !err->number, "reason", err->number ? err->message : NULL);

    return row && json_array_append_new(rows, row) == 0 ? row : NULL;
}

static void add_other(json_t *rows, const char *kind, const char *name, const char *summary,
                      const char *needs)
{
    struct im_error err = { 0 };
    json_t *row;

    if (needs)
        (void)im_need_check(needs, &err);
    row = add(rows, kind, name, summary, &err);
    if (row && needs)
        (void)json_object_set_new(row, "needs", json_pack("[s]", needs));
}

static json_t *names(const char *const *list)
{
    json_t *array = json_array();

    for (size_t i = 0; list && list[i]; i++)
        (void)json_array_append_new(array, json_string(list[i]));
    return array;
}

static json_t *uses_json(const struct im_use *uses)
{
    json_t *array = json_array();

    for (; uses && uses->need; uses++) {
        struct im_error err = { 0 };
        int r = im_need_check(uses->need, &err);

        (void)json_array_append_new(array, json_pack("{s:s, s:s, s:b, s:s*}", "need", uses->need,
                                                     "part", uses->part, "available", r == 0,
                                                     "reason", r < 0 ? err.message : NULL));
    }
    return array;
}

static json_t *params_json(const struct im_param *params)
{
    static const char *const types[] = {
        [IM_PARAM_TEXT] = "text",   [IM_PARAM_SIZE] = "size",     [IM_PARAM_NUMBER] = "number",
        [IM_PARAM_FLAG] = "flag",   [IM_PARAM_CHOICE] = "choice", [IM_PARAM_FILE] = "path",
        [IM_PARAM_BESIDE] = "path", [IM_PARAM_INTO] = "path"
    };
    json_t *array = json_array();

    for (; params && params->name; params++) {
        json_t *param =
            json_pack("{s:s, s:s, s:b, s:s}", "name", params->name, "type", types[params->type],
                      "required", params->required, "summary", params->summary);

        if (params->type == IM_PARAM_CHOICE)
            (void)json_object_set_new(param, "choices", names(params->choices));
        (void)json_array_append_new(array, param);
    }
    return array;
}

static void add_stage(json_t *rows, const struct im_stage *stage)
{
    struct im_error err = { 0 };
    json_t *row, *more;

    (void)im_stage_available(stage, &err);
    row = add(rows, "stage", stage->name, stage->summary, &err);
    more = json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o}", "class", im_class_name(stage->class),
                     "takes", im_flow_name(stage->takes), "gives", im_flow_name(stage->gives),
                     "optional", stage->optional, "needs", names(stage->needs), "uses",
                     uses_json(stage->uses), "parameters", params_json(stage->params));
    if (row && more)
        (void)json_object_update(row, more);
    json_decref(more);
}

static json_t *collect(void)
{
    json_t *rows = json_array();

    for (enum im_class class = IM_TRANSFER; class <= IM_VALIDATOR; class ++)
        for (size_t i = 0; im_stages[i]; i++)
            if (im_stages[i]->class == class)
                add_stage(rows, im_stages[i]);
    for (size_t i = 0; im_source_types[i]; i++)
        add_other(rows, "source", im_source_types[i]->name, im_source_types[i]->summary, NULL);
    for (size_t i = 0; im_formats[i]; i++)
        add_other(rows, "format", im_formats[i]->name, im_formats[i]->summary,
                  im_formats[i]->needs);
    for (size_t i = 0; im_store_types[i]; i++)
        add_other(rows, "store", im_store_types[i]->name, im_store_types[i]->summary, NULL);
    return rows;
}

/* size=SIZE, [format=TEXT] */
static void print_params(const json_t *params)
{
    const json_t *param;
    size_t i;

    json_array_foreach(params, i, param)
    {
        bool required = json_is_true(json_object_get(param, "required"));

        printf("%*s %s%s=%s%s  %s\n", 10, "", required ? "" : "[",
               json_string_value(json_object_get(param, "name")),
               json_string_value(json_object_get(param, "type")), required ? "" : "]",
               json_string_value(json_object_get(param, "summary")));
    }
}

/* Parts that do not work here. */
static void print_uses(const json_t *uses)
{
    const json_t *use;
    size_t i;

    json_array_foreach(uses, i, use)
    {
        if (!json_is_true(json_object_get(use, "available")))
            printf("%*s without %s: %s\n", 10, "", json_string_value(json_object_get(use, "part")),
                   json_string_value(json_object_get(use, "reason")));
    }
}

static void print_text(const json_t *rows)
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *reason = json_string_value(json_object_get(row, "reason"));
        const char *class = json_string_value(json_object_get(row, "class"));

        printf("%-10s %-22s %s%s%s%s\n",
               class ? class : json_string_value(json_object_get(row, "kind")),
               json_string_value(json_object_get(row, "name")),
               json_string_value(json_object_get(row, "summary")), reason ? " [" : "",
               reason ? reason : "", reason ? "]" : "");
        print_params(json_object_get(row, "parameters"));
        print_uses(json_object_get(row, "uses"));
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
    if (as_json)
        return im_print_json(rows, err) < 0 ? (int)im_error_status(err) : 0;
    if (im_json_lost())
        r = im_fail_memory(err);
    else
        print_text(rows);
    json_decref(rows);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_stages = {
    .name = "stages",
    .summary = "list sources, formats, stages and stores",
    .help = help,
    .run = stages,
};
