/* Scratch and cache: the limit holds whatever several processes do and whenever they are killed;
 * what goes first, what stays; what is planted in a place. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "cache/cache.h"
#include "cache/place.h"
#include "cache/scratch.h"
#include "core/cancel.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
/* Longest wait for another process, on any machine. */
#define PATIENCE_S 60

static char top[64], place[80];

static char *in_place(const char *name)
{
    static char path[4][512];
    static unsigned next;

    next = (next + 1) % 4;
    (void)snprintf(path[next], sizeof(path[next]), "%s/%s", place, name);
    return path[next];
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static uint64_t walked;

static int add_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)path;
    (void)kind;
    if (ftw->level > 0)
        walked += (uint64_t)st->st_blocks * 512;
    return 0;
}

/* Bytes that everything below the place takes. */
static uint64_t taken(void)
{
    walked = 0;
    (void)nftw(place, add_one, 16, FTW_PHYS);
    return walked;
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(top, sizeof(top), "%s/cache-XXXXXX", "/tmp");
    if (!mkdtemp(top))
        return -1;
    (void)snprintf(place, sizeof(place), "%s/place", top);
    return mkdir(place, 0700);
}

static int tear_down(void **state)
{
    (void)state;
    im_cancelled = false;
    return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void limit(uint64_t bytes, bool fail)
{
    struct im_error err = { 0 };

    if (im_cache_limit(place, bytes, fail, &err) < 0)
        fail_msg("%s", err.message);
}

static int take(uint64_t bytes, struct im_scratch **ret, struct im_error *err)
{
    *ret = NULL;
    return im_scratch_take(place, bytes, ret, err);
}

static struct im_scratch *taking(uint64_t bytes)
{
    struct im_error err = { 0 };
    struct im_scratch *scratch;

    if (take(bytes, &scratch, &err) < 0)
        fail_msg("%s", err.message);
    return scratch;
}

static void write_some(int fd, uint64_t bytes, unsigned seed)
{
    static __thread uint8_t block[4096];

    for (uint64_t at = 0; at < bytes; at += sizeof(block)) {
        memset(block, (int)(seed + at / sizeof(block)) | 1, sizeof(block));
        if (pwrite(fd, block, bytes - at < sizeof(block) ? bytes - at : sizeof(block), (off_t)at) <
            0)
            abort();
    }
}

/* Entry number n: always the same bytes. */
static void content_id(unsigned n, uint64_t size, char id[IM_CACHE_ID + 1])
{
    uint8_t *all = malloc(size), digest[32];
    FILE *file = tmpfile();

    write_some(fileno(file), size, n);
    if (!all || pread(fileno(file), all, size, 0) != (ssize_t)size)
        abort();
    (void)fclose(file);
    im_hash(IM_SHA256, all, size, digest);
    im_hex(digest, sizeof(digest), id);
    free(all);
}

/* Let entry n of `size` bytes be there, and in use when ret_entry is given. */
static int keep(unsigned n, uint64_t size, const char *parent, struct im_entry **ret_entry,
                char ret_id[IM_CACHE_ID + 1], struct im_error *err)
{
    struct im_entry *entry = NULL;
    struct im_scratch *scratch = NULL;
    char id[IM_CACHE_ID + 1], recipe[16];
    int r;

    (void)snprintf(recipe, sizeof(recipe), "recipe %u", n);
    if (parent)
        im_cache_derive(parent, recipe, id);
    else
        content_id(n, size, id);
    r = im_cache_take(place, id, size, &entry, &scratch, err);
    if (r == 0 && scratch) {
        write_some(scratch->fd, size, n);
        r = im_cache_put(scratch, id, parent, &entry, err);
    }
    if (r == 0 && ret_id)
        memcpy(ret_id, id, sizeof(id));
    if (r == 0 && ret_entry)
        *ret_entry = entry;
    else
        im_entry_free(entry);
    return r;
}

static void keeping(unsigned n, uint64_t size, const char *parent, char id[IM_CACHE_ID + 1])
{
    struct im_error err = { 0 };

    if (keep(n, size, parent, NULL, id, &err) < 0)
        fail_msg("%s", err.message);
}

static bool is_kept(const char *id)
{
    struct im_cache_status status;
    bool found = false;

    assert_int_equal(im_cache_look(place, &status, NULL), 0);
    for (unsigned i = 0; i < status.count; i++)
        found = found || strcmp(status.entry[i].id, id) == 0;
    im_cache_status_done(&status);
    return found;
}

static struct im_cache_status look(void)
{
    struct im_cache_status status;

    assert_int_equal(im_cache_look(place, &status, NULL), 0);
    free(status.entry);
    status.entry = NULL;
    return status;
}

/* ---- children ---- */

static int said[2]; /* what children say, a byte each */

static pid_t start(void (*child)(void))
{
    pid_t pid;

    if (said[1] == 0)
        assert_int_equal(pipe(said), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(PATIENCE_S);
        child();
        _exit(0);
    }
    return pid;
}

static void say(char what)
{
    if (write(said[1], &what, 1) != 1)
        _exit(9);
}

static char hear(void)
{
    struct pollfd child = { .fd = said[0], .events = POLLIN };
    char what = 0;

    assert_int_equal(poll(&child, 1, PATIENCE_S * 1000), 1);
    assert_int_equal(read(said[0], &what, 1), 1);
    return what;
}

static int end_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* A process of its own has a name of its own; fork alone would leave it the parent's. */
static void hold_3_mib(void)
{
    struct im_scratch *scratch;

    if (take(3 * MIB, &scratch, NULL) < 0)
        _exit(1);
    write_some(scratch->fd, 3 * MIB, 1);
    say('h');
    for (;;)
        (void)pause();
}

static void want_3_mib(void)
{
    struct im_scratch *scratch;

    say('w');
    say(take(3 * MIB, &scratch, NULL) < 0 ? 'f' : 't');
    im_scratch_free(scratch);
}

/* ---- the tests ---- */

static void a_place_nobody_limited_holds_no_names(void **state)
{
    struct im_scratch *scratch = taking(100 * MIB), *other = NULL;

    (void)state;
    write_some(scratch->fd, 64 * KIB, 1);
    assert_int_equal(taken(), 0);
    assert_int_equal(im_scratch_split(scratch, 10 * MIB, &other, NULL), 0);
    assert_int_equal(scratch->bytes, 90 * MIB);
    im_scratch_free(scratch);
    im_scratch_free(other);
    assert_false(look().set_up);
}

static void what_can_never_fit_fails_at_once_with_both_numbers(void **state)
{
    struct im_error err = { 0 };
    struct im_scratch *scratch;

    (void)state;
    limit(8 * MIB, false);
    assert_int_equal(take(9 * MIB, &scratch, &err), -ENOSPC);
    assert_string_equal(err.code, "ScratchLimit");
    assert_int_equal(im_error_status(&err), IM_NO_SPACE);
    assert_non_null(strstr(err.message, "9437184"));
    assert_non_null(strstr(err.message, "8388608"));
    assert_int_equal(take(UINT64_MAX, &scratch, &err), -ENOSPC);
    im_scratch_free(taking(7 * MIB));
}

static void files_of_others_count(void **state)
{
    struct im_error err = { 0 };
    struct im_scratch *scratch;
    int fd;

    (void)state;
    limit(8 * MIB, false);
    assert_int_equal(mkdir(in_place("sub"), 0700), 0);
    fd = open(in_place("sub/file"), O_CREAT | O_RDWR, 0600);
    write_some(fd, 3 * MIB, 1);
    (void)close(fd);
    assert_in_range(look().foreign, 3 * MIB, 3 * MIB + 64 * KIB);
    assert_int_equal(take(6 * MIB, &scratch, &err), -ENOSPC);
    assert_string_equal(err.code, "ScratchLimit");
    im_scratch_free(taking(4 * MIB));
    assert_int_equal(im_cache_limit(place, 2 * MIB, false, &err), -ENOSPC);
    assert_int_equal(look().limit, 8 * MIB);
    /* a directory right below is part of it */
    assert_int_equal(im_scratch_take(in_place("sub"), 6 * MIB, &scratch, &err), -ENOSPC);
}

static void the_reserved_count_and_grow_and_shrink(void **state)
{
    struct im_error err = { 0 };
    struct im_scratch *scratch, *other = NULL, *third;

    (void)state;
    limit(8 * MIB, true);
    scratch = taking(4 * MIB);
    assert_int_equal(take(5 * MIB, &third, &err), -ENOSPC);
    assert_int_equal(im_scratch_grow(scratch, 9 * MIB, &err), -ENOSPC);
    assert_int_equal(scratch->bytes, 4 * MIB);
    assert_int_equal(im_scratch_grow(scratch, 7 * MIB, &err), 0);
    assert_int_equal(take(2 * MIB, &third, &err), -ENOSPC);
    assert_int_equal(im_scratch_split(scratch, 3 * MIB, &other, &err), 0);
    assert_int_equal(take(2 * MIB, &third, &err), -ENOSPC);
    im_scratch_free(scratch);
    im_scratch_free(taking(4 * MIB));
    write_some(other->fd, 2 * MIB, 1);
    im_scratch_shrink(other, MIB); /* what it uses counts still */
    assert_int_equal(take(6 * MIB, &third, &err), -ENOSPC);
    im_scratch_free(taking(5 * MIB));
    im_scratch_free(other);
    assert_int_equal(look().scratch, 0);
}

static void the_one_used_longest_ago_goes_first(void **state)
{
    char a[65], b[65], c[65];
    struct im_entry *entry = NULL;

    (void)state;
    limit(8 * MIB, false);
    keeping(1, 2 * MIB, NULL, a);
    keeping(2, 2 * MIB, NULL, b);
    keeping(3, 2 * MIB, NULL, c);
    assert_int_equal(im_cache_get(place, a, false, &entry, NULL), 0);
    im_entry_free(entry);
    im_scratch_free(taking(3 * MIB));
    assert_true(is_kept(a) && !is_kept(b) && is_kept(c));
    im_scratch_free(taking(5 * MIB));
    assert_true(is_kept(a) && !is_kept(c));
    im_scratch_free(taking(7 * MIB));
    assert_false(is_kept(a));
}

static void what_is_in_use_or_depended_on_stays(void **state)
{
    char a[65], b[65], child[65];
    struct im_entry *entry = NULL;
    struct im_scratch *scratch;
    struct im_error err = { 0 };

    (void)state;
    limit(8 * MIB, false);
    keeping(1, 2 * MIB, NULL, a);
    keeping(4, MIB, a, child);
    keeping(2, 2 * MIB, NULL, b);
    assert_int_equal(im_cache_get(place, child, false, &entry, NULL), 0);
    im_scratch_free(taking(4 * MIB)); /* a was used longest ago */
    assert_true(is_kept(a) && is_kept(child) && !is_kept(b));
    assert_int_equal(take(6 * MIB, &scratch, &err), -ENOSPC); /* for it is we who use it */
    assert_true(is_kept(a) && is_kept(child));
    im_entry_free(entry);
    im_scratch_free(taking(6 * MIB));
    assert_false(is_kept(child));
    assert_false(is_kept(a));
    assert_int_equal(keep(4, MIB, a, NULL, NULL, &err), -ENOENT); /* no parent any more */
    assert_int_equal(look().scratch, 0);
}

static void what_is_damaged_is_no_entry(void **state)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1 } };
    struct im_entry *entry = NULL;
    struct im_error err = { 0 };
    struct im_scratch *scratch = NULL;
    char id[65], path[128], other[65];
    int fd;

    (void)state;
    limit(8 * MIB, false);
    for (int hidden = 0; hidden < 2; hidden++) {
        keeping(1, MIB, NULL, id);
        (void)snprintf(path, sizeof(path), ".imaging-cache/entries/%.64s.1048576", id);
        assert_int_equal(im_cache_get(place, id, true, &entry, &err), 0);
        assert_int_equal(entry->size, MIB);
        im_entry_free(entry);
        assert_int_equal(chmod(in_place(path), 0600), 0);
        fd = open(in_place(path), O_RDWR);
        assert_int_equal(pwrite(fd, "x", 1, 4000), 1);
        if (hidden) { /* only all of it tells */
            assert_int_equal(futimens(fd, times), 0);
            assert_int_equal(im_cache_get(place, id, false, &entry, &err), 0);
            im_entry_free(entry);
        }
        (void)close(fd);
        assert_int_equal(im_cache_get(place, id, hidden, &entry, &err), -ENOENT);
        assert_string_equal(err.code, "NotCached");
        assert_false(is_kept(id));
    }
    content_id(2, MIB, other);
    assert_int_equal(im_cache_take(place, id, MIB, &entry, &scratch, &err), 0);
    write_some(scratch->fd, MIB, 2);
    assert_int_equal(im_cache_put(scratch, id, NULL, &entry, &err), -EKEYREJECTED);
    assert_string_equal(err.code, "DigestMismatch");
    assert_non_null(strstr(err.message, other));
    assert_false(is_kept(other));
    assert_int_equal(look().scratch, 0);
}

