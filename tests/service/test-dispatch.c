/* test-dispatch - the real dispatcher with a stand-in for the toolkit: a shell script that plays
 * what the last word of the manifest's URL names. */

#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/io.h"
#include "base/text.h"
#include "dispatch/dispatch.h"
#include "dispatch/files.h"
#include "dispatch/worker.h"

/* Nothing here takes so long unless it is broken; slow machines included. */
#define DEADLINE_MS 20000

/* The wall clock of the slowest part of a cancel: two heartbeats and the grace. */
#define CANCEL_MS 5000

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char script[] =
    "#!/bin/sh\n"
    "# Plays imaging-toolkit.  Files beside it are how the test speaks with it.\n"
    "dir=${0%/*}\n"
    "[ \"$*\" = 'run --progress-fd 3' ] || exit 2\n"
    "job=$(cat)\n"
    "get() { printf '%s' \"$job\" | sed -n "
    "\"s/.*\\\"$1\\\":\\\"\\{0,1\\}\\([^\\\",]*\\).*/\\1/p\"; }\n"
    "store=$(get store) scratch=$(get scratch) source=$(get source) size=$(get max_size)\n"
    "kind=${source##*/}\n"
    "echo \"$kind\" >>\"$dir/runs\"\n"
    "n=$(grep -c \"^$kind\\$\" \"$dir/runs\")\n"
    "say() { printf '%s\\n' \"$1\" >&3; }\n"
    "progress() {\n"
    "    say '{\"time\":\"t\",\"event\":\"progress\",\"stage\":\"copy\",\"done\":'$1',\"total\":'$2"
    "',\"rate\":1}'\n"
    "}\n"
    "failed() { say '{\"event\":\"error\",\"code\":\"'$1'\",\"message\":\"'\"$2\"'\"}'; }\n"
    "whole() {\n"
    "    truncate -s \"$size\" \"$store\"\n"
    "    progress 100 100; say '{\"event\":\"result\",\"size\":'$size'}'\n"
    "}\n"
    "manifest() { echo '{\"digests\":{\"fs-verity\":\"'$1'\"}}' >\"$store.manifest.json\"; }\n"
    "until_file() { until [ -e \"$dir/$1\" ]; do sleep 0.02; done; }\n"
    "[ -d \"$scratch\" ] && mkdir -p \"$scratch/deep/er\" && echo x >\"$scratch/deep/er/file\" ||\n"
    "    exit 99\n"
    "progress 0 0\n"
    "case $kind in\n"
    "ok) whole ;;\n"
    "boots) whole; say '{\"event\":\"result\",\"boot_mode\":\"uefi\"}' ;;\n"
    "gate*) progress 25 100; until_file \"go\"; progress 10 100; until_file go2; whole ;;\n"
    "damaged) : >\"$store\"; : >\"$store.new-77\"\n"
    "    failed DamagedVmdk 'grain 7 lies past the end'; exit 4 ;;\n"
    "pending) [ -e \"$dir/uploaded\" ] || { failed PendingUpload 'part 1 is not there yet'; exit "
    "3; }\n"
    "    whole ;;\n"
    "segv) : >\"$store\"; kill -SEGV $$ ;;\n"
    "segv-once) [ $n -gt 1 ] || kill -KILL $$; whole ;;\n"
    "hang) trap '' TERM; (trap '' TERM; exec sleep 600) &\n"
    "    : >\"$store\"; echo $$ $! >\"$dir/pids-\"; mv \"$dir/pids-\" \"$dir/pids\"; wait; wait "
    ";;\n"
    "gentle) trap 'failed Cancelled stopped; exit 130' TERM\n"
    "    : >\"$dir/started\"; while :; do sleep 0.02; done ;;\n"
    "orphan) (trap '' TERM HUP; exec sleep 600) &\n"
    "    echo $! >\"$dir/pids\"; whole ;;\n"
    "transient) failed ConnectionFailed 'h:1 refused'; [ $n -gt 1 ] || exit 6; whole ;;\n"
    "transient-ever) failed ConnectionFailed 'h:1 refused'; exit 6 ;;\n"
    "cancelled-itself) [ $n -gt 1 ] || exit 130; whole ;;\n"
    "silent) i=0; while [ $i -lt 400 ]; do echo \"line $i of many\" >&2; i=$((i + 1)); done\n"
    "    exit 4 ;;\n"
    "small) truncate -s 512 \"$store\"; exit 0 ;;\n"
    "nothing) exit 0 ;;\n"
    "sways) while :; do progress 20 100; progress 10 100; sleep 0.02; done ;;\n"
    "tells) whole; say '{\"event\":\"result\",\"boot_mode\":\"uefi\"}'\n"
    "    manifest sha256:" DIGITS " ;;\n"
    "raves) whole; say '{\"event\":\"result\",\"boot_mode\":\"<uefi>\"}'\n"
    "    manifest sha256:" DIGITS "0 ;;\n"
    "limited) awk '/^Max (file size|address space)/ { print $4 }' /proc/self/limits "
    ">\"$dir/limits\"\n"
    "    whole ;;\n"
    "open) whole; chmod 6777 \"$store\" ;;\n"
    "led) whole; ln -s /etc/passwd \"$store.manifest.json\" ;;\n"
    "stuck) whole; mkfifo \"$store.manifest.json\" ;;\n"
    "shared) whole; ln \"$store\" \"$dir/other-name\" ;;\n"
    "chatty) head -c 300000 /dev/zero >&3; head -c 300000 /dev/zero >&2; echo >&3\n"
    "    say 'not json'; say '[]'; say '{\"event\":7,\"total\":-1}'; say '{\"event\":\"progress\","
    "\"done\":9e9,\"total\":\"x\"}'\n"
    "    progress 900 100; until_file \"go\"; whole ;;\n"
    "*) exit 98 ;;\n"
    "esac\n";

