/* vhdx-region - the region tables and the metadata of a VHDX: what is where, and what the disk is.
 *
 * What is marked as required and is not known here is refused, what is optional is only kept clear
 * of (2.2.3.2, 2.6.1.2). */

#include <config.h>

#include "format/vhdx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define ENTRY_LEN 32u /* of both kinds of table, whose headers have this length or half of it */

/* 2.2.3.1, 2.2.3.2 */
enum {
    REGIONS_COUNT = 8,
    REGIONS_FIRST = 16,
    REGION_OFFSET = 16,
    REGION_LENGTH = 24,
    REGION_REQUIRED = 28,
};

/* 2.6.1.1, 2.6.1.2 */
enum {
    ITEMS_COUNT = 10,
    ITEMS_FIRST = 32,
    ITEM_OFFSET = 16,
    ITEM_LENGTH = 20,
    ITEM_FLAGS = 24,
    ITEM_IS_USER = 1,
    ITEM_IS_REQUIRED = 4,
};

#define ITEMS_TABLE    65536u     /* bytes; items come after it */
#define ITEMS_MAX      2047u      /* entries that fit into it */
#define ITEM_LEN_MAX   (1u << 20) /* 2.6.1.2 */
#define BLOCK_MIN      (1u << 20) /* 2.6.2.1 */
#define BLOCK_MAX      (256u << 20)
#define DISK_MAX       (UINT64_C(64) << 40) /* 2.6.2.2 */
#define LEAVE_BLOCKS   1u                   /* flags of the file parameters, 2.6.2.1 */
#define HAS_PARENT     2u
#define ITEM_VALUE_MAX 16u /* bytes of the longest item that is looked at */

static const uint8_t bat_guid[VHDX_GUID] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                             0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 };
static const uint8_t metadata_guid[VHDX_GUID] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                                  0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e };

/* The system items of 2.6.2; all but the parent locator must be there. */
enum { FILE_PARAMETERS, DISK_SIZE, DISK_ID, SECTOR, PHYSICAL_SECTOR, PARENT, ITEMS };
static const struct {
    uint8_t guid[VHDX_GUID];
    uint32_t len; /* bytes; 0: any */
    const char *name;
} known[ITEMS] = {
    [FILE_PARAMETERS] = { { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0,
                            0xaa, 0x44, 0xe7, 0x6b },
                          8,
                          "file parameters" },
    [DISK_SIZE] = { { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8,
                      0x3b, 0xf4, 0xb8 },
                    8,
                    "virtual disk size" },
    [DISK_ID] = { { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0,
                    0x00, 0xc7, 0x46 },
                  16,
                  "virtual disk id" },
    [SECTOR] = { { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8,
                   0xfa, 0xab, 0x5f },
                 4,
                 "logical sector size" },
    [PHYSICAL_SECTOR] = { { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88,
                            0x52, 0x51, 0xc5, 0x56 },
                          4,
                          "physical sector size" },
    [PARENT] = { { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48,
                   0x34, 0xab, 0x0c },
                 0,
                 "parent locator" },
};

struct metadata {
    uint64_t at[ITEMS]; /* byte of the file; 0: not there */
    struct vhdx_span span[ITEMS_MAX];
    size_t spans;
};

static bool is_guid(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, VHDX_GUID) == 0;
}

/* --- regions --- */

/* Note where BAT or metadata are; neither may be there twice. */
static int found(const char *what, uint64_t at, uint64_t len, uint64_t *ret_at, uint64_t *ret_len,
                 struct im_error *err)
{
    if (*ret_at != 0)
        return vhdx_damaged(
            err, "the region table has two entries for the %s: at byte %" PRIu64 " and %" PRIu64,
            what, *ret_at, at);
    *ret_at = at;
    *ret_len = len;
    return 0;
}

static int take_region(struct vhdx *vhdx, const uint8_t *entry, struct im_error *err)
{
    uint64_t at = im_le64(entry + REGION_OFFSET);
    uint32_t len = im_le32(entry + REGION_LENGTH);
    const char *what = "optional region";
    char text[VHDX_GUID_TEXT];
    int r = 0;

    if (at < VHDX_UNIT || at % VHDX_UNIT != 0 || len % VHDX_UNIT != 0)
        return vhdx_damaged(err,
                            "region %s is at byte %" PRIu64 " with %" PRIu32
                            " bytes; both must be multiples of 1 MiB, the first not 0",
                            vhdx_guid_text(text, entry), at, len);
    if (is_guid(entry, bat_guid))
        r = found(what = "block table", at, len, &vhdx->bat, &vhdx->bat_len, err);
    else if (is_guid(entry, metadata_guid))
        r = found(what = "metadata region", at, len, &vhdx->metadata, &vhdx->metadata_len, err);
    else if (im_le32(entry + REGION_REQUIRED) & 1)
        r = vhdx_unsupported(
            err, "the region table requires region %s at byte %" PRIu64 ", which is not known",
            vhdx_guid_text(text, entry), at);
    return r < 0 ? r : vhdx_claim(vhdx, what, at, len, err);
}

