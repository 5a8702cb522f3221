/* pour - what the second readers share: a disk goes in order to standard output. */

#include <config.h>

#include "verify/pour.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define STEP (1u << 20) /* as much as the pipe holds */

int pour(pour_read_fn read, void *arg, uint64_t size, uint64_t *ret_offset)
{
    void *buf IM_FREE = malloc(STEP);
    uint64_t offset = 0;

    if (!buf)
        return -ENOMEM;
    while (offset < size) {
        size_t len = size - offset < STEP ? (size_t)(size - offset) : STEP;
        ssize_t n = read(arg, buf, len, offset);
        int r;

        if (n <= 0 || (size_t)n > len) {
            *ret_offset = offset;
            return 1;
        }
        r = im_write(STDOUT_FILENO, buf, (size_t)n);
        if (r < 0)
            return r;
        offset += (uint64_t)n;
    }
    return 0;
}
