/* source - where image bytes come from: a file, standard input, an URL, the parts of a manifest.
 *
 * A source knows nothing of image formats.  Formats see one flat run of bytes and read it mostly
 * forwards; sources that fetch read ahead when they notice. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/extent.h"

#define IM_SIZE_UNKNOWN UINT64_MAX

struct im_source;
struct im_trail;
struct im_buffer;
struct im_lent;

struct im_source_ops {
    const char *name;

    /* Read up to len bytes at offset into buf; *ret_len is less than len only at the end. */
    int (*read)(struct im_source *source, void *buf, size_t len, uint64_t offset, size_t *ret_len,
                struct im_error *err);

    /* What lies at offset: data or a hole that reads as zeros, at most len bytes of it.
     * NULL: everything is data. */
    int (*map)(struct im_source *source, uint64_t offset, uint64_t len, struct im_extent *ret,
               struct im_error *err);

    /* Where the bytes at offset stand in a local file: at *ret_at of *ret_fd, at most len of them.
     * The descriptor is the source's own, and good until another file's is asked for or the source
     * is closed.  -EOPNOTSUPP: nowhere.  NULL: never. */
    int (*local)(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                 uint64_t *ret_at, uint64_t *ret_len);

    /* Called once after the last read, before the result is committed: prove what has not been
     * proven yet (part digests, that nothing is left over).  NULL: nothing to prove. */
    int (*finish)(struct im_source *source, struct im_error *err);

    /* How many of the len bytes at offset read would give without waiting; when that is none, they
     * are asked for.  NULL: all of them. */
    size_t (*ready)(struct im_source *source, uint64_t offset, size_t len);

    /* For work that is gone on with by another process (core/trail.h), else NULL:
     * identify appends text that tells this content from every other, -EOPNOTSUPP when nothing
     * does; proven appends what has been proven since it was called last, at any time and by any
     * thread; trust takes back, in their order, what earlier processes' proven said, before the
     * first read; -EBADMSG when it does not fit. */
    int (*identify)(struct im_source *source, struct im_buffer *text);
    int (*proven)(struct im_source *source, struct im_buffer *proof);
    int (*trust)(struct im_source *source, const void *proof, size_t len);

    /* For sources that are opened in a process of their own (source/served.h), else NULL: lend
     * finds the run of bytes that offset is in, in a file or in memory (source/lend.h); give_back
     * ends that, after `used` bytes of it were read.  memory is a descriptor of all the memory that
     * is lent, of *ret_len bytes, or -1. */
    int (*lend)(struct im_source *source, uint64_t offset, unsigned how, struct im_lent *ret,
                struct im_error *err);
    void (*give_back)(struct im_source *source, const struct im_lent *lent, size_t used);
    int (*memory)(const struct im_source *source, uint64_t *ret_len);

    void (*close)(struct im_source *source);
};

/* Embedded first in every source. */
struct im_source {
    const struct im_source_ops *ops;
    char *name;       /* for messages: path, or URL without its query; owned */
    uint64_t size;    /* bytes, or IM_SIZE_UNKNOWN (standard input) */
    bool sequential;  /* can only be read forwards, but for the last 1 MiB */
    bool failed;      /* it, or what it reads, could not give what it was asked for */
    bool direct;      /* a file: bytes at any place are there at once, in any order */
    const char *path; /* local file of the whole content, or NULL; owned by the source */
    char *document;   /* the text that says what the bytes are (of a bundle); NULL: none; owned */
    size_t document_len;
    struct im_trail
        *trail; /* keeps what is read, and knows what was; NULL: nobody does; not owned */
};

/* A kind of source; registered by its file name in the Makefile. */
struct im_source_type {
    const char *name;
    const char *summary;
    /* True when spec is of this kind; kinds are asked in the order of the Makefile's list. */
    bool (*accepts)(const char *spec);
    /* Start the process that opens it where it comes over a network, else NULL. */
    int (*prepare)(const char *spec, struct im_error *err);
    int (*open)(const char *spec, struct im_source **ret_source, struct im_error *err);
};

/* Before this process gives up its network, or starts a thread: start what opening spec needs of
 * either.  What comes over a network is fetched by a process of its own (source/served.h), which
 * keeps it and is used whenever the same spec is opened.  Files and pipes need nothing. */
int im_source_prepare(const char *spec, struct im_error *err);

/* Whether spec is opened over a network. */
bool im_source_is_remote(const char *spec);

/* Open whatever spec names: "-", "manifest:PATH-or-URL", an http(s) URL, or a path.  What was not
 * prepared is now. */
int im_source_open(const char *spec, struct im_source **ret_source, struct im_error *err);

/* Open the regular file `name` of the directory that dir is open on; source/file.c.  The name holds
 * no '/'.  No link is followed and nothing but a regular file is opened.
 * Errors: openat's, -EOPNOTSUPP code "NotAFile". */
int im_source_open_in(int dir, const char *name, struct im_source **ret_source,
                      struct im_error *err);

/* Allocate `size` bytes (≥ sizeof(struct im_source)) with ops and a copy of name set, the rest
 * zero; NULL when out of memory.  im_source_close frees it. */
void *im_source_new(size_t size, const struct im_source_ops *ops, const char *name);

/* Read exactly len bytes; -EBADMSG "… ends at byte …" when the source is shorter. */
int im_source_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                   struct im_error *err);

/* Read up to len bytes; *ret_len says how many there were. */
int im_source_read_some(struct im_source *source, void *buf, size_t len, uint64_t offset,
                        size_t *ret_len, struct im_error *err);

/* The same for whoever tells the trail itself (format/window.h): nothing is kept. */
int im_source_fetch(struct im_source *source, void *buf, size_t len, uint64_t offset,
                    size_t *ret_len, struct im_error *err);

/* im_source_ops.ready, at most to the source's end. */
size_t im_source_ready(struct im_source *source, uint64_t offset, size_t len);

int im_source_map(struct im_source *source, uint64_t offset, uint64_t len, struct im_extent *ret,
                  struct im_error *err);

/* im_source_ops.local; -EOPNOTSUPP when the source has none. */
int im_source_local(struct im_source *source, uint64_t offset, uint64_t len, int *ret_fd,
                    uint64_t *ret_at, uint64_t *ret_len);
int im_source_finish(struct im_source *source, struct im_error *err);

/* Close and free; takes NULL, returns NULL. */
struct im_source *im_source_close(struct im_source *source);
