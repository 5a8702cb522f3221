/* status - /live, /ready and /metrics over plain HTTP. */

#include <config.h>

#include "status/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "http/message.h"
#include "metrics.h"
#include "status/keeper.h"

/* A few load balancers and Prometheus servers ask, each over a connection or two. */
#define CONNECTIONS 64

/* Answers are made at once; the second thread is for whoever comes while one sends. */
#define THREADS 2

/* Scrapes come up to a minute apart; a request has no body and comes in one piece. */
#define IDLE_S    70
#define REQUEST_S 10

#define TEXT_TYPE    "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct status {
    struct status_options options;
    struct keeper *keeper;
    struct svc_httpd *httpd;
    struct svc_route route;
    int64_t started_ms;
};

/* ---- answers ---- */

static void answer(struct svc_response *response, unsigned status, const char *text)
{
    im_buffer_clear(&response->body);
    response->status = status;
    response->content_type = TEXT_TYPE;
    (void)im_buffer_puts(&response->body, text);
}

/* A response without a body is still an answer: what counts is its status. */
static void tell_ready(const struct keeper_view *view, struct svc_response *response)
{
    answer(response, view->ready ? 200 : 503, view->ready ? "ready\n" : "not ready\n");
    (void)im_buffer_puts(&response->body, view->reasons);
    (void)im_buffer_puts(&response->body, view->notes);
}

static int write_tasks(struct im_buffer *out, const struct task_counts *counts)
{
    const char *help = "Conversion tasks in the table, by state.";
    int r = 0;

    for (unsigned i = 0; r == 0 && i <= TASK_COMPLETED; i++) {
        char label[40];

        (void)snprintf(label, sizeof(label), "state=\"%s\"", task_state_name((enum task_state)i));
        r = metric_gauge(out, "imaging_tasks", help, label, (double)counts->tasks[i]);
        help = NULL;
    }
    if (r == 0)
        r = metric_gauge(out, "imaging_stages_waiting",
                         "Stages that are due and that nobody works on.", NULL,
                         (double)counts->waiting);
    if (r == 0)
        r = metric_gauge(out, "imaging_stages_working", "Stages somebody works on.", NULL,
                         (double)counts->working);
    if (r == 0)
        r = metric_gauge(out, "imaging_oldest_waiting_stage_age_seconds",
                         "Since when the stage that has waited longest is due.", NULL,
                         (double)counts->oldest_waiting_ms / 1000);
    return r;
}

static int write_scratch(struct im_buffer *out, const struct keeper_view *view, uint64_t reserve)
{
    int r =
        metric_gauge(out, "imaging_scratch_size_bytes",
                     "Size of the file system of the scratch directory.", NULL, view->scratch_size);

    if (r == 0)
        r = metric_gauge(out, "imaging_scratch_free_bytes", "What is left of it.", NULL,
                         view->scratch_free);
    if (r == 0)
        r = metric_gauge(out, "imaging_scratch_used_bytes", "What is not left of it.", NULL,
                         view->scratch_size - view->scratch_free);
    if (r == 0)
        r = metric_gauge(out, "imaging_scratch_reserve_bytes",
                         "With less left than this the service is not ready.", NULL,
                         (double)reserve);
    return r;
}

static int write_service(const struct status *status, const struct keeper_view *view,
                         int64_t now_ms, struct im_buffer *out)
{
    const struct status_options *options = &status->options;
    int r = metric_gauge(out, "imaging_build_info", "The version that runs.",
                         "version=\"" PACKAGE_VERSION "\"", 1);

    if (r == 0)
        r = metric_gauge(out, "imaging_start_time_seconds", "When it was started, since 1970.",
                         NULL, (double)status->started_ms / 1000);
    if (r == 0)
        r = metric_gauge(out, "imaging_ready", "1 when /ready says so, else 0.", NULL, view->ready);
    if (r == 0 && view->look_ms > 0)
        r = metric_gauge(out, "imaging_last_look_age_seconds",
                         "Since when the gauges below are known.", NULL,
                         (double)(now_ms - view->look_ms) / 1000);
    if (r == 0)
        r = metric_gauge(out, "imaging_workers", "Stages this service works on at once, at most.",
                         NULL, options->conf->workers);
    if (r == 0 && options->api)
        r = metric_gauge(out, "imaging_connections", "Connections to the API that are open.", NULL,
                         (double)svc_httpd_connections(options->api));
    return r;
}

