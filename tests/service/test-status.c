/* test-status - counting, and what is told while a database fails or hangs or all threads of the
 * API are busy. */

#include <config.h>

#include <errno.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "base/clock.h"
#include "http/httpd.h"
#include "metrics.h"
#include "status/keeper.h"
#include "status/status.h"

#define DEADLINE_MS 30000
#define API_THREADS 2

/* The HTTP library gives a connection to a thread by the number of its descriptor: so many, of odd
 * and even numbers, keep both busy. */
#define API_CONNECTIONS 12

static char dir[] = "/tmp/test-status.XXXXXX", toolkit[sizeof(dir) + 16];
static char loopback[] = "127.0.0.1";
static struct svc_conf conf;
static struct status_options options;
static char answer[256 * 1024];

static void wait_for(sem_t *event)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_MS / 1000;
    while (sem_timedwait(event, &until) < 0)
        assert_int_equal(errno, EINTR);
}

/* ---- the table: answers, fails or hangs ---- */

static _Atomic int table_result;
static atomic_bool table_hangs;
static sem_t table_called, table_hung, table_go;

static int check_tables(void *tables, struct im_error *err)
{
    (void)tables;
    (void)sem_post(&table_called);
    if (atomic_load(&table_hangs)) {
        (void)sem_post(&table_hung);
        wait_for(&table_go);
    }
    return table_result < 0 ? im_fail(err, -table_result, "the server is away") : 0;
}

static int task_counts(void *tables, struct task_counts *ret_counts, struct im_error *err)
{
    (void)tables;
    (void)err;
    *ret_counts = (struct task_counts){
        .tasks = { [TASK_ACTIVE] = 7, [TASK_COMPLETED] = 41 },
        .waiting = 5,
        .working = 2,
        .oldest_waiting_ms = 12500,
    };
    return 0;
}

static const char *trouble(void *worker, unsigned n, char *buf, size_t size)
{
    const char *const *troubles = worker;

    (void)snprintf(buf, size, "%s", troubles[n] ? troubles[n] : "");
    return troubles[n] ? buf : NULL;
}

static const char *troubles[2];

/* The old one may be running: it is replaced, not written. */
static void write_toolkit(const char *list)
{
    char path[sizeof(toolkit) + 8];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s.new", toolkit);
    file = fopen(path, "w");

    assert_non_null(file);
    (void)fprintf(file, "#!/bin/sh\necho '%s'\n", list);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(rename(path, toolkit), 0);
}

static int setup(void **state)
{
    (void)state;
    write_toolkit("[]");
    conf = (struct svc_conf){
        .status = { .address = loopback },
        .toolkit = toolkit,
        .scratch_dir = dir,
        .connections = 16,
        .workers = 3,
    };
    options = (struct status_options){
        .conf = &conf,
        .trouble = trouble,
        .troubles = 2,
        .worker = troubles,
        .check_tables = check_tables,
        .task_counts = task_counts,
    };
    troubles[0] = troubles[1] = NULL;
    atomic_store(&table_result, 0);
    atomic_store(&table_hangs, false);
    return sem_init(&table_called, 0, 0) < 0 || sem_init(&table_hung, 0, 0) < 0 ||
           sem_init(&table_go, 0, 0) < 0;
}

/* ---- a client ---- */

