/* library - shared libraries that are opened when they are used: one that is not installed disables
 * what needs it, and nothing else, and none of them costs the start of a program that does not. */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* A function of the library and where its address goes. */
struct im_symbol {
    const char *name;
    size_t offset; /* of the pointer in the table */
};

/* The row of function `name` in a table of pointers, `struct type { typeof(&name) name; … }`. */
#define IM_SYMBOL(type, name)                                                                      \
    {                                                                                              \
#name, offsetof(struct type, name)                                                         \
    }

/* Open `soname` ("libfdisk.so.1") and fill the table; it stays open to the end of the program.
 * Called by several threads at once it does the same to each.  symbols ends with { NULL }.
 * -ENOPKG "unavailable: libfdisk.so.1 is missing", also when a function is not in it. */
int im_library_load(const char *soname, const struct im_symbol *symbols, void *table,
                    struct im_error *err);
