/* errors - how the object store refuses: S3's codes, statuses and document. */
#pragma once

#include "base/error.h"
#include "http/message.h"

/* Answer with S3's error document for err.  err->code is one of S3's codes, or of any failure of
 * ours: a full disk is InsufficientStorage, all the rest InternalError, whose details go to the log
 * only. bucket and key may be NULL. */
void svc_object_refuse(const struct svc_request *request, struct svc_response *response,
                       const struct im_error *err, const char *bucket, const char *key);
