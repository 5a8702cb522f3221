/* doctor - what works on this machine, what does not, and what to do about it. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/json.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "cache/cache.h"
#include "cmd/cmd.h"
#include "core/job.h"
#include "core/need.h"
#include "core/registry.h"

static const char help[] =
    "usage: imaging-toolkit doctor [--scratch DIR] [--output text|json]\n"
    "\n"
    "  imaging-toolkit doctor\n"
    "\n"
    "Says of every program, library and file that some stage or format needs whether it is here,\n"
    "what does not work without it, and which Debian package has it; and whether the scratch\n"
    "directory, certificates and the machine are fit for the work, and the kernel lets programs\n"
    "that read images be confined.\n"
    "\n"
    "      --scratch DIR     directory for second copies (default: TMPDIR, else /var/tmp)\n"
    "      --output FORM     print as text (default) or json\n"
    "\n"
    "exit status: 0 all is here, 7 something that some stage needs is missing, 1 the scratch\n"
    "directory cannot be used, 2 usage\n";

static const struct option options[] = {
    { "scratch", required_argument, NULL, 's' },
    { "output", required_argument, NULL, 'o' },
    { NULL, 0, NULL, 0 },
};

/* Where Debian's ca-certificates puts what HTTPS is verified with. */
#define CERTIFICATES "/etc/ssl/certs/ca-certificates.crt"

struct diagnosis {
    json_t *rows; /* {"kind", "name", "ok", "detail", "needed_by": […]} */
    enum im_status status;
};

/* The row called name, made when there is none; borrowed. */
static json_t *row_of(struct diagnosis *diagnosis, const char *kind, const char *name)
{
    json_t *row;
    size_t i;

    json_array_foreach(diagnosis->rows, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return row;
    }
    row = json_pack("{s:s, s:s}", "kind", kind, "name", name);
    (void)json_array_append_new(diagnosis->rows, row);
    return row;
}

static void tell(json_t *row, bool ok, const char *detail)
{
    (void)json_object_set_new(row, "ok", json_boolean(ok));
    (void)json_object_set_new(row, "detail", json_string(detail));
}

static void add_need(struct diagnosis *diagnosis, const char *need, const char *what,
                     const char *name, const char *part)
{
    const char *kind = *need == '/' ? "file" : strstr(need, ".so") ? "library" : "program";
    json_t *row = row_of(diagnosis, kind, need);
    json_t *users = json_object_get(row, "needed_by");
    struct im_error err = { 0 };

    if (!users) {
        int r = im_need_check(need, &err);

        tell(row, r == 0, r == 0 ? "here" : err.message);
        if (r < 0)
            diagnosis->status = IM_DEPENDENCY_MISSING;
        users = json_array();
        (void)json_object_set_new(row, "needed_by", users);
    }
    (void)json_array_append_new(
        users, json_sprintf("%s %s%s%s", what, name, part ? ": " : "", part ? part : ""));
}

static void ask_needs(struct diagnosis *diagnosis)
{
    for (size_t i = 0; im_formats[i]; i++)
        if (im_formats[i]->needs)
            add_need(diagnosis, im_formats[i]->needs, "format", im_formats[i]->name, NULL);
    for (size_t i = 0; im_stages[i]; i++) {
        const struct im_stage *stage = im_stages[i];

        for (size_t j = 0; stage->needs && stage->needs[j]; j++)
            add_need(diagnosis, stage->needs[j], "stage", stage->name, NULL);
        for (size_t j = 0; stage->uses && stage->uses[j].need; j++)
            add_need(diagnosis, stage->uses[j].need, "stage", stage->name, stage->uses[j].part);
    }
}

static void ask_scratch(struct diagnosis *diagnosis, const char *dir)
{
    json_t *row = row_of(diagnosis, "scratch", dir);
    struct im_error err = { 0 };
    struct im_cache_room room = { 0 };
    int fd IM_CLOSE = -1;
    int r = im_cache_room(dir, &room, &err);
    char detail[64], size[16];
    struct stat st;

    if (r == 0 && (stat(dir, &st) < 0 || !S_ISBLK(st.st_mode)))
        r = fd = im_tmpfile(dir, 0600, NULL, &err);
    if (r < 0) {
        tell(row, false, err.message);
        diagnosis->status = IM_FAILED;
        return;
    }
    (void)snprintf(detail, sizeof(detail), "%s free",
                   im_format_size(size, sizeof(size), room.free));
    tell(row, room.free > 0, detail);
}

