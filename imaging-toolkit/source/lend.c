/* lend - bytes of a source where they stand: copying them from there. */

#include <config.h>

#include "source/lend.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/io.h"

/* A reader that went forwards for so many bytes will go on. */
#define AHEAD_AFTER (256u * 1024)

bool im_reads_note(struct im_reads *reads, uint64_t offset, size_t len)
{
    reads->run = offset == reads->next ? reads->run + len : len;
    reads->next = offset + len;
    return reads->run >= AHEAD_AFTER;
}

int im_lend_copy(const struct im_lent *lent, void *buf, size_t len, uint64_t offset,
                 size_t *ret_len)
{
    uint64_t skip = offset - lent->offset;
    size_t n = (size_t)im_min(len, lent->len - skip);

    if (lent->file < 0)
        memcpy(buf, lent->bytes + skip, n);
    else if (im_pread(lent->file, buf, n, lent->at + skip) != (ssize_t)n)
        return -EIO;
    *ret_len = n;
    return 0;
}

int im_lend_read(struct im_source *source, void *buf, size_t len, uint64_t offset, bool forwards,
                 size_t *ret_len, struct im_error *err)
{
    unsigned how = forwards ? IM_LEND_FORWARDS : 0;
    size_t done = 0;

    len = offset >= source->size ? 0 : (size_t)im_min(len, source->size - offset);
    while (done < len) {
        struct im_lent lent;
        size_t n = 0;
        int r = source->ops->lend(source, offset + done, how, &lent, err);

        if (r < 0)
            return r;
        r = im_lend_copy(&lent, (uint8_t *)buf + done, len - done, offset + done, &n);
        source->ops->give_back(source, &lent, n);
        if (r < 0)
            how |= IM_LEND_MEMORY;
        done += n;
    }
    *ret_len = done;
    return 0;
}
