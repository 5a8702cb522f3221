/* need - programs, shared libraries and files that are not part of this program: are they here, and
 * which package has them? */

#include <config.h>

#include "core/need.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/library.h"
#include "base/spawn.h"

/* What begins with the first is in the second; of Debian 12. */
static const struct {
    const char *need, *package;
} packages[] = {
    { "qemu-img", "qemu-utils" },
    { "qemu-system-x86_64", "qemu-system-x86" },
    { "/usr/share/ovmf/", "ovmf" },
    { "grub-mkimage", "grub-common" },
    { "grub-fstest", "grub-common" },
    { "/usr/lib/grub/i386-pc/", "grub-pc-bin" },
    { "/usr/lib/grub/x86_64-efi/", "grub-efi-amd64-bin" },
    { "mke2fs", "e2fsprogs" },
    { "libarchive.so.13", "libarchive13" },
    { "libblkid.so.1", "libblkid1" },
    { "libext2fs.so.2", "libext2fs2" },
    { "libfdisk.so.1", "libfdisk1" },
    { "libhivex.so.0", "libhivex0" },
    { "liblzma.so.5", "liblzma5" },
};

/* The Debian package that has it, static; NULL: not known. */
static const char *package_of(const char *need)
{
    for (size_t i = 0; i < sizeof(packages) / sizeof(packages[0]); i++)
        if (strncmp(need, packages[i].need, strlen(packages[i].need)) == 0)
            return packages[i].package;
    return NULL;
}

int im_need_check(const char *need, struct im_error *err)
{
    const char *package = package_of(need);
    struct im_program found;

    if (*need == '/' && access(need, R_OK) == 0)
        return 0;
    if (*need != '/' && strstr(need, ".so") && im_library_load(need, NULL, NULL, NULL) == 0)
        return 0;
    if (*need != '/' && !strstr(need, ".so") && im_spawn_find(need, &found))
        return 0;
    return im_fail(err, ENOPKG, "unavailable: %s is missing; install %s%s", need,
                   package ? "Debian's " : "", package ? package : "it");
}

const char *im_need_program(unsigned n)
{
    for (size_t i = 0; i < sizeof(packages) / sizeof(packages[0]); i++)
        if (*packages[i].need != '/' && !strstr(packages[i].need, ".so") && n-- == 0)
            return packages[i].need;
    return NULL;
}
