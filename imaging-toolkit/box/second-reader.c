/* second-reader - an image as a program that others wrote reads it, for comparison with ours. */

#include <config.h>

#include "box/second-reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/spawn.h"
#include "base/text.h"
#include "box/box.h"
#include "box/qemu-img.h"
#include "core/cancel.h"
#include "core/disk.h"

/* The pipe from the child: as much as an unprivileged process may ask for. */
#define PIPE_SIZE (1 << 20)
/* A split image is of many files, and libvmdk opens all of them: as many as most processes may. */
#define FILES_MAX 1024
/* What ld.so exits with when a shared library is not there. */
#define EXIT_NO_LIBRARY 127

static const struct program {
    const char *format; /* NULL: any */
    const char *file;
    const char *name;
    const char *package; /* Debian's */
} programs[] = {
    { "vhd", "imaging-read-vhd", "libvhdi", "libvhdi-dev" },
    { "vhdx", "imaging-read-vhd", "libvhdi", "libvhdi-dev" },
    { "vmdk", "imaging-read-vmdk", "libvmdk", "libvmdk-dev and libbfio-dev" },
    { NULL, IM_QEMU_IMG, "qemu-img", "qemu-utils" },
};

struct im_second_reader {
    const struct program *program;
    uint64_t size, at;
    char name[64];
    struct im_program found;
    const char *argv[2];
    struct im_box box;
    struct im_box_file input;
    int pipe;             /* what a child of ours gives … */
    struct im_disk *disk; /* … or qemu-img's disk */
};

/* ---- which program, and where ---- */

static const struct program *program_for(const struct im_format *format)
{
    const struct program *program = programs;

    while (program->format && strcmp(program->format, format->name) != 0)
        program++;
    return program;
}

/* Path of a program of ours: beside the one that runs, as in a build directory, or installed. */
static bool find_helper(const char *file, struct im_program *ret_found)
{
    char self[PATH_MAX], path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self));
    const char *slash = len > 0 ? memrchr(self, '/', (size_t)len) : NULL;

    if (slash &&
        snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - self), self, file) <
            (int)sizeof(path) &&
        im_spawn_find(path, ret_found))
        return true;
    (void)snprintf(path, sizeof(path), "%s/%s", PKGLIBEXECDIR, file);
    return im_spawn_find(path, ret_found);
}

int im_second_reader_allow(struct im_confine *confine, struct im_error *err)
{
    int r = 0;

    for (const struct program *program = programs; r == 0 && program->format; program++) {
        struct im_program found;

        if (find_helper(program->file, &found))
            r = im_confine_allow(confine, found.path, IM_MAY_READ | IM_MAY_RUN, err);
    }
    return r;
}

static int find_program(struct im_second_reader *reader, struct im_error *err)
{
    const struct program *program = reader->program;

    if (program->format ? find_helper(program->file, &reader->found)
                        : im_spawn_find(program->file, &reader->found))
        return 0;
    if (program->format)
        return im_fail(err, ENOPKG,
                       "the second reader of %s images, %s, was not built here; install Debian's "
                       "%s, configure and build again",
                       program->format, program->file, program->package);
    return im_fail(err, ENOPKG,
                   "the second reader of these images, %s, is not installed; install Debian's %s",
                   program->name, program->package);
}

/* ---- a child of ours, which gives the disk through a pipe ---- */

