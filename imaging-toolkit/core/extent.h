/* extent - a run of bytes that is either data or known to read as zeros. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct im_extent {
    uint64_t offset; /* bytes */
    uint64_t len;    /* bytes, never 0 */
    bool zero;       /* reads as zeros without looking */
};
