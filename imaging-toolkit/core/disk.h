/* disk - what a decoder or a stage gives: a plain run of sectors, whatever lies below.
 *
 * It has two faces.  "read" and "map" answer what is at an offset; "walk" gives all data once, in
 * the order the source holds it, so that an image can flow through without a second copy.  Both
 * must prove the same things about the image and give the same bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/extent.h"
#include "core/source.h"

struct im_disk;
struct im_facts;

/* Takes the data of a walk.  What is never given reads as zeros; no byte is given twice.
 * Buffers are the caller's again when the call returns. */
struct im_sink {
    /* len bytes of plain data at a disk offset. */
    int (*data)(struct im_sink *sink, const void *buf, size_t len, uint64_t offset,
                struct im_error *err);
    /* len bytes that stand as they are at byte `origin` of source, which is a direct one: the
     * sink reads them, or shares them by reference.  Any length; the sink leaves out holes, tells
     * the progress (in bytes of the source) and looks for the wish to stop. */
    int (*place)(struct im_sink *sink, struct im_source *source, uint64_t origin, uint64_t len,
                 uint64_t offset, struct im_error *err);
    /* A zlib stream (RFC 1950) that must inflate to exactly len bytes at a disk offset; `origin` is
     * where it starts in the source, for messages.  Its fault may be reported by a later call. */
    int (*deflated)(struct im_sink *sink, const void *zlib, size_t zlib_len, size_t len,
                    uint64_t offset, uint64_t origin, struct im_error *err);
    /* How far the walk is: bytes done of total, of the source as far as it knows. */
    void (*progress)(struct im_sink *sink, uint64_t done, uint64_t total);
};

struct im_disk_ops {
    const char *name;

    /* Read len bytes at offset, both inside the disk (the core has checked). */
    int (*read)(struct im_disk *disk, void *buf, size_t len, uint64_t offset, struct im_error *err);

    /* What lies at offset, at most len bytes of it.  NULL: everything is data. */
    int (*map)(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
               struct im_error *err);

    /* Give all data to the sink in source order.  NULL: by map and read, in disk order. */
    int (*walk)(struct im_disk *disk, struct im_sink *sink, struct im_error *err);

    /* Add facts for people, by im_fact.  NULL: none. */
    void (*describe)(struct im_disk *disk, struct im_facts *facts);

    /* Release what the disk owns, but not the disk itself, `next` or the source.  NULL: nothing. */
    void (*close)(struct im_disk *disk);
};

/* Embedded first in every disk. */
struct im_disk {
    const struct im_disk_ops *ops;
    uint64_t size;            /* bytes; IM_SIZE_UNKNOWN only for raw and fixed VHD
                                 from standard input */
    struct im_disk *next;     /* the disk below, closed with this one; NULL for a decoder's */
    struct im_source *source; /* what a decoder reads; not owned */
    bool plain;               /* the disk is the source's bytes, from the first to the last */
    uint64_t scratch_bytes;   /* most bytes of scratch this disk has used so far */
    bool failed;              /* it, or one below, could not give what it was asked for */
    uint64_t data_max;        /* of a decoder whose map costs a copy: as im_disk_data_max; else 0 */
};

/* Allocate `bytes` (≥ sizeof(struct im_disk)) with ops, size and next set, the rest zero; NULL when
 * out of memory.  im_disk_close frees it. */
void *im_disk_new(size_t bytes, const struct im_disk_ops *ops, uint64_t size, struct im_disk *next);

/* Read exactly len bytes; -EINVAL when the range is not inside the disk. */
int im_disk_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                 struct im_error *err);
int im_disk_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                struct im_error *err);
int im_disk_walk(struct im_disk *disk, struct im_sink *sink, struct im_error *err);

/* A disk of which nothing but the size is known, for plans: reads fail with -ENODATA.  NULL when
 * out of memory. */
struct im_disk *im_disk_unread(uint64_t size);

/* Walk in disk order by map and read, holes left out: what disks without a walk of their own do. */
int im_disk_walk_in_order(struct im_disk *disk, struct im_sink *sink, struct im_error *err);

/* At most how many bytes of the disk, in whole blocks of 4 KiB, are not zeros, as far as can be
 * told without reading or copying it.  Its size is known. */
int im_disk_data_max(struct im_disk *disk, uint64_t *ret_bytes, struct im_error *err);

/* Close the whole chain and free it; takes NULL, returns NULL.  Sources stay open. */
struct im_disk *im_disk_close(struct im_disk *disk);

/* Facts about an image, in order: what `info` prints. */
#define IM_FACTS_MAX 16
struct im_facts {
    unsigned count;
    struct {
        const char *name; /* static storage, lower case with dashes: "grain-size" */
        char value[128];
    } fact[IM_FACTS_MAX];
};

/* Add a fact; silently dropped when full. */
void im_fact(struct im_facts *facts, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Collect the facts of every disk in the chain, the decoder's first. */
void im_disk_describe(struct im_disk *disk, struct im_facts *facts);
