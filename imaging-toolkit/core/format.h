/* format - a kind of disk image: recognise it, prove its structure, give a plain disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"
#include "core/progress.h"
#include "core/result.h"
#include "core/source.h"
#include "core/store.h"

/* How sure a format is.  A fixed scale, so that formats do not bid against each other. */
enum im_bid {
    IM_BID_NO = 0,
    IM_BID_POSSIBLE = 1,   /* raw: anything may be raw */
    IM_BID_PLAUSIBLE = 50, /* the magic is there */
    IM_BID_CERTAIN = 100,  /* magic and checksum or structure agree */
};

#define IM_PROBE_HEAD 4096
#define IM_PROBE_TAIL 512

/* The bytes a bid is made on. */
struct im_probe {
    uint8_t head[IM_PROBE_HEAD]; /* the first bytes, zeros after head_len */
    size_t head_len;
    uint8_t tail[IM_PROBE_TAIL]; /* the last bytes */
    size_t tail_len;             /* 0 when the end cannot be read (standard input) */
    uint64_t size;               /* of the source, or IM_SIZE_UNKNOWN */
};

/* What a decoder may need besides the bytes. */
struct im_open {
    const char *scratch; /* directory for formats that need a second copy; NULL: TMPDIR, /var/tmp */
    const char
        *extents; /* directory that holds the further files of an image; NULL: there are none */
    uint64_t max_size; /* largest virtual size wanted, bytes; UINT64_MAX: any */
    bool planning;     /* nothing may be run or copied: where the size is known without, give
                          im_disk_unread */
};

/* Directory for a second copy when nobody named one: TMPDIR, else /var/tmp. */
const char *im_scratch_default(void);

/* How hard an encoder compresses. */
enum im_level { IM_LEVEL_FAST, IM_LEVEL_BEST };

/* The level called name; -EINVAL. */
int im_level_parse(const char *name, enum im_level *ret_level, struct im_error *err);

/* What an encoder may need besides the disk. */
struct im_encode {
    const char *subformat; /* one of the format's list */
    enum im_level level;
    unsigned jobs;       /* threads, 1…IM_INFLATE_JOBS_MAX */
    const char *scratch; /* as in im_open */
};

/* A format; registered by its file name in the Makefile. */
struct im_format {
    const char *name;           /* "vmdk" */
    const char *const *aliases; /* further names, NULL-terminated; may be NULL */
    const char *summary;
    const char *needs; /* program it depends on ("qemu-img"), or NULL */

    /* Of the same source the decoder always asks for the same bytes in the same order, and its data
     * go through format/window.h: an interrupted walk can be gone on with (core/trail.h). */
    bool resumes;

    enum im_bid (*probe)(const struct im_probe *probe);

    /* Check headers and tables and give a disk that reads from source (which stays the caller's).
     * Errors: -EBADMSG damaged, -EOPNOTSUPP sound but refused, -EFBIG larger than max_size,
     * -ENOPKG, or the source's. */
    int (*open)(struct im_source *source, const struct im_open *options, struct im_disk **ret_disk,
                struct im_error *err);

    /* Most bytes of scratch a disk opened from source will hold at once; reads little.  NULL: none.
     */
    int (*required_capacity)(struct im_source *source, const struct im_open *options,
                             uint64_t *ret_bytes, struct im_error *err);

    /* What can be written, the default first, NULL-terminated; NULL: only read. */
    const char *const *subformats;

    /* Write disk as an image into store, which takes any size; fills in size, file_size and
     * data_bytes.  Does not commit.  NULL: the disk is copied as it is.
     * Errors: -EFBIG too large for the format, the disk's, the store's, -ECANCELED. */
    int (*encode)(struct im_disk *disk, struct im_store *store, const struct im_encode *options,
                  struct im_progress *progress, struct im_copy_result *ret_result,
                  struct im_error *err);

    /* Most bytes of scratch encode will hold at once for this disk.  NULL: none. */
    int (*encode_capacity)(struct im_disk *disk, const struct im_encode *options,
                           uint64_t *ret_bytes, struct im_error *err);
};

/* The format called name (any case, or an alias), or NULL. */
const struct im_format *im_format_find(const char *name);

/* The format with the highest bid for source, raw when no other is plausible. */
int im_format_probe(struct im_source *source, const struct im_format **ret_format,
                    struct im_error *err);

/* The format that is certain the bytes at p, the first of something, are its own; NULL: none. */
const struct im_format *im_format_certain(const void *p, size_t len);

/* Open source as `format`.  Refused with code "FormatMismatch" when another format is certain that
 * it is its own: an image is never what it was not declared to be. */
int im_format_open(const struct im_format *format, struct im_source *source,
                   const struct im_open *options, struct im_disk **ret_disk, struct im_error *err);
