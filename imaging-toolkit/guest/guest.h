/* guest - what is on a disk: partitions, file systems, and the files in them; read where they are,
 * without mounting and without root.
 *
 * ext2, 3 and 4 are read through the disk itself; other file systems by a confined program, which
 * needs the disk as a file and makes itself a copy in scratch when there is none. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "core/stage.h"

/* More partitions than these are not looked into. */
#define IM_GUEST_PARTS_MAX 128
/* Names in one directory that are told; /usr/lib/modules has a handful. */
#define IM_GUEST_NAMES_MAX 4096

enum im_table { IM_TABLE_NONE, IM_TABLE_MBR, IM_TABLE_GPT };

struct im_part {
    unsigned number;      /* as Linux counts, from 1 */
    uint64_t offset, len; /* bytes */
    uint8_t mbr_type;     /* 0 in a GPT */
    char gpt_type[40];    /* upper case GUID; "" in an MBR */
    char uuid[40];        /* PARTUUID as in fstab, lower case */
    char name[80];        /* of a GPT; "" */
    bool active;          /* MBR: the active flag; GPT: legacy BIOS bootable */
};

enum im_clean { IM_CLEAN_UNKNOWN, IM_CLEAN, IM_DIRTY };

/* A file system, or what else is recognised in its place (swap, LVM2_member, crypto_LUKS). */
struct im_fs {
    const struct im_part *part; /* NULL: the disk has no table, it is the whole of it */
    uint64_t offset, len;       /* bytes, of the place it has */
    char type[32];              /* as blkid calls it: "ext4", "xfs", "vfat", "ntfs"; "" unknown */
    char label[128], uuid[64];  /* "" none */
    enum im_clean clean;
    char dirt[128];  /* why it is dirty */
    bool ambivalent; /* several kinds of content claim the place: it is not read */
};

struct im_guest {
    enum im_table table;
    unsigned part_count, fs_count;
    struct im_part *part;
    struct im_fs *fs;         /* in the order of their offsets */
    const struct im_fs *root; /* the one with /etc of a Linux, or of Windows\System32; NULL: none */
    bool windows;
};

/* What is on the disk of `look`, found at the first call and kept in it; im_look_done releases it.
 * A disk with nothing on it is no error.  Errors: -EIO and the like of the disk, -ENOPKG. */
int im_guest_of(struct im_look *look, struct im_guest **ret_guest, struct im_error *err);

/* What is at a path of the guest's tree.  It begins with '/', goes over into what fstab mounts
 * (/boot, /boot/efi, /usr, /var by UUID, LABEL, PARTUUID, PARTLABEL or number), and follows
 * symbolic links inside the guest, never out of it.  In Windows the case of names does not count.
 * Errors of all three: -ENOENT, -ENOTDIR, -ELOOP, -EISDIR (a directory where a file is expected),
 * -EOPNOTSUPP (nobody reads this file system), -EFBIG (more than max), -EBADMSG (damaged). */
int im_guest_read(struct im_guest *guest, const char *path, size_t max, struct im_buffer *text,
                  struct im_error *err);

enum im_file_kind { IM_FILE_OTHER, IM_FILE_REGULAR, IM_FILE_DIRECTORY, IM_FILE_LINK };

struct im_file {
    enum im_file_kind kind;
    uint64_t size;
    unsigned mode; /* permission bits; 0 where the file system has none */
};

int im_guest_stat(struct im_guest *guest, const char *path, struct im_file *ret_file,
                  struct im_error *err);

/* The names in a directory, without . and .., each ended by a NUL, in `names`; *ret_count of them.
 */
int im_guest_list(struct im_guest *guest, const char *path, struct im_buffer *names,
                  size_t *ret_count, struct im_error *err);

/* The same of one file system, by a path in itself: of one that is not mounted anywhere (an EFI
 * system partition, say). */
int im_fs_read(struct im_guest *guest, const struct im_fs *fs, const char *path, size_t max,
               struct im_buffer *text, struct im_error *err);
int im_fs_stat(struct im_guest *guest, const struct im_fs *fs, const char *path,
               struct im_file *ret_file, struct im_error *err);
int im_fs_list(struct im_guest *guest, const struct im_fs *fs, const char *path,
               struct im_buffer *names, size_t *ret_count, struct im_error *err);
