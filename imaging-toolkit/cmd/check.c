/* check - let validators look at the disk in an image, and print what they found. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/image.h"
#include "core/check.h"
#include "core/job.h"

static const char help[] =
    "usage: imaging-toolkit check [options] [--boot [BOOT OPTIONS]] IMAGE\n"
    "\n"
    "  imaging-toolkit check disk.vmdk\n"
    "  imaging-toolkit check --boot --timeout 300 disk.vmdk\n"
    "\n"
    "Lets every validator look at the disk in the image and prints what they found: severity, "
    "rule,\n"
    "evidence, cure.  Nothing is changed, mounted or run.  Faults that an optional rule finds are\n"
    "warnings.  Exit status 0 when no required rule finds a fault, 4 when one does.\n"
    "\n" IM_IMAGE_HELP "      --only RULES     ask these rules alone, names with commas between\n"
    "      --skip RULES     ask all but these\n"
    "      --require RULES  their faults are errors, not warnings\n"
    "      --output FORM    text or json\n"
    "\n"
    "      --boot           start the disk in an emulated machine, too, without a network, and\n"
    "                       follow its serial console; the image is not written to\n"
    "      --timeout SECONDS, --marker TEXT, --until MILESTONE, --firmware auto|bios|uefi,\n"
    "      --memory SIZE, --disk-bus virtio|ide|nvme\n"
    "                       for --boot; see imaging-stage-boot-test(7)\n"
    "\n"
    "'imaging-toolkit stages' lists the rules: they are the validators.\n";

/* Options that are parameters of the boot test, by those names; what getopt gives for them is
 * BOOT_OPTION and the row in `options`. */
enum { BOOT = 256, BOOT_OPTION };
#define BOOT_OPTIONS_MAX 8

static const struct option options[] = {
    IM_IMAGE_OPTIONS,
    { "only", required_argument, NULL, 'O' },
    { "skip", required_argument, NULL, 'S' },
    { "require", required_argument, NULL, 'R' },
    { "output", required_argument, NULL, 'o' },
    { "boot", no_argument, NULL, BOOT },
    { "timeout", required_argument, NULL, BOOT_OPTION },
    { "marker", required_argument, NULL, BOOT_OPTION + 1 },
    { "until", required_argument, NULL, BOOT_OPTION + 2 },
    { "firmware", required_argument, NULL, BOOT_OPTION + 3 },
    { "memory", required_argument, NULL, BOOT_OPTION + 4 },
    { "disk-bus", required_argument, NULL, BOOT_OPTION + 5 },
    { NULL, 0, NULL, 0 },
};

struct request {
    struct im_image_ask ask;
    const char *only, *skip, *require; /* lists with commas between, or NULL */
    bool json, boot;
    unsigned boot_count;
    struct {
        const char *name, *value;
    } boot_option[BOOT_OPTIONS_MAX]; /* of the boot test */
};

/* Keep it until there is a boot test to give it to. */
static int set_boot_option(int option, struct request *request, struct im_error *err)
{
    unsigned i = request->boot_count;

    if (i == BOOT_OPTIONS_MAX)
        return im_fail(err, EINVAL, "more than %d options for --boot", BOOT_OPTIONS_MAX);
    for (const struct option *row = options; row->name; row++)
        if (row->val == option)
            request->boot_option[i].name = row->name;
    request->boot_option[i].value = optarg;
    request->boot_count++;
    return 0;
}

static int set_option(int option, struct request *request, struct im_error *err)
{
    int r = im_image_option(option, &request->ask, err);

    if (r <= 0)
        return r;
    switch (option) {
    case 'O':
        request->only = optarg;
        return 0;
    case 'S':
        request->skip = optarg;
        return 0;
    case 'R':
        request->require = optarg;
        return 0;
    case 'o':
        return im_parse_output(optarg, &request->json, err);
    case BOOT:
        request->boot = true;
        return 0;
    default:
        return option > BOOT ? set_boot_option(option, request, err)
                             : -EINVAL; /* err was filled by im_getopt */
    }
}

