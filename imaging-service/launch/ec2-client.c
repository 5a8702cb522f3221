/* ec2-client - sign, send, judge the answer; see ec2-client.h. */

#include <config.h>

#include "launch/ec2-client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/sigv4.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/retry.h"
#include "base/text.h"
#include "launch/credentials.h"

#define CONTENT_TYPE "application/x-www-form-urlencoded; charset=utf-8"

/* Host, X-Amz-Date, Content-Type, X-Amz-Security-Token, Authorization. */
#define HEADERS_MAX 5

/* Bytes of the Authorization header: a credential scope and the names of four headers. */
#define AUTHORIZATION_MAX 2048

struct ec2_client {
    const struct svc_conf *conf;
    const volatile bool *cancel;
    long request_ms;
    struct credentials keys;
    char *host, *path;
};

static int check_settings(const struct svc_conf *conf, struct im_error *err)
{
    const struct {
        const char *name, *value;
    } settings[] = {
        { "launcher-endpoint", conf->launcher_endpoint },
        { "launcher-credentials", conf->launcher_credentials },
        { "launcher-region", conf->launcher_region },
    };

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (!settings[i].value || !*settings[i].value)
            return im_fail(err, EINVAL, "%s is not set; the launcher 'ec2' needs it",
                           settings[i].name);
    return 0;
}

