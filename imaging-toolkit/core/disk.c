/* disk - the part that is the same for every disk: range checks, defaults, the chain. */

#include <config.h>

#include "core/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/cancel.h"

/* Bytes moved at once by a walk in disk order. */
#define STEP (1u << 20)
/* File systems allocate in blocks of this size. */
#define BLOCK 4096u

void *im_disk_new(size_t bytes, const struct im_disk_ops *ops, uint64_t size, struct im_disk *next)
{
    struct im_disk *disk = calloc(1, bytes);

    if (!disk)
        return NULL;
    disk->ops = ops;
    disk->size = size;
    disk->next = next;
    return disk;
}

static int check_range(struct im_disk *disk, uint64_t len, uint64_t offset, struct im_error *err)
{
    if (offset > disk->size || len > disk->size - offset)
        return im_fail(err, EINVAL,
                       "%" PRIu64 " bytes at offset %" PRIu64 " are not inside a disk of %" PRIu64
                       " bytes",
                       len, offset, disk->size);
    return 0;
}

int im_disk_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset, struct im_error *err)
{
    int r = check_range(disk, len, offset, err);

    if (r < 0 || len == 0)
        return r;
    r = disk->ops->read(disk, buf, len, offset, err);
    disk->failed |= r < 0;
    return r;
}

int im_disk_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                struct im_error *err)
{
    int r = check_range(disk, len, offset, err);

    if (r < 0)
        return r;
    if (len == 0)
        return im_fail(err, EINVAL, "a map of no bytes at offset %" PRIu64, offset);
    if (disk->ops->map)
        return disk->ops->map(disk, offset, len, ret, err);
    *ret = (struct im_extent){ .offset = offset, .len = len, .zero = false };
    return 0;
}

static int give_extent(struct im_disk *disk, struct im_sink *sink, const struct im_extent *extent,
                       void *buf, struct im_error *err)
{
    uint64_t done = 0;

    while (done < extent->len) {
        size_t step = (size_t)im_min(STEP, extent->len - done);
        uint64_t offset = extent->offset + done;
        int r = im_cancel_check(err);

        if (r == 0)
            r = im_disk_read(disk, buf, step, offset, err);
        if (r == 0)
            r = sink->data(sink, buf, step, offset, err);
        if (r < 0)
            return r;
        done += step;
        sink->progress(sink, offset + step, disk->size);
    }
    return 0;
}

int im_disk_walk_in_order(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    void *buf IM_FREE = malloc(STEP);
    uint64_t offset = 0;

    if (!buf)
        return im_fail(err, ENOMEM, "out of memory");
    while (offset < disk->size) {
        struct im_extent extent;
        int r = im_cancel_check(err);

        if (r == 0)
            r = im_disk_map(disk, offset, disk->size - offset, &extent, err);
        if (r == 0 && !extent.zero)
            r = give_extent(disk, sink, &extent, buf, err);
        if (r < 0)
            return r;
        offset += extent.len;
        sink->progress(sink, offset, disk->size);
    }
    return 0;
}

int im_disk_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err)
{
    int r =
        disk->ops->walk ? disk->ops->walk(disk, sink, err) : im_disk_walk_in_order(disk, sink, err);

    disk->failed |= r < 0;
    return r;
}

static int unread_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                       struct im_error *err)
{
    (void)disk;
    (void)buf;
    (void)len;
    (void)offset;
    return im_fail(err, ENODATA, "what is on the disk is known only when it runs");
}

static const struct im_disk_ops unread_ops = { .name = "unread", .read = unread_read };

struct im_disk *im_disk_unread(uint64_t size)
{
    return im_disk_new(sizeof(struct im_disk), &unread_ops, size, NULL);
}

/* Is only what reads as zeros added to the decoder's disk? */
static bool only_grows(const struct im_disk *disk)
{
    for (; disk->next; disk = disk->next)
        if (strcmp(disk->ops->name, "grow") != 0)
            return false;
    return true;
}

static int sum_data(struct im_disk *disk, uint64_t *ret_bytes, struct im_error *err)
{
    uint64_t bytes = 0, counted = 0, offset = 0; /* counted: up to here */

    while (offset < disk->size) {
        struct im_extent extent = { 0 };
        int r = im_disk_map(disk, offset, disk->size - offset, &extent, err);

        if (r < 0)
            return r;
        offset += extent.len;
        if (!extent.zero) {
            uint64_t from = (offset - extent.len) / BLOCK * BLOCK;
            uint64_t to = im_round_up(offset, BLOCK);

            bytes += to - im_max(from, counted);
            counted = to;
        }
        r = im_cancel_check(err);
        if (r < 0)
            return r;
    }
    *ret_bytes = bytes;
    return 0;
}

int im_disk_data_max(struct im_disk *disk, uint64_t *ret_bytes, struct im_error *err)
{
    const struct im_disk *decoder = disk;

    while (decoder->next)
        decoder = decoder->next;
    if (!decoder->data_max)
        return sum_data(disk, ret_bytes, err);
    *ret_bytes = im_round_up(disk->size, BLOCK);
    if (only_grows(disk))
        *ret_bytes = im_min(*ret_bytes, decoder->data_max);
    return 0;
}

struct im_disk *im_disk_close(struct im_disk *disk)
{
    while (disk) {
        struct im_disk *next = disk->next;

        if (disk->ops->close)
            disk->ops->close(disk);
        free(disk);
        disk = next;
    }
    return NULL;
}

void im_fact(struct im_facts *facts, const char *name, const char *format, ...)
{
    va_list args;

    if (facts->count == IM_FACTS_MAX)
        return;
    facts->fact[facts->count].name = name;
    va_start(args, format);
    (void)vsnprintf(facts->fact[facts->count].value, sizeof(facts->fact[0].value), format, args);
    va_end(args);
    facts->count++;
}

void im_disk_describe(struct im_disk *disk, struct im_facts *facts)
{
    if (!disk)
        return;
    im_disk_describe(disk->next, facts); /* a chain is as long as the job's list of stages */
    if (disk->ops->describe)
        disk->ops->describe(disk, facts);
}
