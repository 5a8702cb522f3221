/* verify - whose request is this, and is it what they signed? */

#include <config.h>

#include "auth/verify.h"

#include <errno.h>
#include <string.h>

#include "aws/canonical.h"
#include "aws/s3v2.h"
#include "aws/sigv2.h"
#include "base/crypto.h"
#include "metrics.h"

/* The key a request names, and what there is to say about it. */
struct signer {
    struct svc_key key; /* a made-up one when it is not known */
    bool known;
    bool token; /* the request has the session token that belongs to the key, or needs none */
    bool ended; /* temporary credentials whose time is over */
};

static void signer_wipe(struct signer *signer)
{
    svc_key_wipe(&signer->key);
}
#define SIGNER_WIPE IM_CLEANUP(signer_wipe)

static int find_signer(struct svc_accounts *accounts, const char *access_key, const char *token,
                       int64_t now_ms, struct signer *ret_signer, struct im_error *err)
{
    int r = svc_accounts_find(accounts, access_key, &ret_signer->key, err);

    if (r < 0 && r != -ENOENT) {
        if (err)
            err->code = "InternalFailure"; /* whatever it was: not the client's fault */
        return r;
    }
    ret_signer->known = r == 0;
    ret_signer->token = svc_key_takes_token(&ret_signer->key, token);
    ret_signer->ended = ret_signer->key.temporary && ret_signer->key.expires_ms <= now_ms;
    return 0;
}

/* The ways to sign; a request must use exactly one. */
enum { BY_HEADER = 1, BY_V4_QUERY = 2, BY_V2_QUERY = 4 };

static unsigned ways(const struct im_signable *request, const struct im_query *params)
{
    unsigned found = im_signable_header(request, "Authorization") ? BY_HEADER : 0;

    if (!params)
        return found;
    if (im_query_get(params, "X-Amz-Algorithm") || im_query_get(params, "X-Amz-Signature"))
        found |= BY_V4_QUERY;
    if (im_query_get(params, "AWSAccessKeyId") || im_query_get(params, "Signature") ||
        im_query_get(params, "SignatureVersion"))
        found |= BY_V2_QUERY;
    return found;
}

static int check_ways_api(unsigned found, struct im_error *err)
{
    switch (found) {
    case BY_HEADER:
    case BY_V4_QUERY:
    case BY_V2_QUERY:
        return 0;
    case 0:
        return im_fail_code(err, EACCES, "MissingParameter",
                            "The request must contain the parameter AWSAccessKeyId");
    default:
        return im_fail_code(err, EACCES, "IncompleteSignature",
                            "The request carries more than one signature; send exactly one.");
    }
}

/* For a key that does not exist, or whose session is another's, whatever else is wrong. */
static int unknown_account(struct im_error *err)
{
    return im_fail_code(err, EACCES, "AuthFailure",
                        "AWS was not able to validate the provided access credentials");
}

/* SHA-256 of text in hexadecimal. */
static void digest_text(const char *text, char ret_hex[65])
{
    uint8_t digest[IM_HASH_MAX];

    im_hash(IM_SHA256, text, strlen(text), digest);
    im_hex(digest, im_hash_size(IM_SHA256), ret_hex);
}

/* What a verified signature is worth: r is what the verification returned.  That credentials have
 * ended is told to their owner only. */
static int judge_api(const struct signer *signer, int r, const struct im_signable *request,
                     const char *signature, struct svc_caller *ret_caller, struct im_error *err)
{
    const char *invocation = im_signable_header(request, "amz-sdk-invocation-id");

    if (!signer->known || !signer->token)
        return unknown_account(err);
    if (r == 0 && signer->ended)
        return im_fail_code(err, EACCES, "RequestExpired",
                            "Request has expired. The temporary credentials have ended.");
    if (r < 0)
        return r;
    *ret_caller = signer->key.caller;
    digest_text(signature, ret_caller->proof);
    if (invocation)
        digest_text(invocation, ret_caller->invocation);
    return 0;
}

static int verify_api_v4(struct svc_accounts *accounts, const struct im_signable *request,
                         const void *body, size_t len, int64_t now_ms,
                         struct svc_caller *ret_caller, struct im_error *err)
{
    struct signer signer SIGNER_WIPE = { 0 };
    struct im_signable whole = *request;
    struct im_sigv4_claim claim;
    uint8_t digest[IM_HASH_MAX];
    char hex[2 * IM_HASH_MAX + 1];
    int r;