static int start_child(struct im_second_reader *reader, struct im_source *source,
                       const struct im_open *options, struct im_error *err)
{
    int extents IM_CLOSE = -1;
    int ends[2];
    int r = im_box_file_open(source, options->scratch, 0, &reader->input, err);

    if (r < 0)
        return r;
    if (options->extents) {
        extents = open(options->extents, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (extents < 0)
            return im_fail_errno(err, errno, "cannot open directory '%s'", options->extents);
    }
    if (pipe2(ends, O_CLOEXEC) < 0)
        return im_fail_errno(err, errno, "cannot make a pipe");
    (void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_SIZE);
    reader->argv[0] = reader->found.path;
    reader->box = (struct im_box)IM_BOX(reader->program->name, reader->argv, reader->input.fd);
    reader->box.output = ends[1];
    reader->box.fd3 = extents;
    reader->box.work = reader->size;
    reader->box.files = extents >= 0 ? FILES_MAX : 0;
    reader->box.ours = true;
    r = im_box_start(&reader->box, err);
    (void)close(ends[1]);
    reader->pipe = ends[0];
    return r;
}

/* The pipe is at its end: how did the child come to its own? */
static int end_child(struct im_second_reader *reader, struct im_error *err)
{
    const struct program *program = reader->program;
    const struct im_box *box = &reader->box;
    int r = im_box_wait(&reader->box, err);
    size_t len;

    if (r < 0)
        return r;
    if (WIFEXITED(box->status) && WEXITSTATUS(box->status) == EXIT_NO_LIBRARY)
        return im_fail(err, ENOPKG, "'%s' cannot run here; install Debian's %s", reader->found.path,
                       program->package);
    if (!im_box_succeeded(box))
        return im_box_refused(box, "read", "image", err);
    im_text_printable(reader->name, sizeof(reader->name), box->text.data ? box->text.data : "");
    len = strlen(reader->name);
    if (len > 0 && reader->name[len - 1] == ' ') /* the end of its line */
        reader->name[len - 1] = '\0';
    return 0;
}

static int next_of_child(struct im_second_reader *reader, void *buf, size_t len, size_t *ret_len,
                         struct im_error *err)
{
    struct pollfd readable = { .fd = reader->pipe, .events = POLLIN };
    ssize_t n = -1;
    int r;

    do {
        int ready = poll(&readable, 1, 100);

        r = im_box_listen(&reader->box, err);
        if (r == 0)
            r = im_cancel_check(err);
        if (r < 0)
            return r;
        if (ready > 0)
            n = read(reader->pipe, buf, len);
        if (ready > 0 && n < 0 && errno != EINTR)
            return im_fail_errno(err, errno, "cannot read from %s", reader->program->name);
    } while (n < 0);
    *ret_len = (size_t)n;
    return n == 0 ? end_child(reader, err) : 0;
}

/* ---- a disk of qemu-img's ---- */

static int qemu_version(struct im_second_reader *reader, struct im_error *err)
{
    const char *const argv[] = { IM_QEMU_IMG, "--version", NULL };
    struct im_box box IM_BOX_DONE = IM_BOX(IM_QEMU_IMG, argv, -1);
    char text[128];
    const char *version;
    int r = im_box_run(&box, err);

    if (r < 0)
        return r;
    im_text_printable(text, sizeof(text), box.text.data ? box.text.data : "");
    version = strstr(text, "version ");
    if (version) {
        version += strlen("version ");
        (void)snprintf(reader->name, sizeof(reader->name), "%s %.*s", IM_QEMU_IMG,
                       (int)strcspn(version, " "), version);
    }
    return 0;
}

static int start_qemu_img(struct im_second_reader *reader, const struct im_format *format,
                          struct im_source *source, const struct im_open *options,
                          struct im_error *err)
{
    int r = qemu_version(reader, err);

    if (r == 0)
        r = im_qemu_img_open(source, format->name, NULL, options, &reader->disk, err);
    /* it counts in whole sectors, which a raw disk need not have */
    if (r == 0 && reader->disk->size != im_round_up(reader->size, 512))
        r = im_fail(err, EKEYREJECTED,
                    "%s finds a disk of %" PRIu64 " bytes in '%s', imaging-toolkit one of %" PRIu64,
                    reader->name, reader->disk->size, source->name, reader->size);
    return r;
}

static int next_of_disk(struct im_second_reader *reader, void *buf, size_t len, size_t *ret_len,
                        struct im_error *err)
{
    int r = im_cancel_check(err);

    len = (size_t)im_min(len, reader->size - reader->at);
    if (r == 0 && len > 0)
        r = im_disk_read(reader->disk, buf, len, reader->at, err);
    *ret_len = len;
    return r;
}

/* ---- both ---- */

/* Let our own decoder prove the image. */
static int prove(struct im_second_reader *reader, const struct im_format *format,
                 struct im_source *source, const struct im_open *options, struct im_error *err)
{
    struct im_disk *disk = NULL;
    int r = im_format_open(format, source, options, &disk, err);

    if (r == 0)
        reader->size = disk->size;
    im_disk_close(disk);
    return r;
}

int im_second_reader_open(const struct im_format *format, struct im_source *source,
                          const struct im_open *options, struct im_second_reader **ret_reader,
                          struct im_error *err)
{
    struct im_second_reader *reader = calloc(1, sizeof(*reader));
    int r;

    if (!reader)
        return im_fail(err, ENOMEM, "out of memory");
    reader->pipe = -1;
    reader->input.fd = -1;
    reader->box = (struct im_box)IM_BOX("", NULL, -1);
    reader->program = program_for(format);
    (void)snprintf(reader->name, sizeof(reader->name), "%s", reader->program->name);
    if (source->sequential)
        r = im_fail(err, EINVAL,
                    "'%s' can be read only once, but it has to be read by two; save it "
                    "in a file first",
                    source->name);
    else
        r = find_program(reader, err);
    if (r == 0)
        r = prove(reader, format, source, options, err);
    if (r == 0)
        r = reader->program->format ? start_child(reader, source, options, err)
                                    : start_qemu_img(reader, format, source, options, err);
    if (r < 0)
        im_second_reader_free(reader);
    else
        *ret_reader = reader;
    return r;
}

uint64_t im_second_reader_size(const struct im_second_reader *reader)
{
    return reader->size;
}

int im_second_reader_next(struct im_second_reader *reader, void *buf, size_t len, size_t *ret_len,
                          struct im_error *err)
{
    size_t got = 0;
    int r = (reader->disk ? next_of_disk : next_of_child)(reader, buf, len, &got, err);

    if (r < 0)
        return r;
    reader->at += got;
    if (reader->at > reader->size || (got == 0 && reader->at < reader->size))
        return im_fail(err, EKEYREJECTED,
                       "%s finds a disk of %s%" PRIu64 " bytes, imaging-toolkit one of %" PRIu64,
                       reader->name, got ? "at least " : "", reader->at, reader->size);
    *ret_len = got;
    return 0;
}

const char *im_second_reader_name(const struct im_second_reader *reader)
{
    return reader->name;
}

struct im_second_reader *im_second_reader_free(struct im_second_reader *reader)
{
    if (!reader)
        return NULL;
    if (reader->pipe >= 0)
        (void)close(reader->pipe);
    im_box_done(&reader->box);
    im_box_file_done(&reader->input);
    im_disk_close(reader->disk);
    free(reader);
    return NULL;
}
