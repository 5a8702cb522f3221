/* fuzz-journal - the reader of journals, and a trail that goes on behind what one says.
 *
 * An input is not an image but what follows a journal's header.  The header, and 15 times of 16 the
 * CRCs of the marks, are made right, so that what they guard is reached.  A finding is a report of
 * a sanitizer, a byte given that the journal does not hold, or a mark read that cannot be read
 * twice.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "core/inflate.h"
#include "core/trail.h"

#define INPUT_MAX 65536u
#define SIZE      (UINT64_C(1) << 32) /* of the source */
#define HEAD      16u                 /* of a mark */

static const uint8_t identity[IM_JOURNAL_IDENTITY] = "fuzz";

static int source_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                       size_t *ret_len, struct im_error *err)
{
    (void)source;
    (void)offset;
    (void)err;
    memset(buf, 'x', len);
    *ret_len = len;
    return 0;
}

static int source_proven(struct im_source *source, struct im_buffer *proof)
{
    (void)source;
    return im_buffer_puts(proof, "p");
}

static int source_trust(struct im_source *source, const void *proof, size_t len)
{
    (void)source;
    return len > 0 && *(const uint8_t *)proof == 0xff ? -EBADMSG : 0;
}

static const struct im_source_ops source_ops = { .read = source_read,
                                                 .proven = source_proven,
                                                 .trust = source_trust };

/* Let the CRCs be those of the marks there are. */
static void repair(uint8_t *file, size_t len, const struct im_journal *start)
{
    uint32_t chain = start->chain;
    uint64_t number = 0;

    for (size_t at = (size_t)start->end; len - at >= HEAD; number++) {
        uint64_t body = im_le32(file + at + 4);
        const uint64_t about[2] = { htole64(number), htole64(body) };
        uint32_t le;

        if (body > len - at - HEAD)
            return;
        memcpy(file + at, "MARK", 4);
        chain = im_zlib_crc32(im_zlib_crc32(chain, about, sizeof(about)), file + at + HEAD,
                              (size_t)body);
        le = htole32(chain);
        memcpy(file + at + 8, &le, sizeof(le));
        at += HEAD + (size_t)body;
    }
}

static int see_run(void *arg, const struct im_journal_run *run, struct im_error *err)
{
    (void)err;
    *(uint64_t *)arg += run->len;
    return 0;
}

static uint64_t number_at(const uint8_t *p, size_t len, size_t *at)
{
    uint64_t n = 0;

    for (unsigned shift = 0; shift < 64 && *at < len; shift += 7) {
        n |= (uint64_t)(p[*at] & 0x7f) << shift;
        if (!(p[(*at)++] & 0x80))
            break;
    }
    return n;
}

/* Ask for what the logs of all marks say was asked for; then, as a decoder does, for more. */
static void replay(struct im_trail *trail, struct im_journal journal)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    static uint8_t buf[INPUT_MAX];
    struct im_journal_mark mark;
    uint64_t expected = 0;
    struct im_error err = { 0 };
    size_t got = 0;

    while (im_journal_next(&journal, &buffer, &mark) > 0) {
        for (size_t at = 0; at < mark.log_len;) {
            uint64_t folded = number_at(mark.log, mark.log_len, &at);
            uint64_t offset = expected + (folded >> 1 ^ (folded & 1 ? UINT64_MAX : 0));
            uint64_t asked = number_at(mark.log, mark.log_len, &at);
            uint64_t missing = number_at(mark.log, mark.log_len, &at);
            int r =
                im_trail_replay(trail, buf, (size_t)im_min(asked, sizeof(buf)), offset, &got, &err);

            if (r <= 0)
                return;
            if (got != asked - missing || got > mark.log_len - at ||
                memcmp(buf, mark.log + at, got) != 0)
                fault("other bytes were given than were kept");
            at += got;
            expected = offset + got;
        }
        (void)im_trail_skip(trail, mark.data);
    }
    (void)im_trail_read(trail, buf, 100, expected, &got, &err);
    (void)im_trail_rest(trail, buf, sizeof(buf), mark.rest_offset);
}

static void go_on(const struct im_journal *start, int volume)
{
    static char name[] = "fuzz";
    struct im_source source = { .ops = &source_ops, .name = name, .size = SIZE };
    struct im_trail *trail = NULL;
    struct im_error err = { 0 };
    uint64_t bytes = 0;

    if (im_trail_new(&source, start, volume, &trail, &err) < 0)
        return;
    (void)im_trail_past(trail, see_run, &bytes, &err);
    replay(trail, *start);
    (void)im_trail_stop(trail, true, NULL);
    im_trail_free(trail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    static uint8_t file[INPUT_MAX + 64];
    struct im_journal journal, start;
    struct im_journal_mark mark;
    int fd = memfd_create("journal", MFD_CLOEXEC);

    if (fd < 0 || len > INPUT_MAX || im_journal_create(&start, fd, identity) < 0)
        fault("no journal");
    if (im_pread(fd, file, (size_t)start.end, 0) < 0)
        fault("no header");
    if (len > 0)
        memcpy(file + start.end, data, len);
    if (len > 0 && data[len - 1] % 16 != 0)
        repair(file, (size_t)start.end + len, &start);
    if (im_pwrite(fd, file, (size_t)start.end + len, 0) < 0 ||
        im_journal_open(&journal, fd, identity) < 0)
        fault("no journal");
    while (im_journal_next(&journal, &buffer, &mark) > 0)
        for (size_t i = 0; i < mark.run_count; i++)
            (void)im_journal_run_at(&mark, i);
    if (journal.end > start.end + len)
        fault("a mark reaches past the end of the file");
    go_on(&start, fd);
    (void)close(fd);
    return 0;
}
