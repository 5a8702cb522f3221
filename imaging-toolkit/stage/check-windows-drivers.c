/* check-windows-drivers - has Windows what it needs to find its disk, and the network, on the
 * machines of clouds?
 *
 * A driver of the disk Windows is on must be a service that its loader starts (Start 0), and its
 * file must be there; one that is installed later cannot be found any more.  A network driver may
 * be started later. */

#include <config.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "guest/as-file.h"
#include "guest/hive.h"
#include "stage/windows.h"

/* Values of Start: 0 by the loader, 1 by the kernel, 2 and 3 later, 4 never. */
#define START_BOOT     0u
#define START_DISABLED 4u

#define ADD_STORAGE                                                                                \
    "install the drivers of the package virtio-win (viostor for virtio disks, vioscsi for "        \
    "virtio-scsi), on Windows 8, Server 2012 and older the AWS NVMe driver as well, while the "    \
    "system runs where it was, and start it once with such a disk attached"
#define ADD_NETWORK "install the driver NetKVM of the package virtio-win"

static const struct driver {
    const char *service, *what;
    bool storage, virtio;
} drivers[] = {
    { "viostor", "virtio disks", true, true },    { "vioscsi", "virtio-scsi disks", true, true },
    { "stornvme", "NVMe disks", true, false },    { "AWSNVMe", "NVMe disks", true, false },
    { "netkvm", "virtio networks", false, true }, { "ena", "EC2's networks", false, false },
};

#define DRIVERS (sizeof(drivers) / sizeof(drivers[0]))

/* What was found of them. */
struct found {
    bool works[DRIVERS];
    char fault[256]; /* why those that are there do not work, "" nothing */
};

/* ImagePath as a path of the guest: below \Windows, with or without \SystemRoot in front. */
static void path_of(struct im_hive *hive, const char *key, const char *service, char *path,
                    size_t size)
{
    static const char *const roots[] = { "\\SystemRoot\\", "%SystemRoot%\\" };
    char image[192];
    const char *from = image;

    if (im_hive_text(hive, key, "ImagePath", image, sizeof(image)) < 0)
        (void)snprintf(image, sizeof(image), "System32\\drivers\\%s.sys", service);
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++)
        if (strncasecmp(from, roots[i], strlen(roots[i])) == 0)
            from += strlen(roots[i]);
    (void)snprintf(path, size, "/Windows/%s", from);
    for (char *p = path; *p; p++)
        if (*p == '\\')
            *p = '/';
}

static void __attribute__((format(printf, 2, 3))) fault(struct found *found, const char *words, ...)
{
    size_t len = strlen(found->fault);
    va_list args;

    if (len > 0)
        (void)snprintf(found->fault + len, sizeof(found->fault) - len, "; ");
    len = strlen(found->fault);
    va_start(args, words);
    (void)vsnprintf(found->fault + len, sizeof(found->fault) - len, words, args);
    va_end(args);
}

/* Since Windows 8 StartOverride\0 goes before Start. */
static bool starts(struct im_hive *hive, const char *key, const struct driver *driver,
                   struct found *found)
{
    char override[128];
    uint32_t start = START_DISABLED, other;

    (void)im_hive_number(hive, key, "Start", &start);
    (void)snprintf(override, sizeof(override), "%s\\StartOverride", key);
    if (driver->storage && im_hive_number(hive, override, "0", &other) == 0)
        start = other;
    if (start <= (driver->storage ? START_BOOT : START_DISABLED - 1))
        return true;
    fault(found, "the service %s has Start %" PRIu32 "%s", driver->service, start,
          driver->storage ? ", not 0" : "");
    return false;
}

static int look_for(struct im_look *look, struct im_guest *guest, struct im_hive *hive,
                    const char *set, size_t i, struct found *found, struct im_error *err)
{
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(IM_HIVE_KEYS_MAX * 64);
    struct im_buffer head IM_BUFFER_DONE = IM_BUFFER(16);
    const struct driver *driver = &drivers[i];
    char key[96], path[256];
    size_t count;
    int r;

    (void)snprintf(key, sizeof(key), "%s\\Services\\%s", set, driver->service);
    if (im_hive_keys(hive, key, &names, &count) < 0 || !starts(hive, key, driver, found))
        return 0;
    path_of(hive, key, driver->service, path, sizeof(path));
    r = windows_head(look, guest, guest->root, path, 2, &head, err);
    found->works[i] = r == WINDOWS_FOUND && head.len == 2 && memcmp(head.data, "MZ", 2) == 0;
    if (r >= 0 && !found->works[i])
        fault(found, "the service %s has no driver %s", driver->service, path);
    return r < 0 ? r : 0;
}

/* ---- the verdict ---- */

/* Those that work, "viostor, vioscsi". */
static const char *list(const struct found *found, bool storage, char *buf, size_t size)
{
    size_t at = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < DRIVERS && at < size; i++)
        if (found->works[i] && drivers[i].storage == storage)
            at += (size_t)snprintf(buf + at, size - at, "%s%s (%s)", at ? ", " : "",
                                   drivers[i].service, drivers[i].what);
    return buf;
}

static bool has_virtio(const struct found *found, bool storage)
{
    for (size_t i = 0; i < DRIVERS; i++)
        if (found->works[i] && drivers[i].virtio && drivers[i].storage == storage)
            return true;
    return false;
}

static void judge(const struct found *found, struct im_report *report)
{
    char storage[160], network[160];
    const char *gap = *found->fault ? ": " : "";

    (void)list(found, true, storage, sizeof(storage));
    (void)list(found, false, network, sizeof(network));
    if (!*storage)
        im_report_fault(report, "DriversMissing", NULL, ADD_STORAGE,
                        "No driver of virtio or NVMe disks is started with Windows%s%s", gap,
                        found->fault);
    else
        im_report_okay(report, "Drivers of disks that are started with Windows: %s", storage);
    if (*storage && !has_virtio(found, true))
        im_report_warning(report, ADD_STORAGE,
                          "No driver of virtio disks is started with Windows%s%s", gap,
                          found->fault);
    if (has_virtio(found, false))
        im_report_okay(report, "Drivers of networks: %s", network);
    else
        im_report_warning(report, ADD_NETWORK,
                          "No driver of virtio networks (netkvm) works%s%s%s%s",
                          *network ? ", but " : "", network, gap, found->fault);
}

static int look_at(struct im_look *look, struct im_guest *guest, struct im_hive *hive,
                   struct im_error *err)
{
    struct found found = { 0 };
    char set[WINDOWS_SET_MAX];
    int r = 0;

    if (!windows_control_set(look->report, hive, set))
        return 0;
    for (size_t i = 0; r == 0 && i < DRIVERS; i++)
        r = look_for(look, guest, hive, set, i, &found, err);
    if (r == 0)
        judge(&found, look->report);
    return r;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_hive *hive = NULL;
    struct im_guest *guest;
    int r = windows_of(look, &guest, err);

    (void)args;
    if (r <= 0)
        return r;
    r = windows_hive(look, guest, IM_HIVE_SYSTEM, &hive, err);
    if (r == WINDOWS_FOUND)
        r = look_at(look, guest, hive, err);
    im_hive_close(hive);
    return r < 0 ? r : 0;
}

static const char *const needs[] = { "libblkid.so.1", "libhivex.so.0", "grub-fstest", NULL };

const struct im_stage im_stage_check_windows_drivers = {
    .name = "check-windows-drivers",
    .summary = "Windows: drivers of virtio or NVMe disks are started with it; one of the network",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .needs = needs,
    .required_capacity = im_look_capacity,
    .look = look,
};
