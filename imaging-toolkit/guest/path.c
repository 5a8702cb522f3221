/* path - reading by path: links are followed inside the guest, and mounts are gone over into. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "guest/inner.h"

/* Links on the way to one file; Linux follows as many. */
#define LINKS_MAX 40u

/* Where a path leads: a file system, and a path in it that goes through no link where its reader
 * shows them. */
struct place {
    const struct guest_reader *reader;
    void *state;
    char path[GUEST_PATH_MAX]; /* in the file system */
};

/* ---- open file systems ---- */

static int open_fs(struct guest_inner *inner, const struct im_fs *fs, struct place *place,
                   struct im_error *err)
{
    struct guest_open *open = &inner->open[fs - inner->guest.fs];
    const struct guest_reader *reader = guest_reader_of(fs);

    if (!reader)
        return im_fail(err, EOPNOTSUPP, "nobody here reads %s",
                       fs->ambivalent ? "what may be several file systems"
                       : *fs->type    ? fs->type
                                      : "what no file system is recognised in");
    if (!open->reader) {
        int r = reader->open(inner, fs, &open->state, err);

        if (r < 0)
            return r;
        open->reader = reader;
    }
    place->reader = reader;
    place->state = open->state;
    return 0;
}

/* ---- resolving ---- */

/* What is left of a path to resolve, and what is resolved. */
struct walk {
    struct guest_inner *inner;
    const struct im_fs *only;  /* the paths of this file system alone; NULL: of the guest */
    char done[GUEST_PATH_MAX]; /* "" or "/usr/bin": no links, no "..", no '/' at its end */
    char rest[GUEST_PATH_MAX];
    unsigned links;
};

/* The file system that `path` is in, and the part of the path in it. */
static const struct im_fs *fs_at(const struct walk *walk, const char *path, const char **ret_within)
{
    const struct guest_inner *inner = walk->inner;
    const struct im_fs *fs = walk->only ? walk->only : inner->guest.root;
    size_t longest = 0;

    for (unsigned i = 0; !walk->only && i < inner->mount_count; i++) {
        const struct guest_mount *mount = &inner->mount[i];
        size_t len = strlen(mount->path);

        if (len > longest && strncmp(path, mount->path, len) == 0 &&
            (path[len] == '/' || path[len] == '\0')) {
            fs = mount->fs;
            longest = len;
        }
    }
    *ret_within = path + longest;
    return fs;
}

static int locate(const struct walk *walk, struct place *place, struct im_error *err)
{
    const char *within;
    const struct im_fs *fs = fs_at(walk, walk->done, &within);

    if (!fs)
        return im_fail(err, ENOENT, "no operating system was found on the disk");
    (void)snprintf(place->path, sizeof(place->path), "%s", *within ? within : "/");
    return open_fs(walk->inner, fs, place, err);
}

/* A link stands in the place of the last part of `done`: its target goes before the rest. */
static int follow(struct walk *walk, struct place *place, struct im_error *err)
{
    char *target IM_FREE = malloc(2 * GUEST_PATH_MAX + 2);
    size_t len;
    int r;

    if (!target)
        return im_fail(err, ENOMEM, "out of memory");
    if (++walk->links > LINKS_MAX)
        return im_fail(err, ELOOP, "more than %u links are on the way to '%s'", LINKS_MAX,
                       walk->done);
    r = place->reader->link(place->state, place->path, target, err);
    if (r < 0)
        return r;
    *strrchr(walk->done, '/') = '\0';
    if (*target == '/')
        *walk->done = '\0';
    len = strlen(target);
    (void)snprintf(target + len, GUEST_PATH_MAX + 2, "/%s", walk->rest);
    len = strlen(target);
    if (len >= GUEST_PATH_MAX)
        return im_fail(err, ENAMETOOLONG, "a link below '%s' makes a path of %zu bytes", walk->done,
                       len);
    memcpy(walk->rest, target, len + 1);
    return 0;
}

/* Move the next part of the rest to what is done; false: there is none. */
static bool next_part(struct walk *walk)
{
    char *part = walk->rest + strspn(walk->rest, "/");
    size_t len = strcspn(part, "/"), have = strlen(walk->done);
    char *slash;

    if (len == 0)
        return false;
    if (len == 2 && part[0] == '.' && part[1] == '.') { /* of the root the root itself */
        slash = strrchr(walk->done, '/');
        if (slash)
            *slash = '\0';
    } else if (len != 1 || part[0] != '.') {
        /* done and rest together are no longer than one path */
        if (have + len + 2 > sizeof(walk->done))
            len = sizeof(walk->done) - have - 2;
        walk->done[have] = '/';
        memcpy(walk->done + have + 1, part, len);
        walk->done[have + 1 + len] = '\0';
    }
    memmove(walk->rest, part + len, strlen(part + len) + 1);
    return true;
}

static int resolve(struct walk *walk, struct place *place, struct im_error *err)
{
    struct im_file file;
    int r;

    while (next_part(walk)) {
        if (*walk->done == '\0')
            continue;
        r = locate(walk, place, err);
        if (r < 0)
            return r;
        if (!place->reader->shows_links)
            continue;
        r = place->reader->stat(place->state, place->path, &file, err);
        if (r == 0 && file.kind == IM_FILE_LINK)
            r = follow(walk, place, err);
        else if (r == 0 && file.kind != IM_FILE_DIRECTORY && walk->rest[strspn(walk->rest, "/")])
            r = im_fail(err, ENOTDIR, "'%s' is no directory", walk->done);
        if (r < 0)
            return r;
    }
    return locate(walk, place, err);
}

static int find(struct im_guest *guest, const struct im_fs *only, const char *path,
                struct place *place, struct im_error *err)
{
    struct walk walk = { .inner = (struct guest_inner *)guest, .only = only };
    size_t len = strlen(path);

