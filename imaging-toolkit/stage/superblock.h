/* superblock - is this the beginning of a bare file system, which, and how large is it?
 *
 * Reads nothing itself, so that it serves what comes through a pipe.  Only what can become the root
 * partition of a disk is known here: ext2, 3 and 4, XFS, FAT. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* Bytes from the beginning that tell everything. */
#define SUPERBLOCK_HEAD 4096u

enum superblock_kind { SUPERBLOCK_NONE, SUPERBLOCK_EXT, SUPERBLOCK_XFS, SUPERBLOCK_FAT };

struct superblock {
    enum superblock_kind kind;
    const char *name; /* "ext4", "XFS", "FAT" …; static */
    uint64_t bytes;   /* as large as it says it is */
    char uuid[40];    /* as blkid prints it, "" when it has none */
};

/* Look at the first SUPERBLOCK_HEAD bytes.  Errors: -EOPNOTSUPP "no file system that is known",
 * a partition table, or several at once; -EBADMSG when its numbers cannot be. */
int superblock_read(const uint8_t head[SUPERBLOCK_HEAD], struct superblock *ret_superblock,
                    struct im_error *err);
