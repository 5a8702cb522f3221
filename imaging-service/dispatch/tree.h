/* tree - removal of a directory with all in it, whoever filled it and however. */
#pragma once

/* Remove what is at path: a file, a link itself, or a directory with everything in it, be it
 * nested deeper than a path can tell, or with modes that keep its owner out.  Other file systems
 * are left alone.  0 when nothing is there any more, or -errno of one thing that could not be
 * removed; what can be is gone then, too. */
int tree_remove(const char *path);
