/* os-boot - the kernels in /boot, and the initramfs of each. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "guest/os-inner.h"

/* Names in /boot that are looked at. */
#define NAMES_MAX 1024

/* What kernels are called, before their version. */
static const char *const kernels[] = { "vmlinuz", "vmlinux", "bzImage", "Image", "kernel" };

/* What an initramfs is called: before and behind the version. */
static const struct {
    const char *before, *after;
} ramdisks[] = {
    { "initrd.img-", "" },          { "initramfs-", ".img" }, { "initrd-", "" },
    { "initrd-", ".img" },          { "initramfs-", "" },     { "initramfs-", "-fallback.img" },
    { "initramfs-genkernel-", "" },
};

const char *im_kernel_version(const char *name)
{
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
        size_t len = strlen(kernels[i]);

        if (strncmp(name, kernels[i], len) == 0 && (name[len] == '-' || name[len] == '\0'))
            return name + len + (name[len] == '-');
    }
    return NULL;
}

bool im_kernel_ramdisk(const char *version, unsigned way, char *ret_name, size_t size)
{
    size_t before;

    if (way >= sizeof(ramdisks) / sizeof(ramdisks[0]))
        return false;
    before = strlen(ramdisks[way].before);
    if (!*version)
        before--; /* "initrd.img", "initramfs.img" */
    (void)snprintf(ret_name, size, "%.*s%s%s", (int)before, ramdisks[way].before, version,
                   ramdisks[way].after);
    return true;
}

static bool among(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void find_ramdisk(const char *const *names, size_t count, const char *version,
                         struct im_kernel *kernel)
{
    char name[300];

    for (unsigned way = 0; im_kernel_ramdisk(version, way, name, sizeof(name)); way++)
        if (among(names, count, name)) {
            (void)snprintf(kernel->initramfs, sizeof(kernel->initramfs), "/boot/%s", name);
            return;
        }
}

int os_kernels(struct analysis *analysis)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(4u << 20);
    const char **names IM_FREE = calloc(NAMES_MAX, sizeof(*names));
    struct im_os *os = analysis->os;
    size_t count = 0;
    int r = names ? os_names(analysis, "/boot", &text, names, NAMES_MAX, &count)
                  : im_fail(analysis->err, ENOMEM, "out of memory");

    os->kernels_known = r == 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        const char *version = im_kernel_version(names[i]);
        struct im_kernel *kernel = &os->kernel[os->kernel_count];

        if (!version || strlen(names[i]) >= 256 || os->kernel_count == IM_OS_KERNELS_MAX)
            continue;
        (void)snprintf(kernel->path, sizeof(kernel->path), "/boot/%s", names[i]);
        os_set(kernel->version, sizeof(kernel->version), version);
        find_ramdisk(names, count, version, kernel);
        os->kernel_count++;
    }
    return r < 0 ? r : 0;
}
