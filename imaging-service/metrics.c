/* metrics - what the service counts about itself.
 *
 * One array of atomic numbers, addressed by metric and places of the labels' values in their lists.
 * The last place of every list is "other". */

#include <config.h>

#include "metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Values of one label, with "other"; the list of HTTP statuses is the longest. */
#define VALUES_MAX 28

/* A label: its name and its values; what is in none of them is "other". */
struct label {
    const char *name;
    const char *values[VALUES_MAX];
};

/* What a request asked for.  Actions of the query API, then what the object store does. */
static const struct label actions = {
    "action",
    { "CancelConversionTask", "CreateTags", "DeleteTags", "DescribeConversionTasks",
      "ImportInstance", "ImportVolume", "CreateBucket", "DeleteObject", "GetObject", "HeadBucket",
      "HeadObject", "ListBuckets", "ListObjects", "PutObject" },
};

static const struct label statuses = {
    "code",
    { "200", "204", "206", "304", "400", "401", "403", "404", "405", "409", "411", "412", "413",
      "416", "500", "501", "503", "507" },
};

static const struct label auth_reasons = {
    "reason",
    { "AuthFailure", "SignatureDoesNotMatch", "RequestExpired", "IncompleteSignature",
      "MissingParameter", "InvalidParameterValue", "InvalidRequest", "AccessDenied",
      "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "ExpiredToken",
      "InvalidAccessKeyId", "InvalidArgument", "InvalidToken", "InvalidURI", "NotImplemented",
      "RequestTimeTooSkewed" },
};

static const struct label limits = { "limit", { "total", "address" } };
static const struct label kinds = { "kind", { "convert", "launch" } };
static const struct label ends = { "result", { "completed", "cancelled" } };
static const struct label exits = { "status",
                                    { "0", "1", "2", "3", "4", "5", "6", "7", "8", "130" } };
static const struct label signals = { "signal",
                                      { "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGKILL",
                                        "SIGSEGV", "SIGSYS", "SIGTERM", "SIGXCPU", "SIGXFSZ" } };
static const struct label causes = { "cause",
                                     { "ConnectionFailed", "Died", "Internal", "PendingUpload",
                                       "ServerBusy", "StoreAway", "TimedOut", "TryAgain",
                                       "UntrustedCertificate" } };
static const struct label database_reasons = {
    "reason", { "unreachable", "aborted", "locked", "no-space", "read-only", "damaged" }
};

/* In the order of enum metric. */
static const struct {
    const char *name, *help;
    const struct label *label[2];
} metrics[METRICS] = {
    [METRIC_REQUESTS] = { "imaging_requests_total",
                          "Requests answered, by action and HTTP status.",
                          { &actions, &statuses } },
    [METRIC_THROTTLED] = { "imaging_requests_throttled_total",
                           "Requests refused because the account calls the action too often.",
                           { &actions } },
    [METRIC_AUTH_FAILURES] = { "imaging_auth_failures_total",
                               "Requests refused because of their signature, by the error code.",
                               { &auth_reasons } },
    [METRIC_CONNECTIONS_REFUSED] = { "imaging_connections_refused_total",
                                     "Connections turned away, by the limit they were above.",
                                     { &limits } },
    [METRIC_CLAIMS] = { "imaging_stage_claims_total",
                        "Stages of tasks claimed by this service.",
                        { &kinds } },
    [METRIC_TAKEOVERS] = { "imaging_lease_takeovers_total",
                           "Claims of stages whose earlier worker let its lease run out.",
                           { 0 } },
    [METRIC_STALE_WRITES] = { "imaging_stale_epoch_refusals_total",
                              "Writes refused because another claim has been made since.",
                              { 0 } },
    [METRIC_STAGES_ENDED] = { "imaging_stages_ended_total",
                              "Stages of tasks this service ended.",
                              { &ends } },
    [METRIC_BYTES_IN] = { "imaging_conversion_input_bytes_total",
                          "Bytes of disk images converted.",
                          { 0 } },
    [METRIC_BYTES_OUT] = { "imaging_conversion_output_bytes_total",
                           "Bytes of data in published volumes, without their holes.",
                           { 0 } },
    [METRIC_TOOLKIT_EXITS] = { "imaging_toolkit_exits_total",
                               "Runs of imaging-toolkit that ended by themselves, by exit status.",
                               { &exits } },
    [METRIC_TOOLKIT_SIGNALS] = { "imaging_toolkit_signals_total",
                                 "Runs of imaging-toolkit ended by a signal.",
                                 { &signals } },
    [METRIC_RETRIES] = { "imaging_stage_retries_total",
                         "Stages given back to be tried again, by cause.",
                         { &causes } },
    [METRIC_DATABASE_FAILURES] = { "imaging_database_failures_total",
                                   "Calls of the database that failed.",
                                   { &database_reasons } },
    [METRIC_UPLOAD_DELETE_FAILURES] = { "imaging_upload_delete_failures_total",
                                        "Attempts to delete a finished upload that failed.",
                                        { 0 } },
};

