/* stage - a step between source and store: it takes bytes or a disk, gives bytes or a disk, or
 * looks.
 *
 * Stages are composed into chains, by jobs and by workflows.  A chain is built from its beginning
 * to its end before anything is copied, and what a stage gives reads from what it took: nothing is
 * copied in between.  Before anything starts each stage is asked whether it can do this and how
 * much scratch it needs.
 *
 * A validator replaces nothing but looks.  What it asks for lies anywhere on the disk, and an image
 * that flows through in one pass cannot be asked.  So it looks at the image only where that is a
 * file, before anything is copied; else at what has been written, before that is committed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/args.h"
#include "core/disk.h"
#include "core/report.h"
#include "core/source.h"
#include "core/store.h"

/* What a stage is for; `stages` lists by it. */
enum im_class {
    IM_TRANSFER,  /* moves bytes in or out */
    IM_BUNDLER,   /* takes bytes out of what they are packed in, or packs them */
    IM_CONVERTER, /* between images and disks */
    IM_LAYOUT,    /* changes what is where on a disk */
    IM_VALIDATOR, /* looks */
};

/* What a stage takes or gives. */
enum im_flow { IM_NOTHING, IM_BYTES, IM_DISK };

/* What all stages of one chain share. */
struct im_context {
    const char *scratch; /* place for second copies (cache/cache.h); never NULL in a stage */
    unsigned jobs;       /* threads a stage may use, at least 1 */
    bool planning;       /* nothing may be run or written: give what has the right size, and stop */
};

/* What a stage would be given: one of the two is set. */
struct im_input {
    struct im_source *source;
    struct im_disk *disk;
};

/* What only a part of a stage cannot work without. */
struct im_use {
    const char *need; /* as in im_stage.needs */
    const char *part; /* "XFS, Btrfs, FAT and NTFS" */
};

struct im_guest;
struct im_scratch;
struct im_job;

/* What a validator looks at. */
struct im_look {
    struct im_disk *disk; /* read at any offset */
    int fd; /* of a file that is the disk as it is, from its first byte on (what is past
               its end reads as zeros); -1: there is none */
    const struct im_context *context;
    struct im_report *report;
    struct im_guest *guest; /* what guest/guest.h found on it; NULL: nobody asked yet */
    void (*guest_free)(struct im_guest *guest); /* set with it */
    struct im_scratch *copy; /* the disk as a file (guest/as-file.h); NULL: nobody asked yet */
    void (*copy_free)(struct im_scratch *copy); /* set with it */
};

/* Release what was found; look's disk, fd and report stay the caller's. */
void im_look_done(struct im_look *look);

struct im_stage {
    const char *name;
    const char *summary; /* one line */
    enum im_class class;
    enum im_flow takes, gives; /* of a validator: IM_DISK and IM_DISK */
    bool moves; /* what it gives lies elsewhere than in what it took: validators stand behind it */
    bool optional; /* where a workflow does not say it: its failure is a warning */
    /* What it cannot work without, NULL-terminated: programs ("qemu-img"), shared libraries
     * ("libfdisk.so.1") and files ("/usr/lib/…").  NULL: nothing. */
    const char *const *needs;
    const struct im_use *uses;     /* ends with a row without a need; NULL: nothing more */
    const struct im_param *params; /* NULL: it has none */

    /* Can it do this?  0, or why not.  Reads little, changes nothing.  NULL: whatever flows.
     * -ENODATA (what im_disk_unread answers): that is not known before it runs. */
    int (*accepts)(const struct im_args *args, const struct im_context *context,
                   const struct im_input *input, struct im_error *err);

    /* Most bytes of scratch it will hold at once for this input.  NULL: none. */
    int (*required_capacity)(const struct im_args *args, const struct im_context *context,
                             const struct im_input *input, uint64_t *ret_bytes,
                             struct im_error *err);

    /* One of these, by what it takes and gives.  On failure *source or *disk is left alone; else
     * what is given owns what was taken and closes it. */
    int (*open)(const struct im_args *args, const struct im_context *context,
                struct im_source **ret_source, struct im_error *err);
    int (*wrap)(const struct im_args *args, const struct im_context *context,
                struct im_source **source, struct im_error *err);
    int (*apply)(const struct im_args *args, const struct im_context *context,
                 struct im_disk **disk, struct im_error *err);
    /* The end of a chain in place of a named store: takes the disk's bytes, `size` of them. */
    int (*sink)(const struct im_args *args, const struct im_context *context, uint64_t size,
                struct im_store **ret_store, struct im_error *err);

    /* Read what is needed, at any offset and a few times, and report it: all that is found, not
     * only the first fault.  An -errno is for what kept it from looking (-ENOPKG, -EIO,
     * -ECANCELED). */
    int (*look)(const struct im_args *args, struct im_look *look, struct im_error *err);

    /* A step the job itself does (fetch, decode, encode, store): say to the job what it is to do.
     * It has none of the functions above. */
    int (*order)(const struct im_args *args, struct im_job *job, struct im_error *err);
};

/* The stage called name, or NULL. */
const struct im_stage *im_stage_find(const char *name);

/* "transfer", "bundler", "converter", "layout", "validator"; "nothing", "bytes", "disk". */
const char *im_class_name(enum im_class class);
const char *im_flow_name(enum im_flow flow);

/* Does it accept what it would be given?  0, or why not. */
int im_stage_accepts(const struct im_stage *stage, const struct im_args *args,
                     const struct im_context *context, const struct im_input *input,
                     struct im_error *err);

/* Is everything it needs here?  0; -ENOPKG "unavailable: X is missing" names the first that is not.
 */
int im_stage_available(const struct im_stage *stage, struct im_error *err);

/* Open, wrap *source, or make the store, when everything the stage needs is here and it accepts
 * what there is. */
int im_stage_open(const struct im_stage *stage, const struct im_args *args,
                  const struct im_context *context, struct im_source **ret_source,
                  struct im_error *err);
int im_stage_wrap(const struct im_stage *stage, const struct im_args *args,
                  const struct im_context *context, struct im_source **source,
                  struct im_error *err);

int im_stage_sink(const struct im_stage *stage, const struct im_args *args,
                  const struct im_context *context, uint64_t size, struct im_store **ret_store,
                  struct im_error *err);

/* Let a layout stage replace *disk.  Where it is optional, a failure is a warning in the report and
 * *disk stays as it was. */
int im_stage_apply(const struct im_stage *stage, const struct im_args *args, bool optional,
                   const struct im_context *context, struct im_disk **disk,
                   struct im_report *report, struct im_error *err);

/* Let a validator look.  A fault it reports is this function's failure; where it is optional,
 * faults and failures become warnings.  -ECANCELED is always a failure. */
int im_stage_look(const struct im_stage *stage, const struct im_args *args, bool optional,
                  struct im_look *look, struct im_error *err);

/* A disk of `size` bytes that has been written to the file fd as it is; what is past the end of the
 * file reads as zeros.  The fd stays the caller's.  NULL when out of memory. */
struct im_disk *im_disk_of_file(int fd, uint64_t size);
