/* fetch - one run of bytes of a remote object, proven before anybody sees it.
 *
 * A server may be slow, restarting, or wrong.  What may heal is tried again; after a cut the
 * transfer goes on where it stopped when the server's ETag vouches that the object is the same. */

#include <config.h>

#include "source/fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/retry.h"
#include "base/text.h"

/* Bytes that are not what was promised rarely get better: a proxy's bad day, no more. */
#define DAMAGED_TRIES 3

static bool is_cancelled(const struct im_fetch_rules *rules)
{
    return __atomic_load_n(rules->cancel, __ATOMIC_RELAXED);
}

bool im_fetch_again(struct im_fetch_tries *tries, int failure)
{
    const struct im_fetch_rules *rules = tries->rules;
    unsigned most = rules->tries ? rules->tries : IM_RETRY_TRIES;

    if (failure == -EBADMSG)
        most = most < DAMAGED_TRIES ? most : DAMAGED_TRIES;
    else if (failure != -EAGAIN && !im_retry_errno(failure))
        return false;
    if (tries->done + 1 >= most)
        return false;
    if (atomic_fetch_sub(rules->budget, IM_FETCH_RETRY_COST) < IM_FETCH_RETRY_COST) {
        atomic_fetch_add(rules->budget, IM_FETCH_RETRY_COST);
        return false;
    }
    tries->done++;
    return im_retry_pause(tries->after_ms, rules->cancel) &&
           im_retry_wait(tries->done, rules->cancel);
}

void im_fetch_healed(struct im_fetch_tries *tries)
{
    atomic_int *budget = tries->rules->budget;
    int back = tries->done > 0 ? IM_FETCH_RETRY_COST : IM_FETCH_SUCCESS;
    int left = atomic_load(budget), sum;

    do
        sum = left + back < IM_FETCH_BUDGET ? left + back : IM_FETCH_BUDGET;
    while (!atomic_compare_exchange_weak(budget, &left, sum));
}

/* "part 3 of 12 (http://host/key)" */
struct subject {
    char text[320];
};

static struct subject subject_of(const char *what, const char *url)
{
    struct subject subject;
    char shown[256];

    (void)snprintf(subject.text, sizeof(subject.text), "%.48s (%s)", what,
                   im_text_url(shown, sizeof(shown), url));
    return subject;
}

static bool says(const struct im_http_response *response, const char *text)
{
    return response->text.len > 0 &&
           memmem(response->text.data, response->text.len, text, strlen(text));
}

/* The beginning of S3's error document; no document that is asked for here begins so. */
static bool is_error_document(const struct im_http_response *response)
{
    static const char root[] = "<Error>";
    size_t len = response->text.len < 256 ? response->text.len : 256;

    return len > 0 && memmem(response->text.data, len, root, sizeof(root) - 1);
}

int im_fetch_status(const struct im_http_response *response, const char *what, const char *url,
                    const char *missing_code, struct im_error *err)
{
    struct subject subject = subject_of(what, url);
    long status = response->status;

    if (status == 404 || says(response, "<Code>NoSuchKey</Code>") ||
        says(response, "<Code>NoSuchBucket</Code>"))
        return im_fail_code(err, ENOENT, missing_code ? missing_code : "NotFound",
                            "%s is not there%s", missing_code ? what : subject.text,
                            missing_code ? " yet" : " (HTTP 404)");
    if (status >= 200 && status <= 299 && !is_error_document(response))
        return 0;
    if (status == 403) /* AWS's wording, then ours */
        return im_fail_code(
            err, EACCES, "AccessDenied",
            "We do not have access to the given resource. Reason 403 Forbidden: %s; "
            "the URL may have expired",
            subject.text);
    if (im_retry_status(status))
        return im_fail_code(err, EAGAIN, "ServerBusy", "%s: the server answered %ld", subject.text,
                            status);
    if (status >= 200 && status <= 299)
        return im_fail_code(err, EAGAIN, "ServerBusy",
                            "%s: the server answered %ld with an error document", subject.text,
                            status);
    return im_fail_code(err, EACCES, "DownloadFailed", "%s: the server answered %ld%s",
                        subject.text, status,
                        status >= 300 && status <= 399 ? ", and redirects are not followed" : "");
}

