/* memory - allocators for libraries of others.  Our own code calls malloc. */

#include <config.h>

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local bool lost;

void *im_memory_noted(void *memory)
{
    if (!memory)
        lost = true;
    return memory;
}

void *im_memory_new(size_t size)
{
    return im_memory_noted(malloc(size));
}

void *im_memory_resize(void *old, size_t size)
{
    return im_memory_noted(realloc(old, size));
}

char *im_memory_copy(const char *text)
{
    return im_memory_noted(strdup(text));
}

bool im_memory_lost(void)
{
    return lost;
}

void im_memory_told(void)
{
    lost = false;
}
