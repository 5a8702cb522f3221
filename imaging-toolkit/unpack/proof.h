/* proof - who wants to see all bytes that come out of something packed, and has the last word
 * before they are believed: digests, checksums, what follows in the archive. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* All zeros: nothing is to be proven. */
struct im_proof {
    void *arg;

    /* Every byte that came out, once and in order.  NULL: none of them. */
    void (*take)(void *arg, const void *buf, size_t len);

    /* Nothing follows: `taken` bytes were read of what was packed, and `given` came out.  Before
     * anything is committed; a failure is the conversion's.  NULL: all is well. */
    int (*end)(void *arg, uint64_t taken, uint64_t given, struct im_error *err);

    /* Release arg.  NULL: nothing is owned. */
    void (*free)(void *arg);
};
