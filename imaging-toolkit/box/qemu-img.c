/* qemu-img - read an image through Debian's qemu-img, run as a confined child. */

#include <config.h>

#include "box/qemu-img.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/bytes.h"
#include "box/box.h"
#include "cache/cache.h"
#include "core/copy.h"
#include "core/rate.h"
#include "source/file.h"

/* The failure of a child that ended badly. */
static int refused(const struct im_box *box, const char *format, const char *verb,
                   struct im_error *err)
{
    char what[64];

    (void)snprintf(what, sizeof(what), "%s image", format);
    return im_box_refused(box, verb, what, err);
}

static int virtual_size(int input, const char *format, uint64_t *ret_size, struct im_error *err)
{
    const char *const argv[] = { IM_QEMU_IMG, "info", "-U",         "--output=json",
                                 "-f",        format, IM_BOX_INPUT, NULL };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, input);
    json_t *info = NULL;
    json_int_t size;
    int r = im_box_run(&box, err);

    if (r == 0 && !im_box_succeeded(&box))
        r = refused(&box, format, "open", err);
    if (r == 0)
        info = json_loads(box.text.data ? box.text.data : "", 0, NULL);
    size = json_integer_value(json_object_get(info, "virtual-size"));
    if (r == 0 && json_object_get(info, "backing-filename"))
        r = im_fail(err, EOPNOTSUPP, "the image names a backing file; flatten it first");
    else if (r == 0 && size <= 0)
        r = im_fail(err, EBADMSG, "qemu-img finds no size in this %s image", format);
    if (r == 0)
        *ret_size = (uint64_t)size;
    json_decref(info);
    return r;
}

/* qemu-img converts many damaged images without a word; its checker finds some of them.
 * Exit status 0 sound, 3 leaked clusters (harmless), 63 no checker for this format. */
static int check(int input, const char *format, struct im_error *err)
{
    const char *const argv[] = {
        IM_QEMU_IMG, "check", "-U", "-q", "-f", format, IM_BOX_INPUT, NULL
    };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, input);
    int r = im_box_run(&box, err);
    int status;

    if (r < 0)
        return r;
    status = WIFEXITED(box.status) ? WEXITSTATUS(box.status) : -1;
    return status == 0 || status == 3 || status == 63 ? 0 : refused(&box, format, "check", err);
}

/* Arguments of a conversion, with room for the rate. */
#define ARGS_MAX 16

/* The child's bytes are not ours to count: it is told the limit (of what it writes). */
static void add_rate(const char *argv[ARGS_MAX], char text[24])
{
    size_t n = 0;

    if (im_rate_limit() == 0)
        return;
    while (argv[n])
        n++;
    (void)snprintf(text, 24, "%" PRIu64, im_rate_limit());
    argv[n] = "-r";
    argv[n + 1] = text;
}

/* Into a file of `room` bytes, holes not counted */
static int convert(int input, int output, const char *format, uint64_t size, uint64_t room,
                   struct im_error *err)
{
    const char *argv[ARGS_MAX] = { IM_QEMU_IMG, "convert", "-U", "-n",  "--target-is-zero",
                                   "-f",        format,    "-O", "raw", IM_BOX_INPUT,
                                   IM_BOX_FD3 };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, input);
    char rate[24];
    int r;

    add_rate(argv, rate);

    box.fd3 = output;
    box.fd3_blocks = im_round_up(room, 4096) + room / 256 + 16384; /* with the file's own maps */
    box.file_size = box.work = size;
    if (ftruncate(output, (off_t)size) < 0)
        return im_fail_code(err, ENOSPC, "NoSpace",
                            "cannot make a scratch file of %" PRIu64 " bytes: %s", size,
                            strerrordesc_np(errno));
    r = im_box_run(&box, err);
    if (r < 0 || im_box_succeeded(&box))
        return r;
    if (box.text.data && strstr(box.text.data, "No space left"))
        return im_fail(err, ENOSPC,
                       "no space in scratch for the raw copy of a disk of %" PRIu64
                       " bytes; free some or name another place with --scratch",
                       size);
    return refused(&box, format, "convert", err);
}

