/* progress - one bar, or one line each ten seconds, or one event each second, over a whole file. */

#include <config.h>

#include "progress.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#include "events.h"
#include "interrupt.h"
#include "terminal.h"

#define BAR_EVERY_MS   200
#define EVENT_EVERY_MS 1000

/* Columns: a file name that leaves room for the rest; a bar that still shows something, and one
 * that shows enough. */
#define LABEL_MAX 24
#define LABEL_MIN 8
#define BAR_MIN   5
#define BAR_MAX   60

struct euca_progress {
    const char *program;
    const char *path;
    char label[64];
    uint64_t total;
    size_t parts_total;
    atomic_int_least64_t sent;
    atomic_uint_least64_t skipped;
    atomic_size_t parts;
    bool bar, lines, events;
    int64_t begun_ms, shown_ms, told_ms; /* shown as text, told as event */
    bool ended;                          /* and shown */
};

struct euca_progress *euca_progress_new(const char *program, const char *path, uint64_t total,
                                        const struct euca_progress_options *options)
{
    struct euca_progress *progress = calloc(1, sizeof(*progress));
    bool terminal = isatty(STDERR_FILENO);

    if (!progress)
        return NULL;
    progress->program = program;
    progress->path = path;
    progress->total = total;
    im_text_printable(progress->label, sizeof(progress->label), im_text_basename(path));
    progress->bar = terminal && !options->no_progress;
    progress->events = euca_events() && !options->no_progress;
    progress->lines = !terminal && options->progress && !euca_events();
    progress->begun_ms = progress->shown_ms = progress->told_ms = im_clock_monotonic_ms();
    return progress;
}

void euca_progress_parts(struct euca_progress *progress, size_t total)
{
    progress->parts_total = total;
}

void euca_progress_add(struct euca_progress *progress, int64_t bytes)
{
    atomic_fetch_add(&progress->sent, bytes);
}

void euca_progress_skip(struct euca_progress *progress, uint64_t bytes)
{
    atomic_fetch_add(&progress->skipped, bytes);
}

void euca_progress_part(struct euca_progress *progress)
{
    atomic_fetch_add(&progress->parts, 1);
}

/* Bytes per second. */
static uint64_t rate_of(const struct euca_progress_state *state)
{
    double seconds = state->elapsed_ms > 0 ? (double)state->elapsed_ms / 1000 : 0.001;

    return (uint64_t)((double)state->sent / seconds);
}

/* Seconds left at that speed; UINT64_MAX: nothing was sent yet. */
static uint64_t eta_s_of(const struct euca_progress_state *state)
{
    uint64_t rate = rate_of(state);

    if (state->done >= state->total)
        return 0;
    if (rate == 0)
        return UINT64_MAX;
    return (state->total - state->done) / rate + 1;
}

/* "  ETA 1:02:03"; nothing at the end. */
static const char *eta_text(char *buf, size_t size, uint64_t left_s)
{
    unsigned minutes = (unsigned)(left_s / 60 % 60), seconds = (unsigned)(left_s % 60);

    buf[0] = '\0';
    if (left_s == UINT64_MAX)
        (void)snprintf(buf, size, "  ETA -:--");
    else if (left_s >= 3600)
        (void)snprintf(buf, size, "  ETA %" PRIu64 ":%02u:%02u", left_s / 3600, minutes, seconds);
    else if (left_s > 0)
        (void)snprintf(buf, size, "  ETA %u:%02u", minutes, seconds);
    return buf;
}

const char *euca_progress_text(char *buf, size_t size, const struct euca_progress_state *state)
{
    unsigned percent =
        state->total > 0 ? (unsigned)((double)state->done * 100 / (double)state->total) : 100;
    char have[16], want[16], speed[16], eta[48], parts[48] = "";

    im_format_size(have, sizeof(have), state->done);
    im_format_size(want, sizeof(want), state->total);
    im_format_size(speed, sizeof(speed), rate_of(state));
    eta_text(eta, sizeof(eta), eta_s_of(state));
    if (state->parts_total > 0)
        (void)snprintf(parts, sizeof(parts), "  parts %zu/%zu", state->parts, state->parts_total);
    (void)snprintf(buf, size, "%3u%%  %s of %s  %s/s%s%s", percent, have, want, speed, eta, parts);
    return buf;
}

/* What is shown: never more than there is, nor less than nothing. */
static struct euca_progress_state state_of(struct euca_progress *progress, int64_t now)
{
    int64_t sent = atomic_load(&progress->sent);
    struct euca_progress_state state = { .total = progress->total,
                                         .sent = sent > 0 ? (uint64_t)sent : 0,
                                         .elapsed_ms = now - progress->begun_ms,
                                         .parts = atomic_load(&progress->parts),
                                         .parts_total = progress->parts_total };

