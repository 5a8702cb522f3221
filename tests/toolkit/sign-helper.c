/* sign-helper - say whether a request is signed rightly; for sigv4-botocore.py, which signs with
 * another implementation.
 *
 * Standard input, line by line: "s3" or "ec2", the secret key, the time in ms, the body's SHA-256,
 * the method, the path, the query, then "Name: value" lines.  Prints "V4 ok", "V2 ok" or the code
 * of the refusal. */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/s3v2.h"
#include "base/text.h"

#define HEADERS 32

/* One line of standard input without its LF; "" at the end.  Lives as long as the program. */
static char *line(void)
{
    static char lines[HEADERS + 8][8192];
    static size_t used;
    char *text = lines[used < HEADERS + 7 ? used++ : used];

    if (!fgets(text, sizeof(lines[0]), stdin))
        *text = '\0';
    text[strcspn(text, "\n")] = '\0';
    return text;
}

int main(void)
{
    struct im_header headers[HEADERS];
    struct im_signable request = { .s3 = strcmp(line(), "s3") == 0, .headers = headers };
    const char *secret = line();
    struct im_sigv4_claim v4;
    struct im_s3v2_claim v2;
    struct im_error err = { 0 };
    uint64_t now_ms;
    char *text;
    bool old;

    if (im_parse_uint(line(), INT64_MAX, &now_ms) < 0)
        return 2;
    request.payload_hash = line();
    request.method = line();
    request.path = line();
    request.query = line();
    while (request.header_count < HEADERS && *(text = line())) {
        char *colon = strstr(text, ": ");

        if (!colon)
            return 2;
        *colon = '\0';
        headers[request.header_count++] = (struct im_header){ text, colon + 2 };
    }
    old = request.s3 && im_s3v2_present(&request);
    if (old && im_s3v2_parse(&request, &v2, &err) == 0)
        (void)im_s3v2_verify(&request, request.path, &v2, secret, (int64_t)now_ms, &err);
    if (!old && im_sigv4_parse(&request, &v4, &err) == 0)
        (void)im_sigv4_verify(&request, &v4, secret, (int64_t)now_ms, &err);
    printf("%s %s\n", old ? "V2" : "V4", err.number ? err.code : "ok");
    return 0;
}
