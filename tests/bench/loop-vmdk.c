/* loop-vmdk - the plain read loop of libvmdk: loop-vmdk IMAGE OUT. */

#include "loop.h"

#include <libvmdk.h>

static libvmdk_handle_t *handle;
static libvmdk_error_t *error;

static void loop_explain(void)
{
    (void)libvmdk_error_fprint(error, stderr);
}

static int loop_open(const char *path, uint64_t *ret_size)
{
    size64_t size;

    if (libvmdk_handle_initialize(&handle, &error) != 1 ||
        libvmdk_handle_open(handle, path, LIBVMDK_OPEN_READ, &error) != 1 ||
        libvmdk_handle_open_extent_data_files(handle, &error) != 1 ||
        libvmdk_handle_get_media_size(handle, &size, &error) != 1)
        return -1;
    *ret_size = size;
    return 0;
}

static ssize_t loop_read(void *buf, size_t len, uint64_t offset)
{
    return libvmdk_handle_read_buffer_at_offset(handle, buf, len, (off64_t)offset, &error);
}