static char dir[64], toolkit[96], volumes[96], scratch[96], images[96], instances[96], db[96],
    zone[] = "standalone";
static char launcher[] = "none";
static struct svc_conf conf;
static struct task_table *table;
static struct dispatch *dispatch;
static struct im_error err;
static _Atomic int64_t later_ms; /* the table's clock is so far ahead */

static int64_t read_clock(void *arg)
{
    (void)arg;
    return im_clock_now_ms() + later_ms;
}

static int open_table(void)
{
    const struct task_options options = {
        .where = db, .worker = "here", .alone = true, .clock_ms = read_clock
    };

    later_ms = 0;
    return task_table_open(&options, &table, &err);
}

#define ok(call)                                                                                   \
    do {                                                                                           \
        int ok_r = (call);                                                                         \
        if (ok_r != 0)                                                                             \
            fail_msg("%s: %d, %s", #call, ok_r, err.message);                                      \
    } while (0)

/* ---- files ---- */

static void make_file(const char *path, const char *text, mode_t mode)
{
    char beside[256];
    int fd;

    (void)snprintf(beside, sizeof(beside), "%s-", path);
    fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(im_write(fd, text, strlen(text)), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(rename(beside, path), 0); /* it appears whole */
}

static const char *in_dir(const char *name)
{
    static char path[1100];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void touch(const char *name)
{
    make_file(in_dir(name), "", 0600);
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static int count_entries(const char *path)
{
    DIR *entries = opendir(path);
    const struct dirent *entry;
    int n = 0;

    assert_non_null(entries);
    while ((entry = readdir(entries)))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(entries);
    return n;
}

static void assert_nothing_left(int volume_count)
{
    assert_int_equal(count_entries(volumes), volume_count);
    assert_int_equal(count_entries(scratch), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static unsigned runs(const char *kind)
{
    char *text IM_FREE = NULL, *rest, *line;
    struct im_error none;
    unsigned n = 0;

    if (im_read_file(in_dir("runs"), 65536, &text, NULL, &none) < 0)
        return 0;
    for (rest = text; (line = strsep(&rest, "\n"));)
        n += strcmp(line, kind) == 0;
    return n;
}

/* ---- the dispatcher ---- */

static void start(void)
{
    ok(dispatch_start(&conf, table, NULL, &dispatch, &err));
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s", "/tmp/test-dispatch.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(toolkit, sizeof(toolkit), "%s/toolkit", dir);
    (void)snprintf(volumes, sizeof(volumes), "%s/volumes", dir);
    (void)snprintf(scratch, sizeof(scratch), "%s/scratch", dir);
    (void)snprintf(images, sizeof(images), "%s/images", dir);
    (void)snprintf(instances, sizeof(instances), "%s/instances", dir);
    (void)snprintf(db, sizeof(db), "%s/tasks.db", dir);
    if (mkdir(volumes, 0700) < 0 || mkdir(scratch, 0700) < 0)
        return -1;
    make_file(toolkit, script, 0700);
    memset(&err, 0, sizeof(err));
    conf = (struct svc_conf){ .dir = dir,
                              .toolkit = toolkit,
                              .volumes_dir = volumes,
                              .scratch_dir = scratch,
                              .images_dir = images,
                              .instances_dir = instances,
                              .launcher = launcher,
                              .workers = 2 };
    return open_table();
}

static int teardown(void **state)
{
    (void)state;
    dispatch = dispatch_stop(dispatch);
    table = task_table_close(table);
    return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void insert(const char *kind, struct task *ret_task)
{
    char url[128];
    const struct task_disk disk = { "RAW", url, NULL, 1000, 1 };
    const struct task_wish wish = {
        .account = "alice", .zone = zone, .disk = &disk, .disk_count = 1
    };
    bool fresh;

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:1/%s", kind);
    ok(task_insert(table, &wish, 100, ret_task, &fresh, &err));
}

/* An instance of two disks. */
static void insert_instance(const char *first, const char *second, struct task *ret_task)
{
    static const struct task_machine machine = { "Linux", "x86_64", "{}" };
    char url[2][128];
    const struct task_disk disks[] = { { "RAW", url[0], NULL, 1000, 1 },
                                       { "VMDK", url[1], NULL, 500, 1 } };
    const struct task_wish wish = {
        .account = "alice", .zone = zone, .disk = disks, .disk_count = 2, .machine = &machine
    };
    bool fresh;

    (void)snprintf(url[0], sizeof(url[0]), "http://127.0.0.1:1/%s", first);
    (void)snprintf(url[1], sizeof(url[1]), "http://127.0.0.1:1/%s", second);
    ok(task_insert(table, &wish, 100, ret_task, &fresh, &err));
}

static void submit_instance(const char *first, const char *second, struct task *ret_task)
{
    insert_instance(first, second, ret_task);
    dispatch_wake(dispatch);
}

/* Insert and tell the dispatcher. */
static void submit(const char *kind, struct task *ret_task)
{
    insert(kind, ret_task);
    dispatch_wake(dispatch);
}

static void refresh(struct task *task)
{
    struct task now = { 0 };

    ok(task_get(table, "alice", task->id, &now, &err));
    task_done(task);
    *task = now;
}

static const char *message_of(const struct task *task)
{
    return task_message(task) ? task_message(task) : "(none)";
}

/* Until the condition holds; the task is read again before each look. */
#define wait_until(task, condition)                                                                \
    do {                                                                                           \
        int64_t until = im_clock_monotonic_ms() + DEADLINE_MS;                                     \
        for (refresh(task); !(condition); refresh(task)) {                                         \
            if (im_clock_monotonic_ms() > until)                                                   \
                fail_msg("waited in vain for %s; the task is %s, \"%s\"", #condition,              \
                         task_state_name((task)->state), message_of(task));                        \
            (void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);                       \
        }                                                                                          \
    } while (0)

static void wait_completed(struct task *task)
{
    wait_until(task, task->state == TASK_COMPLETED);
    assert_null(task_message(task));
    assert_int_equal(task->stage[0].bytes_converted, task->stage[0].image_bytes);
}

static void wait_cancelled(struct task *task, const char *message)
{
    wait_until(task, task->state == TASK_CANCELLED);
    assert_string_equal(message_of(task), message);
}

static void assert_volume(const struct task *task)
{
    char path[192];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/%s.raw", volumes, task->stage[0].volume_id);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 1 << 30);
}

static bool says(const struct task *task, const char *text)
{
    return strstr(message_of(task), text) != NULL;
}

/* What the log says while a test runs. */
static int logged_fd = -1;

static void log_begin(void)
{
    int fd = open(in_dir("log"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    logged_fd = dup(STDERR_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    (void)close(fd);
}

static char *log_end(void)
{
    char *text = NULL;

    (void)dup2(logged_fd, STDERR_FILENO);
    (void)close(logged_fd);
    ok(im_read_file(in_dir("log"), 1 << 20, &text, NULL, &err));
    return text;
}

/* ---- the good way ---- */

static void test_completes(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("ok", &task);
    assert_string_equal(message_of(&task), "Pending");
    wait_completed(&task);
    assert_volume(&task);
    assert_nothing_left(1);
    assert_int_equal(task.stage[0].epoch, 1);
    assert_int_equal(runs("ok"), 1);
}

/* Idle workers look by themselves only every 10 s. */
static void test_wake(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 3; i++) {
        struct task task TASK_DONE = { 0 };
        int64_t began = im_clock_monotonic_ms();

        submit("ok", &task);
        wait_completed(&task);
        assert_true(im_clock_monotonic_ms() - began < 5000);
    }
}

static void test_present_at_start(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    insert("ok", &task);
    start();
    wait_completed(&task);
}

static void test_progress(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("gate", &task);
    wait_until(&task, says(&task, "Progress: 25%"));
    assert_int_equal(task.stage[0].bytes_converted, 250);
    touch("go"); /* it now tells of less */
    wait_until(&task, says(&task, "Progress: 10%"));
    assert_int_equal(task.stage[0].bytes_converted, 250);
    touch("go2");
    wait_completed(&task);
    assert_nothing_left(1);
}

static void test_two_at_once(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 }, c TASK_DONE = { 0 };

    (void)state;
    start();
    submit("gate-a", &a);
    submit("gate-b", &b);
    submit("gate-c", &c);
    wait_until(&a, says(&a, "Progress"));
    wait_until(&b, says(&b, "Progress"));
    refresh(&c);
    assert_int_equal(c.stage[0].epoch, 0); /* there are two workers */
    touch("go");
    touch("go2");
    wait_completed(&a);
    wait_completed(&b);
    wait_completed(&c);
    assert_nothing_left(3);
}

static void test_chatty(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("chatty", &task);
    wait_until(&task, says(&task, "Progress"));
    assert_string_equal(message_of(&task), "Progress: 100%"); /* of 900 of 100 */
    assert_int_equal(task.stage[0].bytes_converted, 1000);
    touch("go");
    wait_completed(&task);
}

/* ---- failures ---- */

static void test_damaged(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("damaged", &task);
    wait_cancelled(&task, "ClientError: Disk validation failed [Unsupported VMDK File Format]: "
                          "grain 7 lies past the end");
    assert_nothing_left(0);
    assert_int_equal(runs("damaged"), 1);
}

static void test_pending(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("pending", &task);
    wait_until(&task, task.stage[0].waits >= 1);
    assert_int_equal(task.state, TASK_ACTIVE);
    assert_string_equal(message_of(&task),
                        "Pending : waiting for the upload: part 1 is not there yet");
    assert_nothing_left(0);
    touch("uploaded");
    wait_completed(&task);
    assert_int_equal(task.stage[0].tries + task.stage[0].deaths, 0);
}

static void test_pending_cancelled(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("pending", &task);
    wait_until(&task, task.stage[0].waits >= 1);
    ok(task_request_cancel(table, "alice", task.id, NULL, &err));
    dispatch_wake(dispatch);
    wait_cancelled(&task, "Cancelled by user");
    assert_nothing_left(0);
}

static void test_dies(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("segv", &task);
    wait_until(&task, task.stage[0].deaths >= 1);
    assert_int_equal(task.state, TASK_ACTIVE);
    assert_true(says(&task, "Pending : "));
    wait_cancelled(&task, "ServerError: an internal error has occurred during conversion: the "
                          "process that worked on it died by signal 11 (Segmentation fault), death "
                          "3 of 3");
    assert_int_equal(runs("segv"), 3);
    assert_nothing_left(0);
}

static void test_dies_once(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit("segv-once", &task);
    wait_completed(&task);
    assert_int_equal(task.stage[0].deaths, 1);
}

static void test_transient(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };

    (void)state;
    start();
    submit("transient", &a);
    submit("cancelled-itself", &b);
    wait_until(&a, a.stage[0].tries >= 1);
    assert_string_equal(message_of(&a),
                        "Pending : attempt 1 of 8 failed and is repeated: h:1 refused");
    wait_completed(&a);
    wait_completed(&b);
    assert_int_equal(b.stage[0].tries, 1);
    assert_int_equal(b.stage[0].deaths, 0);
}

static void test_transient_ends(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    insert("transient-ever", &task);
    for (int i = 0; i < 7; i++) { /* seven attempts failed before */
        struct claim taken CLAIM_DONE = { 0 };
        int64_t next;

        ok(task_claim(table, 1000, &taken, &next, &err));
        ok(task_postpone(table, &taken, 0, TASK_TRIED, NULL, &err));
    }
    start();
    wait_cancelled(&task, "ClientError: The upload cannot be read: 8 attempts failed, the last "
                          "one: h:1 refused");
    assert_int_equal(runs("transient-ever"), 1);
}

/* A status without a reason proves nothing about the client's file; the log has the last words. */
static void test_silent(void **state)
{
    struct task task TASK_DONE = { 0 };
    char *text IM_FREE = NULL;

    (void)state;
    log_begin();
    start();
    submit("silent", &task);
    wait_until(&task, task.state == TASK_CANCELLED);
    text = log_end();
    assert_true(says(&task, "ServerError: an internal error has occurred during conversion: "
                            "imaging-toolkit ended with status 4"));
    assert_non_null(strstr(text, "line 399 of many"));
    assert_non_null(strstr(text, "line 250 of many")); /* the last 4 KiB are kept … */
    assert_null(strstr(text, "line 100 of many"));     /* … and no more */
    assert_null(strstr(text, "line 0 of many"));
}

static void test_wrong_volume(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };

    (void)state;
    start();
    submit("small", &a);
    submit("nothing", &b);
    wait_until(&a, a.state == TASK_CANCELLED);
    assert_true(says(&a, "ServerError: "));
    assert_true(says(&a, "of 512 bytes instead of 1073741824"));
    wait_until(&b, b.state == TASK_CANCELLED);
    assert_true(says(&b, "left no volume"));
    assert_nothing_left(0);
}

/* Of a volume of 1 GiB: 3 GiB a file, 4 GiB and 1 MiB of memory. */
static void test_limits(void **state)
{
    struct task task TASK_DONE = { 0 };
    char *text IM_FREE = NULL;

    (void)state;
    start();
    submit("limited", &task);
    wait_completed(&task);
    ok(im_read_file(in_dir("limits"), 256, &text, NULL, &err));
    assert_string_equal(text,
                        IM_SANITIZED ? "3221225472\nunlimited\n" : "3221225472\n4296015872\n");
}

/* What it says of the volume goes to others: only what can be so is taken. */
static void test_words_of_the_toolkit(void **state)
{
    struct task sound TASK_DONE = { 0 }, odd TASK_DONE = { 0 };

    (void)state;
    start();
    submit("tells", &sound);
    submit("raves", &odd);
    wait_completed(&sound);
    wait_completed(&odd);
    assert_string_equal(sound.boot_mode, "uefi");
    assert_string_equal(sound.stage[0].digest, "sha256:" DIGITS);
    assert_null(odd.boot_mode);
    assert_null(odd.stage[0].digest);
}

/* The toolkit may have been taken over by an image: what it leaves is a file of its own or nothing.
 */
static void test_odd_files(void **state)
{
    static const char *const odd[] = { "led", "stuck", "shared" };
    struct task task TASK_DONE = { 0 };
    char path[192];
    struct stat st;

    (void)state;
    start();
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        submit(odd[i], &task);
        wait_until(&task, task.state == TASK_CANCELLED);
        assert_true(says(&task, "which is no file of its own"));
        task_done(&task);
    }
    assert_nothing_left(0);
    submit("open", &task);
    wait_completed(&task);
    assert_volume(&task);
    (void)snprintf(path, sizeof(path), "%s/%s.raw", volumes, task.stage[0].volume_id);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* ---- cancel and stop ---- */

static bool is_alive(pid_t pid)
{
    char path[64], *text IM_FREE = NULL;
    const char *status;
    struct im_error none;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    if (im_read_file(path, 4096, &text, NULL, &none) < 0)
        return false;
    status = strrchr(text, ')'); /* a zombie that waits for init is dead enough */
    return status && status[2] != 'Z' && status[2] != 'X';
}

/* Pids that the stand-in wrote, once it has. */
static int read_pids(struct task *task, pid_t ret_pids[2])
{
    char *text IM_FREE = NULL, *rest, *word;
    int n = 0;

    wait_until(task, exists(in_dir("pids")));
    ok(im_read_file(in_dir("pids"), 64, &text, NULL, &err));
    for (rest = text; n < 2 && (word = strsep(&rest, " \n"));) {
        uint64_t pid;

        if (im_parse_uint(word, INT32_MAX, &pid) == 0)
            ret_pids[n++] = (pid_t)pid;
    }
    return n;
}

/* It hangs, with a child that hangs: both are ended, which counts as a death. */
static void test_hang_ends(void **state)
{
    struct task task TASK_DONE = { 0 };
    int64_t preset = worker_still_ms;
    pid_t pids[2];

    (void)state;
    worker_still_ms = 1000;
    start();
    submit("hang", &task);
    assert_int_equal(read_pids(&task, pids), 2);
    wait_until(&task, task.stage[0].deaths > 0);
    worker_still_ms = preset;
    assert_true(says(&task, "made no progress for"));
    wait_until(&task, !is_alive(pids[0]) && !is_alive(pids[1]));
    ok(task_request_cancel(table, "alice", task.id, NULL, &err));
    dispatch_wake(dispatch);
    wait_cancelled(&task, "Cancelled by user");
    assert_nothing_left(0);
}

/* It tells of progress, back and forth: that is none. */
static void test_swaying_hangs(void **state)
{
    struct task task TASK_DONE = { 0 };
    int64_t preset = worker_still_ms;

    (void)state;
    worker_still_ms = 1000;
    start();
    submit("sways", &task);
    wait_until(&task, task.stage[0].deaths > 0);
    worker_still_ms = preset;
    assert_true(says(&task, "made no progress for"));
    ok(task_request_cancel(table, "alice", task.id, NULL, &err));
    dispatch_wake(dispatch);
    wait_cancelled(&task, "Cancelled by user");
    assert_nothing_left(0);
}

static void test_cancel_group(void **state)
{
    struct task task TASK_DONE = { 0 };
    pid_t pids[2];
    int64_t began;

    (void)state;
    start();
    submit("hang", &task);
    assert_int_equal(read_pids(&task, pids), 2);
    assert_true(is_alive(pids[0]) && is_alive(pids[1]));
    began = im_clock_monotonic_ms();
    ok(task_request_cancel(table, "alice", task.id, "not needed", &err));
    dispatch_wake(dispatch);
    wait_cancelled(&task, "not needed");
    assert_true(im_clock_monotonic_ms() - began < CANCEL_MS);
    assert_false(is_alive(pids[0]));
    wait_until(&task, !is_alive(pids[1]));
    assert_true(im_clock_monotonic_ms() - began < CANCEL_MS);
    assert_nothing_left(0);
}

/* It is not the next heartbeat, 2 s after the one at the start, that sees it. */
static void test_cancel_woken(void **state)
{
    struct task task TASK_DONE = { 0 };
    int64_t began, took = INT64_MAX;

    (void)state;
    start();
    for (int tries = 0; took >= 1500; tries++) { /* a busy disk may hold a row up */
        assert_true(tries < 3);
        (void)unlink(in_dir("started"));
        submit("gentle", &task);
        wait_until(&task, exists(in_dir("started")));
        began = im_clock_monotonic_ms();
        ok(task_request_cancel(table, "alice", task.id, NULL, &err));
        dispatch_wake(dispatch);
        wait_cancelled(&task, "Cancelled by user");
        took = im_clock_monotonic_ms() - began;
        assert_nothing_left(0);
        task_done(&task);
    }
}

/* Nobody wakes the dispatcher: the next heartbeat sees it. */
static void test_cancel_seen_at_heartbeat(void **state)
{
    struct task task TASK_DONE = { 0 };
    int64_t began;

    (void)state;
    start();
    submit("gentle", &task);
    wait_until(&task, exists(in_dir("started")));
    began = im_clock_monotonic_ms();
    ok(task_request_cancel(table, "alice", task.id, NULL, &err));
    wait_cancelled(&task, "Cancelled by user");
    assert_true(im_clock_monotonic_ms() - began < CANCEL_MS);
    assert_nothing_left(0);
}

/* The cancel comes before the volume is published: the cancel wins, the volume goes. */
static void test_cancel_against_publication(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    touch("go");
    submit("gate", &task);
    wait_until(&task, says(&task, "Progress: 10%"));
    ok(task_request_cancel(table, "alice", task.id, "too late?", &err));
    touch("go2");
    wait_cancelled(&task, "too late?");
    assert_nothing_left(0);
}

/* A child's child that outlives it does not outlive the claim. */
static void test_orphan_ends(void **state)
{
    struct task task TASK_DONE = { 0 };
    pid_t pids[2];

    (void)state;
    start();
    submit("orphan", &task);
    wait_completed(&task);
    assert_int_equal(read_pids(&task, pids), 1);
    wait_until(&task, !is_alive(pids[0]));
}

static void test_stop_releases(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };
    pid_t pids[2];
    int64_t began;

    (void)state;
    start();
    submit("gate", &a);
    submit("hang", &b);
    wait_until(&a, says(&a, "Progress"));
    assert_int_equal(read_pids(&b, pids), 2);
    began = im_clock_monotonic_ms();
    dispatch = dispatch_stop(dispatch);
    assert_true(im_clock_monotonic_ms() - began < CANCEL_MS);
    assert_false(is_alive(pids[0]));
    refresh(&a);
    assert_int_equal(a.state, TASK_ACTIVE);
    assert_int_equal(a.stage[0].deaths + a.stage[0].tries + a.stage[0].waits, 0);
    assert_string_equal(message_of(&a), "Pending");
    assert_nothing_left(0);
    touch("go");
    touch("go2");
    ok(task_request_cancel(table, "alice", b.id, NULL, &err));
    start();
    wait_completed(&a);
    assert_int_equal(a.stage[0].epoch, 2);
    assert_int_equal(a.stage[0].deaths, 0);
    assert_null(dispatch_stop(NULL));
}

/* ---- instances ---- */

static void test_instance(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    start();
    submit_instance("boots", "ok", &task);
    wait_until(&task, task.state == TASK_COMPLETED);
    assert_null(task_message(&task));
    assert_string_equal(task.boot_mode, "uefi");
    assert_volume(&task);
    assert_nothing_left(2);
    assert_int_equal(count_entries(images), 1);
    assert_int_equal(count_entries(instances), 1);
    assert_int_equal(task.stage[2].epoch, 1);
}

/* What is in the launch's way is tried again, and the volumes wait for it. */
static void test_launch_heals(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    make_file(images, "", 0600);
    start();
    submit_instance("ok", "ok", &task);
    wait_until(&task, says(&task, "Progress: 99% : attempt 1 of 8 failed and is repeated: "));
    assert_int_equal(task.stage[2].tries, 1);
    assert_int_equal(count_entries(volumes), 2);
    assert_int_equal(unlink(images), 0);
    wait_until(&task, task.state == TASK_COMPLETED);
}

static void test_launch_gives_up(void **state)
{
    struct task task TASK_DONE = { 0 };
    int64_t next;

    (void)state;
    make_file(images, "", 0600);
    start();
    submit_instance("ok", "ok", &task);
    wait_until(&task, task.stage[2].tries >= 1);
    dispatch = dispatch_stop(dispatch);
    later_ms = 3600 * 1000; /* the pause is over */
    refresh(&task);
    for (unsigned i = task.stage[2].tries; i < 7; i++) { /* and more attempts failed */
        struct claim taken CLAIM_DONE = { 0 };

        ok(task_claim(table, 1000, &taken, &next, &err));
        ok(task_postpone(table, &taken, 0, TASK_TRIED, NULL, &err));
    }
    start();
    wait_until(&task, task.state == TASK_CANCELLED);
    assert_true(says(&task, "ServerError: "));
    assert_true(says(&task, "8 attempts failed, the last one: "));
    assert_nothing_left(0);
}

/* Two workers are busy for long: who cancels another task does not wait for them. */
static void test_removal_needs_no_worker(void **state)
{
    struct task task TASK_DONE = { 0 }, a TASK_DONE = { 0 }, b TASK_DONE = { 0 };

    (void)state;
    start();
    submit_instance("ok", "pending", &task);
    wait_until(&task, task.stage[0].state == STAGE_COMPLETED && task.stage[1].waits > 0);
    submit("gate-a", &a);
    submit("gate-b", &b);
    wait_until(&a, says(&a, "Progress"));
    wait_until(&b, says(&b, "Progress"));
    ok(task_request_cancel(table, "alice", task.id, "enough", &err));
    dispatch_wake(dispatch);
    wait_cancelled(&task, "enough");
    assert_int_equal(count_entries(volumes), 2); /* the directories of those at work */
    refresh(&a);
    assert_int_equal(a.state, TASK_ACTIVE);
    touch("go");
    touch("go2");
    wait_completed(&a);
    wait_completed(&b);
}

/* ---- after a death of the service ---- */

/* Some claim of a task that a dead process worked on, having died `deaths` times in all. */
static void orphan_claim(int deaths, struct claim *ret_claim)
{
    int64_t next;

    for (int i = 1; i <= deaths; i++) {
        ok(task_claim(table, 1000000, ret_claim, &next, &err));
        if (i == deaths)
            return;
        ok(task_postpone(table, ret_claim, 0, TASK_DIED, NULL, &err));
        claim_done(ret_claim);
    }
}

/* The task. */
static void orphan_task(const char *kind, int deaths, struct task *ret_task)
{
    struct claim claim CLAIM_DONE = { 0 };

    insert(kind, ret_task);
    orphan_claim(deaths, &claim);
}

/* The last claim had decided that its part file is the volume of disk 1. */
static void orphan_publishing(struct task *ret_task, int deaths, bool instance)
{
    static const struct stage_result result = { .digest = "sha256:d" };
    struct claim claim CLAIM_DONE = { 0 };

    if (instance)
        insert_instance("ok", "ok", ret_task);
    else
        insert("ok", ret_task);
    orphan_claim(deaths, &claim);
    assert_int_equal(claim.stage->number, 1);
    ok(task_publish(table, &claim, &result, &err));
}

/* Of the task's first disk. */
static const char *part_path(const struct task *task, int epoch)
{
    static char path[192];

    (void)snprintf(path, sizeof(path), "%s/.%s.1.%d.part", volumes, task->id, epoch);
    return path;
}

static const char *volume_path(const struct task *task)
{
    static char path[192];

    (void)snprintf(path, sizeof(path), "%s/%s.raw", volumes, task->stage[0].volume_id);
    return path;
}

static bool says_in(const char *path, const char *text)
{
    char *found IM_FREE = NULL;
    struct im_error none;

    return im_read_file(path, 4096, &found, NULL, &none) == 0 && strcmp(found, text) == 0;
}

/* The third death; but its work was done, and decided: it is published and not done again. */
static void test_recover_publishes(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    orphan_publishing(&task, 3, false);
    make_file(part_path(&task, 3), "mine", 0600);
    make_file(part_path(&task, 2), "of the one before", 0600);
    start();
    wait_completed(&task);
    assert_int_equal(runs("ok"), 0);
    assert_true(says_in(volume_path(&task), "mine"));
    assert_string_equal(task.stage[0].digest, "sha256:d");
    assert_int_equal(task.stage[0].won_epoch, 3);
    assert_nothing_left(1);
}

/* The volume had its name already. */
static void test_recover_completes(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    orphan_publishing(&task, 1, false);
    make_file(volume_path(&task), "mine", 0600);
    start();
    wait_completed(&task);
    assert_int_equal(runs("ok"), 0);
    assert_true(says_in(volume_path(&task), "mine"));
    assert_nothing_left(1);
}

/* Neither part file nor volume is there: no attempt can succeed, and eight would only take time. */
static void test_recover_without_files(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    orphan_publishing(&task, 1, false);
    start();
    wait_until(&task, task.state == TASK_CANCELLED);
    assert_non_null(strstr(task.status_message, "ServerError: "));
    assert_int_equal(task.stage[0].tries, 0);
    assert_int_equal(runs("ok"), 0);
    assert_nothing_left(0);
}

/* Who lost finds its claim gone while it works: it removes what it made and nothing else. */
static void test_zombie_leaves_the_volume(void **state)
{
    struct task task TASK_DONE = { 0 };
    struct claim over CLAIM_DONE = { 0 };
    int64_t next;
    static const struct stage_result result = { .digest = "sha256:w" };

    (void)state;
    start();
    touch("go");
    submit("gate", &task);
    wait_until(&task, says(&task, "Progress: 10%"));
    later_ms = 3600 * 1000; /* its service slept, and another took over */
    ok(task_claim(table, 1000000, &over, &next, &err));
    assert_int_equal(over.stage->epoch, 2);
    make_file(volume_path(&task), "the winner's", 0600);
    ok(task_publish(table, &over, &result, &err));
    ok(task_complete(table, &over, NULL, &err));
    touch("go2");
    dispatch = dispatch_stop(dispatch);
    refresh(&task);
    assert_int_equal(task.state, TASK_COMPLETED);
    assert_int_equal(task.stage[0].won_epoch, 2);
    assert_true(says_in(volume_path(&task), "the winner's"));
    assert_nothing_left(1);
}

static void test_recover_repeats(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    orphan_task("ok", 2, &task);
    start();
    wait_completed(&task);
    assert_int_equal(task.stage[0].deaths, 2);
    assert_int_equal(runs("ok"), 1);
    assert_volume(&task);
}

static void test_recover_gives_up(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    orphan_task("ok", 3, &task);
    start();
    wait_cancelled(&task, "ServerError: an internal error has occurred during conversion: the "
                          "processes that worked on it died 3 times");
    assert_int_equal(runs("ok"), 0);
}

static void test_recover_cancelling(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 }, c TASK_DONE = { 0 };

    (void)state;
    orphan_task("ok", 1, &a);
    make_file(part_path(&a, 1), "", 0600);
    ok(task_request_cancel(table, "alice", a.id, "no", &err));
    orphan_publishing(&b, 1, true);
    make_file(volume_path(&b), "", 0600); /* renamed, but the row was never completed */
    ok(task_request_cancel(table, "alice", b.id, "no", &err));
    orphan_publishing(&c, 1, true);
    make_file(part_path(&c, 1), "", 0600); /* not even renamed */
    ok(task_request_cancel(table, "alice", c.id, "no", &err));
    start();
    wait_cancelled(&a, "no");
    wait_cancelled(&b, "no");
    wait_cancelled(&c, "no");
    assert_int_equal(runs("ok"), 0);
    assert_nothing_left(0);
}

/* What dead claims left goes, as the ledger tells; whatever else is there stays. */
static void test_sweep(void **state)
{
    static const char *const others[] = {
        "volumes/vol-00112233445566778.raw",
        "volumes/.import-vol-0123abcd.1.1.part",
        "volumes/import-vol-0123abcd.1.1.part",
        "volumes/.imaging-toolkit",
        "volumes/lost+found",
        "scratch/import-vol-zzzzzzzz.1.1",
        "scratch/mine",
    };
    static const struct stage_result result = { 0 };
    struct task task TASK_DONE = { 0 };
    char ours[6][64];

    (void)state;
    insert("ok", &task);
    for (int i = 1; i <= 3; i++) { /* two that were given back, and the one that did it */
        struct claim claim CLAIM_DONE = { 0 };
        int64_t next;

        ok(task_claim(table, 1000000, &claim, &next, &err));
        if (i < 3) {
            ok(task_postpone(table, &claim, 0, TASK_TRIED, NULL, &err));
        } else {
            ok(task_publish(table, &claim, &result, &err));
            ok(task_complete(table, &claim, NULL, &err));
        }
    }
    (void)snprintf(ours[0], sizeof(ours[0]), "volumes/.%s.1.1.part", task.id);
    (void)snprintf(ours[1], sizeof(ours[1]), "volumes/.%s.1.2.part.manifest.json", task.id);
    (void)snprintf(ours[2], sizeof(ours[2]), "volumes/.%s.1.2.part.new-4711", task.id);
    (void)snprintf(ours[3], sizeof(ours[3]), "volumes/.imaging-aB3x_9");
    (void)snprintf(ours[4], sizeof(ours[4]), "scratch/%s.1.1", task.id);
    (void)snprintf(ours[5], sizeof(ours[5]), "scratch/%s.1.2", task.id);
    for (size_t i = 0; i < 4; i++)
        touch(ours[i]);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        touch(others[i]);
    /* a link that points out of our directories goes, what it points to does not */
    assert_int_equal(mkdir(in_dir(ours[4]), 0700), 0);
    (void)strcat(ours[4], "/link");
    assert_int_equal(symlink(dir, in_dir(ours[4])), 0);
    *strrchr(ours[4], '/') = '\0';
    assert_int_equal(symlink(dir, in_dir(ours[5])), 0);
    start();
    for (size_t i = 0; i < 6; i++)
        assert_false(exists(in_dir(ours[i])));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (!exists(in_dir(others[i])))
            fail_msg("%s is gone", others[i]);
    assert_true(exists(toolkit));
}

/* Is there a file of that text at NAME in the directory of claim 3? */
static bool is_handed_over(const struct claim_files *files, const char *name)
{
    char *path IM_FREE = im_asprintf("%s/%s", files->dir, name);

    return says_in(path, name);
}

static char *make_named(const char *place, const char *name)
{
    char *path = im_asprintf("%s/%s/%s", volumes, place, name);

    make_file(path, name, 0600);
    return path;
}

/* What earlier claims left to go on with comes to the next one's toolkit: from a directory, or, of
 * an earlier version, from beside the volumes; but for what a process is at, and what is a later
 * claim's: this one may have slept. */
static void test_hand_over(void **state)
{
    static const char *const gone_on[] = { ".import-vol-1.1.1.part.partial",
                                           ".import-vol-1.1.1.part.journal",
                                           ".import-vol-1.1.2.part.partial",
                                           ".import-vol-1.1.2.part.journal" };
    static const char *const stay[] = {
        ".import-vol-1.1.0.part.partial",  ".import-vol-1.1.0.part.journal",
        ".import-vol-1.1.1.part",          ".import-vol-1.2.1.part.partial",
        ".import-vol-1.2.1.part.journal",  ".import-vol-1.1.10.part.partial",
        ".import-vol-1.1.10.part.journal",
    };
    static const char newer[] = ".import-vol-1.1.4.part.job";
    static char task_id[] = "import-vol-1", volume_id[] = "vol-1";
    struct stage stage = { .number = 1, .volume_id = volume_id };
    const struct claim claim = { .task = { .id = task_id }, .stage = &stage };
    struct claim_files files CLAIM_FILES_DONE = { 0 };
    const char *directory = ".import-vol-1.1.2.part.job";
    char *path, *newer_path, *of_newer, *made[sizeof(stay) / sizeof(stay[0])];
    int fd IM_CLOSE = -1;

    (void)state;
    path = im_asprintf("%s/%s", volumes, directory);
    assert_int_equal(mkdir(path, 0700), 0);
    newer_path = im_asprintf("%s/%s", volumes, newer);
    assert_int_equal(mkdir(newer_path, 0700), 0);
    of_newer = make_named(newer, ".import-vol-1.1.0.part.journal"); /* handed over to it */
    for (size_t i = 0; i < sizeof(gone_on) / sizeof(gone_on[0]); i++)
        free(make_named(i < 2 ? "." : directory, gone_on[i]));
    for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
        made[i] = make_named(".", stay[i]);
    fd = open(made[1], O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    ok(claim_files_init(&conf, &claim, 3, &files, &err));
    ok(claim_files_create(&files, &err));
    for (size_t i = 0; i < sizeof(gone_on) / sizeof(gone_on[0]); i++)
        if (!is_handed_over(&files, gone_on[i]))
            fail_msg("%s is not handed over", gone_on[i]);
    for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++) {
        assert_true(says_in(made[i], stay[i]));
        free(made[i]);
    }
    assert_false(exists(path));
    assert_true(exists(of_newer));
    assert_int_equal(count_entries(files.dir), 4);
    claim_files_leave_part(&files); /* and on to the next */
    assert_int_equal(count_entries(files.dir), 4);
    claim_files_remove_part(&files);
    assert_false(exists(files.dir));
    free(path);
    free(newer_path);
    free(of_newer);
}

/* ---- trouble ---- */

static void test_trouble(void **state)
{
    struct task task TASK_DONE = { 0 };
    char buf[512], *text IM_FREE = NULL;

    (void)state;
    log_begin();
    assert_int_equal(unlink(toolkit), 0);
    start();
    text = log_end();
    assert_non_null(strstr(text, "imaging-toolkit was not found"));
    assert_ptr_equal(dispatch_trouble(dispatch, buf, sizeof(buf)), buf);
    assert_non_null(strstr(buf, "imaging-toolkit was not found"));
    assert_non_null(strstr(buf, toolkit));
    insert("ok", &task); /* and nobody wakes the dispatcher */
    make_file(in_dir("plain"), script, 0600);
    assert_int_equal(rename(in_dir("plain"), toolkit), 0);
    assert_non_null(dispatch_trouble(dispatch, buf, sizeof(buf))); /* still not executable */
    refresh(&task);
    assert_int_equal(task.stage[0].epoch, 0);
    assert_string_equal(message_of(&task), "Pending");
    assert_int_equal(chmod(toolkit, 0700), 0);
    assert_null(dispatch_trouble(dispatch, buf, sizeof(buf)));
    wait_completed(&task); /* by itself */

    assert_int_equal(rename(scratch, in_dir("away")), 0);
    assert_non_null(dispatch_trouble(dispatch, buf, sizeof(buf)));
    assert_non_null(strstr(buf, scratch));
    assert_int_equal(rename(in_dir("away"), scratch), 0);
    assert_int_equal(rename(volumes, in_dir("away")), 0);
    assert_non_null(dispatch_trouble(dispatch, buf, sizeof(buf)));
    assert_non_null(strstr(buf, volumes));
    assert_int_equal(rename(in_dir("away"), volumes), 0);
    conf.toolkit = NULL;
    assert_non_null(dispatch_trouble(dispatch, buf, sizeof(buf)));
    conf.toolkit = toolkit;
}

/* It is there and executable, but cannot run: the task waits, nothing is counted against it. */
static void test_unrunnable_toolkit(void **state)
{
    struct task task TASK_DONE = { 0 };

    (void)state;
    make_file(toolkit, "#!/nonexistent/interpreter\n", 0700);
    start();
    submit("ok", &task);
    wait_until(&task, says(&task, "Pending : waiting for the service: "));
    assert_int_equal(task.stage[0].tries + task.stage[0].deaths + task.stage[0].waits, 0);
    assert_nothing_left(0);
    make_file(toolkit, script, 0700);
    wait_completed(&task);
}

#define with_dispatch(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_dispatch(test_completes),
        with_dispatch(test_wake),
        with_dispatch(test_present_at_start),
        with_dispatch(test_progress),
        with_dispatch(test_two_at_once),
        with_dispatch(test_chatty),
        with_dispatch(test_damaged),
        with_dispatch(test_pending),
        with_dispatch(test_pending_cancelled),
        with_dispatch(test_dies),
        with_dispatch(test_dies_once),
        with_dispatch(test_transient),
        with_dispatch(test_transient_ends),
        with_dispatch(test_silent),
        with_dispatch(test_wrong_volume),
        with_dispatch(test_odd_files),
        with_dispatch(test_limits),
        with_dispatch(test_hang_ends),
        with_dispatch(test_swaying_hangs),
        with_dispatch(test_words_of_the_toolkit),
        with_dispatch(test_cancel_group),
        with_dispatch(test_cancel_woken),
        with_dispatch(test_cancel_seen_at_heartbeat),
        with_dispatch(test_cancel_against_publication),
        with_dispatch(test_orphan_ends),
        with_dispatch(test_stop_releases),
        with_dispatch(test_instance),
        with_dispatch(test_launch_heals),
        with_dispatch(test_launch_gives_up),
        with_dispatch(test_removal_needs_no_worker),
        with_dispatch(test_recover_publishes),
        with_dispatch(test_recover_completes),
        with_dispatch(test_recover_without_files),
        with_dispatch(test_zombie_leaves_the_volume),
        with_dispatch(test_recover_repeats),
        with_dispatch(test_recover_gives_up),
        with_dispatch(test_recover_cancelling),
        with_dispatch(test_sweep),
        with_dispatch(test_hand_over),
        with_dispatch(test_trouble),
        with_dispatch(test_unrunnable_toolkit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
