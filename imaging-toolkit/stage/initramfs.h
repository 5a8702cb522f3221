/* initramfs - the names of the files in an initramfs: archives, plain or compressed in any of the
 * ways the kernel knows, one behind the other. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "stage/cpio.h"

/* Called for each file's name; false: enough has been seen. */
typedef bool (*initramfs_name_fn)(void *arg, const char *name);

/* Go through the len bytes of the file.  What is compressed needs libarchive.so.13.
 * Errors: -EBADMSG nobody can read it, with what is wrong; -ENOPKG; -ECANCELED; -ENOMEM. */
int initramfs_names(const void *data, size_t len, initramfs_name_fn each, void *arg,
                    struct im_error *err);
