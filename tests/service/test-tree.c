/* Whatever is in a directory goes with it: as deep as nobody can name, with modes that keep its
 * owner out, links but not what they point to. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dispatch/tree.h"

#define NOBODY 65534

static char top[] = "/tmp/test-tree.XXXXXX";
static char tree[64], beside[64];

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static void touch(int dir, const char *name)
{
    int fd IM_CLOSE = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
}

static int make_directory(int dir, const char *name)
{
    int fd;

    assert_int_equal(mkdirat(dir, name, 0700), 0);
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* A directory in a directory, so many, with a file in each. */
static void make_chain(int top_fd, const char *name, unsigned depth)
{
    int dir = dup(top_fd);

    for (unsigned i = 0; i < depth; i++) {
        int below = make_directory(dir, name);

        touch(dir, "file");
        (void)close(dir);
        dir = below;
    }
    (void)close(dir);
}

static int set_up(void **state)
{
    (void)state;
    memset(strrchr(top, '.') + 1, 'X', 6);
    assert_non_null(mkdtemp(top));
    (void)snprintf(tree, sizeof(tree), "%s/tree", top);
    (void)snprintf(beside, sizeof(beside), "%s/beside", top);
    touch(AT_FDCWD, beside);
    return chmod(top, 0777);
}

static int tear_down(void **state)
{
    char command[80];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf %s", top);
    return system(command);
}

static void what_no_path_reaches_goes(void **state)
{
    char name[201];
    int fd IM_CLOSE = make_directory(AT_FDCWD, tree);

    (void)state;
    memset(name, 'd', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    make_chain(fd, name, 25);
    make_chain(fd, "d", 2000); /* more than there are descriptors */
    assert_int_equal(tree_remove(tree), 0);
    assert_false(exists(tree));
    assert_true(exists(beside));
}

/* Names that are given to what is moved up may be there. */
static void what_is_named_alike_goes(void **state)
{
    int fd IM_CLOSE = make_directory(AT_FDCWD, tree);

    (void)state;
    make_chain(fd, ".lifted-0", 4);
    make_chain(fd, ".lifted-1", 4);
    touch(fd, ".lifted-2");
    make_chain(fd, "d", 4);
    assert_int_equal(tree_remove(tree), 0);
    assert_false(exists(tree));
}

static void links_are_not_followed(void **state)
{
    int fd IM_CLOSE = make_directory(AT_FDCWD, tree);
    int below IM_CLOSE = make_directory(fd, "d");

    (void)state;
    assert_int_equal(symlinkat(top, fd, "link"), 0);
    assert_int_equal(symlinkat(top, below, "link"), 0);
    assert_int_equal(tree_remove(tree), 0);
    assert_false(exists(tree));
    assert_int_equal(symlink(top, tree), 0);
    assert_int_equal(tree_remove(tree), 0);
    assert_false(exists(tree));
    assert_true(exists(beside));
}

/* Of who is not root. */
static int remove_closed(void)
{
    int fd;

    if (geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
        return -1;
    fd = make_directory(AT_FDCWD, tree);
    make_chain(fd, "d", 3);
    if (fchmodat(fd, "d/d", 0, 0) < 0 || fchmodat(fd, "d", 0400, 0) < 0 || fchmod(fd, 0) < 0)
        return -1;
    return tree_remove(tree);
}

static void what_its_owner_is_kept_out_of_goes(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0)
        _exit(-remove_closed());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(exists(tree));
}

static void files_and_nothing_go(void **state)
{
    (void)state;
    assert_int_equal(tree_remove(tree), 0);
    touch(AT_FDCWD, tree);
    assert_int_equal(tree_remove(tree), 0);
    assert_false(exists(tree));
    assert_true(tree_remove("/proc/self/status") < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_no_path_reaches_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_named_alike_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_are_not_followed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_its_owner_is_kept_out_of_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_and_nothing_go, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
