/* unpack - what images are packed in: recognise it, look inside, and give the bytes of one image.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/source.h"
#include "unpack/stream.h"
#include "unpack/tar.h"

enum im_packing { IM_PACKING_NONE, IM_PACKING_GZ, IM_PACKING_XZ, IM_PACKING_ZIP, IM_PACKING_OVA };

/* "none", "gz", "xz", "zip", "ova". */
const char *im_packing_name(enum im_packing packing);
/* -EINVAL: there is none of that name. */
int im_packing_parse(const char *name, enum im_packing *ret_packing);

/* What the first bytes of source say it is packed in; a disk's own bytes may say so by chance. */
int im_packing_probe(struct im_source *source, enum im_packing *ret_packing, struct im_error *err);

/* The disks of an archive, in their order. */
#define IM_CONTENTS_MAX 256u
struct im_contents {
    bool certificate; /* of an OVA; nothing is done with it */
    bool digests;     /* an OVA has a manifest (found so far), which is verified */
    unsigned chosen;  /* the place of the one that was opened */
    unsigned count;
    struct im_content {
        char file[IM_MEMBER_NAME_MAX + 1]; /* of the member; "": a blank disk has none */
        uint64_t size;           /* of that as it is packed, bytes; UINT64_MAX: not known */
        uint64_t capacity;       /* of the disk, bytes; UINT64_MAX: only an OVA tells */
        char format[128];        /* an URI that an OVA tells, or "" */
        const char *compression; /* static: "gzip", "xz", "deflate"; NULL: stored as it is */
    } content[IM_CONTENTS_MAX];
};

struct im_unpack {
    enum im_packing packing;
    const char *disk; /* of an archive: a number from 1 on, or a member's name; NULL: the first disk
                         of an OVA, the only file of a zip */
    uint64_t size;    /* bytes that must come out; IM_SIZE_UNKNOWN: any */
    struct im_limits limits;
};

/* No limits but the last ones. */
#define IM_LIMITS ((struct im_limits){ IM_UNPACKED_MAX, IM_EXPANSION_MAX })

/* Make *source what is packed in it, which owns what it was; on failure *source is that, or what it
 * was: the caller closes it.  contents (may be NULL) gets what else is there.
 * -EBADMSG damaged, -EOPNOTSUPP refused, -ENOENT no such disk, -ENOPKG a library is missing,
 * -ENOMEM, the source's. */
int im_unpack(struct im_source **source, const struct im_unpack *unpack,
              struct im_contents *contents, struct im_error *err);

/* Of these kinds each. */
int im_ova_wrap(struct im_source **source, const struct im_unpack *unpack,
                struct im_contents *contents, struct im_error *err);
int im_zip_wrap(struct im_source **source, const struct im_unpack *unpack,
                struct im_contents *contents, struct im_error *err);

/* "SOURCE: MEMBER", owned by the caller; NULL when out of memory. */
char *im_member_title(const struct im_source *source, const char *member);
