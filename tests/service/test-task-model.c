/* test-task-model - random operations on the task table against a small model of it in plain C.
 *
 * TEST_SEED and TEST_OPERATIONS in the environment change them.  On SQLite by one service that is
 * alone, and (started by service/task-postgres.sh) on PostgreSQL by two that share the work. */

#include <config.h>

#include "task-fixture.h"

#include "base/clock.h"

#define MODELS   64
#define LIMIT    6 /* tasks of an account that have not ended */
#define STAGES   3
#define SERVICES 2

/* The table as it should be. */
static struct model {
    struct task task;
    struct {
        int service;         /* that has the lease */
        int files[SERVICES]; /* rows in the ledger */
    } work[STAGES];
    bool gone; /* forgotten long after its end */
} models[MODELS];
static int model_count;
static int64_t now;
static int64_t lost_files; /* rows in the ledger of tasks that were forgotten */

static struct task_table *services[SERVICES];
static const char *const names[SERVICES] = { "one", "two" };
static const char *served[SERVICES]; /* the account whose stage each claimed last */
static char accounts[3][8] = { "alice", "bob", "carol" };
static struct task_zone_limit zone_limit = { "z2", 0 };
static struct task_limits limits;

/* What has happened: a test in which something never does proves nothing about it. */
enum {
    TAKEN_OVER,
    FULL,
    STALE,
    COMPLETED,
    EXPIRED,
    FORGOTTEN,
    REMOVED,
    LATE,
    RECOVERED,
    HAPPENINGS
};
static const char *const happening[HAPPENINGS] = {
    "publishing stages taken over",
    "claims that a limit refused",
    "writes by stale claims",
    "tasks completed",
    "tasks expired",
    "tasks forgotten",
    "volumes removed",
    "cancels that came too late",
    "leases recovered",
};
static uint64_t happened[HAPPENINGS];

static uint64_t random_state;

static unsigned random_below(unsigned n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % n;
}

/* A service, which does the next operation. */
static int someone(void)
{
    int n = on_server() ? (int)random_below(SERVICES) : 0;

    table = services[n];
    (void)at(now);
    return n;
}

static bool is_alone(void)
{
    return !on_server();
}

/* ---- the model ---- */

static void say(char **slot, const char *text)
{
    free(*slot);
    *slot = text ? strdup(text) : NULL;
}

static void model_end(struct model *m, enum task_state state)
{
    m->task.state = state;
    m->task.ended_ms = now;
}

static void stage_end(struct model *m, size_t i, enum stage_state state, const char *text)
{
    m->task.stage[i].state = state;
    m->task.stage[i].lease_ms = 0;
    say(&m->task.stage[i].status_message, text);
}

/* Over when nothing is left of it. */
static void model_settle(struct model *m)
{
    if (m->task.state != TASK_CANCELLING)
        return;
    for (size_t i = 0; i < m->task.stage_count; i++) {
        enum stage_state state = m->task.stage[i].state;

        if (state == STAGE_ACTIVE || state == STAGE_PUBLISHING || state == STAGE_REMOVING)
            return;
    }
    model_end(m, TASK_CANCELLED);
}

/* Nobody works on it, and its task is to end: whatever a claim may have left is to be removed. */
static void model_drop(struct model *m, size_t i)
{
    const struct stage *stage = &m->task.stage[i];
    bool files = stage->kind == STAGE_CONVERT && stage->epoch > 0;

    if (stage->state != STAGE_REMOVING && stage->state != STAGE_CANCELLED)
        stage_end(m, i, files ? STAGE_REMOVING : STAGE_CANCELLED, NULL);
}

static void model_stop(struct model *m, const char *why)
{
    if (m->task.state != TASK_ACTIVE)
        return;
    m->task.state = TASK_CANCELLING;
    say(&m->task.status_message, why);
    for (size_t i = 0; i < m->task.stage_count; i++)
        if (m->task.stage[i].lease_ms == 0)
            model_drop(m, i);
    model_settle(m);
}

static bool model_ended(const struct model *m)
{
    return m->task.state == TASK_CANCELLED || m->task.state == TASK_COMPLETED;
}

/* All disks are published, or about to be: too late to stop. */
static bool model_is_late(const struct model *m)
{
    for (size_t i = 0; i < m->task.stage_count; i++)
        if (m->task.stage[i].kind == STAGE_CONVERT && m->task.stage[i].state != STAGE_PUBLISHING &&
            m->task.stage[i].state != STAGE_COMPLETED)
            return false;
    return true;
}

