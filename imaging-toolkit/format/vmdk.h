/* vmdk - what the parts of the VMDK decoder share; nothing outside format/vmdk*.c includes it.
 *
 * vmdk.c             the registered format: probe, header, open, describe
 * vmdk-descriptor.c  the text that says what a disk is made of
 * vmdk-extents.c     a disk in several files: split, flat
 * vmdk-table.c       grain directory and grain tables, their fingerprints, look-up and map
 * vmdk-sparse.c      monolithicSparse and split: plain grains anywhere in the file
 * vmdk-grain.c       a compressed grain
 * vmdk-stream.c      stream-optimized: compressed grains one after the other, behind markers
 * vmdk-walk.c        from marker to marker through such a file
 * vmdk-proof.c       what the walk saw against what the tables say
 *
 * Sections are those of VMware's "Virtual Disk Format 5.0" (December 2011). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/disk.h"
#include "core/format.h"
#include "format/window.h"

#define VMDK_SECTOR        512u
#define VMDK_TABLE_ENTRIES 512u /* the only number the specification allows */
#define VMDK_TABLE_BYTES   (VMDK_TABLE_ENTRIES * 4)
#define VMDK_TABLE_SECTORS (VMDK_TABLE_BYTES / VMDK_SECTOR)

/* "greater than 8" says the specification, but 8 is meant and written; above 1 MiB a grain would no
 * longer fit the pieces the file is read in.  VMware writes 128. */
#define VMDK_GRAIN_MIN 8u
#define VMDK_GRAIN_MAX 2048u
/* 16 TiB in grains of 64 KiB, the largest disk AWS takes; 32 MiB for one bit a grain. */
#define VMDK_GRAINS_MAX (1u << 28)
/* VMware reserves 20 sectors and needs 2; the rest is room for thousands of ddb lines. */
#define VMDK_DESCRIPTOR_MAX 128u
/* 16 TiB in pieces of 1 GiB; VMware's have 2047 MiB.  64 bytes each are 1 MiB. */
#define VMDK_EXTENTS_MAX 16384u
/* Bytes of a descriptor file: 128 for the line of every extent there may be. */
#define VMDK_TEXT_MAX (2u << 20)

/* Byte offsets of the header's fields in which its footer may differ. */
#define VMDK_REDUNDANT_AT 48u
#define VMDK_DIRECTORY_AT 56u
#define VMDK_AT_END       UINT64_MAX /* gdOffset of a header whose directory follows the grains */

enum {
    VMDK_FLAG_NEWLINES = 1u << 0,
    VMDK_FLAG_REDUNDANT = 1u << 1,
    VMDK_FLAG_ZEROED = 1u << 2,
    VMDK_FLAG_COMPRESSED = 1u << 16,
    VMDK_FLAG_MARKERS = 1u << 17,
};

/* "Hosted Sparse Extent Header"; everything in sectors. */
struct vmdk_header {
    uint8_t raw[VMDK_SECTOR];
    uint32_t version, flags;
    uint64_t capacity, grain;
    uint64_t descriptor, descriptor_len;
    uint64_t redundant, directory; /* places of the two grain directories */
    uint64_t overhead;             /* where the grains begin */
};

/* Sectors of the file that belong to headers and tables. */
struct vmdk_claim {
    uint64_t start, end;
    const char *what;
};

/* A grain and its place in the file. */
struct vmdk_place {
    uint32_t sector, grain;
};

/* The part of a disk that one file holds, in bytes. */
struct vmdk_piece {
    uint64_t start, len;    /* on the disk; len 0: the file is all of it */
    uint64_t before, total; /* of what a walk of the disk reads, for its progress */
};

struct vmdk {
    struct im_disk disk;
    struct vmdk_piece piece;
    struct vmdk_header header;
    char create_type[32];
    uint64_t file_sectors; /* of the source; when unknown, so many that a byte offset still fits */
    uint32_t grains;       /* of the disk, the last one perhaps partial */
    uint32_t tables;
    uint64_t key[2];            /* of the fingerprints; secret */
    uint32_t *directory;        /* first sector of every grain table, 0: none; NULL: not seen yet */
    uint64_t *prints;           /* fingerprint of every table; 0: it names no grain */
    uint64_t allocated;         /* grains the tables name … */
    struct vmdk_place farthest; /* … and of them the last in the file (tables in front) */
    struct im_window window;

    struct vmdk_claim *claims;
    size_t claims_len, claims_size;

    uint32_t cached_table; /* whose entries follow; UINT32_MAX: none */
    uint8_t cached[VMDK_TABLE_BYTES];

    /* vmdk-sparse.c: the grains of one part of the file, by place */
    struct vmdk_place *list;
    size_t list_len, list_size;
    uint64_t list_part;

    /* vmdk-stream.c */
    bool footer; /* one must stand at the end */
    bool proven; /* by a walk */

    /* vmdk-grain.c */
    struct im_zlib *zlib;
    uint8_t *packed;      /* a compressed grain */
    uint8_t *plain;       /* the grain … */
    uint32_t plain_grain; /* … of this number; UINT32_MAX: none */
};

