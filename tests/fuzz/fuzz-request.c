/* fuzz-request - an HTTP request from bytes; see fuzz-request.h. */

#include <config.h>

#include "fuzz/fuzz-request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "fuzz/fuzz-bytes.h"

static bool is_token(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789!#$%&'*+-.^_`|~")] == '\0';
}

/* A header line, with those that fold it; false: the empty one, or one that is none. */
static bool take_header(char **rest, struct im_header *ret_header)
{
    char *line = *rest, *end = line, *colon;

    do
        end += strcspn(end, "\n") + 1;
    while (end[-1] && (*end == ' ' || *end == '\t'));
    if (!end[-1])
        return false;
    end[-1] = '\0';
    *rest = end;
    colon = strchr(line, ':');
    if (!colon)
        return false;
    *colon = '\0';
    *ret_header = (struct im_header){ line, im_text_trim(colon + 1) };
    return is_token(line);
}

bool fuzz_request_read(char *text, struct fuzz_request *ret_message)
{
    struct im_signable *request = &ret_message->request;
    char *line = strsep(&text, "\n");
    char *path = strchr(line, ' ');
    uint8_t digest[IM_HASH_MAX];
    char *query;

    if (!path || path[1] != '/' || !text)
        return false;
    *path++ = '\0';
    query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    *request = (struct im_signable){ .method = line, .path = path, .query = query ? query : "" };
    while (request->header_count < FUZZ_HEADERS_MAX - FUZZ_HEADERS_ADDED &&
           take_header(&text, &ret_message->header[request->header_count]))
        request->header_count++;
    im_hash(IM_SHA256, text, strlen(text), digest);
    im_hex(digest, im_hash_size(IM_SHA256), ret_message->hash);
    request->payload_hash = ret_message->hash;
    request->headers = ret_message->header;
    return is_token(line);
}

void fuzz_request_add(struct fuzz_request *message, const char *name, const char *value)
{
    message->header[message->request.header_count++] = (struct im_header){ name, value };
}

void fuzz_request_unsigned(const struct fuzz_request *message, struct fuzz_request *ret_copy)
{
    static const char *const left_out[] = { "authorization",        "host",
                                            "x-amz-date",           "date",
                                            "x-amz-content-sha256", "x-amz-security-token" };

    *ret_copy = *message;
    ret_copy->request.headers = ret_copy->header;
    ret_copy->request.payload_hash = ret_copy->hash;
    ret_copy->request.header_count = 0;
    for (size_t i = 0; i < message->request.header_count; i++) {
        bool kept = true;

        for (size_t j = 0; j < sizeof(left_out) / sizeof(left_out[0]); j++)
            kept = kept && strcasecmp(message->header[i].name, left_out[j]) != 0;
        if (kept)
            fuzz_request_add(ret_copy, message->header[i].name, message->header[i].value);
    }
}

char *fuzz_turned(const char *list)
{
    size_t len = strlen(list), at = 0;
    char *copy = malloc(len + 1);

    if (!copy)
        fault("out of memory");
    while (len > 0) {
        const char *piece = memrchr(list, '&', len);
        size_t start = piece ? (size_t)(piece - list) + 1 : 0;

        memcpy(copy + at, list + start, len - start);
        at += len - start;
        len = start;
        if (len > 0) { /* the '&' itself */
            copy[at++] = '&';
            len--;
        }
    }
    copy[at] = '\0';
    return copy;
}