static int split_endpoint(struct ec2_client *client, struct im_error *err)
{
    struct im_url url;
    int r = im_url_split(client->conf->launcher_endpoint, &url, err);

    if (r == 0 && (url.has_user_info || url.query))
        r = im_fail(err, EINVAL, "it has a user name or a query");
    if (r < 0) {
        im_error_prefix(err, "launcher-endpoint");
        return r;
    }
    client->host = strndup(url.host, url.host_len);
    client->path = url.path_len > 0 ? strndup(url.path, url.path_len) : strdup("/");
    return client->host && client->path ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int fill(struct ec2_client *client, struct im_error *err)
{
    int r = check_settings(client->conf, err);

    if (r == 0)
        r = split_endpoint(client, err);
    return r < 0 ? r : credentials_read(client->conf->launcher_credentials, &client->keys, err);
}

int ec2_client_new(const struct svc_conf *conf, const atomic_bool *stop, long request_ms,
                   struct ec2_client **ret_client, struct im_error *err)
{
    struct ec2_client *client = calloc(1, sizeof(*client));
    int r;

    if (!client)
        return im_fail(err, ENOMEM, "out of memory");
    client->conf = conf;
    /* the same byte: im_http_do reads it with an atomic load */
    client->cancel = (const volatile bool *)stop;
    client->request_ms = request_ms;
    r = fill(client, err);
    if (r < 0) {
        ec2_client_free(client);
        return r;
    }
    *ret_client = client;
    return 0;
}

struct ec2_client *ec2_client_free(struct ec2_client *client)
{
    if (!client)
        return NULL;
    credentials_done(&client->keys);
    free(client->host);
    free(client->path);
    free(client);
    return NULL;
}

/* ---- one exchange ---- */

struct headers {
    size_t count;
    struct im_header header[HEADERS_MAX];
    char *line[HEADERS_MAX + 1]; /* "Name: value", NULL-terminated */
    char date[17];
    struct im_buffer authorization;
};

static void headers_done(struct headers *headers)
{
    for (size_t i = 0; i < headers->count; i++)
        free(headers->line[i]);
    im_buffer_done(&headers->authorization);
}

/* The value must live as long as the list; "" adds nothing. */
static int add_header(struct headers *headers, const char *name, const char *value,
                      struct im_error *err)
{
    size_t n = headers->count;

    if (!*value)
        return 0;
    headers->line[n] = im_asprintf("%s: %s", name, value);
    if (!headers->line[n])
        return im_fail(err, ENOMEM, "out of memory");
    headers->header[n] = (struct im_header){ name, value };
    headers->count++;
    return 0;
}

static int sign(const struct ec2_client *client, const struct im_buffer *form,
                struct headers *headers, struct im_error *err)
{
    const struct credentials *keys = &client->keys;
    const struct im_sigv4_key key = { keys->access_key, keys->secret_key,
                                      *keys->token ? keys->token : NULL,
                                      client->conf->launcher_region, "ec2" };
    uint8_t digest[IM_HASH_MAX];
    char hex[2 * IM_HASH_MAX + 1];
    struct im_signable signable = { .method = "POST",
                                    .path = client->path,
                                    .query = "",
                                    .headers = headers->header,
                                    .payload_hash = hex };
    int r;

    im_hash(IM_SHA256, form->data, form->len, digest);
    im_hex(digest, im_hash_size(IM_SHA256), hex);
    im_sigv4_date(headers->date, sizeof(headers->date), im_clock_now_ms());
    r = add_header(headers, "Host", client->host, err);
    if (r == 0)
        r = add_header(headers, "X-Amz-Date", headers->date, err);
    if (r == 0)
        r = add_header(headers, "Content-Type", CONTENT_TYPE, err);
    if (r == 0)
        r = add_header(headers, "X-Amz-Security-Token", keys->token, err);
    signable.header_count = headers->count;
    if (r == 0)
        r = im_sigv4_authorization(&signable, &key, headers->date, &headers->authorization, err);
    return r < 0 ? r : add_header(headers, "Authorization", headers->authorization.data, err);
}

/* Failures that pass although the status does not say so. */
static bool is_passing(const char *code)
{
    static const char *const codes[] = {
        "RequestLimitExceeded",     "Throttling",
        "ThrottlingException",      "SnapshotCreationPerVolumeRateExceeded",
        "InvalidSnapshot.NotFound", "InvalidAMIID.NotFound",
        "InvalidAMIID.Unavailable", "InsufficientInstanceCapacity",
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

/* An answer that is not 2xx.  Its document may be anything. */
static int refused(const struct ec2_client *client, const struct im_http_response *response,
                   struct im_error *err)
{
    char code[65] = "", message[257] = "", url[128];
    const struct ec2_field fields[] = {
        { "Errors/Error/Code", code, sizeof(code) },
        { "Errors/Error/Message", message, sizeof(message) },
    };
    bool passing;

    if (response->text.data)
        (void)ec2_reply_read(response->text.data, response->text.len, fields, 2, NULL);
    passing = im_retry_status(response->status) || is_passing(code);
    if (!*code)
        (void)snprintf(code, sizeof(code), "HTTP status %ld", response->status);
    return im_fail_code(err, passing ? EAGAIN : EREMOTEIO, "LauncherFailed",
                        "the launcher's endpoint %s answered %s%s%s",
                        im_text_url(url, sizeof(url), client->conf->launcher_endpoint), code,
                        *message ? ": " : "", message);
}

static int accepted(const struct ec2_client *client, const struct im_http_response *response,
                    const struct ec2_field *fields, size_t count, struct im_error *err)
{
    char url[128];
    int r = ec2_reply_read(response->text.data ? response->text.data : "", response->text.len,
                           fields, count, err);

    if (r < 0)
        im_error_prefix(err, "the launcher's endpoint %s answered",
                        im_text_url(url, sizeof(url), client->conf->launcher_endpoint));
    return r;
}

/* A connection of its own: on one kept alive libcurl itself sends again when it finds it closed,
 * and CreateSnapshot sent twice makes two. */
static int exchange(const struct im_http_request *request, struct im_http_response *ret_response,
                    struct im_error *err)
{
    struct im_http *http = im_http_new();
    int r;

    if (!http)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_http_do(http, request, ret_response, err);
    im_http_free(http);
    if (r < 0 && im_retry_errno(r)) {
        char why[IM_ERROR_MAX];

        (void)snprintf(why, sizeof(why), "%s", err ? err->message : "");
        return im_fail_code(err, EAGAIN, "LauncherFailed",
                            "the launcher's endpoint does not answer: %s", why);
    }
    return r;
}

int ec2_call(struct ec2_client *client, const struct im_buffer *form,
             const struct ec2_field *fields, size_t count, struct im_error *err)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE = { 0 };
    struct headers headers IM_CLEANUP(headers_done) = { .authorization =
                                                            IM_BUFFER(AUTHORIZATION_MAX) };
    struct im_http_request request = { .method = "POST",
                                       .url = client->conf->launcher_endpoint,
                                       .body = form->data,
                                       .body_len = form->len,
                                       .text_max = EC2_REPLY_MAX,
                                       .total_timeout_ms = client->request_ms,
                                       .cancel = client->cancel };
    int r = sign(client, form, &headers, err);

    if (r < 0)
        return r;
    request.headers = (const char *const *)headers.line;
    r = exchange(&request, &response, err);
    if (r < 0)
        return r;
    return response.status >= 200 && response.status <= 299
               ? accepted(client, &response, fields, count, err)
               : refused(client, &response, err);
}
