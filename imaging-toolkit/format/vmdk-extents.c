/* vmdk-extents - a disk in several files: twoGbMaxExtentSparse, twoGbMaxExtentFlat, monolithicFlat
 * and vmfs, when all of them lie in one directory that the caller names.
 *
 * A name out of a descriptor is the only thing in an image that is ever opened, so it is a plain
 * name in that directory, of a regular file, and no file is used twice.
 *
 * One extent is open at a time: the disk's data come in the order of the extents, so that more open
 * descriptors, tables and lists would wait for nothing, and a disk of 16 TiB in thousands of files
 * costs as much as one of two.  Every extent is proven when the disk is opened, and again when it
 * is opened for its data. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "core/cancel.h"

struct extent {
    enum vmdk_kind kind;
    bool blank;       /* reads as zeros: ZERO, or a sparse one without grains */
    const char *name; /* in split->text */
    struct vmdk_piece piece;
    uint64_t origin;   /* of a flat one's data in its file, bytes */
    struct stat found; /* its file when the disk was opened */
};

#define NONE SIZE_MAX

struct split {
    struct im_disk disk;
    char create_type[32];
    char *text;
    int dir;
    struct extent *extent;
    size_t count;
    size_t open;              /* which extent's source and sparse are there, or NONE */
    struct im_source *source; /* of its file */
    struct im_disk *sparse;   /* NULL: it is flat */
};

static void close_extent(struct split *split)
{
    split->sparse = im_disk_close(split->sparse);
    split->source = im_source_close(split->source);
    split->open = NONE;
}

static int identify(struct im_source *source, struct stat *ret_st)
{
    uint64_t at, len;
    int fd;

    if (im_source_local(source, 0, 1, &fd, &at, &len) < 0 || fstat(fd, ret_st) < 0)
        return -EOPNOTSUPP;
    return 0;
}

/* It must still be the file that was found when the disk was opened, with the same bytes. */
static int check_same(const struct split *split, const struct extent *extent, struct im_error *err)
{
    struct stat st;

    if (identify(split->source, &st) == 0 && im_stat_same(&st, &extent->found))
        return 0;
    return im_fail_code(err, EBADMSG, "ImageChanged",
                        "the file was changed or exchanged while the disk was read; try again when "
                        "nothing writes to it");
}

static int check_flat(const struct split *split, const struct extent *extent, struct im_error *err)
{
    uint64_t end;

    if (!__builtin_add_overflow(extent->origin, extent->piece.len, &end) &&
        end <= split->source->size)
        return 0;
    return vmdk_damaged(err,
                        "the file has %" PRIu64 " bytes, but %" PRIu64 " at offset %" PRIu64
                        " are needed: it is truncated",
                        split->source->size, extent->piece.len, extent->origin);
}

static int prove(struct split *split, const struct extent *extent, struct im_error *err)
{
    if (extent->kind == VMDK_FLAT)
        return check_flat(split, extent, err);
    return vmdk_open_piece(split->source, &extent->piece, &split->sparse, err);
}

/* Close the extent again, and say in which one the failure was. */
static int blame(struct split *split, size_t i, int r, struct im_error *err)
{
    char shown[64];

    close_extent(split);
    im_error_prefix(err, "extent %zu of the VMDK ('%s')", i + 1,
                    im_text_printable(shown, sizeof(shown), split->extent[i].name));
    return r;
}

/* Have extent i, which is not blank, in source and sparse. */
static int need_extent(struct split *split, size_t i, struct im_error *err)
{
    const struct extent *extent = &split->extent[i];
    int r;

    if (split->open == i)
        return 0;
    close_extent(split);
    r = im_source_open_in(split->dir, extent->name, &split->source, err);
    if (r == 0)
        r = check_same(split, extent, err);
    if (r == 0)
        r = prove(split, extent, err);
    if (r < 0)
        return blame(split, i, r, err);
    split->open = i;
    return 0;
}

/* What came of reading from extent i: it counts only when the file is what it was. */
static int check_after(struct split *split, size_t i, int r, struct im_error *err)
{
    if (r < 0)
        return r;
    r = check_same(split, &split->extent[i], err);
    return r < 0 ? blame(split, i, r, err) : 0;
}

