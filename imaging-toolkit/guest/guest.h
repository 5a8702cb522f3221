/* guest - what is on a disk: partitions, file systems, and the files in them; read where they are,
 * without mounting and without root.
 *
 * ext2, 3 and 4 are read through the disk itself by libext2fs; XFS, Btrfs, FAT, NTFS and ISO 9660
 * by grub-fstest, a confined program, which needs the disk as a file: of a disk that is none, the
 * one partition is copied to scratch.  Where library or program is missing those file systems are
 * recognised, but not read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "core/stage.h"

/* More partitions than these are not looked into: Linux makes devices for 256, a GPT has room for
 * 128 as tools write it. */
#define IM_GUEST_PARTS_MAX 256
/* Names in one directory that are told; /usr/lib/modules has a handful, System32 4000. */
#define IM_GUEST_NAMES_MAX 16384

enum im_table { IM_TABLE_NONE, IM_TABLE_MBR, IM_TABLE_GPT };

/* A partition, inside the disk; extended ones (types 05, 0f, 85) are told like others. */
struct im_part {
    unsigned number;      /* as Linux counts, from 1 */
    uint64_t offset, len; /* bytes */
    uint8_t mbr_type;     /* 0 in a GPT */
    char gpt_type[40];    /* upper case GUID; "" in an MBR */
    char uuid[40];        /* PARTUUID as in fstab, lower case */
    char name[80];        /* of a GPT; "" */
    bool active;          /* MBR: the active flag; GPT: legacy BIOS bootable */
};

/* What reading the file systems of a guest takes: the `uses` of a stage that does. */
extern const struct im_use im_guest_uses[];

enum im_clean { IM_CLEAN_UNKNOWN, IM_CLEAN, IM_DIRTY };

/* A file system, or what else is recognised in its place (swap, LVM2_member, crypto_LUKS,
 * linux_raid_member: told, and not read). */
struct im_fs {
    const struct im_part *part; /* NULL: the disk has no table, it is the whole of it */
    uint64_t offset, len;       /* bytes, of the place it has */
    char type[32];              /* as blkid calls it: "ext4", "xfs", "vfat", "ntfs"; "" unknown */
    char label[128], uuid[64];  /* "" none */
    enum im_clean clean;
    char dirt[128];  /* why it is dirty */
    bool ambivalent; /* several kinds of content claim the place: it is not read */
    char top[32];    /* directory of it where its tree begins: "" or a subvolume ("/@") of Btrfs */
    bool tree;       /* the tree of an operating system begins in it */
};

struct im_guest {
    enum im_table table;
    char table_fault[256]; /* what is wrong with the table, "" nothing: partitions that are not
                              inside the disk are left out */
    unsigned part_count, fs_count;
    struct im_part *part;
    struct im_fs *fs;         /* in the order of their offsets, one per partition with contents */
    const struct im_fs *root; /* the one with /etc of a Linux, or of Windows\System32; the first
                                 of `tree_count`; NULL: none */
    unsigned tree_count;
    bool windows;
    char unread[256]; /* why a file system that might hold a tree could not be read; "" none */
};

/* What is on the disk of `look`, found at the first call and kept in it; im_look_done releases it.
 * A disk with nothing on it is no error.  Errors: -EIO and the like of the disk, -ENOSPC of
 * scratch, -ENOPKG without libblkid. */
int im_guest_of(struct im_look *look, struct im_guest **ret_guest, struct im_error *err);

/* The file system that `spec`, as a line of fstab or root= of a kernel begins, means: UUID=,
 * LABEL=, PARTUUID=, PARTLABEL= (quotes are taken off), /dev/disk/by-…/…, or the number at the end
 * of /dev/sda1, /dev/xvda1, /dev/nvme0n1p1.  NULL: none. */
const struct im_fs *im_guest_find(const struct im_guest *guest, const char *spec);

/* What is at a path of the guest's tree.  It begins with '/', goes over into what fstab mounts
 * (/boot, /boot/efi, /efi, /usr, /var), and follows symbolic links inside the guest, never out of
 * it.  In Windows the case of names does not count.
 * Errors of all three: -ENOENT, -ENOTDIR, -ELOOP, -EISDIR (a directory where a file is expected),
 * -EOPNOTSUPP (nobody reads this file system or this kind of file), -EFBIG (more than max),
 * -EBADMSG (damaged), -ENOPKG (its reader is missing), and those of im_guest_of. */
int im_guest_read(struct im_guest *guest, const char *path, size_t max, struct im_buffer *text,
                  struct im_error *err);

/* What such a result says of the guest: that it is there, is not, or that nobody can read it.
 * Other errors are no answer, and come back as they are. */
enum im_answer { IM_ABSENT, IM_FOUND, IM_UNREADABLE };
int im_guest_answer(int r);

/* The first bytes of a file, up to max, however large it is: -EFBIG is never returned. */
int im_guest_head(struct im_guest *guest, const char *path, size_t max, struct im_buffer *text,
                  struct im_error *err);

/* The same as im_guest_read into a file, from its position on: for what is too large for memory.
 * *ret_len bytes. */
int im_guest_copy(struct im_guest *guest, const char *path, uint64_t max, int fd, uint64_t *ret_len,
                  struct im_error *err);

/* What grub-fstest reads has no size of its own: larger files are told to be of this size. */
#define IM_GUEST_SIZE_MAX (64u << 20)

enum im_file_kind { IM_FILE_OTHER, IM_FILE_REGULAR, IM_FILE_DIRECTORY, IM_FILE_LINK };

struct im_file {
    enum im_file_kind kind; /* never a link: they are followed */
    uint64_t size;          /* of a regular file */
    unsigned mode;          /* permission bits; 0 where the file system has none or does not tell */
};

int im_guest_stat(struct im_guest *guest, const char *path, struct im_file *ret_file,
                  struct im_error *err);

/* The names in a directory, without . and .., each ended by a NUL, in `names`; *ret_count of them,
 * in the directory's order. */
int im_guest_list(struct im_guest *guest, const char *path, struct im_buffer *names,
                  size_t *ret_count, struct im_error *err);

/* The same of one file system, by a path in itself: of one that is not mounted anywhere (an EFI
 * system partition, say). */
int im_fs_read(struct im_guest *guest, const struct im_fs *fs, const char *path, size_t max,
               struct im_buffer *text, struct im_error *err);
int im_fs_head(struct im_guest *guest, const struct im_fs *fs, const char *path, size_t max,
               struct im_buffer *text, struct im_error *err);
int im_fs_stat(struct im_guest *guest, const struct im_fs *fs, const char *path,
               struct im_file *ret_file, struct im_error *err);
int im_fs_list(struct im_guest *guest, const struct im_fs *fs, const char *path,
               struct im_buffer *names, size_t *ret_count, struct im_error *err);
