/* task-rows - a task and its stages as rows.
 *
 * Nothing secret is among them: of a manifest's URL the signature is left out, of a launch
 * specification what the owner gives to the machine. */

#include <config.h>

#include "cmd/task-rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/rows.h"

/* Of all disks together.  A completed task is done, whatever its disks said they had. */
static json_int_t percent(const struct task *task)
{
    unsigned __int128 done = 0, total = 0;

    for (size_t i = 0; i < task->stage_count; i++) {
        done += task->stage[i].bytes_converted;
        total += task->stage[i].image_bytes;
    }
    if (task->state == TASK_COMPLETED)
        return 100;
    return total ? (json_int_t)(100 * done / total) : 0;
}

static const char *kind_name(const struct task *task)
{
    return task->kind == TASK_INSTANCE ? "instance" : "volume";
}

json_t *task_row(const struct task *task)
{
    return json_pack("{s:o, s:o, s:s, s:s, s:o, s:I, s:o, s:o}", "task", rows_text(task->id),
                     "account", rows_text(task->account), "kind", kind_name(task), "state",
                     task_state_name(task->state), "created", rows_time(task->created_ms),
                     "progress", percent(task), "zone", rows_text(task->zone), "message",
                     rows_text(task_message(task)));
}

/* Its JSON without what may hold passwords. */
static json_t *launch_specification(const struct task *task)
{
    static const char *const secret[] = { "UserData", "AdditionalInfo" };
    json_t *spec JSON_DONE = task->launch_spec ? json_loads(task->launch_spec, 0, NULL) : NULL;
    char *text IM_FREE = NULL;

    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        if (json_object_get(spec, secret[i]))
            (void)json_object_set_new(spec, secret[i], json_string("not shown"));
    text = spec ? json_dumps(spec, JSON_COMPACT) : NULL;
    return rows_text(text);
}

json_t *task_row_whole(const struct task *task)
{
    return json_pack(
        "{s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "task", rows_text(task->id), "account", rows_text(task->account), "kind", kind_name(task),
        "state", task_state_name(task->state), "message", rows_text(task_message(task)),
        "description", rows_text(task->description), "created", rows_time(task->created_ms),
        "expires", rows_time(task->expires_ms), "ended", rows_time(task->ended_ms), "progress",
        percent(task), "zone", rows_text(task->zone), "platform", rows_text(task->platform),
        "architecture", rows_text(task->architecture), "boot_mode", rows_text(task->boot_mode),
        "image", rows_text(task->image_id), "instance", rows_text(task->instance_id),
        "launch_specification", launch_specification(task));
}

json_t *task_tags_row(const struct task *task)
{
    json_t *tags = json_object();

    for (size_t i = 0; tags && i < task->tag_count; i++)
        if (json_object_set_new(tags, task->tag[i].key, json_string(task->tag[i].value)) < 0) {
            json_decref(tags);
            return NULL;
        }
    return tags;
}

/* ---- stages ---- */

static const char *stage_kind_name(const struct stage *stage)
{
    return stage->kind == STAGE_LAUNCH ? "launch" : "convert";
}

/* Seconds from now to that moment, begun ones counted; 0 when it is past. */
static json_t *seconds_to(int64_t ms, int64_t now_ms)
{
    return json_integer(ms > now_ms ? (ms - now_ms + 999) / 1000 : 0);
}

static json_t *lease_left(const struct stage *stage, int64_t now_ms)
{
    return stage->lease_ms ? seconds_to(stage->lease_ms, now_ms) : json_null();
}

/* Of a stage that waits for a worker. */
static json_t *due(const struct stage *stage, int64_t now_ms)
{
    bool waits =
        !stage->lease_ms && (stage->state == STAGE_ACTIVE || stage->state == STAGE_PUBLISHING);

    return waits ? seconds_to(stage->due_ms, now_ms) : json_null();
}

json_t *stage_row(const struct task *task, const struct stage *stage, int64_t now_ms)
{
    return json_pack("{s:o, s:I, s:s, s:s, s:o, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
                     "task", rows_text(task->id), "number", (json_int_t)stage->number, "kind",
                     stage_kind_name(stage), "state", stage_state_name(stage->state), "worker",
                     rows_text(stage->worker), "epoch", (json_int_t)stage->epoch, "lease_left_s",
                     lease_left(stage, now_ms), "due_s", due(stage, now_ms), "deaths",
                     (json_int_t)stage->deaths, "waits", (json_int_t)stage->waits, "tries",
                     (json_int_t)stage->tries, "bytes_done", (json_int_t)stage->bytes_converted,
                     "bytes_total", (json_int_t)stage->image_bytes, "volume",
                     rows_text(stage->volume_id), "message", rows_text(stage->status_message));
}

static json_t *url_without_query(const char *url)
{
    size_t size = url ? strlen(url) + 1 : 1;
    char *shown IM_FREE = malloc(size);

    if (!shown)
        return NULL;
    return rows_text(url ? im_text_url(shown, size, url) : NULL);
}

json_t *stage_row_whole(const struct stage *stage, int64_t now_ms)
{
    return json_pack(
        "{s:I, s:s, s:s, s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:I, s:I, s:o, s:o, "
        "s:o, s:o, s:o}",
        "number", (json_int_t)stage->number, "kind", stage_kind_name(stage), "state",
        stage_state_name(stage->state), "message", rows_text(stage->status_message), "worker",
        rows_text(stage->worker), "epoch", (json_int_t)stage->epoch, "won_epoch",
        stage->won_epoch ? json_integer((json_int_t)stage->won_epoch) : json_null(), "lease_left_s",
        lease_left(stage, now_ms), "due_s", due(stage, now_ms), "deaths", (json_int_t)stage->deaths,
        "waits", (json_int_t)stage->waits, "tries", (json_int_t)stage->tries, "format",
        rows_text(stage->format), "bytes_done", (json_int_t)stage->bytes_converted, "bytes_total",
        (json_int_t)stage->image_bytes, "manifest_url", url_without_query(stage->manifest_url),
        "volume_gib", stage->volume_gib ? json_integer((json_int_t)stage->volume_gib) : json_null(),
        "volume", rows_text(stage->volume_id), "digest", rows_text(stage->digest), "description",
        rows_text(stage->description));
}
