/* bundle-proof - what must hold of a bundle's manifest as a whole, and what of it is signed. */

#include <config.h>

#include "aws/bundle-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* What deflate can make of one byte, rounded up; a gzip file cannot hold more. */
#define INFLATION_MAX 1040

__attribute__((format(printf, 2, 3))) static int refuse(struct im_error *err, const char *format,
                                                        ...)
{
    char what[IM_ERROR_MAX - 40];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return im_fail_code(err, EBADMSG, "InvalidManifest", "manifest: %s", what);
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int im_bundle_hex(const char *text, uint8_t *ret, size_t room, size_t *ret_len)
{
    size_t len = strlen(text);

    if (len == 0 || len % 2 != 0 || len / 2 > room)
        return -EINVAL;
    for (size_t i = 0; i < len / 2; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -EINVAL;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    *ret_len = len / 2;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A part that comes twice would be decrypted twice. */
static int check_names(const struct im_bundle *bundle, struct im_error *err)
{
    const char **names IM_FREE = calloc(bundle->part_count, sizeof(*names));
    char shown[160];

    if (!names)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < bundle->part_count; i++)
        names[i] = bundle->part[i].name;
    qsort(names, bundle->part_count, sizeof(*names), compare_names);
    for (size_t i = 1; i < bundle->part_count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return refuse(err, "two parts are '%s'",
                          bundle->download ? im_text_url(shown, sizeof(shown), names[i])
                                           : im_text_printable(shown, sizeof(shown), names[i]));
    return 0;
}

static int check_sizes(const struct im_bundle *bundle, struct im_error *err)
{
    uint64_t count = bundle->part_count;

    if (bundle->bundled_size % IM_CBC_KEY != 0 || bundle->bundled_size < count)
        return refuse(err, "%" PRIu64 " bytes in %" PRIu64 " parts are no whole AES blocks",
                      bundle->bundled_size, count);
    if (bundle->bundled_size > count * IM_BUNDLE_PART_MAX)
        return refuse(err,
                      "%" PRIu64 " bytes in %" PRIu64 " parts make parts of more than %u bytes",
                      bundle->bundled_size, count, IM_BUNDLE_PART_MAX);
    if (bundle->size / INFLATION_MAX > bundle->bundled_size)
        return refuse(err, "an image of %" PRIu64 " bytes cannot come out of %" PRIu64,
                      bundle->size, bundle->bundled_size);
    return 0;
}

int im_bundle_prove(const struct im_bundle *bundle, struct im_error *err)
{
    int r = check_names(bundle, err);

    return r < 0 ? r : check_sizes(bundle, err);
}

/* ---- what is signed ---- */

/* Append the one element `name` as it stands in the document.  -ENOENT: it is not there exactly
 * once in the plainest form of its tags. */
static int add_element(struct im_buffer *out, const char *xml, size_t len, const char *name)
{
    char open[64], close[64];
    int open_len = snprintf(open, sizeof(open), "<%s>", name);
    int close_len = snprintf(close, sizeof(close), "</%s>", name);
    const char *end = xml + len, *first, *last, *after;

    first = memmem(xml, len, open, (size_t)open_len);
    last = first ? memmem(first, (size_t)(end - first), close, (size_t)close_len) : NULL;
    if (!last)
        return -ENOENT;
    after = last + close_len;
    if (memmem(first + 1, (size_t)(end - first) - 1, open, (size_t)open_len) ||
        memmem(after, (size_t)(end - after), close, (size_t)close_len))
        return -ENOENT;
    return im_buffer_add(out, first, (size_t)(after - first));
}

int im_bundle_find_signed(struct im_bundle *bundle, const char *xml, size_t len,
                          struct im_error *err)
{
    static const char *const of_bundle[] = { "machine_configuration", "image", NULL };
    static const char *const of_download[] = { "version", "file-format", "bundle", "image", NULL };
    const char *const *names = bundle->download ? of_download : of_bundle;
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(IM_BUNDLE_MANIFEST_MAX);
    int r = 0;

    for (size_t i = 0; r == 0 && names[i]; i++)
        r = add_element(&text, xml, len, names[i]);
    if (r == -ENOENT)
        return 0;
    bundle->signed_len = text.len;
    bundle->is_signed = r == 0 ? im_buffer_steal(&text) : NULL;
    return bundle->is_signed ? 0 : im_fail(err, ENOMEM, "out of memory");
}
