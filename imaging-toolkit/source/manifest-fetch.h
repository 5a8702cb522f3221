/* manifest-fetch - an import manifest's document: fetched, proven, parsed. */
#pragma once

#include "aws/manifest.h"
#include "base/error.h"
#include "source/fetch.h"

/* Error code of a store that does not answer for the manifest, the first that is asked of it: as
 * long as nobody knows whether there is an upload, nothing is wrong with it. */
#define IM_MANIFEST_STORE_AWAY "StoreAway"

/* Fetch the manifest at an http(s) URL, owned by the caller (im_manifest_free).  A document that is
 * not what the server's ETag promises is asked for again; rules->missing_code is told of one that
 * is not there (-ENOENT).
 * Errors: im_fetch_exchange's, those of the network and of a busy server with the code above;
 * -EBADMSG "InvalidManifest". */
int im_manifest_fetch(const char *url, const struct im_fetch_rules *rules,
                      struct im_manifest **ret_manifest, struct im_error *err);
