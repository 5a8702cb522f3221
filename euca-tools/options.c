/* options - getopt_long driven by tables.
 *
 * The texts are those of the historical clients (Python's argparse), because scripts look for them;
 * what a value means is not known here. */

#include <config.h>

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#include "events.h"

/* Options of one command with the common ones: the richest historical command has 33. */
#define OPTIONS_MAX 64

/* getopt's values of long options start above every letter. */
#define LONG_BASE 256

const struct euca_option euca_common_options[] = {
    EUCA_FLAG(euca_common, show_empty_fields, "show-empty-fields", '\0'),
    EUCA_TEXT(euca_common, url, "url", 'U'),
    EUCA_TEXT(euca_common, region, "region", '\0'),
    EUCA_TEXT(euca_common, access_key, "access-key-id", 'I'),
    EUCA_TEXT(euca_common, secret_key, "secret-key", 'S'),
    EUCA_TEXT(euca_common, token, "security-token", '\0'),
    EUCA_FLAG(euca_common, debug, "debug", '\0'),
    EUCA_FLAG(euca_common, debugger, "debugger", '\0'),
    EUCA_FLAG(euca_common, version, "version", '\0'),
    EUCA_FLAG(euca_common, help, "help", 'h'),
    { 0 },
};

const struct euca_option euca_s3_options_table[] = {
    EUCA_TEXT(euca_s3_options, s3_url, "s3-url", '\0'),
    EUCA_TEXT(euca_s3_options, owner_akid, "owner-akid", 'o'),
    EUCA_TEXT(euca_s3_options, owner_sak, "owner-sak", 'w'),
    EUCA_TEXT(euca_s3_options, signature, "signature", '\0'),
    { 0 },
};

const struct euca_option euca_progress_options_table[] = {
    EUCA_FLAG(euca_progress_options, progress, "progress", '\0'),
    EUCA_FLAG(euca_progress_options, no_progress, "no-progress", '\0'),
    EUCA_FLAG(euca_progress_options, porcelain, "porcelain", '\0'),
    { "json", '\0', EUCA_OPTION_EVENTS, 0 },
    EUCA_TEXT(euca_progress_options, uploads, "uploads", '\0'),
    { 0 },
};

static const char common_help[] =
    "  EC2: -U, --url URL, -I, --access-key-id ID, -S, --secret-key KEY,\n"
    "       --security-token TOKEN, --region [USER@]REGION\n"
    "  Any: --debug (each request), --version, -h, --help\n";

/* The tables flattened, beside getopt's view of them. */
struct parser {
    size_t count;
    const struct euca_option *option[OPTIONS_MAX];
    void *values[OPTIONS_MAX];
    struct option long_options[OPTIONS_MAX + 1];
    char letters[1 + 2 * OPTIONS_MAX + 1];
};

int euca_usage(struct im_error *err, const char *format, ...)
{
    char text[IM_ERROR_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return im_fail_code(err, EINVAL, EUCA_USAGE, "%s", text);
}

static int getopt_kind(const struct euca_option *option)
{
    switch (option->kind) {
    case EUCA_OPTION_FLAG:
    case EUCA_OPTION_EVENTS:
        return no_argument;
    case EUCA_OPTION_PERHAPS:
        return optional_argument;
    default:
        return required_argument;
    }
}

static void add_table(struct parser *parser, const struct euca_option *table, void *values)
{
    size_t letters = strlen(parser->letters);

    for (; table->name && parser->count < OPTIONS_MAX; table++) {
        size_t n = parser->count++;

        parser->option[n] = table;
        parser->values[n] = values;
        parser->long_options[n] =
            (struct option){ table->name, getopt_kind(table), NULL, LONG_BASE + (int)n };
        if (table->letter) {
            parser->letters[letters++] = table->letter;
            if (table->kind != EUCA_OPTION_FLAG)
                parser->letters[letters++] = ':';
        }
    }
}

/* The option behind a value of getopt_long. */
static const struct euca_option *option_of(const struct parser *parser, int value, size_t *ret_n)
{
    for (size_t n = 0; n < parser->count; n++) {
        if (value == LONG_BASE + (int)n || (value && value == parser->option[n]->letter)) {
            *ret_n = n;
            return parser->option[n];
        }
    }
    abort(); /* getopt_long knows no others */
}

/* "-f/--format" or "--prefix", as the messages call an option. */
static const char *option_text(const struct euca_option *option, char *buf, size_t size)
{
    if (option->letter)
        (void)snprintf(buf, size, "-%c/--%s", option->letter, option->name);
    else
        (void)snprintf(buf, size, "--%s", option->name);
    return buf;
}

/* Names that `word` ("--s=…") may be the beginning of, as "--s3-url, --secret-key"; their number.
 */
static unsigned candidates(const struct parser *parser, const char *word, char *buf, size_t size)
{
    size_t len = strcspn(word + 2, "=");
    unsigned found = 0;
    size_t used = 0;

    buf[0] = '\0';
    for (size_t n = 0; n < parser->count; n++) {
        if (strncmp(parser->option[n]->name, word + 2, len) != 0 || used >= size)
            continue;
        used += (size_t)snprintf(buf + used, size - used, "%s--%s", found ? ", " : "",
                                 parser->option[n]->name);
        found++;
    }
    return found;
}

/* Why getopt_long gave '?'. */
static int unknown(const struct parser *parser, const char *word, struct im_error *err)
{
    char names[256];
    size_t n;

    if (optopt >= LONG_BASE) {
        const struct euca_option *option = option_of(parser, optopt, &n);
        const char *value = strchr(word, '=');

        return euca_usage(err, "argument %s: ignored explicit argument '%s'",
                          option_text(option, names, sizeof(names)), value ? value + 1 : "");
    }
    if (optopt)
        return euca_usage(err, "unrecognized arguments: -%c", optopt);
    if (candidates(parser, word, names, sizeof(names)) > 1)
        return euca_usage(err, "ambiguous option: %.*s could match %s", (int)strcspn(word, "="),
                          word, names);
    /* Its value may be a key: the name was mistyped. */
    return euca_usage(err, "unrecognized arguments: %.*s", (int)strcspn(word, "="), word);
}

/* Put an option's argument into its field; -E2BIG when the list is full. */
static int set(const struct euca_option *option, void *field, const char *argument)
{
    struct euca_list *list = field;

    switch (option->kind) {
    case EUCA_OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case EUCA_OPTION_TEXT:
        *(const char **)field = argument;
        return 0;
    case EUCA_OPTION_PERHAPS:
        *(const char **)field = argument ? argument : "";
        return 0;
    case EUCA_OPTION_LIST:
        if (list->count == EUCA_LIST_MAX)
            return -E2BIG;
        list->value[list->count++] = argument;
        return 0;
    case EUCA_OPTION_EVENTS:
        euca_events_begin();
        return 0;
    }
    return 0;
}

/* Does the word look like an option?  Such a word is nobody's argument where it stands alone, or
 * "-f -z ZONE" would take "-z" for a format; a number below zero and a text with blanks are. */
static bool looks_like_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !(word[1] >= '0' && word[1] <= '9') &&
           word[1] != '.' && !strchr(word, ' ');
}

