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
};

struct im_store_options {
    uint64_t size; /* size in bytes, or IM_SIZE_UNKNOWN */
    bool force;    /* replace what exists */
};

/* A kind of store; registered by its file name in the Makefile. */
struct im_store_type {
    const char *name;
    const char *summary;
    bool (*accepts)(const char *spec); /* asked in the order of the Makefile's list */
    int (*open)(const char *spec, const struct im_store_options *options,
                struct im_store **ret_store, struct im_error *err);
};

/* Open what spec names: "-" or a path. */
int im_store_open(const char *spec, const struct im_store_options *options,
                  struct im_store **ret_store, struct im_error *err);

/* Allocate `size` bytes with ops and a copy of name set, the rest zero; NULL when out of memory. */
void *im_store_new(size_t size, const struct im_store_ops *ops, const char *name);

int im_store_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                   struct im_error *err);
int im_store_commit(struct im_store *store, uint64_t size, struct im_error *err);

/* Release; takes NULL, returns NULL.  Without a commit before it nothing is left. */
struct im_store *im_store_close(struct im_store *store);