/* A claim of a stage that may be the living one or an older one; it owns nothing. */
static struct claim some_claim(struct model *m, size_t i)
{
    static struct stage stage;

    stage = m->task.stage[i];
    if (stage.epoch > 0 && random_below(4) == 0)
        stage.epoch -= 1 + random_below((unsigned)stage.epoch);
    return (struct claim){ .task = m->task, .stage = &stage };
}

static bool holds(const struct model *m, size_t i, const struct claim *claimed)
{
    happened[STALE] += claimed->stage->epoch != m->task.stage[i].epoch;
    return m->task.stage[i].lease_ms && claimed->stage->epoch == m->task.stage[i].epoch;
}

/* ---- operations ---- */

static void random_insert(void)
{
    struct task_wish other = wish;
    unsigned open = 0, shape = random_below(3);
    bool fresh = false;
    struct task task = { 0 };
    int r;

    other.account = accounts[random_below(3)];
    other.zone = random_below(2) ? "z1" : "z2";
    for (int i = 0; i < model_count; i++)
        open += !model_ended(&models[i]) && strcmp(models[i].task.account, other.account) == 0;
    if (model_count == MODELS)
        return;
    other.machine = shape ? &machine : NULL;
    other.disk_count = shape ? shape : 1;
    r = task_insert(table, &other, LIMIT, &task, &fresh, &err);
    assert_int_equal(r, open < LIMIT ? 0 : -EBUSY);
    if (r < 0)
        return;
    assert_int_equal(task.stage_count, shape + 1);
    models[model_count++].task = task;
}

static void random_cancel(struct model *m)
{
    bool other = random_below(5) == 0;
    bool late =
        m->task.state == TASK_COMPLETED || (m->task.state == TASK_ACTIVE && model_is_late(m));
    int r = task_request_cancel(table, other ? "dave" : m->task.account, m->task.id, "why", &err);

    assert_int_equal(r, other ? -ENOENT : late ? -EALREADY : 0);
    happened[LATE] += r == -EALREADY && m->task.state == TASK_ACTIVE;
    if (r == 0)
        model_stop(m, "why");
}

static void model_lapse(struct model *m, size_t i)
{
    struct stage *stage = &m->task.stage[i];

    stage->lease_ms = 0;
    if (m->task.state == TASK_ACTIVE) {
        stage->deaths++;
        stage->due_ms = now;
    } else {
        model_drop(m, i);
        model_settle(m);
    }
}

/* What every claim does first. */
static void model_sweep(struct model *m)
{
    bool leased = false;

    if (m->task.ended_ms && m->task.ended_ms + TASK_KEEP_MS <= now && !m->gone) {
        m->gone = true;
        happened[FORGOTTEN]++;
        for (size_t i = 0; i < m->task.stage_count; i++)
            for (int k = 0; k < SERVICES; k++)
                lost_files += m->work[i].files[k];
    }
    for (size_t i = 0; i < m->task.stage_count; i++) {
        if (m->task.stage[i].lease_ms && m->task.stage[i].lease_ms <= now)
            model_lapse(m, i);
        leased |= m->task.stage[i].lease_ms != 0;
    }
    if (m->task.state == TASK_ACTIVE && m->task.expires_ms <= now && !leased && !model_is_late(m)) {
        model_stop(m, "Task expired");
        happened[EXPIRED]++;
    }
}

static bool is_claimable(const struct stage *stage)
{
    return (stage->state == STAGE_ACTIVE || stage->state == STAGE_PUBLISHING) &&
           stage->lease_ms == 0;
}

/* Stages at work: of the account and in the zone, NULL: all. */
static unsigned load(const char *account, const char *zone)
{
    unsigned count = 0;

    for (int n = 0; n < model_count; n++)
        for (size_t i = 0; i < models[n].task.stage_count; i++)
            count += models[n].task.stage[i].lease_ms != 0 &&
                     (!account || strcmp(account, models[n].task.account) == 0) &&
                     (!zone || strcmp(zone, models[n].task.zone) == 0);
    return count;
}

