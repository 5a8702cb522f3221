/* layout - where the partitions of a disk that is made from a bare file system lie.
 *
 * Numbers in the table never depend on what else there is: the root is partition 1.  The root lies
 * behind all others on the disk, so that it can grow into a larger volume. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define LAYOUT_SECTOR 512u
#define LAYOUT_ALIGN  (UINT64_C(1) << 20)
/* Bytes in front of the first aligned partition: table, boot code, GRUB. */
#define LAYOUT_HEAD LAYOUT_ALIGN
/* The copy of a GPT: 32 sectors of entries and a header. */
#define LAYOUT_TAIL (33u * LAYOUT_SECTOR)
/* Where GRUB's core image lies, in sectors: behind the MBR, or behind a GPT's entries. */
#define LAYOUT_CORE_MBR 1u
#define LAYOUT_CORE_GPT 34u

/* A partition's number is its place here plus 1. */
enum { LAYOUT_ROOT, LAYOUT_EPHEMERAL, LAYOUT_SWAP, LAYOUT_BOOT, LAYOUT_BIOS, LAYOUT_PARTS };

struct layout_part {
    uint64_t offset, len; /* bytes; len 0: there is none */
};

struct layout {
    bool gpt;      /* else MBR */
    bool bios;     /* boot code and GRUB's core image */
    bool uefi;     /* the boot partition is an EFI system partition */
    bool fat_root; /* the root's type is that of FAT file systems */
    uint64_t size; /* bytes of the disk; 0 on the way in: as many as are needed */
    struct layout_part part[LAYOUT_PARTS]; /* on the way in: len */
    uint8_t seed[32]; /* what identifiers are made from: the same image, the same disk */
};

/* Place the partitions that have a length, and settle the size.
 * Errors: -EINVAL for lengths and sizes that are no multiples of what they must be; -EFBIG past the
 * 2 TiB of an MBR, or what a disk can have; -ENOSPC when size is too small, with both numbers. */
int layout_place(struct layout *layout, struct im_error *err);

/* The identifier made for `what`: 16 bytes as a random UUID (RFC 4122 version 4) and its text. */
void layout_uuid(const struct layout *layout, const char *what, uint8_t ret_uuid[16],
                 char ret_text[40]);
/* The MBR's, never 0. */
uint32_t layout_disk_id(const struct layout *layout);

/* The name by which Linux finds the root by itself: PARTUUID. */
void layout_root_partuuid(const struct layout *layout, char ret_text[40]);

/* Write the table: the first LAYOUT_HEAD bytes of the disk, and of a GPT the last LAYOUT_TAIL ones
 * (else *ret_tail is NULL); both are the caller's.  stage/layout-table.c; -ENOPKG without libfdisk.
 */
int layout_table(const struct layout *layout, uint8_t **ret_head, uint8_t **ret_tail,
                 struct im_error *err);
