/* load - the load generator of `make bench-api`, in three parts: what is asked for, the requests
 * (load-request.c) and the clients (load-client.c).
 *
 * One thread: it shares two cores with the service, and what it costs is measured, too. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aws/sigv4.h"
#include "base/buffer.h"
#include "base/error.h"

enum load_signing {
    LOAD_SIGN_EACH, /* as clients do: afresh for every request */
    LOAD_SIGN_ONCE, /* the same bytes again and again: what signing costs the clients */
    LOAD_SIGN_NONE, /* no Authorization at all */
};

/* What is asked for. */
struct load_plan {
    uint64_t port;        /* on 127.0.0.1 */
    uint64_t connections; /* kept alive, one request at a time on each */
    uint64_t warm_ms;     /* before anything is counted */
    uint64_t run_ms;      /* counted */
    uint64_t requests;    /* stop after so many answers; 0: run_ms ends the run */
    uint64_t rate;        /* requests a second, at even distances; 0: as fast as answers come */
    uint64_t status;      /* every answer must have this HTTP status … */
    uint64_t tasks;       /* … and tell of so many tasks */
    uint64_t watch;       /* process whose CPU time is told; 0: none */
    enum load_signing signing;
    const char *path, *body;
    struct im_sigv4_key key;
};

/* What came of it.  Times in microseconds. */
struct load_result {
    uint64_t answers, wrong; /* of the counted part; wrong ones are also answers */
    uint64_t wall_us, client_us, watched_us;
    uint64_t mean_us, p50_us, p99_us, max_us;
    uint64_t body; /* bytes of the last answer's body */
    char first_wrong[300];
};

/* The latencies of a run, in steps of LOAD_STEP_US. */
#define LOAD_STEP_US 10
#define LOAD_STEPS   500000 /* five seconds; longer ones count as this */

struct load_times {
    uint32_t count[LOAD_STEPS];
    uint64_t total, sum_us, max_us;
};

void load_times_add(struct load_times *times, uint64_t us);

/* The time below which `percent` of all lie, rounded up to a step; 0 when there are none. */
uint64_t load_times_percentile(const struct load_times *times, unsigned percent);

/* Append a whole request, signed for this second, to out.  0, or -errno with err. */
int load_request(const struct load_plan *plan, int64_t now_ms, struct im_buffer *out,
                 struct im_error *err);

/* Run the plan against the service.  0, or -errno with err when a connection broke or no answer
 * came; answers that are not what they must be are counted in the result. */
int load_run(const struct load_plan *plan, struct load_result *ret_result, struct im_error *err);

/* CPU time that a process and its ended children have used; 0 for process 0 and for one that is
 * gone. */
uint64_t load_cpu_us(uint64_t pid);

/* Microseconds of a clock that never jumps. */
uint64_t load_now_us(void);
