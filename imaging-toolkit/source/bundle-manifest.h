/* bundle-manifest - a bundle's manifest, from its place: read or fetched, parsed; and where its
 * parts are. */
#pragma once

#include "aws/bundle.h"

/* A manifest and the place it lies in. */
struct im_bundle_place {
    struct im_bundle *bundle;
    char *text; /* of the manifest, text_len bytes */
    size_t text_len;
    int dir;      /* open on the directory of a manifest in a file, -1: it came from a URL */
    char *prefix; /* of the URLs of the parts beside it, or NULL */
};

/* Read the manifest `from` a path or an http(s) URL.  -EBADMSG "InvalidManifest"; those of files
 * and of the network. */
int im_bundle_find(const char *from, struct im_bundle_place *ret_place, struct im_error *err);
void im_bundle_place_done(struct im_bundle_place *place);
#define IM_BUNDLE_PLACE_DONE __attribute__((cleanup(im_bundle_place_done)))
