/* partition-from-disk - give one partition of a disk as a disk of its own: what disk-from-partition
 * was given, again.
 *
 * The bytes stay as they are and are not copied.  A table that is damaged, or whose partitions
 * overlap, is refused: nobody knows what belongs to whom. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/stage.h"
#include "guest/as-file.h"
#include "guest/guest.h"
#include "guest/table.h"

/* Compressed runs that reach over an edge of the partition: there are two edges. */
#define EDGES_MAX 2u

struct part_disk {
    struct im_disk disk;
    uint64_t start; /* in the disk below */
};

/* ---- read and map ---- */

static int part_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                     struct im_error *err)
{
    return im_disk_read(disk->next, buf, len, ((struct part_disk *)disk)->start + offset, err);
}

static int part_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                    struct im_error *err)
{
    int r = im_disk_map(disk->next, ((struct part_disk *)disk)->start + offset, len, ret, err);

    ret->offset = offset;
    return r;
}

/* ---- walk ---- */

/* Gives on what lies in the partition, moved to where it is there. */
struct cut {
    struct im_sink sink;
    struct im_sink *to;
    uint64_t start, end; /* of the partition, in the disk below */
    unsigned edge_count;
    struct im_extent edge[EDGES_MAX]; /* in the partition: to be read afterwards */
};

/* The part of a range that is inside: *skip bytes after its beginning, *len of them. */
static bool cut_range(const struct cut *cut, uint64_t offset, uint64_t *skip, uint64_t *len)
{
    uint64_t first = offset > cut->start ? offset : cut->start;
    uint64_t last = im_min(offset + *len, cut->end);

    *skip = first - offset;
    *len = last > first ? last - first : 0;
    return *len > 0;
}

static int cut_data(struct im_sink *sink, const void *buf, size_t len, uint64_t offset,
                    struct im_error *err)
{
    struct cut *cut = (struct cut *)sink;
    uint64_t skip, inside = len;

    if (!cut_range(cut, offset, &skip, &inside))
        return 0;
    return cut->to->data(cut->to, (const uint8_t *)buf + skip, (size_t)inside,
                         offset + skip - cut->start, err);
}

static int cut_place(struct im_sink *sink, struct im_source *source, uint64_t origin, uint64_t len,
                     uint64_t offset, struct im_error *err)
{
    struct cut *cut = (struct cut *)sink;
    uint64_t skip;

    if (!cut_range(cut, offset, &skip, &len))
        return 0;
    return cut->to->place(cut->to, source, origin + skip, len, offset + skip - cut->start, err);
}

/* What is compressed comes whole or not at all. */
static int cut_deflated(struct im_sink *sink, const void *zlib, size_t zlib_len, size_t len,
                        uint64_t offset, uint64_t origin, struct im_error *err)
{
    struct cut *cut = (struct cut *)sink;
    uint64_t skip, inside = len;

    if (!cut_range(cut, offset, &skip, &inside))
        return 0;
    if (inside == len)
        return cut->to->deflated(cut->to, zlib, zlib_len, len, offset - cut->start, origin, err);
    if (cut->edge_count == EDGES_MAX)
        return im_fail(err, EBADMSG, "runs of compressed data overlap at offset %" PRIu64, offset);
    cut->edge[cut->edge_count++] =
        (struct im_extent){ .offset = offset + skip - cut->start, .len = inside };
    return 0;
}

static void cut_progress(struct im_sink *sink, uint64_t done, uint64_t total)
{
    struct cut *cut = (struct cut *)sink;

    cut->to->progress(cut->to, done, total);
}

static int give_edge(struct im_disk *disk, struct im_sink *sink, const struct im_extent *edge,
                     struct im_error *err)
{
    void *buf IM_FREE = malloc((size_t)edge->len); /* less than one run, which came in memory */
    int r = buf ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = im_disk_read(disk, buf, (size_t)edge->len, edge->offset, err);
    return r < 0 ? r : sink->data(sink, buf, (size_t)edge->len, edge->offset, err);
}