static void ask_confinement(struct diagnosis *diagnosis)
{
    json_t *row = row_of(diagnosis, "machine", "confinement");
    struct im_error err = { 0 };
    char detail[64];
    unsigned landlock;

    if (im_confine_check(&landlock, &err) < 0) {
        tell(row, false, err.message);
        if (diagnosis->status == IM_OK)
            diagnosis->status = IM_DEPENDENCY_MISSING;
        return;
    }
    (void)snprintf(detail, sizeof(detail), "Landlock version %u and seccomp", landlock);
    tell(row, true, detail);
}

static void ask_machine(struct diagnosis *diagnosis)
{
    bool kvm = access("/dev/kvm", R_OK | W_OK) == 0;
    bool trusted = access(CERTIFICATES, R_OK) == 0;
    char detail[64];

    (void)snprintf(detail, sizeof(detail), "%u threads", im_jobs_default());
    tell(row_of(diagnosis, "machine", "processors"), true, detail);
    tell(row_of(diagnosis, "machine", "/dev/kvm"), true,
         kvm ? "may be used by boot tests" : "not usable: boot tests run in emulation, slower");
    tell(row_of(diagnosis, "machine", CERTIFICATES), trusted,
         trusted ? "verifies https"
                 : "missing: https cannot be verified; install Debian's ca-certificates");
    if (!trusted && diagnosis->status == IM_OK)
        diagnosis->status = IM_DEPENDENCY_MISSING;
}

static void print_users(const json_t *users)
{
    const json_t *user;
    size_t i;

    printf(" (");
    json_array_foreach(users, i, user)
    {
        printf("%s%s", i > 0 ? ", " : "", json_string_value(user));
    }
    putchar(')');
}

static void print_text(const json_t *rows)
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const json_t *users = json_object_get(row, "needed_by");
        bool ok = json_is_true(json_object_get(row, "ok"));
        char name[256];

        printf(
            "%-7s %-8s %s: %s", ok ? "ok" : "MISSING",
            json_string_value(json_object_get(row, "kind")),
            im_text_printable(name, sizeof(name), json_string_value(json_object_get(row, "name"))),
            json_string_value(json_object_get(row, "detail")));
        if (users && !ok)
            print_users(users);
        putchar('\n');
    }
}

static int doctor(int argc, char **argv, struct im_error *err)
{
    struct diagnosis diagnosis = { .status = IM_OK };
    const char *scratch = im_scratch_default();
    bool as_json = false;
    int r = 0;
    int c;

    while (r == 0 && (c = im_getopt(argc, argv, ":", options, err)) != -1) {
        if (c == 's')
            scratch = optarg;
        else
            r = c == 'o' ? im_parse_output(optarg, &as_json, err) : -EINVAL;
    }
    if (r == 0 && optind != argc)
        r = im_fail(err, EINVAL, "'%s' is not expected", argv[optind]);
    if (r < 0)
        return (int)im_error_status(err);
    diagnosis.rows = json_array();
    ask_needs(&diagnosis);
    ask_machine(&diagnosis);
    ask_confinement(&diagnosis);
    ask_scratch(&diagnosis, scratch);
    if (as_json) {
        r = im_print_json(diagnosis.rows, err);
    } else {
        r = im_json_lost() ? im_fail_memory(err) : 0;
        if (r == 0)
            print_text(diagnosis.rows);
        json_decref(diagnosis.rows);
    }
    return r < 0 ? (int)im_error_status(err) : (int)diagnosis.status;
}

const struct im_command im_command_doctor = {
    .name = "doctor",
    .summary = "say what works on this machine and what is missing",
    .help = help,
    .run = doctor,
};