    if (!im_sigv4_present(request))
        return im_fail_code(err, EACCES, "IncompleteSignature",
                            "The Authorization header must start with AWS4-HMAC-SHA256.");
    r = im_sigv4_parse(request, &claim, err);
    if (r == 0)
        r = find_signer(accounts, claim.access_key, claim.token, now_ms, &signer, err);
    if (r < 0)
        return r;
    im_hash(IM_SHA256, body, len, digest);
    im_hex(digest, im_hash_size(IM_SHA256), hex);
    whole.payload_hash = hex;
    r = im_sigv4_verify(&whole, &claim, signer.key.secret, now_ms, err);
    return judge_api(&signer, r, request, claim.signature, ret_caller, err);
}

static int verify_api_v2(struct svc_accounts *accounts, const struct im_signable *request,
                         const struct im_query *params, int64_t now_ms,
                         struct svc_caller *ret_caller, struct im_error *err)
{
    struct signer signer SIGNER_WIPE = { 0 };
    struct im_sigv2_claim claim;
    int r = im_sigv2_parse(params, &claim, err);

    if (r == 0)
        r = find_signer(accounts, claim.access_key, claim.token, now_ms, &signer, err);
    if (r < 0)
        return r;
    r = im_sigv2_verify(request, params, &claim, signer.key.secret, now_ms, err);
    return judge_api(&signer, r, request, claim.signature, ret_caller, err);
}

/* Count a refusal that is the client's doing; others are the database's, or of no memory. */
static int counted(int r, const struct im_error *err)
{
    if (r == -EACCES || r == -EINVAL)
        metric_add(METRIC_AUTH_FAILURES, err ? err->code : NULL, NULL, 1);
    return r;
}

int svc_verify_api(struct svc_accounts *accounts, const struct im_signable *request,
                   const struct im_query *params, const void *body, size_t len, int64_t now_ms,
                   struct svc_caller *ret_caller, struct im_error *err)
{
    unsigned found = ways(request, params);
    int r = check_ways_api(found, err);

    if (r == 0 && found == BY_V2_QUERY)
        r = verify_api_v2(accounts, request, params, now_ms, ret_caller, err);
    else if (r == 0)
        r = verify_api_v4(accounts, request, body, len, now_ms, ret_caller, err);
    return counted(r, err);
}

/* The code S3 gives where Signature Version 4 of EC2 gives another. */
static int s3_code(bool presigned, int r, struct im_error *err)
{
    if (r == 0)
        return 0;
    if (strcmp(err->code, "RequestExpired") == 0)
        err->code = presigned ? "AccessDenied" : "RequestTimeTooSkewed";
    else if (strcmp(err->code, "SignatureDoesNotMatch") != 0 && err->number != ENOMEM)
        err->code =
            presigned ? "AuthorizationQueryParametersError" : "AuthorizationHeaderMalformed";
    return r;
}

static int unknown_key(struct im_error *err)
{
    return im_fail_code(err, EACCES, "InvalidAccessKeyId",
                        "The AWS Access Key Id you provided does not exist in our records.");
}

/* As judge_api, in S3's words. */
static int judge_object(const struct signer *signer, const char *token, int r,
                        struct svc_caller *ret_caller, struct im_error *err)
{
    if (!signer->known || (!signer->token && !token[0]))
        return unknown_key(err);
    if (!signer->token)
        return im_fail_code(err, EACCES, "InvalidToken",
                            "The provided token is malformed or otherwise invalid.");
    if (r == 0 && signer->ended)
        return im_fail_code(err, EACCES, "ExpiredToken", "The provided token has expired.");
    if (r == 0)
        *ret_caller = signer->key.caller;
    return r;
}

static bool is_hex_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* What the V4 signature says about the body; "" in ret_payload: nothing. */
static int v4_payload(const struct im_signable *request, bool presigned, char *ret_payload,
                      struct im_error *err)
{
    const char *claimed = im_signable_header(request, "X-Amz-Content-Sha256");
    const char *length = im_signable_header(request, "Content-Length");

    ret_payload[0] = '\0';
    if (claimed && strncmp(claimed, "STREAMING-", 10) == 0)
        return im_fail_code(err, EOPNOTSUPP, "NotImplemented",
                            "aws-chunked bodies (%.60s) are not taken; send the object as it is, "
                            "with its SHA-256 or UNSIGNED-PAYLOAD in x-amz-content-sha256.",
                            claimed);
    if (claimed && strcmp(claimed, IM_UNSIGNED_PAYLOAD) == 0)
        return 0;
    if (claimed && !is_hex_sha256(claimed))
        return im_fail_code(err, EINVAL, "InvalidArgument",
                            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or 64 lower-case "
                            "hexadecimal digits.");
    if (claimed) {
        memcpy(ret_payload, claimed, 65);
        return 0;
    }
    if (presigned)
        return 0;
    if ((length && strcmp(length, "0") != 0) || im_signable_header(request, "Transfer-Encoding"))
        return im_fail_code(err, EINVAL, "InvalidRequest",
                            "Missing required header for this request: x-amz-content-sha256");
    memcpy(ret_payload, IM_EMPTY_SHA256, 65);
    return 0;
}

