/* vhdx - what the parts of the VHDX decoder share: the disk, and how places in the file are
 * claimed.
 *
 * vhdx.c knows identifier, headers and log, vhdx-region.c the region tables and the metadata,
 * vhdx-bat.c the block table.  Sections are those of Microsoft's [MS-VHDX]. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/disk.h"
#include "format/window.h"

/* Everything but the headers is placed and sized in units of this many bytes. */
#define VHDX_UNIT (UINT64_C(1) << 20)

#define VHDX_REGION_TABLE  65536u  /* bytes of a region table, 2.2.3 */
#define VHDX_REGIONS_MAX   2047u   /* entries that fit into one, 2.2.3.1 */
#define VHDX_GUID          16u     /* bytes */
#define VHDX_GUID_TEXT     37u     /* the same as text, with its NUL */
#define VHDX_CHECKSUM      4u      /* where headers and region tables have their checksum */
#define VHDX_REGION_TABLES 196608u /* the first region table; the second follows it */

/* A run of bytes that belongs to something. */
struct vhdx_span {
    uint64_t start, end; /* bytes */
    const char *what;    /* static storage, for messages */
};

struct vhdx {
    struct im_disk disk;
    struct im_window window; /* of open and walk */
    char creator[64];        /* made printable */

    /* The header area, the log and all regions, by their place: what no block may touch. */
    struct vhdx_span span[VHDX_REGIONS_MAX + 2];
    size_t spans;
    uint64_t bat, bat_len;           /* the BAT region, bytes */
    uint64_t metadata, metadata_len; /* the metadata region, bytes */

    bool fixed;               /* blocks stay allocated */
    uint32_t block;           /* bytes in a block */
    uint32_t sector;          /* bytes in a logical sector */
    uint32_t physical_sector; /* bytes */
    uint8_t id[VHDX_GUID];    /* virtual disk id */

    uint32_t chunk;     /* blocks that share a sector bitmap entry */
    uint32_t blocks;    /* blocks the disk needs */
    uint32_t allocated; /* blocks the file holds */
    uint32_t *table;    /* where each block begins, in VHDX_UNIT; 0: not in the file */
    uint32_t *order;    /* the allocated blocks by their place in the file */
    uint8_t *early;     /* start of the BAT region, of a pipe that has it before the metadata */
    size_t early_len;   /* bytes */
    uint64_t end;       /* where the last byte that belongs to something ends */
};

#define vhdx_damaged(err, ...)     im_fail_code(err, EBADMSG, "DamagedVhdx", __VA_ARGS__)
#define vhdx_unsupported(err, ...) im_fail_code(err, EOPNOTSUPP, "UnsupportedVhdx", __VA_ARGS__)

/* Add a span to vhdx->span, which has room for it.  -EBADMSG when it does not lie in the file. */
int vhdx_claim(struct vhdx *vhdx, const char *what, uint64_t start, uint64_t len,
               struct im_error *err);

/* Sort n spans by their place; -EBADMSG when two of them overlap. */
int vhdx_sort_spans(struct vhdx_span *span, size_t n, struct im_error *err);

/* Check signature (four bytes) and CRC-32C of a header or region table: len bytes at p, which stand
 * at byte `at` of the file.  -EBADMSG with both values. */
int vhdx_check_sum(const uint8_t *p, size_t len, uint64_t at, const char *signature,
                   const char *what, struct im_error *err);

/* Write the text of a GUID into buf; returns buf. */
const char *vhdx_guid_text(char buf[VHDX_GUID_TEXT], const uint8_t *guid);

/* Prove both region tables (2 × VHDX_REGION_TABLE bytes at p) and claim all regions; fills in where
 * BAT and metadata are.  Errors: -EBADMSG, -EOPNOTSUPP. */
int vhdx_read_regions(struct vhdx *vhdx, const uint8_t *p, struct im_error *err);

/* Read and prove the metadata; fills in the size of the disk and what describes it.
 * Errors: -EBADMSG, -EOPNOTSUPP, the source's. */
int vhdx_read_metadata(struct vhdx *vhdx, struct im_error *err);

/* On a pipe that has the BAT before the metadata, which say how to read it: keep it.
 * Errors: -EOPNOTSUPP when it is too large to be kept, the source's. */
int vhdx_keep_bat(struct vhdx *vhdx, struct im_error *err);

/* Read the BAT and prove that every block has its own place in the file.
 * Errors: -EBADMSG, -EOPNOTSUPP, the source's. */
int vhdx_read_bat(struct vhdx *vhdx, struct im_error *err);

/* The faces of the disk, once everything above has been proven. */
int vhdx_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset, struct im_error *err);
int vhdx_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
             struct im_error *err);
int vhdx_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err);
