/* table - the partitions of a disk, from its MBR or GPT, numbered as Linux numbers them. */
#pragma once

#include "base/error.h"
#include "core/disk.h"
#include "guest/guest.h"

/* Fill in table, table_fault, part (allocated) and part_count.  A table that is damaged or absent
 * is no error.  Errors: the disk's, -ENOMEM. */
int table_read(struct im_disk *disk, struct im_guest *guest, struct im_error *err);

/* A container of logical partitions? */
bool table_extended(const struct im_part *part);
