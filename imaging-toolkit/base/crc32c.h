/* crc32c - the Castagnoli CRC-32 (RFC 3720, B.4) that VHDX headers carry, and the one of IEEE 802.3
 * that a GPT carries.
 *
 * For headers and tables, not for the data of a disk: they are small, not fast. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The CRC of len bytes that follow those whose CRC is `crc` (0: they are the first). */
uint32_t im_crc32c(uint32_t crc, const void *data, size_t len);

/* The same of the CRC-32 of IEEE 802.3 (zlib, PNG, GPT). */
uint32_t im_crc32(uint32_t crc, const void *data, size_t len);
