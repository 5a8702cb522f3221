/* refusal - a whole HTTP answer for a connection that never gets to the HTTP library. */

#include <config.h>

#include "http/refusal.h"

#include <errno.h>
#include <time.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/crypto.h"

void svc_request_id(char *id)
{
    uint8_t random[16];
    char hex[33];

    im_random(random, sizeof(random));
    random[6] = (uint8_t)((random[6] & 0x0f) | 0x40); /* RFC 4122, section 4.4 */
    random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
    im_hex(random, sizeof(random), hex);
    for (size_t i = 0, o = 0; i <= 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            id[o++] = '-';
        id[o++] = hex[i];
    }
}

static const char *reason(unsigned status)
{
    return status == 503 ? "Service Unavailable" : "Bad Request";
}

int svc_refusal(enum svc_code code, const char *message, struct im_buffer *out)
{
    struct im_buffer body IM_BUFFER_DONE = IM_BUFFER(out->ceiling);
    struct svc_answer answer = { .body = &body };
    char id[37], date[40];
    time_t now = (time_t)(im_clock_now_ms() / 1000);
    struct tm tm;

    svc_request_id(id);
    svc_api_refuse(code, message, id, &answer);
    if (body.len == 0)
        return -ENOMEM;
    /* SDKs set their clocks by it; RFC 7231, section 7.1.1.1 */
    (void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    return im_buffer_printf(out,
                            "HTTP/1.1 %u %s\r\n"
                            "Date: %s\r\n"
                            "Content-Type: " SVC_XML_TYPE "\r\n"
                            "Content-Length: %zu\r\n"
                            "x-amzn-RequestId: %s\r\n"
                            "Connection: close\r\n\r\n%s",
                            answer.status, reason(answer.status), date, body.len, id, body.data);
}
