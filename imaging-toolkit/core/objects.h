/* objects - where the object store of this machine is, if the job tells.
 *
 * The service's standalone mode has its object store beside it.  A source whose URLs begin with
 * `prefix` may then find their bytes in files below `dir` (see source/local.h). */
#pragma once

struct im_objects {
    char *prefix; /* "http://127.0.0.1:8773/objects/"; NULL: there is none */
    char *dir;
};

/* Set by a job before it prepares or opens its source; one process does one job. */
extern struct im_objects im_objects;