static int dial(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval deadline = { .tv_sec = DEADLINE_MS / 1000 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void request(int fd, const char *method, const char *path)
{
    char text[200];
    int len = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                       method, path);

    assert_int_equal(send(fd, text, (size_t)len, 0), len);
}

/* The HTTP status; the whole answer in `answer`. */
static int ask(uint16_t port, const char *method, const char *path)
{
    int fd = dial(port);
    size_t len = 0;
    ssize_t n;

    request(fd, method, path);
    do {
        n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0);
        len += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    answer[len] = '\0';
    if (strncmp(answer, "HTTP/1.1 ", 9) != 0)
        fail_msg("%s %s: %s; %zu bytes: %s", method, path, n < 0 ? strerror(errno) : "the end", len,
                 answer);
    (void)close(fd);
    return (int)strtol(answer + 9, NULL, 10);
}

static struct status *start(void)
{
    struct im_error err = { 0 };
    struct status *status = NULL;

    if (status_start(&options, &status, &err) < 0)
        fail_msg("%s", err.message);
    return status;
}

static void wait_for_status(uint16_t port, int wanted)
{
    int64_t until = im_clock_monotonic_ms() + DEADLINE_MS;

    while (ask(port, "GET", "/ready") != wanted) {
        const struct timespec pause = { .tv_nsec = 20000000 };

        assert_true(im_clock_monotonic_ms() < until);
        (void)nanosleep(&pause, NULL);
    }
}

/* ---- counting ---- */

static void every_action_has_a_series(void **state)
{
    const char *action;

    (void)state;
    for (size_t i = 0; (action = svc_api_action(i)); i++)
        assert_string_equal(metric_action(action), action);
    assert_string_equal(metric_action("DescribeEverything\"} 1\n"), "other");
    assert_string_equal(metric_action(NULL), "other");
}

static void other_values_are_counted_together(void **state)
{
    uint64_t before = metric_value(METRIC_RETRIES, "other", NULL);
    uint64_t died = metric_value(METRIC_RETRIES, "Died", NULL);

    (void)state;
    metric_add(METRIC_RETRIES, "Died", NULL, 2);
    metric_add(METRIC_RETRIES, "Bored", NULL, 3);
    metric_add(METRIC_RETRIES, NULL, NULL, 4);
    assert_int_equal(metric_value(METRIC_RETRIES, "Died", NULL), died + 2);
    assert_int_equal(metric_value(METRIC_RETRIES, "other", NULL), before + 7);
    metric_add_number(METRIC_TOOLKIT_EXITS, 6);
    metric_add_number(METRIC_TOOLKIT_EXITS, 77);
    assert_int_equal(metric_value(METRIC_TOOLKIT_EXITS, "6", NULL), 1);
    assert_int_equal(metric_value(METRIC_TOOLKIT_EXITS, "other", NULL), 1);
}

static void failures_of_the_database_are_not_those_of_rows(void **state)
{
    (void)state;
    metric_database(-EHOSTDOWN);
    metric_database(-EIO);
    metric_database(-ESTALE);
    metric_database(-ENOENT);
    metric_database(0);
    assert_int_equal(metric_value(METRIC_DATABASE_FAILURES, "unreachable", NULL), 1);
    assert_int_equal(metric_value(METRIC_DATABASE_FAILURES, "other", NULL), 1);
}

static void latencies_fall_into_buckets(void **state)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(1 << 20);

    (void)state;
    metric_request("CreateTags", 200, 1000);
    metric_request("CreateTags", 200, 1001);
    metric_request("CreateTags", 503, 9000000);
    assert_int_equal(metrics_write(&text), 0);
#define SERIES "imaging_request_duration_seconds"
    assert_non_null(strstr(text.data, SERIES "_bucket{action=\"CreateTags\",le=\"0.001\"} 1\n"));
    assert_non_null(strstr(text.data, SERIES "_bucket{action=\"CreateTags\",le=\"0.002\"} 2\n"));
    assert_non_null(strstr(text.data, SERIES "_bucket{action=\"CreateTags\",le=\"5\"} 2\n"));
    assert_non_null(strstr(text.data, SERIES "_bucket{action=\"CreateTags\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text.data, SERIES "_sum{action=\"CreateTags\"} 9.002001\n"));
    assert_non_null(strstr(text.data, SERIES "_count{action=\"CreateTags\"} 3\n"));
    assert_non_null(
        strstr(text.data, "imaging_requests_total{action=\"CreateTags\",code=\"503\"} 1\n"));
}

/* ---- telling ---- */

static void a_table_that_fails_is_a_reason_and_heals(void **state)
{
    struct status *status = start();
    uint16_t port = status_port(status);

    (void)state;
    wait_for_status(port, 200);
    assert_non_null(strstr(answer, "\r\n\r\nready\n"));
    atomic_store(&table_result, -EHOSTDOWN);
    wait_for_status(port, 503);
    assert_non_null(strstr(answer, "\nthe task table cannot be used: the server is away\n"));
    assert_int_equal(ask(port, "GET", "/live"), 200);
    atomic_store(&table_result, 0);
    wait_for_status(port, 200);
    (void)status_stop(status);
}

static void every_trouble_has_its_line(void **state)
{
    struct status *status;

    (void)state;
    troubles[0] = "the toolkit is gone";
    troubles[1] = "the disk is gone\nwith a line end";
    conf.scratch_reserve = 1u << 30;
    atomic_store(&table_result, -EIO);
    status = start();
    wait_for(&table_called);
    wait_for(&table_called); /* the first look is over */
    assert_int_equal(ask(status_port(status), "GET", "/ready"), 503);
    assert_non_null(strstr(answer, "\nthe toolkit is gone\nthe disk is gone with a line end\n"));
    assert_non_null(strstr(answer, " left, less than scratch-reserve, 1.0 PiB\n"));
    assert_non_null(strstr(answer, "\nthe task table cannot be used"));
    (void)status_stop(status);
}

static void a_format_that_misses_its_program_is_a_note(void **state)
{
    struct status *status;

    (void)state;
    write_toolkit("[{\"kind\":\"format\",\"name\":\"raw\",\"available\":true},"
                  "{\"kind\":\"format\",\"name\":\"qcow2\",\"needs\":\"qemu-img\","
                  "\"available\":false}]");
    status = start();
    wait_for_status(status_port(status), 200);
    assert_non_null(strstr(answer, "\r\n\r\nready\nformat qcow2: qemu-img was not found\n"));
    assert_null(strstr(answer, "raw"));
    (void)status_stop(status);
}

static void a_toolkit_that_talks_nonsense_is_a_reason(void **state)
{
    struct status *status;

    (void)state;
    write_toolkit("fish");
    status = start();
    wait_for(&table_called);
    wait_for(&table_called);
    assert_int_equal(ask(status_port(status), "GET", "/ready"), 503);
    assert_non_null(strstr(answer, "\nimaging-toolkit does not work: "));
    write_toolkit("[]");
    wait_for_status(status_port(status), 200);
    (void)status_stop(status);
}

static void a_table_that_hangs_delays_no_answer(void **state)
{
    struct status *status;
    uint16_t port;

    (void)state;
    atomic_store(&table_hangs, true);
    status = start();
    port = status_port(status);
    wait_for(&table_hung); /* it hangs now, and so does whoever would wait for it */
    assert_int_equal(ask(port, "GET", "/live"), 200);
    assert_int_equal(ask(port, "GET", "/metrics"), 200);
    assert_non_null(strstr(answer, "\nimaging_ready 0\n"));
    assert_null(strstr(answer, "imaging_tasks{"));
    assert_int_equal(ask(port, "GET", "/ready"), 503);
    atomic_store(&table_hangs, false);
    (void)sem_post(&table_go);
    wait_for_status(port, 200);
    (void)status_stop(status);
}

static void a_look_without_end_is_a_reason(void **state)
{
    struct keeper_view *view = calloc(1, sizeof(*view));
    struct im_error err = { 0 };
    struct keeper *keeper = NULL;
    int64_t now;

    (void)state;
    assert_non_null(view);
    assert_int_equal(keeper_start(&options, &keeper, &err), 0);
    wait_for(&table_called);
    wait_for(&table_called); /* the first look is over */
    atomic_store(&table_hangs, true);
    wait_for(&table_hung);
    now = im_clock_monotonic_ms();
    keeper_view(keeper, now, view);
    assert_true(view->ready);
    keeper_view(keeper, now + 6000, view);
    assert_false(view->ready);
    assert_non_null(strstr(view->reasons, "the task table has not answered for "));
    atomic_store(&table_hangs, false);
    (void)sem_post(&table_go);
    (void)keeper_stop(keeper);
    free(view);
}

static void what_the_table_counts_is_shown(void **state)
{
    struct status *status = start();
    uint16_t port = status_port(status);

    (void)state;
    wait_for_status(port, 200);
    assert_int_equal(ask(port, "GET", "/metrics"), 200);
    assert_non_null(strstr(answer, "\nimaging_tasks{state=\"active\"} 7\n"));
    assert_non_null(strstr(answer, "\nimaging_tasks{state=\"cancelled\"} 0\n"));
    assert_non_null(strstr(answer, "\nimaging_tasks{state=\"completed\"} 41\n"));
    assert_non_null(strstr(answer, "\nimaging_stages_waiting 5\n"));
    assert_non_null(strstr(answer, "\nimaging_stages_working 2\n"));
    assert_non_null(strstr(answer, "\nimaging_oldest_waiting_stage_age_seconds 12.5\n"));
    assert_non_null(strstr(answer, "\nimaging_workers 3\n"));
    (void)status_stop(status);
}

static void who_stops_is_not_ready(void **state)
{
    struct status *status = start();
    uint16_t port = status_port(status);

    (void)state;
    wait_for_status(port, 200);
    status_stopping(status);
    assert_int_equal(ask(port, "GET", "/ready"), 503);
    assert_non_null(strstr(answer, "\nstopping: "));
    assert_int_equal(ask(port, "GET", "/live"), 200);
    (void)status_stop(status);
}

/* ---- beside the API ---- */

static sem_t handler_called, handler_go;

static void *block(void *service, const struct svc_request *asked, struct svc_response *response)
{
    (void)service;
    (void)asked;
    (void)sem_post(&handler_called);
    wait_for(&handler_go);
    response->status = 200;
    return NULL;
}

static const struct svc_handler blocking = { .begin = block };

static void busy_threads_of_the_api_delay_no_answer(void **state)
{
    const struct svc_httpd_options api = { .address = loopback,
                                           .connections = 16,
                                           .threads = API_THREADS,
                                           .idle_s = 60,
                                           .request_s = 60,
                                           .quiet = true };
    const struct svc_route route = { .path = "", .handler = &blocking };
    struct im_error err = { 0 };
    struct svc_httpd *httpd = NULL;
    struct status *status;
    int fd[2 * API_CONNECTIONS];
    int64_t end_ms;

    (void)state;
    (void)sem_init(&handler_called, 0, 0);
    (void)sem_init(&handler_go, 0, 0);
    assert_int_equal(svc_httpd_open(&api, &httpd, &err), 0);
    assert_int_equal(svc_httpd_serve(httpd, &route, 1, &err), 0);
    options.api = httpd;
    status = start();
    wait_for_status(status_port(status), 200);
    for (int i = 0; i < API_CONNECTIONS; i++) {
        fd[2 * i] = dial(svc_httpd_port(httpd));
        request(fd[2 * i], "GET", "/");
        fd[2 * i + 1] = dup(STDIN_FILENO);
    }
    for (int i = 0; i < API_THREADS; i++)
        wait_for(&handler_called);
    end_ms = im_clock_monotonic_ms() + DEADLINE_MS;
    assert_int_equal(ask(status_port(status), "GET", "/ready"), 200);
    do /* the last of them may not be taken in yet */
        assert_int_equal(ask(status_port(status), "GET", "/metrics"), 200);
    while (!strstr(answer, "\nimaging_connections 12\n") && im_clock_monotonic_ms() < end_ms);
    assert_non_null(strstr(answer, "\nimaging_connections 12\n"));
    for (int i = 0; i < API_CONNECTIONS; i++)
        (void)sem_post(&handler_go);
    for (int i = 0; i < 2 * API_CONNECTIONS; i++)
        (void)close(fd[i]);
    (void)svc_httpd_stop(httpd);
    (void)status_stop(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_action_has_a_series),
        cmocka_unit_test(other_values_are_counted_together),
        cmocka_unit_test(failures_of_the_database_are_not_those_of_rows),
        cmocka_unit_test(latencies_fall_into_buckets),
        cmocka_unit_test_setup(a_table_that_fails_is_a_reason_and_heals, setup),
        cmocka_unit_test_setup(every_trouble_has_its_line, setup),
        cmocka_unit_test_setup(a_format_that_misses_its_program_is_a_note, setup),
        cmocka_unit_test_setup(a_toolkit_that_talks_nonsense_is_a_reason, setup),
        cmocka_unit_test_setup(a_table_that_hangs_delays_no_answer, setup),
        cmocka_unit_test_setup(a_look_without_end_is_a_reason, setup),
        cmocka_unit_test_setup(what_the_table_counts_is_shown, setup),
        cmocka_unit_test_setup(who_stops_is_not_ready, setup),
        cmocka_unit_test_setup(busy_threads_of_the_api_delay_no_answer, setup),
    };
    int failed;

    (void)signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(dir))
        return 99;
    (void)snprintf(toolkit, sizeof(toolkit), "%s/toolkit", dir);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(toolkit);
    (void)rmdir(dir);
    return failed;
}
