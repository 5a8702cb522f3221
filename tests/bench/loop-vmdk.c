/* loop-vmdk - the plain read loop of libvmdk: what somebody writes who has the library.
 *
 *   loop-vmdk IMAGE OUT
 *
 * 1 MiB a read, all-zero MiBs left out, so that OUT is sparse.  Only for `make bench`; libvhdi has
 * a program of its own, because the two libraries export the same names. */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <libvmdk.h>

#define PIECE ((size_t)1 << 20)

static uint8_t buf[PIECE], zeros[PIECE];

static int fail(const char *what, libvmdk_error_t *error)
{
    char text[512] = "";

    if (error)
        (void)libvmdk_error_sprint(error, text, sizeof(text));
    fprintf(stderr, "loop-vmdk: %s failed: %s\n", what, text);
    return 1;
}

static int copy(libvmdk_handle_t *handle, int out)
{
    libvmdk_error_t *error = NULL;
    size64_t size;

    if (libvmdk_handle_get_media_size(handle, &size, &error) != 1)
        return fail("reading the size", error);
    if (ftruncate(out, (off_t)size) < 0)
        return fail("making the output its size", NULL);
    for (uint64_t at = 0; at < size;) {
        size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
        ssize_t n = libvmdk_handle_read_buffer_at_offset(handle, buf, want, (off64_t)at, &error);

        if (n <= 0)
            return fail("reading", error);
        if (memcmp(buf, zeros, (size_t)n) != 0 && pwrite(out, buf, (size_t)n, (off_t)at) != n)
            return fail("writing", NULL);
        at += (uint64_t)n;
    }
    return close(out) < 0 ? fail("closing", NULL) : 0;
}

int main(int argc, char **argv)
{
    libvmdk_handle_t *handle = NULL;
    libvmdk_error_t *error = NULL;
    int out;

    if (argc != 3) {
        fprintf(stderr, "usage: loop-vmdk IMAGE OUT\n");
        return 2;
    }
    if (libvmdk_handle_initialize(&handle, &error) != 1 ||
        libvmdk_handle_open(handle, argv[1], LIBVMDK_OPEN_READ, &error) != 1 ||
        libvmdk_handle_open_extent_data_files(handle, &error) != 1)
        return fail("opening", error);
    out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return out < 0 ? fail("creating the output", NULL) : copy(handle, out);
}
