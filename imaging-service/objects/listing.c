/* listing - the XML documents that name buckets and objects ("ListObjects", "ListObjectsV2" and
 * "ListBuckets" of the S3 API reference). */

#include <config.h>

#include "objects/listing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "xml.h"
#include "base/crypto.h"
#include "base/clock.h"
#include "base/text.h"

#define XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

/* Keys in one answer, as S3 has it. */
#define KEYS_MAX 1000

/* What one listing asks for. */
struct ask {
    const char *prefix, *after;
    uint64_t max;
    bool second; /* list type 2 */
};

static void write_time(struct svc_xml *xml, const char *name, int64_t seconds)
{
    char text[24];

    svc_xml_text(xml, name, im_clock_iso8601(text, sizeof(text), seconds * 1000));
}

static int finish(struct svc_xml *xml, struct im_error *err)
{
    int r = svc_xml_end(xml);

    return r < 0 ? im_fail_errno(err, -r, "a listing cannot be written") : 0;
}

static int write_bucket(void *arg, const char *name, int64_t created_s)
{
    struct svc_xml *xml = arg;

    svc_xml_open(xml, "Bucket", NULL);
    svc_xml_text(xml, "Name", name);
    write_time(xml, "CreationDate", created_s);
    svc_xml_close(xml);
    return 0;
}

int svc_write_buckets(struct svc_store *store, const char *account, struct im_buffer *out,
                      struct im_error *err)
{
    struct svc_xml *xml = svc_xml_new(out);
    int r, ended;

    if (!xml)
        return im_fail(err, ENOMEM, "out of memory");
    svc_xml_open(xml, "ListAllMyBucketsResult", XMLNS);
    svc_xml_open(xml, "Owner", NULL);
    svc_xml_text(xml, "ID", account);
    svc_xml_close(xml);
    svc_xml_open(xml, "Buckets", NULL);
    r = svc_bucket_list(store, account, write_bucket, xml, err);
    svc_xml_close(xml);
    svc_xml_close(xml);
    ended = finish(xml, r < 0 ? NULL : err);
    return r < 0 ? r : ended;
}

static const char *get(const struct im_query *query, const char *name)
{
    const char *value = im_query_get(query, name);

    return value ? value : "";
}

static int read_ask(const struct im_query *query, struct ask *ask, struct im_error *err)
{
    const char *max = get(query, "max-keys");
    const char *token = get(query, "continuation-token");

    *ask = (struct ask){ .prefix = get(query, "prefix"), .max = KEYS_MAX };
    ask->second = strcmp(get(query, "list-type"), "2") == 0;
    if (!ask->second)
        ask->after = get(query, "marker");
    else
        ask->after = *token ? token : get(query, "start-after");
    if (*max && im_parse_uint(max, INT32_MAX, &ask->max) < 0)
        return im_fail_code(err, EINVAL, "InvalidArgument",
                            "Argument max-keys must be a whole number from 0 to 2147483647.");
    if (ask->max > KEYS_MAX)
        ask->max = KEYS_MAX;
    for (size_t i = 0; i < query->count; i++)
        if (!im_text_is_xml(query->param[i].value, strlen(query->param[i].value)))
            return im_fail_code(err, EINVAL, "InvalidArgument",
                                "A query parameter holds a control character.");
    return 0;
}

static void write_entry(struct svc_xml *xml, const struct svc_entry *entry)
{
    char hex[33], etag[40];

    im_hex(entry->md5, sizeof(entry->md5), hex);
    (void)snprintf(etag, sizeof(etag), "\"%s\"", hex);
    svc_xml_open(xml, "Contents", NULL);
    svc_xml_text(xml, "Key", entry->key);
    write_time(xml, "LastModified", entry->modified_s);
    svc_xml_text(xml, "ETag", etag);
    svc_xml_uint(xml, "Size", entry->size);
    svc_xml_text(xml, "StorageClass", "STANDARD");
    svc_xml_close(xml);
}

static void write_head(struct svc_xml *xml, const char *bucket, const struct ask *ask,
                       const struct svc_listing *listing)
{
    const char *last = listing->more ? listing->entry[listing->count - 1].key : NULL;

    svc_xml_text(xml, "Name", bucket);
    svc_xml_text(xml, "Prefix", ask->prefix);
    svc_xml_text(xml, ask->second ? "StartAfter" : "Marker", ask->after);
    svc_xml_uint(xml, "MaxKeys", ask->max);
    if (ask->second)
        svc_xml_uint(xml, "KeyCount", listing->count);
    svc_xml_bool(xml, "IsTruncated", listing->more);
    svc_xml_text(xml, ask->second ? "NextContinuationToken" : "NextMarker", last);
}

int svc_write_objects(struct svc_store *store, const char *bucket, const struct im_query *query,
                      struct im_buffer *out, struct im_error *err)
{
    struct svc_listing listing SVC_LISTING_DONE = { 0 };
    struct svc_xml *xml;
    struct ask ask;
    int r = read_ask(query, &ask, err);

    if (r == 0 && ask.max == 0) /* "is it there?": nothing is listed, nothing is left over */
        r = svc_bucket_check(store, bucket, err);
    else if (r == 0)
        r = svc_object_list(store, bucket, ask.prefix, ask.after, (size_t)ask.max, &listing, err);
    if (r < 0)
        return r;
    xml = svc_xml_new(out);
    if (!xml)
        return im_fail(err, ENOMEM, "out of memory");
    svc_xml_open(xml, "ListBucketResult", XMLNS);
    write_head(xml, bucket, &ask, &listing);
    for (size_t i = 0; i < listing.count; i++)
        write_entry(xml, &listing.entry[i]);
    svc_xml_close(xml);
    return finish(xml, err);
}
