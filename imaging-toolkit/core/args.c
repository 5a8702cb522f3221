/* args - check arguments against the table of parameters a stage declares. */

#include <config.h>

#include "core/args.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static const struct im_param *find_param(const struct im_param *params, const char *name)
{
    for (; params && params->name; params++)
        if (strcmp(params->name, name) == 0)
            return params;
    return NULL;
}

static const struct im_arg *find_arg(const struct im_args *args, const char *name)
{
    for (unsigned i = 0; i < args->count; i++)
        if (strcmp(args->arg[i].param->name, name) == 0)
            return &args->arg[i];
    return NULL;
}

static int parse_flag(const char *text, uint64_t *ret_number)
{
    static const char *const words[][2] = { { "no", "yes" }, { "false", "true" }, { "0", "1" } };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (uint64_t value = 0; value < 2; value++)
            if (strcasecmp(text, words[i][value]) == 0) {
                *ret_number = value;
                return 0;
            }
    return -EINVAL;
}

static int parse_choice(const struct im_param *param, const char *text)
{
    for (size_t i = 0; param->choices[i]; i++)
        if (strcmp(param->choices[i], text) == 0)
            return 0;
    return -EINVAL;
}

static int parse(const struct im_param *param, const char *text, uint64_t *ret_number)
{
    switch (param->type) {
    case IM_PARAM_SIZE:
        return im_parse_size(text, ret_number);
    case IM_PARAM_NUMBER:
        return im_parse_uint(text, UINT64_MAX, ret_number);
    case IM_PARAM_FLAG:
        return parse_flag(text, ret_number);
    case IM_PARAM_CHOICE:
        return parse_choice(param, text);
    case IM_PARAM_TEXT:
    case IM_PARAM_FILE:
    case IM_PARAM_BESIDE:
    case IM_PARAM_INTO:
        break;
    }
    return *text && strlen(text) <= IM_ARG_TEXT_MAX ? 0 : -EINVAL;
}

#define TEXT "a text that is neither empty nor longer than 4096 bytes"

static const char *const expected[] = {
    [IM_PARAM_TEXT] = TEXT,
    [IM_PARAM_FILE] = TEXT,
    [IM_PARAM_BESIDE] = TEXT,
    [IM_PARAM_INTO] = TEXT,
    [IM_PARAM_SIZE] = "a size like 4096 or 10G",
    [IM_PARAM_NUMBER] = "a number",
    [IM_PARAM_FLAG] = "yes or no",
};

/* What the argument of the type should be; "one of auto, bios, uefi". */
static const char *wanted(const struct im_param *param, char text[IM_ERROR_MAX / 2])
{
    size_t len = 0;

    if (param->type != IM_PARAM_CHOICE)
        return expected[param->type];
    for (const char *const *choice = param->choices; *choice && len < IM_ERROR_MAX / 2; choice++)
        len += (size_t)snprintf(text + len, IM_ERROR_MAX / 2 - len, "%s%s", len ? ", " : "one of ",
                                *choice);
    return text;
}

int im_args_add(struct im_args *args, const char *of, const struct im_param *params,
                const char *name, const char *text, struct im_error *err)
{
    const struct im_param *param = find_param(params, name);
    struct im_arg arg = { .param = param };
    char shown[128], choices[IM_ERROR_MAX / 2] = "";

    if (!param)
        return im_fail(err, EINVAL, "'%s' has no parameter '%s'; see 'imaging-toolkit stages'", of,
                       im_text_printable(shown, sizeof(shown), name));
    if (find_arg(args, name))
        return im_fail(err, EINVAL, "%s: %s is given twice", of, name);
    if (parse(param, text, &arg.number) < 0)
        return im_fail(err, EINVAL, "%s: %s=%s is not %s", of, name,
                       im_text_printable(shown, sizeof(shown), text), wanted(param, choices));
    if (args->count == IM_ARGS_MAX)
        return im_fail(err, EINVAL, "%s: more than %d arguments", of, IM_ARGS_MAX);
    arg.text = strdup(text);
    if (!arg.text)
        return im_fail(err, ENOMEM, "out of memory");
    args->arg[args->count++] = arg;
    return 0;
}

int im_args_complete(const struct im_args *args, const char *of, const struct im_param *params,
                     struct im_error *err)
{
    for (; params && params->name; params++)
        if (params->required && !find_arg(args, params->name))
            return im_fail(err, EINVAL, "'%s' needs %s: %s", of, params->name, params->summary);
    return 0;
}

const char *im_arg_text(const struct im_args *args, const char *name)
{
    const struct im_arg *arg = find_arg(args, name);

    return arg ? arg->text : NULL;
}

uint64_t im_arg_number(const struct im_args *args, const char *name, uint64_t otherwise)
{
    const struct im_arg *arg = find_arg(args, name);

    return arg ? arg->number : otherwise;
}

bool im_arg_flag(const struct im_args *args, const char *name)
{
    return im_arg_number(args, name, 0) != 0;
}

void im_args_done(struct im_args *args)
{
    for (unsigned i = 0; i < args->count; i++)
        free(args->arg[i].text);
    *args = (struct im_args){ 0 };
}
