/* by-grub - files of XFS, Btrfs, FAT, NTFS and others, read by grub-fstest, confined.
 *
 * Its `cat` says by its error what kind of thing a path is, and its `ls -l` gives one name a line.
 * It follows links inside the file system by itself.  Where the disk is a file it finds the
 * partition by its number in the table; else it is given a copy of the partition. */

#include <config.h>

#include "guest/inner.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "box/box.h"
#include "guest/as-file.h"
#include "guest/name.h"

#define PROGRAM "grub-fstest"
#define STEP    65536u

/* Seconds of processor time for one question (and more for many bytes; it takes some hundredths),
 * and for all questions about a disk: damage in a file system can lead it round for ever, and each
 * of a hundred questions would find that out anew. */
#define ONE_S 5
#define ALL_S 30

struct grub {
    struct guest_inner *inner;
    struct guest_name name;  /* of the disk as a file, or of … */
    struct im_scratch *copy; /* … a copy of the partition alone; NULL: the disk is a file */
    char device[32];         /* "(loop0,gpt2)" */
    char top[32];
};

/* ---- one run ---- */

struct answer {
    int fd;          /* what it printed, in memory */
    uint64_t len;    /* bytes of it */
    char fault[256]; /* what it complained of; "" nothing */
};

static int answer_new(struct answer *answer, struct im_error *err)
{
    *answer = (struct answer){ .fd = memfd_create("answer", MFD_CLOEXEC) };
    return answer->fd < 0 ? im_fail_errno(err, errno, "cannot make a file in memory") : 0;
}

static void answer_done(struct answer *answer)
{
    if (answer->fd >= 0)
        (void)close(answer->fd);
}
#define ANSWER_DONE __attribute__((cleanup(answer_done)))

