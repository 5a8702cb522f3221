/* bytes - integers at any address, in the byte order a file format prescribes. */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define IM_BYTES_GET(name, type, order)                                                            \
    static inline type name(const void *p)                                                         \
    {                                                                                              \
        type v;                                                                                    \
        memcpy(&v, p, sizeof(v));                                                                  \
        return order(v);                                                                           \
    }

IM_BYTES_GET(im_le16, uint16_t, le16toh)
IM_BYTES_GET(im_le32, uint32_t, le32toh)
IM_BYTES_GET(im_le64, uint64_t, le64toh)
IM_BYTES_GET(im_be16, uint16_t, be16toh)
IM_BYTES_GET(im_be32, uint32_t, be32toh)
IM_BYTES_GET(im_be64, uint64_t, be64toh)
#undef IM_BYTES_GET

/* value rounded up to a multiple of unit (a power of two); the caller knows it does not overflow.
 */
static inline uint64_t im_round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) & ~(unit - 1);
}

static inline uint64_t im_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t im_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
