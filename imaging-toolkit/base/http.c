/* http - one HTTP(S) exchange with libcurl; the only file that includes it.
 *
 * Everything libcurl would do on its own account (follow, authenticate, decode, wait for "100
 * Continue", ask a proxy) is switched off, so that the wire carries what the caller signed. */

#include <config.h>

#include "base/http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <netdb.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/retry.h"
#include "base/text.h"
#include "base/url-policy.h"

#define TEXT_MAX           (64 * 1024)
#define CONNECT_TIMEOUT_MS 10000L
#define STALL_BYTES_PER_S  1000L

/* Measured: larger gains nothing, the default of 16 KiB costs a third of the speed. */
#define RECEIVE_BUFFER (512L * 1024)

struct im_http {
    CURL *easy;
};

static const struct im_url_policy *obeyed; /* of this process; NULL: none */

struct exchange {
    CURL *easy;
    const struct im_http_request *request;
    struct im_http_response *response;
    uint64_t sent;         /* bytes of the request body handed to libcurl */
    bool head_is_read;     /* the fields of response are filled */
    bool cut;              /* the text of an error document reached its ceiling: enough was read */
    int failure;           /* -errno a callback ended the exchange with, or 0 */
    bool trusted;          /* the policy allows the URL's host wherever it leads */
    bool tried;            /* an address was connected to, or was to be */
    const char *forbidden; /* what the address is that was refused last, or NULL */
    char address[64];      /* of it */
};

