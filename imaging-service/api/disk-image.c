/* disk-image - what is checked of a disk to import at the door. */

#include <config.h>

#include "api/disk-image.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "api/manifest-url.h"

#define GIB_SHIFT 30

static int check_format(struct svc_call *call, const struct task_disk *disk)
{
    if (strcasecmp(disk->format, "VMDK") != 0 && strcasecmp(disk->format, "VHD") != 0 &&
        strcasecmp(disk->format, "RAW") != 0)
        return svc_refuse(call, SVC_INVALID_FORMAT,
                          "The disk format '%.60s' is not valid: it must be VMDK, VHD or RAW.",
                          disk->format);
    return 0;
}

/* Image.Bytes is the size of the file for some clients, that of the disk inside for others, and for
 * VMDK and VHD nobody can tell which.  A file is larger than its disk by its tables only, at worst
 * an eighth (a VMDK of 4 KiB grains that do not compress) and the few tables of an empty disk;
 * within that the image itself decides when it is read. */
static uint64_t least_disk(const struct task_disk *disk)
{
    const uint64_t tables = 1024 * 1024;

    if (strcasecmp(disk->format, "RAW") == 0)
        return disk->image_bytes;
    if (disk->image_bytes <= tables)
        return 0;
    return (disk->image_bytes - tables) / 9 * 8;
}

static int check_sizes(struct svc_call *call, const char *prefix, const struct task_disk *disk)
{
    const uint64_t max_gib = call->api->conf->max_volume_gib;
    uint64_t least = least_disk(disk);
    uint64_t gib = (least >> GIB_SHIFT) + ((least & ((UINT64_C(1) << GIB_SHIFT) - 1)) != 0);

    if (disk->volume_gib > max_gib)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%" PRIu64 ") for parameter %sVolume.Size is invalid. Volumes "
                          "have from 1 to %" PRIu64 " GiB.",
                          disk->volume_gib, prefix, max_gib);
    if (gib > max_gib || disk->image_bytes >= max_gib << GIB_SHIFT)
        return svc_refuse(call, SVC_IMAGE_TOO_LARGE,
                          "The image of %" PRIu64 " bytes is too large: it must have less than "
                          "the largest volume, %" PRIu64 " GiB.",
                          disk->image_bytes, max_gib);
    if (gib > disk->volume_gib)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%" PRIu64 ") for parameter %sVolume.Size is invalid. The image "
                          "of %" PRIu64 " bytes needs at least %" PRIu64 " GiB.",
                          disk->volume_gib, prefix, disk->image_bytes, gib);
    return 0;
}

static int check_url(struct svc_call *call, const char *prefix, const struct task_disk *disk)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "%sImage.ImportManifestUrl", prefix);
    return svc_check_manifest_url(call, name, disk->manifest_url);
}

int svc_check_disk(struct svc_call *call, const char *prefix, const struct task_disk *disk)
{
    int r = check_format(call, disk);

    if (r == 0)
        r = check_url(call, prefix, disk);
    if (r == 0)
        r = check_sizes(call, prefix, disk);
    return r;
}
