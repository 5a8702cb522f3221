/* load - clients that keep a service busy; what it answers, how fast, and what that costs.
 *
 *   load PORT [OPTION=VALUE]...        see `options` below
 *   load sign [OPTION=VALUE]...        no service: only make signed requests
 *
 * The keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.  One JSON object goes to standard
 * output.  Only for `make bench-api`. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/text.h"
#include "load.h"

/* Connections at once; a service takes under a thousand. */
#define CONNECTIONS_MAX 1000

/* Milliseconds of a run, and answers and requests a second. */
#define COUNT_MAX 10000000

/* Bytes of /proc/PID/stat. */
#define STAT_MAX 4096

/* ---- times ---- */

uint64_t load_now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void load_times_add(struct load_times *times, uint64_t us)
{
    uint64_t step = us / LOAD_STEP_US;

    times->count[step < LOAD_STEPS ? step : LOAD_STEPS - 1]++;
    times->total++;
    times->sum_us += us;
    if (us > times->max_us)
        times->max_us = us;
}

uint64_t load_times_percentile(const struct load_times *times, unsigned percent)
{
    uint64_t wanted = (times->total * percent + 99) / 100, seen = 0;

    for (size_t i = 0; i < LOAD_STEPS && wanted > 0; i++) {
        seen += times->count[i];
        if (seen >= wanted)
            return (i + 1) * LOAD_STEP_US;
    }
    return 0;
}

/* Fields 14 to 17 of /proc/PID/stat: utime, stime, cutime, cstime, in clock ticks (proc(5)). */
uint64_t load_cpu_us(uint64_t pid)
{
    char path[40], *text IM_FREE = NULL, *rest, *field;
    uint64_t ticks = 0, value;
    int place = 2;

    (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
    if (pid == 0 || im_read_file(path, STAT_MAX, &text, NULL, NULL) < 0 || !strrchr(text, ')'))
        return 0;
    for (field = strtok_r(strrchr(text, ')') + 1, " \n", &rest); field && place < 17;
         field = strtok_r(NULL, " \n", &rest))
        if (++place >= 14 && im_parse_uint(field, UINT64_MAX / 1000000, &value) == 0)
            ticks += value;
    return ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* ---- the command line ---- */

static int set_signing(struct load_plan *plan, const char *value)
{
    static const char *const names[] = { "each", "once", "none" };

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(value, names[i]) == 0) {
            plan->signing = (enum load_signing)i;
            return 0;
        }
    return -EINVAL;
}

static int set_option(struct load_plan *plan, const char *name, const char *value)
{
    const struct {
        const char *name;
        uint64_t *slot;
        uint64_t max;
    } options[] = {
        { "connections", &plan->connections, CONNECTIONS_MAX },
        { "warm-ms", &plan->warm_ms, COUNT_MAX },
        { "run-ms", &plan->run_ms, COUNT_MAX },
        { "requests", &plan->requests, COUNT_MAX },
        { "rate", &plan->rate, COUNT_MAX },
        { "status", &plan->status, 599 },
        { "tasks", &plan->tasks, COUNT_MAX },
        { "watch", &plan->watch, INT32_MAX },
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (strcmp(name, options[i].name) == 0)
            return im_parse_uint(value, options[i].max, options[i].slot);
    if (strcmp(name, "signing") == 0)
        return set_signing(plan, value);
    if (strcmp(name, "path") == 0)
        plan->path = value;
    else if (strcmp(name, "body") == 0)
        plan->body = value;
    else
        return -EINVAL;
    return 0;
}

static int parse(int argc, char **argv, struct load_plan *plan, struct im_error *err)
{
    for (int i = 2; i < argc; i++) {
        char *equals = strchr(argv[i], '=');

        if (equals)
            *equals = '\0';
        if (!equals || set_option(plan, argv[i], equals + 1) < 0)
            return im_fail(err, EINVAL, "'%.40s' is no option with a value it can have", argv[i]);
    }
    if (plan->connections == 0 || !plan->key.access_key || !plan->key.secret_key)
        return im_fail(err, EINVAL,
                       "at least one connection, and the keys in the environment, are "
                       "needed");
    return 0;
}

/* ---- what it does ---- */

/* Only make requests, as fast as one core can. */
static int only_sign(const struct load_plan *plan, struct load_result *ret_result,
                     struct im_error *err)
{
    struct im_buffer request IM_BUFFER_DONE = IM_BUFFER((size_t)128 << 10);
    uint64_t began_us = load_now_us(), cpu_us = load_cpu_us((uint64_t)getpid());
    int r = 0;

    while (r == 0 && load_now_us() - began_us < plan->run_ms * 1000) {
        im_buffer_clear(&request);
        r = load_request(plan, im_clock_now_ms(), &request, err);
        ret_result->answers++;
    }
    ret_result->wall_us = load_now_us() - began_us;
    ret_result->client_us = load_cpu_us((uint64_t)getpid()) - cpu_us;
    return r;
}

static void print(const struct load_result *result)
{
    printf("{\"answers\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"wall_us\": %" PRIu64
           ", \"client_us\": %" PRIu64 ", \"watched_us\": %" PRIu64 ", \"mean_us\": %" PRIu64
           ", \"p50_us\": %" PRIu64 ", \"p99_us\": %" PRIu64 ", \"max_us\": %" PRIu64
           ", \"body\": %" PRIu64 "}\n",
           result->answers, result->wrong, result->wall_us, result->client_us, result->watched_us,
           result->mean_us, result->p50_us, result->p99_us, result->max_us, result->body);
    if (result->wrong > 0)
        fprintf(stderr, "load: %" PRIu64 " wrong answers, the first: %s\n", result->wrong,
                result->first_wrong);
}

int main(int argc, char **argv)
{
    struct load_plan plan = {
        .connections = 1,
        .status = 200,
        .path = "/",
        .body = "",
        .key = {
            .access_key = getenv("AWS_ACCESS_KEY_ID"),
            .secret_key = getenv("AWS_SECRET_ACCESS_KEY"),
            .region = "us-east-1",
            .service = "ec2",
        },
    };
    struct load_result result = { 0 };
    struct im_error err = { 0 };
    bool sign = argc > 1 && strcmp(argv[1], "sign") == 0;
    int r = -EINVAL;

    if (argc < 2 || (!sign && im_parse_uint(argv[1], UINT16_MAX, &plan.port) < 0))
        (void)im_fail(&err, EINVAL, "usage: load PORT|sign [OPTION=VALUE]...");
    else
        r = parse(argc, argv, &plan, &err);
    if (r == 0)
        r = sign ? only_sign(&plan, &result, &err) : load_run(&plan, &result, &err);
    if (r < 0) {
        im_error_print("load", &err);
        return r == -EINVAL ? IM_USAGE : IM_FAILED;
    }
    print(&result);
    return IM_OK;
}