static _Atomic uint64_t counts[METRICS][VALUES_MAX][VALUES_MAX];

/* Upper bounds of the latency histogram, microseconds. */
static const uint64_t bounds_us[] = { 1000,   2000,   5000,   10000,   20000,   50000,
                                      100000, 200000, 500000, 1000000, 2000000, 5000000 };
#define BOUNDS (sizeof(bounds_us) / sizeof(bounds_us[0]))

static struct {
    _Atomic uint64_t bucket[BOUNDS + 1]; /* the last: longer than all bounds */
    _Atomic uint64_t sum_us;
} latency[VALUES_MAX];

/* Place of "other". */
static size_t other_of(const struct label *label)
{
    size_t n = 0;

    while (n < VALUES_MAX - 1 && label->values[n])
        n++;
    return n;
}

/* Place of the value; 0 of a label there is not. */
static size_t place_of(const struct label *label, const char *value)
{
    size_t n = 0;

    if (!label)
        return 0;
    while (n < VALUES_MAX - 1 && label->values[n] &&
           (!value || strcmp(label->values[n], value) != 0))
        n++;
    return n;
}

static const char *value_at(const struct label *label, size_t place)
{
    return label->values[place] ? label->values[place] : "other";
}

static _Atomic uint64_t *cell(enum metric metric, const char *first, const char *second)
{
    const struct label *const *label = metrics[metric].label;

    return &counts[metric][place_of(label[0], first)][place_of(label[1], second)];
}

void metric_add(enum metric metric, const char *first, const char *second, uint64_t n)
{
    if (n > 0)
        (void)atomic_fetch_add_explicit(cell(metric, first, second), n, memory_order_relaxed);
}

void metric_add_number(enum metric metric, int value)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%d", value);
    metric_add(metric, text, NULL, 1);
}

uint64_t metric_value(enum metric metric, const char *first, const char *second)
{
    return atomic_load_explicit(cell(metric, first, second), memory_order_relaxed);
}

void metric_database(int r)
{
    const char *reason;

    switch (r) {
    case -EHOSTDOWN:
        reason = "unreachable";
        break;
    case -ECONNABORTED:
        reason = "aborted";
        break;
    case -ETIMEDOUT:
        reason = "locked";
        break;
    case -ENOSPC:
        reason = "no-space";
        break;
    case -EROFS:
        reason = "read-only";
        break;
    case -EBADMSG:
        reason = "damaged";
        break;
    case -EIO:
        reason = NULL;
        break;
    default:
        return;
    }
    metric_add(METRIC_DATABASE_FAILURES, reason, NULL, 1);
}

