/* loop-vhd - the plain read loop of libvhdi, for VHD and VHDX: loop-vhd IMAGE OUT. */

#include "loop.h"

#include <libvhdi.h>

static libvhdi_file_t *file;
static libvhdi_error_t *error;

static void loop_explain(void)
{
    (void)libvhdi_error_fprint(error, stderr);
}

static int loop_open(const char *path, uint64_t *ret_size)
{
    size64_t size;

    if (libvhdi_file_initialize(&file, &error) != 1 ||
        libvhdi_file_open(file, path, LIBVHDI_OPEN_READ, &error) != 1 ||
        libvhdi_file_get_media_size(file, &size, &error) != 1)
        return -1;
    *ret_size = size;
    return 0;
}

static ssize_t loop_read(void *buf, size_t len, uint64_t offset)
{
    return libvhdi_file_read_buffer_at_offset(file, buf, len, (off64_t)offset, &error);
}
