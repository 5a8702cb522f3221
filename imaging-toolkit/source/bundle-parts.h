/* bundle-parts - the parts of a bundle, one after the other, as one source that is read forwards.
 *
 * They lie beside the manifest, or at URLs, and then a process of their own fetches them (source/
 * served.h).  A few are read ahead by the threads of source/pool.h.  No byte is given out before
 * the SHA-1 of its part is that of the manifest.  They stay sealed: whoever reads them opens them.
 */
#pragma once

#include "core/source.h"

/* Before this process gives up its network: start what opening the same may need of it.  -errno. */
int im_bundle_parts_prepare(const char *from, struct im_error *err);

/* Open the parts that the manifest `from` a path or an http(s) URL lists; the source's document is
 * the manifest's text, its size that of all parts as the manifest says.  Files are looked at by the
 * first read, which may fail with -ENOENT and -EBADMSG "SizeMismatch"; finish looks whether the
 * parts end where they are to.  Errors: im_bundle_find's; of reading -EBADMSG "DamagedPart",
 * "SizeMismatch", im_fetch's, -ECANCELED. */
int im_bundle_parts_open(const char *from, struct im_source **ret_source, struct im_error *err);
