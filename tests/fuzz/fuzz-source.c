/* fuzz-source - an image of pieces as a source, and as real files where a decoder wants names. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"

/* core/source.h: how far back a pipe can look */
#define LOOK_BACK (1u << 20)

static int source_read(struct im_source *base, void *buf, size_t len, uint64_t offset,
                       size_t *ret_len, struct im_error *err)
{
    struct fuzz_source *source = (struct fuzz_source *)base;
    uint64_t size = source->image->size[0];
    size_t n = offset >= size ? 0 : (size_t)im_min(len, size - offset);

    if (base->sequential && offset + LOOK_BACK < source->position)
        return im_fail(err, EOPNOTSUPP, "a pipe does not go back");
    fuzz_get(source->image, 0, offset, buf, n);
    if (offset + n > source->position)
        source->position = offset + n;
    *ret_len = n;
    return 0;
}

static int source_map(struct im_source *base, uint64_t offset, uint64_t len, struct im_extent *ret,
                      struct im_error *err)
{
    struct fuzz_source *source = (struct fuzz_source *)base;

    (void)err;
    if (len == 0 || offset > base->size || len > base->size - offset)
        fuzz_fault("the source is asked about %" PRIu64 " bytes at offset %" PRIu64 " of %" PRIu64,
                   len, offset, base->size);
    ret->offset = offset;
    ret->len = fuzz_alike(source->image, 0, offset, len, &ret->zero);
    return 0;
}

static void source_close(struct im_source *base)
{
    (void)base;
}

static const struct im_source_ops file_ops = {
    .name = "file",
    .read = source_read,
    .map = source_map,
    .close = source_close,
};

static const struct im_source_ops other_ops = {
    .name = "fetch",
    .read = source_read,
    .close = source_close,
};

struct fuzz_source fuzz_source(const struct fuzz_image *image, enum fuzz_kind kind)
{
    static char name[] = "image";

    return (struct fuzz_source){
        .base = { .ops = kind == FUZZ_FILE ? &file_ops : &other_ops,
                  .name = name,
                  .size = kind == FUZZ_PIPE ? IM_SIZE_UNKNOWN : image->size[0],
                  .sequential = kind == FUZZ_PIPE,
                  .direct = kind == FUZZ_FILE },
        .image = image,
    };
}

/* --- real files --- */

static char directory[64];

static void remove_directory(void)
{
    char path[96];

    for (unsigned n = 1; n < FUZZ_FILES; n++) {
        (void)snprintf(path, sizeof(path), "%s/x%u.vmdk", directory, n);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

static void make_directory(void)
{
    (void)snprintf(directory, sizeof(directory), "%s/fuzz.XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(directory))
        fuzz_fault("cannot make %s: %s", directory, strerror(errno));
    (void)atexit(remove_directory);
}

void fuzz_write_file(const struct fuzz_image *image, unsigned n, const char *path)
{
    uint64_t size = image->size[n];
    int fd IM_CLOSE = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    static uint8_t buf[65536];

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        fuzz_fault("cannot make %s: %s", path, strerror(errno));
    for (uint64_t at = 0; at < size;) {
        bool hole;
        uint64_t run = fuzz_alike(image, n, at, size - at, &hole);
        size_t step = (size_t)im_min(run, sizeof(buf));

        if (hole) {
            at += run;
            continue;
        }
        fuzz_get(image, n, at, buf, step);
        if (pwrite(fd, buf, step, (off_t)at) != (ssize_t)step)
            fuzz_fault("cannot write %s: %s", path, strerror(errno));
        at += step;
    }
}

const char *fuzz_extents(const struct fuzz_image *image)
{
    bool any = false;

    for (unsigned n = 1; n < FUZZ_FILES; n++)
        any = any || image->size[n] > 0;
    if (!any)
        return NULL;
    if (!*directory)
        make_directory();
    for (unsigned n = 1; n < FUZZ_FILES; n++) {
        char path[96];

        (void)snprintf(path, sizeof(path), "%s/x%u.vmdk", directory, n);
        if (image->size[n] > 0)
            fuzz_write_file(image, n, path);
        else
            (void)unlink(path);
    }
    return directory;
}
