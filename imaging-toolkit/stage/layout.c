/* layout - place partitions; see layout.h. */

#include <config.h>

#include "stage/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crypto.h"

/* An MBR counts sectors in 32 bits. */
#define MBR_MAX ((UINT64_C(1) << 32) * LAYOUT_SECTOR)
/* Linux maps swap space in pages. */
#define PAGE 4096u

static const char *const names[LAYOUT_PARTS] = { "root", "ephemeral", "swap", "boot", "BIOS boot" };

static int check_lengths(const struct layout *layout, struct im_error *err)
{
    uint64_t swap = layout->part[LAYOUT_SWAP].len;
    uint64_t ephemeral = layout->part[LAYOUT_EPHEMERAL].len;

    if (swap % PAGE != 0 || (swap > 0 && swap < 10 * PAGE))
        return im_fail(err, EINVAL,
                       "swap=%" PRIu64 " is no multiple of %u bytes, or less than ten of them",
                       swap, PAGE);
    if (ephemeral % LAYOUT_ALIGN != 0)
        return im_fail(err, EINVAL, "ephemeral=%" PRIu64 " is no multiple of 1 MiB", ephemeral);
    if (layout->size % LAYOUT_SECTOR != 0)
        return im_fail(err, EINVAL, "size=%" PRIu64 " is no multiple of %u bytes", layout->size,
                       LAYOUT_SECTOR);
    return 0;
}

/* Put one behind the others, whose end is *end. */
static int place(struct layout *layout, unsigned i, uint64_t *end, struct im_error *err)
{
    struct layout_part *part = &layout->part[i];
    uint64_t len;

    if (part->len == 0)
        return 0;
    /* so that no sum here overflows: there are five of them */
    if (part->len > INT64_MAX / 8)
        return im_fail(err, EFBIG, "a %s partition of %" PRIu64 " bytes is larger than disks are",
                       names[i], part->len);
    len = im_round_up(part->len, LAYOUT_SECTOR);
    part->offset = *end;
    part->len = len;
    *end = im_round_up(*end + len, LAYOUT_ALIGN);
    return 0;
}

static int settle_size(struct layout *layout, uint64_t needed, struct im_error *err)
{
    if (layout->size == 0)
        layout->size = im_round_up(needed, LAYOUT_ALIGN);
    if (layout->size < needed)
        return im_fail(err, ENOSPC,
                       "size=%" PRIu64 " is too small: table and partitions need %" PRIu64 " bytes",
                       layout->size, needed);
    if (!layout->gpt && layout->size > MBR_MAX)
        return im_fail(err, EFBIG,
                       "a disk of %" PRIu64 " bytes: an MBR reaches no further than %" PRIu64
                       " bytes (2 TiB); use table=gpt",
                       layout->size, MBR_MAX);
    if (layout->size > INT64_MAX)
        return im_fail(err, EFBIG, "size=%" PRIu64 " is larger than disks are", layout->size);
    return 0;
}

int layout_place(struct layout *layout, struct im_error *err)
{
    static const unsigned order[] = { LAYOUT_BOOT, LAYOUT_SWAP, LAYOUT_EPHEMERAL, LAYOUT_ROOT };
    const struct layout_part *root = &layout->part[LAYOUT_ROOT];
    uint64_t end = LAYOUT_HEAD;
    int r = check_lengths(layout, err);

    for (size_t i = 0; r == 0 && i < sizeof(order) / sizeof(order[0]); i++)
        r = place(layout, order[i], &end, err);
    if (r < 0)
        return r;
    if (layout->gpt && layout->bios)
        layout->part[LAYOUT_BIOS] =
            (struct layout_part){ .offset = (uint64_t)LAYOUT_CORE_GPT * LAYOUT_SECTOR,
                                  .len = LAYOUT_HEAD - LAYOUT_CORE_GPT * LAYOUT_SECTOR };
    end = root->offset + root->len;
    return settle_size(layout, layout->gpt ? end + LAYOUT_TAIL : end, err);
}

/* ---- identifiers ---- */

void layout_uuid(const struct layout *layout, const char *what, uint8_t ret_uuid[16],
                 char ret_text[40])
{
    uint8_t digest[IM_HASH_MAX];
    uint8_t *p = digest;

    im_hmac(IM_SHA256, layout->seed, sizeof(layout->seed), what, strlen(what), digest);
    p[6] = (p[6] & 0x0f) | 0x40;
    p[8] = (p[8] & 0x3f) | 0x80;
    memcpy(ret_uuid, p, 16);
    (void)snprintf(ret_text, 40,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", p[0],
                   p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12], p[13],
                   p[14], p[15]);
}

uint32_t layout_disk_id(const struct layout *layout)
{
    uint8_t uuid[16];
    char text[40];

    layout_uuid(layout, "disk", uuid, text);
    return im_le32(uuid) | 1;
}

void layout_root_partuuid(const struct layout *layout, char ret_text[40])
{
    uint8_t uuid[16];

    if (layout->gpt)
        layout_uuid(layout, "root", uuid, ret_text);
    else
        (void)snprintf(ret_text, 40, "%08" PRIx32 "-%02x", layout_disk_id(layout), LAYOUT_ROOT + 1);
}
