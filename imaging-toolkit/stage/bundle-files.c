/* bundle-files - the files of a bundle that is written. */

#include <config.h>

#include "stage/bundle-files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"

/* "PREFIX.manifest.xml", ".PREFIX.bundling-0123456789ab" */
#define NAME_ROOM (IM_BUNDLE_PREFIX_MAX + 32)

struct im_bundle_files {
    int to, inside; /* the directory, and ours in it */
    char prefix[IM_BUNDLE_PREFIX_MAX + 1];
    char own[NAME_ROOM]; /* name of ours; "" once it is gone */
    size_t part_size, len;
    bool force;
    int fd; /* of the part that grows, or -1 */
    struct im_hasher *hasher;
};

/* What it is called, in text of NAME_ROOM bytes. */
static char *part_name(const struct im_bundle_files *files, size_t index, char *text)
{
    (void)snprintf(text, NAME_ROOM, "%s.part.%02zu", files->prefix, index);
    return text;
}

static char *manifest_name(const struct im_bundle_files *files, char *text)
{
    (void)snprintf(text, NAME_ROOM, "%s.manifest.xml", files->prefix);
    return text;
}

static int failed(const char *name, int number, struct im_error *err)
{
    if (number == ENOSPC || number == EDQUOT || number == EFBIG)
        return im_fail_code(err, ENOSPC, "NoSpace",
                            "no space for '%s': %s; free some and try again", name,
                            strerrordesc_np(number));
    return im_fail_code(err, EIO, "CannotWrite", "cannot write '%s': %s", name,
                        strerrordesc_np(number));
}

static int exists(const char *name, struct im_error *err)
{
    return im_fail_code(err, EEXIST, "Exists", "'%s' exists; force replaces the bundle", name);
}

/* ---- opening ---- */

/* Looked at before any work is done; what appears later is found when ours is moved. */
static int check_target(const struct im_bundle_files *files, struct im_error *err)
{
    char name[NAME_ROOM];
    struct stat st;

    if (files->force)
        return 0;
    if (fstatat(files->to, manifest_name(files, name), &st, AT_SYMLINK_NOFOLLOW) == 0 ||
        fstatat(files->to, part_name(files, 0, name), &st, AT_SYMLINK_NOFOLLOW) == 0)
        return exists(name, err);
    return 0;
}

static int make_own(struct im_bundle_files *files, struct im_error *err)
{
    uint8_t number[6];
    char text[2 * sizeof(number) + 1];

    im_random(number, sizeof(number));
    im_hex(number, sizeof(number), text);
    (void)snprintf(files->own, sizeof(files->own), ".%s.bundling-%s", files->prefix, text);
    if (mkdirat(files->to, files->own, 0700) < 0) {
        int r = failed(files->own, errno, err);

        files->own[0] = '\0';
        return r;
    }
    files->inside = openat(files->to, files->own, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return files->inside < 0 ? failed(files->own, errno, err) : 0;
}

int im_bundle_files_open(const char *to, const char *prefix, size_t part_size, bool force,
                         struct im_bundle_files **ret_files, struct im_error *err)
{
    struct im_bundle_files *files = calloc(1, sizeof(*files));
    int r = 0;

    if (!files)
        return im_fail(err, ENOMEM, "out of memory");
    files->fd = files->inside = -1;
    files->part_size = part_size;
    files->force = force;
    (void)snprintf(files->prefix, sizeof(files->prefix), "%s", prefix);
    files->to = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->to < 0)
        r = im_fail_errno(err, errno, "cannot open the directory '%s'", to);
    if (r == 0)
        r = check_target(files, err);
    if (r == 0)
        r = make_own(files, err);
    if (r < 0)
        im_bundle_files_free(files);
    else
        *ret_files = files;
    return r;
}

/* ---- writing ---- */

