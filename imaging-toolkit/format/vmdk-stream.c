/* vmdk-stream - stream-optimized images: "Stream-Optimized Compressed Sparse Extents".
 *
 * Behind the overhead stand grains, each a marker (its place on the disk, its length) and a zlib
 * stream, padded to whole sectors.  The tables are either in front (qemu-img) or come between and
 * behind the grains with markers of their own, then a footer that repeats the header, then an
 * end-of-stream marker (VMware, VirtualBox).
 *
 * The walk goes from marker to marker, so that every sector of the file is looked at as one thing
 * only.  It proves: no grain twice (one bit a grain); the tables say what was walked
 * (fingerprints); every table belongs to the directory; footer and header agree; nothing is missing
 * or left over. A disk that is to be read at random is walked once without a sink. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

/* Markers of other things have 0 for the length, and a type. */
enum {
    MARKER_END = 0,
    MARKER_TABLE = 1,
    MARKER_DIRECTORY = 2,
    MARKER_FOOTER = 3,
};

/* A grain table that went by. */
struct passed {
    uint32_t sector;
    bool used; /* by the directory */
    uint64_t print;
};

/* A walk under way. */
struct walk {
    struct vmdk *vmdk;
    struct im_sink *sink; /* NULL: only prove */
    uint64_t at;          /* byte offset of the next marker */
    uint8_t *seen;        /* a bit for every grain that went by */
    uint64_t *prints;     /* fingerprints of what went by, for every table */
    uint64_t grains;      /* that went by */
    struct passed *passed;
    size_t passed_len, passed_size;
    uint64_t directory; /* sector of the directory that went by, 0: none yet */
    bool footer;        /* went by */
};

/* Hand a grain to the sink; only a partial one is inflated here, since its length is not known. */
static int give(struct walk *walk, const uint8_t *zlib, uint32_t len, uint32_t grain,
                struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    struct im_sink *sink = walk->sink;
    uint64_t offset = grain * vmdk_grain_bytes(vmdk);
    uint64_t origin = walk->at + VMDK_MARKER_LEN;
    uint32_t sectors = vmdk_grain_sectors(vmdk, grain);
    int r;

    if (!sink)
        return 0;
    if (sectors == vmdk->header.grain)
        return sink->deflated(sink, zlib, len, (size_t)vmdk_grain_bytes(vmdk), offset, origin, err);
    r = vmdk_inflate(vmdk, zlib, len, grain, origin, err);
    return r < 0 ? r : sink->data(sink, vmdk->plain, (size_t)sectors * VMDK_SECTOR, offset, err);
}

static int on_grain(struct walk *walk, uint64_t lba, uint32_t len, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    uint64_t whole = im_round_up(VMDK_MARKER_LEN + (uint64_t)len, VMDK_SECTOR);
    const uint8_t *p;
    uint32_t grain;
    int r = vmdk_check_marker(vmdk, lba, len, walk->at, err);

    if (r < 0)
        return r;
    grain = (uint32_t)(lba / vmdk->header.grain);
    if (walk->directory || walk->at / VMDK_SECTOR > UINT32_MAX)
        return vmdk_damaged(err, "grain %" PRIu32 " at byte %" PRIu64 " comes after the %s", grain,
                            walk->at,
                            walk->directory ? "grain directory" : "last sector a table can name");
    if (walk->seen[grain / 8] & 1u << grain % 8)
        return vmdk_damaged(err, "grain %" PRIu32 " is in the file twice, again at byte %" PRIu64,
                            grain, walk->at);
    r = im_window_get(&vmdk->window, walk->at, (size_t)whole, &p, err);
    if (r == 0)
        r = give(walk, p + VMDK_MARKER_LEN, len, grain, err);
    if (r < 0)
        return r;
    walk->seen[grain / 8] |= (uint8_t)(1u << grain % 8);
    walk->prints[grain / VMDK_TABLE_ENTRIES] +=
        vmdk_print(vmdk, grain % VMDK_TABLE_ENTRIES, (uint32_t)(walk->at / VMDK_SECTOR));
    walk->grains++;
    walk->at += whole;
    return 0;
}

/* A marker other than a grain's: is it allowed here, and does it announce what it must? */
static int check_special(const struct walk *walk, const char *what, uint64_t sectors,
                         uint64_t wanted, struct im_error *err)
{
    if (vmdk_tables_in_front(walk->vmdk))
        return vmdk_damaged(err,
                            "the marker at byte %" PRIu64
                            " announces a %s, but this image has its tables in front",
                            walk->at, what);
    if (sectors != wanted)
        return vmdk_damaged(err,
                            "the marker at byte %" PRIu64 " announces a %s of %" PRIu64
                            " sectors; it must have %" PRIu64,
                            walk->at, what, sectors, wanted);
    return 0;
}

