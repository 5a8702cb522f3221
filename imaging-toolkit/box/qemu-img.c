/* qemu-img - read an image through Debian's qemu-img, run as a confined child. */

#include <config.h>

#include "box/qemu-img.h"

#include <errno.h>
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
#include "box/box.h"
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

int im_qemu_img_open(struct im_source *source, const char *format, const struct im_open *options,
                     struct im_disk **ret_disk, struct im_error *err)
{
    uint64_t copied = 0, size = 0;
    int input IM_CLOSE = im_box_input(source, options->scratch, &copied, err);
    struct copy_disk *disk;
    int r;

    if (input < 0)
        return input;
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
