/* Journal and trail: what is written is read again, what is torn or changed is not; a decoder that
 * is run again gets what it got, asks the source for nothing it had, and goes on where it was. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "core/inflate.h"
#include "core/trail.h"

static const uint8_t identity[IM_JOURNAL_IDENTITY] = "the same conversion";
static const uint8_t other[IM_JOURNAL_IDENTITY] = "another";

static int new_file(void)
{
    int fd = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    return fd;
}

static uint64_t length(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_size;
}

/* ---- the journal ---- */

static void append(struct im_journal *journal, uint64_t n)
{
    struct im_buffer runs IM_BUFFER_DONE = IM_BUFFER(4096);
    const struct im_journal_run run = { n * 1000, (uint32_t)n + 1, 0x1234 };
    const struct im_journal_mark mark = {
        .data = n,
        .position = 2 * n,
        .rest_offset = 3 * n,
        .rest = (const uint8_t *)"rest",
        .rest_len = 4,
        .log = (const uint8_t *)"structure",
        .log_len = 9,
        .proof = (const uint8_t *)"proof",
        .proof_len = n % 6,
        .runs = NULL,
    };
    struct im_journal_mark with_runs = mark;

    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(im_journal_add_run(&runs, &run), 0);
    with_runs.runs = (const uint8_t *)runs.data;
    with_runs.run_count = (size_t)n;
    assert_int_equal(im_journal_append(journal, &with_runs), 0);
}

/* Marks that count, each of them as append wrote it. */
static unsigned count(int fd)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    struct im_journal journal;
    struct im_journal_mark mark;
    unsigned n = 0;
    int r = im_journal_open(&journal, fd, identity);

    if (r < 0)
        return 0;
    while ((r = im_journal_next(&journal, &buffer, &mark)) > 0) {
        n++;
        assert_int_equal(mark.data, n);
        assert_int_equal(mark.position, 2 * n);
        assert_int_equal(mark.rest_offset, 3 * n);
        assert_int_equal(mark.rest_len, 4);
        assert_memory_equal(mark.rest, "rest", 4);
        assert_memory_equal(mark.log, "structure", mark.log_len);
        assert_memory_equal(mark.proof, "proof", n % 6);
        assert_int_equal(mark.run_count, n);
        assert_int_equal(im_journal_run_at(&mark, n - 1).offset, n * 1000);
        assert_int_equal(im_journal_run_at(&mark, n - 1).len, n + 1);
        assert_int_equal(im_journal_run_at(&mark, n - 1).crc, 0x1234);
    }
    assert_int_equal(r, 0);
    return n;
}

static int three_marks(uint64_t ends[4])
{
    int fd = new_file();
    struct im_journal journal;

    assert_int_equal(im_journal_create(&journal, fd, identity), 0);
    ends[0] = length(fd);
    for (uint64_t n = 1; n <= 3; n++) {
        append(&journal, n);
        ends[n] = length(fd);
    }
    return fd;
}

static void copy_file(int from, int to)
{
    char buf[4096];
    ssize_t n = im_pread(from, buf, sizeof(buf), 0);

    assert_true(n > 0 && n < (ssize_t)sizeof(buf));
    assert_int_equal(ftruncate(to, 0), 0);
    assert_int_equal(im_pwrite(to, buf, (size_t)n, 0), 0);
}

static void what_is_written_is_read(void **state)
{
    struct im_journal journal;
    uint64_t ends[4];
    int fd = three_marks(ends);

    (void)state;
    assert_int_equal(count(fd), 3);
    assert_int_equal(im_journal_open(&journal, fd, other), -ESTALE);
    (void)close(fd);
}

static void a_torn_end_is_no_end(void **state)
{
    uint64_t ends[4];
    int fd = three_marks(ends), torn = new_file();

    (void)state;
    for (uint64_t len = 0; len <= ends[3]; len++) {
        unsigned whole = 0;

        while (whole < 3 && ends[whole + 1] <= len)
            whole++;
        copy_file(fd, torn);
        assert_int_equal(ftruncate(torn, (off_t)len), 0);
        assert_int_equal(count(torn), whole);
        /* as a file system leaves it that had only made it longer */
        assert_int_equal(ftruncate(torn, (off_t)ends[3]), 0);
        assert_in_range(count(torn), whole, whole + 1); /* the last bytes may be zeros anyway */
    }
    (void)close(fd);
    (void)close(torn);
}