static bool may_run(const char *account, const char *zone)
{
    return (!limits.total || load(NULL, NULL) < limits.total) &&
           (!limits.per_account || load(account, NULL) < limits.per_account) &&
           (!zone_limit.count || strcmp(zone, zone_limit.zone) != 0 ||
            load(NULL, zone) < zone_limit.count);
}

/* How many names the account comes behind the one served last: 1 to 3. */
static int turn(int service, const char *account)
{
    int from = -1, to = 0;

    for (int i = 0; i < 3; i++) {
        if (served[service] && strcmp(accounts[i], served[service]) == 0)
            from = i;
        if (strcmp(accounts[i], account) == 0)
            to = i;
    }
    return to > from ? to - from : to - from + 3;
}

struct choice {
    struct model *m; /* NULL: none */
    size_t stage;
    bool refused; /* one was due, but for a limit */
};

/* Is a due stage to be claimed before the choice? */
static bool is_better(int service, const struct choice *choice, const struct model *m, size_t i)
{
    const struct task *task = &m->task, *other;
    unsigned mine = load(task->account, NULL), its;

    if (!choice->m)
        return true;
    other = &choice->m->task;
    its = load(other->account, NULL);
    if (mine != its)
        return mine < its;
    if (strcmp(task->account, other->account) != 0)
        return turn(service, task->account) < turn(service, other->account);
    if (task->stage[i].due_ms != other->stage[choice->stage].due_ms)
        return task->stage[i].due_ms < other->stage[choice->stage].due_ms;
    return strcmp(task->zone, other->zone) < 0; /* else the one that was inserted before */
}

static struct choice choose(int service)
{
    struct choice choice = { 0 };

    for (int n = 0; n < model_count; n++) {
        struct model *m = &models[n];

        for (size_t i = 0; i < m->task.stage_count; i++) {
            const struct stage *stage = &m->task.stage[i];

            if (!is_claimable(stage) || stage->due_ms > now)
                continue;
            if (!may_run(m->task.account, m->task.zone)) {
                choice.refused = true;
            } else if (is_better(service, &choice, m, i)) {
                choice.m = m;
                choice.stage = i;
            }
        }
    }
    return choice;
}

/* The first of each lane alone says when to look again: when it is due already, and waits for a
 * place, those behind it say nothing. */
static int64_t look_again(void)
{
    int64_t soonest = INT64_MAX;
    bool full = limits.total && load(NULL, NULL) >= limits.total;

    for (int n = 0; n < model_count; n++)
        for (size_t i = 0; i < models[n].task.stage_count; i++)
            if (models[n].task.stage[i].lease_ms && models[n].task.stage[i].lease_ms < soonest)
                soonest = models[n].task.stage[i].lease_ms;
    for (int lane = 0; lane < 6 && !full; lane++) {
        int64_t first = INT64_MAX;

        for (int n = 0; n < model_count; n++)
            for (size_t i = 0; i < models[n].task.stage_count; i++)
                if (is_claimable(&models[n].task.stage[i]) &&
                    strcmp(models[n].task.account, accounts[lane / 2]) == 0 &&
                    strcmp(models[n].task.zone, lane % 2 ? "z1" : "z2") == 0 &&
                    models[n].task.stage[i].due_ms < first)
                    first = models[n].task.stage[i].due_ms;
        if (first > now && first < soonest)
            soonest = first;
    }
    return soonest;
}

/* What a failed write has locked is free when the server has read that it is over, and a claim does
 * not wait for that, but takes another stage. */
