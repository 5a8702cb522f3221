/* workflow - read the text of one, strictly. */

#include <config.h>

#include "core/workflow.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* A name, a stage, optional, and its arguments. */
#define WORDS_MAX (IM_ARGS_MAX + 3)
/* Names of inputs; the longest of ours has twelve. */
#define NAME_MAX_LEN 32u

static const char blanks[] = " \t";

/* ---- words ---- */

/* Cut `text` into words, in place; -E2BIG when there are more than max. */
static int split(char *text, char **words, unsigned max)
{
    unsigned count = 0;

    for (text += strspn(text, blanks); *text; text += strspn(text, blanks)) {
        size_t len = strcspn(text, blanks);

        if (count == max)
            return -E2BIG;
        words[count++] = text;
        text += len;
        if (*text)
            *text++ = '\0';
    }
    return (int)count;
}

static bool is_name(const char *text, size_t len)
{
    if (len == 0 || len > NAME_MAX_LEN || !islower((unsigned char)*text))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) && text[i] != '-')
            return false;
    return true;
}

const struct im_workflow_input *im_workflow_input(const struct im_workflow *workflow,
                                                  const char *name, size_t len)
{
    for (unsigned i = 0; i < workflow->input_count; i++)
        if (strlen(workflow->input[i].name) == len &&
            memcmp(workflow->input[i].name, name, len) == 0)
            return &workflow->input[i];
    return NULL;
}

static int copy(char **to, const char *text, struct im_error *err)
{
    *to = strdup(text);
    return *to ? 0 : im_fail(err, ENOMEM, "out of memory");
}

/* ---- inputs: input NAME [optional | default VALUE] -- SUMMARY ---- */

static int parse_input_kind(char **words, int count, struct im_workflow_input *input,
                            struct im_error *err)
{
    if (count == 2)
        return 0;
    if (count == 3 && strcmp(words[2], "optional") == 0) {
        input->optional = true;
        return 0;
    }
    if (count == 4 && strcmp(words[2], "default") == 0) {
        input->optional = true;
        return copy(&input->otherwise, words[3], err);
    }
    return im_fail(err, EINVAL,
                   "behind the name of an input stands nothing, 'optional', or "
                   "'default VALUE'; then '-- what it is'");
}

static int parse_input(struct im_workflow *workflow, char *text, unsigned line,
                       struct im_error *err)
{
    char *words[5], *summary = strstr(text, " -- ");
    struct im_workflow_input *input;
    int count, r;

    if (!summary)
        return im_fail(err, EINVAL, "an input is told: input NAME … -- what it is");
    *summary = '\0';
    summary += 4;
    summary += strspn(summary, blanks);
    count = split(text, words, 5);
    if (count < 0)
        count = 5; /* as wrong as any more */
    if (count < 2 || !is_name(words[1], strlen(words[1])))
        return im_fail(err, EINVAL,
                       "'input' is followed by a name of at most %u small letters, digits and "
                       "dashes",
                       NAME_MAX_LEN);
    if (im_workflow_input(workflow, words[1], strlen(words[1])))
        return im_fail(err, EINVAL, "there is an input '%s' already", words[1]);
    if (workflow->input_count == IM_WORKFLOW_INPUTS_MAX)
        return im_fail(err, EINVAL, "more than %u inputs", IM_WORKFLOW_INPUTS_MAX);
    if (workflow->line_count > 0)
        return im_fail(err, EINVAL, "inputs stand in front of all stages");
    input = &workflow->input[workflow->input_count++];
    input->line = line;
    r = copy(&input->name, words[1], err);
    if (r == 0)
        r = copy(&input->summary, summary, err);
    return r < 0 ? r : parse_input_kind(words, count, input, err);
}

/* ---- stages: NAME[?] [optional|required] KEY=VALUE … ---- */

/* $NAME as value; everything else is a value itself. */
static int check_value(struct im_workflow *workflow, const struct im_workflow_line *line,
                       const char *name, const char *value, struct im_error *err)
{
    struct im_args args = { 0 };
    struct im_workflow_input *input;
    int r;

    if (*value != '$') {
        r = im_args_add(&args, line->stage->name, line->stage->params, name, value, err);
        im_args_done(&args);
        return r;
    }
    for (const struct im_param *param = line->stage->params; param && param->name; param++) {
        if (strcmp(param->name, name) != 0)
            continue;
        input =
            (struct im_workflow_input *)im_workflow_input(workflow, value + 1, strlen(value + 1));
        if (!input)
            return im_fail(err, EINVAL, "%s=%s: there is no input '%s' above", name, value,
                           value + 1);
        input->used = true;
        return 0;
    }
    return im_fail(err, EINVAL, "'%s' has no parameter '%s'; see 'imaging-toolkit stages'",
                   line->stage->name, name);
}

static int parse_argument(struct im_workflow *workflow, struct im_workflow_line *line, char *word,
                          struct im_error *err)
{
    char *value = strchr(word, '=');
    int r;

