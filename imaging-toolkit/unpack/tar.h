/* tar - what is in a tar archive, and where: names, sizes and offsets of its members, by
 * libarchive. Nothing is extracted; whoever wants a member's bytes reads them from the source. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "core/source.h"

#define IM_MEMBER_NAME_MAX 255

struct im_member {
    char name[IM_MEMBER_NAME_MAX + 1]; /* plain: see im_member_check_name */
    uint64_t at, size;                 /* of its bytes in the source */
};

/* Is this a name that means nothing but itself?  Refused are what is absolute, has "..", "." or
 * nothing between two slashes, a backslash, or a control character: it would mean a file elsewhere
 * to whoever extracts it.  -EOPNOTSUPP code "UnsafeName". */
int im_member_check_name(const char *archive, const char *name, struct im_error *err);

/* Read the members of the archive that begins at `offset` of source, which stays the caller's.
 * -ENOPKG: libarchive is not installed; -ENOMEM. */
struct im_tar;
int im_tar_open(struct im_source *source, uint64_t offset, struct im_tar **ret_tar,
                struct im_error *err);
struct im_tar *im_tar_free(struct im_tar *tar);

/* The next member: 1, and 0 at the end.  -EBADMSG damaged or truncated; -EOPNOTSUPP a member that
 * is no regular file, is sparse or has an unsafe name; the source's. */
int im_tar_next(struct im_tar *tar, struct im_member *ret_member, struct im_error *err);
