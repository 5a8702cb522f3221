/* check-windows-registry - can Windows read its own registry, and which Windows is it? */

#include <config.h>

#include <stdio.h>

#include "guest/as-file.h"
#include "guest/hive.h"
#include "stage/windows.h"

#define CURRENT_VERSION "Microsoft\\Windows NT\\CurrentVersion"

/* A value of the key that tells the version, or "". */
static const char *text_of(struct im_hive *hive, const char *name, char *buf, size_t size)
{
    if (im_hive_text(hive, CURRENT_VERSION, name, buf, size) < 0)
        *buf = '\0';
    return buf;
}

/* Since Windows 10 the product's name does not say enough: the build does. */
static void tell_version(struct im_hive *hive, struct im_report *report)
{
    char product[128], build[32];

    (void)text_of(hive, "ProductName", product, sizeof(product));
    if (!*text_of(hive, "CurrentBuild", build, sizeof(build)))
        (void)text_of(hive, "CurrentBuildNumber", build, sizeof(build));
    if (*product)
        im_report_okay(report, "%s, build %s", product, *build ? build : "unknown");
    else
        im_report_unknown(report,
                          "The hive SOFTWARE does not tell the version of Windows: there is "
                          "no " CURRENT_VERSION "\\ProductName");
}

static int look_at_system(struct im_look *look, struct im_guest *guest, struct im_error *err)
{
    struct im_hive *hive = NULL;
    char set[WINDOWS_SET_MAX];
    int r = windows_hive(look, guest, IM_HIVE_SYSTEM, &hive, err);

    if (r == WINDOWS_FOUND && windows_control_set(look->report, hive, set))
        im_report_okay(look->report, "The hive SYSTEM has the current control set %s", set);
    im_hive_close(hive);
    return r < 0 ? r : 0;
}

static int look_at_software(struct im_look *look, struct im_guest *guest, struct im_error *err)
{
    struct im_hive *hive = NULL;
    int r = windows_hive(look, guest, IM_HIVE_SOFTWARE, &hive, err);

    if (r == WINDOWS_FOUND)
        tell_version(hive, look->report);
    im_hive_close(hive);
    return r < 0 ? r : 0;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_guest *guest;
    int r = windows_of(look, &guest, err);

    (void)args;
    if (r <= 0)
        return r;
    r = look_at_system(look, guest, err);
    return r < 0 ? r : look_at_software(look, guest, err);
}

static const char *const needs[] = { "libblkid.so.1", "libhivex.so.0", "grub-fstest", NULL };

const struct im_stage im_stage_check_windows_registry = {
    .name = "check-windows-registry",
    .summary = "Windows: its registry can be read and has a current control set; its version",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .needs = needs,
    .required_capacity = im_look_capacity,
    .look = look,
};