/* The extent that holds a byte of the disk. */
static size_t find(const struct split *split, uint64_t offset)
{
    size_t low = 0;
    size_t high = split->count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (split->extent[middle].piece.start <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static int read_extent(struct split *split, size_t i, void *buf, size_t len, uint64_t within,
                       struct im_error *err)
{
    int r;

    if (split->extent[i].blank) {
        memset(buf, 0, len);
        return 0;
    }
    r = need_extent(split, i, err);
    if (r < 0)
        return r;
    if (split->sparse)
        r = im_disk_read(split->sparse, buf, len, within, err);
    else
        r = im_source_read(split->source, buf, len, split->extent[i].origin + within, err);
    return check_after(split, i, r, err);
}

static int split_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                      struct im_error *err)
{
    struct split *split = (struct split *)disk;
    uint8_t *out = buf;
    int r = 0;

    for (size_t i = find(split, offset); r == 0 && len > 0; i++) {
        uint64_t within = offset - split->extent[i].piece.start;
        size_t step = (size_t)im_min(len, split->extent[i].piece.len - within);

        r = read_extent(split, i, out, step, within, err);
        out += step;
        offset += step;
        len -= step;
    }
    return r;
}

static int split_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                     struct im_error *err)
{
    struct split *split = (struct split *)disk;
    size_t i = find(split, offset);
    const struct extent *extent = &split->extent[i];
    uint64_t within = offset - extent->piece.start;
    uint64_t here = extent->piece.len - within;
    int r;

    if (extent->blank) {
        while (here < len && split->extent[++i].blank)
            here += split->extent[i].piece.len;
        *ret = (struct im_extent){ .offset = offset, .len = im_min(len, here), .zero = true };
        return 0;
    }
    r = need_extent(split, i, err);
    if (r == 0 && split->sparse)
        r = im_disk_map(split->sparse, within, im_min(len, here), ret, err);
    else if (r == 0)
        r = im_source_map(split->source, extent->origin + within, im_min(len, here), ret, err);
    ret->offset = offset;
    return check_after(split, i, r, err);
}

static int walk_extent(struct split *split, size_t i, struct im_sink *sink, struct im_error *err)
{
    const struct extent *extent = &split->extent[i];
    int r = need_extent(split, i, err);

    if (r < 0)
        return r;
    if (split->sparse)
        return check_after(split, i, im_disk_walk(split->sparse, sink, err), err);
    sink->progress(sink, extent->piece.before, extent->piece.total);
    r = sink->place(sink, split->source, extent->origin, extent->piece.len, extent->piece.start,
                    err);
    sink->progress(sink, extent->piece.before + extent->piece.len, extent->piece.total);
    return check_after(split, i, r, err);
}

static int split_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    struct split *split = (struct split *)disk;
    int r = 0;

    for (size_t i = 0; r == 0 && i < split->count; i++)
        if (!split->extent[i].blank)
            r = walk_extent(split, i, sink, err);
    return r;
}

static void split_describe(struct im_disk *disk, struct im_facts *facts)
{
    const struct split *split = (struct split *)disk;

    im_fact(facts, "subformat", "%s", split->create_type);
    im_fact(facts, "create-type", "%s", split->create_type);
    im_fact(facts, "extents", "%zu", split->count);
}

static void split_close(struct im_disk *disk)
{
    struct split *split = (struct split *)disk;

    close_extent(split);
    if (split->dir >= 0)
        (void)close(split->dir);
    free(split->extent);
    free(split->text);
}

static const struct im_disk_ops split_ops = {
    .name = "vmdk-extents",
    .read = split_read,
    .map = split_map,
    .walk = split_walk,
    .describe = split_describe,
    .close = split_close,
};

/* ---- open ---- */

/* Turn lines into extents and add up their sizes; nothing is opened. */
static int place_extents(struct split *split, const struct vmdk_line *lines, struct im_error *err)
{
    uint64_t end = 0;

    split->extent = calloc(split->count, sizeof(*split->extent));
    if (!split->extent)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < split->count; i++) {
        struct extent *extent = &split->extent[i];

        extent->kind = lines[i].kind;
        extent->blank = lines[i].kind == VMDK_ZERO;
        extent->name = lines[i].name;
        extent->origin = lines[i].origin * VMDK_SECTOR;
        extent->piece.start = end;
        extent->piece.len = lines[i].sectors * VMDK_SECTOR;
        if (__builtin_add_overflow(end, extent->piece.len, &end))
            return vmdk_damaged(err,
                                "the extents of the VMDK have more bytes in sum than 64 bits "
                                "count, from extent %zu on",
                                i + 1);
    }
    split->disk.size = end;
    return 0;
}