int im_fetch_exchange(struct im_http *http, struct im_http_request *request,
                      const struct im_fetch_rules *rules, const char *what,
                      struct im_http_response *ret_response, struct im_error *err)
{
    struct im_fetch_tries tries = { .rules = rules };
    int r;

    request->stall_timeout_s = rules->stall_timeout_s;
    request->cancel = rules->cancel;
    *ret_response = (struct im_http_response){ 0 };
    do {
        im_http_response_done(ret_response);
        r = im_http_do(http, request, ret_response, err);
        if (r < 0)
            im_error_prefix(err, "%s", what);
        else
            r = im_fetch_status(ret_response, what, request->url, rules->missing_code, err);
        tries.after_ms = im_http_retry_after_ms(ret_response);
    } while (r < 0 && im_fetch_again(&tries, r));
    if (r < 0 && is_cancelled(rules))
        return im_fail(err, ECANCELED, "%s: cancelled", what);
    if (r == 0)
        im_fetch_healed(&tries);
    return r;
}

bool im_fetch_md5_of_etag(const char *etag, uint8_t *ret_md5)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";

    if (strlen(etag) != 32 || strspn(etag, digits) != 32)
        return false;
    for (int i = 0; i < 16; i++) {
        size_t high = (size_t)(strchr(digits, etag[2 * i]) - digits) & 15;
        size_t low = (size_t)(strchr(digits, etag[2 * i + 1]) - digits) & 15;

        ret_md5[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* One run in the making, over several tries. */
struct run {
    struct im_fetch *fetch;
    struct im_http_response *response;
    uint8_t *buf;
    size_t got;       /* bytes in buf */
    char etag[128];   /* of the answer the bytes in buf came from */
    bool judged;      /* the head of this try's answer was looked at */
    bool ranged;      /* this try asked for a Range */
    int64_t after_ms; /* see struct im_fetch_tries */
    struct im_error *err;
};

__attribute__((format(printf, 2, 3))) static int damaged(const struct run *run, const char *format,
                                                         ...)
{
    char why[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    return im_fail_code(run->err, EBADMSG, "DamagedPart", "%s: %s",
                        subject_of(run->fetch->what, run->fetch->url).text, why);
}

static bool is_whole(const struct im_fetch *fetch)
{
    return fetch->offset == 0 && fetch->len == fetch->object_size;
}

static int judge_range(struct run *run)
{
    const struct im_fetch *fetch = run->fetch;
    uint64_t first = fetch->offset + run->got, last = fetch->offset + fetch->len - 1;
    char want[96];

    (void)snprintf(want, sizeof(want), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last,
                   fetch->object_size);
    if (strcasecmp(run->response->content_range, want) != 0)
        return damaged(run, "'%s' was asked for, but the server sent '%.40s'", want,
                       run->response->content_range);
    return 0;
}

/* The head of a 2xx answer, before its first byte is taken. */
static int judge_head(struct run *run)
{
    const struct im_http_response *response = run->response;
    const struct im_fetch *fetch = run->fetch;
    const char *etag;
    int r;

    run->judged = true;
    if (response->content_encoding[0] && strcasecmp(response->content_encoding, "identity") != 0)
        return damaged(run, "the server sent it in the encoding '%s', which nobody asked for",
                       response->content_encoding);
    if (run->ranged && response->status == 206) {
        r = judge_range(run);
        if (r < 0)
            return r;
    } else if (response->status == 200 && is_whole(fetch)) {
        run->got = 0; /* the server begins again */
    } else {
        return damaged(run, "the server answered %ld to a request for %s", response->status,
                       run->ranged ? "a range; it must know ranges" : "the whole");
    }
    if (response->length != UINT64_MAX && response->length != fetch->len - run->got)
        return damaged(run, "the server sends %" PRIu64 " bytes instead of %zu", response->length,
                       fetch->len - run->got);
    etag = run->got > 0 ? run->etag : fetch->etag;
    if (run->got > 0 && !response->etag[0])
        return damaged(run, "the server went on without the ETag of the bytes it had sent");
    if (etag[0] && response->etag[0] && strcmp(etag, response->etag) != 0)
        return damaged(run, "it changed while it was read (ETag %s, now %s)", etag, response->etag);
    if (run->got == 0)
        memcpy(run->etag, response->etag, sizeof(run->etag));
    run->fetch->sealed = im_http_is_sealed(response);
    return 0;
}

static int on_data(void *arg, const void *data, size_t len)
{
    struct run *run = arg;
    int r = run->judged ? 0 : judge_head(run);

    if (r < 0)
        return r;
    if (len > run->fetch->len - run->got)
        return damaged(run, "the server sends more than %zu bytes", run->fetch->len);
    memcpy(run->buf + run->got, data, len);
    run->got += len;
    return 0;
}

/* Range and If-Match: for a run that is not the whole object, or to go on after a cut. */
static void make_headers(struct run *run, char *range, char *match, size_t size,
                         const char **ret_headers)
{
    const struct im_fetch *fetch = run->fetch;
    const char *etag = run->got > 0 ? run->etag : fetch->etag;

    run->ranged = run->got > 0 || !is_whole(fetch);
    if (!run->ranged)
        return;
    (void)snprintf(range, size, "Range: bytes=%" PRIu64 "-%" PRIu64, fetch->offset + run->got,
                   fetch->offset + fetch->len - 1);
    *ret_headers++ = range;
    if (!etag[0])
        return;
    (void)snprintf(match, size, "If-Match: \"%s\"", etag);
    *ret_headers = match;
}

static int try_once(struct run *run, struct im_http *http, const struct im_fetch_rules *rules)
{
    struct im_http_response response IM_HTTP_RESPONSE_DONE;
    char range[160], match[160];
    const char *headers[3] = { NULL };
    struct im_http_request request = {
        .method = "GET",
        .url = run->fetch->url,
        .headers = headers,
        .on_data = on_data,
        .arg = run,
        .stall_timeout_s = rules->stall_timeout_s,
        .cancel = rules->cancel,
    };
    struct im_error why = { 0 };
    int r;

    make_headers(run, range, match, sizeof(range), headers);
    run->response = &response; /* cppcheck-suppress autoVariables; set anew by each try */
    run->judged = false;
    r = im_http_do(http, &request, &response, &why);
    run->after_ms = im_http_retry_after_ms(&response);
    if (r == -EBADMSG) /* ours, from on_data: the sentence is in run->err already */
        return r;
    if (r < 0)
        return im_fail_code(run->err, -r, why.code, "%s: %s", run->fetch->what, why.message);
    if (response.status == 412)
        return damaged(run, "it changed while it was read");
    r = im_fetch_status(&response, run->fetch->what, run->fetch->url, rules->missing_code,
                        run->err);
    if (r == 0 && !run->judged) /* an answer without a body */
        r = judge_head(run);
    if (r == 0 && run->got != run->fetch->len)
        r = damaged(run, "the server sent %zu bytes instead of %zu", run->got, run->fetch->len);
    return r;
}

int im_fetch(struct im_http *http, struct im_fetch *fetch, const struct im_fetch_rules *rules,
             void *buf, struct im_error *err)
{
    struct run run = { .fetch = fetch, .buf = buf, .err = err };
    struct im_fetch_tries tries = { .rules = rules };
    int r;

    for (;;) {
        r = try_once(&run, http, rules);
        if (r == 0)
            break;
        /* only what a strong ETag vouches for may be continued */
        if (r == -EBADMSG || !run.etag[0])
            run.got = 0;
        tries.after_ms = run.after_ms;
        if (!im_fetch_again(&tries, r))
            return is_cancelled(rules) ? im_fail(err, ECANCELED, "%s: cancelled", fetch->what) : r;
    }
    im_fetch_healed(&tries);
    if (!fetch->etag[0])
        memcpy(fetch->etag, run.etag, sizeof(fetch->etag));
    return 0;
}
