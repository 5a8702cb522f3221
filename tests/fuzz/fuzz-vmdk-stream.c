/* fuzz-vmdk-stream - stream-optimized VMDK.
 *
 * The repair goes from marker to marker: zlib streams get their Adler-32 right, the tables say
 * where the grains are, the footer repeats the header. */

#include <config.h>

#include "fuzz/fuzz-vmdk.h"

#include <endian.h>
#include <string.h>

#include <libdeflate.h>

#include "base/bytes.h"

extern const struct im_format im_format_vmdk;

#define MARKERS_MAX 64u
#define PACKED_MAX  65536u
#define GRAIN_MAX   (1u << 20)

enum { MARKER_TABLE = 1, MARKER_DIRECTORY = 2, MARKER_FOOTER = 3 };

struct seen {
    uint64_t grain[MARKERS_MAX]; /* number on the disk */
    uint32_t sector[MARKERS_MAX];
    unsigned n;
    uint64_t directory; /* sector of the one behind the grains, 0: none */
    uint64_t footer;    /* sector, 0: none */
};

/* Make the checksum of a zlib stream of len bytes right; sometimes compress it again. */
static void repair_stream(struct fuzz_image *image, uint64_t at, size_t len)
{
    static uint8_t packed[PACKED_MAX], plain[GRAIN_MAX];
    static struct libdeflate_decompressor *inflate;
    size_t in = 0, out = 0;
    uint32_t sum;

    if (!inflate)
        inflate = libdeflate_alloc_decompressor();
    if (!inflate || len < 6 || len > sizeof(packed))
        return;
    fuzz_get(image, 0, at, packed, len);
    if (libdeflate_deflate_decompress_ex(inflate, packed + 2, len - 2, plain, sizeof(plain), &in,
                                         &out) != LIBDEFLATE_SUCCESS ||
        in + 6 > len)
        return;
    sum = htobe32(libdeflate_adler32(1, plain, out));
    (void)fuzz_put(image, 0, at + 2 + in, &sum, sizeof(sum));
}

/* Look at the marker at byte `at`; where the next one is. */
static uint64_t on_marker(struct fuzz_image *image, const struct fuzz_vmdk *vmdk, uint64_t at,
                          struct seen *seen)
{
    uint8_t marker[16];
    uint64_t value;
    uint32_t len;

    fuzz_get(image, 0, at, marker, sizeof(marker));
    value = im_le64(marker);
    len = im_le32(marker + 8);
    if (len > 0) {
        if (fuzz_mostly())
            repair_stream(image, at + 12, len);
        seen->grain[seen->n] = value / vmdk->grain;
        seen->sector[seen->n++] = (uint32_t)(at / FUZZ_SECTOR);
        return at + im_round_up(12 + (uint64_t)len, FUZZ_SECTOR);
    }
    if (im_le32(marker + 12) == MARKER_DIRECTORY)
        seen->directory = at / FUZZ_SECTOR + 1;
    if (im_le32(marker + 12) == MARKER_FOOTER)
        seen->footer = at / FUZZ_SECTOR + 1;
    return at + FUZZ_SECTOR + value % FUZZ_FILE_MAX * FUZZ_SECTOR;
}

static void repair_footer(struct fuzz_image *image, const struct fuzz_vmdk *vmdk,
                          const struct seen *seen)
{
    uint8_t footer[FUZZ_SECTOR];
    uint64_t directory = htole64(seen->directory);

    memcpy(footer, vmdk->header, sizeof(footer));
    memcpy(footer + 56, &directory, sizeof(directory));
    (void)fuzz_put(image, 0, seen->footer * FUZZ_SECTOR, footer, sizeof(footer));
}

static void repair_tables(struct fuzz_image *image, uint64_t directory, const struct seen *seen)
{
    for (unsigned i = 0; i < seen->n; i++) {
        uint32_t table;

        if (seen->grain[i] >= FUZZ_FILE_MAX)
            continue;
        table = fuzz_vmdk_load(image, 0, directory, seen->grain[i] / FUZZ_ENTRIES);
        if (table != 0)
            fuzz_vmdk_store(image, 0, table, seen->grain[i] % FUZZ_ENTRIES, seen->sector[i]);
    }
}

static void repair(struct fuzz_image *image)
{
    struct fuzz_vmdk vmdk;
    struct seen seen = { 0 };
    uint64_t at;

    if (!fuzz_vmdk_parse(image, 0, &vmdk))
        return;
    at = vmdk.overhead * FUZZ_SECTOR;
    for (unsigned i = 0; i < MARKERS_MAX && at < image->size[0]; i++)
        at = on_marker(image, &vmdk, at, &seen);
    if (fuzz_mostly())
        fuzz_vmdk_repair_line(image, 0, vmdk.text % FUZZ_FILE_MAX * FUZZ_SECTOR, " SPARSE",
                              vmdk.capacity);
    if (fuzz_mostly())
        repair_tables(image, seen.directory ? seen.directory : vmdk.directory, &seen);
    if (seen.footer != 0 && fuzz_mostly())
        repair_footer(image, &vmdk, &seen);
}

const struct fuzz_target fuzz_target = {
    .format = &im_format_vmdk,
    .name = "disk.vmdk",
    .repair = repair,
};