static int begin_part(struct im_bundle_files *files, struct im_bundle *bundle, struct im_error *err)
{
    struct im_bundle_part *part = &bundle->part[bundle->part_count];
    char name[NAME_ROOM];

    if (bundle->part_count == IM_BUNDLE_PARTS_MAX)
        return im_fail(err, EFBIG, "the bundle has more than %d parts; ask for larger ones",
                       IM_BUNDLE_PARTS_MAX);
    part->name = strdup(part_name(files, bundle->part_count, name));
    files->hasher = im_hasher_new(IM_SHA1);
    files->len = 0;
    if (!part->name || !files->hasher)
        return im_fail(err, ENOMEM, "out of memory");
    files->fd = openat(files->inside, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return files->fd < 0 ? failed(name, errno, err) : 0;
}

int im_bundle_files_end(struct im_bundle_files *files, struct im_bundle *bundle,
                        struct im_error *err)
{
    struct im_bundle_part *part = &bundle->part[bundle->part_count];
    uint8_t digest[IM_HASH_MAX];

    if (files->fd < 0)
        return 0;
    im_hasher_end(files->hasher, digest);
    memcpy(part->sha1, digest, IM_BUNDLE_SHA1);
    files->hasher = im_hasher_free(files->hasher);
    if (fsync(files->fd) < 0)
        return failed(part->name, errno, err);
    (void)close(im_steal_fd(&files->fd));
    bundle->part_count++;
    bundle->bundled_size += files->len;
    return 0;
}

int im_bundle_files_add(struct im_bundle_files *files, struct im_bundle *bundle, const void *data,
                        size_t len, struct im_error *err)
{
    const uint8_t *p = data;
    int r = 0;

    while (r == 0 && len > 0) {
        size_t n;

        if (files->fd < 0)
            r = begin_part(files, bundle, err);
        if (r < 0)
            break;
        n = (size_t)im_min(len, files->part_size - files->len);
        r = im_write(files->fd, p, n);
        if (r < 0)
            return failed(bundle->part[bundle->part_count].name, -r, err);
        im_hasher_add(files->hasher, p, n);
        files->len += n;
        p += n;
        len -= n;
        if (files->len == files->part_size)
            r = im_bundle_files_end(files, bundle, err);
    }
    return r;
}

static int write_manifest(struct im_bundle_files *files, const struct im_buffer *manifest,
                          struct im_error *err)
{
    char name[NAME_ROOM];
    int fd IM_CLOSE = openat(files->inside, manifest_name(files, name),
                             O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int r = fd < 0 ? -errno : im_write(fd, manifest->data, manifest->len);

    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r < 0 ? failed(name, -r, err) : 0;
}

/* ---- appearing ---- */

/* Move one out; nothing is replaced unless that was asked for. */
static int move(struct im_bundle_files *files, const char *name, struct im_error *err)
{
    unsigned flags = files->force ? 0 : RENAME_NOREPLACE;

    if (renameat2(files->inside, name, files->to, name, flags) == 0)
        return 0;
    if (errno == EINVAL && flags != 0) { /* the file system has no flags */
        if (linkat(files->inside, name, files->to, name, 0) == 0) {
            (void)unlinkat(files->inside, name, 0);
            return 0;
        }
    }
    return errno == EEXIST ? exists(name, err) : failed(name, errno, err);
}

/* The parts of a larger bundle that was replaced. */
static void remove_surplus(struct im_bundle_files *files, size_t from)
{
    char name[NAME_ROOM];

    while (from < IM_BUNDLE_PARTS_MAX && unlinkat(files->to, part_name(files, from, name), 0) == 0)
        from++;
}

static int move_all(struct im_bundle_files *files, const struct im_bundle *bundle,
                    size_t *ret_moved, struct im_error *err)
{
    char name[NAME_ROOM];
    int r = 0;

    if (files->force) /* its parts are about to change */
        (void)unlinkat(files->to, manifest_name(files, name), 0);
    for (*ret_moved = 0; r == 0 && *ret_moved < bundle->part_count; *ret_moved += r == 0)
        r = move(files, bundle->part[*ret_moved].name, err);
    if (r == 0 && fsync(files->to) < 0)
        r = failed(files->prefix, errno, err);
    return r < 0 ? r : move(files, manifest_name(files, name), err);
}

int im_bundle_files_publish(struct im_bundle_files *files, const struct im_bundle *bundle,
                            const struct im_buffer *manifest, struct im_error *err)
{
    size_t moved = 0;
    int r = write_manifest(files, manifest, err);

    if (r == 0)
        r = move_all(files, bundle, &moved, err);
    if (r < 0) {
        for (size_t i = 0; i < moved; i++)
            (void)unlinkat(files->to, bundle->part[i].name, 0);
        return r;
    }
    if (files->force)
        remove_surplus(files, bundle->part_count);
    (void)fsync(files->to); /* all of it has appeared: no failure could take it back */
    return 0;
}

/* What is left in our directory has the names of parts and manifest, and no others. */
static void remove_own(struct im_bundle_files *files)
{
    char name[NAME_ROOM];

    (void)unlinkat(files->inside, manifest_name(files, name), 0);
    for (size_t i = 0; i <= IM_BUNDLE_PARTS_MAX; i++)
        if (unlinkat(files->inside, part_name(files, i, name), 0) < 0 &&
            unlinkat(files->to, files->own, AT_REMOVEDIR) == 0)
            break;
}

struct im_bundle_files *im_bundle_files_free(struct im_bundle_files *files)
{
    if (!files)
        return NULL;
    im_cleanup_close(&files->fd);
    if (files->own[0])
        remove_own(files);
    im_cleanup_close(&files->inside);
    im_cleanup_close(&files->to);
    im_hasher_free(files->hasher);
    free(files);
    return NULL;
}
