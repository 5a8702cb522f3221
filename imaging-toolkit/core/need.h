/* need - what a stage or a format cannot work without, and is not part of this program. */
#pragma once

#include "base/error.h"

/* Is it here?  `need` is a program's name ("qemu-img"), a shared library's ("libfdisk.so.1") or the
 * path of a file.  0; -ENOPKG "unavailable: X is missing; install Debian's Y". */
int im_need_check(const char *need, struct im_error *err);

/* The n-th program that is known here, NULL behind the last. */
const char *im_need_program(unsigned n);