static int64_t time_of_children(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
           (int64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* Run it, unless it came to no end before. */
static int run(const struct grub *grub, struct im_box *box, const char *path, struct im_error *err)
{
    struct guest_inner *inner = grub->inner;
    int64_t start = time_of_children();
    int r;

    if (*inner->grub_endless)
        return im_fail(err, EBADMSG, "'%s' is not read: %s", path, inner->grub_endless);
    r = im_box_run(box, err);
    inner->grub_time += time_of_children() - start;
    if (r == 0 && WIFSIGNALED(box->status) && WTERMSIG(box->status) != SIGXFSZ)
        (void)snprintf(inner->grub_endless, sizeof(inner->grub_endless),
                       PROGRAM " came to no end with '%.40s': a file system of the disk is damaged",
                       path);
    else if (r == 0 && inner->grub_time > ALL_S * INT64_C(1000000000))
        (void)snprintf(inner->grub_endless, sizeof(inner->grub_endless),
                       PROGRAM " took more than %d s of processor time for the disk", ALL_S);
    return r;
}

/* Run `grub-fstest FILE VERB -- OPTION DEVICE/PATH`, its output at most max bytes.  That it
 * complains is no failure here. */
static int ask(const struct grub *grub, const char *verb, const char *option, const char *path,
               uint64_t max, struct answer *answer, struct im_error *err)
{
    char length[32];
    char *place IM_FREE = im_asprintf("%s%s%s", grub->device, grub->top, path);
    const char *argv[10] = { PROGRAM, IM_BOX_INPUT };
    struct im_box box IM_BOX_DONE = IM_BOX(PROGRAM, argv, grub->name.fd);
    unsigned n = 2;
    int r;

    if (!place)
        return im_fail(err, ENOMEM, "out of memory");
    if (!option) {
        (void)snprintf(length, sizeof(length), "--length=%llu", (unsigned long long)max);
        argv[n++] = length;
    }
    argv[n++] = verb;
    argv[n++] = "--"; /* a path is never taken for an option of the program's own */
    if (option)
        argv[n++] = option;
    argv[n] = place;
    box.output = answer->fd;
    box.listed = "/"; /* GRUB looks so whether its host has files */
    box.file_size = max + STEP;
    box.short_seconds = ONE_S;
    box.work = max;
    r = run(grub, &box, path, err);
    if (r < 0)
        return r;
    if (!im_box_succeeded(&box) && box.text.len == 0)
        return im_box_refused(&box, "read", "file system", err);
    im_text_printable(answer->fault, sizeof(answer->fault), box.text.len ? box.text.data : "");
    answer->len = (uint64_t)lseek(answer->fd, 0, SEEK_END);
    return 0;
}

/* What its complaint means. */
static int complaint(const struct answer *answer, const char *path, struct im_error *err)
{
    const char *says = answer->fault;

    if (strstr(says, "not a regular file"))
        return im_fail(err, EISDIR, "'%s' is a directory", path);
    if (strstr(says, "not found"))
        return im_fail(err, ENOENT, "there is no '%s'", path);
    if (strstr(says, "not a directory"))
        return im_fail(err, ENOTDIR, "'%s' goes through what is no directory", path);
    if (strstr(says, "too deep nesting of symlinks"))
        return im_fail(err, ELOOP, "'%s' leads through too many links", path);
    if (strstr(says, "unknown filesystem"))
        return im_fail(err, EOPNOTSUPP, PROGRAM " does not read this file system");
    return im_fail(err, EBADMSG, "'%s' cannot be read: %s", path, says);
}

/* ---- the reader ---- */

static void grub_close(void *state)
{
    struct grub *grub = state;

    guest_name_done(&grub->name);
    im_scratch_free(grub->copy);
    free(grub);
}

static int grub_open(struct guest_inner *inner, const struct im_fs *fs, void **ret_state,
                     struct im_error *err)
{
    const char *map = inner->guest.table == IM_TABLE_GPT ? "gpt" : "msdos";
    const struct im_context *context = inner->look->context;
    struct grub *grub = calloc(1, sizeof(*grub));
    int r = 0;

    if (!grub)
        return im_fail(err, ENOMEM, "out of memory");
    grub->inner = inner;
    (void)snprintf(grub->top, sizeof(grub->top), "%s", fs->top);
    (void)snprintf(grub->device, sizeof(grub->device), "(loop0)");
    grub->name.fd = im_file_of(inner->look);
    if (!guest_has_name(grub->name.fd)) {
        grub->name.fd = -1;
        r = im_range_file(inner->look->disk, context, fs->offset, fs->len, &grub->copy, err);
        if (r == 0)
            r = guest_name_take(grub->copy->fd, context->scratch, &grub->name, err);
    } else if (fs->part) {
        (void)snprintf(grub->device, sizeof(grub->device), "(loop0,%s%u)", map, fs->part->number);
    }
    if (r < 0)
        grub_close(grub);
    else
        *ret_state = grub;
    return r;
}

/* The first bytes of a file, up to max. */
static int cat(const struct grub *grub, const char *path, uint64_t max, struct answer *answer,
               struct im_error *err)
{
    int r = answer_new(answer, err);

    if (r == 0)
        r = ask(grub, "cat", NULL, path, max, answer, err);
    return r < 0 ? r : *answer->fault ? complaint(answer, path, err) : 0;
}

static int grub_stat(void *state, const char *path, struct im_file *ret_file, struct im_error *err)
{
    struct answer answer ANSWER_DONE = { .fd = -1 };
    struct im_error local = { 0 };
    int r = strcmp(path, "/") == 0 ? -EISDIR : cat(state, path, IM_GUEST_SIZE_MAX, &answer, &local);

    if (r < 0 && r != -EISDIR) {
        if (err)
            *err = local;
        return r;
    }
    *ret_file = (struct im_file){ .kind = r < 0 ? IM_FILE_DIRECTORY : IM_FILE_REGULAR,
                                  .size = r < 0 ? 0 : answer.len };
    return 0;
}

static int grub_read(void *state, const char *path, uint64_t max, struct guest_sink *sink,
                     struct im_error *err)
{
    struct answer answer ANSWER_DONE = { .fd = -1 };
    void *buf IM_FREE = malloc(STEP);
    uint64_t at = 0;
    int r = buf ? cat(state, path, max, &answer, err) : im_fail(err, ENOMEM, "out of memory");

    while (r == 0 && at < im_min(answer.len, max)) {
        ssize_t n = im_pread(answer.fd, buf, STEP, at);

        if (n <= 0)
            return im_fail_errno(err, n < 0 ? (int)-n : EIO, "cannot read a file in memory");
        r = sink->put(sink, buf, (size_t)n, err);
        at += (uint64_t)n;
    }
    return r;
}

/* ---- lists ----
 *
 * `ls -a` prints all names with a blank behind each, so that names with blanks cannot be told
 * apart; `ls -la` has a line for each, but leaves out links to directories, and now and then a
 * file.  The second is the first with gaps, in the same order: together they tell everything but
 * where a name with blanks ends that stands in a gap. */

/* The next name in the lines "SIZE DATE NAME" and "DIR DATE NAME/"; NULL: that was the last.  What
 * has no such columns is the rest of a name with a line end. */
static const char *next_line(char **lines)
{
    char *line;

    while ((line = strsep(lines, "\n"))) {
        char *name = line + strcspn(line, " ");

        name += strspn(name, " ");
        name += strcspn(name, " ");
        if (*name == ' ' && name[1] != '\0')
            return name + 1;
    }
    return NULL;
}

static int add_name(const char *name, size_t len, struct im_buffer *names, size_t *count)
{
    int r;

    if (len > 1 && name[len - 1] == '/')
        len--;
    if (len == 0 || (len == 1 && *name == '.') || (len == 2 && memcmp(name, "..", 2) == 0))
        return 0;
    if (*count == IM_GUEST_NAMES_MAX)
        return -EFBIG;
    (*count)++;
    r = im_buffer_add(names, name, len);
    return r < 0 ? r : im_buffer_add(names, "", 1);
}

static int merge(const char *brief, char *lines, struct im_buffer *names, size_t *count)
{
    const char *line = next_line(&lines);
    int r = 0;

    while (r == 0 && *brief && *brief != '\n') {
        size_t len = line ? strlen(line) : 0;
        bool known = line && strncmp(brief, line, len) == 0 && brief[len] == ' ';

        if (known)
            line = next_line(&lines);
        else
            len = strcspn(brief, " ");
        r = add_name(brief, len, names, count);
        brief += len + (brief[len] == ' ');
    }
    return r;
}

/* What `ls OPTION` prints of a directory, as new text. */
static int list_text(struct grub *grub, const char *option, const char *path, char **ret_text,
                     struct im_error *err)
{
    struct answer answer ANSWER_DONE = { .fd = -1 };
    char *directory IM_FREE = im_asprintf("%s/", strcmp(path, "/") == 0 ? "" : path);
    char *text IM_FREE = NULL;
    int r = directory ? answer_new(&answer, err) : im_fail(err, ENOMEM, "out of memory");

    if (r == 0)
        r = ask(grub, "ls", option, directory, 2 * GUEST_NAMES_BYTES, &answer, err);
    if (r == 0 && *answer.fault)
        r = complaint(&answer, path, err);
    if (r < 0)
        return r;
    text = calloc(1, (size_t)answer.len + 1);
    if (!text || im_pread(answer.fd, text, (size_t)answer.len, 0) < (ssize_t)answer.len)
        return im_fail(err, ENOMEM, "out of memory");
    *ret_text = im_steal(text);
    return 0;
}

/* Nothing is told of what cannot be listed; reading it as a file tells why. */
static int why_empty(struct grub *grub, const char *path, struct im_error *err)
{
    struct im_file file;
    int r = grub_stat(grub, path, &file, err);

    if (r == 0 && file.kind != IM_FILE_DIRECTORY)
        r = im_fail(err, ENOTDIR, "'%s' is no directory", path);
    return r;
}

static int grub_list(void *state, const char *path, struct im_buffer *names, size_t *ret_count,
                     struct im_error *err)
{
    char *brief IM_FREE = NULL, *lines IM_FREE = NULL;
    size_t count = 0;
    int r = list_text(state, "-a", path, &brief, err);

    if (r == 0)
        r = list_text(state, "-la", path, &lines, err);
    if (r == 0 && merge(brief, lines, names, &count) < 0)
        r = im_fail(err, EFBIG, "there are more than %u names in '%s'", IM_GUEST_NAMES_MAX, path);
    if (r == 0 && count == 0)
        r = why_empty(state, path, err);
    if (r == 0)
        *ret_count = count;
    return r;
}

const struct guest_reader guest_grub = {
    .open = grub_open,
    .stat = grub_stat,
    .read = grub_read,
    .list = grub_list,
    .close = grub_close,
};