    if (!value || value == word)
        return im_fail(err, EINVAL, "'%s' is no argument; they are given as NAME=VALUE", word);
    *value++ = '\0';
    for (unsigned i = 0; i < line->count; i++)
        if (strcmp(line->arg[i].name, word) == 0)
            return im_fail(err, EINVAL, "%s: %s is given twice", line->stage->name, word);
    if (line->count == IM_ARGS_MAX)
        return im_fail(err, EINVAL, "more than %d arguments", IM_ARGS_MAX);
    r = check_value(workflow, line, word, value, err);
    if (r == 0)
        r = copy(&line->arg[line->count].name, word, err);
    if (r == 0) {
        r = copy(&line->arg[line->count].value, value, err);
        line->count++; /* whatever was copied is freed with it */
    }
    return r;
}

/* What is required is there, and '?' has something to ask for. */
static int check_arguments(const struct im_workflow_line *line, struct im_error *err)
{
    bool names_input = false;

    for (unsigned i = 0; i < line->count; i++)
        names_input |= *line->arg[i].value == '$';
    if (line->when_given && !names_input)
        return im_fail(err, EINVAL, "'%s?' names no input: without '?' it is always there",
                       line->stage->name);
    for (const struct im_param *param = line->stage->params; param && param->name; param++) {
        bool there = false;

        for (unsigned i = 0; i < line->count; i++)
            there |= strcmp(line->arg[i].name, param->name) == 0;
        if (param->required && !there)
            return im_fail(err, EINVAL, "'%s' needs %s=: %s", line->stage->name, param->name,
                           param->summary);
    }
    return 0;
}

static int find_stage(struct im_workflow *workflow, const char *name, unsigned number,
                      struct im_workflow_line **ret_line, struct im_error *err)
{
    const struct im_stage *stage = im_stage_find(name);

    if (!stage)
        return im_fail(err, EINVAL, "there is no stage '%s'; see 'imaging-toolkit stages'", name);
    for (unsigned i = 0; i < workflow->line_count; i++)
        if (workflow->line[i].stage == stage)
            return im_fail(err, EINVAL, "the stage '%s' is there already", name);
    if (workflow->line_count == IM_CHAIN_MAX)
        return im_fail(err, EINVAL, "more than %d stages", IM_CHAIN_MAX);
    *ret_line = &workflow->line[workflow->line_count++];
    **ret_line =
        (struct im_workflow_line){ .stage = stage, .line = number, .optional = stage->optional };
    return 0;
}

static int add_stage(struct im_workflow *workflow, char **words, unsigned count, unsigned number,
                     struct im_error *err)
{
    size_t len = strlen(words[0]);
    bool when_given = len > 1 && words[0][len - 1] == '?';
    struct im_workflow_line *line;
    unsigned i = 1;
    int r;

    if (when_given)
        words[0][len - 1] = '\0';
    r = find_stage(workflow, words[0], number, &line, err);
    if (r < 0)
        return r;
    line->when_given = when_given;
    if (count > 1 && (strcmp(words[1], "optional") == 0 || strcmp(words[1], "required") == 0))
        line->optional = *words[i++] == 'o';
    for (; r == 0 && i < count; i++)
        r = parse_argument(workflow, line, words[i], err);
    return r < 0 ? r : check_arguments(line, err);
}

/* ---- lines ---- */

static int parse_comment(struct im_workflow *workflow, const char *text, struct im_error *err)
{
    text += strspn(text, "# \t");
    return workflow->summary || !*text ? 0 : copy(&workflow->summary, text, err);
}

static int parse_line(struct im_workflow *workflow, char *text, unsigned number,
                      struct im_error *err)
{
    char *words[WORDS_MAX];
    int count;

    text += strspn(text, blanks);
    if (*text == '#')
        return parse_comment(workflow, text, err);
    if (strncmp(text, "input", 5) == 0 && strchr(" \t", text[5]))
        return parse_input(workflow, text, number, err);
    count = split(text, words, WORDS_MAX);
    if (count < 0)
        return im_fail(err, EINVAL, "more than %d words", WORDS_MAX);
    return count == 0 ? 0 : add_stage(workflow, words, (unsigned)count, number, err);
}

/* One line of text without surprises for whoever reads it on a terminal. */
static int check_text(const char *text, size_t len, struct im_error *err)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' && text[i] != '\t')
            return im_fail(err, EINVAL, "byte 0x%02x is no text; lines end with a newline alone",
                           (unsigned char)text[i]);
    return im_text_is_utf8(text, len) ? 0 : im_fail(err, EINVAL, "the line is not UTF-8");
}

static int parse_lines(struct im_workflow *workflow, const char *text, size_t len,
                       struct im_error *err)
{
    const char *end = text + len;
    unsigned number = 0;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t line_len = (size_t)((newline ? newline : end) - text);
        char *line IM_FREE = NULL;
        int r = check_text(text, line_len, err);

