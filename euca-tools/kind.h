/* kind - what a file is, by its first and last bytes. */
#pragma once

#include "base/error.h"

#include "image.h"

/* The usual name of what a file said to be `format` is from outside, in static storage: "vhd" for
 * "VPC", "gz" for "raw.gz"; NULL for a format that is not known here. */
const char *euca_kind_name(const char *format);

/* Is the file what it is said to be?  A format that is not known here is believed, and raw is
 * whatever is certainly nothing else.  -EBADMSG with what it is and what to do, or as
 * euca_image_read. */
int euca_kind_verify(const struct euca_image *image, const char *format, struct im_error *err);
