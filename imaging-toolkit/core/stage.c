/* stage - find a stage by name. */

#include <config.h>

#include "core/stage.h"

#include <stddef.h>
#include <string.h>

#include "core/registry.h"

const struct im_stage *im_stage_find(const char *name)
{
    for (size_t i = 0; im_stages[i]; i++)
        if (strcmp(im_stages[i]->name, name) == 0)
            return im_stages[i];
    return NULL;
}