static int verify_v4(struct svc_accounts *accounts, const struct im_signable *request,
                     bool presigned, int64_t now_ms, struct svc_caller *ret_caller,
                     char *ret_payload, struct im_error *err)
{
    struct signer signer SIGNER_WIPE = { 0 };
    struct im_signable whole = *request;
    struct im_sigv4_claim claim;
    int r;

    r = s3_code(presigned, im_sigv4_parse(request, &claim, err), err);
    if (r == 0)
        r = v4_payload(request, presigned, ret_payload, err);
    if (r == 0)
        r = find_signer(accounts, claim.access_key, claim.token, now_ms, &signer, err);
    if (r < 0)
        return r;
    whole.s3 = true;
    whole.payload_hash = ret_payload[0] ? ret_payload : IM_UNSIGNED_PAYLOAD;
    r = im_sigv4_verify(&whole, &claim, signer.key.secret, now_ms, err);
    return judge_object(&signer, claim.token, s3_code(presigned, r, err), ret_caller, err);
}

static int verify_v2(struct svc_accounts *accounts, const struct im_signable *request,
                     const char *prefix, int64_t now_ms, struct svc_caller *ret_caller,
                     char *ret_payload, struct im_error *err)
{
    const char *claimed = im_signable_header(request, "X-Amz-Content-Sha256");
    const char *resource = request->path;
    size_t prefix_len = strlen(prefix);
    struct signer signer SIGNER_WIPE = { 0 };
    struct im_s3v2_claim claim;
    const char *secret = signer.key.secret;
    int r;

    ret_payload[0] = '\0';
    if (claimed && is_hex_sha256(claimed))
        memcpy(ret_payload, claimed, 65);
    r = im_s3v2_parse(request, &claim, err);
    if (r == 0)
        r = find_signer(accounts, claim.access_key, claim.token, now_ms, &signer, err);
    if (r < 0)
        return r;
    r = im_s3v2_verify(request, resource, &claim, secret, now_ms, err);
    /* the resource is the path behind the endpoint's own path; not every client takes that off */
    if (r < 0 && strncmp(resource, prefix, prefix_len) == 0 &&
        strcmp(err->code, "SignatureDoesNotMatch") == 0) {
        resource += prefix_len;
        r = im_s3v2_verify(request, *resource ? resource : "/", &claim, secret, now_ms, err);
    }
    return judge_object(&signer, claim.token, r, ret_caller, err);
}

static int verify_object(struct svc_accounts *accounts, const struct im_signable *request,
                         const char *prefix, int64_t now_ms, struct svc_caller *ret_caller,
                         char *ret_payload, struct im_error *err)
{
    struct im_query params IM_QUERY_DONE = { 0 };
    unsigned found;
    int r;

    r = im_query_parse(request->query, strlen(request->query), &params, err);
    if (r < 0) {
        err->code = "InvalidURI";
        return r;
    }
    found = ways(request, &params);
    if (found == 0)
        return im_fail_code(err, EACCES, "AccessDenied",
                            "Access Denied: the request is not signed.");
    if (found & (found - 1))
        return im_fail_code(err, EACCES, "InvalidArgument",
                            "Only one auth mechanism allowed: the Authorization header, the "
                            "X-Amz-Signature or the Signature query parameter.");
    if (im_sigv4_present(request))
        return verify_v4(accounts, request, found == BY_V4_QUERY, now_ms, ret_caller, ret_payload,
                         err);
    if (im_s3v2_present(request))
        return verify_v2(accounts, request, prefix, now_ms, ret_caller, ret_payload, err);
    return im_fail_code(err, EACCES, "InvalidArgument", "Unsupported Authorization Type");
}

int svc_verify_object(struct svc_accounts *accounts, const struct im_signable *request,
                      const char *prefix, int64_t now_ms, struct svc_caller *ret_caller,
                      char *ret_payload, struct im_error *err)
{
    return counted(verify_object(accounts, request, prefix, now_ms, ret_caller, ret_payload, err),
                   err);
}
