/* second-reader - an image as a program that others wrote reads it, for comparison with ours.
 *
 * libvhdi reads VHD and VHDX, libvmdk reads VMDK, each in a small program of its own (verify/);
 * qemu-img reads all else.  They give the whole disk in order and know no holes: time goes with the
 * virtual size. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/confine.h"
#include "base/error.h"
#include "core/format.h"
#include "core/source.h"

struct im_second_reader;

/* Start the second reader of an image that our own decoder accepts: the libraries look at few
 * checksums.  source must have a path or be readable at any offset; it stays the caller's.
 * Errors: -ENOPKG no such reader here (with the Debian package), -EINVAL source is sequential, the
 * decoder's, -ENOSPC in options->scratch, which must be set. */
int im_second_reader_open(const struct im_format *format, struct im_source *source,
                          const struct im_open *options, struct im_second_reader **ret_reader,
                          struct im_error *err);

/* Bytes of the disk by our own decoder. */
uint64_t im_second_reader_size(const struct im_second_reader *reader);

/* The next bytes of the disk, at most len; *ret_len is 0 at its end, which a reader that failed
 * does not reach.  Errors: -EBADMSG the reader refused the image (with its words), -EKEYREJECTED it
 * finds another size than our decoder, -ENOPKG, -ENOSPC, -ECANCELED. */
int im_second_reader_next(struct im_second_reader *reader, void *buf, size_t len, size_t *ret_len,
                          struct im_error *err);

/* "libvhdi 20210425"; the version is there once the end was reached. */
const char *im_second_reader_name(const struct im_second_reader *reader);

/* Stop and release; takes NULL, returns NULL. */
struct im_second_reader *im_second_reader_free(struct im_second_reader *reader);

/* Let a process that confines itself start the programs of this package among them. */
int im_second_reader_allow(struct im_confine *confine, struct im_error *err);
