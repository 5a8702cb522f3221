/* vmdk-proof - a stream-optimized image has gone by: what was seen against what the tables say.
 *
 * Equal fingerprints mean equal tables (vmdk_print).  Where they differ, the entry that is wrong is
 * looked for, since the sentence is all that the owner of the image gets. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* One entry of a table that disagrees: is it this one?  `entry` is its sector, 0: none. */
static int blame(const struct vmdk_walk *walk, uint32_t grain, uint32_t entry, struct im_error *err)
{
    const struct vmdk *vmdk = walk->vmdk;
    bool seen = walk->seen[grain / 8] & 1u << grain % 8;
    uint8_t marker[VMDK_MARKER_LEN];
    int r;

    if (entry == 0 && seen)
        return vmdk_damaged(
            err, "grain %" PRIu32 " is in the file, but its grain table says it is not", grain);
    if (entry == 0)
        return 0;
    if (!seen)
        return vmdk_damaged(err,
                            "the grain table says grain %" PRIu32 " is at sector %" PRIu32
                            ", but the file does not hold that grain",
                            grain, entry);
    r = im_source_read(vmdk->disk.source, marker, sizeof(marker), (uint64_t)entry * VMDK_SECTOR,
                       err);
    if (r == 0 && im_le64(marker) != grain * vmdk->header.grain)
        r = vmdk_damaged(err,
                         "the grain table says grain %" PRIu32 " is at sector %" PRIu32
                         ", but there is something else",
                         grain, entry);
    return r;
}

/* The fingerprints of a table and of what went by differ: name a grain if the file can be read
 * again, and the table in any case. */
static int table_disagrees(const struct vmdk_walk *walk, uint32_t table, struct im_error *err)
{
    const struct vmdk *vmdk = walk->vmdk;
    uint64_t first = (uint64_t)table * VMDK_TABLE_ENTRIES;
    uint8_t entries[VMDK_TABLE_BYTES] = { 0 };
    int r = 0;

    if (!vmdk->disk.source->sequential) {
        if (vmdk->directory[table])
            r = im_source_read(vmdk->disk.source, entries, sizeof(entries),
                               (uint64_t)vmdk->directory[table] * VMDK_SECTOR, err);
        for (unsigned i = 0; r == 0 && i < VMDK_TABLE_ENTRIES && first + i < vmdk->grains; i++)
            r = blame(walk, (uint32_t)first + i, vmdk_entry(vmdk, entries, i), err);
    }
    if (r < 0)
        return r;
    return vmdk_damaged(err,
                        "grain table %" PRIu32 " does not say where grains %" PRIu64 " to %" PRIu64
                        " are in the file: the image is damaged or incomplete",
                        table, first, first + VMDK_TABLE_ENTRIES - 1);
}

static int by_sector(const void *key, const void *item)
{
    uint32_t x = *(const uint32_t *)key;
    uint32_t y = ((const struct vmdk_passed *)item)->sector;

    return (x > y) - (x < y);
}

/* The directory that went by names every table that went by, once: take their fingerprints. */
static int collect_prints(struct vmdk_walk *walk, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    size_t used = 0;

    for (uint32_t t = 0; t < vmdk->tables; t++) {
        struct vmdk_passed *table = NULL;

        vmdk->prints[t] = 0;
        if (vmdk->directory[t] == 0)
            continue;
        if (walk->passed_len > 0)
            table = bsearch(&vmdk->directory[t], walk->passed, walk->passed_len,
                            sizeof(*walk->passed), by_sector);
        if (!table || table->used)
            return vmdk_damaged(
                err, "entry %" PRIu32 " of the grain directory names sector %" PRIu32 ", where %s",
                t, vmdk->directory[t],
                table ? "another entry has its table" : "no grain table begins");
        table->used = true;
        used++;
        vmdk->prints[t] = table->print;
        if (table->farthest.sector > vmdk->farthest.sector)
            vmdk->farthest = (struct vmdk_place){ table->farthest.sector,
                                                  t * VMDK_TABLE_ENTRIES + table->farthest.grain };
    }
    if (used < walk->passed_len)
        return vmdk_damaged(err,
                            "the file holds %zu grain tables, but the directory names only %zu",
                            walk->passed_len, used);
    return 0;
}

int vmdk_prove(struct vmdk_walk *walk, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    int r = 0;

    if (vmdk->footer && !walk->footer)
        return vmdk_damaged(err, "the image ends without a footer: it is truncated");
    if (!vmdk_tables_in_front(vmdk)) {
        if (!walk->directory)
            return vmdk_damaged(err, "the image ends without a grain directory: it is truncated");
        if (vmdk->header.directory != VMDK_AT_END && vmdk->header.directory != walk->directory)
            return vmdk_damaged(err,
                                "the header says the grain directory is at sector %" PRIu64
                                ", but it is at sector %" PRIu64,
                                vmdk->header.directory, walk->directory);
        r = collect_prints(walk, err);
    }
    if (r == 0 && (uint64_t)vmdk->farthest.sector * VMDK_SECTOR >= walk->at)
        r = vmdk_damaged(err,
                         "the grain table says grain %" PRIu32 " is at sector %" PRIu32
                         ", but the file ends at byte %" PRIu64
                         ": it is truncated or its table damaged",
                         vmdk->farthest.grain, vmdk->farthest.sector, walk->at);
    for (uint32_t t = 0; r == 0 && t < vmdk->tables; t++)
        if (vmdk->prints[t] != walk->prints[t])
            r = table_disagrees(walk, t, err);
    if (r < 0)
        return r;
    vmdk->allocated = walk->grains;
    vmdk->proven = true;
    return 0;
}
