/* memory - what libraries of others allocate by.
 *
 * Many of them tell a lack of memory as a fault of what they read, or leave out what they had no
 * room for.  So these remember in each thread that they failed; base/error.c then blames the
 * memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What memory an allocation gave; NULL is remembered. */
void *im_memory_noted(void *memory);

/* As malloc, realloc and strdup; free() is for what they give. */
void *im_memory_new(size_t size);
void *im_memory_resize(void *old, size_t size);
char *im_memory_copy(const char *text);

/* Whether one of them has failed in this thread, since a failure was told (im_fail does). */
bool im_memory_lost(void);
void im_memory_told(void);
