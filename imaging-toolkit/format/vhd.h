/* vhd - what the two halves of the VHD decoder share: the footer, and the disk.
 *
 * vhd.c knows the footer and fixed disks, vhd-dynamic.c the block table.  Sections are those of
 * Microsoft's "Virtual Hard Disk Image Format Specification", October 2006. */
#pragma once

#include <stdint.h>

#include "core/disk.h"
#include "core/format.h"
#include "format/window.h"

#define VHD_SECTOR 512u
#define VHD_FOOTER 512u /* "Hard Disk Footer Format" */
#define VHD_OLD_FOOTER                                                                             \
    511u /* of Virtual PC before 2004: the same without its last, unused byte                      \
          */

enum vhd_type {
    VHD_FIXED = 2,
    VHD_DYNAMIC = 3,
    VHD_DIFFERENCING = 4,
};

struct vhd_footer {
    uint8_t raw[VHD_FOOTER]; /* as it stands in the file; a 511-byte one has a zero at its end */
    size_t len;              /* VHD_FOOTER or VHD_OLD_FOOTER */
    uint32_t type;
    uint64_t header;  /* byte offset of the dynamic header */
    uint64_t current; /* size of the disk, bytes */
    char creator[5];  /* made printable */
};

struct vhd {
    struct im_disk disk;
    struct vhd_footer footer; /* zeroed for a fixed disk from standard input, which ends with it */
    uint64_t end;             /* where the last footer begins; IM_SIZE_UNKNOWN on standard input */
    struct im_window window;  /* of the walk */

    /* of a dynamic disk */
    uint32_t block;     /* bytes in a block */
    uint32_t blocks;    /* blocks the disk needs */
    uint32_t allocated; /* blocks the file holds */
    uint32_t *table;    /* first sector of every block, VHD_ABSENT: not in the file */
    uint32_t *order;    /* the allocated blocks by their place in the file */
    uint8_t *bitmap;    /* sector bitmap of block … */
    uint32_t bitmap_of; /* … this one; VHD_ABSENT: of none */
    uint64_t walked;    /* where the last block ends */
};

#define VHD_ABSENT UINT32_MAX

#define vhd_damaged(err, ...)     im_fail_code(err, EBADMSG, "DamagedVhd", __VA_ARGS__)
#define vhd_unsupported(err, ...) im_fail_code(err, EOPNOTSUPP, "UnsupportedVhd", __VA_ARGS__)

/* Sum of len bytes as the footer and the dynamic header want it, leaving out the four bytes of the
 * checksum itself at offset `field`. */
uint32_t vhd_checksum(const uint8_t *p, size_t len, size_t field);

/* im_format.encode: "dynamic" or "fixed".  Errors: -EFBIG above 2040 GiB, -EINVAL (no bytes),
 * -EOPNOTSUPP (dynamic into a pipe or of unknown size), the disk's, the store's, -ECANCELED. */
int vhd_encode(struct im_disk *disk, struct im_store *store, const struct im_encode *options,
               struct im_progress *progress, struct im_copy_result *ret_result,
               struct im_error *err);

/* Parse the footer in the last 512 bytes of a file, of either length.
 * 0; -EBADMSG, or -EOPNOTSUPP for a differencing disk and unknown types and versions. */
int vhd_parse_tail(const uint8_t tail[VHD_FOOTER], struct vhd_footer *ret_footer,
                   struct im_error *err);

/* -EBADMSG code "FootersNotIdentical" when the copy at the start of a file (`first`, 512 bytes) is
 * not the footer at its end. */
int vhd_compare_footers(const uint8_t *first, const struct vhd_footer *last, struct im_error *err);

/* Read and prove header and block table of a dynamic disk whose footer is in vhd->footer.
 * Errors: -EBADMSG, -EOPNOTSUPP, the source's. */
int vhd_dynamic_open(struct vhd *vhd, struct im_error *err);

extern const struct im_disk_ops vhd_dynamic_ops;

/* Facts and release, the same for both kinds. */
void vhd_describe(struct im_disk *disk, struct im_facts *facts);
void vhd_close(struct im_disk *disk);