/* ---- the disk: the raw copy, made when the first byte is wanted ---- */

struct copy_disk {
    struct im_disk base;
    const char *format;
    char *scratch;
    struct im_box_file input;
    struct im_scratch *room; /* for the copy; NULL: not taken yet */
    struct im_source *copy;  /* NULL until then */
};

static int make_copy(struct copy_disk *disk, struct im_error *err)
{
    struct im_scratch *room = disk->room;
    struct stat st;
    int fd;
    int r = convert(disk->input.fd, room->fd, disk->format, disk->base.size, room->bytes, err);

    if (r < 0)
        return r;
    if (fstat(room->fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at the raw copy");
    disk->base.scratch_bytes += (uint64_t)st.st_blocks * 512;
    im_box_file_done(&disk->input); /* nobody reads it again */
    im_scratch_shrink(room, (uint64_t)st.st_blocks * 512);
    fd = fcntl(room->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return im_fail_errno(err, errno, "cannot use the raw copy");
    return im_source_from_fd(fd, "the raw copy in scratch", &disk->copy, err);
}

static int need_copy(struct copy_disk *disk, struct im_error *err)
{
    int r = 0;

    if (disk->copy)
        return 0;
    if (!disk->room)
        r = im_scratch_take(disk->scratch, disk->base.data_max, &disk->room, err);
    return r < 0 ? r : make_copy(disk, err);
}

static int copy_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                     struct im_error *err)
{
    struct copy_disk *of = (struct copy_disk *)disk;
    int r = need_copy(of, err);

    return r < 0 ? r : im_source_read(of->copy, buf, len, offset, err);
}

static int copy_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                    struct im_error *err)
{
    struct copy_disk *of = (struct copy_disk *)disk;
    int r = need_copy(of, err);

    return r < 0 ? r : im_source_map(of->copy, offset, len, ret, err);
}

static void copy_close(struct im_disk *disk)
{
    struct copy_disk *of = (struct copy_disk *)disk;

    im_source_close(of->copy);
    im_box_file_done(&of->input);
    im_scratch_free(of->room);
    free(of->scratch);
}

static void copy_describe(struct im_disk *disk, struct im_facts *facts)
{
    im_fact(facts, "read-by", "%s -f %s", IM_QEMU_IMG, ((struct copy_disk *)disk)->format);
}

static const struct im_disk_ops copy_ops = {
    .name = IM_QEMU_IMG,
    .read = copy_read,
    .map = copy_map,
    .describe = copy_describe,
    .close = copy_close,
};

/* Metadata of an image beside its data: qcow2 needs less than a hundredth, and a few MiB. */
static uint64_t image_room(uint64_t size)
{
    return size + size / 64 + (64u << 20);
}

/* Prove the very file qemu-img will read. */
static int prove_input(int input, const char *name, im_qemu_img_prove_fn prove, uint64_t *ret_bytes,
                       struct im_error *err)
{
    struct im_source *file = NULL;
    int fd = fcntl(input, F_DUPFD_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return im_fail_errno(err, errno, "cannot open '%s' again", name);
    r = im_source_from_fd(fd, name, &file, err);
    if (r == 0)
        r = prove(file, ret_bytes, err);
    im_source_close(file);
    return r;
}

/* Room for the raw copy that is to be reserved with the copy of the image.  Where scratch is
 * limited, who has the one and waits for the other could wait for somebody who does the same; so
 * the tables are read twice, from afar first. */
static int room_beside(struct im_source *source, im_qemu_img_prove_fn prove, const char *scratch,
                       uint64_t *ret_bytes, struct im_error *err)
{
    struct im_cache_room room;
    int r = im_cache_room(scratch, &room, err);

    *ret_bytes = 0;
    if (r < 0 || room.limit == UINT64_MAX || !prove || source->sequential ||
        im_box_file_is_local(source))
        return r;
    return prove(source, ret_bytes, err);
}

/* What was reserved for the copy becomes a file of its own. */
static int divide(struct copy_disk *disk, uint64_t beside, struct im_error *err)
{
    int r;

    if (beside == 0)
        return 0;
    r = im_scratch_split(disk->input.scratch, beside, &disk->room, err);
    if (r == 0)
        r = im_scratch_grow(disk->room, disk->base.data_max, err); /* the image has changed */
    if (r == 0)
        im_scratch_shrink(disk->room, disk->base.data_max);
    return r;
}

/* Let qemu-img and `prove` look at the input. */
static int look_at(struct copy_disk *disk, const char *name, im_qemu_img_prove_fn prove,
                   const struct im_open *options, struct im_error *err)
{
    uint64_t *data = &disk->base.data_max, size = 0;
    int r = prove ? prove_input(disk->input.fd, name, prove, data, err) : 0;

    if (r == 0)
        r = virtual_size(disk->input.fd, disk->format, &size, err);
    if (r == 0 && size > options->max_size)
        r = im_fail(err, EFBIG,
                    "the image holds a disk of %" PRIu64 " bytes, more than the %" PRIu64
                    " allowed",
                    size, options->max_size);
    disk->base.size = size;
    *data = im_min(im_max(prove ? *data : size, 4096), im_round_up(size, 4096));
    return r < 0 ? r : check(disk->input.fd, disk->format, err);
}

int im_qemu_img_open(struct im_source *source, const char *format, im_qemu_img_prove_fn prove,
                     const struct im_open *options, struct im_disk **ret_disk, struct im_error *err)
{
    struct copy_disk *disk = im_disk_new(sizeof(*disk), &copy_ops, 0, NULL);
    uint64_t beside = 0;
    int r = disk ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (r < 0)
        return r;
    disk->format = format;
    disk->input.fd = -1;
    disk->scratch = strdup(options->scratch);
    r = disk->scratch ? 0 : im_fail(err, ENOMEM, "out of memory");
    if (r == 0)
        r = room_beside(source, prove, options->scratch, &beside, err);
    if (r == 0)
        r = im_box_file_open(source, options->scratch, beside, &disk->input, err);
    if (r == 0)
        r = look_at(disk, source->name, prove, options, err);
    if (r == 0)
        r = divide(disk, beside, err);
    if (r < 0) {
        im_disk_close(&disk->base);
        return r;
    }
    disk->base.scratch_bytes = disk->input.copied;
    *ret_disk = &disk->base;
    return 0;
}

int im_qemu_img_capacity(struct im_source *source, uint64_t size, im_qemu_img_prove_fn prove,
                         uint64_t *ret_bytes, struct im_error *err)
{
    uint64_t copy = im_round_up(im_min(size, INT64_MAX), 4096), fetched = 0, data;
    int r;

    if (!im_box_file_is_local(source))
        fetched = source->size == IM_SIZE_UNKNOWN ? image_room(copy) : source->size;
    if (!source->sequential) {
        r = prove(source, &data, err);
        if (r < 0)
            return r;
        copy = im_min(copy, data);
    }
    if (__builtin_add_overflow(fetched, copy, ret_bytes))
        return im_fail(err, EFBIG, "a disk of %" PRIu64 " bytes", size);
    return 0;
}

/* ---- the way back ---- */

static int write_image(int input, struct im_store *store, const char *format, uint64_t size,
                       struct im_error *err)
{
    const char *argv[ARGS_MAX] = { IM_QEMU_IMG, "convert", "-f", "raw",        "-O",
                                   format,      "-S",      "4k", IM_BOX_INPUT, IM_BOX_FD3 };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, input);
    char rate[24];
    int r;

    add_rate(argv, rate);

    box.fd3 = store->fd;
    box.file_size = image_room(size);
    box.work = size;
    r = im_box_run(&box, err);
    if (r < 0 || im_box_succeeded(&box))
        return r;
    if (box.text.data && strstr(box.text.data, "No space left"))
        return im_fail(err, ENOSPC, "no space for '%s'; free some and try again", store->name);
    return refused(&box, format, "write", err);
}

/* Is the raw disk a file of its own, just as it is?  *ret_fd is the source's. */
static bool is_raw_file(const struct im_disk *disk, int *ret_fd)
{
    uint64_t at, len;
    struct stat st;

    return disk->plain && im_source_local(disk->source, 0, disk->size, ret_fd, &at, &len) == 0 &&
           at == 0 && len == disk->size && fstat(*ret_fd, &st) == 0 &&
           (uint64_t)st.st_size == disk->size;
}

int im_qemu_img_encode_capacity(struct im_disk *disk, const struct im_encode *options,
                                uint64_t *ret_bytes, struct im_error *err)
{
    int fd;

    (void)options;
    *ret_bytes = 0;
    if (is_raw_file(disk, &fd))
        return 0;
    if (disk->size == IM_SIZE_UNKNOWN)
        return im_fail(err, EOPNOTSUPP, "how much scratch a disk of unknown size needs is unknown");
    return im_disk_data_max(disk, ret_bytes, err);
}

static int more_scratch(void *arg, uint64_t bytes, struct im_error *err)
{
    return im_scratch_grow(arg, bytes, err);
}

/* A disk that comes through a pipe begins with so much and asks for more. */
#define FIRST (16u << 20)

/* Copy the disk to scratch, as a raw file. */
static int copy_raw(struct im_disk *disk, const struct im_encode *options,
                    struct im_progress *progress, struct im_scratch **ret_scratch,
                    struct im_copy_result *result, struct im_error *err)
{
    struct im_copy_limits limits = { .jobs = options->jobs, .max_size = UINT64_MAX };
    const char *place = options->scratch ? options->scratch : im_scratch_default();
    bool unknown = disk->size == IM_SIZE_UNKNOWN;
    struct im_store *store = NULL;
    uint64_t bytes = FIRST;
    struct stat st;
    int r = unknown ? 0 : im_disk_data_max(disk, &bytes, err);

    if (r == 0)
        r = im_scratch_take(place, im_max(bytes, 4096), ret_scratch, err);
    if (r != 0)
        return r;
    r = im_store_scratch((*ret_scratch)->fd, (*ret_scratch)->bytes, unknown ? more_scratch : NULL,
                         *ret_scratch, &store, err);
    if (r == 0 && !unknown && ftruncate(store->fd, (off_t)disk->size) < 0)
        r = im_fail_errno(err, errno, "cannot make a raw copy of %" PRIu64 " bytes", disk->size);
    if (r == 0)
        r = im_copy(disk, store, &limits, progress, result, err);
    im_store_close(store);
    if (r == 0 && (ftruncate((*ret_scratch)->fd, (off_t)result->size) < 0 ||
                   fstat((*ret_scratch)->fd, &st) < 0))
        r = im_fail_errno(err, errno, "cannot finish the copy in scratch");
    if (r == 0)
        result->scratch_bytes = (uint64_t)st.st_blocks * 512;
    return r;
}

int im_qemu_img_encode(struct im_disk *disk, struct im_store *store, const char *format,
                       const struct im_encode *options, struct im_progress *progress,
                       struct im_copy_result *ret_result, struct im_error *err)
{
    struct im_scratch *copy = NULL;
    struct stat st;
    int fd = -1;
    int r = 0;

    if (store->fd < 0)
        return im_fail(err, EOPNOTSUPP, "%s cannot be written into a pipe; write a file", format);
    if (disk->size == 0)
        return im_fail(err, EINVAL, "a disk of 0 bytes cannot be written as %s", format);
    if (is_raw_file(disk, &fd))
        ret_result->size = disk->size;
    else
        r = copy_raw(disk, options, progress, &copy, ret_result, err);
    if (r == 0)
        r = write_image(copy ? copy->fd : fd, store, format, ret_result->size, err);
    im_scratch_free(copy);
    if (r < 0)
        return r;
    if (fstat(store->fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at '%s'", store->name);
    ret_result->file_size = (uint64_t)st.st_size;
    if (ret_result->data_bytes == 0) /* nobody but qemu-img has read it */
        ret_result->data_bytes = im_min((uint64_t)st.st_blocks * 512, ret_result->size);
    return 0;
}
