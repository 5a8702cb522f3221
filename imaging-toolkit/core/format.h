/* format - a kind of disk image: recognise it, prove its structure, give a plain disk. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"
#include "core/source.h"

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
    uint64_t max_size;   /* largest virtual size wanted, bytes; UINT64_MAX: any */
};

/* A format; registered by its file name in the Makefile. */
struct im_format {
    const char *name;           /* "vmdk" */
    const char *const *aliases; /* further names, NULL-terminated; may be NULL */
    const char *summary;
    const char *needs; /* program it depends on ("qemu-img"), or NULL */

    enum im_bid (*probe)(const struct im_probe *probe);

    /* Check headers and tables and give a disk that reads from source (which stays the caller's).
     * Errors: -EBADMSG damaged, -EOPNOTSUPP sound but refused, -EFBIG larger than max_size,
     * -ENOPKG, or the source's. */
    int (*open)(struct im_source *source, const struct im_open *options, struct im_disk **ret_disk,
                struct im_error *err);
};

/* The format called name (any case, or an alias), or NULL. */
const struct im_format *im_format_find(const char *name);

/* The format with the highest bid for source, raw when no other is plausible. */
int im_format_probe(struct im_source *source, const struct im_format **ret_format,
                    struct im_error *err);

/* Open source as `format`.  Refused with code "FormatMismatch" when another format is certain that
 * it is its own: an image is never what it was not declared to be. */
int im_format_open(const struct im_format *format, struct im_source *source,
                   const struct im_open *options, struct im_disk **ret_disk, struct im_error *err);
