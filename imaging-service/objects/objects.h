/* objects - the object store endpoint of standalone mode: the small part of S3 that uploads of
 * images need, path style, below /objects/.
 *
 * Service GET; bucket GET (list, types 1 and 2), HEAD, PUT; object GET (Range), HEAD, PUT, DELETE.
 * A bucket, with all in it, is its owner's alone; presigned URLs of his are his requests.
 * No multipart uploads, copies, versions or access lists: asking for them is refused. */
#pragma once

#include "auth/accounts.h"
#include "http/message.h"
#include "objects/store.h"

/* The handler's service data; outlives the server. */
struct svc_object_service {
    struct svc_store *store; /* NULL: this service has none, and says so */
    struct svc_accounts *accounts;
};

extern const struct svc_handler svc_object_handler;
