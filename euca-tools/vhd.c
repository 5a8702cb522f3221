/* vhd - find the footer of a VHD and what it says of the disk.
 *
 * Footers of Virtual PC before 2004 lack the last byte, a zero. */

#include <config.h>

#include "vhd.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"

#define OLD_FOOTER   511
#define CURRENT_SIZE 48
#define TYPE         60
#define CHECKSUM     64
#define FIXED        2

bool euca_vhd_cookie(const uint8_t *p)
{
    return memcmp(p, "conectix", 8) == 0;
}

/* One's complement of the sum of all bytes but the checksum's own. */
static uint32_t checksum(const uint8_t *footer, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        if (i < CHECKSUM || i >= CHECKSUM + 4)
            sum += footer[i];
    return ~sum;
}

/* The footer in the last 512 bytes of a file; NULL when there is none. */
static const uint8_t *find_footer(const uint8_t tail[EUCA_VHD_FOOTER], size_t *ret_len)
{
    *ret_len = euca_vhd_cookie(tail) ? EUCA_VHD_FOOTER : OLD_FOOTER;
    return euca_vhd_cookie(tail) ? tail : euca_vhd_cookie(tail + 1) ? tail + 1 : NULL;
}

bool euca_vhd_ends(const uint8_t tail[EUCA_VHD_FOOTER], uint64_t file_size, bool *ret_whole)
{
    size_t len;
    const uint8_t *footer = find_footer(tail, &len);

    if (!footer)
        return false;
    *ret_whole = im_be32(footer + CHECKSUM) == checksum(footer, len) &&
                 im_be32(footer + TYPE) == FIXED &&
                 im_be64(footer + CURRENT_SIZE) == file_size - len;
    return true;
}

int euca_vhd_size(const struct euca_image *image, uint64_t *ret_bytes, struct im_error *err)
{
    uint8_t tail[EUCA_VHD_FOOTER];
    const uint8_t *footer;
    size_t len;
    int r;

    if (image->file_size < EUCA_VHD_FOOTER)
        return im_fail(err, EBADMSG,
                       "File %s is too small to be a VHD: it has %" PRIu64
                       " bytes, a VHD ends with a footer of 512",
                       image->path, image->file_size);
    r = euca_image_read(image, tail, sizeof(tail), image->file_size - EUCA_VHD_FOOTER, err);
    if (r < 0)
        return r;
    footer = find_footer(tail, &len);
    if (!footer)
        return im_fail(err, EBADMSG,
                       "File %s is not a whole VHD: there is no footer in its last 512 bytes",
                       image->path);
    if (im_be32(footer + CHECKSUM) != checksum(footer, len))
        return im_fail(err, EBADMSG,
                       "File %s has a damaged VHD footer: its checksum is %#" PRIx32
                       " where %#" PRIx32 " belongs",
                       image->path, im_be32(footer + CHECKSUM), checksum(footer, len));
    *ret_bytes = im_be64(footer + CURRENT_SIZE);
    return 0;
}