/* Both must be right and the same: see vhdx.c. */
static int check_tables(const uint8_t *p, struct im_error *err)
{
    const uint8_t *other = p + VHDX_REGION_TABLE;
    size_t i = 0;
    int r =
        vhdx_check_sum(p, VHDX_REGION_TABLE, VHDX_REGION_TABLES, "regi", "first region table", err);

    if (r == 0)
        r = vhdx_check_sum(other, VHDX_REGION_TABLE, VHDX_REGION_TABLES + VHDX_REGION_TABLE, "regi",
                           "second region table", err);
    if (r < 0 || memcmp(p, other, VHDX_REGION_TABLE) == 0)
        return r;
    while (im_le32(p + i) == im_le32(other + i) || i == VHDX_CHECKSUM)
        i += 4;
    return vhdx_damaged(err,
                        "the region tables differ: byte %zu of the first is 0x%08" PRIx32
                        ", of the second 0x%08" PRIx32 "; export the disk again",
                        i, im_le32(p + i), im_le32(other + i));
}

int vhdx_read_regions(struct vhdx *vhdx, const uint8_t *p, struct im_error *err)
{
    uint32_t count = im_le32(p + REGIONS_COUNT);
    int r = check_tables(p, err);

    if (r == 0 && (count == 0 || count > VHDX_REGIONS_MAX))
        r = vhdx_damaged(err, "the region table has %" PRIu32 " entries, not 1 to %u", count,
                         VHDX_REGIONS_MAX);
    for (uint32_t i = 0; r == 0 && i < count; i++)
        r = take_region(vhdx, p + REGIONS_FIRST + (size_t)i * ENTRY_LEN, err);
    if (r < 0)
        return r;
    if (vhdx->bat_len == 0 || vhdx->metadata_len == 0)
        return vhdx_damaged(err, "the region table has no entry for the %s, or an empty one",
                            vhdx->bat_len == 0 ? "block table" : "metadata region");
    return vhdx_sort_spans(vhdx->span, vhdx->spans, err);
}

/* --- metadata --- */

/* Which of the known items an entry is; ITEMS: none of them. */
static int item_of(const uint8_t *entry)
{
    int i = 0;

    if (im_le32(entry + ITEM_FLAGS) & ITEM_IS_USER)
        return ITEMS;
    while (i < ITEMS && !is_guid(entry, known[i].guid))
        i++;
    return i;
}

static int check_known(struct metadata *metadata, int item, uint64_t at, uint32_t len,
                       struct im_error *err)
{
    if (metadata->at[item] != 0)
        return vhdx_damaged(err, "the metadata have two items '%s'", known[item].name);
    if (known[item].len != 0 && len != known[item].len)
        return vhdx_damaged(err, "the metadata item '%s' has %" PRIu32 " bytes, not %" PRIu32,
                            known[item].name, len, known[item].len);
    metadata->at[item] = at;
    return 0;
}

static int take_item(const struct vhdx *vhdx, struct metadata *metadata, const uint8_t *entry,
                     struct im_error *err)
{
    uint32_t offset = im_le32(entry + ITEM_OFFSET);
    uint32_t len = im_le32(entry + ITEM_LENGTH);
    uint64_t at = vhdx->metadata + offset;
    int item = item_of(entry);
    char text[VHDX_GUID_TEXT];

    if (item == ITEMS && im_le32(entry + ITEM_FLAGS) & ITEM_IS_REQUIRED)
        return vhdx_unsupported(err, "the metadata require item %s, which is not known",
                                vhdx_guid_text(text, entry));
    if (len != 0 &&
        (offset < ITEMS_TABLE || len > ITEM_LEN_MAX || (uint64_t)offset + len > vhdx->metadata_len))
        return vhdx_damaged(
            err,
            "metadata item %s is at byte %" PRIu32 " of its region with %" PRIu32
            " bytes; the region holds items from byte %u to %" PRIu64 ", each of at most 1 MiB",
            vhdx_guid_text(text, entry), offset, len, ITEMS_TABLE, vhdx->metadata_len);
    if (len != 0)
        metadata->span[metadata->spans++] = (struct vhdx_span){ at, at + len, "metadata item" };
    return item == ITEMS ? 0 : check_known(metadata, item, at, len, err);
}

