/* fuzz-faces - open an image in every way there is; all of them must say the same.
 *
 * As a file it is walked, and read by map and read; as something that is fetched and as a pipe it
 * is walked.  What a file accepts all others accept with the same bytes, but that a pipe may refuse
 * a layout; what a file refuses nobody accepts. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

/* Larger disks are refused by their size alone. */
#define DISK_MAX (UINT64_C(4) << 40)
/* A pipe gives every byte: longer files are only read as files. */
#define PIPE_MAX (16u << 20)
/* One in so many refused files is tried as a pipe when it is longer than PIPE_CHEAP. */
#define PIPE_CHEAP  (1u << 18)
#define PIPE_SELDOM 8u
/* As the sink: more is not looked at. */
#define READ_MAX  (32u << 20)
#define CALLS_MAX 20000u

/* What one face said. */
struct answer {
    const char *face;
    bool pipe;
    int r;
    struct im_error err;
    uint64_t size;
    fuzz_sum sum;
    bool partly; /* not all of it was looked at */
    bool hidden; /* the disk itself begins as an image, which a pipe cannot tell from the image,
                    and which the copy refuses in any case */
};

void fuzz_fault(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("FINDING: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    abort();
}

/* A refusal is a sentence about the image and nothing else. */
static void check_error(const struct answer *answer)
{
    const struct im_error *err = &answer->err;

    if (answer->r == 0)
        return;
    if (answer->r != -err->number || !err->code || !*err->code || !*err->message)
        fuzz_fault("%s fails with %d, but the error says %d %s '%s'", answer->face, answer->r,
                   err->number, err->code ? err->code : "-", err->message);
    switch (err->number) {
    case EBADMSG:
    case EOPNOTSUPP:
    case EFBIG:
    case ENOENT: /* an extent */
        break;
    case ENOMEM:
        if (getenv(
                "FAIL_ALLOC")) /* lib/fail-alloc.c: what was opened is closed, so this is the end */
            exit(1);
        fuzz_fault("%s is out of memory", answer->face);
    case ECANCELED:
        if (answer->partly)
            break;
        /* fallthrough */
    default:
        fuzz_fault("%s fails with %d %s '%s'", answer->face, err->number, err->code, err->message);
    }
}

static int open_disk(const struct fuzz_image *image, struct im_source *source,
                     struct im_disk **ret_disk, struct im_error *err)
{
    struct im_open options = { .max_size = DISK_MAX, .extents = fuzz_extents(image) };
    const struct im_format *format = fuzz_target.format;
    int r = fuzz_target.probed ? im_format_open(format, source, &options, ret_disk, err)
                               : format->open(source, &options, ret_disk, err);
    struct im_facts facts = { 0 };

    if (r > 0 || (r == 0) != (*ret_disk != NULL))
        fuzz_fault("open says %d and %s a disk", r, *ret_disk ? "gives" : "does not give");
    if (r < 0)
        return r;
    if ((*ret_disk)->size > DISK_MAX && !source->sequential)
        fuzz_fault("a disk of %" PRIu64 " bytes is opened", (*ret_disk)->size);
    im_disk_describe(*ret_disk, &facts);
    return 0;
}

static void walk(const struct fuzz_image *image, enum fuzz_kind kind, int fd,
                 struct answer *ret_answer)
{
    struct fuzz_source source = fuzz_source(image, kind);
    struct im_disk *disk = NULL;
    struct fuzz_sink sink;

    fuzz_sink_init(&sink, fd);
    ret_answer->r = open_disk(image, &source.base, &disk, &ret_answer->err);
    if (disk)
        ret_answer->r = im_disk_walk(disk, &sink.sink, &ret_answer->err);
    ret_answer->partly = sink.enough;
    if (sink.enough && ret_answer->r != -ECANCELED)
        fuzz_fault("the sink's failure became %d", ret_answer->r);
    if (disk && sink.end > disk->size)
        fuzz_fault("%s gives byte %" PRIu64 " of a disk of %" PRIu64, ret_answer->face, sink.end,
                   disk->size);
    if (disk && ret_answer->r == 0 && kind == FUZZ_FILE && fuzz_target.check)
        fuzz_target.check(image, disk);
    if (disk)
        ret_answer->size = disk->size == IM_SIZE_UNKNOWN ? sink.end : disk->size;
    ret_answer->sum = sink.sum;
    im_disk_close(disk);
    fuzz_sink_done(&sink);
    check_error(ret_answer);
}

/* Read an extent, or the start of one that is zeros; pieces have odd lengths. */
static int read_extent(struct im_disk *disk, const struct im_extent *extent, uint64_t *budget,
                       struct answer *answer)
{
    static uint8_t buf[70001];
    uint64_t len = im_min(extent->len, extent->zero ? 4096 : *budget);

    answer->partly = answer->partly || (!extent->zero && len < extent->len);
    for (uint64_t done = 0; done < len;) {
        size_t step = (size_t)im_min((done * 7 + 4099) % sizeof(buf) + 1, len - done);
        uint64_t offset = extent->offset + done;
        fuzz_sum sum;
        int r = im_disk_read(disk, buf, step, offset, &answer->err);

        if (r < 0)
            return r;
        sum = fuzz_add(0, buf, step, offset);
        if (extent->zero && sum != 0)
            fuzz_fault("bytes at offset %" PRIu64 " are mapped as zeros, but read otherwise",
                       offset);
        answer->sum += sum;
        done += step;
    }
    *budget -= extent->zero ? 0 : len;
    return 0;
}

static int read_all(struct im_disk *disk, struct answer *answer)
{
    uint64_t budget = READ_MAX;
    uint64_t offset = 0;

    for (unsigned calls = 0; offset < disk->size; calls++) {
        struct im_extent extent = { 0 };
        int r = im_disk_map(disk, offset, disk->size - offset, &extent, &answer->err);

        if (r < 0)
            return r;
        if (extent.offset != offset || extent.len == 0 || extent.len > disk->size - offset)
            fuzz_fault("map of offset %" PRIu64 " says %" PRIu64 " bytes at %" PRIu64, offset,
                       extent.len, extent.offset);
        r = read_extent(disk, &extent, &budget, answer);
        if (r < 0)
            return r;
        offset += extent.len;
        if (calls == CALLS_MAX) {
            answer->partly = true;
            break;
        }
    }
    return 0;
}

static bool is_image(struct im_disk *disk)
{
    static uint8_t head[IM_PROBE_HEAD];
    size_t len = (size_t)im_min(sizeof(head), disk->size);

    return im_disk_read(disk, head, len, 0, NULL) == 0 && im_format_certain(head, len);
}

static void read_face(const struct fuzz_image *image, struct answer *ret_answer)
{
    struct fuzz_source source = fuzz_source(image, FUZZ_FILE);
    struct im_disk *disk = NULL;

    ret_answer->r = open_disk(image, &source.base, &disk, &ret_answer->err);
    if (disk) {
        ret_answer->r = read_all(disk, ret_answer);
        ret_answer->size = disk->size;
        ret_answer->hidden = ret_answer->r == 0 && is_image(disk);
    }
    im_disk_close(disk);
    check_error(ret_answer);
}

static void compare(const struct answer *file, const struct answer *other)
{
    bool partly = file->partly || other->partly;

    if (other->pipe && (other->r == -EOPNOTSUPP || other->hidden))
        return;
    /* a pipe's end is not there yet when every format is asked whether the bytes are its own */
    if (other->pipe && file->r < 0 && strcmp(file->err.code, "FormatMismatch") == 0)
        return;
    if (!partly && (file->r < 0) != (other->r < 0))
        fuzz_fault("%s says '%s', %s says '%s'", file->face,
                   file->r < 0 ? file->err.message : "accepted", other->face,
                   other->r < 0 ? other->err.message : "accepted");
    if (file->r < 0 || other->r < 0)
        return;
    if (file->size != other->size)
        fuzz_fault("%s has %" PRIu64 " bytes, %s %" PRIu64, file->face, file->size, other->face,
                   other->size);
    if (!partly && file->sum != other->sum)
        fuzz_fault("%s and %s give different bytes", file->face, other->face);
}

/* Which of many: always the same for one image. */
static bool seldom(const struct fuzz_image *image)
{
    return (uint64_t)fuzz_add(0, image->arena, image->used, 0) % PIPE_SELDOM == 0;
}

bool fuzz_look(const struct fuzz_image *image)
{
    struct answer file = { .face = "the walk of the file" };
    struct answer read = { .face = "reading the file" };
    struct answer fetch = { .face = "the walk of what is fetched" };
    struct answer pipe = { .face = "the pipe", .pipe = true };

    walk(image, FUZZ_FILE, -1, &file);
    read_face(image, &read);
    compare(&file, &read);
    if (image->size[0] <= PIPE_CHEAP ||
        (image->size[0] <= PIPE_MAX && (file.r == 0 || seldom(image)))) {
        walk(image, FUZZ_FETCH, -1, &fetch);
        compare(&file, &fetch);
        walk(image, FUZZ_PIPE, -1, &pipe);
        pipe.hidden = read.hidden;
        compare(&file, &pipe);
    }
    return file.r == 0;
}

int fuzz_decode_to(const struct fuzz_image *image, int fd, uint64_t *ret_size, struct im_error *err)
{
    struct answer file = { .face = "the walk of the file" };

    walk(image, FUZZ_FILE, fd, &file);
    *ret_size = file.size;
    *err = file.err;
    return file.r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct fuzz_image image;

    fuzz_decode(&image, data, len);
    (void)fuzz_look(&image);
    return 0;
}
