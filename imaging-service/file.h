/* file - small private files that appear whole or not at all. */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* Write text to path with mode 0600, replacing what was there: a new file, fsync, rename, fsync of
 * the directory.  0 or -errno; on failure the old file stays. */
int svc_file_write(const char *path, const char *text, struct im_error *err);

/* The same for len bytes of any kind and another mode. */
int svc_file_put(const char *path, const void *data, size_t len, unsigned mode,
                 struct im_error *err);
