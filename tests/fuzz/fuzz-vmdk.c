/* fuzz-vmdk - what the repairs of the three VMDK targets share.  It is no target itself. */

#include <config.h>

#include "fuzz/fuzz-vmdk.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

/* More tables are not repaired: recipes have no room for them. */
#define TABLES_MAX 16u
#define TEXT_MAX   4096u

bool fuzz_vmdk_parse(const struct fuzz_image *image, unsigned file, struct fuzz_vmdk *ret)
{
    const uint8_t *p = ret->header;

    fuzz_get(image, file, 0, ret->header, sizeof(ret->header));
    ret->file = file;
    ret->capacity = im_le64(p + 12);
    ret->grain = im_le64(p + 20);
    ret->text = im_le64(p + 28);
    ret->text_len = im_le64(p + 36);
    ret->redundant = im_le64(p + 48);
    ret->directory = im_le64(p + 56);
    ret->overhead = im_le64(p + 64);
    ret->compressed = im_le32(p + 8) >> 16 & 1;
    return memcmp(p, "KDMV", 4) == 0 && ret->grain >= 8 && ret->grain <= 2048 &&
           ret->capacity > 0 && ret->capacity < FUZZ_FILE_MAX && ret->overhead < FUZZ_FILE_MAX;
}

uint32_t fuzz_vmdk_load(const struct fuzz_image *image, unsigned file, uint64_t sector, uint64_t i)
{
    uint8_t entry[4] = { 0 };

    if (sector < FUZZ_FILE_MAX / FUZZ_SECTOR)
        fuzz_get(image, file, sector * FUZZ_SECTOR + i * 4, entry, sizeof(entry));
    return im_le32(entry);
}

void fuzz_vmdk_store(struct fuzz_image *image, unsigned file, uint64_t sector, uint64_t i,
                     uint32_t value)
{
    uint32_t entry = htole32(value);

    if (sector < FUZZ_FILE_MAX / FUZZ_SECTOR)
        (void)fuzz_put(image, file, sector * FUZZ_SECTOR + i * 4, &entry, sizeof(entry));
}

void fuzz_vmdk_repair_line(struct fuzz_image *image, unsigned file, uint64_t at, const char *words,
                           uint64_t capacity)
{
    char text[TEXT_MAX + 1] = "";
    char number[24];
    char *start, *end;

    if (at >= FUZZ_FILE_MAX)
        return;
    fuzz_get(image, file, at, text, TEXT_MAX);
    start = end = strstr(text, words);
    while (start && start > text && strchr("0123456789 ", start[-1]))
        start--;
    if (!start || *start != ' ' || end - start > 20)
        return;
    (void)snprintf(number, sizeof(number), "%-*" PRIu64, (int)(end - start - 1), capacity);
    if (strlen(number) == (size_t)(end - start - 1))
        (void)fuzz_put(image, file, at + (uint64_t)(start + 1 - text), number, strlen(number));
}

void fuzz_vmdk_repair_copy(struct fuzz_image *image, const struct fuzz_vmdk *vmdk)
{
    uint64_t tables = (vmdk->capacity - 1) / vmdk->grain / FUZZ_ENTRIES + 1;

    for (uint64_t t = 0; t < tables && t < TABLES_MAX; t++) {
        uint32_t from = fuzz_vmdk_load(image, vmdk->file, vmdk->directory, t);
        uint32_t to = fuzz_vmdk_load(image, vmdk->file, vmdk->redundant, t);
        uint8_t entries[FUZZ_ENTRIES * 4];

        if (from == 0 || to == 0)
            continue;
        fuzz_get(image, vmdk->file, (uint64_t)from * FUZZ_SECTOR, entries, sizeof(entries));
        (void)fuzz_put(image, vmdk->file, (uint64_t)to * FUZZ_SECTOR, entries, sizeof(entries));
    }
}
