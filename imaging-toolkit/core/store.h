/* store - where a disk is written: appears whole at commit, or leaves nothing behind. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "core/source.h"

struct im_store;

struct im_store_ops {
    const char *name;

    /* Write len bytes at offset.  May be called by several threads at once when not sequential. */
    int (*write)(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                 struct im_error *err);

    /* Make len bytes at offset the same as those at `from` of fd, by reference.  -EOPNOTSUPP: the
     * file system cannot, or the numbers are no multiples of its blocks; nothing has changed.
     * NULL: never. */
    int (*share)(struct im_store *store, int fd, uint64_t from, uint64_t len, uint64_t offset,
                 struct im_error *err);

    /* Let len bytes at offset, a multiple of 4096, read as zeros again.  NULL: cannot. */
    int (*clear)(struct im_store *store, uint64_t len, uint64_t offset, struct im_error *err);

    /* Make everything durable and visible under its name; size is the final size in bytes. */
    int (*commit)(struct im_store *store, uint64_t size, struct im_error *err);

    /* Release the store; what was not committed disappears. */
    void (*close)(struct im_store *store);
};

/* Embedded first in every store. */
struct im_store {
    const struct im_store_ops *ops;
    char *name;      /* for messages; owned */
    bool sequential; /* takes bytes only in order and without gaps (a pipe) */
    int fd;          /* of the file the bytes go to, to look at them again; -1: there is none */
    bool failed;     /* it could not take what it was given */
};

struct im_store_options {
    uint64_t size;       /* size in bytes, or IM_SIZE_UNKNOWN */
    bool force;          /* replace what exists */
    bool no_sync;        /* do not wait until the bytes are on the disk */
    const char *partial; /* a file that exists: write into it, and let it keep its name until the
                            commit, even when there is none; NULL: a file without a name */
};

/* A kind of store; registered by its file name in the Makefile. */
struct im_store_type {
    const char *name;
    const char *summary;
    bool (*accepts)(const char *spec); /* asked in the order of the Makefile's list */
    int (*open)(const char *spec, const struct im_store_options *options,
                struct im_store **ret_store, struct im_error *err);
    /* Would open find fault with it?  *ret_free is how many bytes there is room for, or
     * IM_SIZE_UNKNOWN.  Touches nothing. */
    int (*check)(const char *spec, bool force, uint64_t *ret_free, struct im_error *err);
};

/* Open what spec names: "-" or a path. */
int im_store_open(const char *spec, const struct im_store_options *options,
                  struct im_store **ret_store, struct im_error *err);

/* Would im_store_open find fault with it?  Touches nothing; see im_store_type. */
int im_store_check(const char *spec, bool force, uint64_t *ret_free, struct im_error *err);

/* A store that writes into the file fd (which stays the caller's), for what is needed only for a
 * while; it is never committed.  The file never takes more than `bytes`; when it would, `more`
 * (NULL: nobody) is asked to let it be as many as it is given, else writing fails with -ENOSPC
 * "ScratchLimit". */
int im_store_scratch(int fd, uint64_t bytes,
                     int (*more)(void *arg, uint64_t bytes, struct im_error *err), void *arg,
                     struct im_store **ret_store, struct im_error *err);

/* Allocate `size` bytes with ops and a copy of name set, the rest zero; NULL when out of memory. */
void *im_store_new(size_t size, const struct im_store_ops *ops, const char *name);

int im_store_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                   struct im_error *err);

/* -EOPNOTSUPP when the store cannot. */
int im_store_share(struct im_store *store, int fd, uint64_t from, uint64_t len, uint64_t offset,
                   struct im_error *err);
int im_store_clear(struct im_store *store, uint64_t len, uint64_t offset, struct im_error *err);
int im_store_commit(struct im_store *store, uint64_t size, struct im_error *err);

/* Release; takes NULL, returns NULL.  Without a commit before it nothing is left. */
struct im_store *im_store_close(struct im_store *store);
