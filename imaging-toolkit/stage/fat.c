/* fat - write FAT32; see fat.h.  Microsoft FAT32 File System Specification 1.03. */

#include <config.h>

#include "stage/fat.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define SECTOR   512u
#define RESERVED 32u /* sectors in front of the tables */
#define BACKUP   6u  /* sector of the boot sector's copy */
#define ENTRY    32u /* bytes of an entry of a directory */
#define MIB      (UINT64_C(1) << 20)

/* FAT32 is what has at least 65525 clusters: 33 MiB of one sector each. */
#define BYTES_MIN (33 * MIB)
/* Clusters have eight sectors in large ones, which have room for enough of them.  Files of so many
 * bytes make it large: those of fewer never do. */
#define LARGE         (304 * MIB)
#define LARGE_CONTENT (256 * MIB)

/* Clusters of the three directories; files follow. */
enum { ROOT = 2, EFI, EFI_BOOT, FIRST_FILE };

#define IS_VOLUME_LABEL 0x08u
#define IS_DIRECTORY    0x10u
#define IS_ARCHIVE      0x20u
/* 1 January 1980: as early as FAT can say */
#define DATE      0x0021u
#define END_CHAIN 0x0fffffffu

struct geometry {
    uint32_t sectors, cluster; /* of the whole; sectors of a cluster */
    uint32_t table;            /* sectors of one table */
    uint32_t clusters;
};

static void put16(uint8_t *p, uint32_t value)
{
    uint16_t le = htole16((uint16_t)value);

    memcpy(p, &le, sizeof(le));
}

static void put32(uint8_t *p, uint32_t value)
{
    uint32_t le = htole32(value);

    memcpy(p, &le, sizeof(le));
}

static uint64_t content_of(const struct fat_file *file, unsigned count)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < count; i++)
        bytes += file[i].len;
    return bytes;
}

static uint32_t clusters_of(uint64_t len, uint32_t cluster)
{
    return (uint32_t)((len + (uint64_t)cluster * SECTOR - 1) / ((uint64_t)cluster * SECTOR));
}

static uint32_t cluster_for(uint64_t bytes)
{
    return bytes < LARGE ? 1 : 8;
}

uint64_t fat_bytes(const struct fat_file *file, unsigned count)
{
    uint64_t content = content_of(file, count);
    uint64_t least = content < LARGE_CONTENT ? BYTES_MIN : LARGE;
    uint64_t cluster = (uint64_t)cluster_for(least) * SECTOR;
    /* each file's last cluster and the directories; and 4 bytes for a cluster in both tables */
    uint64_t clusters = content / cluster + count + FIRST_FILE;
    uint64_t bytes = RESERVED * SECTOR + clusters * (cluster + 8) + 2 * SECTOR;

    bytes = im_round_up(bytes + bytes / 128, MIB);
    return bytes < least ? least : bytes;
}

/* The tables are as the specification computes them: never too small, and a little too large. */
static struct geometry geometry_of(uint64_t bytes)
{
    struct geometry geometry = { .sectors = (uint32_t)(bytes / SECTOR),
                                 .cluster = cluster_for(bytes) };
    uint32_t per_sector = (256 * geometry.cluster + 2) / 2;

    geometry.table = (geometry.sectors - RESERVED + per_sector - 1) / per_sector;
    geometry.clusters = (geometry.sectors - RESERVED - 2 * geometry.table) / geometry.cluster;
    return geometry;
}

static void fill_boot_sector(uint8_t *p, const struct geometry *geometry, uint64_t offset,
                             uint32_t serial)
{
    memcpy(p,
           "\xeb\x58\x90"
           "IMAGING ",
           11);
    put16(p + 11, SECTOR);
    p[13] = (uint8_t)geometry->cluster;
    put16(p + 14, RESERVED);
    p[16] = 2;    /* tables */
    p[21] = 0xf8; /* a fixed disk */
    put16(p + 24, 63);
    put16(p + 26, 255);
    put32(p + 28, (uint32_t)(offset / SECTOR));
    put32(p + 32, geometry->sectors);
    put32(p + 36, geometry->table);
    put32(p + 44, ROOT);
    put16(p + 48, 1); /* sector of the counts */
    put16(p + 50, BACKUP);
    p[64] = 0x80;
    p[66] = 0x29; /* serial, label and type follow */
    put32(p + 67, serial);
    memcpy(p + 71, "BOOT       FAT32   ", 19);
    memcpy(p + 90, "\xeb\xfe", 2); /* who starts it stays here */
    put16(p + 510, 0xaa55);
}

