/* served - sources of the network, opened by a process of their own.
 *
 * Whoever parses an image holds no socket to the world: a second process of this program, started
 * before there is a second thread, opens the source, fetches, retries, and proves digests, and
 * parses nothing but HTTP and manifests (source/fetcher.c).  This one has a source that asks it
 * (source/ served.c), and copies the bytes from memory that both see, so nothing is copied twice.
 * URLs and settings are there by the fork: they stand on no command line and pass through no pipe.
 *
 * Each dies with the other: the fetching process by its death signal or when its sockets close, the
 * other by a failure that may heal.  Each takes the other for hostile: the one because it has
 * spoken with the world, the other because it has parsed an image. */
#pragma once

#include "base/error.h"
#include "core/source.h"

/* Opens the real source, in the fetching process.  The source must lend (im_source_ops.lend), and
 * know its size. */
typedef int (*im_served_fn)(const char *spec, struct im_source **ret_source, struct im_error *err);

/* im_source_type.prepare: start the fetching process for spec, which opens nothing else. */
int im_served_prepare(im_served_fn open, const char *spec, struct im_error *err);

/* im_source_type.open: let the fetching process, which is started if it is not there yet, open the
 * source; one at a time.  It stays, for the same to be opened again, until this process ends.
 * Errors: the opener's; -EAGAIN code "FetcherLost" when the process ends by itself, now or at any
 * later call of the source; -EPROTO when it answers what makes no sense. */
int im_served_open(im_served_fn open, const char *spec, struct im_source **ret_source,
                   struct im_error *err);
