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

/* im_format.encode by qemu-img: the disk as an image of `format` (its name in qemu-img) into store,
 * which must be a file.  A raw file is read where it is, every other disk through a raw copy in
 * scratch.  Errors: as im_qemu_img_open, the disk's, the store's. */
int im_qemu_img_encode(struct im_disk *disk, struct im_store *store, const char *format,
                       const struct im_encode *options, struct im_progress *progress,
                       struct im_copy_result *ret_result, struct im_error *err);

/* Most bytes of scratch im_qemu_img_encode will hold for this disk: as im_format.encode_capacity.
 */
int im_qemu_img_encode_capacity(struct im_disk *disk, const struct im_encode *options,
                                uint64_t *ret_bytes, struct im_error *err);

/* Proves of an image what qemu-img leaves out, and says how many bytes of its disk, in whole blocks
 * of 4 KiB, are not zeros at most.  Errors: -EBADMSG, -EOPNOTSUPP … */
typedef int (*im_qemu_img_prove_fn)(struct im_source *image, uint64_t *ret_bytes,
                                    struct im_error *err);

/* Run `prove` (NULL: nothing) and qemu-img's own checker and give a disk; it is converted when its
 * first byte is wanted. The caller has looked at the header and refused what names other files.
 * Errors: -ENOPKG not installed, -EBADMSG refused by qemu-img (its words in the message), -EFBIG
 * above options->max_size, -ENOSPC, -ECANCELED. */
int im_qemu_img_open(struct im_source *source, const char *format, im_qemu_img_prove_fn prove,
                     const struct im_open *options, struct im_disk **ret_disk,
                     struct im_error *err);

/* Most bytes of scratch that disk will hold at once: as im_format.required_capacity.  `size` is
 * what the header says its size is; that is the answer for a source that can be read only once. */
int im_qemu_img_capacity(struct im_source *source, uint64_t size, im_qemu_img_prove_fn prove,
                         uint64_t *ret_bytes, struct im_error *err);
