/* qemu-img - read an image through Debian's qemu-img, run as a confined child. */

#include <config.h>

#include "box/qemu-img.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "base/text.h"
#include "base/tmpfile.h"
#include "core/cancel.h"
#include "source/file.h"

/* What the child may use.  Its pool grows to 64 threads with stacks of 8 MiB, so 1 GiB of address
 * space was not always enough under load; the processor time is generous for slow machines, yet
 * ends a loop. */
#define LIMIT_AS        (2ull << 30)
#define LIMIT_CPU_S     60
#define BYTES_PER_CPU_S (32ull << 20)
/* Bytes of its output that are read: `info` of a sane image prints under 4 KiB. */
#define OUTPUT_MAX 65536

/* The child's names of its two descriptors. */
#define INPUT  "/proc/self/fd/0"
#define OUTPUT "/proc/self/fd/3"

struct child {
    const char *const *argv;
    int input, output;  /* descriptors; output may be -1 */
    uint64_t file_size; /* most it may write, 0: nothing */
    uint64_t cpu_s;
    struct im_buffer text; /* what it printed, standard output and error together */
    int status;            /* as waitpid gives it */
};

static int drain(int fd, struct im_buffer *text)
{
    char chunk[4096];
    ssize_t n;

    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        size_t room = text->ceiling - text->len;

        if (im_buffer_add(text, chunk, (size_t)n < room ? (size_t)n : room) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int wait_for(struct child *child, pid_t pid, int pipe_fd, struct im_error *err)
{
    for (;;) {
        int ended = im_spawn_wait(pid, 50, &child->status);

        if (drain(pipe_fd, &child->text) < 0) {
            (void)im_spawn_kill(pid, 0);
            return im_fail(err, ENOMEM, "out of memory");
        }
        if (ended > 0)
            return 0;
        if (ended < 0)
            return im_fail_errno(err, -ended, "cannot wait for qemu-img");
        if (im_cancelled) {
            (void)im_spawn_kill(pid, 500);
            return im_cancel_check(err);
        }
    }
}

static int run(struct child *child, struct im_error *err)
{
    int ends[2];
    /* one malloc arena: each further one would take 64 MiB of the address space */
    static const char *const env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", "MALLOC_ARENA_MAX=1",
                                       NULL };
    struct im_spawn spawn = {
        .argv = child->argv,
        .env = env,
        .stdin_fd = child->input,
        .fd3 = child->output,
        .limit_as = LIMIT_AS,
        .limit_fsize = child->file_size ? child->file_size : 1,
        .limit_cpu_s = child->cpu_s,
    };
    pid_t pid;
    int r;

    child->text = IM_BUFFER(OUTPUT_MAX);
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return im_fail_errno(err, errno, "cannot make a pipe");
    spawn.stdout_fd = spawn.stderr_fd = ends[1];
    r = im_spawn(&spawn, &pid, err);
    (void)close(ends[1]);
    if (r == 0)
        r = wait_for(child, pid, ends[0], err);
    (void)close(ends[0]);
    return r;
}

/* What qemu-img said, as part of a sentence: one line, its names for our descriptors removed. */
static const char *said(char *buf, size_t size, const struct im_buffer *text)
{
    const char *line = text->data ? text->data : "";
    const char *name = strstr(line, INPUT "': ");

    if (name)
        line = name + strlen(INPUT "': ");
    im_text_printable(buf, size > 200 ? 200 : size, line);
    return *buf ? buf : "nothing";
}

static int refused(const struct child *child, const char *format, const char *verb,
                   struct im_error *err)
{
    char words[256];

    said(words, sizeof(words), &child->text);
    if (WIFSIGNALED(child->status))
        return im_fail(err, EBADMSG,
                       "qemu-img was stopped by signal %d (%s) while it tried to %s this %s image: "
                       "it needs more memory, time or space than a sound image does",
                       WTERMSIG(child->status), sigabbrev_np(WTERMSIG(child->status)), verb,
                       format);
    return im_fail(err, EBADMSG, "qemu-img cannot %s this %s image (exit status %d): %s", verb,
                   format, WEXITSTATUS(child->status), words);
}

static bool succeeded(const struct child *child)
{
    return WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0;
}

static int virtual_size(int input, const char *format, uint64_t *ret_size, struct im_error *err)
{
    const char *const argv[] = { IM_QEMU_IMG, "info", "-U",  "--output=json",
                                 "-f",        format, INPUT, NULL };
    struct child child = { .argv = argv, .input = input, .output = -1, .cpu_s = LIMIT_CPU_S };
    json_t *info = NULL;
    json_int_t size;
    int r = run(&child, err);

    if (r == 0 && !succeeded(&child))
        r = refused(&child, format, "open", err);
    if (r == 0)
        info = json_loads(child.text.data ? child.text.data : "", 0, NULL);
    size = json_integer_value(json_object_get(info, "virtual-size"));
    if (r == 0 && json_object_get(info, "backing-filename"))
        r = im_fail(err, EOPNOTSUPP, "the image names a backing file; flatten it first");
    else if (r == 0 && size <= 0)
        r = im_fail(err, EBADMSG, "qemu-img finds no size in this %s image", format);
    if (r == 0)
        *ret_size = (uint64_t)size;
    json_decref(info);
    im_buffer_done(&child.text);
    return r;
}

/* qemu-img converts many damaged images without a word; its checker finds some of them.
 * Exit status 0 sound, 3 leaked clusters (harmless), 63 no checker for this format. */
static int check(int input, const char *format, struct im_error *err)
{
    const char *const argv[] = { IM_QEMU_IMG, "check", "-U", "-q", "-f", format, INPUT, NULL };
    struct child child = { .argv = argv, .input = input, .output = -1, .cpu_s = LIMIT_CPU_S };
    int r = run(&child, err);
    int status;

    if (r == 0) {
        status = WIFEXITED(child.status) ? WEXITSTATUS(child.status) : -1;
        if (status != 0 && status != 3 && status != 63)
            r = refused(&child, format, "check", err);
    }
    im_buffer_done(&child.text);
    return r;
}

static int convert(int input, int output, const char *format, uint64_t size, struct im_error *err)
{
    const char *const argv[] = { IM_QEMU_IMG, "convert", "-U", "-n",  "--target-is-zero",
                                 "-f",        format,    "-O", "raw", INPUT,
                                 OUTPUT,      NULL };
    struct child child = {
        .argv = argv,
        .input = input,
        .output = output,
        .file_size = size,
        .cpu_s = LIMIT_CPU_S + size / BYTES_PER_CPU_S,
    };
    int r;

    if (ftruncate(output, (off_t)size) < 0)
        return im_fail_code(err, ENOSPC, "NoSpace",
                            "cannot make a scratch file of %" PRIu64 " bytes: %s", size,
                            strerrordesc_np(errno));
    r = run(&child, err);
    if (r == 0 && !succeeded(&child)) {
        if (child.text.data && strstr(child.text.data, "No space left"))
            r = im_fail(err, ENOSPC, "no space in scratch for the raw copy of %" PRIu64 " bytes",
                        size);
        else
            r = refused(&child, format, "convert", err);
    }
    im_buffer_done(&child.text);
    return r;
}

/* A descriptor of the whole source: the file itself, or a copy of what has to be fetched. */
static int spool(struct im_source *source, const char *scratch, struct im_error *err)
{
    size_t step = 1u << 20, got = 0;
    void *buf IM_FREE = malloc(step);
    int fd IM_CLOSE = -1;
    uint64_t offset = 0;
    int r;

    if (!buf)
        return im_fail(err, ENOMEM, "out of memory");
    fd = im_tmpfile(scratch, 0600, NULL, err);
    if (fd < 0)
        return fd;
    do {
        r = im_cancel_check(err);
        if (r == 0)
            r = im_source_read_some(source, buf, step, offset, &got, err);
        if (r == 0 && got > 0) {
            r = im_pwrite(fd, buf, got, offset);
            if (r < 0)
                return im_fail_code(err, -r, r == -ENOSPC ? "NoSpace" : "CannotWrite",
                                    "cannot write byte %" PRIu64
                                    " of a copy of '%s' to scratch: %s",
                                    offset, source->name, strerrordesc_np(-r));
        }
        if (r < 0)
            return r;
        offset += got;
    } while (got > 0);
    return im_steal_fd(&fd);
}

static int input_of(struct im_source *source, const char *scratch, struct im_error *err)
{
    int fd;

    if (!source->path)
        return spool(source, scratch, err);
    fd = open(source->path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? im_fail_errno(err, errno, "cannot open '%s'", source->path) : fd;
}

/* ---- the disk: the raw copy, made when the first byte is wanted ---- */

struct copy_disk {
    struct im_disk base;
    const char *format;
    char *scratch;
    int input;
    struct im_source *copy; /* NULL until then */
};

static int need_copy(struct copy_disk *disk, struct im_error *err)
{
    int output IM_CLOSE = -1;
    int r;

    if (disk->copy)
        return 0;
    output = im_tmpfile(disk->scratch, 0600, NULL, err);
    if (output < 0)
        return output;
    r = convert(disk->input, output, disk->format, disk->base.size, err);
    if (r < 0)
        return r;
    return im_source_from_fd(im_steal_fd(&output), "the raw copy in scratch", &disk->copy, err);
}

static int copy_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                     struct im_error *err)
{
    struct copy_disk *of = (struct copy_disk *)disk;
    int r = need_copy(of, err);

    return r < 0 ? r : im_source_read(of->copy, buf, len, offset, err);
}

static int copy_map(struct im_disk *disk, uint64_t offset, uint64_t len, struct im_extent *ret,
                    struct im_error *err)
{
    struct copy_disk *of = (struct copy_disk *)disk;
    int r = need_copy(of, err);

    return r < 0 ? r : im_source_map(of->copy, offset, len, ret, err);
}

static void copy_close(struct im_disk *disk)
{
    struct copy_disk *of = (struct copy_disk *)disk;

    im_source_close(of->copy);
    if (of->input >= 0)
        (void)close(of->input);
    free(of->scratch);
}

static void copy_describe(struct im_disk *disk, struct im_facts *facts)
{
    im_fact(facts, "read-by", "%s -f %s", IM_QEMU_IMG, ((struct copy_disk *)disk)->format);
}

static const struct im_disk_ops copy_ops = {
    .name = IM_QEMU_IMG,
    .read = copy_read,
    .map = copy_map,
    .describe = copy_describe,
    .close = copy_close,
};

int im_qemu_img_open(struct im_source *source, const char *format, const struct im_open *options,
                     struct im_disk **ret_disk, struct im_error *err)
{
    int input IM_CLOSE = input_of(source, options->scratch, err);
    struct copy_disk *disk;
    uint64_t size = 0;
    int r;

    if (input < 0)
        return input;
    r = virtual_size(input, format, &size, err);
    if (r == 0 && size > options->max_size)
        r = im_fail(err, EFBIG,
                    "the image holds a disk of %" PRIu64 " bytes, more than the %" PRIu64
                    " allowed",
                    size, options->max_size);
    if (r == 0)
        r = check(input, format, err);
    if (r < 0)
        return r;
    disk = im_disk_new(sizeof(*disk), &copy_ops, size, NULL);
    if (!disk)
        return im_fail(err, ENOMEM, "out of memory");
    disk->format = format;
    disk->input = im_steal_fd(&input);
    disk->scratch = strdup(options->scratch);
    if (!disk->scratch) {
        im_disk_close(&disk->base);
        return im_fail(err, ENOMEM, "out of memory");
    }
    *ret_disk = &disk->base;
    return 0;
}
