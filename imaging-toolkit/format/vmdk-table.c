/* vmdk-table - grain directory and grain tables: "Grain Directory", "Grain Table".
 *
 * Tables are never kept: a disk of 1 TiB has 64 MiB of them.  What stays is the directory and one
 * fingerprint a table (12 bytes per 32 MiB of disk with grains of 64 KiB). */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

int vmdk_claim(struct vmdk *vmdk, uint64_t start, uint64_t sectors, const char *what,
               struct im_error *err)
{
    struct vmdk_claim *last = vmdk->claims_len ? &vmdk->claims[vmdk->claims_len - 1] : NULL;
    uint64_t end;

    if (__builtin_add_overflow(start, sectors, &end) || end > vmdk->file_sectors)
        return vmdk_damaged(err,
                            "the %s at sector %" PRIu64 " with %" PRIu64
                            " sectors does not lie inside the file",
                            what, start, sectors);
    if (last && last->what == what && last->end == start) {
        last->end = end;
        return 0;
    }
    if (vmdk->claims_len == vmdk->claims_size) {
        size_t size = vmdk->claims_size ? 2 * vmdk->claims_size : 16;
        struct vmdk_claim *grown = reallocarray(vmdk->claims, size, sizeof(*grown));

        if (!grown)
            return im_fail(err, ENOMEM, "out of memory");
        vmdk->claims = grown;
        vmdk->claims_size = size;
    }
    vmdk->claims[vmdk->claims_len++] = (struct vmdk_claim){ start, end, what };
    return 0;
}

static int by_start(const void *a, const void *b)
{
    const struct vmdk_claim *x = a;
    const struct vmdk_claim *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

int vmdk_check_claims(struct vmdk *vmdk, struct im_error *err)
{
    qsort(vmdk->claims, vmdk->claims_len, sizeof(*vmdk->claims), by_start);
    for (size_t i = 1; i < vmdk->claims_len; i++) {
        const struct vmdk_claim *a = &vmdk->claims[i - 1];
        const struct vmdk_claim *b = &vmdk->claims[i];

        if (b->start < a->end)
            return vmdk_damaged(err,
                                "the %s at sector %" PRIu64 " lies on the %s at sectors %" PRIu64
                                " to %" PRIu64,
                                b->what, b->start, a->what, a->start, a->end - 1);
    }
    return 0;
}

uint32_t vmdk_entry(const struct vmdk *vmdk, const uint8_t *entries, unsigned i)
{
    uint32_t sector = im_le32(entries + (size_t)i * 4);

    return sector == 1 && vmdk->header.flags & VMDK_FLAG_ZEROED ? 0 : sector;
}

uint64_t vmdk_print(const struct vmdk *vmdk, uint32_t index, uint32_t sector)
{
    uint64_t x = ((uint64_t)index << 32 | sector) ^ vmdk->key[0];

    x *= vmdk->key[1]; /* odd */
    x ^= x >> 32;
    x *= UINT64_C(0x9fb21c651e98df25);
    x ^= x >> 29;
    x *= vmdk->key[1];
    x ^= x >> 32;
    return x;
}

uint64_t vmdk_print_table(const struct vmdk *vmdk, const uint8_t *entries)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < VMDK_TABLE_ENTRIES; i++) {
        uint32_t sector = vmdk_entry(vmdk, entries, i);

        if (sector)
            sum += vmdk_print(vmdk, i, sector);
    }
    return sum;
}

void vmdk_note_farthest(const struct vmdk *vmdk, const uint8_t *entries, uint32_t first,
                        struct vmdk_place *farthest)
{
    for (unsigned i = 0; i < VMDK_TABLE_ENTRIES; i++) {
        uint32_t sector = vmdk_entry(vmdk, entries, i);

        if (sector > farthest->sector)
            *farthest = (struct vmdk_place){ sector, first + i };
    }
}

static int by_sector(const void *a, const void *b, void *arg)
{
    const uint32_t *directory = arg;
    uint32_t x = directory[*(const uint32_t *)a];
    uint32_t y = directory[*(const uint32_t *)b];

    return (x > y) - (x < y);
}

