/* file - files as sources, also ones that have no name. */
#pragma once

#include "core/source.h"

/* A source that reads from fd (taken over, also on failure) and is called name in messages. */
int im_source_from_fd(int fd, const char *name, struct im_source **ret_source,
                      struct im_error *err);
