/* read-vmdk - a VMDK image as libvmdk reads it: a second opinion, and nothing but that.
 *
 * Standard input is the image, or the descriptor of one whose extents lie in the directory that is
 * descriptor 3; the disk goes to standard output.  At its end standard error names the reader,
 * "libvmdk 20200926", and the exit status is 0; else it holds one line with the reason and the
 * status is 1.  A program of its own, because libvhdi and libvmdk export the same names.
 *
 * libvmdk looks for extents under the names in the descriptor, also for the one that is the very
 * file it reads, so it would not open an image that was renamed.  It is given them opened. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <libbfio.h>
#include <libvmdk.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "verify/pour.h"

#define DIRECTORY 3
/* Extents are of 2 GB each in the layouts that have many: this is 64 TiB, the most VMware makes. */
#define EXTENTS_MAX 32768

static int fail(const char *what, libvmdk_error_t *error)
{
    char text[4096] = "no reason given"; /* a line for each level, the deepest first */

    if (error)
        (void)libvmdk_error_backtrace_sprint(error, text, sizeof(text));
    fprintf(stderr, "%s: %.*s\n", what, (int)strcspn(text, "\n"), text);
    return -1;
}

struct reading {
    libbfio_handle_t *input;
    libbfio_pool_t *pool; /* one handle per extent, in order */
    libvmdk_handle_t *handle;
    libvmdk_error_t *error; /* the libraries' errors are of one kind */
};

/* The extent stands in the file that also holds the descriptor. */
static bool is_whole(void)
{
    char magic[4];

    return im_pread(STDIN_FILENO, magic, sizeof(magic), 0) == sizeof(magic) &&
           memcmp(magic, "KDMV", 4) == 0;
}

/* Name of an extent's file.  libvmdk takes the offset of a flat extent inside its file for one of
 * the disk, and knows no extents without a file: what it would read wrongly is refused. */
static int name_of_extent(struct reading *reading, int index, char *name, size_t size)
{
    libvmdk_extent_descriptor_t *extent = NULL;
    off64_t offset = 0;
    size64_t length;
    int type = 0, r = -1;

    if (libvmdk_handle_get_extent_descriptor(reading->handle, index, &extent, &reading->error) != 1)
        (void)fail("cannot look at an extent", reading->error);
    else if (libvmdk_extent_descriptor_get_type(extent, &type, &reading->error) != 1 ||
             libvmdk_extent_descriptor_get_range(extent, &offset, &length, &reading->error) != 1)
        (void)fail("cannot look at an extent", reading->error);
    else if (type != LIBVMDK_EXTENT_TYPE_FLAT && type != LIBVMDK_EXTENT_TYPE_SPARSE)
        fprintf(stderr, "extent %d is of type %d, not SPARSE or FLAT\n", index, type);
    else if (type == LIBVMDK_EXTENT_TYPE_FLAT && offset != 0)
        fprintf(stderr, "extent %d begins inside its file, which libvmdk does not heed\n", index);
    else if (libvmdk_extent_descriptor_get_utf8_filename(extent, (uint8_t *)name, size,
                                                         &reading->error) != 1)
        (void)fail("no name of an extent", reading->error);
    else
        r = 0;
    (void)libvmdk_extent_descriptor_free(&extent, NULL);
    return r;
}

