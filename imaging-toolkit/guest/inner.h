/* inner - what the files of guest/ share, and nobody else sees. */
#pragma once

#include "core/disk.h"
#include "guest/guest.h"

/* Longest path that is resolved, links included; PATH_MAX of Linux. */
#define GUEST_PATH_MAX 4096u
/* Bytes of all names in one directory. */
#define GUEST_NAMES_BYTES (4u << 20)

/* Where bytes of a file go. */
struct guest_sink {
    int (*put)(struct guest_sink *sink, const void *buf, size_t len, struct im_error *err);
};

struct guest_inner;

/* A way to read file systems.  Paths begin with '/', and no part but the last is a link where links
 * are shown.  Errors as in guest.h. */
struct guest_reader {
    bool shows_links; /* else it follows them by itself, inside the file system */
    int (*open)(struct guest_inner *inner, const struct im_fs *fs, void **ret_state,
                struct im_error *err);
    int (*stat)(void *state, const char *path, struct im_file *ret_file, struct im_error *err);
    /* The target of a link, in `target` of GUEST_PATH_MAX bytes. */
    int (*link)(void *state, const char *path, char *target, struct im_error *err);
    /* Its first bytes, up to max; more of them are no error. */
    int (*read)(void *state, const char *path, uint64_t max, struct guest_sink *sink,
                struct im_error *err);
    int (*list)(void *state, const char *path, struct im_buffer *names, size_t *ret_count,
                struct im_error *err);
    void (*close)(void *state);
};

extern const struct guest_reader guest_ext, guest_grub;

#define GUEST_MOUNTS_MAX 8

struct guest_mount {
    const char *path; /* static: "/boot" */
    const struct im_fs *fs;
};

/* An open file system, by its place in guest.fs. */
struct guest_open {
    const struct guest_reader *reader; /* NULL: not open */
    void *state;
};

struct guest_inner {
    struct im_guest guest; /* first: they are cast into each other */
    struct im_look *look;  /* lives longer */
    struct guest_open *open;
    int64_t grub_time;      /* nanoseconds of processor time that grub-fstest took */
    char grub_endless[128]; /* why it is asked no more, "" it is */
    unsigned mount_count;
    struct guest_mount mount[GUEST_MOUNTS_MAX];
};

/* The reader of a kind of file system, or NULL. */
const struct guest_reader *guest_reader_of(const struct im_fs *fs);

/* Recognise what is at fs->offset: fills in type, label, uuid, ambivalent; probe.c.  -ENOPKG. */
int guest_probe(struct im_disk *disk, struct im_fs *fs, struct im_error *err);

/* Fill in clean and dirt of a file system whose type is known; clean.c. */
int guest_clean(struct im_disk *disk, struct im_fs *fs, struct im_error *err);

/* The same of an XFS; clean-xfs.c. */
int guest_clean_xfs(struct im_disk *disk, struct im_fs *fs, struct im_error *err);

/* Find what the guest's fstab mounts; mount.c. */
int guest_mounts(struct guest_inner *inner, struct im_error *err);
