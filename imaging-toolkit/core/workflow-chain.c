/* workflow-chain - the chain that a workflow is for the inputs somebody gave, or a part of it. */

#include <config.h>

#include "core/workflow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

struct build {
    const struct im_workflow *workflow;
    const struct im_workflow_ask *ask;
    struct im_chain chain;
};

/* ---- inputs ---- */

/* The value of the input `name`, as given or as the workflow says; NULL: it has none. */
static const char *value_of(const struct build *build, const struct im_workflow_input *input)
{
    size_t len = strlen(input->name);

    for (unsigned i = 0; i < build->ask->count; i++)
        if (strncmp(build->ask->inputs[i], input->name, len) == 0 &&
            build->ask->inputs[i][len] == '=')
            return build->ask->inputs[i] + len + 1;
    return input->otherwise;
}

static int unknown_input(const struct im_workflow *workflow, const char *given, int len,
                         struct im_error *err)
{
    char names[256] = "";
    char shown[64], word[64];

    for (unsigned i = 0; i < workflow->input_count; i++) {
        size_t used = strlen(names);

        (void)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
                       workflow->input[i].name);
    }
    (void)snprintf(word, sizeof(word), "%.*s", len, given);
    return im_fail(err, EINVAL, "%s has no input '%s'; it has %s", workflow->name,
                   im_text_printable(shown, sizeof(shown), word), *names ? names : "none");
}

static int check_given(const struct build *build, struct im_error *err)
{
    const struct im_workflow_ask *ask = build->ask;

    for (unsigned i = 0; i < ask->count; i++) {
        const char *given = ask->inputs[i];
        size_t len = strcspn(given, "=");

        if (!given[len])
            return im_fail(err, EINVAL, "'%s' is no input; they are given as NAME=VALUE", given);
        if (!im_workflow_input(build->workflow, given, len))
            return unknown_input(build->workflow, given, (int)len, err);
        for (unsigned j = 0; j < i; j++)
            if (strncmp(ask->inputs[j], given, len + 1) == 0)
                return im_fail(err, EINVAL, "%.*s is given twice", (int)len, given);
    }
    return 0;
}

static const struct im_workflow_input *input_of(const struct build *build, const char *value)
{
    return *value == '$' ? im_workflow_input(build->workflow, value + 1, strlen(value + 1)) : NULL;
}

/* With '?' behind its name, when an input that it names was given. */
static bool is_there(const struct build *build, const struct im_workflow_line *line)
{
    for (unsigned i = 0; line->when_given && i < line->count; i++) {
        const struct im_workflow_input *input = input_of(build, line->arg[i].value);

        if (input && value_of(build, input))
            return true;
    }
    return !line->when_given;
}

/* ---- links ---- */

static int add_argument(const struct build *build, struct im_link *link, const char *name,
                        const char *value, struct im_error *err)
{
    const struct im_workflow_input *input = input_of(build, value);
    const char *given = input ? value_of(build, input) : value;

    if (!given && input->optional)
        return 0;
    if (!given)
        return im_fail(err, EINVAL, "%s needs %s=: %s", build->workflow->name, input->name,
                       input->summary);
    return im_args_add(&link->args, link->stage->name, link->stage->params, name, given, err);
}

static int add_line(struct build *build, const struct im_workflow_line *line, struct im_error *err)
{
    struct im_link *link;
    int r;

    if (!is_there(build, line))
        return 0;
    r = im_chain_add(&build->chain, line->stage->name, &link, err);
    if (r < 0)
        return r;
    link->optional = line->optional;
    for (unsigned i = 0; r == 0 && i < line->count; i++)
        r = add_argument(build, link, line->arg[i].name, line->arg[i].value, err);
    return r < 0 ? r : im_args_complete(&link->args, line->stage->name, line->stage->params, err);
}

/* A transfer that the workflow does not say: fetch from=where, store to=where. */
static int add_transfer(struct build *build, const char *name, const char *param, const char *where,
                        bool force, struct im_error *err)
{
    struct im_link *link;
    int r = im_chain_add(&build->chain, name, &link, err);

    if (r == 0)
        r = im_args_add(&link->args, name, link->stage->params, param, where, err);
    if (r == 0 && force)
        r = im_args_add(&link->args, name, link->stage->params, "force", "yes", err);
    return r;
}

