/* task - the table of conversion tasks: every promise the service made is a row here.
 *
 * A task is what its owner sees; its states are AWS's: active → completed, active → cancelling →
 * cancelled.  Its stages are what workers do: one convert per disk, and for an instance one launch,
 * which waits for all converts.  A stage is claimed by itself, so that the disks of one task are
 * converted side by side.
 *
 * Work on a stage is guarded by its epoch: each claim raises it, and a write with an older epoch
 * changes nothing.  A volume is published in two steps: task_publish decides that this epoch's work
 * is the one that counts, then it gets its name, then task_complete says so; who takes over between
 * them goes on with what was decided.  The task completes in the transaction of its last stage.
 * When its owner cancels it, when it expires, or when one stage fails, the whole task ends: stages
 * nobody works on end at once, those worked on are told at their next heartbeat, and volumes that
 * were published already are taken back (task_next_removal) before the task says "cancelled".
 *
 * Time is the database's, which all services share that use it.  Besides their own errors all
 * functions return -EHOSTDOWN when the database cannot be reached (nothing has changed) and
 * -ECONNABORTED when it went away in between and cannot be asked whether it has.
 *
 * This header knows no SQL and no HTTP. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Disks of one task (AWS: at most 21 volumes per VM), and so its stages with the launch. */
#define TASK_DISKS_MAX  21
#define TASK_STAGES_MAX (TASK_DISKS_MAX + 1)

/* Tags of one task, as AWS has it. */
#define TASK_TAGS_MAX 50

enum task_state {
    TASK_ACTIVE,
    TASK_CANCELLING,
    TASK_CANCELLED,
    TASK_COMPLETED,
};

/* "active", "cancelling", "cancelled", "completed". */
const char *task_state_name(enum task_state state);

/* What becomes of the disks. */
enum task_kind {
    TASK_VOLUME,   /* one volume */
    TASK_INSTANCE, /* volumes, a machine image and an instance */
};

enum stage_kind {
    STAGE_CONVERT, /* a disk image to a volume */
    STAGE_LAUNCH,  /* the volumes to a machine image and an instance */
};

enum stage_state {
    STAGE_WAITING, /* for other stages */
    STAGE_ACTIVE,
    STAGE_PUBLISHING, /* whose work counts is decided; the volume gets its name */
    STAGE_COMPLETED,
    STAGE_REMOVING, /* its task ends: the volume, and files of claims, are being removed */
    STAGE_CANCELLED,
};

/* A stage.  Strings are owned by the row; optional ones are NULL when absent, those of disks in a
 * launch stage, too. */
struct stage {
    enum stage_kind kind;
    unsigned number; /* disks from 1 in the client's order, then the launch */
    enum stage_state state;
    char *status_message; /* NULL: none */
    char *format;         /* as the client sent it: "VMDK" */
    uint64_t image_bytes; /* Image.Bytes */
    char *manifest_url;   /* with its signature: echoed to the owner, never logged */
    uint64_t volume_gib;
    char *description;
    char *volume_id; /* "vol-" and 17 hex digits; chosen at creation, shown when completed */
    char *digest;    /* of the volume: "sha256:" and 64 hex digits (fs-verity); NULL: not known */
    uint64_t bytes_converted; /* never falls, at most image_bytes */
    uint64_t epoch;           /* claims so far */
    unsigned deaths;          /* claims whose worker died */
    unsigned waits;           /* times the upload was found incomplete */
    unsigned tries;           /* claims that ended with a failure that may heal */
    uint64_t won_epoch;       /* the claim whose work is the volume; 0: not decided */
    int64_t due_ms;           /* not claimed before */
    int64_t lease_ms;         /* end of the lease; 0: nobody works on it */
    char *worker;             /* the service that had it last */
    bool changed;             /* in memory, not yet in the table */
};

const char *stage_state_name(enum stage_state state);

struct task_tag {
    const char *key, *value;
};