static int walk_cut(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    const struct part_disk *part = (const struct part_disk *)disk;
    struct cut cut = {
        .sink = { cut_data, cut_place, cut_deflated, cut_progress },
        .to = sink,
        .start = part->start,
        .end = part->start + disk->size,
    };
    int r = im_disk_walk(disk->next, &cut.sink, err);

    for (unsigned i = 0; r == 0 && i < cut.edge_count; i++)
        r = give_edge(disk, sink, &cut.edge[i], err);
    return r;
}

/* Of plain bytes only the partition's are read, wherever they come from. */
static int part_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    const struct part_disk *part = (const struct part_disk *)disk;
    struct im_disk *below = disk->next;

    if (!below->plain)
        return walk_cut(disk, sink, err);
    if (!below->source->direct)
        return im_disk_walk_in_order(disk, sink, err);
    sink->progress(sink, 0, disk->size);
    return sink->place(sink, below->source, part->start, disk->size, 0, err);
}

static const struct im_disk_ops part_ops = {
    .name = "partition-from-disk",
    .read = part_read,
    .map = part_map,
    .walk = part_walk,
};

/* ---- which partition ---- */

/* "1 (ext4), 2 (swap)": what there is to choose from. */
static void list_parts(const struct im_guest *guest, struct im_buffer *text)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < guest->part_count; i++) {
        const struct im_part *part = &guest->part[i];
        const char *type = "";

        if (table_extended(part))
            continue;
        for (unsigned j = 0; j < guest->fs_count; j++)
            if (guest->fs[j].part == part)
                type = guest->fs[j].type;
        r = im_buffer_printf(text, "%s%u%s%s%s", text->len ? ", " : "", part->number,
                             *type ? " (" : "", type, *type ? ")" : "");
    }
}

static int refuse_choice(const struct im_guest *guest, const char *why, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(256); /* the rest is cut off */

    list_parts(guest, &text);
    return im_fail(err, EOPNOTSUPP, "%s; say number=, one of: %s", why,
                   text.data ? text.data : "none");
}

/* The ephemeral one is empty; disk-from-partition made it. */
static bool is_linux(const struct im_fs *fs)
{
    if (strcmp(fs->label, "ephemeral0") == 0)
        return false;
    return strncmp(fs->type, "ext", 3) == 0 || strcmp(fs->type, "xfs") == 0 ||
           strcmp(fs->type, "btrfs") == 0;
}

/* The root when there is one, else the only Linux file system. */
static int choose(const struct im_guest *guest, const struct im_part **ret_part,
                  struct im_error *err)
{
    const struct im_part *part = guest->root ? guest->root->part : NULL;
    unsigned count = part ? guest->tree_count : 0;

    if (count > 1)
        return refuse_choice(guest, "the disk holds several operating systems", err);
    for (unsigned i = 0; !part && i < guest->fs_count; i++)
        count += is_linux(&guest->fs[i]);
    for (unsigned i = 0; !part && count == 1 && i < guest->fs_count; i++)
        if (is_linux(&guest->fs[i]))
            part = guest->fs[i].part;
    if (count == 1 && part) {
        *ret_part = part;
        return 0;
    }
    return refuse_choice(guest,
                         count ? "the disk has several Linux file systems and no system's root"
                               : "the disk has no Linux file system",
                         err);
}

static int find_number(const struct im_guest *guest, uint64_t number,
                       const struct im_part **ret_part, struct im_error *err)
{
    for (unsigned i = 0; i < guest->part_count; i++) {
        const struct im_part *part = &guest->part[i];

        if (part->number != number)
            continue;
        if (table_extended(part))
            return im_fail(err, EOPNOTSUPP,
                           "partition %" PRIu64 " is the extended one, which holds others", number);
        *ret_part = part;
        return 0;
    }
    return refuse_choice(guest, "the disk has no such partition", err);
}

