/* verify-against - a volume against the image it was made of, as a second reader finds it. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "box/second-reader.h"
#include "cmd/verify.h"
#include "core/cancel.h"

#define STEP (1u << 20) /* bytes compared at a time */

struct comparison {
    const struct im_volume *volume;
    struct im_progress *progress;
    uint8_t *here, *there; /* STEP bytes each: of the volume, of the image */
    uint64_t differing;    /* bytes */
    uint64_t first;        /* the first of them … */
    uint8_t is, should_be; /* … and what is there */
};

static int read_volume(const struct comparison *comparison, size_t len, uint64_t offset,
                       struct im_error *err)
{
    ssize_t n = im_pread(comparison->volume->fd, comparison->here, len, offset);

    if (n >= 0 && (size_t)n == len)
        return 0;
    return im_fail_code(err, EIO, "ReadFailed",
                        "cannot read %zu bytes at offset %" PRIu64 " of '%s': %s", len, offset,
                        comparison->volume->name,
                        n < 0 ? strerrordesc_np((int)-n) : "it has become shorter");
}

static void compare(struct comparison *comparison, size_t len, uint64_t offset)
{
    const uint8_t *here = comparison->here, *there = comparison->there;

    if (memcmp(here, there, len) == 0)
        return;
    for (size_t i = 0; i < len; i++) {
        if (here[i] == there[i])
            continue;
        if (comparison->differing++ == 0) {
            comparison->first = offset + i;
            comparison->is = here[i];
            comparison->should_be = there[i];
        }
    }
}

/* All the reader gives, which is as much as its size. */
static int compare_disk(struct comparison *comparison, struct im_second_reader *reader,
                        struct im_error *err)
{
    uint64_t size = im_second_reader_size(reader), offset = 0;
    size_t len;
    int r;

    for (;;) {
        r = im_second_reader_next(reader, comparison->there, STEP, &len, err);
        if (r < 0 || len == 0)
            return r;
        r = read_volume(comparison, len, offset, err);
        if (r < 0)
            return r;
        compare(comparison, len, offset);
        offset += len;
        im_progress_update(comparison->progress, offset, size);
    }
}

/* What follows in the volume, against zeros. */
static int compare_rest(struct comparison *comparison, uint64_t offset, struct im_error *err)
{
    const struct im_volume *volume = comparison->volume;
    int r = 0;

    memset(comparison->there, 0, STEP);
    while (r == 0 && offset < volume->size) {
        uint64_t len;
        bool hole;

        im_file_extent(volume->fd, offset, volume->size - offset, &hole, &len);
        if (!hole) {
            len = im_min(len, STEP);
            r = im_cancel_check(err);
            if (r == 0)
                r = read_volume(comparison, (size_t)len, offset, err);
            if (r == 0)
                compare(comparison, (size_t)len, offset);
        }
        offset += len;
    }
    return r;
}

/* What the comparison came to; adds it to the report. */
static int tell(const struct comparison *comparison, const struct im_second_reader *reader,
                const char *image, const char *format, json_t *report, struct im_error *err)
{
    const char *name = im_second_reader_name(reader);
    uint64_t size = im_second_reader_size(reader);
    char shown[1024];

    if (comparison->differing > 0 && comparison->first >= size)
        return im_fail(err, EKEYREJECTED,
                       "'%s' holds more than '%s', which ends at byte %" PRIu64 " as read by %s: "
                       "%" PRIu64 " bytes are not zero, first 0x%02x at byte %" PRIu64,
                       comparison->volume->name, image, size, name, comparison->differing,
                       comparison->is, comparison->first);
    if (comparison->differing > 0)
        return im_fail(err, EKEYREJECTED,
                       "'%s' differs from '%s' as read by %s in %" PRIu64 " of %" PRIu64
                       " bytes, first at byte %" PRIu64 ": 0x%02x instead of 0x%02x",
                       comparison->volume->name, image, name, comparison->differing,
                       comparison->volume->size, comparison->first, comparison->is,
                       comparison->should_be);
    if (json_object_set_new(report, "against",
                            json_pack("{s:s, s:s, s:I, s:s}", "image",
                                      im_text_printable(shown, sizeof(shown), image), "format",
                                      format, "identical_bytes", (json_int_t)size, "reader",
                                      name)) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    return 0;
}

static int compare_with(struct comparison *comparison, struct im_second_reader *reader,
                        const char *image, struct im_error *err)
{
    uint64_t size = im_second_reader_size(reader);
    int r;

    if (comparison->volume->size < size)
        return im_fail(err, EKEYREJECTED,
                       "'%s' has %" PRIu64 " bytes, but the disk in '%s' %" PRIu64,
                       comparison->volume->name, comparison->volume->size, image, size);
    comparison->here = malloc(2 * (size_t)STEP);
    if (!comparison->here)
        return im_fail(err, ENOMEM, "out of memory");
    comparison->there = comparison->here + STEP;
    im_progress_stage(comparison->progress, "compare");
    r = compare_disk(comparison, reader, err);
    if (r == 0)
        r = compare_rest(comparison, size, err);
    if (r == 0)
        im_progress_finish(comparison->progress);
    free(comparison->here);
    return r;
}

int im_verify_against(const struct im_volume *volume, const char *image,
                      const struct im_format *format, const struct im_open *options,
                      struct im_progress *progress, struct json_t *report, struct im_error *err)
{
    struct comparison comparison = { .volume = volume, .progress = progress };
    struct im_second_reader *reader = NULL;
    struct im_source *source = NULL;
    int r = im_source_open(image, &source, err);

    if (r == 0)
        r = im_second_reader_open(format, source, options, &reader, err);
    if (r == 0)
        r = compare_with(&comparison, reader, source->name, err);
    if (r == 0)
        r = tell(&comparison, reader, source->name, format->name, report, err);
    im_second_reader_free(reader);
    im_source_close(source);
    return r;
}
