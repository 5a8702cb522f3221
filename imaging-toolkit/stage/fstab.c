/* fstab - the lines of /etc/fstab; see fstab.h and fstab(5). */

#include <config.h>

#include "stage/fstab.h"

#include <string.h>

#include "stage/linux.h"

/* "\040" is a blank; a quoted value loses its quotes. */
static bool copy_word(char *to, size_t size, const char *from)
{
    size_t n = 0;

    for (; *from; from++) {
        char c = *from;

        if (c == '"')
            continue;
        if (c == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
            from[3] >= '0' && from[3] <= '7') {
            c = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 3;
        }
        if (n + 1 >= size || c == '\0')
            return false;
        to[n++] = c;
    }
    to[n] = '\0';
    return n > 0;
}

static bool parse_line(char *text, struct fstab_line *line)
{
    char *device = linux_word(&text), *dir = linux_word(&text), *type = linux_word(&text);
    char *options = linux_word(&text);

    *line = (struct fstab_line){ 0 };
    return device && dir && type && copy_word(line->device, sizeof(line->device), device) &&
           copy_word(line->dir, sizeof(line->dir), dir) &&
           copy_word(line->type, sizeof(line->type), type) &&
           (!options || copy_word(line->options, sizeof(line->options), options));
}

void fstab_parse(char *text, struct fstab *ret_fstab)
{
    char *line;

    *ret_fstab = (struct fstab){ 0 };
    while (text && (line = linux_line(&text))) {
        if (*line == '\0' || *line == '#')
            continue;
        if (ret_fstab->count == FSTAB_LINES_MAX ||
            !parse_line(line, &ret_fstab->line[ret_fstab->count]))
            ret_fstab->broken++;
        else
            ret_fstab->count++;
    }
}

bool fstab_has_option(const char *options, const char *option)
{
    size_t len = strlen(option);

    for (const char *p = options; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, option, len) == 0 && (p[len] == '\0' || p[len] == ',' || p[len] == '='))
            return true;
        if (!*p)
            break;
    }
    return false;
}

/* ---- which file system ---- */

/* Does the disk hold volume groups or the like, whose contents have names, too? */
static bool has_containers(const struct im_guest *guest)
{
    static const char *const kinds[] = { "LVM2_member",       "LVM1_member", "crypto_LUKS",
                                         "linux_raid_member", "bcache",      "zfs_member" };

    for (unsigned i = 0; i < guest->fs_count; i++)
        for (size_t j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++)
            if (strcmp(guest->fs[i].type, kinds[j]) == 0)
                return true;
    return false;
}

/* /dev/sda, vda, xvda, hda, nvme0n1, and their first partition: how a paravirtual machine calls a
 * disk that is a file system without a table. */
static bool names_first_disk(const char *device)
{
    static const char *const first[] = { "/dev/sda", "/dev/vda",     "/dev/xvda",
                                         "/dev/hda", "/dev/nvme0n1", "/dev/mmcblk0" };

    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        size_t len = strlen(first[i]);

        if (strncmp(device, first[i], len) == 0)
            return device[len] == '\0' || strcmp(device + len, "1") == 0 ||
                   strcmp(device + len, "p1") == 0;
    }
    return false;
}

/* Is it a name of a kind that says what it is, not where? */
static bool is_identity(const char *device)
{
    return strchr(device, '=') || strncmp(device, "/dev/disk/by-", 13) == 0;
}

/* Is there another one behind fs? */
static bool is_twice(const struct im_guest *guest, const char *device, const struct im_fs *fs)
{
    struct im_guest rest = *guest;

    rest.fs_count -= (unsigned)(fs - guest->fs) + 1;
    rest.fs += fs - guest->fs + 1;
    return im_guest_find(&rest, device) != NULL;
}

enum fstab_device fstab_find(const struct im_guest *guest, const char *device,
                             const struct im_fs **ret_fs)
{
    const struct im_fs *fs = im_guest_find(guest, device);

    *ret_fs = NULL;
    if (!is_identity(device) && strncmp(device, "/dev/", 5) != 0)
        return FSTAB_NO_DEVICE;
    if (!fs && guest->table == IM_TABLE_NONE && guest->fs_count && names_first_disk(device))
        fs = &guest->fs[0];
    if (!fs)
        return has_containers(guest) ? FSTAB_INSIDE : FSTAB_MISSING;
    *ret_fs = fs;
    if (!is_identity(device))
        return FSTAB_BY_NAME;
    return is_twice(guest, device, fs) ? FSTAB_TWICE : FSTAB_FOUND;
}
