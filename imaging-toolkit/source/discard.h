/* discard - delete an upload through the URLs its manifest carries. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct im_discarded {
    size_t parts;  /* of the manifest; all are gone now */
    bool was_gone; /* there was no manifest any more: somebody did it before */
};

/* Delete the parts of the manifest at an http(s) URL, then the manifest itself; each request is
 * tried again while that may help.  What is gone already is deleted, so this may be repeated, and
 * since the manifest goes last a repetition finds what is left.
 *
 * The customer wrote these URLs.  A delete-url is followed only when it names the object of the
 * part's own get-url, beside the manifest (same scheme, host and port), and the self-destruct-url
 * only when it names the manifest; when one does not, nothing is deleted at all.
 * Errors: -EBADMSG "UnsafeDeleteUrl"; im_manifest_fetch's; im_fetch_exchange's, after which some
 * parts may be gone. */
int im_discard_upload(const char *manifest_url, struct im_discarded *ret_discarded,
                      struct im_error *err);
