/* vmdk-walk - from marker to marker through a stream-optimized image.
 *
 * Every sector of the file is looked at as one thing only, and no grain comes twice (one bit a
 * grain).  Whether all of it is what the tables say is vmdk-proof.c's. */

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

/* A grain's marker, or length and type of another. */
#define MARKER_HEAD (VMDK_MARKER_LEN + 4)

/* Hand a grain to the sink; only a partial one is inflated here, since its length is not known. */
static int give(struct vmdk_walk *walk, const uint8_t *zlib, uint32_t len, uint32_t grain,
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

static int on_grain(struct vmdk_walk *walk, uint64_t lba, uint32_t len, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
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
    /* the padding behind the last grain may be missing, as behind an old qemu-img's */
    r = im_window_data(&vmdk->window, walk->at + VMDK_MARKER_LEN, len, &p, err);
    if (r == 0 && p) {
        r = give(walk, p, len, grain, err);
        im_window_gave(&vmdk->window, len);
    }
    if (r < 0)
        return r;
    walk->seen[grain / 8] |= (uint8_t)(1u << grain % 8);
    walk->prints[grain / VMDK_TABLE_ENTRIES] +=
        vmdk_print(vmdk, grain % VMDK_TABLE_ENTRIES, (uint32_t)(walk->at / VMDK_SECTOR));
    walk->grains++;
    walk->at += im_round_up(VMDK_MARKER_LEN + (uint64_t)len, VMDK_SECTOR);
    return 0;
}

/* A marker other than a grain's: is it allowed here, and does it announce what it must? */
static int check_special(const struct vmdk_walk *walk, uint32_t type, uint64_t sectors,
                         uint64_t wanted, struct im_error *err)
{
    static const char *const whats[] = { "end", "grain table", "grain directory", "footer" };
    const char *what = whats[type];

    if (vmdk_tables_in_front(walk->vmdk) && (type != MARKER_FOOTER || !walk->vmdk->footer))
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

static int on_table(struct vmdk_walk *walk, uint64_t sectors, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    const uint8_t *p;
    int r = check_special(walk, MARKER_TABLE, sectors, VMDK_TABLE_SECTORS, err);

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
        struct vmdk_passed *grown = reallocarray(walk->passed, size, sizeof(*grown));

        if (!grown)
            return im_fail(err, ENOMEM, "out of memory");
        walk->passed = grown;
        walk->passed_size = size;
    }
    walk->passed[walk->passed_len] = (struct vmdk_passed){
        .sector = (uint32_t)(walk->at / VMDK_SECTOR + 1),
        .print = vmdk_print_table(vmdk, p),
    };
    vmdk_note_farthest(vmdk, p, 0, &walk->passed[walk->passed_len++].farthest);
    walk->at += VMDK_SECTOR + VMDK_TABLE_BYTES;
    return 0;
}

static int on_directory(struct vmdk_walk *walk, uint64_t sectors, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    uint64_t wanted = vmdk_directory_sectors(vmdk);
    uint32_t *directory;
    int r = check_special(walk, MARKER_DIRECTORY, sectors, wanted, err);

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

static int on_footer(struct vmdk_walk *walk, uint64_t sectors, struct im_error *err)
{
    struct vmdk *vmdk = walk->vmdk;
    uint64_t named, directory;
    const uint8_t *p;
    int r = check_special(walk, MARKER_FOOTER, sectors, 1, err);

    if (r == 0)
        r = im_window_get(&vmdk->window, walk->at + VMDK_SECTOR, VMDK_SECTOR, &p, err);
    if (r == 0)
        r = vmdk_check_footer(vmdk, p, walk->at + VMDK_SECTOR, err);
    if (r < 0)
        return r;
    named = im_le64(p + VMDK_DIRECTORY_AT);
    directory = vmdk_tables_in_front(vmdk) ? vmdk->header.directory : walk->directory;
    if (directory == 0 && named < vmdk->header.overhead && vmdk->disk.source->sequential)
        return vmdk_unsupported(err, "this VMDK has its tables in front, but says so only at its "
                                     "end, so it cannot be read from a pipe; give it as a file");
    if (walk->footer || named != directory)
        return vmdk_damaged(err,
                            "the VMDK footer at byte %" PRIu64
                            " says the grain directory is at sector %" PRIu64
                            ", but it is at sector %" PRIu64,
                            walk->at + VMDK_SECTOR, named, directory);
    walk->footer = true;
    walk->at += 2 * VMDK_SECTOR;
    return 0;
}

/* The end-of-stream marker is a sector of zeros; so is everything behind it. */
static int on_end(struct vmdk_walk *walk, struct im_error *err)
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
        if (got == 0 && walk->at % VMDK_SECTOR != 0 && !vmdk_tables_in_front(walk->vmdk))
            return vmdk_damaged(
                err, "the file ends at byte %" PRIu64 ", within a sector: it is truncated",
                walk->at);
        if (got == 0)
            return 0;
        walk->at += got;
    }
}

/* Look at the next marker and at what it announces; 1 at the end of the image. */
static int step(struct vmdk_walk *walk, struct im_error *err)
{
    const uint8_t *p;
    uint64_t value;
    uint32_t len;
    size_t got;
    int r = im_window_peek(&walk->vmdk->window, walk->at, MARKER_HEAD, &p, &got, err);

    if (r == 0 && got == MARKER_HEAD && im_le32(p + 8) == 0)
        r = im_window_peek(&walk->vmdk->window, walk->at, VMDK_SECTOR, &p, &got, err);
    if (r < 0)
        return r;
    if (got == 0 && vmdk_tables_in_front(walk->vmdk))
        return 1; /* qemu-img writes no end-of-stream marker; the tables know whether all is here */
    len = got < VMDK_MARKER_LEN ? 0 : im_le32(p + 8);
    if (len == 0 && got < VMDK_SECTOR)
        return vmdk_damaged(err,
                            "the file ends at byte %" PRIu64
                            ", without an end-of-stream marker: it is truncated",
                            walk->at + got);
    value = im_le64(p);
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

/* Walk, with a sink or without. */
int vmdk_walk(struct vmdk *vmdk, struct im_sink *sink, struct im_error *err)
{
    uint8_t *seen IM_FREE = calloc((size_t)vmdk->grains / 8 + 1, 1);
    uint64_t *prints IM_FREE = calloc(vmdk->tables, sizeof(*prints));
    struct vmdk_walk walk = {
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
        r = vmdk_prove(&walk, err);
    free(walk.passed);
    return r;
}
