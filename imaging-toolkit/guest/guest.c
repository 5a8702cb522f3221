/* guest - find what is on a disk; see guest.h. */

#include <config.h>

#include "guest/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cancel.h"
#include "guest/inner.h"
#include "guest/table.h"

const struct im_use im_guest_uses[] = {
    { "libblkid.so.1", "file systems" },
    { "libext2fs.so.2", "files in ext2, ext3 and ext4" },
    { "grub-fstest", "files in XFS, Btrfs, FAT and NTFS" },
    { 0 },
};

/* Who reads which kind of file system, and whether an operating system's tree may begin in it: none
 * does in FAT, and a disk is not copied to find out. */
static const struct kind {
    const char *type;
    const struct guest_reader *reader;
    bool tree;
} kinds[] = {
    { "ext2", &guest_ext, true },       { "ext3", &guest_ext, true },
    { "ext4", &guest_ext, true },       { "xfs", &guest_grub, true },
    { "btrfs", &guest_grub, true },     { "ntfs", &guest_grub, true },
    { "f2fs", &guest_grub, true },      { "jfs", &guest_grub, true },
    { "reiserfs", &guest_grub, true },  { "vfat", &guest_grub, false },
    { "exfat", &guest_grub, false },    { "iso9660", &guest_grub, false },
    { "udf", &guest_grub, false },      { "hfsplus", &guest_grub, false },
    { "squashfs", &guest_grub, false },
};

static const struct kind *kind_of(const struct im_fs *fs)
{
    for (size_t i = 0; !fs->ambivalent && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].type, fs->type) == 0)
            return &kinds[i];
    return NULL;
}

const struct guest_reader *guest_reader_of(const struct im_fs *fs)
{
    const struct kind *kind = kind_of(fs);

    return kind ? kind->reader : NULL;
}

/* ---- file systems ---- */

