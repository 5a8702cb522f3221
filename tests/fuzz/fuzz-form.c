/* fuzz-form - query strings and forms (aws/query.h), and what the service's operations make of
 * their parameters (api/operation.h).
 *
 * An input is the list as it is on the wire.  A finding is a report of a sanitizer; a list that is
 * read otherwise than by the few lines of the reference below; one that is not the same when it is
 * written and read again; parameters of which the order decides; or a refusal that is not one
 * well-formed document.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/operation.h"
#include "aws/query.h"
#include "base/cleanup.h"
#include "base/http.h"
#include "base/xml-read.h"

#define INPUT_MAX 65536u
/* Bytes of a list that is written again: every byte as %XX, and its '='. */
#define WRITTEN_MAX (4u * INPUT_MAX)

extern const struct svc_operation svc_operation_create_tags;
extern const struct svc_operation svc_operation_describe_conversion_tasks;
extern const struct svc_operation svc_operation_import_instance;

/* ---- the reference: a byte, an octet behind '%', or a blank; then one look at the text ---- */

/* The next byte of a piece, and the text behind it; -1: none that is allowed. */
static int next_byte(const char **text, const char *end)
{
    char digits[3] = { 0 };

    if (**text != '%')
        return *(*text)++ == '+' ? ' ' : (unsigned char)(*text)[-1];
    if (end - *text < 3 || !isxdigit((unsigned char)(*text)[1]) ||
        !isxdigit((unsigned char)(*text)[2]))
        return -1;
    memcpy(digits, *text + 1, 2);
    *text += 3;
    return strtol(digits, NULL, 16) == 0 ? -1 : (int)strtol(digits, NULL, 16);
}

/* RFC 3629, by what a sequence stands for. */
static bool is_utf8(const char *text)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t *p = (const uint8_t *)text;

    while (*p) {
        unsigned len = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;
        uint32_t c = len < 2 ? *p : *p & (0x7fu >> len);

        if (len == 0)
            return false;
        for (unsigned i = 1; i < len; i++) {
            if (p[i] >> 6 != 2)
                return false;
            c = c << 6 | (p[i] & 0x3f);
        }
        if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return false;
        p += len;
    }
    return true;
}

/* One side of a pair is what the reference reads. */
static bool is_side(const char *text, const char *end, const char *read)
{
    for (; text < end; read++)
        if (next_byte(&text, end) != (unsigned char)*read)
            return false;
    return *read == '\0';
}

static bool is_acceptable(const char *text, const char *end)
{
    static char side[INPUT_MAX + 1];
    size_t n = 0;

    while (text < end) {
        int c = next_byte(&text, end);

        if (c <= 0)
            return false;
        side[n++] = (char)c;
    }
    side[n] = '\0';
    return is_utf8(side);
}

/* query, or NULL for one that was refused, against the text. */
static void compare_with_reference(const char *text, size_t len, const struct im_query *query)
{
    const char *end = text + len, *piece_end;
    bool acceptable = true;
    size_t count = 0;

    for (const char *piece = text; piece < end; piece = piece_end + 1) {
        const char *equals;

        for (piece_end = piece; piece_end < end && *piece_end != '&'; piece_end++)
            ;
        if (piece_end == piece)
            continue;
        for (equals = piece; equals < piece_end && *equals != '='; equals++)
            ;
        acceptable = acceptable && is_acceptable(piece, equals) &&
                     (equals == piece_end || is_acceptable(equals + 1, piece_end));
        if (query && count < query->count) {
            const struct im_param *param = &query->param[count];
            const char *value = equals < piece_end ? equals + 1 : piece_end;

            if (param->bare != (equals == piece_end) || !is_side(piece, equals, param->name) ||
                !is_side(value, piece_end, param->value))
                fault("a parameter is read otherwise");
        }
        count++;
    }
    if ((query != NULL) != (acceptable && count <= IM_QUERY_MAX))
        fault(query ? "accepted what is no list" : "refused what is a list");
    if (query && count != query->count)
        fault("another number of parameters");
}

/* ---- written again ---- */