/* Open the extent number `index` in the directory, and nothing outside it. */
static int open_extent(struct reading *reading, int index)
{
    static const struct open_how how = { .flags = O_RDONLY | O_CLOEXEC,
                                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    char name[NAME_MAX + 1] = "";
    int fd;

    if (name_of_extent(reading, index, name, sizeof(name)) < 0)
        return -1;
    fd = (int)syscall(SYS_openat2, DIRECTORY, name, &how, sizeof(how));
    /* where that cannot be allowed (base/confine-calls.c): a name without directories is below */
    if (fd < 0 && errno == ENOSYS && !strchr(name, '/'))
        fd = openat(DIRECTORY, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        fprintf(stderr, "cannot open extent %d: %s\n", index, strerrordesc_np(errno));
    return fd;
}

/* Put the file that is descriptor fd at the end of the pool. */
static int add_to_pool(struct reading *reading, int fd)
{
    libbfio_handle_t *file = NULL;
    char name[32];
    int len = snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    int entry;

    if (libbfio_file_initialize(&file, &reading->error) == 1 &&
        libbfio_file_set_name(file, name, (size_t)len, &reading->error) == 1 &&
        libbfio_handle_open(file, LIBBFIO_OPEN_READ, &reading->error) == 1 &&
        libbfio_pool_append_handle(reading->pool, &entry, file, LIBBFIO_OPEN_READ,
                                   &reading->error) == 1)
        return 0;
    (void)libbfio_handle_free(&file, NULL);
    return fail("cannot open an extent", reading->error);
}

static int open_extents(struct reading *reading)
{
    bool whole = is_whole();
    int count;

    if (libvmdk_handle_get_number_of_extents(reading->handle, &count, &reading->error) != 1)
        return fail("no extents", reading->error);
    if (count < 1 || count > EXTENTS_MAX || (whole && count != 1)) {
        fprintf(stderr, "it has %d extents\n", count);
        return -1;
    }
    if (libbfio_pool_initialize(&reading->pool, 0, 0, &reading->error) != 1)
        return fail("cannot start", reading->error);
    for (int i = 0; i < count; i++) {
        int fd IM_CLOSE = whole ? dup(STDIN_FILENO) : open_extent(reading, i);

        if (fd < 0 || add_to_pool(reading, fd) < 0)
            return -1;
    }
    if (libvmdk_handle_open_extent_data_files_file_io_pool(reading->handle, reading->pool,
                                                           &reading->error) != 1)
        return fail("cannot open the extents", reading->error);
    return 0;
}

static ssize_t read_disk(void *arg, void *buf, size_t len, uint64_t offset)
{
    struct reading *reading = arg;

    return libvmdk_handle_read_buffer_at_offset(reading->handle, buf, len, (off64_t)offset,
                                                &reading->error);
}

static int give(struct reading *reading)
{
    uint64_t at = 0;
    size64_t size;
    char what[64];
    int r;

    if (libbfio_file_initialize(&reading->input, &reading->error) != 1 ||
        libbfio_file_set_name(reading->input, POUR_INPUT, strlen(POUR_INPUT), &reading->error) !=
            1 ||
        libvmdk_handle_initialize(&reading->handle, &reading->error) != 1)
        return fail("cannot start", reading->error);
    if (libvmdk_handle_open_file_io_handle(reading->handle, reading->input, LIBVMDK_OPEN_READ,
                                           &reading->error) != 1)
        return fail("cannot open", reading->error);
    if (open_extents(reading) < 0)
        return -1;
    if (libvmdk_handle_get_media_size(reading->handle, &size, &reading->error) != 1)
        return fail("no size", reading->error);
    r = pour(read_disk, reading, size, &at);
    (void)snprintf(what, sizeof(what), "cannot read byte %" PRIu64, at);
    if (r > 0)
        return fail(what, reading->error);
    if (r < 0)
        fprintf(stderr, "cannot hand on the disk: %s\n", strerrordesc_np(-r));
    return r;
}

static void done(struct reading *reading)
{
    libvmdk_error_free(&reading->error);
    if (reading->handle)
        (void)libvmdk_handle_free(&reading->handle, NULL);
    if (reading->pool)
        (void)libbfio_pool_free(&reading->pool, NULL);
    if (reading->input)
        (void)libbfio_handle_free(&reading->input, NULL);
}

/* One descriptor per extent. */
static void raise_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(void)
{
    struct reading reading = { 0 };
    int r;

    raise_open_files();
    r = give(&reading);
    done(&reading);
    if (r == 0)
        fprintf(stderr, "libvmdk %s\n", libvmdk_get_version());
    return r < 0;
}
