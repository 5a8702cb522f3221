/* tmpfile - files without a name: whatever happens, nothing is left behind. */
#pragma once

#include "base/error.h"

/* A new file of mode `mode` in directory dir, open for reading and writing.  It has no name where
 * the file system can do so (O_TMPFILE) and *ret_path is NULL; else it has one beside it and
 * *ret_path is it (owned by the caller, who unlinks it).  With ret_path NULL a named file is
 * unlinked at once.  Returns the descriptor or -errno with "cannot create a file in 'dir'". */
int im_tmpfile(const char *dir, unsigned mode, char **ret_path, struct im_error *err);