static void fill_counts(uint8_t *p, uint32_t free_clusters, uint32_t next)
{
    put32(p, 0x41615252);
    put32(p + 484, 0x61417272);
    put32(p + 488, free_clusters);
    put32(p + 492, next);
    put32(p + 508, 0xaa550000);
}

static void fill_entry(uint8_t *p, const char *name, unsigned attributes, uint32_t cluster,
                       uint64_t len)
{
    memcpy(p, name, 11);
    p[11] = (uint8_t)attributes;
    put16(p + 16, DATE);
    put16(p + 18, DATE);
    put16(p + 20, cluster >> 16);
    put16(p + 24, DATE);
    put16(p + 26, cluster & 0xffff);
    put32(p + 28, (uint32_t)len);
}

/* . and .. of a directory; the root is called 0 there. */
static void fill_dots(uint8_t *p, uint32_t own, uint32_t parent)
{
    fill_entry(p, ".          ", IS_DIRECTORY, own, 0);
    fill_entry(p + ENTRY, "..         ", IS_DIRECTORY, parent == ROOT ? 0 : parent, 0);
}

static void chain(uint8_t *table, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put32(table + (size_t)(first + i) * 4, i + 1 < count ? first + i + 1 : END_CHAIN);
}

/* The three directories, the files' chains and places; the first cluster that is free. */
static uint32_t fill_files(struct fat *fat, const struct geometry *geometry, struct fat_file *file,
                           unsigned count)
{
    size_t cluster = (size_t)geometry->cluster * SECTOR;
    uint8_t *root = fat->directories, *efi = root + cluster, *boot = efi + cluster;
    uint8_t *in_root = root + 2 * ENTRY, *in_boot = boot + 2 * ENTRY;
    uint32_t next = FIRST_FILE;

    fill_entry(root, "BOOT       ", IS_VOLUME_LABEL, 0, 0);
    fill_entry(root + ENTRY, "EFI        ", IS_DIRECTORY, EFI, 0);
    fill_dots(efi, EFI, ROOT);
    fill_entry(efi + 2 * ENTRY, "BOOT       ", IS_DIRECTORY, EFI_BOOT, 0);
    fill_dots(boot, EFI_BOOT, EFI);
    for (unsigned i = 0; i < count; i++) {
        uint8_t **in = file[i].efi ? &in_boot : &in_root;
        uint32_t clusters = clusters_of(file[i].len, geometry->cluster);

        fill_entry(*in, file[i].name, IS_ARCHIVE, next, file[i].len);
        *in += ENTRY;
        chain(fat->table, next, clusters);
        file[i].offset = fat->directories_at + (uint64_t)(next - ROOT) * cluster;
        next += clusters;
    }
    return next;
}

int fat_make(struct fat_file *file, unsigned count, uint64_t bytes, uint64_t offset,
             uint32_t serial, struct fat *ret_fat, struct im_error *err)
{
    struct geometry geometry = geometry_of(bytes);
    struct fat fat FAT_DONE = {
        .reserved_len = RESERVED * SECTOR,
        .table_len = (size_t)geometry.table * SECTOR,
        .table_at = { RESERVED * SECTOR, (uint64_t)(RESERVED + geometry.table) * SECTOR },
        .directories_len = (size_t)(FIRST_FILE - ROOT) * geometry.cluster * SECTOR,
        .directories_at = (RESERVED + 2 * (uint64_t)geometry.table) * SECTOR,
    };
    uint32_t next;

    fat.reserved = calloc(1, fat.reserved_len);
    fat.table = calloc(1, fat.table_len);
    fat.directories = calloc(1, fat.directories_len);
    if (!fat.reserved || !fat.table || !fat.directories)
        return im_fail(err, ENOMEM, "out of memory");
    put32(fat.table, 0x0ffffff8);
    put32(fat.table + 4, END_CHAIN);
    for (uint32_t i = ROOT; i < FIRST_FILE; i++)
        chain(fat.table, i, 1);
    next = fill_files(&fat, &geometry, file, count);
    fill_boot_sector(fat.reserved, &geometry, offset, serial);
    fill_counts(fat.reserved + SECTOR, geometry.clusters - (next - ROOT), next);
    memcpy(fat.reserved + (size_t)BACKUP * SECTOR, fat.reserved, 2 * (size_t)SECTOR);
    *ret_fat = fat;
    memset(&fat, 0, sizeof(fat)); /* handed over */
    return 0;
}

void fat_done(struct fat *fat)
{
    free(fat->reserved);
    free(fat->table);
    free(fat->directories);
    memset(fat, 0, sizeof(*fat));
}

void fat_uuid(uint32_t serial, char ret_text[12])
{
    (void)snprintf(ret_text, 12, "%04X-%04X", serial >> 16, serial & 0xffff);
}