static void what_the_dead_had_is_taken_back(void **state)
{
    pid_t pid;

    (void)state;
    limit(4 * MIB, true);
    pid = start(hold_3_mib);
    assert_int_equal(hear(), 'h');
    assert_int_equal(look().reservations, 1);
    (void)kill(pid, SIGKILL);
    (void)end_of(pid);
    assert_true(taken() > 3 * MIB);
    im_scratch_free(taking(3 * MIB));
    assert_true(taken() < MIB);
}

static void who_finds_no_room_waits_for_it(void **state)
{
    struct im_scratch *scratch;
    pid_t pid;

    (void)state;
    limit(4 * MIB, false);
    scratch = taking(2 * MIB);
    pid = start(want_3_mib);
    assert_int_equal(hear(), 'w');
    im_scratch_free(scratch);
    assert_int_equal(hear(), 't');
    assert_int_equal(end_of(pid), 0);
    /* and for one that dies */
    pid = start(hold_3_mib);
    assert_int_equal(hear(), 'h');
    (void)kill(pid, SIGKILL);
    im_scratch_free(taking(3 * MIB));
    (void)end_of(pid);
}

static void *cancel(void *arg)
{
    (void)arg;
    im_cancelled = true;
    return NULL;
}

static void waiting_ends_with_the_wish_to_stop(void **state)
{
    struct im_error err = { 0 };
    struct im_scratch *scratch;
    pthread_t thread;
    pid_t pid;

    (void)state;
    limit(4 * MIB, false);
    pid = start(hold_3_mib);
    assert_int_equal(hear(), 'h');
    assert_int_equal(pthread_create(&thread, NULL, cancel, NULL), 0);
    assert_int_equal(take(3 * MIB, &scratch, &err), -ECANCELED);
    (void)pthread_join(thread, NULL);
    im_cancelled = false;
    assert_int_equal(look().reservations, 1);
    (void)kill(pid, SIGKILL);
    (void)end_of(pid);
}

