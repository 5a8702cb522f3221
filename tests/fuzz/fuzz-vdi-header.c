/* fuzz-vdi-header - what our look at the header and block map of a VDI lets through to qemu-img.
 *
 * qemu-img reads zeros where the file ends too early, so every block must lie inside it. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <inttypes.h>

#include "base/bytes.h"

extern const struct im_format im_format_vdi;

/* Entries that are looked at; recipes with longer maps have them from fills. */
#define ENTRIES_MAX 65536u

static void check(const struct fuzz_image *image, const struct im_disk *disk)
{
    uint8_t header[512];
    uint64_t map, data;
    uint32_t blocks;

    (void)disk;
    fuzz_get(image, 0, 0, header, sizeof(header));
    map = im_le32(header + 0x154);
    data = im_le32(header + 0x158);
    blocks = im_le32(header + 0x180);
    if (im_le32(header + 0x40) != 0xbeda107f || (im_le32(header + 0x4c) - 1) > 1)
        fuzz_fault("no VDI, or a differencing one, is let through");
    for (uint32_t i = 0; i < blocks && i < ENTRIES_MAX; i++) {
        uint8_t entry[4];

        fuzz_get(image, 0, map + 4 * (uint64_t)i, entry, sizeof(entry));
        if (im_le32(entry) < 0xfffffffe &&
            data + ((uint64_t)im_le32(entry) + 1) * (1u << 20) > image->size[0])
            fuzz_fault("block %" PRIu32 " is not in the file", i);
    }
}

const struct fuzz_target fuzz_target = {
    .format = &im_format_vdi,
    .name = "disk.vdi",
    .check = check,
};
