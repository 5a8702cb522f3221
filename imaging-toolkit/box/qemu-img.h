/* qemu-img - read an image through Debian's qemu-img, run as a confined child.
 *
 * For formats without a decoder of our own.  The format is always given, never probed; the child
 * sees two descriptors and no names; what it writes is a sparse raw copy in scratch that has no
 * name either. */
#pragma once

#include "core/disk.h"
#include "core/format.h"

/* Program these formats need. */
#define IM_QEMU_IMG "qemu-img"

/* Check source with qemu-img's own checker and give a disk; it is converted when its first byte is
 * wanted.
 * The caller has looked at the header and refused what names other files.
 * Errors: -ENOPKG not installed, -EBADMSG refused by qemu-img (its words in the message), -EFBIG
 * above options->max_size, -ENOSPC, -ECANCELED. */
int im_qemu_img_open(struct im_source *source, const char *format, const struct im_open *options,
                     struct im_disk **ret_disk, struct im_error *err);
