/* fuzz-vhd - fixed and dynamic VHD. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <endian.h>
#include <string.h>

#include "base/bytes.h"

extern const struct im_format im_format_vhd;

#define FOOTER 512u
#define HEADER 1024u

enum { FOOTER_HEADER = 16, FOOTER_CURRENT = 48, FOOTER_CHECKSUM = 64, HEADER_CHECKSUM = 36 };

static void put_sum(uint8_t *p, size_t len, size_t field)
{
    uint32_t sum = 0;

    memset(p + field, 0, 4);
    for (size_t i = 0; i < len; i++)
        sum += p[i];
    sum = htobe32(~sum);
    memcpy(p + field, &sum, sizeof(sum));
}

static void repair_header(struct fuzz_image *image, uint64_t at)
{
    uint8_t header[HEADER];

    if (at >= FUZZ_FILE_MAX)
        return;
    fuzz_get(image, 0, at, header, sizeof(header));
    if (memcmp(header, "cxsparse", 8) != 0)
        return;
    put_sum(header, sizeof(header), HEADER_CHECKSUM);
    (void)fuzz_put(image, 0, at + HEADER_CHECKSUM, header + HEADER_CHECKSUM, 4);
}

/* When the file's size has changed: the footer that stands somewhere else. */
static void find_footer(const struct fuzz_image *image, uint8_t *footer)
{
    for (size_t i = 0; i < image->n; i++)
        if (!image->piece[i].fill && image->piece[i].len == FOOTER &&
            memcmp(image->piece[i].bytes, "conectix", 8) == 0)
            memcpy(footer, image->piece[i].bytes, FOOTER);
}

/* The footer's checksum, its copy, its size; the header's checksum. */
static void repair(struct fuzz_image *image)
{
    uint8_t tail[FOOTER + 1] = { 0 };
    uint8_t *footer = tail;
    uint64_t size = image->size[0];
    uint8_t first[8];

    if (size < FOOTER)
        return;
    fuzz_get(image, 0, size - FOOTER, tail, FOOTER);
    if (memcmp(tail + 1, "conectix", 8) == 0)
        footer++;
    else if (memcmp(tail, "conectix", 8) != 0)
        find_footer(image, tail);
    fuzz_get(image, 0, 0, first, sizeof(first));
    if (memcmp(first, "conectix", 8) != 0 && fuzz_mostly()) {
        uint64_t current = htobe64(size - (size_t)(tail + FOOTER - footer));

        memcpy(footer + FOOTER_CURRENT, &current, sizeof(current));
    }
    put_sum(footer, FOOTER, FOOTER_CHECKSUM);
    if (fuzz_mostly())
        (void)fuzz_put(image, 0, size - FOOTER, tail, FOOTER);
    if (memcmp(first, "conectix", 8) == 0 && fuzz_mostly())
        (void)fuzz_put(image, 0, 0, footer, FOOTER);
    if (fuzz_mostly())
        repair_header(image, im_be64(footer + FOOTER_HEADER));
}

const struct fuzz_target fuzz_target = {
    .format = &im_format_vhd,
    .name = "disk.vhd",
    .repair = repair,
};