static int on_table(struct walk *walk, uint64_t sectors, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    const uint8_t *p;
    int r = check_special(walk, "grain table", sectors, VMDK_TABLE_SECTORS, err);

    if (r == 0)
        r = im_window_get(&vmdk->window, walk->at + VMDK_SECTOR, VMDK_TABLE_BYTES, &p, err);
    if (r < 0)
        return r;
    if (walk->directory || walk->passed_len == vmdk->tables ||
        walk->at / VMDK_SECTOR + 1 > UINT32_MAX)
        return vmdk_damaged(err,
                            "the grain table at byte %" PRIu64
                            " is one too many: the disk has %" PRIu32
                            ", and the directory comes last",
                            walk->at, vmdk->tables);
    if (walk->passed_len == walk->passed_size) {
        size_t size = walk->passed_size ? 2 * walk->passed_size : 64;
        struct passed *grown = reallocarray(walk->passed, size, sizeof(*grown));

        if (!grown)
            return im_fail(err, ENOMEM, "out of memory");
        walk->passed = grown;
        walk->passed_size = size;
    }
    walk->passed[walk->passed_len++] = (struct passed){
        .sector = (uint32_t)(walk->at / VMDK_SECTOR + 1),
        .print = vmdk_print_table(vmdk, p),
    };
    walk->at += VMDK_SECTOR + VMDK_TABLE_BYTES;
    return 0;
}

static int on_directory(struct walk *walk, uint64_t sectors, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    uint64_t wanted = vmdk_directory_sectors(vmdk);
    uint32_t *directory;
    int r = check_special(walk, "grain directory", sectors, wanted, err);

    if (r < 0)
        return r;
    if (walk->directory)
        return vmdk_damaged(err, "there is a second grain directory at byte %" PRIu64, walk->at);
    walk->directory = walk->at / VMDK_SECTOR + 1;
    directory = reallocarray(vmdk->directory, vmdk->tables, sizeof(*directory));
    if (!directory)
        return im_fail(err, ENOMEM, "out of memory");
    vmdk->directory = directory;
    r = im_window_read(&vmdk->window, directory, (size_t)vmdk->tables * 4, walk->at + VMDK_SECTOR,
                       err);
    for (uint32_t t = 0; t < vmdk->tables; t++)
        directory[t] = le32toh(directory[t]);
    walk->at += VMDK_SECTOR + wanted * VMDK_SECTOR;
    return r;
}

/* The footer repeats the header but for the places of the directories (the redundant one is never
 * used in this layout).  `at` is where it stands. */
static int check_footer(const struct vmdk *vmdk, const uint8_t *footer, uint64_t at,
                        struct im_error *err)
{
    const uint8_t *header = vmdk->header.raw;

    for (size_t i = 0; i < VMDK_SECTOR; i++) {
        if ((i >= 48 && i < 64) || header[i] == footer[i])
            continue;
        i -= i % 4;
        return im_fail_code(err, EBADMSG, "FootersNotIdentical",
                            "the VMDK footer at byte %" PRIu64
                            " is not the header: its byte %zu has 0x%08" PRIx32
                            " where the header has 0x%08" PRIx32 "; export the disk again",
                            at, i, im_le32(footer + i), im_le32(header + i));
    }
    return 0;
}

static int on_footer(struct walk *walk, uint64_t sectors, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    const uint8_t *p;
    int r = check_special(walk, "footer", sectors, 1, err);

    if (r == 0)
        r = im_window_get(&vmdk->window, walk->at + VMDK_SECTOR, VMDK_SECTOR, &p, err);
    if (r == 0)
        r = check_footer(vmdk, p, walk->at + VMDK_SECTOR, err);
    if (r < 0)
        return r;
    if (walk->footer || im_le64(p + 56) != walk->directory)
        return vmdk_damaged(err,
                            "the VMDK footer at byte %" PRIu64
                            " says the grain directory is at sector %" PRIu64
                            ", but it is at sector %" PRIu64,
                            walk->at + VMDK_SECTOR, im_le64(p + 56), walk->directory);
    walk->footer = true;
    walk->at += 2 * VMDK_SECTOR;
    return 0;
}