/* What getopt_long found at argv[optind - 1]. */
static int take(const struct parser *parser, int value, char **argv, struct im_error *err)
{
    const struct euca_option *option;
    char text[64];
    size_t n = 0;

    if (value == '?')
        return unknown(parser, argv[optind - 1], err);
    option = option_of(parser, value == ':' ? optopt : value, &n);
    if (value == ':' || (optarg && optarg == argv[optind - 1] && looks_like_option(optarg)))
        return euca_usage(err, "argument %s: expected one argument",
                          option_text(option, text, sizeof(text)));
    if (set(option, (char *)parser->values[n] + option->offset, optarg) < 0)
        return euca_usage(err, "argument %s: given more than %d times",
                          option_text(option, text, sizeof(text)), EUCA_LIST_MAX);
    return 0;
}

static int parse(struct parser *parser, int argc, char **argv, struct im_error *err)
{
    int first = 0, value;

    opterr = 0;
    optind = 0; /* glibc: start afresh, tests parse more than once */
    while ((value = getopt_long(argc, argv, parser->letters, parser->long_options, NULL)) != -1) {
        int r = take(parser, value, argv, first == 0 ? err : NULL);

        if (first == 0)
            first = r;
    }
    return first;
}

void euca_print_version(FILE *out)
{
    fprintf(out, "euca2ools %s (euca-imaging)\n", PACKAGE_VERSION);
}

int euca_options_parse(const char *program, const struct euca_command *command,
                       struct euca_common *common, const struct euca_option_group *groups, int argc,
                       char **argv, int *ret_first, struct im_error *err)
{
    struct parser parser = { .letters = ":" };
    int r;

    for (; groups && groups->table; groups++)
        add_table(&parser, groups->table, groups->values);
    add_table(&parser, euca_common_options, common);
    r = parse(&parser, argc, argv, err);
    if (r < 0)
        return r;
    if (common->help) {
        printf("usage: %s %s\n%s%s", program, command->usage, command->help, common_help);
        printf("More: man euca-%s; endpoints and keys: man 7 euca-tools\n", command->name);
        return 1;
    }
    if (common->version) {
        euca_print_version(stdout);
        return 1;
    }
    *ret_first = optind;
    return 0;
}

int euca_option_number(const char *option, const char *text, uint64_t max, uint64_t *ret_value,
                       struct im_error *err)
{
    if (im_parse_uint(text, max, ret_value) < 0)
        return euca_usage(err, "argument %s: invalid int value: '%s'", option, text);
    return 0;
}

int euca_option_days(const char *text, uint64_t *ret_days, struct im_error *err)
{
    uint64_t days;

    *ret_days = 0;
    if (!text)
        return 0;
    if (text[0] == '-' && im_parse_uint(text + 1, UINT64_MAX, &days) == 0)
        return euca_usage(err, "argument -x/--expires: value must be positive");
    return euca_option_number("-x/--expires", text, UINT64_MAX, ret_days, err);
}

int euca_check_progress(const struct euca_progress_options *options, unsigned *ret_uploads,
                        struct im_error *err)
{
    uint64_t uploads = EUCA_UPLOADS;
    int r = 0;

    if (options->progress && options->no_progress)
        return euca_usage(err, "argument --no-progress: not allowed with argument --progress");
    if (options->uploads)
        r = euca_option_number("--uploads", options->uploads, UINT64_MAX, &uploads, err);
    if (r == 0 && (uploads == 0 || uploads > EUCA_UPLOADS_MAX))
        r = euca_usage(err, "argument --uploads: '%s' is not in the range 1-%d", options->uploads,
                       EUCA_UPLOADS_MAX);
    *ret_uploads = (unsigned)uploads;
    return r;
}