void im_http_global(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

void im_http_obey(const struct im_url_policy *policy)
{
    obeyed = policy;
}

struct im_http *im_http_new(void)
{
    struct im_http *http = calloc(1, sizeof(*http));

    if (!http)
        return NULL;
    http->easy = curl_easy_init();
    if (!http->easy) {
        free(http);
        return NULL;
    }
    return http;
}

struct im_http *im_http_free(struct im_http *http)
{
    if (!http)
        return NULL;
    curl_easy_cleanup(http->easy);
    free(http);
    return NULL;
}

void im_http_response_done(struct im_http_response *response)
{
    im_buffer_done(&response->text);
}

int64_t im_http_retry_after_ms(const struct im_http_response *response)
{
    const char *text = response->retry_after;
    int64_t most = IM_HTTP_RETRY_AFTER_MAX_S * 1000, ms;
    uint64_t seconds;

    if (!im_retry_status(response->status) || !text[0])
        return 0;
    if (im_parse_uint(text, UINT64_MAX, &seconds) == 0)
        return seconds < IM_HTTP_RETRY_AFTER_MAX_S ? (int64_t)seconds * 1000 : most;
    if (im_clock_parse_http(text, &ms) < 0)
        return 0;
    ms -= im_clock_now_ms();
    return ms < 0 ? 0 : ms < most ? ms : most;
}

bool im_http_is_sealed(const struct im_http_response *response)
{
    return strncasecmp(response->encryption, "aws:kms", strlen("aws:kms")) == 0;
}

static const char *header_value(CURL *easy, const char *name)
{
    struct curl_header *header;

    /* CURLH_HEADER: neither trailers nor interim answers; the last answer's */
    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return "";
    return header->value;
}

static void copy_header(CURL *easy, const char *name, char *buf, size_t size)
{
    const char *value = header_value(easy, name);
    size_t len = strlen(value);

    if (len >= size)
        len = 0;
    memcpy(buf, value, len);
    buf[len] = '\0';
}

/* Only strong tags (RFC 9110 section 8.8.3): a weak one says nothing about single bytes. */
static void copy_etag(CURL *easy, char *buf, size_t size)
{
    const char *value = header_value(easy, "ETag");
    size_t len = strlen(value);

    buf[0] = '\0';
    if (len < 2 || value[0] != '"' || value[len - 1] != '"' || len - 2 >= size)
        return;
    memcpy(buf, value + 1, len - 2);
    buf[len - 2] = '\0';
}

static void read_head(struct exchange *exchange)
{
    struct im_http_response *response = exchange->response;
    curl_off_t length = -1;

    if (exchange->head_is_read)
        return;
    exchange->head_is_read = true;
    (void)curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &response->status);
    (void)curl_easy_getinfo(exchange->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    response->length = length < 0 ? UINT64_MAX : (uint64_t)length;
    copy_etag(exchange->easy, response->etag, sizeof(response->etag));
    copy_header(exchange->easy, "Content-Range", response->content_range,
                sizeof(response->content_range));
    copy_header(exchange->easy, "Content-Encoding", response->content_encoding,
                sizeof(response->content_encoding));
    copy_header(exchange->easy, "Date", response->date, sizeof(response->date));
    copy_header(exchange->easy, "Retry-After", response->retry_after,
                sizeof(response->retry_after));
    copy_header(exchange->easy, "x-amz-server-side-encryption", response->encryption,
                sizeof(response->encryption));
    copy_header(exchange->easy, "X-Euca-Object-File", response->object_file,
                sizeof(response->object_file));
}

/* Keep the body as text.  An error document above the ceiling is cut there: its beginning says what
 * is wrong, and the status must not be lost. */
static int keep_text(struct exchange *exchange, const void *data, size_t len, bool good)
{
    struct im_buffer *text = &exchange->response->text;
    size_t room = text->ceiling - text->len;
    uint64_t announced = exchange->response->length;

    if (good && announced != UINT64_MAX && announced > text->ceiling)
        return -EFBIG; /* without reading up to there */
    if (len > room && !good) {
        exchange->cut = true;
        (void)im_buffer_add(text, data, room);
        return -EFBIG;
    }
    return im_buffer_add(text, data, len);
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct exchange *exchange = arg;
    const struct im_http_request *request = exchange->request;
    size_t len = size * count;
    bool good;
    int r;

    read_head(exchange);
    good = exchange->response->status >= 200 && exchange->response->status <= 299;
    if (good && request->on_data)
        r = request->on_data(request->arg, data, len);
    else
        r = keep_text(exchange, data, len, good);
    if (r == 0)
        return len;
    if (!exchange->cut)
        exchange->failure = r;
    return len ? 0 : 1; /* anything but len ends the exchange */
}

static size_t on_send(char *buf, size_t size, size_t count, void *arg)
{
    struct exchange *exchange = arg;
    const struct im_http_request *request = exchange->request;
    uint64_t left = request->body_len - exchange->sent;
    size_t len = size * count;
    long n;

    if (len > left)
        len = (size_t)left;
    if (len == 0)
        return 0;
    if (request->read_body) {
        n = request->read_body(request->arg, buf, len);
        if (n <= 0) { /* an end before body_len is a failure of the reader */
            exchange->failure = n < 0 ? (int)n : -EIO;
            return CURL_READFUNC_ABORT;
        }
    } else {
        memcpy(buf, (const char *)request->body + exchange->sent, len);
        n = (long)len;
    }
    exchange->sent += (uint64_t)n;
    return (size_t)n;
}

/* A kept-alive connection that proves dead is replaced, and the body starts again. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct exchange *exchange = arg;
    const struct im_http_request *request = exchange->request;

    if (offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    if (request->read_body) {
        if (!request->rewind_body)
            return CURL_SEEKFUNC_CANTSEEK;
        exchange->failure = request->rewind_body(request->arg);
        if (exchange->failure < 0)
            return CURL_SEEKFUNC_FAIL;
    }
    exchange->sent = 0;
    return CURL_SEEKFUNC_OK;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    const struct exchange *exchange = arg;

    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    return exchange->request->cancel &&
           __atomic_load_n(exchange->request->cancel, __ATOMIC_RELAXED);
}

/* The very address that libcurl is about to connect to, whatever was looked up before: names cannot
 * change between this and the connection. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct exchange *exchange = arg;
    const char *what = exchange->trusted ? NULL : im_url_policy_refuses(obeyed, &address->addr);

    (void)purpose;
    if (what) {
        exchange->forbidden = what;
        if (getnameinfo(&address->addr, address->addrlen, exchange->address,
                        sizeof(exchange->address), NULL, 0, NI_NUMERICHOST) != 0)
            exchange->address[0] = '\0';
        return CURL_SOCKET_BAD;
    }
    exchange->tried = true;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void free_list(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

/* Stock clients presign V4 URLs with exactly these two headers (accept;accept-encoding;host), so a
 * checking object store wants to see them.  What comes back is never decoded. */
static int make_headers(const struct im_http_request *request, struct curl_slist **ret_list)
{
    static const char *const presigned_headers[] = { "Accept: */*",
                                                     "Accept-Encoding: gzip, deflate", NULL };
    static const char *const other_headers[] = { "Expect:", NULL };
    bool presigned = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0 ||
                     strcmp(request->method, "DELETE") == 0;
    const char *const *const lists[] = { presigned ? presigned_headers : other_headers,
                                         request->headers };

    for (size_t l = 0; l < 2; l++)
        for (const char *const *header = lists[l]; header && *header; header++) {
            struct curl_slist *longer = curl_slist_append(*ret_list, *header);

            if (!longer)
                return -ENOMEM;
            *ret_list = longer;
        }
    return 0;
}

static void set_method(CURL *easy, const struct im_http_request *request)
{
    const char *method = request->method;

    if (strcmp(method, "HEAD") == 0) {
        (void)curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0 || request->body_len > 0) {
        /* an upload also for POST: no Content-Type is invented */
        (void)curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_len);
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    } else {
        (void)curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    }
}

static void set_policy(CURL *easy)
{
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
    (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_PER_S);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "euca-imaging/" PACKAGE_VERSION);
}

