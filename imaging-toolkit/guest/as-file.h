/* as-file - the disk a validator looks at, as a file a program can read. */
#pragma once

#include "core/stage.h"

/* The file that is look's disk; *ret_fd stays the look's. */
int im_look_file(struct im_look *look, int *ret_fd, struct im_error *err);