/* ---- which rules ---- */

static int only(struct im_check *check, const char *name, struct im_error *err)
{
    return im_check_add(check, name, NULL, err);
}

static int require(struct im_check *check, const char *name, struct im_error *err)
{
    struct im_check_rule *rule;
    int r = im_check_add(check, name, &rule, err);

    if (r == 0)
        rule->optional = false;
    return r;
}

/* Do one thing with every name of a list. */
static int each(const char *list, int (*what)(struct im_check *, const char *, struct im_error *),
                struct im_check *check, struct im_error *err)
{
    char *names IM_FREE = list ? strdup(list) : NULL;
    char *rest = names, *name;
    int r = 0;

    if (list && !names)
        return im_fail(err, ENOMEM, "out of memory");
    while (r == 0 && (name = strsep(&rest, ",")))
        r = what(check, name, err);
    return r;
}

/* The dynamic rule is asked only where it is asked for. */
static int add_boot(const struct request *request, struct im_check *check, struct im_error *err)
{
    struct im_check_rule *rule = NULL;
    int r = 0;

    if (!request->boot)
        return request->boot_count == 0
                   ? 0
                   : im_fail(err, EINVAL, "--%s is for --boot", request->boot_option[0].name);
    r = im_check_add(check, IM_CHECK_DYNAMIC, &rule, err);
    for (unsigned i = 0; r == 0 && i < request->boot_count; i++)
        r = im_args_add(&rule->args, rule->stage->name, rule->stage->params,
                        request->boot_option[i].name, request->boot_option[i].value, err);
    return r;
}

static int choose(const struct request *request, struct im_check *check, struct im_error *err)
{
    int r = 0;

    if (request->only)
        r = each(request->only, only, check, err);
    else
        im_check_all(check);
    if (r == 0)
        r = add_boot(request, check, err);
    if (r == 0)
        r = each(request->require, require, check, err);
    if (r == 0)
        r = each(request->skip, im_check_remove, check, err);
    if (r == 0 && check->count == 0)
        r = im_fail(err, EINVAL, "no rule is left to be asked");
    return r;
}

/* ---- what they found ---- */

struct outcome {
    const struct im_check *check;
    const struct im_report *report;
    const struct im_image *image;
    unsigned errors, warnings, unknown, okay;
};

static int print_json(const struct outcome *outcome, struct im_error *err)
{
    json_t *rules = json_array();
    json_t *object = json_pack("{s:o, s:s, s:I, s:b, s:i, s:i, s:i, s:i}", "image",
                               im_text_json(outcome->image->source->name), "format",
                               outcome->image->format->name, "virtual-size",
                               (json_int_t)outcome->image->disk->size, "passed",
                               outcome->errors == 0, "errors", outcome->errors, "warnings",
                               outcome->warnings, "unknown", outcome->unknown, "ok", outcome->okay);

    for (unsigned i = 0; i < outcome->check->count; i++) {
        const struct im_check_rule *rule = &outcome->check->rule[i];

        (void)json_array_append_new(rules, json_pack("{s:s, s:b, s:s}", "name", rule->stage->name,
                                                     "required", !rule->optional, "severity",
                                                     im_severity_name(rule->worst)));
    }
    if (outcome->report->boot_mode)
        (void)json_object_set_new(object, "boot-mode", json_string(outcome->report->boot_mode));
    (void)json_object_set_new(object, "rules", rules);
    (void)json_object_set_new(object, "findings", im_report_json(outcome->report));
    return im_print_json(object, err);
}

/* AWS's sentence stands first, as it does where it is a failure. */
static void print_finding(const struct im_finding *finding)
{
    printf("%-8s%s: %s%s%s\n", im_severity_name(finding->severity), finding->rule,
           finding->aws ? finding->aws : "", finding->aws ? " " : "", finding->evidence);
    if (finding->cure && finding->severity > IM_UNKNOWN)
        printf("        cure: %s\n", finding->cure);
}

