/* name - a name for a file in scratch that has none, for as long as a program needs it.
 *
 * Children are given descriptors.  But grub-fstest asks the system for the name of what it is given
 * (realpath of /proc/self/fd/0), and fails where there is none. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct guest_name {
    int fd;     /* leads to the name; the name's own where there is a path, else borrowed */
    char *path; /* NULL: it had a name already */
};

/* Does the name that /proc tells for a descriptor lead to the same file?  Not of -1. */
bool guest_has_name(int fd);

/* Give the file a name in directory `scratch`, where it has none, until guest_name_done.  The name
 * is locked; those of processes that died are removed here. -EOPNOTSUPP where the file system
 * cannot, as one without O_TMPFILE. */
int guest_name_take(int fd, const char *scratch, struct guest_name *ret_name, struct im_error *err);

void guest_name_done(struct guest_name *name);
