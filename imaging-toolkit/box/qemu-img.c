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
#include "base/tmpfile.h"
#include "base/bytes.h"
#include "box/box.h"
#include "core/copy.h"
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

static int convert(int input, int output, const char *format, uint64_t size, struct im_error *err)
{
    const char *const argv[] = { IM_QEMU_IMG, "convert", "-U", "-n",  "--target-is-zero",
                                 "-f",        format,    "-O", "raw", IM_BOX_INPUT,
                                 IM_BOX_FD3,  NULL };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, input);
    int r;

    box.fd3 = output;
    box.file_size = box.work = size;
    if (ftruncate(output, (off_t)size) < 0)
        return im_fail_code(err, ENOSPC, "NoSpace",
                            "cannot make a scratch file of %" PRIu64 " bytes: %s", size,
                            strerrordesc_np(errno));
    r = im_box_run(&box, err);
    if (r < 0 || im_box_succeeded(&box))
        return r;
    if (box.text.data && strstr(box.text.data, "No space left"))
        return im_fail(err, ENOSPC, "no space in scratch for the raw copy of %" PRIu64 " bytes",
                       size);
    return refused(&box, format, "convert", err);
}

/* ---- the disk: the raw copy, made when the first byte is wanted ---- */

struct copy_disk {
    struct im_disk base;
    const char *format;
    char *scratch;
    int input;
    struct im_source *copy; /* NULL until then */
};

static int need_copy(struct copy_disk *disk, struct im_error *err)
{
    int output IM_CLOSE = -1;
    struct stat st;
    int r;

    if (disk->copy)
        return 0;
    output = im_tmpfile(disk->scratch, 0600, NULL, err);
    if (output < 0)
        return output;
    r = convert(disk->input, output, disk->format, disk->base.size, err);
    if (r < 0)
        return r;
    if (fstat(output, &st) == 0)
        disk->base.scratch_bytes += (uint64_t)st.st_blocks * 512;
    return im_source_from_fd(im_steal_fd(&output), "the raw copy in scratch", &disk->copy, err);
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
    if (of->input >= 0)
        (void)close(of->input);
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

/* Prove the very file qemu-img will read. */
static int prove_input(int input, const char *name, im_qemu_img_prove_fn prove,
                       struct im_error *err)
{
    struct im_source *file = NULL;
    int fd = fcntl(input, F_DUPFD_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return im_fail_errno(err, errno, "cannot open '%s' again", name);
    r = im_source_from_fd(fd, name, &file, err);
    if (r == 0)
        r = prove(file, err);
    im_source_close(file);
    return r;
}

int im_qemu_img_open(struct im_source *source, const char *format, im_qemu_img_prove_fn prove,
                     const struct im_open *options, struct im_disk **ret_disk, struct im_error *err)
{
    uint64_t copied = 0, size = 0;
    int input IM_CLOSE = im_box_input(source, options->scratch, &copied, err);
    struct copy_disk *disk;
    int r;

    if (input < 0)
        return input;
    r = prove ? prove_input(input, source->name, prove, err) : 0;
    if (r == 0)
        r = virtual_size(input, format, &size, err);
    if (r == 0 && size > options->max_size)
        r = im_fail(err, EFBIG,
                    "the image holds a disk of %" PRIu64 " bytes, more than the %" PRIu64
                    " allowed",
                    size, options->max_size);
    if (r == 0)
        r = check(input, format, err);
    if (r < 0)
        return r;
    disk = im_disk_new(sizeof(*disk), &copy_ops, size, NULL);
    if (!disk)
        return im_fail(err, ENOMEM, "out of memory");
    disk->format = format;
    disk->base.scratch_bytes = copied;
    disk->input = im_steal_fd(&input);
    disk->scratch = strdup(options->scratch);
    if (!disk->scratch) {
        im_disk_close(&disk->base);
        return im_fail(err, ENOMEM, "out of memory");
    }
    *ret_disk = &disk->base;
    return 0;
}

/* ---- the way back ---- */

/* Metadata of an image beside its data: qcow2 needs less than a hundredth, and a few MiB. */
static uint64_t image_room(uint64_t size)
{
    return size + size / 64 + (64u << 20);
}

static int write_image(int input, struct im_store *store, const char *format, uint64_t size,
                       struct im_error *err)
{
    const char *const argv[] = { IM_QEMU_IMG, "convert", "-f",         "raw",      "-O", format,
                                 "-S",        "4k",      IM_BOX_INPUT, IM_BOX_FD3, NULL };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, input);
    int r;

    box.fd3 = store->fd;
    box.file_size = image_room(size);
    box.work = size;
    r = im_box_run(&box, err);
    if (r < 0 || im_box_succeeded(&box))
        return r;
    if (box.text.data && strstr(box.text.data, "No space left"))
        return im_fail(err, ENOSPC, "no space for '%s'", store->name);
    return refused(&box, format, "write", err);
}

/* The raw disk as a file: its own, or a copy in scratch that *ret_copy holds. */
static int raw_file(struct im_disk *disk, const struct im_encode *options,
                    struct im_progress *progress, struct im_store **ret_copy, int *ret_fd,
                    struct im_copy_result *result, struct im_error *err)
{
    struct im_copy_limits limits = { .jobs = options->jobs, .max_size = UINT64_MAX };
    uint64_t at, len;
    struct stat st;
    int r;

    if (disk->plain && im_source_local(disk->source, 0, disk->size, ret_fd, &at, &len) == 0 &&
        at == 0 && len == disk->size && fstat(*ret_fd, &st) == 0 &&
        (uint64_t)st.st_size == disk->size) {
        result->size = disk->size;
        return 0;
    }
    r = im_store_scratch(options->scratch ? options->scratch : im_scratch_default(), ret_copy, err);
    if (r == 0)
        r = im_copy(disk, *ret_copy, &limits, progress, result, err);
    if (r < 0)
        return r;
    *ret_fd = (*ret_copy)->fd;
    if (ftruncate(*ret_fd, (off_t)result->size) < 0 || fstat(*ret_fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot finish the copy in scratch");
    result->scratch_bytes = (uint64_t)st.st_blocks * 512;
    return 0;
}

int im_qemu_img_encode(struct im_disk *disk, struct im_store *store, const char *format,
                       const struct im_encode *options, struct im_progress *progress,
                       struct im_copy_result *ret_result, struct im_error *err)
{
    struct im_store *copy = NULL;
    struct stat st;
    int fd = -1;
    int r;

    if (store->fd < 0)
        return im_fail(err, EOPNOTSUPP, "%s cannot be written into a pipe; write a file", format);
    if (disk->size == 0)
        return im_fail(err, EINVAL, "a disk of 0 bytes cannot be written as %s", format);
    r = raw_file(disk, options, progress, &copy, &fd, ret_result, err);
    if (r == 0)
        r = write_image(fd, store, format, ret_result->size, err);
    im_store_close(copy);
    if (r < 0)
        return r;
    if (fstat(store->fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at '%s'", store->name);
    ret_result->file_size = (uint64_t)st.st_size;
    if (ret_result->data_bytes == 0) /* nobody but qemu-img has read it */
        ret_result->data_bytes = im_min((uint64_t)st.st_blocks * 512, ret_result->size);
    return 0;
}
