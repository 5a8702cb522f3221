/* making - a disk that is being made around a file system: what disk-from-partition has settled,
 * and the part of it that makes the disk start. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/stage.h"
#include "stage/fat.h"
#include "stage/layout.h"
#include "stage/segments.h"
#include "stage/superblock.h"

struct making {
    const struct im_args *args;
    const struct im_context *context;
    struct im_disk *image;
    struct superblock superblock;
    struct layout layout;
    bool boot;                 /* there will be a boot loader */
    struct im_source *kernel;  /* NULL: it is in the image */
    struct im_source *ramdisk; /* NULL: there is none, or it is in the image */
    uint32_t serial;           /* of the boot partition */
    struct segments *segments;
};

/* The files of the boot partition, when the firmware's has the given length; how many. */
unsigned making_files(const struct making *making, uint64_t efi_len,
                      struct fat_file file[FAT_FILES_MAX]);

/* Make the boot loader: into `head`, of LAYOUT_HEAD bytes with the table in it, and into the boot
 * partition, where there is one.  Errors: those of grub.h, fat.h and segments.h. */
int making_boot(struct making *making, uint8_t *head, struct im_error *err);
