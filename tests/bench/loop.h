/* loop - the plain read loop over a library: what somebody writes who has it.
 *
 * 1 MiB a read, all-zero MiBs left out, so that the output is sparse.  Each program gives the three
 * calls of its library; they are programs of their own because libvhdi and libvmdk export the same
 * names.  Only for `make bench`. */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)

/* Open the image at path and tell the disk's size in bytes; -1: it failed. */
static int loop_open(const char *path, uint64_t *ret_size);
/* Read up to len bytes of the disk; ≤ 0: it failed. */
static ssize_t loop_read(void *buf, size_t len, uint64_t offset);
/* Print why the library failed. */
static void loop_explain(void);

static int copy(uint64_t size, int out)
{
    static uint8_t buf[PIECE], zeros[PIECE];

    if (ftruncate(out, (off_t)size) < 0)
        return perror("making the output its size"), 1;
    for (uint64_t at = 0; at < size;) {
        ssize_t n = loop_read(buf, size - at < PIECE ? (size_t)(size - at) : PIECE, at);

        if (n <= 0)
            return loop_explain(), 1;
        if (memcmp(buf, zeros, (size_t)n) != 0 && pwrite(out, buf, (size_t)n, (off_t)at) != n)
            return perror("writing"), 1;
        at += (uint64_t)n;
    }
    return close(out) < 0 ? (perror("closing"), 1) : 0;
}

int main(int argc, char **argv)
{
    uint64_t size;
    int out;

    if (argc != 3) {
        fprintf(stderr, "usage: %s IMAGE OUT\n", argv[0]);
        return 2;
    }
    if (loop_open(argv[1], &size) < 0)
        return loop_explain(), 1;
    out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return out < 0 ? (perror(argv[2]), 1) : copy(size, out);
}
