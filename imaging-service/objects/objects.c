/* objects - the object store endpoint: which request does what.
 *
 * Signatures are checked from the headers, before a body is accepted.  Bodies pass through to the
 * disk in the pieces in which they arrive; answers are sent from the file. */

#include <config.h>

#include "objects/objects.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth/verify.h"
#include "base/crypto.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "objects/errors.h"
#include "objects/listing.h"
#include "objects/target.h"

/* Bytes of a body that is not an object: the location of a new bucket. */
#define SMALL_BODY_MAX (64u * 1024)

/* Which file holds the object, told to who asks and has just shown that he may read it.  It is no
 * secret: the name follows from bucket and key.  See imaging-toolkit/source/local.h. */
#define FILE_FIELD "X-Euca-Object-File"

/* One request from its headers to its answer. */
struct object_state {
    struct svc_store *store;
    const struct svc_request *request;
    struct svc_caller caller;
    struct svc_target target;
    struct svc_upload *upload;      /* of an object; NULL: a bucket is made */
    struct im_hasher *md5, *sha256; /* sha256 only when its value was promised */
    char promised[65];              /* SHA-256 of the body in hex, "" when open */
    struct im_error err;            /* number 0: all well so far */
};

/* Parameters that make it another operation than the one the method and path say.  Ignoring them
 * would do what nobody asked for; all other parameters are ignored. */
static const char *const elsewhere[] = {
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "copy",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
};

static int refuse_elsewhere(const struct svc_request *request, const struct im_query *query,
                            struct im_error *err)
{
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        if (im_query_get(query, elsewhere[i]))
            return im_fail_code(
                err, EOPNOTSUPP, "NotImplemented",
                "This store does not implement '?%s'. Send each object whole, in one "
                "PUT (AWS CLI: raise s3.multipart_threshold).",
                elsewhere[i]);
    if (svc_request_header(request, "x-amz-copy-source"))
        return im_fail_code(err, EOPNOTSUPP, "NotImplemented",
                            "This store does not copy objects; read and write them.");
    return 0;
}

static void write_etag(struct svc_response *response, const uint8_t md5[16])
{
    char hex[33];

    im_hex(md5, 16, hex);
    svc_response_field(response, "ETag", "\"%s\"", hex);
}

/* True when the list of a precondition names this ETag. */
static bool names_etag(const char *list, const uint8_t md5[16])
{
    char hex[33];

    im_hex(md5, 16, hex);
    return strcmp(list, "*") == 0 || strstr(list, hex);
}

/* If-Match and If-None-Match (RFC 9110, section 13.1): the status they ask for, 0 to go on. */
static unsigned precondition(const struct svc_request *request, const struct svc_object *object)
{
    const char *match = svc_request_header(request, "If-Match");
    const char *none = svc_request_header(request, "If-None-Match");

    if (match && !names_etag(match, object->md5))
        return 412;
    return none && names_etag(none, object->md5) ? 304 : 0;
}