static const char *go_path(void)
{
    static char path[80];

    (void)snprintf(path, sizeof(path), "%s/go", top);
    return path;
}

/* Holds some and wants as much again. */
static void want_more(void)
{
    struct im_error err = { 0 };
    struct im_scratch *scratch;
    char go;
    int r;

    if (take(MIB, &scratch, &err) < 0)
        _exit(1);
    say('h');
    while (access(go_path(), F_OK) < 0)
        (void)usleep(1000);
    go = (r = im_scratch_grow(scratch, 2 * MIB, &err)) == 0 ? 't' : 'f';
    if (r < 0 && (r != -ENOSPC || strcmp(err.code, "NoSpace") != 0))
        go = '!';
    say(go);
    im_scratch_free(scratch);
}

static void not_all_who_hold_some_wait_for_more(void **state)
{
    pid_t one, two;
    char first, second;

    (void)state;
    limit(2 * MIB + 512 * KIB, false);
    one = start(want_more);
    two = start(want_more);
    assert_int_equal(hear(), 'h');
    assert_int_equal(hear(), 'h');
    (void)close(open(go_path(), O_CREAT | O_WRONLY, 0600));
    first = hear();
    second = hear();
    /* whoever gives way makes room for the other; or one was done before the other asked */
    assert_true(first == 't' || second == 't');
    assert_true(first != '!' && second != '!');
    (void)end_of(one);
    (void)end_of(two);
}