void metric_request(const char *action, unsigned http_status, uint64_t took_us)
{
    size_t place = place_of(&actions, action), bucket = 0;
    char status[16];

    (void)snprintf(status, sizeof(status), "%u", http_status);
    metric_add(METRIC_REQUESTS, action, status, 1);
    while (bucket < BOUNDS && took_us > bounds_us[bucket])
        bucket++;
    (void)atomic_fetch_add_explicit(&latency[place].sum_us, took_us, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&latency[place].bucket[bucket], 1, memory_order_relaxed);
}

const char *metric_action(const char *action)
{
    return value_at(&actions, place_of(&actions, action));
}

/* ---- the text ---- */

static int write_head(struct im_buffer *out, const char *name, const char *type, const char *help)
{
    return im_buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static int write_count(struct im_buffer *out, enum metric metric, size_t first, size_t second)
{
    const struct label *const *label = metrics[metric].label;
    const char *name = metrics[metric].name;
    uint64_t n = atomic_load_explicit(&counts[metric][first][second], memory_order_relaxed);

    if (!label[0])
        return im_buffer_printf(out, "%s %" PRIu64 "\n", name, n);
    if (!label[1])
        return im_buffer_printf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label[0]->name,
                                value_at(label[0], first), n);
    if (n == 0) /* most pairs never occur */
        return 0;
    return im_buffer_printf(out, "%s{%s=\"%s\",%s=\"%s\"} %" PRIu64 "\n", name, label[0]->name,
                            value_at(label[0], first), label[1]->name, value_at(label[1], second),
                            n);
}

static int write_counter(struct im_buffer *out, enum metric metric)
{
    const struct label *const *label = metrics[metric].label;
    size_t firsts = label[0] ? other_of(label[0]) : 0;
    size_t seconds = label[1] ? other_of(label[1]) : 0;
    int r = write_head(out, metrics[metric].name, "counter", metrics[metric].help);

    for (size_t i = 0; r == 0 && i <= firsts; i++)
        for (size_t j = 0; r == 0 && j <= seconds; j++)
            r = write_count(out, metric, i, j);
    return r;
}

#define LATENCY "imaging_request_duration_seconds"

/* Buckets are read one after the other while others count: the sum of those read is the count, so
 * that what is told agrees with itself. */
static int write_latency_of(struct im_buffer *out, size_t place)
{
    const char *action = value_at(&actions, place);
    double sum = (double)atomic_load_explicit(&latency[place].sum_us, memory_order_relaxed);
    uint64_t count = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < BOUNDS; i++) {
        count += atomic_load_explicit(&latency[place].bucket[i], memory_order_relaxed);
        r = im_buffer_printf(out, LATENCY "_bucket{action=\"%s\",le=\"%g\"} %" PRIu64 "\n", action,
                             (double)bounds_us[i] / 1e6, count);
    }
    count += atomic_load_explicit(&latency[place].bucket[BOUNDS], memory_order_relaxed);
    if (r == 0)
        r = im_buffer_printf(out,
                             LATENCY "_bucket{action=\"%s\",le=\"+Inf\"} %" PRIu64 "\n" LATENCY
                                     "_sum{action=\"%s\"} %.6f\n" LATENCY
                                     "_count{action=\"%s\"} %" PRIu64 "\n",
                             action, count, action, sum / 1e6, action, count);
    return r;
}

int metrics_write(struct im_buffer *out)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < METRICS; i++)
        r = write_counter(out, (enum metric)i);
    if (r == 0)
        r = write_head(out, LATENCY, "histogram",
                       "From the headers of a request to the beginning of its answer.");
    for (size_t i = 0; r == 0 && i <= other_of(&actions); i++)
        r = write_latency_of(out, i);
    return r;
}

int metric_gauge(struct im_buffer *out, const char *name, const char *help, const char *label,
                 double value)
{
    int r = help ? write_head(out, name, "gauge", help) : 0;

    if (r < 0)
        return r;
    /* %.17g would show what a double makes of 0.1; counts and bytes up to 2^53 are exact so */
    return im_buffer_printf(out, "%s%s%s%s %.16g\n", name, label ? "{" : "", label ? label : "",
                            label ? "}" : "", value);
}