#define vmdk_damaged(err, ...)     im_fail_code(err, EBADMSG, "DamagedVmdk", __VA_ARGS__)
#define vmdk_unsupported(err, ...) im_fail_code(err, EOPNOTSUPP, "UnsupportedVmdk", __VA_ARGS__)

/* What to do about a kind of VMDK that is refused. */
#define VMDK_CURE "; convert it first: qemu-img convert -O vmdk -o subformat=streamOptimized IN OUT"

static inline uint64_t vmdk_grain_bytes(const struct vmdk *vmdk)
{
    return vmdk->header.grain * VMDK_SECTOR;
}

/* True for a stream-optimized image, false for monolithicSparse. */
static inline bool vmdk_is_stream(const struct vmdk *vmdk)
{
    return vmdk->header.flags & VMDK_FLAG_COMPRESSED;
}

/* True when directory and tables lie before the grains. */
static inline bool vmdk_tables_in_front(const struct vmdk *vmdk)
{
    return !vmdk_is_stream(vmdk) || vmdk->header.directory < vmdk->header.overhead;
}

/* Sectors of a grain that the disk has: fewer for the last one of an odd capacity. */
static inline uint32_t vmdk_grain_sectors(const struct vmdk *vmdk, uint32_t grain)
{
    uint64_t left = vmdk->header.capacity - (uint64_t)grain * vmdk->header.grain;

    return (uint32_t)(left < vmdk->header.grain ? left : vmdk->header.grain);
}

/* Sectors of a grain directory. */
static inline uint64_t vmdk_directory_sectors(const struct vmdk *vmdk)
{
    return ((uint64_t)vmdk->tables * 4 + VMDK_SECTOR - 1) / VMDK_SECTOR;
}

/* --- vmdk-descriptor.c --- */

/* Check the embedded descriptor (text, NUL-terminated; it is taken apart): one extent that is this
 * file, no parent, a createType that fits the header.  Fills in create_type.
 * Errors: -EBADMSG, -EOPNOTSUPP. */
int vmdk_check_descriptor(struct vmdk *vmdk, char *text, struct im_error *err);

enum vmdk_kind { VMDK_SPARSE, VMDK_FLAT, VMDK_ZERO };

/* An extent line of a descriptor file, in sectors. */
struct vmdk_line {
    enum vmdk_kind kind;
    const char *name; /* plain: no '/', not "." or ".."; NULL of VMDK_ZERO */
    uint64_t sectors;
    uint64_t origin; /* where the data begin in the file; 0 of VMDK_SPARSE */
};

/* Take a descriptor file apart: the extents of a disk that is all in files, of which it alone says
 * the size.  The names point into text.  *ret_lines is the caller's.
 * Errors: -EBADMSG, -EOPNOTSUPP, -ENOMEM. */
int vmdk_parse_lines(char *text, char ret_type[32], struct vmdk_line **ret_lines, size_t *ret_count,
                     struct im_error *err);

/* --- vmdk-extents.c --- */

/* Open the disk that a descriptor file (text, NUL-terminated, which is taken over, also on failure)
 * describes; source is that file.  Every extent is proven.
 * Errors: as vmdk_parse_lines, -EFBIG, those of the extents. */
int vmdk_open_extents(struct im_source *source, char *text, const struct im_open *options,
                      struct im_disk **ret_disk, struct im_error *err);

/* --- vmdk.c --- */

/* -EFBIG when the disk has more bytes than the options allow. */
int vmdk_check_size(uint64_t size, const struct im_open *options, struct im_error *err);

/* Open a sparse extent that is a piece of a disk.  Errors: -EBADMSG, -EOPNOTSUPP, the source's. */
int vmdk_open_piece(struct im_source *source, const struct vmdk_piece *piece,
                    struct im_disk **ret_disk, struct im_error *err);
void vmdk_describe(struct im_disk *disk, struct im_facts *facts);
void vmdk_close(struct im_disk *disk);

/* --- vmdk-table.c --- */

/* Note that `sectors` sectors from `start` belong to `what` (static text); neighbours of one kind
 * must come in order.  -EBADMSG outside the file, -ENOMEM. */
int vmdk_claim(struct vmdk *vmdk, uint64_t start, uint64_t sectors, const char *what,
               struct im_error *err);

/* Sort the claims; -EBADMSG when two overlap. */
int vmdk_check_claims(struct vmdk *vmdk, struct im_error *err);

/* Called with the 512 entries of a table, as they are in the file. */
typedef int (*vmdk_table_fn)(struct vmdk *vmdk, uint32_t table, const uint8_t *entries,
                             struct im_error *err);

/* Call fn for every table of the directory in the order of the file, but for those that lie in a
 * hole and so name no grain.  Errors: fn's, the source's. */
int vmdk_scan(struct vmdk *vmdk, const uint32_t *directory, vmdk_table_fn fn, struct im_error *err);

