/* progress - tell how far the work is.
 *
 * Nobody may be listening any more: a failed write is not the job's failure. */

#include <config.h>

#include "core/progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/text.h"
#include "core/source.h"

/* Time between two tellings: a program or a bar, and a log. */
#define OFTEN_MS  200
#define SELDOM_MS 10000

struct im_progress {
    int fd;   /* JSON Lines, or -1 */
    bool bar; /* standard error is a terminal */
    bool drawn;
    const char *stage;
    int64_t stage_ms, told_ms;
    uint64_t done, total;
};

struct im_progress *im_progress_new(int fd)
{
    struct im_progress *progress = calloc(1, sizeof(*progress));

    if (!progress)
        return NULL;
    progress->fd = fd;
    progress->bar = fd < 0 && isatty(STDERR_FILENO);
    progress->stage = "open";
    progress->stage_ms = progress->told_ms = im_clock_monotonic_ms();
    return progress;
}

/* Bytes per second since the stage began. */
static uint64_t rate_of(const struct im_progress *progress)
{
    int64_t ms = im_clock_monotonic_ms() - progress->stage_ms;

    return ms > 0 ? (uint64_t)((double)progress->done * 1000 / (double)ms) : 0;
}

/* One line, written at once; takes the object over. */
static void send_line(struct im_progress *progress, const char *event, json_t *object)
{
    char when[24];
    char *text;

    im_clock_iso8601(when, sizeof(when), im_clock_now_ms());
    if (!object || json_object_set_new(object, "time", json_string(when)) < 0 ||
        json_object_set_new(object, "event", json_string(event)) < 0) {
        json_decref(object);
        return;
    }
    text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text) {
        size_t len = strlen(text);

        text[len] = '\n'; /* in place of the NUL: the line goes out in one write */
        (void)im_write(progress->fd, text, len + 1);
    }
    free(text);
}

/* Without "total" where nobody knows it. */
static void tell_program(struct im_progress *progress)
{
    bool known = progress->total != IM_SIZE_UNKNOWN;

    send_line(progress, "progress",
              json_pack("{s:s, s:I, s:o*, s:I}", "stage", progress->stage, "done",
                        (json_int_t)progress->done, "total",
                        known ? json_integer((json_int_t)progress->total) : NULL, "rate",
                        (json_int_t)rate_of(progress)));
}

static void tell_size_unknown(struct im_progress *progress, const char *done, const char *rate)
{
    if (progress->bar)
        fprintf(stderr, "\r%-6s %s  %s/s\033[K", progress->stage, done, rate);
    else
        fprintf(stderr, "%s: %s, %s/s\n", progress->stage, done, rate);
}

static void tell_share(struct im_progress *progress, const char *done, const char *rate)
{
    char total[16], bar[31];
    unsigned percent =
        progress->total ? (unsigned)((double)progress->done * 100 / (double)progress->total) : 0;

    memset(bar, ' ', sizeof(bar) - 1);
    memset(bar, '#', (size_t)percent * (sizeof(bar) - 1) / 100);
    bar[sizeof(bar) - 1] = '\0';
    im_format_size(total, sizeof(total), progress->total);
    if (progress->bar)
        fprintf(stderr, "\r%-6s [%s] %3u%%  %s of %s  %s/s\033[K", progress->stage, bar, percent,
                done, total, rate);
    else
        fprintf(stderr, "%s: %u%%, %s of %s, %s/s\n", progress->stage, percent, done, total, rate);
}

static void tell_person(struct im_progress *progress)
{
    char done[16], rate[16];

    im_format_size(done, sizeof(done), progress->done);
    im_format_size(rate, sizeof(rate), rate_of(progress));
    if (progress->total == IM_SIZE_UNKNOWN)
        tell_size_unknown(progress, done, rate);
    else
        tell_share(progress, done, rate);
    progress->drawn = progress->bar;
}

static void tell(struct im_progress *progress)
{
    progress->told_ms = im_clock_monotonic_ms();
    if (progress->fd >= 0)
        tell_program(progress);
    else
        tell_person(progress);
}

void im_progress_stage(struct im_progress *progress, const char *stage)
{
    progress->stage = stage;
    progress->stage_ms = im_clock_monotonic_ms();
    if (progress->fd >= 0)
        tell(progress);
}

void im_progress_update(struct im_progress *progress, uint64_t done, uint64_t total)
{
    int64_t pause = progress->fd >= 0 || progress->bar ? OFTEN_MS : SELDOM_MS;

    progress->done = done;
    progress->total = total;
    if (im_clock_monotonic_ms() - progress->told_ms >= pause)
        tell(progress);
}

void im_progress_finish(struct im_progress *progress)
{
    if (progress->total == IM_SIZE_UNKNOWN)
        progress->total = progress->done;
    progress->done = progress->total;
}

void im_progress_result(struct im_progress *progress, const char *json)
{
    if (progress->fd >= 0) {
        tell_program(progress);
        send_line(progress, "result", json_loads(json, 0, NULL));
    } else if (progress->drawn) {
        tell_person(progress);
    }
}

void im_progress_error(struct im_progress *progress, const struct im_error *err)
{
    char message[IM_ERROR_MAX];

    if (progress->fd < 0)
        return;
    im_text_printable(message, sizeof(message), err->message);
    send_line(progress, "error", json_pack("{s:s, s:s}", "code", err->code, "message", message));
}

struct im_progress *im_progress_free(struct im_progress *progress)
{
    if (progress && progress->drawn)
        fputc('\n', stderr);
    free(progress);
    return NULL;
}