/* A task with all its stages.  Strings are owned by it; optional ones are NULL when absent. */
struct task {
    char *id; /* "import-vol-" or "import-i-" and 8 of [0-9a-z] */
    char *account;
    enum task_kind kind;
    enum task_state state;
    char *status_message; /* why it ended; see task_message */
    char *description;
    char *zone; /* NULL: an instance that is registered only */
    int64_t created_ms, expires_ms;
    int64_t ended_ms; /* 0: it has not ended */
    int64_t seq;      /* of its row */
    bool changed;     /* in memory, not yet in the table */
    /* of an instance */
    char *platform;     /* "Windows", "Linux" */
    char *architecture; /* "x86_64" … */
    char *instance_id;  /* "i-" and 17 hex digits, or what the launcher made of it */
    char *image_id;     /* "ami-" and 17 hex digits */
    char *launch_spec;  /* JSON object text */
    char *boot_mode;    /* "legacy-bios", "uefi"; NULL: not known (yet) */

    size_t stage_count; /* in the order of their numbers */
    struct stage *stage;
    size_t tag_count; /* in the order of their keys */
    struct task_tag *tag;
};

void task_done(struct task *task);
#define TASK_DONE __attribute__((cleanup(task_done)))

/* The task's own message: that of the stage that says most while it is active, afterwards the
 * reason of its end.  NULL when there is none; lent by the task. */
const char *task_message(const struct task *task);

struct task_table;

/* How many stages are worked on at once, by all services together; 0: no limit. */
struct task_limits {
    unsigned total, per_account;
    const struct task_zone_limit {
        const char *zone; /* whose volume pool it is */
        unsigned count;
    } * zone;
    size_t zone_count;
};

struct task_options {
    const char *where;    /* a path, or a PostgreSQL server ("postgresql://…"); see sql/sql.h */
    const char *worker;   /* the name of this service in the leases it holds; no other has it */
    bool alone;           /* the caller makes sure that nobody else works on the tasks */
    int watch_ms;         /* see task_recover; 0: names are known to be different */
    bool guest;           /* a command beside the services: the table must be there and up to date,
                             and of what is in the ledger nothing is over (see struct thing) */
    unsigned connections; /* to a server, at most */
    struct task_limits limits;      /* lent while the table is open */
    bool delete_uploads;            /* what is a volume goes into the ledger, to be deleted */
    int64_t (*clock_ms)(void *arg); /* for tests: the time; else NULL */
    void *clock_arg;
};

/* Open the table, and create it or bring it up to date.  A file gets mode 0600.  NULL-safe close.
 */
int task_table_open(const struct task_options *options, struct task_table **ret_table,
                    struct im_error *err);
struct task_table *task_table_close(struct task_table *table);

/* Prove that the table can be written: 0, or why not. */
int task_table_check(struct task_table *table, struct im_error *err);

/* The database's time: what leases and moments in the rows are told in. */
int task_now(struct task_table *table, int64_t *ret_now_ms, struct im_error *err);

/* Wait for news in the table from other services: see sql_await. */
int task_table_await(struct task_table *table, int wake_fd, int timeout_ms, struct im_error *err);

/* What the table holds, of all services together. */
struct task_counts {
    uint64_t tasks[TASK_COMPLETED + 1]; /* by enum task_state */
    uint64_t waiting;                   /* stages that are due and that nobody works on */
    uint64_t working;                   /* stages somebody works on */
    int64_t oldest_waiting_ms; /* since the longest waiting one of them became due; 0: none */
};

int task_count(struct task_table *table, struct task_counts *ret_counts, struct im_error *err);

/* ---- for the API ---- */

/* What a client asks for; everything is lent. */
struct task_wish {
    const char *account;
    const char *zone;         /* NULL: of an instance that is registered only */
    const char *description;  /* NULL: none */
    const char *client_token; /* NULL: none */
    const char *proof;        /* what a request that is sent again has, too; NULL or "": unknown */
    const char *invocation;   /* what another request with that proof may differ in; NULL: "" */
    const char *parameters;   /* digest of the request's parameters, compared with the token */
    const struct task_disk {
        const char *format, *manifest_url, *description; /* description may be NULL */
        uint64_t image_bytes, volume_gib;
    } * disk;
    size_t disk_count; /* 1 to TASK_DISKS_MAX; 1 without a machine */
    const struct task_machine {
        const char *platform, *architecture, *launch_spec;
    } * machine;                /* NULL: a volume is wanted, not an instance */
    const struct task_tag *tag; /* at most TASK_TAGS_MAX, no key twice */
    size_t tag_count;
};