static int by_offset(const void *a, const void *b)
{
    const struct im_fs *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int add_fs(struct guest_inner *inner, const struct im_part *part, uint64_t offset,
                  uint64_t len, struct im_error *err)
{
    struct im_guest *guest = &inner->guest;
    struct im_fs fs = { .part = part, .offset = offset, .len = len };
    int r = im_cancel_check(err);

    if (r == 0)
        r = guest_probe(inner->look->disk, &fs, err);
    if (r == 0)
        r = guest_clean(inner->look->disk, &fs, err);
    if (r == 0 && (part || *fs.type || fs.ambivalent))
        guest->fs[guest->fs_count++] = fs;
    return r;
}

static int find_fs(struct guest_inner *inner, struct im_error *err)
{
    struct im_guest *guest = &inner->guest;
    int r = 0;

    guest->fs = calloc(guest->part_count + 1, sizeof(*guest->fs));
    inner->open = calloc(guest->part_count + 1, sizeof(*inner->open));
    if (!guest->fs || !inner->open)
        return im_fail(err, ENOMEM, "out of memory");
    if (guest->table == IM_TABLE_NONE)
        r = add_fs(inner, NULL, 0, inner->look->disk->size, err);
    for (unsigned i = 0; r == 0 && i < guest->part_count; i++)
        if (!table_extended(&guest->part[i]))
            r = add_fs(inner, &guest->part[i], guest->part[i].offset, guest->part[i].len, err);
    qsort(guest->fs, guest->fs_count, sizeof(*guest->fs), by_offset);
    return r;
}

/* ---- the tree ---- */

/* Failures that are not the guest's: nothing is found out by going on. */
static bool is_ours(int r)
{
    return r == -ENOMEM || r == -ECANCELED || r == -EIO || r == -ENOSPC;
}

static int has(struct guest_inner *inner, const struct im_fs *fs, const char *path, bool directory,
               bool *ret_has, struct im_error *err)
{
    struct im_file file = { 0 };
    int r = im_fs_stat(&inner->guest, fs, path, &file, err);

    *ret_has = r == 0 && (file.kind == IM_FILE_DIRECTORY) == directory;
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

/* Signs of a tree; a link to an os-release that is missing is none. */
static int look_for_tree(struct guest_inner *inner, struct im_fs *fs, bool *ret_windows,
                         struct im_error *err)
{
    static const struct sign {
        const char *path;
        bool directory, windows;
    } signs[] = {
        { "/etc/os-release", false, false },
        { "/etc/fstab", false, false },
        { "/usr/lib/os-release", false, false },
        { "/Windows/System32", true, true },
    };
    bool ntfs = strcmp(fs->type, "ntfs") == 0;
    int r = 0;

    for (size_t i = 0; r == 0 && !fs->tree && i < sizeof(signs) / sizeof(signs[0]); i++) {
        *ret_windows = signs[i].windows;
        if (signs[i].windows == ntfs)
            r = has(inner, fs, signs[i].path, signs[i].directory, &fs->tree, err);
    }
    return r;
}

/* Btrfs: the tree is at the top, or in a subvolume as the installers call it. */
static int look_at_tops(struct guest_inner *inner, struct im_fs *fs, bool *ret_windows,
                        struct im_error *err)
{
    static const char *const tops[] = { "", "/@", "/root", "/@rootfs", "/@/.snapshots/1/snapshot" };
    bool btrfs = strcmp(fs->type, "btrfs") == 0;
    int r = 0;

    for (size_t i = 0; r == 0 && !fs->tree && i < (btrfs ? sizeof(tops) / sizeof(tops[0]) : 1);
         i++) {
        struct guest_open *open = &inner->open[fs - inner->guest.fs];

        if (open->reader && i > 0) { /* it keeps the top from its opening */
            open->reader->close(open->state);
            open->reader = NULL;
        }
        (void)snprintf(fs->top, sizeof(fs->top), "%s", tops[i]);
        r = look_for_tree(inner, fs, ret_windows, err);
    }
    return r;
}

/* Look for trees in all file systems; the first is the root. */
static int find_trees(struct guest_inner *inner, struct im_error *err)
{
    struct im_guest *guest = &inner->guest;

    for (unsigned i = 0; i < guest->fs_count; i++) {
        const struct kind *kind = kind_of(&guest->fs[i]);
        struct im_error local = { 0 };
        bool windows = false;
        int r;

        if (!kind || !kind->tree)
            continue;
        r = look_at_tops(inner, &guest->fs[i], &windows, &local);
        if (is_ours(r)) {
            if (err)
                *err = local;
            return r;
        }
        if (r < 0 && !*guest->unread)
            (void)snprintf(guest->unread, sizeof(guest->unread), "%.*s",
                           (int)sizeof(guest->unread) - 1, local.message);
        if (!guest->fs[i].tree)
            continue;
        if (guest->tree_count++ == 0) {
            guest->root = &guest->fs[i];
            guest->windows = windows;
        }
    }
    return 0;
}

/* ---- whole ---- */

static void guest_free(struct im_guest *guest)
{
    struct guest_inner *inner = (struct guest_inner *)guest;

    for (unsigned i = 0; inner->open && i < guest->fs_count; i++)
        if (inner->open[i].reader)
            inner->open[i].reader->close(inner->open[i].state);
    free(inner->open);
    free(guest->fs);
    free(guest->part);
    free(inner);
}

int im_guest_answer(int r)
{
    switch (r) {
    case 0:
        return IM_FOUND;
    case -ENOENT:
    case -ENOTDIR:
        return IM_ABSENT;
    case -ELOOP:
    case -EISDIR:
    case -EOPNOTSUPP:
    case -EFBIG:
    case -EBADMSG:
        return IM_UNREADABLE;
    default:
        return r;
    }
}

int im_guest_of(struct im_look *look, struct im_guest **ret_guest, struct im_error *err)
{
    struct guest_inner *inner;
    int r;

    if (look->guest) {
        *ret_guest = look->guest;
        return 0;
    }
    inner = calloc(1, sizeof(*inner));
    if (!inner)
        return im_fail(err, ENOMEM, "out of memory");
    inner->look = look;
    r = table_read(look->disk, &inner->guest, err);
    if (r == 0)
        r = find_fs(inner, err);
    if (r == 0)
        r = find_trees(inner, err);
    if (r == 0 && inner->guest.root && !inner->guest.windows)
        r = guest_mounts(inner, err);
    if (r < 0) {
        guest_free(&inner->guest);
        return r;
    }
    look->guest = &inner->guest;
    look->guest_free = guest_free;
    *ret_guest = look->guest;
    return 0;
}