static void write_and_read(const struct im_query *query)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(WRITTEN_MAX);
    struct im_query again IM_QUERY_DONE = { 0 };
    int r = 0;

    for (size_t i = 0; i < query->count && r == 0; i++) {
        const struct im_param *param = &query->param[i];

        r = i > 0 ? im_buffer_puts(&text, "&") : 0;
        if (r == 0)
            r = im_url_encode(&text, param->name, strlen(param->name), false);
        if (r == 0 && !param->bare)
            r = im_buffer_puts(&text, "=");
        if (r == 0)
            r = im_url_encode(&text, param->value, strlen(param->value), false);
    }
    if (r < 0 || im_query_parse(text.data ? text.data : "", text.len, &again, NULL) < 0)
        fault("what was read cannot be written and read");
    for (size_t i = 0; i < query->count && again.count == query->count; i++)
        if (strcmp(query->param[i].name, again.param[i].name) != 0 ||
            strcmp(query->param[i].value, again.param[i].value) != 0)
            fault("what was written is read as something else");
    if (again.count != query->count)
        fault("what was written has other parameters");
}

/* ---- what operations make of it ---- */

static void check_answer(const struct svc_call *call)
{
    static const struct im_xml_limits limits = {
        .bytes = WRITTEN_MAX, .run = WRITTEN_MAX, .depth = 8, .attributes = 8
    };
    struct im_buffer body IM_BUFFER_DONE = IM_BUFFER(WRITTEN_MAX);
    struct svc_answer answer = { .body = &body };
    struct im_xml xml = { 0 };
    struct im_xml_node node;
    int r;

    svc_api_refuse(call->code, call->err.message, "id", &answer);
    r = im_xml_open(&xml, body.data, body.len, &limits);
    while (r >= 0 && (r = im_xml_next(&xml, &node)) == 1)
        ;
    im_xml_close(&xml);
    if (r < 0)
        fault("the answer is not well-formed");
}

/* Decoded by an operation's table; what svc_params_decode returned. */
static int decode(const struct svc_operation *operation, const struct im_query *params, bool strict,
                  char ret_digest[65])
{
    struct svc_call call = { 0 };
    void *input IM_FREE = calloc(1, operation->input_size);
    int r;

    if (!input)
        fault("out of memory");
    r = svc_params_decode(&call, operation, params, strict, input);
    if (r < 0 && !*call.err.message)
        fault("refused without a sentence");
    if (r < 0)
        check_answer(&call);
    memcpy(ret_digest, call.parameters, 65);
    svc_params_done(operation, input);
    return r;
}

static void reverse(struct im_query *query)
{
    for (size_t i = 0; i < query->count / 2; i++) {
        struct im_param param = query->param[i];

        query->param[i] = query->param[query->count - 1 - i];
        query->param[query->count - 1 - i] = param;
    }
}

static void look_at_operation(const struct svc_operation *operation, struct im_query *query)
{
    char digest[65], turned[65];
    int strict = decode(operation, query, true, digest);
    int r = decode(operation, query, false, digest);

    if (strict == 0 && r < 0)
        fault("the newest version takes what others refuse");
    reverse(query);
    if ((decode(operation, query, false, turned) < 0) != (r < 0))
        fault("the order of the parameters decides");
    if (r == 0 && strcmp(digest, turned) != 0)
        fault("the digest of the parameters depends on their order");
    reverse(query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct im_query query IM_QUERY_DONE = { 0 };
    struct im_error err = { 0 };
    char *text IM_FREE = fuzz_text(data, len);
    int r;

    if (!text || len > INPUT_MAX)
        return 0;
    r = im_query_parse(text, len, &query, &err);
    fault_unless_told(r, &err);
    fuzz_refused = r < 0;
    compare_with_reference(text, len, r == 0 ? &query : NULL);
    if (r < 0)
        return 0;
    write_and_read(&query);
    look_at_operation(&svc_operation_create_tags, &query);
    look_at_operation(&svc_operation_describe_conversion_tasks, &query);
    look_at_operation(&svc_operation_import_instance, &query);
    return 0;
}
