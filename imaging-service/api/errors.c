/* errors - the codes this API refuses with.
 *
 * Words and statuses are AWS's ("Error codes for the Amazon EC2 API").  The last four are for what
 * never reaches an operation and has no word there; RequestTimeout is S3's, with its status,
 * because SDKs try that again and not a 408.  A client sends 5xx again, so these are only given
 * when nothing was stored, or when nobody can know; against that there is the client token. */

#include <config.h>

#include "api/errors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned status;
    const char *text;
} codes[SVC_CODES] = {
    [SVC_INTERNAL_ERROR] = { "InternalError", 500,
                             "An internal error has occurred; the service's log has the details." },
    [SVC_AUTH_FAILURE] = { "AuthFailure", 401,
                           "AWS was not able to validate the provided access credentials" },
    [SVC_SIGNATURE_MISMATCH] = { "SignatureDoesNotMatch", 403,
                                 "The request signature we calculated does not match the signature "
                                 "you provided. Check your AWS Secret Access Key and signing "
                                 "method. Consult the service documentation for details." },
    [SVC_INCOMPLETE_SIGNATURE] = { "IncompleteSignature", 400,
                                   "The request signature does not conform to AWS standards." },
    [SVC_REQUEST_EXPIRED] = { "RequestExpired", 400, "Request has expired." },
    [SVC_UNAUTHORIZED] = { "UnauthorizedOperation", 403,
                           "You are not authorized to perform this operation." },
    [SVC_THROTTLED] = { "RequestLimitExceeded", 503, "Request limit exceeded." },
    [SVC_MISSING_ACTION] = { "MissingAction", 400,
                             "The request must contain the parameter Action" },
    [SVC_INVALID_ACTION] = { "InvalidAction", 400,
                             "The action is not valid for this web service." },
    [SVC_NO_SUCH_VERSION] = { "NoSuchVersion", 400, "The requested version is not supported." },
    [SVC_MISSING_PARAMETER] = { "MissingParameter", 400, "The request lacks a parameter." },
    [SVC_UNKNOWN_PARAMETER] = { "UnknownParameter", 400, "A parameter is not recognized." },
    [SVC_INVALID_VALUE] = { "InvalidParameterValue", 400, "A parameter's value is invalid." },
    [SVC_INVALID_COMBINATION] = { "InvalidParameterCombination", 400,
                                  "Parameters contradict each other." },
    [SVC_MALFORMED_QUERY] = { "MalformedQueryString", 400,
                              "The query string contains a syntax error." },
    [SVC_INVALID_CHARACTER] = { "InvalidCharacter", 400,
                                "A parameter holds a character that is not allowed." },
    [SVC_INVALID_REQUEST] = { "InvalidRequest", 400, "The request is not valid." },
    [SVC_DRY_RUN] = { "DryRunOperation", 412,
                      "Request would have succeeded, but DryRun flag is set." },
    [SVC_TOKEN_MISMATCH] = { "IdempotentParameterMismatch", 400,
                             "The request uses the same client token as a previous, but "
                             "non-identical request. Do not reuse a client token with different "
                             "requests, unless the requests are identical." },
    [SVC_TOO_MANY_TAGS] = { "TagLimitExceeded", 400,
                            "You've reached the limit on the number of tags that you can assign to "
                            "the specified resource." },
    [SVC_MALFORMED_TAG] = { "InvalidTagKey.Malformed", 400,
                            "The tag key is not valid. Tag keys cannot be empty or null, and "
                            "cannot start with aws:." },
    [SVC_MALFORMED_USER_DATA] = { "InvalidUserData.Malformed", 400,
                                  "Invalid BASE64 encoding of user data." },
    [SVC_UNKNOWN_TASK] = { "InvalidConversionTaskId", 400, "The conversion task does not exist." },
    [SVC_MALFORMED_TASK] = { "InvalidConversionTaskId.Malformed", 400,
                             "The conversion task ID is malformed." },
    [SVC_TASK_FINISHED] = { "DeleteConversionTaskError", 400,
                            "The conversion task cannot be cancelled." },
    [SVC_INVALID_FORMAT] = { "InvalidFormat", 400, "The specified disk format is not valid." },
    [SVC_IMAGE_TOO_LARGE] = { "DiskImageSizeTooLarge", 400,
                              "The disk image exceeds the allowed limit." },
    [SVC_UNKNOWN_ZONE] = { "InvalidZone.NotFound", 400,
                           "The specified Availability Zone does not exist." },
    [SVC_TOO_MANY_TASKS] = { "ResourceLimitExceeded", 400,
                             "The limit on conversion tasks in progress has been reached." },
    [SVC_TOO_MANY_FILTERS] = { "FilterLimitExceeded", 400,
                               "The request has too many filter values." },
    [SVC_UNAVAILABLE] = { "Unavailable", 503, "The service cannot work on this now." },
    [SVC_DATABASE_AWAY] = { "ServiceUnavailable", 503,
                            "The request has failed due to a temporary failure of the server." },
    [SVC_NOT_FOUND] = { "NotFound", 404, "There is nothing at this path." },
    [SVC_METHOD_NOT_ALLOWED] = { "MethodNotAllowed", 405,
                                 "The specified method is not allowed against this resource." },
    [SVC_TOO_LARGE] = { "RequestEntityTooLarge", 413, "The request body is too long." },
    [SVC_TIMEOUT] = { "RequestTimeout", 400,
                      "The request was not received within the timeout period." },
};

const char *svc_code_name(enum svc_code code)
{
    return codes[code].name;
}

unsigned svc_code_status(enum svc_code code)
{
    return codes[code].status;
}

const char *svc_code_text(enum svc_code code)
{
    return codes[code].text;
}

enum svc_code svc_code_of_failure(int number)
{
    switch (abs(number)) {
    case EHOSTDOWN:    /* cannot be reached */
    case ECONNABORTED: /* went away during the commit */
    case ETIMEDOUT:    /* somebody holds a lock, or it has too much to do */
        return SVC_DATABASE_AWAY;
    default:
        return SVC_INTERNAL_ERROR;
    }
}

enum svc_code svc_code_find(const char *name)
{
    for (unsigned i = 0; name && i < SVC_CODES; i++)
        if (strcmp(codes[i].name, name) == 0)
            return (enum svc_code)i;
    return SVC_INTERNAL_ERROR;
}