/* Open extent i for the first time, prove it and remember which file it is. */
static int take_extent(struct split *split, size_t i, struct im_error *err)
{
    struct extent *extent = &split->extent[i];
    int r = im_source_open_in(split->dir, extent->name, &split->source, err);

    if (r == 0 && identify(split->source, &extent->found) < 0)
        r = im_fail(err, EIO, "the file cannot be looked at");
    if (r == 0)
        r = prove(split, extent, err);
    if (r < 0)
        return blame(split, i, r, err);
    extent->blank = split->sparse && ((struct vmdk *)split->sparse)->allocated == 0;
    close_extent(split);
    return 0;
}

static int by_file(const void *a, const void *b)
{
    const struct extent *x = *(const struct extent *const *)a;
    const struct extent *y = *(const struct extent *const *)b;

    if (x->found.st_dev != y->found.st_dev)
        return x->found.st_dev < y->found.st_dev ? -1 : 1;
    return (x->found.st_ino > y->found.st_ino) - (x->found.st_ino < y->found.st_ino);
}

/* No file is there twice, and the descriptor is not among them. */
static int check_files(const struct split *split, struct im_error *err)
{
    const struct extent **order IM_FREE = calloc(split->count, sizeof(const struct extent *));
    struct stat st = { 0 };
    bool known = identify(split->disk.source, &st) == 0;
    size_t n = 0;

    if (!order)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < split->count; i++) {
        const struct extent *extent = &split->extent[i];

        if (extent->kind == VMDK_ZERO)
            continue;
        if (known && extent->found.st_dev == st.st_dev && extent->found.st_ino == st.st_ino)
            return vmdk_unsupported(err, "extent %zu of the VMDK is its descriptor", i + 1);
        order[n++] = extent;
    }
    qsort(order, n, sizeof(const struct extent *), by_file);
    for (size_t i = 1; i < n; i++)
        if (by_file(&order[i - 1], &order[i]) == 0)
            return vmdk_unsupported(
                err, "extents %td and %td of the VMDK are the same file; each must have its own",
                order[i - 1] - split->extent + 1, order[i] - split->extent + 1);
    return 0;
}

/* What a walk reads, which is what its progress counts: flat extents' data, sparse ones' files. */
static void count_bytes(struct split *split)
{
    uint64_t total = 0;

    for (size_t i = 0; i < split->count; i++) {
        struct extent *extent = &split->extent[i];

        extent->piece.before = total;
        if (!extent->blank)
            total +=
                extent->kind == VMDK_FLAT ? extent->piece.len : (uint64_t)extent->found.st_size;
    }
    for (size_t i = 0; i < split->count; i++)
        split->extent[i].piece.total = total;
}

static int open_dir(struct split *split, const char *dir, struct im_error *err)
{
    if (!dir)
        return vmdk_unsupported(err,
                                "this is the descriptor of a VMDK of type %s whose data is in %zu "
                                "extents outside this file; give --extents DIR, the directory that "
                                "holds them",
                                split->create_type, split->count);
    split->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return split->dir < 0 ? im_fail_errno(err, errno, "cannot open the directory '%s'", dir) : 0;
}

static int open_it(struct split *split, const struct im_open *options, struct im_error *err)
{
    struct vmdk_line *lines IM_FREE = NULL;
    int r = vmdk_parse_lines(split->text, split->create_type, &lines, &split->count, err);

    if (r == 0)
        r = place_extents(split, lines, err);
    if (r == 0)
        r = vmdk_check_size(split->disk.size, options, err);
    if (r == 0)
        r = open_dir(split, options->extents, err);
    for (size_t i = 0; r == 0 && i < split->count; i++) {
        r = im_cancel_check(err);
        if (r == 0 && !split->extent[i].blank)
            r = take_extent(split, i, err);
    }
    if (r == 0)
        r = check_files(split, err);
    if (r == 0)
        count_bytes(split);
    return r;
}

int vmdk_open_extents(struct im_source *source, char *text, const struct im_open *options,
                      struct im_disk **ret_disk, struct im_error *err)
{
    struct split *split = im_disk_new(sizeof(*split), &split_ops, 0, NULL);
    int r;

    if (!split) {
        free(text);
        return im_fail(err, ENOMEM, "out of memory");
    }
    split->disk.source = source;
    split->text = text;
    split->dir = -1;
    split->open = NONE;
    r = open_it(split, options, err);
    if (r < 0) {
        im_disk_close(&split->disk);
        return r;
    }
    *ret_disk = &split->disk;
    return 0;
}