/* The end-of-stream marker is a sector of zeros; so is everything behind it. */
static int on_end(struct walk *walk, struct im_error *err)
{
    struct im_window *window = &walk->vmdk->window;
    uint64_t size = window->source->size;

    for (;;) {
        const uint8_t *p;
        uint64_t hole;
        size_t got;
        int r = im_window_hole(window, walk->at, size - walk->at, &hole, err);

        walk->at += hole;
        if (r == 0)
            r = im_window_peek(window, walk->at, IM_WINDOW_SIZE, &p, &got, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < got; i++)
            if (p[i])
                return vmdk_damaged(
                    err, "there is more data at byte %" PRIu64 ", behind the end-of-stream marker",
                    walk->at + i);
        if (got == 0)
            return 0;
        walk->at += got;
    }
}

/* Look at the next marker and at what it announces; 1 at the end of the image. */
static int step(struct walk *walk, struct im_error *err)
{
    const uint8_t *p;
    uint64_t value;
    uint32_t len;
    size_t got;
    int r = im_window_peek(&walk->vmdk->window, walk->at, VMDK_SECTOR, &p, &got, err);

    if (r < 0)
        return r;
    if (got == 0 && vmdk_tables_in_front(walk->vmdk))
        return 1; /* qemu-img writes no end-of-stream marker; the tables know whether all is here */
    if (got < VMDK_SECTOR)
        return vmdk_damaged(err,
                            "the file ends at byte %" PRIu64
                            ", without an end-of-stream marker: it is truncated",
                            walk->at + got);
    value = im_le64(p);
    len = im_le32(p + 8);
    if (len > 0)
        return on_grain(walk, value, len, err);
    switch (im_le32(p + VMDK_MARKER_LEN)) {
    case MARKER_END:
        r = on_end(walk, err);
        return r < 0 ? r : 1;
    case MARKER_TABLE:
        return on_table(walk, value, err);
    case MARKER_DIRECTORY:
        return on_directory(walk, value, err);
    case MARKER_FOOTER:
        return on_footer(walk, value, err);
    default:
        return vmdk_damaged(err, "the marker at byte %" PRIu64 " is of unknown type %" PRIu32,
                            walk->at, im_le32(p + VMDK_MARKER_LEN));
    }
}

/* One entry of a table that disagrees: is it this one?  `entry` is its sector, 0: none. */
static int blame(const struct walk *walk, uint32_t grain, uint32_t entry, struct im_error *err)
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
static int table_disagrees(const struct walk *walk, uint32_t table, struct im_error *err)
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
    uint32_t y = ((const struct passed *)item)->sector;

    return (x > y) - (x < y);
}

/* The directory that went by names every table that went by, once: take their fingerprints. */
static int collect_prints(struct walk *walk, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    size_t used = 0;

    for (uint32_t t = 0; t < vmdk->tables; t++) {
        struct passed *table = NULL;

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
    }
    if (used < walk->passed_len)
        return vmdk_damaged(err,
                            "the file holds %zu grain tables, but the directory names only %zu",
                            walk->passed_len, used);
    return 0;
}

static int prove(struct walk *walk, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    int r = 0;

    if (!vmdk_tables_in_front(vmdk)) {
        if (!walk->directory || (vmdk->header.directory == VMDK_AT_END && !walk->footer))
            return vmdk_damaged(err, "the image ends without a %s: it is truncated",
                                walk->directory ? "footer" : "grain directory");
        if (vmdk->header.directory != VMDK_AT_END && vmdk->header.directory != walk->directory)
            return vmdk_damaged(err,
                                "the header says the grain directory is at sector %" PRIu64
                                ", but it is at sector %" PRIu64,
                                vmdk->header.directory, walk->directory);
        r = collect_prints(walk, err);
    }
    for (uint32_t t = 0; r == 0 && t < vmdk->tables; t++)
        if (vmdk->prints[t] != walk->prints[t])
            r = table_disagrees(walk, t, err);
    if (r < 0)
        return r;
    vmdk->allocated = walk->grains;
    vmdk->proven = true;
    return 0;
}