static int check_beside(const struct im_guest *guest, const struct im_part *part,
                        struct im_error *err)
{
    for (unsigned i = 0; i < guest->part_count; i++) {
        const struct im_part *other = &guest->part[i];

        if (other != part && !table_extended(other) && other->offset < part->offset + part->len &&
            part->offset < other->offset + other->len)
            return im_fail(err, EOPNOTSUPP,
                           "partitions %u (%" PRIu64 " bytes from %" PRIu64 ") and %u (%" PRIu64
                           " from %" PRIu64 ") overlap; repair the table first",
                           part->number, part->len, part->offset, other->number, other->len,
                           other->offset);
    }
    return part->len ? 0 : im_fail(err, EOPNOTSUPP, "partition %u is empty", part->number);
}

static int check_table(const struct im_guest *guest, struct im_error *err)
{
    if (*guest->table_fault)
        return im_fail(err, EOPNOTSUPP, "the partition table is damaged: %s; repair it first",
                       guest->table_fault);
    if (guest->table == IM_TABLE_NONE)
        return im_fail(err, EOPNOTSUPP,
                       "the disk has no partition table: it is a bare file system "
                       "already, or empty");
    return 0;
}

/* By its number the table alone tells; to choose, the file systems are looked at. */
static int find_part(const struct im_args *args, const struct im_context *context,
                     struct im_disk *disk, struct im_part *ret_part, struct im_error *err)
{
    struct im_look look = { .disk = disk, .fd = -1, .context = context };
    struct im_guest own = { 0 }, *guest = &own;
    const struct im_part *part = NULL;
    uint64_t number = im_arg_number(args, "number", 0);
    int r;

    if (disk->size == IM_SIZE_UNKNOWN)
        return im_fail(err, EOPNOTSUPP,
                       "a disk that comes through a pipe cannot be looked into; give a file");
    r = number ? table_read(disk, &own, err) : im_guest_of(&look, &guest, err);
    if (r == 0)
        r = check_table(guest, err);
    if (r == 0)
        r = number ? find_number(guest, number, &part, err) : choose(guest, &part, err);
    if (r == 0)
        r = check_beside(guest, part, err);
    if (r == 0)
        *ret_part = *part;
    free(own.part);
    im_look_done(&look);
    return r;
}

/* ---- the stage ---- */

static int partition_from_disk_accepts(const struct im_args *args, const struct im_context *context,
                                       const struct im_input *input, struct im_error *err)
{
    struct im_part part;

    return find_part(args, context, input->disk, &part, err);
}

/* To choose, file systems may have to be read as files. */
static int partition_from_disk_capacity(const struct im_args *args,
                                        const struct im_context *context,
                                        const struct im_input *input, uint64_t *ret_bytes,
                                        struct im_error *err)
{
    if (im_arg_number(args, "number", 0) == 0)
        return im_look_capacity(args, context, input, ret_bytes, err);
    *ret_bytes = 0;
    return 0;
}

static int partition_from_disk_apply(const struct im_args *args, const struct im_context *context,
                                     struct im_disk **disk, struct im_error *err)
{
    struct part_disk *own;
    struct im_part part;
    int r = find_part(args, context, *disk, &part, err);

    if (r < 0)
        return r;
    own = im_disk_new(sizeof(*own), &part_ops, part.len, *disk);
    if (!own)
        return im_fail(err, ENOMEM, "out of memory");
    own->start = part.offset;
    *disk = &own->disk;
    return 0;
}

static const struct im_param params[] = {
    { "number", IM_PARAM_NUMBER, false, NULL,
      "of the partition, from 1 (default: the system's root, or the only Linux file system)" },
    { 0 },
};

const struct im_stage im_stage_partition_from_disk = {
    .name = "partition-from-disk",
    .summary = "give one partition of a disk as a disk of its own",
    .class = IM_LAYOUT,
    .moves = true,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .uses = im_guest_uses,
    .params = params,
    .accepts = partition_from_disk_accepts,
    .required_capacity = partition_from_disk_capacity,
    .apply = partition_from_disk_apply,
};
