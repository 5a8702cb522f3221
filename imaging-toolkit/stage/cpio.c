/* cpio - the names in an archive of the kind "newc"; see cpio.h. */

#include <config.h>

#include "stage/cpio.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define HEADER   110u /* "070701" and 13 numbers of eight hexadecimal digits */
#define AT_SIZE  54u
#define AT_NAMED 94u
#define TRAILER  "TRAILER!!!"

void cpio_begin(struct cpio *cpio, cpio_member_fn member, void *arg)
{
    *cpio = (struct cpio){ .member = member, .arg = arg };
}

bool cpio_is_complete(const struct cpio *cpio)
{
    return cpio->trailer && cpio->state == CPIO_BETWEEN;
}

static bool hex(const char *p, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    *ret_value = value;
    return true;
}

static int take_header(struct cpio *cpio)
{
    uint64_t size, named;

    if ((memcmp(cpio->text, "070701", 6) != 0 && memcmp(cpio->text, "070702", 6) != 0) ||
        !hex(cpio->text + AT_SIZE, &size) || !hex(cpio->text + AT_NAMED, &named) || named == 0 ||
        named > CPIO_NAME_MAX)
        return -EBADMSG;
    cpio->size = size;
    cpio->left = named;
    cpio->state = CPIO_NAME;
    return 0;
}

/* Padding follows the name and the contents.  An archive ends with its trailer. */
static void take_name(struct cpio *cpio)
{
    uint64_t end = im_round_up(cpio->at, 4);

    cpio->text[cpio->have] = '\0';
    if (strcmp(cpio->text, TRAILER) == 0) {
        cpio->trailer = true;
        cpio->state = CPIO_BETWEEN;
        return;
    }
    cpio->member(cpio->arg, cpio->text, cpio->size);
    cpio->left = end - cpio->at + im_round_up(cpio->size, 4);
    cpio->state = CPIO_SKIP;
}

/* Collect up to `want` bytes; true when they are there. */
static bool collect(struct cpio *cpio, const char **p, const char *end, size_t want)
{
    size_t n = want - cpio->have;

    if (n > (size_t)(end - *p))
        n = (size_t)(end - *p);
    memcpy(cpio->text + cpio->have, *p, n);
    cpio->have += n;
    cpio->at += n;
    *p += n;
    return cpio->have == want;
}

static void start_member(struct cpio *cpio)
{
    cpio->have = 0;
    cpio->state = CPIO_HEADER;
}

/* Zeros stand between archives; false: something else begins at *p. */
static bool pass_zeros(struct cpio *cpio, const char **p, const char *end)
{
    while (*p < end && **p == '\0')
        ++*p;
    if (*p == end)
        return true;
    if (**p != '0')
        return false;
    cpio->at = 0;
    start_member(cpio);
    return true;
}

ssize_t cpio_feed(struct cpio *cpio, const void *data, size_t len)
{
    const char *p = data, *end = p + len;

    while (p < end) {
        uint64_t n;

        switch (cpio->state) {
        case CPIO_BETWEEN:
            if (!pass_zeros(cpio, &p, end))
                return p - (const char *)data;
            break;
        case CPIO_HEADER:
            if (!collect(cpio, &p, end, HEADER))
                break;
            cpio->have = 0;
            if (take_header(cpio) < 0)
                return -EBADMSG;
            break;
        case CPIO_NAME:
            if (collect(cpio, &p, end, (size_t)cpio->left))
                take_name(cpio);
            break;
        case CPIO_SKIP:
            n = im_min(cpio->left, (uint64_t)(end - p));
            cpio->left -= n;
            cpio->at += n;
            p += n;
            break;
        }
        if (cpio->state == CPIO_SKIP && cpio->left == 0)
            start_member(cpio);
    }
    return (ssize_t)len;
}
