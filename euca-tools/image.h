/* image - the file to import: may it be uploaded, and how large is the disk inside? */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"

struct euca_image {
    const char *path; /* as typed, for messages; the caller's */
    int fd;
    uint64_t file_size; /* bytes to upload */
    bool device;        /* a block device: neither size nor time tell of changes */
    struct timespec changed;
};

#define EUCA_IMAGE ((struct euca_image){ .fd = -1 })

/* Open a regular file or block device.  Errors as the historical clients word them:
 * "No such file or directory: FILE", "'FILE' does not have a usable file size" (directory, fifo,
 * socket, character device); also for a file that is empty. */
int euca_image_open(const char *path, struct euca_image *ret_image, struct im_error *err);

/* Read all `len` bytes at `offset`, or say what is wrong: -ESTALE when the file ends before. */
int euca_image_read(const struct euca_image *image, void *buf, size_t len, uint64_t offset,
                    struct im_error *err);

/* The name of a format as it is sent: RAW, VMDK and VHD (also called vpc) in capitals, others as
 * they were typed, for the service decides; a new string, the caller's.  Without size_told, for a
 * format whose images do not tell their disk's size here (not RAW, VMDK, VHD, nor one that
 * imaging-toolkit knows where that is installed), the usage error of old: "argument --image-size is
 * required for FORMAT files"; why the toolkit cannot be asked is said in front of it. */
int euca_image_format(const char *program, const char *typed, bool size_told, char **ret_format,
                      struct im_error *err);

/* What can be known before anything is sent.  `format` comes from euca_image_format; *bytes is the
 * disk's size, or 0, and then it is found: RAW is the file's size, VMDK's is in its header
 * (stream-optimized only), VHD's in its footer, others are asked for with "imaging-toolkit info".
 * Errors: -EINVAL for a name that cannot go into a manifest, -EBADMSG in the historical words for a
 * VMDK that is none, for a file that is no `format` (not asked for without `verify`), for a disk of
 * 0 bytes or larger than any volume; code EUCA_USAGE as above; -ECANCELED. */
int euca_image_examine(const char *program, const struct euca_image *image, const char *format,
                       bool verify, uint64_t *bytes, struct im_error *err);

/* Let "imaging-toolkit check" look at the disk (--check).  What it finds goes to standard error; 0
 * also when it only warns.  Of a disk that need not boot it is not asked what only booting needs,
 * nor for partitions and file systems.  Errors: -EBADMSG
 * when it refuses the disk or cannot look at it, -ENOPKG when it, or what it needs, is missing,
 * -ESTALE when the file changes meanwhile, -ECANCELED. */
int euca_image_check(const struct euca_image *image, const char *format, bool boots,
                     struct im_error *err);

/* Has the open file another size by now? */
bool euca_image_has_another_size(const struct euca_image *image);

/* Is the file still what was opened?  -ESTALE with a sentence when its size or time changed. */
int euca_image_unchanged(const struct euca_image *image, struct im_error *err);

void euca_image_done(struct euca_image *image);
#define EUCA_IMAGE_DONE __attribute__((cleanup(euca_image_done)))
