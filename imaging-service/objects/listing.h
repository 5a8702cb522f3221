/* listing - the XML documents that name buckets and objects. */
#pragma once

#include "aws/query.h"
#include "base/buffer.h"
#include "objects/store.h"

/* Append ListAllMyBucketsResult: the buckets of the account. */
int svc_write_buckets(struct svc_store *store, const char *account, struct im_buffer *out,
                      struct im_error *err);

/* Append ListBucketResult for the request's query (prefix, max-keys, marker; list-type=2 with
 * start-after and continuation-token).  Codes: NoSuchBucket, InvalidArgument. */
int svc_write_objects(struct svc_store *store, const char *bucket, const struct im_query *query,
                      struct im_buffer *out, struct im_error *err);
