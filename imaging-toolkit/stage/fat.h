/* fat - write a small FAT32 file system around files that stand elsewhere: only its own structures
 * are made, in memory.
 *
 * For boot partitions: firmware and GRUB read FAT, and nothing has to be mounted, copied or run.
 * The same files give the same bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define FAT_FILES_MAX 3u

/* A file in the root directory, or in EFI/BOOT. */
struct fat_file {
    char name[12];   /* 8 and 3 characters, upper case, filled with blanks, without a dot */
    bool efi;        /* in EFI/BOOT */
    uint64_t len;    /* bytes, not 0; together below FAT_CONTENT_MAX */
    uint64_t offset; /* result: where its bytes belong, in the file system */
};

/* With 4 KiB clusters the tables of so much have 1 MiB. */
#define FAT_CONTENT_MAX (UINT64_C(1) << 30)

/* The file system's own structures; all owned. */
struct fat {
    uint8_t *reserved; /* from its first byte on */
    size_t reserved_len;
    uint8_t *table; /* twice, at these offsets */
    size_t table_len;
    uint64_t table_at[2];
    uint8_t *directories;
    size_t directories_len;
    uint64_t directories_at;
};

/* Bytes of a file system for these files, or for shorter ones: a multiple of 1 MiB. */
uint64_t fat_bytes(const struct fat_file *file, unsigned count);

/* Make it, with as many bytes as fat_bytes said, at byte `offset` of a disk, with a serial number;
 * sets the files' offsets.  -ENOMEM. */
int fat_make(struct fat_file *file, unsigned count, uint64_t bytes, uint64_t offset,
             uint32_t serial, struct fat *ret_fat, struct im_error *err);
void fat_done(struct fat *fat);
#define FAT_DONE __attribute__((cleanup(fat_done)))

/* The serial number as blkid prints it. */
void fat_uuid(uint32_t serial, char ret_text[12]);
