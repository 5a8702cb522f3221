/* fstab - the lines of /etc/fstab, and which file system of the disk a device's name means, there
 * and on kernel command lines.  Mounts nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "guest/guest.h"

/* Lines that are kept: a machine with more mounts has more disks. */
#define FSTAB_LINES_MAX 128u

struct fstab_line {
    char device[192]; /* "UUID=…", quotes and escapes undone */
    char dir[192];    /* "/", "none" */
    char type[32];
    char options[192];
};

struct fstab {
    unsigned count;
    unsigned broken; /* lines with less than three words, or a word that is too long */
    struct fstab_line line[FSTAB_LINES_MAX];
};

/* Parse the text, which is cut up. */
void fstab_parse(char *text, struct fstab *ret_fstab);

/* Is `option` one of a comma-separated list? */
bool fstab_has_option(const char *options, const char *option);

enum fstab_device {
    FSTAB_NO_DEVICE, /* tmpfs, a bind mount, a share: nothing on a disk */
    FSTAB_FOUND,     /* by an identity that moves with the disk */
    FSTAB_BY_NAME,   /* by what this kernel calls it, /dev/sda1: others call it otherwise */
    FSTAB_MISSING,   /* nothing here is it */
    FSTAB_TWICE,     /* several are it */
    FSTAB_INSIDE,    /* in a volume group, RAID or encrypted volume, which is not looked into */
};

/* What does a device's name mean on this disk?  *ret_fs: the file system, when there is one. */
enum fstab_device fstab_find(const struct im_guest *guest, const char *device,
                             const struct im_fs **ret_fs);
