/* vhd - the footer of a VHD: "Virtual Hard Disk Image Format Specification" 1.0. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#include "image.h"

#define EUCA_VHD_FOOTER 512

/* Does this begin as a footer, or its copy in front of a dynamic disk, does? */
bool euca_vhd_cookie(const uint8_t *p);

/* Do the last 512 bytes of a file of file_size bytes hold a footer?  *ret_whole: it is of a fixed
 * disk of the size that this file has, and its checksum agrees. */
bool euca_vhd_ends(const uint8_t tail[EUCA_VHD_FOOTER], uint64_t file_size, bool *ret_whole);

/* Size in bytes of the disk inside; -EBADMSG with a sentence, or as euca_image_read. */
int euca_vhd_size(const struct euca_image *image, uint64_t *ret_bytes, struct im_error *err);