static void tell_metrics(const struct status *status, const struct keeper_view *view,
                         int64_t now_ms, struct svc_response *response)
{
    struct im_buffer *out = &response->body;
    int r;

    answer(response, 200, "");
    response->content_type = METRICS_TYPE;
    r = metrics_write(out);
    if (r == 0)
        r = write_service(status, view, now_ms, out);
    if (r == 0 && view->has_scratch)
        r = write_scratch(out, view, (uint64_t)status->options.conf->scratch_reserve << 20);
    if (r == 0 && view->has_counts)
        r = write_tasks(out, &view->counts);
    if (r < 0)
        answer(response, 500, "out of memory\n");
}

/* ---- requests ---- */

static void *begin(void *arg, const struct svc_request *request, struct svc_response *response)
{
    const struct status *status = arg;
    int64_t now_ms = im_clock_monotonic_ms();
    struct keeper_view *view IM_FREE = malloc(sizeof(*view)); /* large for a stack */

    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        answer(response, 405, "only GET and HEAD\n");
        svc_response_field(response, "Allow", "GET, HEAD");
        return NULL;
    }
    if (!view) {
        answer(response, 503, "out of memory\n");
        return NULL;
    }
    keeper_view(status->keeper, now_ms, view);
    if (strcmp(request->path, "/live") == 0)
        answer(response, 200, "live\n");
    else if (strcmp(request->path, "/ready") == 0)
        tell_ready(view, response);
    else if (strcmp(request->path, "/metrics") == 0) {
        tell_metrics(status, view, now_ms, response);
        keeper_want_counts(status->keeper);
    } else
        answer(response, 404, "there are /live, /ready and /metrics\n");
    return NULL;
}

static void malformed(const struct svc_request *request, struct svc_response *response,
                      const char *reason)
{
    (void)request;
    answer(response, 400, "the HTTP request is not valid: ");
    (void)im_buffer_printf(&response->body, "%s\n", reason);
}

/* begin answers everything: no body is ever taken. */
static const struct svc_handler handler = { .begin = begin, .malformed = malformed };

static int serve(struct status *status, struct im_error *err)
{
    const struct svc_conf *conf = status->options.conf;
    const struct svc_httpd_options options = {
        .address = conf->status.address,
        .port = conf->status.port,
        .connections = CONNECTIONS,
        .other_connections = conf->connections,
        .threads = THREADS,
        .idle_s = IDLE_S,
        .request_s = REQUEST_S,
        .quiet = true,
    };
    int r = svc_httpd_open(&options, &status->httpd, err);

    status->route = (struct svc_route){ .path = "", .handler = &handler, .service = status };
    if (r == 0)
        r = keeper_start(&status->options, &status->keeper, err);
    return r < 0 ? r : svc_httpd_serve(status->httpd, &status->route, 1, err);
}

int status_start(const struct status_options *options, struct status **ret_status,
                 struct im_error *err)
{
    struct status *status = calloc(1, sizeof(*status));
    int r;

    if (!status)
        return im_fail(err, ENOMEM, "out of memory");
    status->options = *options;
    status->started_ms = im_clock_now_ms();
    r = serve(status, err);
    if (r < 0) {
        (void)status_stop(status);
        return r;
    }
    *ret_status = status;
    return 0;
}

uint16_t status_port(const struct status *status)
{
    return svc_httpd_port(status->httpd);
}

void status_stopping(struct status *status)
{
    if (status)
        keeper_stopping(status->keeper);
}

struct status *status_stop(struct status *status)
{
    if (!status)
        return NULL;
    status->httpd = svc_httpd_stop(status->httpd);
    status->keeper = keeper_stop(status->keeper);
    free(status);
    return NULL;
}