/* Two requests with one proof are two for so long when their invocations differ: programs that make
 * several tasks alike within one second sign them alike.  What comes later was recorded and sent
 * again by somebody, who may have changed what is not signed. */
#define TASK_REPEAT_MS 5000

/* Insert an active task; durable when it returns.  Fills *ret_task.  When the account has used the
 * client token for a task of this kind already, or the proof together with this invocation, or the
 * proof more than TASK_REPEAT_MS ago, *ret_task is that task as it is now and nothing is inserted;
 * *ret_new tells which. -ENOTUNIQ: the token was used with other parameters.  -EBUSY: the account
 * already has max_active tasks that have not ended.  -EINVAL: a size that cannot be counted. */
int task_insert(struct task_table *table, const struct task_wish *wish, unsigned max_active,
                struct task *ret_task, bool *ret_new, struct im_error *err);

/* One task of the account; -ENOENT (also for another account's). */
int task_get(struct task_table *table, const char *account, const char *id, struct task *ret_task,
             struct im_error *err);

/* One task, whosever it is: for the operator.  -ENOENT. */
int task_find(struct task_table *table, const char *id, struct task *ret_task,
              struct im_error *err);

/* Call `each` for every task of the account (NULL: of all), oldest first; a negative return stops
 * and is returned.  The task is lent for the call.  The table is read piece by piece and is free
 * meanwhile: each task is shown as it was at some moment during the call. */
int task_list(struct task_table *table, const char *account,
              int (*each)(void *arg, const struct task *task), void *arg, struct im_error *err);

/* Ask a task to stop: active → cancelling (or cancelled at once when nobody has worked on it),
 * with reason as its message ("Cancelled by user" when it is NULL or empty).
 * Cancelling and cancelled: 0, nothing changes.  -ENOENT unknown, -EALREADY completed, or all its
 * volumes are published. */
int task_request_cancel(struct task_table *table, const char *account, const char *id,
                        const char *reason, struct im_error *err);

/* Set tags of one task, replacing those with the same keys.  -ENOENT; -E2BIG when it would have
 * more than TASK_TAGS_MAX; then nothing has changed. */
int task_tag(struct task_table *table, const char *account, const char *id,
             const struct task_tag *tag, size_t count, struct im_error *err);

/* Remove the tags with these keys, and with this value where one is given (not NULL); all tags when
 * count is 0.  What is not there is no failure.  -ENOENT for an unknown task. */
int task_untag(struct task_table *table, const char *account, const char *id,
               const struct task_tag *tag, size_t count, struct im_error *err);

/* ---- for workers ---- */

/* A stage somebody works on: its task as it was when it was claimed. */
struct claim {
    struct task task;
    struct stage *stage; /* the one claimed, in task.stage */
};

void claim_done(struct claim *claim);
#define CLAIM_DONE __attribute__((cleanup(claim_done)))

/* Claim a stage that is due and that nobody works on, for lease_ms: epoch + 1.  Accounts take
 * turns: of those that are below the limits the one with the fewest stages at work is served, of
 * several such the one that follows the one this service served last, by name; of its stages the
 * one that has been due longest.  Where very many wait, one of the next few dozen accounts is
 * served.  A lease that ran out is a death, and the stage may be claimed over.  First ends tasks
 * that wait past their expiry ("Task expired") and stages of cancelling ones whose lease ran out,
 * and forgets tasks that ended seven days ago.  A claimed convert's files are in the ledger.
 * -EAGAIN when there is none (then *ret_wait_ms says when to look again, INT64_MAX when nothing
 * waits). */
int task_claim(struct task_table *table, int64_t lease_ms, struct claim *ret_claim,
               int64_t *ret_wait_ms, struct im_error *err);

/* True, once, when a claim has ended something by itself whose files are to be removed. */
bool task_left_removals(struct task_table *table);

/* All writes below name the epoch of the claim; -ESTALE when the row has moved on. */

/* Still at it: renew the lease, note the bytes and the message (NULL: unchanged);
 * *ret_cancel says whether the task is to stop. */
int task_heartbeat(struct task_table *table, const struct claim *claim, int64_t lease_ms,
                   uint64_t bytes_converted, const char *message, bool *ret_cancel,
                   struct im_error *err);