/* Walk, with a sink or without. */
static int walk_stream(struct vmdk *vmdk, struct im_sink *sink, struct im_error *err)
{
    uint8_t *seen IM_FREE
    = calloc((size_t)vmdk->grains / 8 + 1, 1);
    uint64_t *prints IM_FREE
    = calloc(vmdk->tables, sizeof(*prints));
    struct walk walk = {
        .vmdk = vmdk,
        .sink = sink,
        .at = vmdk->header.overhead * VMDK_SECTOR,
        .seen = seen,
        .prints = prints,
    };
    const uint8_t *p;
    int r;

    if (!seen || !prints)
        return im_fail(err, ENOMEM, "out of memory");
    /* the file must reach to where the grains begin, also when there are none */
    r = im_window_get(&vmdk->window, walk.at - 1, 1, &p, err);
    while (r == 0) {
        r = step(&walk, err);
        if (r == 0 && sink)
            sink->progress(sink, walk.at, vmdk->disk.source->size);
    }
    if (r == 1)
        r = prove(&walk, err);
    free(walk.passed);
    return r;
}

/* Before anything is given at random, all of the file must be proven. */
static int need_proof(struct vmdk *vmdk, struct im_error *err)
{
    if (vmdk->proven)
        return 0;
    if (vmdk->disk.source->sequential)
        return vmdk_unsupported(err, "a stream-optimized VMDK from a pipe can only be converted "
                                     "forwards; give it as a file");
    return walk_stream(vmdk, NULL, err);
}

static int stream_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                       struct im_error *err)
{
    struct vmdk *vmdk = (struct vmdk *)disk;
    uint8_t *out = buf;
    int r = need_proof(vmdk, err);

    while (r == 0 && len > 0) {
        uint32_t grain = (uint32_t)(offset / vmdk_grain_bytes(vmdk));
        uint64_t within = offset % vmdk_grain_bytes(vmdk);
        size_t some = (size_t)im_min(len, vmdk_grain_bytes(vmdk) - within);
        uint32_t sector;

        r = vmdk_find(vmdk, grain, &sector, err);
        if (r == 0 && sector)
            r = vmdk_load_grain(vmdk, grain, sector, err);
        if (r == 0 && sector)
            memcpy(out, vmdk->plain + within, some);
        else
            memset(out, 0, some);
        out += some;
        offset += some;
        len -= some;
    }
    return r;
}

static int stream_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                      struct im_error *err)
{
    struct vmdk *vmdk = (struct vmdk *)disk;
    int r = need_proof(vmdk, err);

    return r < 0 ? r : vmdk_map(vmdk, offset, len, ret, err);
}

static int stream_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    return walk_stream((struct vmdk *)disk, sink, err);
}

/* A cut-off upload is told at once, not after all of it has been read: the end-of-stream marker (or
 * the padding behind it) is zeros, and the footer stands before the marker. */
static int look_at_the_end(const struct vmdk *vmdk, struct im_error *err)
{
    static const uint8_t zeros[VMDK_SECTOR];
    uint8_t tail[2 * VMDK_SECTOR];
    struct im_source *source = vmdk->disk.source;
    uint64_t at = source->size - sizeof(tail);
    int r = im_source_read(source, tail, sizeof(tail), at, err);

    if (r < 0)
        return r;
    if (source->size % VMDK_SECTOR != 0 || memcmp(tail + VMDK_SECTOR, zeros, VMDK_SECTOR) != 0)
        return vmdk_damaged(err,
                            "the file ends at byte %" PRIu64
                            " without an end-of-stream marker: it is truncated",
                            source->size);
    if (memcmp(tail, "KDMV", 4) == 0)
        return check_footer(vmdk, tail, at, err);
    return 0;
}

int vmdk_stream_open(struct vmdk *vmdk, struct im_error *err)
{
    int r;

    vmdk->plain_grain = UINT32_MAX;
    if (!vmdk_tables_in_front(vmdk)) {
        vmdk->prints = calloc(vmdk->tables, sizeof(*vmdk->prints));
        if (!vmdk->prints)
            return im_fail(err, ENOMEM, "out of memory");
        return vmdk->disk.source->sequential ? 0 : look_at_the_end(vmdk, err);
    }
    r = vmdk_load_tables(vmdk, err);
    if (r == 0 && vmdk->claims[vmdk->claims_len - 1].end > vmdk->header.overhead)
        r = vmdk_damaged(err,
                         "the %s reach to sector %" PRIu64 ", but the grains begin at %" PRIu64,
                         vmdk->claims[vmdk->claims_len - 1].what,
                         vmdk->claims[vmdk->claims_len - 1].end, vmdk->header.overhead);
    return r;
}

const struct im_disk_ops vmdk_stream_ops = {
    .name = "vmdk-stream",
    .read = stream_read,
    .map = stream_map,
    .walk = stream_walk,
    .describe = vmdk_describe,
    .close = vmdk_close,
};