static void make_it(void)
{
    struct im_entry *entry = NULL;
    struct im_scratch *scratch = NULL;
    char id[65];

    content_id(7, MIB, id);
    if (im_cache_take(place, id, MIB, &entry, &scratch, NULL) < 0)
        _exit(1);
    if (scratch) {
        write_some(scratch->fd, MIB, 7);
        (void)usleep(100000); /* others come meanwhile */
        if (im_cache_put(scratch, id, NULL, &entry, NULL) < 0)
            _exit(1);
    }
    say(scratch ? 'm' : 'f');
    im_entry_free(entry);
}

static void what_several_want_is_made_once(void **state)
{
    pid_t pid[4];
    unsigned made = 0;

    (void)state;
    limit(8 * MIB, false);
    for (int i = 0; i < 4; i++)
        pid[i] = start(make_it);
    for (int i = 0; i < 4; i++)
        made += hear() == 'm';
    for (int i = 0; i < 4; i++)
        assert_int_equal(end_of(pid[i]), 0);
    assert_int_equal(made, 1);
}

static void what_is_planted_is_not_followed(void **state)
{
    static const char name[] = ".imaging-cache/scratch/0123456789abcdef-00000001-0000000000001000";
    struct im_error err = { 0 };
    struct im_scratch *scratch;
    char victim[96], fifo[600];
    struct stat st;
    int fd;

    (void)state;
    (void)snprintf(victim, sizeof(victim), "%s/victim", top);
    fd = open(victim, O_CREAT | O_RDWR, 0600);
    write_some(fd, 64 * KIB, 1);
    (void)close(fd);
    limit(4 * MIB, true);
    assert_int_equal(symlink(victim, in_place(name)), 0);
    (void)snprintf(fifo, sizeof(fifo), "%s%s", in_place(name), "0"); /* no such name, and odd */
    assert_int_equal(mkfifo(fifo, 0600), 0);
    im_scratch_free(taking(3 * MIB));
    assert_int_equal(im_cache_collect(place, 0, &(uint64_t){ 0 }, &err), 0);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_size, 64 * KIB);
    /* the state directory is what we made, or nothing */
    (void)nftw(in_place(".imaging-cache"), remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(symlink(top, in_place(".imaging-cache")), 0);
    assert_int_equal(take(MIB, &scratch, &err), -EIO);
    assert_string_equal(err.code, "PlaceUnavailable");
    assert_int_equal(unlink(in_place(".imaging-cache")), 0);
    assert_int_equal(mkdir(in_place(".imaging-cache"), 0777), 0);
    assert_int_equal(chmod(in_place(".imaging-cache"), 0777), 0);
    assert_int_equal(take(MIB, &scratch, &err), -EIO);
    assert_int_equal(chmod(in_place(".imaging-cache"), 0700), 0);
    im_scratch_free(taking(MIB));
}