static void let_go(void)
{
    int64_t end_ms = im_clock_monotonic_ms() + 60000;

    while (on_server() &&
           number_of("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                     "AND state <> 'idle' AND pid <> pg_backend_pid()") > 0)
        if (im_clock_monotonic_ms() > end_ms)
            fail_msg("a session does not end what it has begun");
}

static void random_claim(int service)
{
    struct claim claimed CLAIM_DONE = { 0 };
    int64_t wait = -1;
    struct choice choice;
    struct stage *stage;
    int r;

    let_go();
    r = task_claim(table, LEASE, &claimed, &wait, &err);

    for (int i = 0; i < model_count; i++)
        model_sweep(&models[i]);
    choice = choose(service);
    assert_int_equal(r, choice.m ? 0 : -EAGAIN);
    happened[FULL] += choice.refused;
    if (!choice.m) {
        assert_int_equal(wait == INT64_MAX ? wait : now + wait, look_again());
        return;
    }
    if (strcmp(claimed.task.id, choice.m->task.id) != 0)
        fail_msg("claimed %s/%s of %s in %s, due %" PRId64 ", not %s of %s in %s, due %" PRId64
                 "; served last: %s; limits %u, %u, %u",
                 claimed.task.id, stage_state_name(claimed.stage->state), claimed.task.account,
                 claimed.task.zone, now - claimed.stage->due_ms, choice.m->task.id,
                 choice.m->task.account, choice.m->task.zone,
                 now - choice.m->task.stage[choice.stage].due_ms,
                 served[service] ? served[service] : "nobody", limits.total, limits.per_account,
                 zone_limit.count);
    stage = &choice.m->task.stage[choice.stage];
    happened[TAKEN_OVER] += stage->state == STAGE_PUBLISHING;
    stage->epoch++;
    stage->lease_ms = now + LEASE;
    choice.m->work[choice.stage].service = service;
    choice.m->work[choice.stage].files[service] += stage->kind == STAGE_CONVERT;
    for (int i = 0; i < 3; i++)
        if (strcmp(accounts[i], choice.m->task.account) == 0)
            served[service] = accounts[i];
    assert_same(&claimed.task, &choice.m->task);
    assert_int_equal(claimed.stage->number, choice.stage + 1);
    assert_string_equal(claimed.stage->worker, names[service]);
}

static void random_heartbeat(struct model *m, size_t i)
{
    struct claim claimed = some_claim(m, i);
    struct stage *stage = &m->task.stage[i];
    uint64_t bytes = random_below(1200);
    bool cancel = false;
    int r = task_heartbeat(table, &claimed, LEASE, bytes, "beat", &cancel, &err);

    assert_int_equal(r, holds(m, i, &claimed) ? 0 : -ESTALE);
    if (r < 0)
        return;
    assert_int_equal(cancel, m->task.state == TASK_CANCELLING);
    stage->lease_ms = now + LEASE;
    bytes = bytes < stage->image_bytes ? bytes : stage->image_bytes;
    stage->bytes_converted = bytes > stage->bytes_converted ? bytes : stage->bytes_converted;
    say(&stage->status_message, "beat");
}

static void random_postpone(struct model *m, size_t i)
{
    struct claim claimed = some_claim(m, i);
    struct stage *stage = &m->task.stage[i];
    enum task_return why = (enum task_return)random_below(4);
    int64_t pause = random_below(20000);
    int r = task_postpone(table, &claimed, pause, why, "later", &err);
    bool may = holds(m, i, &claimed) && m->task.state == TASK_ACTIVE;

    assert_int_equal(r, may ? 0 : -ESTALE);
    if (r < 0)
        return;
    stage->lease_ms = 0;
    stage->due_ms = now + pause;
    stage->waits += why == TASK_WAITS;
    stage->tries += why == TASK_TRIED;
    stage->deaths += why == TASK_DIED;
    say(&stage->status_message, "later");
}

static void random_publish(struct model *m, size_t i)
{
    static const struct stage_result boots = { .digest = DIGEST, .boot_mode = "uefi" };
    struct claim claimed = some_claim(m, i);
    struct stage *stage = &m->task.stage[i];
    int r = task_publish(table, &claimed, &boots, &err);
    bool may = holds(m, i, &claimed) && stage->kind == STAGE_CONVERT &&
               (stage->state == STAGE_PUBLISHING ? stage->won_epoch == stage->epoch
                                                 : m->task.state == TASK_ACTIVE);

    assert_int_equal(r, may ? 0 : -ESTALE);
    if (r < 0)
        return;
    stage->state = STAGE_PUBLISHING;
    stage->won_epoch = stage->epoch;
    say(&stage->digest, DIGEST);
    say(&m->task.boot_mode, "uefi");
}

/* The launch begins when the last disk is done, the task ends with its last stage. */
static void model_go_on(struct model *m)
{
    size_t done = 0, last = m->task.stage_count - 1;

    for (size_t i = 0; i <= last; i++)
        done += m->task.stage[i].state == STAGE_COMPLETED;
    if (done == last && m->task.stage[last].state == STAGE_WAITING) {
        m->task.stage[last].state = STAGE_ACTIVE;
        m->task.stage[last].due_ms = now;
        say(&m->task.stage[last].status_message, "Progress: 99%");
    }
    if (done == last + 1) {
        model_end(m, TASK_COMPLETED);
        happened[COMPLETED]++;
    }
}

static void random_complete(struct model *m, size_t i)
{
    struct claim claimed = some_claim(m, i);
    struct stage *stage = &m->task.stage[i];
    bool launch = stage->kind == STAGE_LAUNCH;
    int r = task_complete(table, &claimed, NULL, &err);
    bool may = holds(m, i, &claimed) &&
               (launch ? m->task.state == TASK_ACTIVE : stage->state == STAGE_PUBLISHING);

    assert_int_equal(r, may ? 0 : -ESTALE);
    if (r < 0)
        return;
    if (m->task.state == TASK_CANCELLING) {
        stage_end(m, i, STAGE_REMOVING, NULL); /* made for nothing */
        return;
    }
    stage_end(m, i, STAGE_COMPLETED, NULL);
    stage->bytes_converted = stage->image_bytes;
    m->work[i].files[m->work[i].service] -= !launch;
    model_go_on(m);
}

static void random_end(struct model *m, size_t i)
{
    struct claim claimed = some_claim(m, i);
    struct stage *stage = &m->task.stage[i];
    bool clean = stage->kind == STAGE_LAUNCH || (stage->state == STAGE_ACTIVE && stage->epoch == 1);
    const char *why = m->task.state == TASK_ACTIVE ? "failed" : NULL;
    int r = task_end_cancelled(table, &claimed, "failed", &err);

    assert_int_equal(r, holds(m, i, &claimed) ? 0 : -ESTALE);
    if (r < 0)
        return;
    stage_end(m, i, clean ? STAGE_CANCELLED : STAGE_REMOVING, why);
    m->work[i].files[m->work[i].service] -= clean && stage->kind == STAGE_CONVERT;
    model_stop(m, "failed");
    model_settle(m);
}

static void random_removal(int service)
{
    struct claim claimed CLAIM_DONE = { 0 };
    int r = task_next_removal(table, &claimed, &err), left = 0;

    for (int n = 0; n < model_count; n++)
        for (size_t i = 0; i < models[n].task.stage_count; i++) {
            struct model *m = &models[n];

            if (m->task.stage[i].state != STAGE_REMOVING)
                continue;
            left++;
            if (r < 0 || strcmp(m->task.id, claimed.task.id) != 0 || i + 1 != claimed.stage->number)
                continue;
            ok(task_removed(table, &claimed, &err));
            happened[REMOVED]++;
            stage_end(m, i, STAGE_CANCELLED,
                      m->task.stage[i].status_message ? (char[]){ "failed" } : NULL);
            for (int k = 0; k < SERVICES; k++)
                if (k == service || is_alone())
                    m->work[i].files[k] = 0;
            model_settle(m);
        }
    assert_int_equal(r, left ? 0 : -EAGAIN);
}

static int count_one(void *arg, const struct claim *claimed)
{
    (void)claimed;
    ++*(int *)arg;
    return 0;
}

/* A stage that was being worked on says again what it said before. */
static void model_release(struct model *m, size_t i)
{
    struct stage *stage = &m->task.stage[i];
    char text[64];

    (void)snprintf(text, sizeof(text), "Pending : Downloaded %" PRIu64, stage->bytes_converted);
    if (m->task.state == TASK_ACTIVE)
        say(&stage->status_message, stage->kind == STAGE_LAUNCH     ? "Progress: 99%"
                                    : m->task.kind == TASK_INSTANCE ? text
                                                                    : "Pending");
    model_lapse(m, i);
}

static void random_recover(int service)
{
    int seen = 0, leased = 0;

    ok(task_recover(table, count_one, &seen, &err));
    for (int n = 0; n < model_count; n++)
        for (size_t i = 0; i < models[n].task.stage_count; i++) {
            struct model *m = &models[n];

            if (m->task.stage[i].lease_ms && m->work[i].service == service) {
                leased++;
                happened[RECOVERED]++;
                model_release(m, i);
            }
            if (is_alone() && is_claimable(&m->task.stage[i]))
                m->task.stage[i].due_ms = 0;
        }
    assert_int_equal(seen, leased);
}

/* ---- the test ---- */

static void open_services(void)
{
    limits.zone = &zone_limit;
    limits.zone_count = 1;
    for (int i = 0; i < (is_alone() ? 1 : SERVICES); i++) {
        services[i] = open_as(names[i], is_alone(), &limits);
        served[i] = NULL;
    }
}

static void close_services(void)
{
    for (int i = 0; i < SERVICES; i++)
        services[i] = task_table_close(services[i]);
    table = NULL;
}

static void choose_limits(void)
{
    limits.total = random_below(2) ? 2 + random_below(6) : 0;
    limits.per_account = random_below(2) ? 1 + random_below(3) : 0;
    zone_limit.count = random_below(2) ? 1 + random_below(3) : 0;
}

static void compare_all(void)
{
    int64_t rows = lost_files;

    (void)someone();
    for (int i = 0; i < model_count; i++) {
        const struct model *m = &models[i];
        struct task task TASK_DONE = { 0 };

        if (m->gone) {
            assert_int_equal(task_get(table, m->task.account, m->task.id, &task, &err), -ENOENT);
            continue;
        }
        ok(task_get(table, m->task.account, m->task.id, &task, &err));
        assert_same(&task, &m->task);
        for (size_t k = 0; k < m->task.stage_count; k++)
            rows += m->work[k].files[0] + m->work[k].files[1];
    }
    assert_int_equal(number_of("SELECT count(*) FROM thing"), rows);
}

static void move_clock(unsigned what)
{
    now += what < 99 ? (int64_t)random_below(4000) : TASK_LIFE_MS / 5;
}

/* Some stage; rather one that is worked on. */
static struct model *pick(size_t *ret_stage)
{
    struct model *m = NULL;

    for (int tries = 0; tries < 8 && model_count; tries++) {
        m = &models[random_below((unsigned)model_count)];
        *ret_stage = random_below((unsigned)m->task.stage_count);
        if (m->task.stage[*ret_stage].lease_ms)
            break;
    }
    return m;
}

static void random_operation(void)
{
    int service = someone();
    size_t i = 0;
    struct model *m = pick(&i);
    unsigned what = random_below(100);

    if (what < 6 || !m || m->gone)
        random_insert();
    else if (what < 9)
        random_cancel(m);
    else if (what < 38)
        random_claim(service);
    else if (what < 48)
        random_heartbeat(m, i);
    else if (what < 57)
        random_postpone(m, i);
    else if (what < 68)
        random_publish(m, i);
    else if (what < 78)
        random_complete(m, i);
    else if (what < 80)
        random_end(m, i);
    else if (what < 84)
        random_removal(service);
    else if (what < 90 || random_below(5))
        move_clock(what);
    else
        random_recover(service);
}

static void forget_models(void)
{
    for (int i = 0; i < model_count; i++)
        task_done(&models[i].task);
    memset(models, 0, sizeof(models));
    model_count = 0;
    lost_files = 0;
}

/* In memory where there is such a directory: this is not about the disk. */
static int make_fast_database(void **state)
{
    (void)snprintf(dir, sizeof(dir), "/dev/shm/test-task.XXXXXX");
    if (on_server() || !mkdtemp(dir))
        return make_database(state);
    (void)snprintf(where, sizeof(where), "%s/db", dir);
    return 0;
}

/* A new database, so that there is always something to do. */
static void start_again(void **state)
{
    if (services[0]) {
        close_services();
        assert_int_equal(remove_database(state), 0);
    }
    forget_models();
    assert_int_equal(make_fast_database(state), 0);
    choose_limits();
    open_services();
}

static void test_random(void **state)
{
    uint64_t operations = setting("TEST_OPERATIONS", on_server() ? 6000 : 100000);

    random_state = setting("TEST_SEED", 20261121);
    print_message("TEST_SEED=%" PRIu64 " TEST_OPERATIONS=%" PRIu64 "\n", random_state, operations);
    now = NOW;
    start_again(state);
    for (uint64_t i = 0; i < operations; i++) {
        random_operation();
        if (i % 100 == 99)
            compare_all();
        if (i % 1000 == 999) { /* another start, with other limits */
            close_services();
            choose_limits();
            open_services();
        }
        if (i % 100 == 99 && model_count == MODELS)
            start_again(state);
    }
    compare_all();
    for (int i = 0; i < HAPPENINGS; i++) {
        print_message("%" PRIu64 " %s\n", happened[i], happening[i]);
        assert_true(happened[i] > 0 || operations < 100000);
    }
    forget_models();
    close_services();
    assert_int_equal(remove_database(state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
