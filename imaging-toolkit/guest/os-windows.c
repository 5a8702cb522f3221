/* os-windows - which Windows a guest is, from its registry. */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "guest/hive.h"
#include "guest/os-inner.h"

#define CURRENT "Microsoft\\Windows NT\\CurrentVersion"
/* The first build of Windows 11, whose registry goes on calling it Windows 10. */
#define BUILD_11 22000u

/* "10.0.20348"; before Windows 10 the registry has "6.1" as text. */
static void take_version(struct im_hive *hive, struct im_os *os)
{
    char version[16] = "", build[16] = "", whole[64];
    uint32_t major = 0, minor = 0;

    if (im_hive_number(hive, CURRENT, "CurrentMajorVersionNumber", &major) == 0) {
        (void)im_hive_number(hive, CURRENT, "CurrentMinorVersionNumber", &minor);
        (void)snprintf(version, sizeof(version), "%" PRIu16 ".%" PRIu16, (uint16_t)major,
                       (uint16_t)minor);
    } else {
        (void)im_hive_text(hive, CURRENT, "CurrentVersion", version, sizeof(version));
    }
    if (im_hive_text(hive, CURRENT, "CurrentBuild", build, sizeof(build)) < 0)
        (void)im_hive_text(hive, CURRENT, "CurrentBuildNumber", build, sizeof(build));
    if (!*version)
        return;
    (void)snprintf(whole, sizeof(whole), "%s%s%s", version, *build ? "." : "", build);
    os_set(os->version, sizeof(os->version), whole);
}

static void take_name(struct im_hive *hive, struct im_os *os)
{
    char name[128];
    unsigned build = 0;
    const char *last = strrchr(os->version, '.');

    if (im_hive_text(hive, CURRENT, "ProductName", name, sizeof(name)) < 0)
        return;
    for (const char *p = last ? last + 1 : ""; *p >= '0' && *p <= '9' && build < 1000000; p++)
        build = build * 10 + (unsigned)(*p - '0');
    if (build >= BUILD_11 && strncmp(name, "Windows 10", 10) == 0)
        name[9] = '1';
    os_set(os->name, sizeof(os->name), name);
}

int os_windows(struct analysis *analysis)
{
    static const char *const agents[] = {
        "/Program Files/Cloudbase Solutions/Cloudbase-Init",
        "/Program Files/Amazon/EC2Launch",
        "/ProgramData/Amazon/EC2-Windows/Launch",
        "/Program Files/Amazon/Ec2ConfigService",
        NULL,
    };
    struct im_os *os = analysis->os;
    struct im_error why = { 0 };
    struct im_hive *hive = NULL;
    int r;

    os_set(os->distribution, sizeof(os->distribution), "windows");
    r = os_result(analysis, im_hive_of(analysis->guest, IM_HIVE_SOFTWARE, &hive, &why), &why);
    if (r == 0) {
        take_version(hive, os);
        take_name(hive, os);
    }
    im_hive_close(hive);
    return r < 0 ? r : os_has(analysis, agents, &os->cloud_init);
}