    if (len >= sizeof(walk.rest))
        return im_fail(err, ENAMETOOLONG, "a path of %zu bytes is not looked for", len);
    memcpy(walk.rest, path, len + 1);
    return resolve(&walk, place, err);
}

/* What is missing is told by the path that was asked for, not by where in a file system it led. */
static int told(const struct im_guest *guest, const struct im_fs *only, const char *path, int r,
                struct im_error *err)
{
    if (r == -ENOENT && (only || guest->root))
        return im_fail(err, ENOENT, "there is no '%s'", path);
    return r;
}

/* ---- reading ---- */

struct text_sink {
    struct guest_sink sink;
    struct im_buffer *text;
    int fd;       /* in place of text */
    uint64_t len; /* so far */
    uint64_t max;
    bool head; /* the first max bytes are wanted, not all */
    const char *path;
};

static int put(struct guest_sink *base, const void *buf, size_t len, struct im_error *err)
{
    struct text_sink *sink = (struct text_sink *)base;
    int r;

    sink->len += len;
    if (sink->len > sink->max)
        return im_fail(err, EFBIG, "'%s' has more than %llu bytes", sink->path,
                       (unsigned long long)sink->max);
    r = sink->text ? im_buffer_add(sink->text, buf, len) : im_write(sink->fd, buf, len);
    return r < 0 ? im_fail_errno(err, -r, "cannot keep '%s'", sink->path) : 0;
}

static int read_at(struct place *place, const char *path, struct text_sink *sink,
                   struct im_error *err)
{
    struct im_file file = { .kind = IM_FILE_REGULAR };
    int r = 0;

    if (place->reader->shows_links)
        r = place->reader->stat(place->state, place->path, &file, err);
    if (r == 0 && file.kind == IM_FILE_DIRECTORY)
        r = im_fail(err, EISDIR, "'%s' is a directory", path);
    if (r == 0 && file.kind != IM_FILE_REGULAR)
        r = im_fail(err, EOPNOTSUPP, "'%s' is no regular file", path);
    if (r == 0 && file.size > sink->max && !sink->head)
        r = im_fail(err, EFBIG, "'%s' has %llu bytes, more than %llu", path,
                    (unsigned long long)file.size, (unsigned long long)sink->max);
    sink->sink.put = put;
    sink->path = path;
    if (r == 0)
        r = place->reader->read(place->state, place->path, sink->max + !sink->head, &sink->sink,
                                err);
    return r;
}

static int read_into(struct im_guest *guest, const struct im_fs *only, const char *path,
                     struct text_sink *sink, struct im_error *err)
{
    struct place place;
    int r = find(guest, only, path, &place, err);

    if (r == 0)
        r = read_at(&place, path, sink, err);
    return told(guest, only, path, r, err);
}

int im_guest_copy(struct im_guest *guest, const char *path, uint64_t max, int fd, uint64_t *ret_len,
                  struct im_error *err)
{
    struct text_sink sink = { .fd = fd, .max = max };
    int r = read_into(guest, NULL, path, &sink, err);

    if (r == 0)
        *ret_len = sink.len;
    return r;
}

static int stat_of(struct im_guest *guest, const struct im_fs *only, const char *path,
                   struct im_file *ret_file, struct im_error *err)
{
    struct place place;
    int r = find(guest, only, path, &place, err);

    if (r == 0)
        r = place.reader->stat(place.state, place.path, ret_file, err);
    return told(guest, only, path, r, err);
}

static int list_of(struct im_guest *guest, const struct im_fs *only, const char *path,
                   struct im_buffer *names, size_t *ret_count, struct im_error *err)
{
    struct place place;
    int r = find(guest, only, path, &place, err);

    if (r == 0)
        r = place.reader->list(place.state, place.path, names, ret_count, err);
    return told(guest, only, path, r, err);
}

int im_guest_read(struct im_guest *guest, const char *path, size_t max, struct im_buffer *text,
                  struct im_error *err)
{
    struct text_sink sink = { .text = text, .max = max };

    return read_into(guest, NULL, path, &sink, err);
}

int im_guest_head(struct im_guest *guest, const char *path, size_t max, struct im_buffer *text,
                  struct im_error *err)
{
    struct text_sink sink = { .text = text, .max = max, .head = true };

    return read_into(guest, NULL, path, &sink, err);
}

int im_guest_stat(struct im_guest *guest, const char *path, struct im_file *ret_file,
                  struct im_error *err)
{
    return stat_of(guest, NULL, path, ret_file, err);
}

int im_guest_list(struct im_guest *guest, const char *path, struct im_buffer *names,
                  size_t *ret_count, struct im_error *err)
{
    return list_of(guest, NULL, path, names, ret_count, err);
}

int im_fs_read(struct im_guest *guest, const struct im_fs *fs, const char *path, size_t max,
               struct im_buffer *text, struct im_error *err)
{
    struct text_sink sink = { .text = text, .max = max };

    return read_into(guest, fs, path, &sink, err);
}

int im_fs_head(struct im_guest *guest, const struct im_fs *fs, const char *path, size_t max,
               struct im_buffer *text, struct im_error *err)
{
    struct text_sink sink = { .text = text, .max = max, .head = true };

    return read_into(guest, fs, path, &sink, err);
}

int im_fs_stat(struct im_guest *guest, const struct im_fs *fs, const char *path,
               struct im_file *ret_file, struct im_error *err)
{
    return stat_of(guest, fs, path, ret_file, err);
}

int im_fs_list(struct im_guest *guest, const struct im_fs *fs, const char *path,
               struct im_buffer *names, size_t *ret_count, struct im_error *err)
{
    return list_of(guest, fs, path, names, ret_count, err);
}