/* The tables that exist, by their place in the file. */
static uint32_t *sort_tables(const struct vmdk *vmdk, const uint32_t *directory, uint32_t *ret_n)
{
    uint32_t *order = calloc(vmdk->tables, sizeof(*order));
    bool sorted = true;
    uint32_t n = 0;

    if (!order)
        return NULL;
    for (uint32_t t = 0; t < vmdk->tables; t++) {
        if (directory[t] == 0)
            continue;
        sorted = sorted && (n == 0 || directory[order[n - 1]] < directory[t]);
        order[n++] = t;
    }
    if (!sorted)
        qsort_r(order, n, sizeof(*order), by_sector, (void *)(uintptr_t)directory);
    *ret_n = n;
    return order;
}

/* A grain behind the disk's end would be data that nobody sees. */
static int check_last_table(const struct vmdk *vmdk, uint32_t table, const uint8_t *entries,
                            struct im_error *err)
{
    if (table < vmdk->tables - 1)
        return 0;
    for (unsigned i = (vmdk->grains - 1) % VMDK_TABLE_ENTRIES + 1; i < VMDK_TABLE_ENTRIES; i++)
        if (vmdk_entry(vmdk, entries, i))
            return vmdk_damaged(err,
                                "grain table %" PRIu32 " has an entry for grain %" PRIu64
                                ", but the disk has only %" PRIu32 " grains",
                                table, (uint64_t)table * VMDK_TABLE_ENTRIES + i, vmdk->grains);
    return 0;
}

