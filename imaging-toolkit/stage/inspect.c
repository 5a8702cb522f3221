/* inspect - tell in the report what is on the disk; nothing is judged.
 *
 * The same as the command inspect (cmd/inspect.c), for workflows. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/stage.h"
#include "guest/as-file.h"
#include "guest/os.h"

static void tell_file_systems(const struct im_guest *guest, struct im_report *report)
{
    char size[16];

    for (unsigned i = 0; i < guest->fs_count; i++) {
        const struct im_fs *fs = &guest->fs[i];

        im_report_okay(report, "partition %u holds %s%s%s, %s%s", fs->part ? fs->part->number : 0,
                       fs->ambivalent ? "what may be several file systems"
                       : *fs->type    ? fs->type
                                      : "nothing that is known",
                       *fs->uuid ? ", UUID " : "", fs->uuid,
                       im_format_size(size, sizeof(size), fs->len),
                       fs == guest->root ? ", the root" : "");
    }
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_os *os IM_FREE = calloc(1, sizeof(*os));
    struct im_guest *guest;
    int r = os ? im_guest_of(look, &guest, err) : im_fail(err, ENOMEM, "out of memory");

    (void)args;
    if (r == 0)
        r = im_os_of(guest, os, err);
    if (r < 0)
        return r;
    im_report_okay(look->report, "operating system %s, distribution %s, version %s: %s, for %s",
                   os->family, os->distribution, os->version, os->name, os->arch);
    tell_file_systems(guest, look->report);
    for (unsigned i = 0; i < os->kernel_count; i++)
        im_report_okay(look->report, "kernel %s, %s", os->kernel[i].path,
                       *os->kernel[i].initramfs ? os->kernel[i].initramfs : "no initramfs");
    im_report_okay(look->report, "cloud-init: installed %s, datasources %s",
                   os->cloud_init == IM_YES  ? "yes"
                   : os->cloud_init == IM_NO ? "no"
                                             : IM_OS_UNKNOWN,
                   os->datasources);
    if (*os->unread)
        im_report_unknown(look->report, "%s", os->unread);
    return 0;
}

static const char *const needs[] = { "libblkid.so.1", NULL };

const struct im_stage im_stage_inspect = {
    .name = "inspect",
    .summary = "tell operating system, file systems, kernels and cloud-init",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .needs = needs,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