        number++;
        if (r == 0) {
            line = strndup(text, line_len);
            r = line ? parse_line(workflow, line, number, err)
                     : im_fail(err, ENOMEM, "out of memory");
        }
        if (r < 0) {
            im_error_prefix(err, "%s, line %u", workflow->name, number);
            return r;
        }
        text += line_len + 1;
    }
    return 0;
}

static int check_whole(struct im_workflow *workflow, struct im_error *err)
{
    if (workflow->line_count == 0)
        return im_fail(err, EINVAL, "%s names no stage", workflow->name);
    for (unsigned i = 0; i < workflow->input_count; i++)
        if (!workflow->input[i].used)
            return im_fail(err, EINVAL, "%s, line %u: no stage uses the input '%s'", workflow->name,
                           workflow->input[i].line, workflow->input[i].name);
    return workflow->summary ? 0 : copy(&workflow->summary, "", err);
}

int im_workflow_parse(const char *name, const char *text, size_t len,
                      struct im_workflow **ret_workflow, struct im_error *err)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = calloc(1, sizeof(*workflow));
    char shown[256];
    int r;

    if (!workflow)
        return im_fail(err, ENOMEM, "out of memory");
    if (len > IM_WORKFLOW_BYTES_MAX)
        return im_fail(err, EINVAL, "%s is longer than the %u bytes of a workflow",
                       im_text_printable(shown, sizeof(shown), name), IM_WORKFLOW_BYTES_MAX);
    r = copy(&workflow->name, im_text_printable(shown, sizeof(shown), name), err);
    if (r == 0)
        r = parse_lines(workflow, text, len, err);
    if (r == 0)
        r = check_whole(workflow, err);
    if (r == 0)
        *ret_workflow = im_steal(workflow);
    return r;
}

/* ---- words of a command line ---- */

static int add_words(struct im_workflow *workflow, const char *const *from, unsigned count,
                     struct im_error *err)
{
    char *words[WORDS_MAX] = { NULL };
    int r =
        count > WORDS_MAX ? im_fail(err, EINVAL, "%s: more than %d words", from[0], WORDS_MAX) : 0;

    for (unsigned i = 0; r == 0 && i < count; i++)
        r = copy(&words[i], from[i], err);
    if (r == 0)
        r = add_stage(workflow, words, count, 0, err);
    for (unsigned i = 0; i < count && i < WORDS_MAX; i++)
        free(words[i]);
    return r;
}

/* The ends that were not said are pipes. */
static int add_ends(struct im_workflow *workflow, struct im_error *err)
{
    static const char *const in[] = { "fetch", "from=-" }, *const out[] = { "store", "to=-" };
    const struct im_stage *first = workflow->line[0].stage;
    const struct im_stage *last = workflow->line[workflow->line_count - 1].stage;
    int r = 0;

    if (last->gives != IM_NOTHING && last->class != IM_VALIDATOR)
        r = add_words(workflow, out, 2, err);
    if (r < 0 || first->takes == IM_NOTHING)
        return r;
    r = add_words(workflow, in, 2, err);
    if (r == 0) {
        struct im_workflow_line fetch = workflow->line[workflow->line_count - 1];

        memmove(&workflow->line[1], &workflow->line[0],
                (workflow->line_count - 1) * sizeof(workflow->line[0]));
        workflow->line[0] = fetch;
        workflow->raw_disk = first->takes == IM_DISK;
    }
    return r;
}

static bool begins_stage(const char *word)
{
    return !strchr(word, '=') && strcmp(word, "optional") != 0 && strcmp(word, "required") != 0;
}

int im_workflow_of_words(const char *const *words, unsigned count,
                         struct im_workflow **ret_workflow, struct im_error *err)
{
    struct im_workflow *workflow IM_WORKFLOW_FREE = calloc(1, sizeof(*workflow));
    int r = workflow ? copy(&workflow->name, "chain", err) : im_fail(err, ENOMEM, "out of memory");

    for (unsigned i = 0, next; r == 0 && i < count; i = next) {
        for (next = i + 1; next < count && !begins_stage(words[next]);)
            next++;
        r = add_words(workflow, words + i, next - i, err);
    }
    if (r == 0)
        r = check_whole(workflow, err);
    if (r == 0)
        r = add_ends(workflow, err);
    if (r == 0)
        *ret_workflow = im_steal(workflow);
    return r;
}

struct im_workflow *im_workflow_free(struct im_workflow *workflow)
{
    if (!workflow)
        return NULL;
    for (unsigned i = 0; i < workflow->input_count; i++) {
        free(workflow->input[i].name);
        free(workflow->input[i].otherwise);
        free(workflow->input[i].summary);
    }
    for (unsigned i = 0; i < workflow->line_count; i++)
        for (unsigned j = 0; j < workflow->line[i].count; j++) {
            free(workflow->line[i].arg[j].name);
            free(workflow->line[i].arg[j].value);
        }
    free(workflow->name);
    free(workflow->summary);
    free(workflow);
    return NULL;
}