int vmdk_scan(struct vmdk *vmdk, const uint32_t *directory, vmdk_table_fn fn, struct im_error *err)
{
    uint32_t n = 0;
    uint32_t *order IM_FREE = sort_tables(vmdk, directory, &n);

    if (!order)
        return im_fail(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = (uint64_t)directory[order[i]] * VMDK_SECTOR;
        const uint8_t *entries;
        uint64_t hole;
        int r = im_window_hole(&vmdk->window, at, VMDK_TABLE_BYTES, &hole, err);

        if (r == 0 && hole == VMDK_TABLE_BYTES)
            continue;
        if (r == 0)
            r = im_window_get(&vmdk->window, at, VMDK_TABLE_BYTES, &entries, err);
        if (r == 0)
            r = check_last_table(vmdk, order[i], entries, err);
        if (r == 0)
            r = fn(vmdk, order[i], entries, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Read a directory and claim its sectors and those of its tables. */
static int load_directory(struct vmdk *vmdk, uint64_t sector, const char *what,
                          const char *tables_what, uint32_t **ret_directory, struct im_error *err)
{
    uint32_t *directory IM_FREE = NULL;
    uint32_t *order IM_FREE = NULL;
    uint32_t n = 0;
    int r = vmdk_claim(vmdk, sector, vmdk_directory_sectors(vmdk), what, err);

    if (r < 0)
        return r;
    directory = calloc(vmdk->tables, sizeof(*directory));
    if (!directory)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_window_read(&vmdk->window, directory, (size_t)vmdk->tables * 4, sector * VMDK_SECTOR,
                       err);
    for (uint32_t t = 0; t < vmdk->tables; t++)
        directory[t] = le32toh(directory[t]);
    order = sort_tables(vmdk, directory, &n);
    if (!order)
        return im_fail(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = vmdk_claim(vmdk, directory[order[i]], VMDK_TABLE_SECTORS, tables_what, err);
    if (r == 0)
        *ret_directory = im_steal(directory);
    return r;
}

static int note_copy(struct vmdk *vmdk, uint32_t table, const uint8_t *entries,
                     struct im_error *err)
{
    (void)err;
    vmdk->prints[table] = vmdk_print_table(vmdk, entries);
    return 0;
}

static int note_primary(struct vmdk *vmdk, uint32_t table, const uint8_t *entries,
                        struct im_error *err)
{
    vmdk->prints[table] = vmdk_print_table(vmdk, entries);
    for (unsigned i = 0; i < VMDK_TABLE_ENTRIES; i++)
        vmdk->allocated += vmdk_entry(vmdk, entries, i) != 0;
    vmdk_note_farthest(vmdk, entries, table * VMDK_TABLE_ENTRIES, &vmdk->farthest);
    return vmdk_is_stream(vmdk) ? 0 : vmdk_sparse_collect(vmdk, table, entries, err);
}

/* Take the fingerprints of all tables of one directory. */
static int scan_prints(struct vmdk *vmdk, const uint32_t *directory, vmdk_table_fn note,
                       uint64_t **ret_prints, struct im_error *err)
{
    int r;

    vmdk->prints = calloc(vmdk->tables, sizeof(*vmdk->prints));
    if (!vmdk->prints)
        return im_fail(err, ENOMEM, "out of memory");
    r = vmdk_scan(vmdk, directory, note, err);
    *ret_prints = im_steal(vmdk->prints);
    return r;
}

static int compare_prints(const uint64_t *primary, const uint64_t *redundant, uint32_t tables,
                          struct im_error *err)
{
    for (uint32_t t = 0; t < tables; t++)
        if (primary[t] != redundant[t])
            return vmdk_damaged(err,
                                "grain table %" PRIu32 " (grains %" PRIu64 " to %" PRIu64
                                ") and its redundant copy disagree",
                                t, (uint64_t)t * VMDK_TABLE_ENTRIES,
                                (uint64_t)t * VMDK_TABLE_ENTRIES + VMDK_TABLE_ENTRIES - 1);
    return 0;
}

static int load_redundant(struct vmdk *vmdk, uint64_t **ret_prints, struct im_error *err)
{
    uint32_t *directory IM_FREE = NULL;
    int r = load_directory(vmdk, vmdk->header.redundant, "redundant grain directory",
                           "redundant grain tables", &directory, err);

    return r < 0 ? r : scan_prints(vmdk, directory, note_copy, ret_prints, err);
}

static int load_primary(struct vmdk *vmdk, uint64_t **ret_prints, struct im_error *err)
{
    int r = load_directory(vmdk, vmdk->header.directory, "grain directory", "grain tables",
                           &vmdk->directory, err);

    return r < 0 ? r : scan_prints(vmdk, vmdk->directory, note_primary, ret_prints, err);
}

int vmdk_load_tables(struct vmdk *vmdk, struct im_error *err)
{
    bool redundant = vmdk->header.flags & VMDK_FLAG_REDUNDANT;
    bool before = vmdk->header.redundant < vmdk->header.directory;
    uint64_t *copy IM_FREE = NULL;
    uint64_t *prints IM_FREE = NULL;
    int r = 0;

    /* the one that comes first in the file first: a pipe gives them in that order */
    if (redundant && before)
        r = load_redundant(vmdk, &copy, err);
    if (r == 0)
        r = load_primary(vmdk, &prints, err);
    if (r == 0 && redundant && !before)
        r = load_redundant(vmdk, &copy, err);
    if (r == 0)
        r = vmdk_check_claims(vmdk, err);
    if (r == 0 && redundant)
        r = compare_prints(prints, copy, vmdk->tables, err);
    vmdk->prints = im_steal(prints);
    return r;
}

int vmdk_find(struct vmdk *vmdk, uint32_t grain, uint32_t *ret_sector, struct im_error *err)
{
    uint32_t table = grain / VMDK_TABLE_ENTRIES;

    *ret_sector = 0;
    if (vmdk->directory[table] == 0 || vmdk->prints[table] == 0)
        return 0;
    if (vmdk->cached_table != table) {
        int r;

        vmdk->cached_table = UINT32_MAX;
        r = im_source_read(vmdk->disk.source, vmdk->cached, VMDK_TABLE_BYTES,
                           (uint64_t)vmdk->directory[table] * VMDK_SECTOR, err);
        if (r < 0)
            return r;
        vmdk->cached_table = table;
    }
    *ret_sector = vmdk_entry(vmdk, vmdk->cached, grain % VMDK_TABLE_ENTRIES);
    return 0;
}

int vmdk_map(struct vmdk *vmdk, uint64_t offset, uint64_t len, struct im_extent *ret,
             struct im_error *err)
{
    uint64_t grain_bytes = vmdk_grain_bytes(vmdk);
    uint64_t end = offset + len;
    uint64_t grain = offset / grain_bytes;
    uint32_t sector;
    int r = vmdk_find(vmdk, (uint32_t)grain, &sector, err);
    bool zero = sector == 0;

    while (r == 0 && ++grain * grain_bytes < end) {
        uint64_t table = grain / VMDK_TABLE_ENTRIES;

        if (zero && vmdk->prints[table] == 0) {
            grain = (table + 1) * VMDK_TABLE_ENTRIES - 1; /* nothing in this table */
            continue;
        }
        r = vmdk_find(vmdk, (uint32_t)grain, &sector, err);
        if ((sector == 0) != zero)
            break;
    }
    *ret = (struct im_extent){
        .offset = offset,
        .len = im_min(grain * grain_bytes, end) - offset,
        .zero = zero,
    };
    return r;
}
