/* text - parsing numbers and making text safe to print. */

#include <config.h>

#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

int im_parse_uint(const char *text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (!*text || text[strspn(text, "0123456789")])
        return -EINVAL;
    for (; *text; text++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return -ERANGE;
    }
    if (value > max)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int im_parse_size(const char *text, uint64_t *ret_bytes)
{
    static const char units[] = "kmgt";
    char digits[24];
    size_t n = strspn(text, "0123456789");
    unsigned shift = 0;
    uint64_t value;
    int r;

    if (n == 0 || n >= sizeof(digits))
        return n ? -ERANGE : -EINVAL;
    memcpy(digits, text, n);
    digits[n] = '\0';
    text += n;
    if (*text) {
        const char *unit = strchr(units, tolower((unsigned char)*text));

        if (unit) {
            shift = 10 * (unsigned)(unit - units + 1);
            text++;
        }
        if (*text == 'b' || *text == 'B')
            text++;
        if (*text)
            return -EINVAL;
    }
    r = im_parse_uint(digits, UINT64_MAX >> shift, &value);
    if (r < 0)
        return r;
    *ret_bytes = value << shift;
    return 0;
}

const char *im_format_size(char *buf, size_t size, uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes;
    unsigned u = 0;

    /* 1023.95 and up would round to "1024.0" of the smaller unit. */
    while (value >= 1023.95 && u < 6) {
        value /= 1024;
        u++;
    }
    (void)snprintf(buf, size, u ? "%.1f %s" : "%.0f %s", value, units[u]);
    return buf;
}

/* Length of the UTF-8 sequence at p (len > 0 bytes) and the character it stands for; 0 when it is
 * cut off, longer than needed, a surrogate or above U+10FFFF (RFC 3629 section 3). */
static size_t utf8_char(const unsigned char *p, size_t len, uint32_t *ret_char)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = p[0];

    if (n == 0 || n > len || p[0] > 0xf4)
        return 0;
    if (n > 1) {
        c &= 0x7fu >> n;
        for (size_t i = 1; i < n; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (p[i] & 0x3fu);
        }
        if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return 0;
    }
    *ret_char = c;
    return n;
}

/* XML 1.0 section 2.2, production 2, for a character utf8_char() gave. */
static bool is_xml_char(uint32_t c)
{
    return (c >= 0x20 && c < 0xfffe) || c > 0xffff || c == '\t' || c == '\n' || c == '\r';
}

/* Unicode's format characters (category Cf), which turn the writing around or hide in it, and the
 * separators of lines and paragraphs among them. */
static bool is_format_char(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        { 0xad, 0xad },       { 0x600, 0x605 },     { 0x61c, 0x61c },     { 0x6dd, 0x6dd },
        { 0x70f, 0x70f },     { 0x890, 0x891 },     { 0x8e2, 0x8e2 },     { 0x180e, 0x180e },
        { 0x200b, 0x200f },   { 0x2028, 0x202e },   { 0x2060, 0x206f },   { 0xfeff, 0xfeff },
        { 0xfff9, 0xfffb },   { 0x110bd, 0x110bd }, { 0x110cd, 0x110cd }, { 0x13430, 0x1343f },
        { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0001, 0xe007f },
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

/* Nothing a terminal or a log acts upon: controls (C0 and C1), format characters, and what XML does
 * not take. */
static bool is_plain_char(uint32_t c)
{
    return c >= 0x20 && is_xml_char(c) && (c < 0x7f || c > 0x9f) && !is_format_char(c);
}

const char *im_text_basename(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

char *im_text_trim(char *text)
{
    static const char blanks[] = " \t\r\n";
    size_t len;

    text += strspn(text, blanks);
    len = strlen(text);
    while (len > 0 && strchr(blanks, text[len - 1]))
        len--;
    text[len] = '\0';
    return text;
}

/* As im_text_printable, for `left` bytes of text behind the `out` bytes that are in buf; the new
 * number of those. */
static size_t add_printable(char *buf, size_t size, size_t out, const char *text, size_t left)
{
    const unsigned char *in = (const unsigned char *)text;

    while (left > 0) {
        uint32_t c = 0;
        size_t n = utf8_char(in, left, &c);
        bool plain = n > 0 && is_plain_char(c);
        size_t wanted = plain ? n : 1;

        if (wanted >= size - out)
            break;
        if (plain)
            memcpy(buf + out, in, n);
        else
            buf[out] = c == '\n' || c == '\t' || c == '\r' ? ' ' : '?';
        out += wanted;
        in += n > 0 ? n : 1;
        left -= n > 0 ? n : 1;
    }
    buf[out] = '\0';
    return out;
}

const char *im_text_printable(char *buf, size_t size, const char *text)
{
    (void)add_printable(buf, size, 0, text, strlen(text));
    return buf;
}

static bool every_char(const char *text, size_t len, bool (*wanted)(uint32_t c))
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t c;

    while (len > 0) {
        size_t n = utf8_char(p, len, &c);

        if (n == 0 || (wanted && !wanted(c)))
            return false;
        p += n;
        len -= n;
    }
    return true;
}

bool im_text_is_utf8(const char *text, size_t len)
{
    return every_char(text, len, NULL);
}

bool im_text_is_xml(const char *text, size_t len)
{
    return every_char(text, len, is_xml_char);
}

bool im_text_is_printable(const char *text)
{
    return every_char(text, strlen(text), is_plain_char);
}

const char *im_text_url(char *buf, size_t size, const char *url)
{
    size_t len = strcspn(url, "?#");
    const char *scheme = memmem(url, len, "://", 3);
    const char *host = scheme ? scheme + 3 : url;
    const char *end = url + len;
    /* User-info ends at the last '@' before the path; a URL without a scheme may have it as well.
     */
    const char *slash = memchr(host, '/', (size_t)(end - host));
    const char *at = memrchr(host, '@', (size_t)((slash ? slash : end) - host));
    size_t used = add_printable(buf, size, 0, url,
                                scheme && scheme - url < 16 ? (size_t)(scheme - url) + 3 : 0);

    if (at)
        host = at + 1;
    (void)add_printable(buf, size, used, host, (size_t)(end - host));
    return buf;
}

/* One character of the pattern at *p against c; steps over it. */
static bool takes(const char **p, char c)
{
    if (**p == '?') {
        (*p)++;
        return true;
    }
    if (**p == '\\' && (*p)[1])
        (*p)++;
    return *(*p)++ == c;
}

/* '*' first takes nothing; when the rest fails, the last one takes one character more. */
bool im_text_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *again = NULL;

    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            again = text;
        } else if (*pattern && takes(&pattern, *text)) {
            text++;
        } else if (star) {
            pattern = star;
            text = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

char *im_asprintf(const char *format, ...)
{
    va_list args;
    char *text;
    int n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    return im_memory_noted(n < 0 ? NULL : text);
}
