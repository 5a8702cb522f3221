/* progress - one bar, or one line each ten seconds, over the whole file. */

#include <config.h>

#include "progress.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#include "interrupt.h"

#define BAR_EVERY_MS  200
#define LINE_EVERY_MS 10000

/* A file name that leaves room for the rest on 80 columns. */
#define LABEL_MAX 24

struct euca_progress {
    const char *program;
    char label[64];
    uint64_t total;
    atomic_int_least64_t done;
    bool bar, lines;
    int64_t begun_ms, shown_ms;
};

struct euca_progress *euca_progress_new(const char *program, const char *label, uint64_t total,
                                        const struct euca_progress_options *options)
{
    struct euca_progress *progress = calloc(1, sizeof(*progress));
    bool terminal = isatty(STDERR_FILENO);

    if (!progress)
        return NULL;
    progress->program = program;
    progress->total = total;
    im_text_printable(progress->label, sizeof(progress->label), label);
    progress->bar = terminal && !options->no_progress;
    progress->lines = !terminal && options->progress;
    progress->begun_ms = progress->shown_ms = im_clock_monotonic_ms();
    return progress;
}

void euca_progress_add(struct euca_progress *progress, int64_t bytes)
{
    atomic_fetch_add(&progress->done, bytes);
}

const char *euca_progress_text(char *buf, size_t size, uint64_t done, uint64_t total,
                               int64_t elapsed_ms)
{
    double seconds = elapsed_ms > 0 ? (double)elapsed_ms / 1000 : 0.001;
    double rate = (double)done / seconds;
    uint64_t left_s = rate >= 1 && total > done ? (uint64_t)((double)(total - done) / rate + 1) : 0;
    unsigned percent = total > 0 ? (unsigned)((double)done * 100 / (double)total) : 100;
    char have[16], want[16], speed[16], eta[48] = "";

    im_format_size(have, sizeof(have), done);
    im_format_size(want, sizeof(want), total);
    im_format_size(speed, sizeof(speed), (uint64_t)rate);
    if (done == 0 && total > 0)
        (void)snprintf(eta, sizeof(eta), "  ETA -:--");
    else if (left_s >= 3600)
        (void)snprintf(eta, sizeof(eta), "  ETA %" PRIu64 ":%02u:%02u", left_s / 3600,
                       (unsigned)(left_s / 60 % 60), (unsigned)(left_s % 60));
    else if (left_s > 0)
        (void)snprintf(eta, sizeof(eta), "  ETA %u:%02u", (unsigned)(left_s / 60),
                       (unsigned)(left_s % 60));
    (void)snprintf(buf, size, "%3u%%  %s of %s  %s/s%s", percent, have, want, speed, eta);
    return buf;
}

static uint64_t done_of(struct euca_progress *progress)
{
    int64_t done = atomic_load(&progress->done);

    if (done < 0)
        return 0;
    return (uint64_t)done > progress->total ? progress->total : (uint64_t)done;
}

/* Columns of the terminal, 80 when it does not tell. */
static size_t columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* "label [=====>    ]  45%  …" in place of the line before; the bar takes what is left. */
static void draw_bar(const struct euca_progress *progress, uint64_t done, const char *text)
{
    char bar[128];
    size_t used = (size_t)snprintf(bar, sizeof(bar), "%.*s", LABEL_MAX, progress->label);
    size_t total = columns();
    size_t taken = used + strlen(text) + 5;
    size_t room = total > taken ? total - taken : 0;
    size_t full;

    if (room > 60)
        room = 60;
    full = progress->total > 0 ? (size_t)((double)room * (double)done / (double)progress->total)
                               : room;
    memset(bar, '=', full);
    memset(bar + full, ' ', room - full);
    bar[room] = '\0';
    fprintf(stderr, "\r%.*s [%s] %s\033[K", LABEL_MAX, progress->label, bar, text);
}

static void show(struct euca_progress *progress, int64_t now)
{
    uint64_t done = done_of(progress);
    char text[128];

    euca_progress_text(text, sizeof(text), done, progress->total, now - progress->begun_ms);
    progress->shown_ms = now;
    if (progress->bar)
        draw_bar(progress, done, text);
    else
        euca_say(progress->program, "%s: %s", progress->label, text + strspn(text, " "));
}

void euca_progress_tick(struct euca_progress *progress)
{
    int64_t now = im_clock_monotonic_ms();
    int64_t every = progress->bar ? BAR_EVERY_MS : LINE_EVERY_MS;

    if ((progress->bar || progress->lines) && now - progress->shown_ms >= every)
        show(progress, now);
}

struct euca_progress *euca_progress_free(struct euca_progress *progress)
{
    if (progress && (progress->bar || progress->lines))
        show(progress, im_clock_monotonic_ms());
    if (progress && progress->bar)
        fputc('\n', stderr);
    free(progress);
    return NULL;
}
