/* json - jansson allocates by base/memory.h.  What is built by jansson is not here. */

#include <config.h>

#include "base/json.h"

#include <stdlib.h>

#include <jansson.h>

#include "base/memory.h"

/* Before main, as jansson wants: nothing may have been allocated otherwise. */
__attribute__((constructor)) static void set_memory(void)
{
    json_set_alloc_funcs(im_memory_new, free);
}

bool im_json_lost(void)
{
    return im_memory_lost();
}
