/* stage - find a stage by name; let one look at what has been written. */

#include <config.h>

#include "core/stage.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/io.h"
#include "core/registry.h"

const struct im_stage *im_stage_find(const char *name)
{
    for (size_t i = 0; im_stages[i]; i++)
        if (strcmp(im_stages[i]->name, name) == 0)
            return im_stages[i];
    return NULL;
}

struct written {
    struct im_disk disk;
    int fd;
};

static int written_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                        struct im_error *err)
{
    const struct written *written = (struct written *)disk;
    ssize_t n = im_pread(written->fd, buf, len, offset);

    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed",
                            "cannot read back %zu bytes at offset %" PRIu64 ": %s", len, offset,
                            strerrordesc_np((int)-n));
    memset((char *)buf + n, 0, len - (size_t)n);
    return 0;
}

static const struct im_disk_ops written_ops = { .name = "written", .read = written_read };

int im_stage_look_at_file(const struct im_stage *stage, int fd, uint64_t size,
                          struct im_findings *findings, struct im_error *err)
{
    struct written written = { .disk = { .ops = &written_ops, .size = size }, .fd = fd };

    return stage->look(&written.disk, findings, err);
}