/* Load and prove directory and tables in front of the grains, and the redundant copy: fills in
 * directory, prints, allocated, the claims and, of monolithicSparse, the first part's list.
 * Errors: -EBADMSG, the source's. */
int vmdk_load_tables(struct vmdk *vmdk, struct im_error *err);

/* The sector entry i of a table points to; 0 when that grain reads as zeros. */
uint32_t vmdk_entry(const struct vmdk *vmdk, const uint8_t *entries, unsigned i);

/* A number that depends on (index within its table, sector) and the secret key.  The sum over a
 * table's grains is its fingerprint: two sets of grains with one sum are the same set, but for a
 * chance of about 2^-64 that nobody can improve who does not know the key. */
uint64_t vmdk_print(const struct vmdk *vmdk, uint32_t index, uint32_t sector);

/* Remember the entry of a table, whose first grain is number `first`, that names the last place in
 * the file, when it lies behind *farthest. */
void vmdk_note_farthest(const struct vmdk *vmdk, const uint8_t *entries, uint32_t first,
                        struct vmdk_place *farthest);

/* The fingerprint of a whole table. */
uint64_t vmdk_print_table(const struct vmdk *vmdk, const uint8_t *entries);

/* The sector of a grain, 0 when it reads as zeros.  Needs directory and prints. */
int vmdk_find(struct vmdk *vmdk, uint32_t grain, uint32_t *ret_sector, struct im_error *err);

/* im_disk_ops.map of both layouts. */
int vmdk_map(struct vmdk *vmdk, uint64_t offset, uint64_t len, struct im_extent *ret,
             struct im_error *err);

/* --- vmdk-sparse.c --- */

/* Prove a monolithicSparse image whose header and descriptor are right. */
int vmdk_sparse_open(struct vmdk *vmdk, struct im_error *err);

/* A vmdk_table_fn: check where the table's grains lie and list those of part vmdk->list_part. */
int vmdk_sparse_collect(struct vmdk *vmdk, uint32_t table, const uint8_t *entries,
                        struct im_error *err);
extern const struct im_disk_ops vmdk_sparse_ops;

/* --- vmdk-grain.c --- */

/* A grain's marker: sector of the disk (8 bytes), bytes of the zlib stream behind it (4). */
#define VMDK_MARKER_LEN 12u

/* Check the marker found at byte `at`: lba begins a grain of the disk, len is no more than a grain
 * can take.  -EBADMSG. */
int vmdk_check_marker(const struct vmdk *vmdk, uint64_t lba, uint32_t len, uint64_t at,
                      struct im_error *err);

/* Inflate a grain whose zlib stream starts at byte `origin` of the file into vmdk->plain.  The last
 * grain of a disk whose size is no multiple of the grain comes padded (VMware) or cut (qemu-img).
 * -EBADMSG code "GrainLength" or "DamagedGrain", -ENOMEM. */
int vmdk_inflate(struct vmdk *vmdk, const uint8_t *zlib, size_t len, uint32_t grain,
                 uint64_t origin, struct im_error *err);

/* Have the grain that is at `sector` of the file in vmdk->plain; errors as both, and the source's.
 */
int vmdk_load_grain(struct vmdk *vmdk, uint32_t grain, uint32_t sector, struct im_error *err);

/* --- vmdk-stream.c --- */

/* Open a stream-optimized image: what can be proven without reading all of it.  The rest is proven
 * by walk, which read and map do first when nobody else has. */
int vmdk_stream_open(struct vmdk *vmdk, struct im_error *err);
extern const struct im_disk_ops vmdk_stream_ops;

/* The footer, at byte `at`, repeats the header but for the places of the directories; -EBADMSG code
 * "FootersNotIdentical". */
int vmdk_check_footer(const struct vmdk *vmdk, const uint8_t *footer, uint64_t at,
                      struct im_error *err);

/* --- vmdk-walk.c --- */

/* A grain table that went by. */
struct vmdk_passed {
    uint32_t sector;
    bool used; /* by the directory */
    uint64_t print;
    struct vmdk_place farthest; /* grain: counted from the table's first */
};

/* A walk under way. */
struct vmdk_walk {
    struct vmdk *vmdk;
    struct im_sink *sink; /* NULL: only prove */
    uint64_t at;          /* byte offset of the next marker */
    uint8_t *seen;        /* a bit for every grain that went by */
    uint64_t *prints;     /* fingerprints of what went by, for every table */
    uint64_t grains;      /* that went by */
    struct vmdk_passed *passed;
    size_t passed_len, passed_size;
    uint64_t directory; /* sector of the directory that went by, 0: none yet */
    bool footer;        /* went by */
};

/* Go through a stream-optimized image, give its grains to sink (NULL: only prove) and prove it. */
int vmdk_walk(struct vmdk *vmdk, struct im_sink *sink, struct im_error *err);

/* --- vmdk-proof.c --- */

/* All markers have gone by: is it what header, footer, directory and tables say?  -EBADMSG. */
int vmdk_prove(struct vmdk_walk *walk, struct im_error *err);
