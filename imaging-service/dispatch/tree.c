/* tree - removal of a directory with all in it.
 *
 * Neither the depth of the tree nor the length of its paths matter: directories that are not empty
 * are moved up to the root, one after the other, and so there are never more than two levels to be
 * at. */

#include <config.h>

#include "dispatch/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct tree {
    int root; /* descriptor of the directory that is to go */
    dev_t device;
    uint64_t lifted;  /* names given in the root */
    uint64_t changes; /* things removed or moved up */
    int why;          /* -errno of what stays */
};

/* Count what was done, or keep why it was not. */
static void note(struct tree *tree, int r)
{
    int done = r < 0 ? -errno : 0;

    if (done == 0)
        tree->changes++;
    else if (done != -ENOENT)
        tree->why = done;
}

/* A directory of this file system that we can look into and change; its mode may be anything. */
static int make_usable(const struct tree *tree, int dir, const char *name)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode) || st.st_dev != tree->device) {
        errno = S_ISDIR(st.st_mode) ? EXDEV : ENOTDIR;
        return -1;
    }
    return (st.st_mode & S_IRWXU) == S_IRWXU ? 0
                                             : fchmodat(dir, name, S_IRWXU, AT_SYMLINK_NOFOLLOW);
}

/* Call each for the names in dir. */
static void each_name(struct tree *tree, int dir,
                      void (*each)(struct tree *tree, int dir, const char *name))
{
    int fd = openat(dir, ".", DIRECTORY);
    DIR *names = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!names) {
        note(tree, -1);
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((entry = readdir(names)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(tree, dir, entry->d_name);
    (void)closedir(names);
}

/* A directory gets a name in the root.  Where that is taken the next look comes with another: what
 * has it goes, or the root stays anyway. */
static void lift(struct tree *tree, int dir, const char *name)
{
    char up[40];

    (void)snprintf(up, sizeof(up), ".lifted-%ju", (uintmax_t)tree->lifted++);
    if (make_usable(tree, dir, name) < 0)
        note(tree, -1);
    else
        note(tree, renameat(dir, name, tree->root, up));
}

static void remove_or_lift(struct tree *tree, int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0)
        tree->changes++;
    else if (errno == EISDIR)
        lift(tree, dir, name);
    else
        note(tree, -1);
}

static void remove_in_root(struct tree *tree, int root, const char *name)
{
    int fd IM_CLOSE = -1;

    if (unlinkat(root, name, 0) == 0) {
        tree->changes++;
        return;
    }
    if (errno == EISDIR && make_usable(tree, root, name) == 0)
        fd = openat(root, name, DIRECTORY);
    if (fd < 0) {
        note(tree, -1);
        return;
    }
    each_name(tree, fd, remove_or_lift);
    note(tree, unlinkat(root, name, AT_REMOVEDIR));
}

/* Everything in it; a look misses what comes up behind it. */
static void empty(struct tree *tree)
{
    uint64_t before;

    do {
        before = tree->changes;
        tree->why = 0;
        each_name(tree, tree->root, remove_in_root);
    } while (tree->changes != before);
}

int tree_remove(const char *path)
{
    struct tree tree = { .root = -1 };
    struct stat st;
    int fd IM_CLOSE = -1;

    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR || lstat(path, &st) < 0)
        return -errno;
    tree.device = st.st_dev;
    if (make_usable(&tree, AT_FDCWD, path) < 0 || (fd = open(path, DIRECTORY)) < 0)
        return -errno;
    tree.root = fd;
    empty(&tree);
    if (rmdir(path) == 0 || errno == ENOENT)
        return 0;
    return tree.why < 0 ? tree.why : -errno;
}