static void what_is_changed_does_not_count(void **state)
{
    uint64_t ends[4];
    int fd = three_marks(ends), changed = new_file();

    (void)state;
    for (uint64_t at = 0; at < ends[3]; at++) {
        unsigned before = 0;
        uint8_t byte;

        if (at >= ends[0])
            while (ends[before + 1] <= at)
                before++;
        copy_file(fd, changed);
        assert_int_equal(im_pread(changed, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(im_pwrite(changed, &byte, 1, at), 0);
        /* four bytes of a mark's head mean nothing */
        if (at >= ends[0] && at - ends[before] >= 12 && at - ends[before] < 16)
            continue;
        assert_int_equal(count(changed), before);
    }
    (void)close(fd);
    (void)close(changed);
}

/* A mark that was left behind the end of another is not the next one, although it is whole. */
static void what_was_cut_off_does_not_come_back(void **state)
{
    struct im_buffer buffer IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    struct im_journal journal;
    struct im_journal_mark mark;
    uint64_t ends[4];
    uint8_t old[512];
    int fd = three_marks(ends);
    size_t len = (size_t)(ends[3] - ends[2]);

    (void)state;
    assert_true(len <= sizeof(old));
    assert_int_equal(im_pread(fd, old, len, ends[2]), (ssize_t)len);
    assert_int_equal(im_journal_open(&journal, fd, identity), 0);
    assert_int_equal(im_journal_next(&journal, &buffer, &mark), 1);
    append(&journal, 2); /* behind the first: the third is gone */
    assert_int_equal(count(fd), 2);
    assert_int_equal(length(fd), ends[2]);
    /* in a chain whose second mark is another it does not follow */
    assert_int_equal(im_journal_create(&journal, fd, other), 0);
    append(&journal, 1);
    append(&journal, 2);
    assert_int_equal(im_pwrite(fd, old, len, ends[2]), 0);
    assert_int_equal(im_journal_open(&journal, fd, other), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(im_journal_next(&journal, &buffer, &mark), 1);
    assert_int_equal(im_journal_next(&journal, &buffer, &mark), 0);
    (void)close(fd);
}

static void too_much_is_refused(void **state)
{
    static uint8_t much[IM_JOURNAL_MARK_MAX];
    const struct im_journal_mark mark = { .log = much, .log_len = sizeof(much) };
    struct im_journal journal;
    int fd = new_file();

    (void)state;
    assert_int_equal(im_journal_create(&journal, fd, identity), 0);
    assert_int_equal(im_journal_append(&journal, &mark), -EFBIG);
    append(&journal, 1);
    assert_int_equal(count(fd), 1);
    (void)close(fd);
}

/* ---- the trail ---- */

#define SIZE 100000u

/* Bytes that tell where they are; which have come is the test's wish. */
struct wire {
    struct im_source base;
    uint64_t ready; /* up to here */
    unsigned reads;
    unsigned trusted;
};

static int wire_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                     size_t *ret_len, struct im_error *err)
{
    struct wire *wire = (struct wire *)source;

    (void)err;
    wire->reads++;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)((offset + i) % 251);
    *ret_len = len;
    return 0;
}

static size_t wire_ready(struct im_source *source, uint64_t offset, size_t len)
{
    const struct wire *wire = (const struct wire *)source;
    uint64_t here = offset < wire->ready ? wire->ready - offset : 0;

    return here < len ? (size_t)here : len;
}

static int wire_proven(struct im_source *source, struct im_buffer *proof)
{
    (void)source;
    return im_buffer_puts(proof, "proven");
}

static int wire_trust(struct im_source *source, const void *proof, size_t len)
{
    ((struct wire *)source)->trusted += len == 6 && memcmp(proof, "proven", 6) == 0;
    return 0;
}

static const struct im_source_ops wire_ops = {
    .read = wire_read, .ready = wire_ready, .proven = wire_proven, .trust = wire_trust
};

static struct wire new_wire(uint64_t ready)
{
    static char name[] = "wire";

    return (struct wire){ .base = { .ops = &wire_ops, .name = name, .size = SIZE },
                          .ready = ready };
}

static uint64_t no_fence(void *arg)
{
    return (*(uint64_t *)arg)++;
}

static int no_wait(void *arg, uint64_t generation, struct im_error *err)
{
    (void)arg;
    (void)generation;
    (void)err;
    return 0;
}

/* Structure at the start and the end, then ten pieces of structure and data in turn; stops before
 * the piece `stop`.  How many pieces of data were to be handed on. */
static unsigned decode(struct wire *wire, struct im_trail *trail, int volume, unsigned stop,
                       int *ret)
{
    static uint64_t generation;
    const struct im_trail_writer writer = { no_fence, no_wait, &generation };
    struct im_error err = { 0 };
    uint8_t buf[1000];
    unsigned given = 0;
    size_t got;

    *ret = im_source_read_some(&wire->base, buf, 100, 0, &got, &err);
    if (*ret == 0)
        *ret = im_source_read_some(&wire->base, buf, 100, SIZE - 50, &got, &err);
    if (*ret == 0)
        assert_int_equal(got, 50); /* the end */
    generation = 0;
    im_trail_writer(trail, &writer);
    for (unsigned i = 1; *ret == 0 && i < stop; i++) {
        *ret = im_source_read_some(&wire->base, buf, 12, i * 1000, &got, &err);
        if (*ret < 0)
            break;
        for (size_t n = 0; n < 12; n++)
            assert_int_equal(buf[n], (i * 1000 + n) % 251);
        if (im_trail_skip(trail, 900) == 900)
            continue;
        assert_int_equal(im_source_fetch(&wire->base, buf, 900, i * 1000 + 12, &got, &err), 0);
        assert_int_equal(im_pwrite(volume, buf, 900, i * 900), 0);
        im_trail_wrote(trail, generation, buf, 900, i * 900);
        im_trail_gave(trail, 900);
        (void)im_trail_tell(trail, i * 1000 + 912);
        given++;
    }
    return given;
}

struct seen {
    int volume;
    uint64_t bytes;
};

static int see_run(void *arg, const struct im_journal_run *run, struct im_error *err)
{
    struct seen *seen = arg;
    uint8_t buf[1000];

    (void)err;
    assert_true(run->len <= sizeof(buf));
    assert_int_equal(im_pread(seen->volume, buf, run->len, run->offset), run->len);
    assert_int_equal(im_zlib_crc32(0, buf, run->len), run->crc);
    seen->bytes += run->len;
    return 0;
}

static struct im_trail *begin(struct wire *wire, const struct im_journal *journal, int volume)
{
    struct im_trail *trail = NULL;
    struct im_error err = { 0 };

    assert_int_equal(im_trail_new(&wire->base, journal, volume, &trail, &err), 0);
    return trail;
}

/* A journal of a walk that was interrupted before piece 6. */
static int interrupted(int volume)
{
    struct wire wire = new_wire(SIZE);
    struct im_journal journal;
    struct im_trail *trail;
    int fd = new_file(), r;

    assert_int_equal(im_journal_create(&journal, fd, identity), 0);
    trail = begin(&wire, &journal, volume);
    assert_false(im_trail_has_past(trail));
    assert_int_equal(decode(&wire, trail, volume, 6, &r), 5);
    assert_int_equal(im_trail_stop(trail, true, NULL), 0);
    assert_true(im_trail_has_marks(trail));
    im_trail_free(trail);
    assert_null(wire.base.trail);
    return fd;
}

static void a_walk_goes_on(void **state)
{
    int volume = new_file(), fd = interrupted(volume), r;
    struct wire wire = new_wire(SIZE);
    struct seen seen = { volume, 0 };
    struct im_journal journal;
    struct im_trail *trail;
    struct im_error err = { 0 };

    (void)state;
    assert_int_equal(im_journal_open(&journal, fd, identity), 0);
    trail = begin(&wire, &journal, volume);
    assert_true(im_trail_has_past(trail));
    assert_true(wire.trusted > 0);
    assert_int_equal(im_trail_told(trail), 5912);
    assert_int_equal(im_trail_tell(trail, 100), 5912);
    assert_int_equal(im_trail_past(trail, see_run, &seen, &err), 0);
    assert_int_equal(seen.bytes, 5 * 900);
    /* pieces 6 to 10 are fetched, each in two reads, and nothing else */
    assert_int_equal(decode(&wire, trail, volume, 11, &r), 5);
    assert_int_equal(r, 0);
    assert_int_equal(wire.reads, 10);
    assert_int_equal(im_trail_stop(trail, true, NULL), 0);
    im_trail_free(trail);

    /* and once more: all of it is known */
    wire = new_wire(SIZE);
    seen.bytes = 0;
    assert_int_equal(im_journal_open(&journal, fd, identity), 0);
    trail = begin(&wire, &journal, volume);
    assert_int_equal(im_trail_past(trail, see_run, &seen, &err), 0);
    assert_int_equal(seen.bytes, 10 * 900);
    assert_int_equal(decode(&wire, trail, volume, 11, &r), 0);
    assert_int_equal(wire.reads, 0);
    im_trail_free(trail);
    (void)close(fd);
    (void)close(volume);
}

static void another_decoder_is_noticed(void **state)
{
    int volume = new_file(), fd = interrupted(volume);
    struct wire wire = new_wire(SIZE);
    struct im_error err = { 0 };
    struct im_journal journal;
    struct im_trail *trail;
    uint8_t buf[100];
    size_t got;

    (void)state;
    assert_int_equal(im_journal_open(&journal, fd, identity), 0);
    trail = begin(&wire, &journal, volume);
    assert_int_equal(im_source_read_some(&wire.base, buf, 100, 0, &got, &err), 0);
    assert_int_equal(im_source_read_some(&wire.base, buf, 100, 512, &got, &err), -ESTALE);
    assert_string_equal(err.code, "Diverged");
    im_trail_free(trail);

    assert_int_equal(im_journal_open(&journal, fd, identity), 0);
    trail = begin(&wire, &journal, volume);
    assert_int_equal(im_source_read_some(&wire.base, buf, 99, 0, &got, &err), -ESTALE);
    im_trail_free(trail);
    (void)close(fd);
    (void)close(volume);
}

/* A walk that waits leaves what it has fetched and not used; then that is not fetched again. */
static void what_was_not_used_is_kept(void **state)
{
    int volume = new_file(), fd = new_file(), r;
    struct wire wire = new_wire(6500);
    struct im_error err = { 0 };
    struct im_journal journal;
    struct im_trail *trail;
    uint8_t buf[1000];
    size_t got;

    (void)state;
    assert_int_equal(im_journal_create(&journal, fd, identity), 0);
    wire.ready = SIZE;
    trail = begin(&wire, &journal, volume);
    (void)decode(&wire, trail, volume, 6, &r);
    assert_int_equal(im_source_fetch(&wire.base, buf, 500, 6000, &got, &err), 0);
    wire.ready = 6500;
    assert_int_equal(im_trail_point(trail, 6500, 6000, buf, 500, &err), 0);
    assert_int_equal(im_trail_stop(trail, false, &err), 0);
    im_trail_free(trail);

    wire = new_wire(6500);
    assert_int_equal(im_journal_open(&journal, fd, identity), 0);
    trail = begin(&wire, &journal, volume);
    (void)decode(&wire, trail, volume, 6, &r);
    assert_int_equal(wire.reads, 0);
    assert_int_equal(im_source_ready(&wire.base, 6000, 1000), 500);
    assert_int_equal(im_source_fetch(&wire.base, buf, 500, 6000, &got, &err), 0);
    assert_int_equal(got, 500);
    assert_int_equal(buf[1], 6001 % 251);
    assert_int_equal(wire.reads, 0);
    im_trail_free(trail);
    (void)close(fd);
    (void)close(volume);
}

/* A journal on a full disk: the walk goes on, and what was marked before still counts. */
static void a_journal_that_cannot_be_written(void **state)
{
    int volume = new_file(), fd = interrupted(volume), r;
    struct wire wire = new_wire(SIZE);
    struct im_journal journal;
    struct im_trail *trail;
    uint64_t before = length(fd);

    (void)state;
    assert_int_equal(im_journal_open(&journal, fd, identity), 0);
    trail = begin(&wire, &journal, volume);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    (void)decode(&wire, trail, volume, 11, &r);
    assert_int_equal(r, 0);
    assert_int_equal(im_trail_stop(trail, true, NULL), 0);
    im_trail_free(trail);
    assert_int_equal(length(fd), before);
    (void)close(fd);
    (void)close(volume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_torn_end_is_no_end),
        cmocka_unit_test(what_is_changed_does_not_count),
        cmocka_unit_test(what_was_cut_off_does_not_come_back),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(a_walk_goes_on),
        cmocka_unit_test(another_decoder_is_noticed),
        cmocka_unit_test(what_was_not_used_is_kept),
        cmocka_unit_test(a_journal_that_cannot_be_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