static void print_text(const struct outcome *outcome)
{
    char size[16];

    printf("%s: %s, %" PRIu64 " bytes (%s)%s%s\n", outcome->image->source->name,
           outcome->image->format->name, outcome->image->disk->size,
           im_format_size(size, sizeof(size), outcome->image->disk->size),
           outcome->report->boot_mode ? ", starts by " : "",
           outcome->report->boot_mode ? outcome->report->boot_mode : "");
    for (unsigned i = 0; i < outcome->report->count; i++)
        print_finding(&outcome->report->finding[i]);
    printf("%s: %u rules, %u errors, %u warnings, %u unknown, %u ok\n",
           outcome->errors ? "refused" : "passed", outcome->check->count, outcome->errors,
           outcome->warnings, outcome->unknown, outcome->okay);
}

static int print(const struct request *request, struct outcome *outcome, struct im_error *err)
{
    outcome->errors = im_check_count(outcome->report, IM_FAULT);
    outcome->warnings = im_check_count(outcome->report, IM_WARNING);
    outcome->unknown = im_check_count(outcome->report, IM_UNKNOWN);
    outcome->okay = im_check_count(outcome->report, IM_OKAY);
    if (request->json)
        return print_json(outcome, err);
    print_text(outcome);
    return 0;
}

/* ---- the image ---- */

/* Wrong arguments are the caller's fault, and nothing about the image. */
static int check_arguments(const struct im_check *check, struct im_disk *disk,
                           const struct im_context *context, struct im_error *err)
{
    const struct im_input input = { .disk = disk };
    int r = 0;

    for (unsigned i = 0; r != -EINVAL && i < check->count; i++)
        if (check->rule[i].stage->accepts)
            r = check->rule[i].stage->accepts(&check->rule[i].args, context, &input, err);
    return r == -EINVAL ? r : 0;
}

static int look(const struct request *request, struct im_check *check, struct outcome *outcome,
                struct im_disk *disk, struct im_error *err)
{
    struct im_report *report IM_FREE = calloc(1, sizeof(*report));
    const struct im_context context = {
        .scratch = request->ask.scratch ? request->ask.scratch : im_scratch_default(),
        .jobs = im_jobs_default(),
    };
    const struct im_finding *fault;
    int r = report ? check_arguments(check, disk, &context, err)
                   : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = im_check_run(check, disk, -1, &context, report, err);
    if (r < 0)
        return r;
    outcome->check = check;
    outcome->report = report;
    r = print(request, outcome, err);
    if (r < 0)
        return r;
    fault = im_report_first_fault(report, NULL);
    return fault ? im_finding_fail(fault, err) : 0;
}

static int open_image(const struct request *request, const char *in, struct im_check *check,
                      struct im_error *err)
{
    struct im_image image IM_IMAGE_CLOSE = { 0 };
    struct outcome outcome = { .image = &image };
    int r = im_image_open(in, &request->ask, &image, err);

    if (r == 0)
        r = im_image_need_random(&image, err);
    return r < 0 ? r : look(request, check, &outcome, image.disk, err);
}

static int check_image(int argc, char **argv, struct im_error *err)
{
    struct im_check check IM_CHECK_DONE = { 0 };
    struct request request = { .ask.guest = true };
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":f:", options, err)) != -1)
        r = set_option(c, &request, err);
    if (r == 0 && argc - optind != 1)
        r = im_fail(err, EINVAL, "one image is needed, %d given; see 'check --help'",
                    argc - optind);
    if (r == 0)
        r = choose(&request, &check, err);
    if (r == 0)
        r = open_image(&request, argv[optind], &check, err);
    return r < 0 ? (int)im_error_status(err) : 0;
}

const struct im_command im_command_check = {
    .name = "check",
    .summary = "say what is wrong with the disk in an image",
    .help = help,
    .run = check_image,
};
