/* objects - where the object store of this machine is, if the job tells. */

#include <config.h>

#include "core/objects.h"

struct im_objects im_objects;