static void write_modified(struct svc_response *response, int64_t seconds)
{
    time_t time = (time_t)seconds;
    struct tm tm;
    char text[40];

    (void)gmtime_r(&time, &tm);
    if (strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
        svc_response_field(response, "Last-Modified", "%s", text);
}

static int get_object(struct object_state *state, struct svc_response *response,
                      struct im_error *err)
{
    const struct svc_request *request = state->request;
    struct svc_object object;
    uint64_t offset = 0, length;
    unsigned status;
    int r = svc_object_open(state->store, state->target.bucket, state->target.key, &object, err);

    if (r < 0)
        return r;
    response->fd = object.fd; /* closed with the response, whatever follows */
    status = precondition(request, &object);
    if (status == 412)
        return im_fail_code(err, EINVAL, "PreconditionFailed",
                            "At least one of the preconditions you specified did not hold");
    length = object.size;
    r = svc_range_parse(svc_request_header(request, "Range"), object.size, &offset, &length);
    if (r < 0)
        return im_fail_code(err, ERANGE, "InvalidRange",
                            "The requested range is not satisfiable: the object has %" PRIu64
                            " bytes.",
                            object.size);
    response->status = status ? status : r ? 206 : 200;
    response->content_type = "binary/octet-stream";
    response->offset = offset;
    response->length = status ? 0 : length;
    write_etag(response, object.md5);
    write_modified(response, object.modified_s);
    svc_response_field(response, "Accept-Ranges", "bytes");
    if (!status && svc_request_header(request, FILE_FIELD)) /* the toolkit on this machine asks */
        svc_response_field(response, FILE_FIELD, "%s %s", object.file, object.id.text);
    if (response->status == 206)
        svc_response_field(response, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                           offset, offset + length - 1, object.size);
    return 0;
}

static int get_listing(struct object_state *state, const struct im_query *query,
                       struct svc_response *response, struct im_error *err)
{
    int r;

    if (!state->target.bucket[0])
        r = svc_write_buckets(state->store, state->caller.account, &response->body, err);
    else
        r = svc_write_objects(state->store, state->target.bucket, query, &response->body, err);
    if (r == 0) {
        response->status = 200;
        response->content_type = "application/xml";
    }
    return r;
}

/* A method that answers from the headers alone; 1 when the body is wanted. */
static int answer(struct object_state *state, const struct im_query *query,
                  struct svc_response *response, struct im_error *err)
{
    const struct svc_target *target = &state->target;
    const char *method = state->request->method;
    bool head = strcmp(method, "HEAD") == 0;
    int r;

    if (target->key[0] && (head || strcmp(method, "GET") == 0))
        return get_object(state, response, err);
    if (target->key[0] && strcmp(method, "DELETE") == 0) {
        r = svc_object_remove(state->store, target->bucket, target->key, err);
        response->status = 204;
        return r;
    }
    if (target->bucket[0] && head) {
        r = svc_bucket_check(state->store, target->bucket, err);
        response->status = 200;
        return r;
    }
    if (!target->key[0] && strcmp(method, "GET") == 0)
        return get_listing(state, query, response, err);
    if (target->bucket[0] && strcmp(method, "PUT") == 0)
        return 1;
    return im_fail_code(err, EINVAL, "MethodNotAllowed",
                        "The specified method is not allowed against this resource.");
}

/* What the headers of an upload must say before its body is taken. */
static int check_upload(const struct svc_request *request, struct im_error *err)
{
    const char *md5 = svc_request_header(request, "Content-MD5");
    const char *coding = svc_request_header(request, "Content-Encoding");

    if (!svc_request_header(request, "Content-Length"))
        return im_fail_code(err, EINVAL, "MissingContentLength",
                            "You must provide the Content-Length HTTP header.");
    if (md5 && strlen(md5) != 24)
        return im_fail_code(err, EINVAL, "InvalidDigest",
                            "The Content-MD5 you specified is not the Base64 form of an MD5.");
    if (coding && strstr(coding, "aws-chunked"))
        return im_fail_code(err, EOPNOTSUPP, "NotImplemented",
                            "aws-chunked bodies are not taken; send the object as it is.");
    if (svc_request_header(request, "If-None-Match") || svc_request_header(request, "If-Match"))
        return im_fail_code(err, EOPNOTSUPP, "NotImplemented", "Conditional writes are not taken.");
    return 0;
}

static int start_upload(struct object_state *state, struct im_error *err)
{
    const struct svc_request *request = state->request;
    int r = 0;

    if (state->target.key[0]) {
        r = check_upload(request, err);
        if (r == 0)
            r = svc_upload_new(state->store, state->target.bucket, state->target.key,
                               request->content_length, &state->upload, err);
    } else if (request->content_length > SMALL_BODY_MAX || request->chunked) {
        r = im_fail_code(err, EFBIG, "EntityTooLarge",
                         "The body of this request may have at most %u bytes.", SMALL_BODY_MAX);
    }
    if (r < 0)
        return r;
    state->md5 = im_hasher_new(IM_MD5);
    if (state->promised[0])
        state->sha256 = im_hasher_new(IM_SHA256);
    if (!state->md5 || (state->promised[0] && !state->sha256))
        return im_fail(err, ENOMEM, "out of memory");
    return 0;
}

static void release(void *arg)
{
    struct object_state *state = arg;

    (void)svc_upload_free(state->upload);
    (void)im_hasher_free(state->md5);
    (void)im_hasher_free(state->sha256);
    free(state);
}

/* The caller may do such things at all, and the bucket is his.  One that is to be made is looked at
 * when it is made. */
static int check_permission(const struct object_state *state, struct im_error *err)
{
    const char *method = state->request->method;
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    char owner[SVC_OWNER_SIZE];
    int r;

    if (!svc_caller_may(&state->caller, reads ? SVC_READ_OBJECTS : SVC_WRITE_OBJECTS))
        return im_fail_code(err, EACCES, "AccessDenied", "Access Denied");
    if (!state->target.bucket[0] || (!state->target.key[0] && strcmp(method, "PUT") == 0))
        return 0;
    r = svc_bucket_owner(state->store, state->target.bucket, owner, err);
    if (r == 0 && strcmp(owner, state->caller.account) != 0)
        return im_fail_code(err, EACCES, "AccessDenied", "Access Denied");
    return r;
}

/* The name S3 has for it; NULL: none of ours. */
static const char *action_of(const struct svc_target *target, const char *method)
{
    static const struct {
        const char *method, *object, *bucket, *all;
    } rows[] = {
        { "GET", "GetObject", "ListObjects", "ListBuckets" },
        { "HEAD", "HeadObject", "HeadBucket", NULL },
        { "PUT", "PutObject", "CreateBucket", NULL },
        { "DELETE", "DeleteObject", NULL, NULL },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(rows[i].method, method) == 0)
            return target->key[0]      ? rows[i].object
                   : target->bucket[0] ? rows[i].bucket
                                       : rows[i].all;
    return NULL;
}

/* Authenticate, then do what needs no body.  1 when the body is wanted. */
static int open_request(const struct svc_object_service *service, struct object_state *state,
                        struct svc_response *response, struct im_error *err)
{
    struct im_signable signable = svc_request_signable(state->request);
    struct im_query query IM_QUERY_DONE = { 0 };
    int r;

    r = svc_verify_object(service->accounts, &signable, SVC_OBJECTS_PATH, im_clock_now_ms(),
                          &state->caller, state->promised, err);
    if (r == 0)
        r = svc_target_parse(state->request->path, &state->target, err);
    if (r == 0) {
        response->action = action_of(&state->target, state->request->method);
        (void)snprintf(response->account, sizeof(response->account), "%s", state->caller.account);
        r = check_permission(state, err);
    }
    if (r == 0)
        r = im_query_parse(state->request->query, strlen(state->request->query), &query, err);
    if (r == 0)
        r = refuse_elsewhere(state->request, &query, err);
    if (r == 0)
        r = answer(state, &query, response, err);
    if (r == 1 && start_upload(state, err) < 0)
        r = -EINVAL;
    return r;
}

static void refuse(const struct object_state *state, struct svc_response *response,
                   const struct im_error *err)
{
    svc_object_refuse(state->request, response, err,
                      state->target.bucket[0] ? state->target.bucket : NULL,
                      state->target.key[0] ? state->target.key : NULL);
}

static void *begin(void *arg, const struct svc_request *request, struct svc_response *response)
{
    const struct svc_object_service *service = arg;
    struct im_error err = { 0 };
    struct object_state *state;
    int r;

    if (!service->store) {
        (void)im_fail_code(&err, EOPNOTSUPP, "NotImplemented",
                           "This service has no object store of its own: keep images and manifests "
                           "in the S3 it was set up for.");
        svc_object_refuse(request, response, &err, NULL, NULL);
        return NULL;
    }
    state = calloc(1, sizeof(*state));
    if (!state) {
        (void)im_fail(&err, ENOMEM, "out of memory");
        svc_object_refuse(request, response, &err, NULL, NULL);
        return NULL;
    }
    state->store = service->store;
    state->request = request;
    r = open_request(service, state, response, &err);
    if (r == 1)
        return state;
    if (r < 0)
        refuse(state, response, &err);
    release(state);
    return NULL;
}

static bool data(void *arg, const void *bytes, size_t len)
{
    struct object_state *state = arg;

    im_hasher_add(state->md5, bytes, len);
    if (state->sha256)
        im_hasher_add(state->sha256, bytes, len);
    return !state->upload || svc_upload_write(state->upload, bytes, len, &state->err) == 0;
}

/* Compare what arrived with what was promised. */
static int check_digests(struct object_state *state, const uint8_t md5[16])
{
    const char *promised = svc_request_header(state->request, "Content-MD5");
    uint8_t sha256[IM_HASH_MAX];
    char text[2 * IM_HASH_MAX + 1];

    im_base64(md5, 16, text);
    if (promised && strcmp(promised, text) != 0)
        return im_fail_code(&state->err, EBADMSG, "BadDigest",
                            "The Content-MD5 you specified did not match what we received: "
                            "expected %.24s, calculated %s.",
                            promised, text);
    if (!state->sha256)
        return 0;
    im_hasher_end(state->sha256, sha256);
    im_hex(sha256, im_hash_size(IM_SHA256), text);
    if (strcmp(state->promised, text) != 0)
        return im_fail_code(&state->err, EBADMSG, "XAmzContentSHA256Mismatch",
                            "The provided 'x-amz-content-sha256' header does not match what was "
                            "computed: %s.",
                            text);
    return 0;
}

static void end(void *arg, struct svc_response *response)
{
    struct object_state *state = arg;
    const struct svc_target *target = &state->target;
    uint8_t md5[IM_HASH_MAX];
    int r = -state->err.number;

    im_hasher_end(state->md5, md5);
    if (r == 0)
        r = check_digests(state, md5);
    if (r == 0 && state->upload)
        r = svc_upload_commit(state->upload, md5, &state->err);
    else if (r == 0)
        r = svc_bucket_create(state->store, target->bucket, state->caller.account, &state->err);
    if (r < 0) {
        refuse(state, response, &state->err);
        state->upload = svc_upload_free(state->upload); /* gone before its sender is told */
        return;
    }
    response->status = 200;
    if (state->upload)
        write_etag(response, md5);
    else
        svc_response_field(response, "Location", "/%s", target->bucket);
}

static void malformed(const struct svc_request *request, struct svc_response *response,
                      const char *reason)
{
    struct im_error err;

    (void)im_fail_code(&err, EINVAL, "InvalidRequest", "The HTTP request is not valid: %s.",
                       reason);
    svc_object_refuse(request, response, &err, NULL, NULL);
}

const struct svc_handler svc_object_handler = {
    .begin = begin,
    .data = data,
    .end = end,
    .release = release,
    .malformed = malformed,
};
