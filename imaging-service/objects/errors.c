/* errors - how the object store refuses. */

#include <config.h>

#include "objects/errors.h"

#include <errno.h>
#include <string.h>

#include "xml.h"
#include "log.h"

/* "Error responses" of the S3 API reference; the statuses are S3's but for InsufficientStorage,
 * which it never has to say (WebDAV's 507, as other stores do). */
static const struct {
    const char *code;
    unsigned status;
} codes[] = {
    { "AccessDenied", 403 },
    { "AuthorizationHeaderMalformed", 400 },
    { "AuthorizationQueryParametersError", 400 },
    { "BadDigest", 400 },
    { "BucketAlreadyExists", 409 },
    { "EntityTooLarge", 400 },
    { "ExpiredToken", 400 },
    { "InsufficientStorage", 507 },
    { "InternalError", 500 },
    { "InvalidAccessKeyId", 403 },
    { "InvalidArgument", 400 },
    { "InvalidBucketName", 400 },
    { "InvalidDigest", 400 },
    { "InvalidRange", 416 },
    { "InvalidRequest", 400 },
    { "InvalidToken", 400 },
    { "InvalidURI", 400 },
    { "KeyTooLongError", 400 },
    { "MethodNotAllowed", 405 },
    { "MissingContentLength", 411 },
    { "NoSuchBucket", 404 },
    { "NoSuchKey", 404 },
    { "NotImplemented", 501 },
    { "PreconditionFailed", 412 },
    { "RequestTimeTooSkewed", 403 },
    { "SignatureDoesNotMatch", 403 },
    { "XAmzContentSHA256Mismatch", 400 },
};

static unsigned status_of(const char *code)
{
    for (size_t i = 0; code && i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(codes[i].code, code) == 0)
            return codes[i].status;
    return 0;
}

void svc_object_refuse(const struct svc_request *request, struct svc_response *response,
                       const struct im_error *err, const char *bucket, const char *key)
{
    const char *code = err->code, *message = err->message;
    unsigned status = status_of(code);
    struct svc_xml *xml;

    if (status == 0) {
        bool full = err->number == ENOSPC || err->number == EDQUOT;

        svc_log(SVC_ERROR, "object store, request %s: %s", request->id, message);
        code = full ? "InsufficientStorage" : "InternalError";
        message = full ? "There is no space left for this object; remove some and try again."
                       : "We encountered an internal error. Please try again.";
        status = full ? 507 : 500;
    }
    svc_response_reset(response);
    response->status = status;
    response->content_type = "application/xml";
    xml = svc_xml_new(&response->body);
    if (!xml)
        return;
    svc_xml_open(xml, "Error", NULL);
    svc_xml_text(xml, "Code", code);
    svc_xml_text(xml, "Message", message);
    svc_xml_text(xml, "BucketName", bucket);
    svc_xml_text(xml, "Key", key);
    svc_xml_text(xml, "Resource", request->path);
    svc_xml_text(xml, "RequestId", request->id);
    svc_xml_close(xml);
    (void)svc_xml_end(xml);
}
