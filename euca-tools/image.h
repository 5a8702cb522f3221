/* image - the file to import: may it be uploaded, and how large is the disk inside? */
#pragma once

#include <stdbool.h>
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

/* Size of the disk inside, for formats that tell: RAW is the file's size, VMDK's is in its header
 * (stream-optimized only), VHD's in its footer.  `format` in capitals.  Errors: -EBADMSG and the
 * historical sentence, -ENOTSUP for formats that need --image-size. */
int euca_image_disk_size(const struct euca_image *image, const char *format, uint64_t *ret_bytes,
                         struct im_error *err);

/* Is the file still what was opened?  -ESTALE with a sentence when its size or time changed. */
int euca_image_unchanged(const struct euca_image *image, struct im_error *err);

void euca_image_done(struct euca_image *image);
#define EUCA_IMAGE_DONE __attribute__((cleanup(euca_image_done)))
