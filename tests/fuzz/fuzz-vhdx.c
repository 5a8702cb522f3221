/* fuzz-vhdx - VHDX, fixed and dynamic. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <endian.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"

extern const struct im_format im_format_vhdx;

#define HEADER        4096u
#define FIRST_HEADER  65536u
#define OTHER_HEADER  131072u
#define TABLE         65536u
#define FIRST_TABLE   196608u
#define OTHER_TABLE   262144u
#define CHECKSUM      4u
#define TABLE_ENTRIES (16u + 16u * 32u) /* of a region table, what recipes fill */

static void put_sum(struct fuzz_image *image, uint64_t at, size_t len)
{
    static uint8_t bytes[TABLE];
    uint32_t sum;

    fuzz_get(image, 0, at, bytes, len);
    memset(bytes + CHECKSUM, 0, 4);
    sum = htole32(im_crc32c(0, bytes, len));
    (void)fuzz_put(image, 0, at + CHECKSUM, &sum, sizeof(sum));
}

/* Both region tables the same, all checksums right. */
static void repair(struct fuzz_image *image)
{
    uint8_t table[TABLE_ENTRIES];

    fuzz_get(image, 0, FIRST_TABLE, table, sizeof(table));
    if (fuzz_mostly())
        (void)fuzz_put(image, 0, OTHER_TABLE, table, sizeof(table));
    if (fuzz_mostly())
        put_sum(image, FIRST_HEADER, HEADER);
    if (fuzz_mostly())
        put_sum(image, OTHER_HEADER, HEADER);
    put_sum(image, FIRST_TABLE, TABLE);
    put_sum(image, OTHER_TABLE, TABLE);
}

const struct fuzz_target fuzz_target = {
    .format = &im_format_vhdx,
    .name = "disk.vhdx",
    .repair = repair,
};
