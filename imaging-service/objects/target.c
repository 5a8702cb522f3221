/* target - what the path and headers of an object request mean. */

#include <config.h>

#include "objects/target.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

/* Percent-decode len bytes into out ("+" stays, this is no form); -EINVAL, or -EFBIG above size. */
static int decode(const char *text, size_t len, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '%') {
            unsigned value;

            if (len - i < 3 || !isxdigit((unsigned char)text[i + 1]) ||
                !isxdigit((unsigned char)text[i + 2]))
                return -EINVAL;
            value =
                (unsigned)(text[i + 1] <= '9' ? text[i + 1] - '0' : (text[i + 1] | 32) - 'a' + 10);
            value = value << 4 | (unsigned)(text[i + 2] <= '9' ? text[i + 2] - '0'
                                                               : (text[i + 2] | 32) - 'a' + 10);
            c = (unsigned char)value;
            i += 2;
        }
        if (c == '\0')
            return -EINVAL;
        if (n + 1 >= size)
            return -EFBIG;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return 0;
}

static int decode_key(const char *text, char *key, struct im_error *err)
{
    int r = decode(text, strlen(text), key, SVC_KEY_MAX + 1);

    if (r == -EFBIG)
        return im_fail_code(err, EINVAL, "KeyTooLongError",
                            "Your key is too long: at most %d bytes are allowed.", SVC_KEY_MAX);
    /* a key comes back in listings, which are XML */
    if (r < 0 || !im_text_is_xml(key, strlen(key)))
        return im_fail_code(err, EINVAL, "InvalidURI",
                            "Couldn't parse the specified URI: the key must be percent-encoded "
                            "UTF-8 without control characters.");
    return 0;
}

int svc_target_parse(const char *path, struct svc_target *ret_target, struct im_error *err)
{
    const char *bucket = path + sizeof(SVC_OBJECTS_PATH) - 1;
    struct svc_target target = { 0 };
    size_t len;

    bucket += *bucket == '/';
    len = strcspn(bucket, "/");
    if (len == 0 && bucket[0] == '\0') {
        *ret_target = target;
        return 0;
    }
    if (decode(bucket, len, target.bucket, sizeof(target.bucket)) < 0 ||
        !svc_bucket_name_ok(target.bucket))
        return im_fail_code(err, EINVAL, "InvalidBucketName",
                            "The specified bucket is not valid: 1 to %d letters, digits, '.', '-' "
                            "and '_' are allowed, the first a letter or digit.",
                            SVC_BUCKET_MAX);
    if (bucket[len] == '/') {
        int r = decode_key(bucket + len + 1, target.key, err);

        if (r < 0)
            return r;
    }
    *ret_target = target;
    return 0;
}

/* "digits" of len characters; false when they are none or beyond 64 bits. */
static bool number(const char *text, size_t len, uint64_t *ret_value)
{
    char digits[24];

    if (len >= sizeof(digits))
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    return im_parse_uint(digits, UINT64_MAX, ret_value) == 0;
}

int svc_range_parse(const char *range, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length)
{
    const char *dash;
    uint64_t first, last = UINT64_MAX;
    size_t len;

    if (!range || strncasecmp(range, "bytes=", 6) != 0)
        return 0;
    range += 6;
    dash = strchr(range, '-');
    if (!dash)
        return 0;
    len = (size_t)(dash - range);
    if (dash[1] && !number(dash + 1, strlen(dash + 1), &last))
        return 0;
    if (len == 0) { /* the last bytes */
        if (!dash[1])
            return 0;
        if (last == 0 || size == 0)
            return -ERANGE;
        *ret_length = last < size ? last : size;
        *ret_offset = size - *ret_length;
        return 1;
    }
    if (!number(range, len, &first) || last < first)
        return 0;
    if (first >= size)
        return -ERANGE;
    *ret_offset = first;
    *ret_length = (last < size - 1 ? last : size - 1) - first + 1;
    return 1;
}
