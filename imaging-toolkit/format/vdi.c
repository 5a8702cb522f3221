/* vdi - VirtualBox disk images, by qemu-img.
 *
 * qemu-img fills what a truncated file lacks with zeros, so header and block map are proven here
 * first; differencing images are refused. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "box/qemu-img.h"
#include "core/format.h"

#define SIGNATURE    0xbeda107fu
#define SIGNATURE_AT 0x40
#define VERSION_AT   0x44
#define TYPE_AT      0x4c
#define MAP_AT       0x154
#define DATA_AT      0x158
#define SIZE_AT      0x170
#define BLOCK_AT     0x178
#define BLOCKS_AT    0x180
#define VERSION_1_1  0x00010001u

#define BLOCK (1u << 20) /* VirtualBox and qemu-img write no other */
/* 16 TiB; 64 MiB for the map */
#define BLOCKS_MAX (1u << 24)
#define ABSENT     0xfffffffeu /* this: zeros; the next: not allocated */

enum { TYPE_DYNAMIC = 1, TYPE_STATIC = 2 };

static enum im_bid vdi_probe(const struct im_probe *probe)
{
    if (probe->head_len < 512 || im_le32(probe->head + SIGNATURE_AT) != SIGNATURE)
        return IM_BID_NO;
    return im_le32(probe->head + VERSION_AT) == VERSION_1_1 ? IM_BID_CERTAIN : IM_BID_PLAUSIBLE;
}

/* What the header says. */
struct vdi {
    uint64_t map, data; /* byte offsets of the block map and of block 0 */
    uint64_t size;
    uint32_t block, blocks;
};

static int damaged(struct im_error *err, const char *what, uint64_t value, uint64_t limit)
{
    return im_fail_code(err, EBADMSG, "DamagedVdi",
                        "the VDI's %s is %" PRIu64 ", but only %" PRIu64
                        " fit: the file is truncated or its header damaged",
                        what, value, limit);
}

static int parse_header(const uint8_t *header, struct vdi *vdi, struct im_error *err)
{
    uint32_t type = im_le32(header + TYPE_AT);

    if (im_le32(header + SIGNATURE_AT) != SIGNATURE)
        return im_fail(err, EBADMSG, "no VDI header: byte 64 holds 0x%08x, not 0x%08x",
                       im_le32(header + SIGNATURE_AT), SIGNATURE);
    if (type != TYPE_DYNAMIC && type != TYPE_STATIC)
        return im_fail(err, EOPNOTSUPP,
                       "VDI type %u is neither dynamic (1) nor static (2); clone the disk to a "
                       "whole one first",
                       type);
    vdi->map = im_le32(header + MAP_AT);
    vdi->data = im_le32(header + DATA_AT);
    vdi->size = im_le64(header + SIZE_AT);
    vdi->block = im_le32(header + BLOCK_AT);
    vdi->blocks = im_le32(header + BLOCKS_AT);
    if (vdi->block != BLOCK)
        return im_fail_code(err, EOPNOTSUPP, "UnsupportedVdi",
                            "the VDI has blocks of %" PRIu32 " bytes; only %u are known",
                            vdi->block, BLOCK);
    if (vdi->blocks > BLOCKS_MAX)
        return damaged(err, "number of blocks", vdi->blocks, BLOCKS_MAX);
    if (vdi->size == 0 || vdi->size > (uint64_t)vdi->blocks * BLOCK)
        return damaged(err, "disk size", vdi->size, (uint64_t)vdi->blocks * BLOCK);
    return 0;
}

/* Every block of the map inside the file, and none used twice; qemu-img looks at neither. */
static int check_map(const struct vdi *vdi, const uint8_t *map, uint64_t file_size,
                     uint64_t *ret_used, struct im_error *err)
{
    uint8_t *seen IM_FREE = calloc(vdi->blocks / 8 + 1, 1);
    uint64_t there = file_size > vdi->data ? (file_size - vdi->data) / BLOCK : 0;
    uint64_t used = 0;

    if (!seen)
        return im_fail(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < vdi->blocks; i++) {
        uint32_t place = im_le32(map + (size_t)i * 4);

        if (place >= ABSENT)
            continue;
        if (place >= there || place >= vdi->blocks)
            return im_fail_code(err, EBADMSG, "DamagedVdi",
                                "block %" PRIu32 " of the VDI is at place %" PRIu32
                                ", but the file holds only %" PRIu64
                                " blocks: it is truncated or its map damaged",
                                i, place, there);
        if (seen[place / 8] & 1u << place % 8)
            return im_fail_code(err, EBADMSG, "DamagedVdi",
                                "block %" PRIu32 " of the VDI is at place %" PRIu32
                                ", where another block is",
                                i, place);
        seen[place / 8] |= (uint8_t)(1u << place % 8);
        used++;
    }
    *ret_used = used;
    return 0;
}

static int prove(struct im_source *source, uint64_t *ret_bytes, struct im_error *err)
{
    uint8_t header[512];
    uint8_t *map IM_FREE = NULL;
    struct vdi vdi = { 0 };
    uint64_t used = 0;
    int r = im_source_read(source, header, sizeof(header), 0, err);

    if (r == 0)
        r = parse_header(header, &vdi, err);
    if (r < 0)
        return r;
    if (vdi.map < sizeof(header) || vdi.data < vdi.map + (uint64_t)vdi.blocks * 4)
        return damaged(err, "end of the block map", vdi.map + (uint64_t)vdi.blocks * 4, vdi.data);
    map = malloc((size_t)vdi.blocks * 4);
    if (!map)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read(source, map, (size_t)vdi.blocks * 4, vdi.map, err);
    if (r == 0)
        r = check_map(&vdi, map, source->size, &used, err);
    if (r == 0)
        *ret_bytes = used * BLOCK;
    return r;
}

static int vdi_open(struct im_source *source, const struct im_open *options,
                    struct im_disk **ret_disk, struct im_error *err)
{
    struct vdi vdi;
    uint8_t header[512];
    int r = im_source_read(source, header, sizeof(header), 0, err);

    if (r == 0)
        r = parse_header(header, &vdi, err);
    if (r == 0 && options->planning) {
        *ret_disk = im_disk_unread(vdi.size);
        return *ret_disk ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    return r < 0 ? r : im_qemu_img_open(source, "vdi", prove, options, ret_disk, err);
}

static int vdi_required_capacity(struct im_source *source, const struct im_open *options,
                                 uint64_t *ret_bytes, struct im_error *err)
{
    struct vdi vdi;
    uint8_t header[512];
    int r = im_source_read(source, header, sizeof(header), 0, err);

    (void)options;
    if (r == 0)
        r = parse_header(header, &vdi, err);
    if (r == 0)
        r = im_qemu_img_capacity(source, vdi.size, prove, ret_bytes, err);
    return r;
}

const struct im_format im_format_vdi = {
    .name = "vdi",
    .summary = "VirtualBox, dynamic and static",
    .needs = IM_QEMU_IMG,
    .probe = vdi_probe,
    .open = vdi_open,
    .required_capacity = vdi_required_capacity,
};
