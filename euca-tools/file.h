/* file - files of the user's that may be missing or unreadable, with the historical sentence on
 * that.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* The failure of a path: "No such file or directory: PATH". */
int euca_fail_file(const char *path, int number, struct im_error *err);

/* Read a whole file of at most max bytes into a new NUL-terminated string of the caller's; ret_len
 * may be NULL.  Errors: of a file that cannot be opened as euca_fail_file, else as im_read_file. */
int euca_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len,
                   struct im_error *err);