/* ---- which lines ---- */

static int find_line(const struct build *build, const char *option, const char *name,
                     unsigned *ret_line, struct im_error *err)
{
    const struct im_workflow *workflow = build->workflow;

    for (unsigned i = 0; i < workflow->line_count; i++) {
        if (strcmp(workflow->line[i].stage->name, name) != 0)
            continue;
        if (!is_there(build, &workflow->line[i]))
            return im_fail(err, EINVAL, "%s %s: for these inputs %s has no such stage", option,
                           name, workflow->name);
        *ret_line = i;
        return 0;
    }
    return im_fail(err, EINVAL, "%s %s: %s has no such stage", option, name, workflow->name);
}

/* What flows into the first stage is in the file that the first input names. */
static int begin_from(struct build *build, unsigned line, struct im_error *err)
{
    const struct im_workflow *workflow = build->workflow;
    const struct im_stage *stage = workflow->line[line].stage;
    const char *file;

    if (stage->takes == IM_NOTHING)
        return im_fail(err, EINVAL, "--from %s: nothing flows into it; leave --from out",
                       stage->name);
    if (workflow->input_count == 0)
        return im_fail(err, EINVAL, "--from %s: %s has no input that could name the file",
                       stage->name, workflow->name);
    file = value_of(build, &workflow->input[0]);
    if (!file)
        return im_fail(err, EINVAL, "--from %s needs %s=: the file that holds what flows into it",
                       stage->name, workflow->input[0].name);
    build->chain.raw_disk = stage->takes == IM_DISK;
    return add_transfer(build, "fetch", "from", file, false, err);
}

static bool is_store(const struct im_stage *stage)
{
    return stage->order && stage->gives == IM_NOTHING;
}

/* The end of a chain that was cut off behind line `until`: the store the workflow has. */
static int end_until(struct build *build, unsigned until, struct im_error *err)
{
    const struct im_workflow *workflow = build->workflow;
    const struct im_workflow_line *last = &workflow->line[workflow->line_count - 1];

    if (build->ask->store)
        return add_transfer(build, "store", "to", build->ask->store, true, err);
    if (until == workflow->line_count - 1 || last->stage->gives != IM_NOTHING)
        return 0; /* it is whole, or one that stores nothing */
    if (!is_store(last->stage))
        return im_fail(err, EINVAL, "--until %s: %s has no 'store' that could take what comes out",
                       workflow->line[until].stage->name, workflow->name);
    return add_line(build, last, err);
}

static int add_lines(struct build *build, struct im_error *err)
{
    const struct im_workflow *workflow = build->workflow;
    unsigned first = 0, last = workflow->line_count - 1;
    int r = check_given(build, err);

    if (r == 0 && build->ask->from)
        r = find_line(build, "--from", build->ask->from, &first, err);
    if (r == 0 && build->ask->until)
        r = find_line(build, "--until", build->ask->until, &last, err);
    if (r == 0 && first > last)
        r = im_fail(err, EINVAL, "--from %s stands behind --until %s", build->ask->from,
                    build->ask->until);
    if (r == 0 && build->ask->from)
        r = begin_from(build, first, err);
    for (unsigned i = first; r == 0 && i <= last; i++)
        r = add_line(build, &workflow->line[i], err);
    return r < 0 ? r : end_until(build, last, err);
}

int im_workflow_chain(const struct im_workflow *workflow, const struct im_workflow_ask *ask,
                      struct im_chain *ret_chain, struct im_error *err)
{
    struct build build = { .workflow = workflow, .ask = ask, .chain.raw_disk = workflow->raw_disk };
    int r = add_lines(&build, err);

    if (r == 0)
        r = im_chain_check(&build.chain, err);
    if (r < 0)
        im_chain_done(&build.chain);
    else
        *ret_chain = build.chain;
    return r;
}
