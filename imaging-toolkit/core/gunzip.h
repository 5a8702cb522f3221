/* gunzip - a gzip file (RFC 1952) becomes its bytes as they come, in the memory of one window.
 *
 * Not for grains, which are inflated whole and by many threads: core/inflate.h. */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* One stream, for one thread at a time; NULL when out of memory.  _free takes NULL, returns NULL.
 */
struct im_gunzip;
struct im_gunzip *im_gunzip_new(void);
/* Of a bare deflate stream (RFC 1951), as zip files hold them: no header, and no checksum. */
struct im_gunzip *im_gunzip_new_bare(void);
struct im_gunzip *im_gunzip_free(struct im_gunzip *gunzip);

/* Take up to *in_len bytes of in and give up to `room` bytes into out; afterwards *in_len is how
 * many were taken and *ret_len how many were given.
 * 0: there is more to come, once more input or room is given (without either nothing happens);
 * 1: a member has ended, its checksum and length were right, and nothing after it was taken.  A
 *    further call begins another member: gzip files may be joined.
 * -EBADMSG code "DamagedGzip": not gzip, or damaged, with the byte of the input; -ENOMEM. */
int im_gunzip(struct im_gunzip *gunzip, const void *in, size_t *in_len, void *out, size_t room,
              size_t *ret_len, struct im_error *err);
