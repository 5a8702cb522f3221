/* url - percent-encoding, and taking an absolute http(s) URL apart.
 *
 * Not a general URL library: nothing is normalised, nothing is decoded.  Whatever two parsers could
 * read differently (blanks, backslashes, bytes outside ASCII) is refused instead of repaired, so
 * that the host judged here is the host libcurl connects to. */

#include <config.h>

#include "base/http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

/* RFC 3986 section 2.3. */
static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int im_url_encode(struct im_buffer *out, const void *text, size_t len, bool keep_slash)
{
    static const char hex[] = "0123456789ABCDEF";
    const unsigned char *in = text;
    size_t before = out->len;

    for (size_t i = 0; i < len; i++) {
        char escaped[3] = { '%', hex[in[i] >> 4], hex[in[i] & 15] };
        bool plain = is_unreserved(in[i]) || (keep_slash && in[i] == '/');
        int r = im_buffer_add(out, plain ? (const char *)&in[i] : escaped, plain ? 1 : 3);

        if (r < 0) { /* all or nothing, as im_buffer_add */
            out->len = before;
            if (out->data)
                out->data[before] = '\0';
            return r;
        }
    }
    return 0;
}

/* A name, an IPv4 address or "[IPv6]", then perhaps ":port" (RFC 3986 section 3.2). */
static bool is_host(const char *host, size_t len)
{
    static const char in_name[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    static const char in_ipv6[] = "0123456789abcdefABCDEF:.";
    char text[256 + 8]; /* longest DNS name, colon and port */
    size_t n;
    uint64_t port;

    if (len == 0 || len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';

    if (text[0] == '[') {
        n = 1 + strspn(text + 1, in_ipv6);
        if (n == 1 || text[n++] != ']' || !memchr(text, ':', n))
            return false;
    } else {
        n = strspn(text, in_name);
        if (n == 0)
            return false;
    }
    if (text[n] == '\0')
        return true;
    return text[n] == ':' && im_parse_uint(text + n + 1, 65535, &port) == 0 && port > 0;
}

int im_url_split(const char *url, struct im_url *ret_url, struct im_error *err)
{
    struct im_url split = { 0 };
    char shown[160];
    const char *at;
    size_t authority_len;

    im_text_url(shown, sizeof(shown), url);
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || *p == '\\')
            return im_fail(err, EINVAL,
                           "the URL '%s' holds the byte 0x%02x at position %zu; percent-encode it",
                           shown, (unsigned char)*p, (size_t)(p - url));

    if (strncasecmp(url, "https://", 8) == 0)
        split.https = true;
    else if (strncasecmp(url, "http://", 7) != 0)
        return im_fail(err, EINVAL, "'%s' is no URL that starts with http:// or https://", shown);

    split.host = url + (split.https ? 8 : 7);
    authority_len = strcspn(split.host, "/?#");
    at = memrchr(split.host, '@', authority_len);
    split.has_user_info = at != NULL;
    split.host_len = authority_len;
    if (at) {
        split.host_len -= (size_t)(at + 1 - split.host);
        split.host = at + 1;
    }
    if (!is_host(split.host, split.host_len))
        return im_fail(err, EINVAL, "the URL '%s' has no usable host name", shown);

    split.path = split.host + split.host_len;
    split.path_len = strcspn(split.path, "?#");
    if (split.path[split.path_len] == '?') {
        split.query = split.path + split.path_len + 1;
        split.query_len = strcspn(split.query, "#");
    }
    *ret_url = split;
    return 0;
}