    state.done = state.sent + atomic_load(&progress->skipped);
    if (state.done > state.total)
        state.done = state.total;
    return state;
}

/* Bytes of a label that is cut to `most`, between two characters. */
static size_t label_length(const char *label, size_t most)
{
    size_t len = strlen(label);

    if (len <= most)
        return len;
    while (most > 0 && (label[most] & 0xc0) == 0x80)
        most--;
    return most;
}

/* Bytes of the fields that fit into `room` columns: half a number would be another one. */
static size_t whole_fields(const char *text, size_t room)
{
    size_t len = strlen(text);

    while (len > room) {
        const char *gap = memrchr(text, ' ', len);

        while (gap && gap > text && gap[-1] != ' ')
            gap = memrchr(text, ' ', (size_t)(gap - text));
        len = gap && gap > text ? (size_t)(gap - text) - 1 : 0;
    }
    return len;
}

/* "label [=====>    ] 45%  …" in place of the line before, which must not be broken in two: the bar
 * takes what is left. */
static void draw_bar(const struct euca_progress *progress, const struct euca_progress_state *state,
                     const char *text)
{
    size_t all = euca_terminal_columns() - 1;
    size_t text_len = whole_fields(text, all);
    size_t for_label = all > text_len + 1 ? all - text_len - 1 : 0;
    char bar[BAR_MAX + 3 + 1] = "";
    size_t label, room, full;

    if (for_label > LABEL_MAX)
        for_label = LABEL_MAX;
    label = for_label < LABEL_MIN ? 0 : label_length(progress->label, for_label);
    room = all > label + text_len + 4 ? all - label - text_len - 4 : 0;
    if (room > BAR_MAX)
        room = BAR_MAX;
    if (room >= BAR_MIN) {
        full = state->total > 0
                   ? (size_t)((double)room * (double)state->done / (double)state->total)
                   : room;
        bar[0] = '[';
        memset(bar + 1, '=', full);
        memset(bar + 1 + full, ' ', room - full);
        memcpy(bar + 1 + room, "] ", 3);
    }
    euca_terminal_line("%.*s%s%s%.*s", (int)label, progress->label, label > 0 ? " " : "", bar,
                       (int)text_len, text);
}

static void show_event(const struct euca_progress *progress,
                       const struct euca_progress_state *state, const char *event)
{
    uint64_t eta_s = eta_s_of(state);
    struct euca_field fields[] = {
        EUCA_TEXT_FIELD("file", progress->path),
        EUCA_NUMBER_FIELD("bytes", state->done),
        EUCA_NUMBER_FIELD("total", state->total),
        EUCA_NUMBER_FIELD("rate", rate_of(state)),
        EUCA_NUMBER_FIELD("eta_s", eta_s),
        EUCA_NUMBER_FIELD("parts", state->parts),
        EUCA_NUMBER_FIELD("parts_total", state->parts_total),
        { 0 },
    };

    if (eta_s == UINT64_MAX)
        fields[4] = (struct euca_field)EUCA_TEXT_FIELD("eta_s", NULL);
    euca_event(event, fields);
}

/* Show as text what a terminal or a log gets. */
static void show(struct euca_progress *progress, const struct euca_progress_state *state,
                 int64_t now)
{
    char text[160];

    euca_progress_text(text, sizeof(text), state);
    progress->shown_ms = now;
    if (progress->bar)
        draw_bar(progress, state, text);
    if (progress->lines)
        euca_say(progress->program, "%s: %s", progress->label, text + strspn(text, " "));
}

void euca_progress_tick(struct euca_progress *progress)
{
    int64_t now = im_clock_monotonic_ms();
    int64_t every = progress->bar ? BAR_EVERY_MS : EUCA_LINE_EVERY_MS;
    struct euca_progress_state state = state_of(progress, now);

    if (now - progress->shown_ms >= every)
        show(progress, &state, now);
    if (progress->events && now - progress->told_ms >= EVENT_EVERY_MS) {
        show_event(progress, &state, "progress");
        progress->told_ms = now;
    }
}

void euca_progress_end(struct euca_progress *progress)
{
    int64_t now = im_clock_monotonic_ms();
    struct euca_progress_state state = state_of(progress, now);

    show(progress, &state, now);
    show_event(progress, &state, "uploaded");
    progress->ended = true;
}

struct euca_progress *euca_progress_free(struct euca_progress *progress)
{
    if (!progress)
        return NULL;
    if (!progress->ended) {
        int64_t now = im_clock_monotonic_ms();
        struct euca_progress_state state = state_of(progress, now);

        show(progress, &state, now);
    }
    if (progress->bar)
        euca_terminal_leave();
    free(progress);
    return NULL;
}
