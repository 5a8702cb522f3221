/* fuzz-box - stands in for qemu-img where only our look at a header is fuzzed.  It is no target.
 *
 * The linker puts it in the place of im_qemu_img_open (--wrap). */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <errno.h>
#include <string.h>

#include "box/qemu-img.h"

__typeof__(im_qemu_img_open) __wrap_im_qemu_img_open;

static int nothing_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                        struct im_error *err)
{
    (void)disk;
    (void)offset;
    (void)err;
    memset(buf, 0, len);
    return 0;
}

static const struct im_disk_ops nothing_ops = { .name = "nothing", .read = nothing_read };

/* What is to be proven is a file, whatever the source was: the real one copies it first. */
int __wrap_im_qemu_img_open(struct im_source *source, const char *format,
                            im_qemu_img_prove_fn prove, const struct im_open *options,
                            struct im_disk **ret_disk, struct im_error *err)
{
    struct fuzz_source file = fuzz_source(((struct fuzz_source *)source)->image, FUZZ_FILE);
    uint64_t bytes = 0;
    int r = prove ? prove(&file.base, &bytes, err) : 0;
    struct im_disk *disk;

    (void)options;
    if (r < 0)
        return r;
    if (strcmp(format, fuzz_target.format->name) != 0)
        fuzz_fault("qemu-img is told to read %s", format);
    disk = im_disk_new(sizeof(*disk), &nothing_ops, 512, NULL);
    if (!disk)
        return im_fail(err, ENOMEM, "out of memory");
    disk->source = source;
    *ret_disk = disk;
    return 0;
}