static void all_of_it_is_private(void **state)
{
    struct im_scratch *scratch;
    struct stat st;

    (void)state;
    (void)umask(0);
    limit(4 * MIB, false);
    scratch = taking(MIB);
    assert_int_equal(fstat(scratch->fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    (void)umask(022);
    im_scratch_free(scratch);
    assert_int_equal(stat(in_place(".imaging-cache"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(in_place(".imaging-cache/scratch"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    /* where everybody may make files, ours are apart */
    assert_int_equal(nftw(in_place(".imaging-cache"), remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    assert_int_equal(chmod(place, 01777), 0);
    limit(4 * MIB, false);
    im_scratch_free(taking(MIB));
    assert_int_equal(access(in_place(".imaging-cache"), F_OK), -1);
    assert_true(look().set_up);
}

/* ---- many at once ---- */

#define STORM_LIMIT (6 * MIB)
#define STORMERS    5
#define KILLS       40

/* Anything, for ever. */
static void storm(void)
{
    unsigned seed = (unsigned)getpid() * 2654435761u ^ (unsigned)im_clock_monotonic_us();
    struct im_scratch *held[2] = { NULL, NULL };
    char parent[65];

    for (;;) {
        unsigned what = (unsigned)rand_r(&seed) % 8, which = (unsigned)rand_r(&seed) % 2;
        uint64_t bytes = (uint64_t)rand_r(&seed) % (3 * MIB) + 1;
        struct im_scratch **at = &held[which];
        struct im_entry *entry = NULL;

        if (what < 3) {
            *at = im_scratch_free(*at);
            if (take(bytes, at, NULL) == 0)
                write_some((*at)->fd, bytes, seed);
        } else if (what == 3 && *at) {
            if (im_scratch_grow(*at, (*at)->bytes + bytes / 4, NULL) == 0)
                write_some((*at)->fd, (*at)->bytes, seed);
        } else if (what == 4 && *at) {
            im_scratch_shrink(*at, bytes);
            (void)!ftruncate((*at)->fd, 0);
            write_some((*at)->fd, (*at)->bytes, seed);
        } else if (what < 7) {
            if (keep(seed % 6, 300 * KIB, NULL, &entry, parent, NULL) == 0)
                (void)keep(seed % 3, 200 * KIB, parent, NULL, NULL, NULL);
            im_entry_free(entry);
        } else {
            held[0] = im_scratch_free(held[0]);
            held[1] = im_scratch_free(held[1]);
        }
    }
}

/* What is there while nobody may reserve: each fills what it has, and no more. */
static uint64_t sample(struct im_place *at)
{
    uint64_t bytes;

    assert_int_equal(im_place_lock(at, NULL), 0);
    bytes = taken();
    im_place_unlock(at);
    return bytes;
}

static void it_is_never_more_than_the_limit(void **state)
{
    struct im_place *at = NULL;
    pid_t pid[STORMERS];
    unsigned seed = 1, samples = 0;
    uint64_t most = 0;
    struct im_cache_status status;

    (void)state;
    limit(STORM_LIMIT, false);
    assert_int_equal(im_place_open(place, false, &at, NULL), 0);
    for (unsigned i = 0; i < STORMERS; i++)
        pid[i] = start(storm);
    for (unsigned kills = 0; kills < KILLS; kills++) {
        unsigned victim = (unsigned)rand_r(&seed) % STORMERS;
        int64_t until = im_clock_monotonic_ms() + rand_r(&seed) % 100;

        do {
            uint64_t bytes = sample(at);

            assert_in_range(bytes, 0, STORM_LIMIT);
            most = bytes > most ? bytes : most;
            samples++;
        } while (im_clock_monotonic_ms() < until);
        (void)kill(pid[victim], SIGKILL);
        (void)end_of(pid[victim]);
        pid[victim] = start(storm);
    }
    for (unsigned i = 0; i < STORMERS; i++) {
        (void)kill(pid[i], SIGKILL);
        (void)end_of(pid[i]);
    }
    im_place_close(at);
    print_message("%u samples, at most %" PRIu64 " bytes\n", samples, most);
    assert_true(most > STORM_LIMIT / 4); /* else nothing was tried */
    assert_int_equal(im_cache_collect(place, UINT64_MAX, &(uint64_t){ 0 }, NULL), 0);
    assert_int_equal(im_cache_look(place, &status, NULL), 0);
    assert_int_equal(status.scratch, 0);
    for (unsigned i = 0; i < status.count; i++) {
        struct im_entry *entry = NULL;

        assert_false(status.entry[i].in_use);
        assert_int_equal(im_cache_get(place, status.entry[i].id, true, &entry, NULL), 0);
        im_entry_free(entry);
    }
    im_cache_status_done(&status);
}

/* 0, or a step that went wrong: root, confined, takes scratch in a place of `owner`. */
static int use_place_of(uid_t owner)
{
    struct im_confine confine IM_CONFINE_DONE = IM_CONFINE;
    struct im_scratch *scratch;
    struct stat st;

    confine.programs = true;
    if (im_confine_begin(&confine, NULL) < 0 || im_cache_allow(place, &confine, NULL) < 0)
        return 1;
    switch (im_confine_self(&confine, NULL)) {
    case 0:
        break;
    case -ENOTSUP:
        return 77;
    default:
        return 2;
    }
    if (take(MIB, &scratch, NULL) < 0)
        return 3;
    if (fstat(scratch->fd, &st) < 0 || st.st_uid != owner || st.st_gid != owner)
        return 4;
    if (stat(in_place(IM_PLACE_STATE "/lock"), &st) < 0 || st.st_uid != owner)
        return 5;
    im_scratch_free(scratch);
    return geteuid() == 0 && access("/", W_OK) == 0 ? 0 : 6; /* it is itself again */
}

/* Without being able to give anything away. */
static void what_root_makes_in_somebodys_place_is_theirs(void **state)
{
    const uid_t nobody = 65534;
    struct stat st;
    int status;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(place, nobody, nobody), 0);
    limit(8 * MIB, false);
    assert_int_equal(stat(in_place(IM_PLACE_STATE), &st), 0);
    assert_int_equal(st.st_uid, nobody);
    assert_int_equal(st.st_gid, nobody);
    assert_int_equal(unlink(in_place(IM_PLACE_STATE "/lock")), 0);
    pid = fork();
    if (pid == 0)
        _exit(use_place_of(nobody));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_place_nobody_limited_holds_no_names),
        TEST(what_can_never_fit_fails_at_once_with_both_numbers),
        TEST(files_of_others_count),
        TEST(the_reserved_count_and_grow_and_shrink),
        TEST(the_one_used_longest_ago_goes_first),
        TEST(what_is_in_use_or_depended_on_stays),
        TEST(what_is_damaged_is_no_entry),
        TEST(what_the_dead_had_is_taken_back),
        TEST(who_finds_no_room_waits_for_it),
        TEST(waiting_ends_with_the_wish_to_stop),
        TEST(not_all_who_hold_some_wait_for_more),
        TEST(what_several_want_is_made_once),
        TEST(what_is_planted_is_not_followed),
        TEST(all_of_it_is_private),
        TEST(what_root_makes_in_somebodys_place_is_theirs),
        TEST(it_is_never_more_than_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