/* Why a claim ended without an end of the stage; all but the first are counted in the row. */
enum task_return {
    TASK_RELEASED, /* not the task's doing: the service stops */
    TASK_WAITS,    /* the upload is not complete */
    TASK_TRIED,    /* a failure that may heal */
    TASK_DIED,     /* the process that worked on it died */
};

/* Give the stage back to be claimed not before pause_ms from now, with message (NULL: unchanged).
 * -ESTALE also when the task is to stop: end it with task_end_cancelled. */
int task_postpone(struct task_table *table, const struct claim *claim, int64_t pause_ms,
                  enum task_return why, const char *message, struct im_error *err);

/* What a stage found out; NULL: not known, what the row says stays. */
struct stage_result {
    const char *digest;      /* of the volume */
    const char *boot_mode;   /* of the machine */
    const char *instance_id; /* the launcher's own */
};

/* The work of this claim of a convert is whole and durable, under the claim's own name: it counts,
 * whatever happens from here on.  -ESTALE also when the task is to stop. */
int task_publish(struct task_table *table, const struct claim *claim,
                 const struct stage_result *result, struct im_error *err);

/* The volume has its name, or the machine was launched (result; NULL for a volume): the stage is
 * completed, and with it the task when it was the last. */
int task_complete(struct task_table *table, const struct claim *claim,
                  const struct stage_result *result, struct im_error *err);

/* End the stage, and with it the whole task, as cancelled with the reason (a failure), or keep the
 * task's reason when it is to stop already. */
int task_end_cancelled(struct task_table *table, const struct claim *claim, const char *message,
                       struct im_error *err);

/* The volume and the part files of a stage are to be removed, because its task ends: fills
 * *ret_claim with the task and the stage.  -EAGAIN when there is none.  Nothing is leased: to
 * remove twice does no harm. */
int task_next_removal(struct task_table *table, struct claim *ret_claim, struct im_error *err);

/* They are gone; the task is cancelled when they were the last thing left of it. */
int task_removed(struct task_table *table, const struct claim *claim, struct im_error *err);

/* After a start: every lease this service holds belongs to a dead process, unless another service
 * has its name by mistake: those that are renewed while it looks for task_options.watch_ms are left
 * alone.  Calls `each` for every
 * stage that was being worked on (its deaths with this one counted; it may end the stage through
 * the table), then releases what is still leased: stages of cancelling tasks end, others are due at
 * once with the death counted.  A negative return of `each` stops and is returned. */
int task_recover(struct task_table *table, int (*each)(void *arg, const struct claim *claim),
                 void *arg, struct im_error *err);

/* ---- the ledger: what there is outside the table because of a task ---- */

enum thing_kind {
    THING_FILES,  /* those of a claim: part file, scratch directory */
    THING_UPLOAD, /* what the customer uploaded, to be deleted */
};

/* Strings are owned by it. */
struct thing {
    int64_t id;
    enum thing_kind kind;
    char *task_id;
    unsigned number; /* of the stage */
    uint64_t epoch;  /* of the claim */
    char *worker;    /* the service it belongs to */
    char *url;       /* of an upload's manifest */
    unsigned tries;  /* to delete it */
    bool kept;       /* files that the next claim goes on with, or that become the volume */
    bool over;       /* their service says that nobody makes them any more, or it has not come back
                        while the task was known: once removed, they can be forgotten */
};

void thing_done(struct thing *thing);
#define THING_DONE __attribute__((cleanup(thing_done)))

/* Call `each` for the files of claims that are over: this service's own, and those of stages that
 * have ended for good.  A negative return stops and is returned. */
int task_list_files(struct task_table *table, int (*each)(void *arg, const struct thing *thing),
                    void *arg, struct im_error *err);

/* An upload is due to be deleted; -EAGAIN when none is. */
int task_next_upload(struct task_table *table, struct thing *ret_thing, struct im_error *err);

/* Try it again not before pause_ms from now. */
int task_upload_later(struct task_table *table, const struct thing *thing, int64_t pause_ms,
                      struct im_error *err);

/* It is gone, or nobody will try again. */
int task_forget_thing(struct task_table *table, const struct thing *thing, struct im_error *err);
