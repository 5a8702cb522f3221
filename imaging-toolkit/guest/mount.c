/* mount - which file system is where in the guest's tree, as its fstab says. */

#include <config.h>

#include "guest/inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

/* Bytes of an fstab that are read; a long one has some KiB. */
#define FSTAB_MAX (64u << 10)

/* What of a guest lies below these is worth reading where it is. */
static const char *const points[] = { "/boot", "/boot/efi", "/efi", "/usr", "/var" };

/* ---- names of file systems ---- */

enum key { KEY_UUID, KEY_LABEL, KEY_PARTUUID, KEY_PARTLABEL };

static const struct {
    const char *prefix;
    enum key key;
} prefixes[] = {
    { "UUID=", KEY_UUID },
    { "LABEL=", KEY_LABEL },
    { "PARTUUID=", KEY_PARTUUID },
    { "PARTLABEL=", KEY_PARTLABEL },
    { "/dev/disk/by-uuid/", KEY_UUID },
    { "/dev/disk/by-label/", KEY_LABEL },
    { "/dev/disk/by-partuuid/", KEY_PARTUUID },
    { "/dev/disk/by-partlabel/", KEY_PARTLABEL },
};

static bool is_named(const struct im_fs *fs, enum key key, const char *value)
{
    switch (key) {
    case KEY_UUID:
        return *fs->uuid && strcasecmp(fs->uuid, value) == 0;
    case KEY_LABEL:
        return *fs->label && strcmp(fs->label, value) == 0;
    case KEY_PARTUUID:
        return fs->part && strcasecmp(fs->part->uuid, value) == 0;
    case KEY_PARTLABEL:
        break;
    }
    return fs->part && *fs->part->name && strcmp(fs->part->name, value) == 0;
}

/* The number of /dev/sda1, /dev/hda1, /dev/vda1, /dev/xvda1, /dev/nvme0n1p1, of the first disk; 0:
 * no such name. */
static unsigned partition_of(const char *device)
{
    static const char *const disks[] = { "/dev/sda",  "/dev/hda",      "/dev/vda",
                                         "/dev/xvda", "/dev/nvme0n1p", "/dev/mmcblk0p" };
    uint64_t number;

    for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
        size_t len = strlen(disks[i]);

        if (strncmp(device, disks[i], len) == 0 &&
            im_parse_uint(device + len, IM_GUEST_PARTS_MAX, &number) == 0)
            return (unsigned)number;
    }
    return 0;
}

static const struct im_fs *find_named(const struct im_guest *guest, enum key key, const char *value)
{
    for (unsigned i = 0; i < guest->fs_count; i++)
        if (is_named(&guest->fs[i], key, value))
            return &guest->fs[i];
    return NULL;
}

const struct im_fs *im_guest_find(const struct im_guest *guest, const char *spec)
{
    unsigned number = partition_of(spec);

    for (unsigned i = 0; number > 0 && i < guest->fs_count; i++)
        if (guest->fs[i].part && guest->fs[i].part->number == number)
            return &guest->fs[i];
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t len = strlen(prefixes[i].prefix);
        char value[256];
        size_t at;

        if (strncmp(spec, prefixes[i].prefix, len) != 0)
            continue;
        spec += len;
        spec += *spec == '"' || *spec == '\'';
        at = strcspn(spec, "\"'");
        if (at >= sizeof(value))
            return NULL;
        memcpy(value, spec, at);
        value[at] = '\0';
        return find_named(guest, prefixes[i].key, value);
    }
    return NULL;
}

/* ---- fstab ---- */

static void take_line(struct guest_inner *inner, char *line)
{
    char *save = NULL;
    char *spec = strtok_r(line, " \t\r", &save);
    char *point = spec ? strtok_r(NULL, " \t\r", &save) : NULL;
    const struct im_fs *fs;
    size_t len;

    if (!point || *spec == '#')
        return;
    len = strlen(point);
    if (len > 1 && point[len - 1] == '/')
        point[len - 1] = '\0';
    fs = im_guest_find(&inner->guest, spec);
    for (size_t i = 0; fs && i < sizeof(points) / sizeof(points[0]); i++)
        if (strcmp(points[i], point) == 0 && fs != inner->guest.root &&
            inner->mount_count < GUEST_MOUNTS_MAX)
            inner->mount[inner->mount_count++] =
                (struct guest_mount){ .path = points[i], .fs = fs };
}

int guest_mounts(struct guest_inner *inner, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(FSTAB_MAX);
    struct im_error local = { 0 };
    int r = im_guest_read(&inner->guest, "/etc/fstab", FSTAB_MAX - 1, &text, &local);
    char *rest = text.data, *line;

    if (r == -ENOMEM || r == -ECANCELED || r == -EIO) {
        if (err)
            *err = local;
        return r;
    }
    while (r == 0 && rest && (line = strsep(&rest, "\n")))
        take_line(inner, line);
    return 0;
}