static void set_exchange(struct exchange *exchange, char *reason)
{
    CURL *easy = exchange->easy;
    const struct im_http_request *request = exchange->request;

    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
    (void)curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
    (void)curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, exchange);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, reason);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                           request->connect_timeout_ms ? request->connect_timeout_ms
                                                       : CONNECT_TIMEOUT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                           request->stall_timeout_s ? request->stall_timeout_s
                                                    : im_retry_stall_s());
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, request->total_timeout_ms);
    if (request->ca_file)
        (void)curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
    if (request->any_certificate) {
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

/* What libcurl's many codes mean to a caller who wonders whether to try again. */
static int number_of(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        return ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
        return EHOSTUNREACH;
    case CURLE_OPERATION_TIMEDOUT:
        return ETIMEDOUT;
    case CURLE_ABORTED_BY_CALLBACK:
        return ECANCELED;
    case CURLE_URL_MALFORMAT:
        return EINVAL;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return EACCES;
    default: /* cut connections and unreadable answers */
        return ECONNRESET;
    }
}

/* What libcurl says of it.  Memory is the name it has for a line of an answer's head that outgrows
 * its buffer; one that is really short ends elsewhere as well. */
static const char *text_of(CURLcode code, const char *reason)
{
    if (*reason)
        return reason;
    return code == CURLE_OUT_OF_MEMORY ? "the head of the answer is too large"
                                       : curl_easy_strerror(code);
}

/* All addresses of the host are forbidden; one that does not answer may yet. */
static bool is_forbidden(const struct exchange *exchange)
{
    return exchange->forbidden && !exchange->tried;
}

static int tell_forbidden(const struct exchange *exchange, const char *url, struct im_error *err)
{
    return im_fail_code(err, EACCES, IM_ADDRESS_NOT_ALLOWED, "%s %s: the host leads to %s, %s%s",
                        exchange->request->method, url, exchange->address, exchange->forbidden,
                        obeyed->strict ? ", which the setting manifest-networks does not list"
                                       : ", where no images are");
}

static int tell(const struct exchange *exchange, CURLcode code, const char *reason,
                struct im_error *err)
{
    char url[256], why[CURL_ERROR_SIZE];
    int number = exchange->failure ? -exchange->failure : number_of(code);

    im_text_url(url, sizeof(url), exchange->request->url);
    if (is_forbidden(exchange))
        return tell_forbidden(exchange, url, err);
    if (exchange->failure == -EFBIG && !exchange->request->on_data)
        return im_fail(err, EFBIG, "the answer of %s is larger than the %zu bytes allowed", url,
                       exchange->response->text.ceiling);
    if (exchange->failure)
        return im_fail_errno(err, number, "%s %s", exchange->request->method, url);
    if (number == ECANCELED)
        return im_fail(err, number, "%s %s was cancelled", exchange->request->method, url);
    im_text_printable(why, sizeof(why), text_of(code, reason));
    if (number == EACCES)
        return im_fail_code(err, number, "UntrustedCertificate", "%s %s: %s",
                            exchange->request->method, url, why);
    return im_fail(err, number, "%s %s: %s", exchange->request->method, url, why);
}

static int check_url(const char *url, bool *ret_trusted, struct im_error *err)
{
    char shown[256];
    int r = im_url_policy_check(obeyed, url, ret_trusted, err);

    if (r == -EACCES)
        im_error_prefix(err, "the URL '%s'", im_text_url(shown, sizeof(shown), url));
    return r;
}

int im_http_may(const char *url, struct im_error *err)
{
    return check_url(url, NULL, err);
}

int im_http_do(struct im_http *http, const struct im_http_request *request,
               struct im_http_response *ret_response, struct im_error *err)
{
    struct exchange exchange = { .easy = http->easy, .request = request, .response = ret_response };
    struct curl_slist *headers IM_CLEANUP(free_list) = NULL;
    char reason[CURL_ERROR_SIZE] = "";
    CURLcode code;
    int r;

    *ret_response = (struct im_http_response){
        .length = UINT64_MAX,
        .text = IM_BUFFER(request->text_max ? request->text_max : TEXT_MAX),
    };
    r = check_url(request->url, &exchange.trusted, err);
    if (r < 0)
        return r;
    if (make_headers(request, &headers) < 0)
        return im_fail(err, ENOMEM, "out of memory");

    curl_easy_reset(http->easy); /* keeps the connection */
    set_policy(http->easy);
    set_exchange(&exchange, reason);
    set_method(http->easy, request);
    (void)curl_easy_setopt(http->easy, CURLOPT_HTTPHEADER, headers);
    if (curl_easy_setopt(http->easy, CURLOPT_URL, request->url) != CURLE_OK)
        return im_fail(err, ENOMEM, "out of memory");

    code = curl_easy_perform(http->easy);
    (void)curl_easy_setopt(http->easy, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK && !exchange.cut)
        return tell(&exchange, code, reason, err);
    read_head(&exchange);
    return 0;
}