static int read_items(struct vhdx *vhdx, struct metadata *metadata, struct im_error *err)
{
    const uint8_t *table;
    uint16_t count;
    int r = im_window_get(&vhdx->window, vhdx->metadata, ITEMS_TABLE, &table, err);

    if (r < 0)
        return r;
    if (memcmp(table, "metadata", 8) != 0)
        return vhdx_damaged(err, "there is no metadata table ('metadata') at byte %" PRIu64,
                            vhdx->metadata);
    count = im_le16(table + ITEMS_COUNT);
    if (count > ITEMS_MAX)
        return vhdx_damaged(err, "the metadata table has %u entries, more than %u", count,
                            ITEMS_MAX);
    for (size_t i = 0; i < count; i++) {
        r = take_item(vhdx, metadata, table + ITEMS_FIRST + i * ENTRY_LEN, err);
        if (r < 0)
            return r;
    }
    return vhdx_sort_spans(metadata->span, metadata->spans, err);
}

static int check_block_size(struct vhdx *vhdx, const uint8_t *parameters, struct im_error *err)
{
    uint32_t flags = im_le32(parameters + 4);

    vhdx->block = im_le32(parameters);
    vhdx->fixed = flags & LEAVE_BLOCKS;
    if (flags & ~(LEAVE_BLOCKS | HAS_PARENT))
        return vhdx_damaged(err,
                            "flags 0x%" PRIx32 " of the file parameters; only bits 0 and 1 "
                            "have a meaning",
                            flags);
    if (vhdx->block < BLOCK_MIN || vhdx->block > BLOCK_MAX ||
        (vhdx->block & (vhdx->block - 1)) != 0)
        return vhdx_damaged(
            err, "a block size of %" PRIu32 " bytes; it must be a power of two between %u and %u",
            vhdx->block, BLOCK_MIN, BLOCK_MAX);
    return 0;
}

static int check_sector(const char *what, const uint8_t *item, uint32_t *ret, struct im_error *err)
{
    *ret = im_le32(item);
    if (*ret != 512 && *ret != 4096)
        return vhdx_damaged(err, "a %s of %" PRIu32 " bytes; it must be 512 or 4096", what, *ret);
    return 0;
}

static int check_size(struct vhdx *vhdx, const uint8_t *item, struct im_error *err)
{
    uint64_t size = im_le64(item);

    if (size == 0 || size > DISK_MAX || size % vhdx->sector != 0)
        return vhdx_damaged(err,
                            "a virtual disk size of %" PRIu64 " bytes; it must be a multiple of "
                            "the sector's %" PRIu32 " and at most 64 TiB, and not 0",
                            size, vhdx->sector);
    vhdx->disk.size = size;
    return 0;
}

int vhdx_read_metadata(struct vhdx *vhdx, struct im_error *err)
{
    struct metadata *metadata IM_FREE = calloc(1, sizeof(*metadata));
    uint8_t value[ITEMS][ITEM_VALUE_MAX] = { 0 };
    int r;

    if (!metadata)
        return im_fail(err, ENOMEM, "out of memory");
    r = read_items(vhdx, metadata, err);
    for (int i = 0; r == 0 && i < PARENT; i++)
        r = metadata->at[i] == 0
                ? vhdx_damaged(err, "the metadata have no item '%s'", known[i].name)
                : im_window_read(&vhdx->window, value[i], known[i].len, metadata->at[i], err);
    if (r == 0 && (im_le32(value[FILE_PARAMETERS] + 4) & HAS_PARENT || metadata->at[PARENT] != 0))
        r = vhdx_unsupported(err, "this VHDX is a differencing disk and holds only what differs "
                                  "from its parent; merge it into its parent and import the "
                                  "result");
    if (r == 0)
        r = check_block_size(vhdx, value[FILE_PARAMETERS], err);
    if (r == 0)
        r = check_sector(known[SECTOR].name, value[SECTOR], &vhdx->sector, err);
    if (r == 0)
        r = check_sector(known[PHYSICAL_SECTOR].name, value[PHYSICAL_SECTOR],
                         &vhdx->physical_sector, err);
    if (r == 0)
        r = check_size(vhdx, value[DISK_SIZE], err);
    memcpy(vhdx->id, value[DISK_ID], sizeof(vhdx->id));
    return r;
}
