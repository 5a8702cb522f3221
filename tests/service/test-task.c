/* test-task - what owners do with the task table: insert, read, cancel, tag; client tokens.
 *
 * On SQLite, and (started by service/task-postgres.sh) on PostgreSQL. */

#include <config.h>

#include "task-fixture.h"

/* ---- the parts without a database ---- */

static void test_names(void **state)
{
    static const char *const names[] = { "active", "cancelling", "cancelled", "completed" };
    static const char *const stages[] = { "waiting",   "active",   "publishing",
                                          "completed", "removing", "cancelled" };
    enum task_state parsed = TASK_ACTIVE;
    enum stage_state stage = STAGE_WAITING;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_string_equal(task_state_name((enum task_state)i), names[i]);
        assert_int_equal(task_state_parse(names[i], &parsed), 0);
        assert_int_equal(parsed, i);
    }
    assert_int_equal(task_state_parse("Active", &parsed), -EINVAL);
    assert_int_equal(parsed, TASK_COMPLETED);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(stage_state_name((enum stage_state)i), stages[i]);
        assert_int_equal(stage_state_parse(stages[i], &stage), 0);
        assert_int_equal(stage, i);
    }
    assert_int_equal(stage_state_parse("", &stage), -EINVAL);
}

static void test_ids(void **state)
{
    char seen[36] = { 0 }, id[TASK_ID_SIZE], volume[TASK_RESOURCE_ID_SIZE];
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

    (void)state;
    for (int i = 0; i < 200; i++) {
        task_new_id(TASK_INSTANCE, id);
        assert_int_equal(strncmp(id, "import-i-", 9), 0);
        assert_int_equal(strlen(id), 17);
        task_new_id(TASK_VOLUME, id);
        assert_int_equal(strncmp(id, "import-vol-", 11), 0);
        assert_int_equal(strlen(id), 19);
        assert_int_equal(strspn(id + 11, digits), 8);
        for (int k = 11; k < 19; k++)
            seen[strchr(digits, id[k]) - digits] = 1;
        task_new_resource_id("vol-", volume);
        assert_int_equal(strncmp(volume, "vol-", 4), 0);
        assert_int_equal(strlen(volume), 21);
        assert_int_equal(strspn(volume + 4, "0123456789abcdef"), 17);
    }
    for (int i = 0; i < 36; i++)
        assert_int_equal(seen[i], 1); /* not so: once in 10^18 */
}

/* ---- inserting and reading ---- */

static void test_reopen(void **state)
{
    struct task task TASK_DONE = { 0 }, again TASK_DONE = { 0 };

    (void)state;
    insert(&task);
    reopen();
    ok(task_get(table, "alice", task.id, &again, &err));
    assert_same(&task, &again);
    assert_string_equal(again.stage[0].manifest_url, URL);
    assert_string_equal(again.stage[0].volume_id, task.stage[0].volume_id);
    assert_int_equal(again.created_ms, NOW);
}

static void test_insert(void **state)
{
    struct task task TASK_DONE = { 0 }, bare TASK_DONE = { 0 };
    struct task_wish other = wish;

    (void)state;
    insert(&task);
    assert_string_equal(task.account, "alice");
    assert_int_equal(task.state, TASK_ACTIVE);
    assert_string_equal(task_message(&task), "Pending");
    assert_string_equal(task.stage[0].format, "VMDK");
    assert_int_equal(task.stage[0].image_bytes, 1000);
    assert_string_equal(task.stage[0].manifest_url, URL);
    assert_int_equal(task.stage[0].volume_gib, 8);
    assert_string_equal(task.zone, "standalone");
    assert_string_equal(task.description, "a disk");
    assert_int_equal(task.stage[0].bytes_converted, 0);
    assert_int_equal(task.created_ms, NOW);
    assert_int_equal(task.expires_ms, NOW + INT64_C(604800000));
    assert_int_equal(task.stage_count, 1);
    assert_int_equal(task.stage[0].epoch + task.stage[0].deaths + task.stage[0].waits, 0);
    assert_int_equal(task.stage[0].tries, 0);
    assert_int_equal(task.kind, TASK_VOLUME);
    assert_null(task.instance_id);
    other.description = NULL;
    ok(try_insert(&other, 1000, &bare));
    assert_null(bare.description);
    assert_string_not_equal(bare.id, task.id);
    assert_string_not_equal(bare.stage[0].volume_id, task.stage[0].volume_id);
}

static void test_insert_limit(void **state)
{
    struct task task[3] = { 0 };
    struct task_wish other = wish;

    (void)state;
    ok(try_insert(&wish, 2, &task[0]));
    ok(try_insert(&wish, 2, &task[1]));
    assert_int_equal(try_insert(&wish, 2, &task[2]), -EBUSY);
    assert_non_null(strstr(err.message, "has 2 conversion tasks"));
    other.account = "bob"; /* has a count of his own */
    ok(try_insert(&other, 2, &task[2]));
    task_done(&task[2]);
    ok(task_request_cancel(at(NOW), "alice", task[0].id, NULL, &err));
    ok(try_insert(&wish, 2, &task[2])); /* an ended one counts no more */
    for (int i = 0; i < 3; i++)
        task_done(&task[i]);
}

static void test_insert_uncountable(void **state)
{
    struct task task = { 0 };
    struct task_disk disk[22] = { disks[0] };
    struct task_wish other = wish;
    bool fresh;

    (void)state;
    other.disk = disk;
    disk[0].image_bytes = (uint64_t)INT64_MAX + 1;
    assert_int_equal(task_insert(table, &other, 9, &task, &fresh, &err), -EINVAL);
    disk[0] = disks[0];
    disk[0].volume_gib = UINT64_MAX;
    assert_int_equal(task_insert(table, &other, 9, &task, &fresh, &err), -EINVAL);
    disk[0] = disks[0];
    other.disk_count = 2; /* a volume has one image */
    assert_int_equal(task_insert(table, &other, 9, &task, &fresh, &err), -EINVAL);
    other.machine = &machine;
    other.disk_count = 22;
    assert_int_equal(task_insert(table, &other, 9, &task, &fresh, &err), -EINVAL);
    assert_null(task.id);
    for (size_t i = 0; i < 21; i++)
        disk[i] = disks[0];
    other.disk_count = 21;
    disk[0].volume_gib = 1;
    disk[0].image_bytes = INT64_MAX;
    ok(try_insert(&other, 9, &task));
    assert_int_equal(task.stage_count, 22);
    assert_int_equal(task.stage[0].image_bytes, INT64_MAX);
    task_done(&task);
}

/* What strangers wrote comes back as it was and does nothing. */
static void test_hostile_text(void **state)
{
    static const char evil[] = "x'); DROP TABLE task; --\"\\%s\n\xd0\x96\xf0\x9f\x92\xbe";
    static const struct task_disk disk = { evil, evil, evil, 1, 1 };
    static const struct task_machine spec = { evil, evil, evil };
    static const struct task_tag tag = { evil, evil };
    const struct task_wish other = { .account = evil,
                                     .zone = evil,
                                     .description = evil,
                                     .client_token = evil,
                                     .proof = evil,
                                     .parameters = evil,
                                     .disk = &disk,
                                     .disk_count = 1,
                                     .machine = &spec,
                                     .tag = &tag,
                                     .tag_count = 1 };
    struct task task TASK_DONE = { 0 }, again TASK_DONE = { 0 };

    (void)state;
    ok(try_insert(&other, 9, &task));
    assert_int_equal(task_get(table, evil, evil, &again, &err), -ENOENT);
    ok(task_get(table, evil, task.id, &again, &err));
    assert_string_equal(again.stage[0].manifest_url, evil);
    assert_string_equal(again.description, evil);
    assert_string_equal(again.stage[0].description, evil);
    assert_string_equal(again.launch_spec, evil);
    assert_string_equal(again.tag[0].key, evil);
    assert_string_equal(again.tag[0].value, evil);
    ok(task_request_cancel(at(NOW), evil, task.id, evil, &err));
    task_done(&again);
    ok(task_get(table, evil, task.id, &again, &err));
    assert_string_equal(again.status_message, evil);
}

static void test_get_of_others(void **state)
{
    struct task task TASK_DONE = { 0 }, other = { 0 };

    (void)state;
    insert(&task);
    assert_int_equal(task_get(table, "bob", task.id, &other, &err), -ENOENT);
    assert_int_equal(task_get(table, "alice", "import-vol-00000000", &other, &err), -ENOENT);
    assert_int_equal(task_request_cancel(at(NOW), "bob", task.id, NULL, &err), -ENOENT);
    assert_int_equal(row(task.id)->state, TASK_ACTIVE);
    assert_null(other.id);
    forget_rows();
}

static void test_list(void **state)
{
    struct task task[3] = { 0 };
    struct task_wish other = wish;
    struct listing all = { .count = 0 }, first = { .stop_at = 1 }, none = { .count = 0 };

    (void)state;
    insert(&task[0]);
    other.account = "bob";
    ok(try_insert(&other, 9, &task[1]));
    (void)at(NOW - 5000);
    insert(&task[2]); /* the order is that of arrival, whatever the clock says */
    ok(task_list(table, "alice", list_one, &all, &err));
    assert_int_equal(all.count, 2);
    assert_string_equal(all.id[0], task[0].id);
    assert_string_equal(all.id[1], task[2].id);
    assert_int_equal(task_list(table, "alice", list_one, &first, &err), -ECANCELED);
    assert_int_equal(first.count, 1);
    ok(task_list(table, "carol", list_one, &none, &err));
    assert_int_equal(none.count, 0);
    for (int i = 0; i < 3; i++)
        task_done(&task[i]);
}

static void test_cancel_waiting(void **state)
{
    struct task a TASK_DONE = { 0 }, b TASK_DONE = { 0 };

    (void)state;
    insert(&a);
    insert(&b);
    ok(task_request_cancel(at(NOW), "alice", a.id, "not needed", &err));
    assert_int_equal(row(a.id)->state, TASK_CANCELLED);
    assert_string_equal(message(a.id), "not needed");
    ok(task_request_cancel(at(NOW), "alice", a.id, "again", &err));
    assert_string_equal(message(a.id), "not needed");
    ok(task_request_cancel(at(NOW), "alice", b.id, "", &err));
    assert_string_equal(message(b.id), "Cancelled by user");
    assert_int_equal(claim_nothing(NOW), INT64_MAX);
    forget_rows();
}

/* ---- client tokens ---- */

static struct task_wish token_wish(const char *token, const char *parameters)
{
    struct task_wish other = wish;

    other.client_token = token;
    other.parameters = parameters;
    return other;
}

static void test_token(void **state)
{
    struct task first TASK_DONE = { 0 }, again TASK_DONE = { 0 }, third TASK_DONE = { 0 };
    struct task_wish a = token_wish("t", "p1"), b = token_wish("t", "p2");
    bool fresh = true;

    (void)state;
    ok(try_insert(&a, 1, &first));
    ok(task_request_cancel(at(NOW), "alice", first.id, "no", &err));
    ok(task_insert(table, &a, 0, &again, &fresh, &err)); /* the limit is for new ones */
    assert_false(fresh);
    assert_string_equal(again.id, first.id);
    assert_int_equal(again.state, TASK_CANCELLED); /* as it is now */
    assert_int_equal(task_insert(table, &b, 9, &third, &fresh, &err), -ENOTUNIQ);
    assert_non_null(strstr(err.message, first.id));
    b.machine = &machine; /* of another action */
    ok(try_insert(&b, 9, &third));
    task_done(&third);
    b = token_wish("t", "p2");
    b.account = "bob";
    ok(try_insert(&b, 9, &third));
    task_done(&third);
    b = token_wish("T", "p2");
    ok(try_insert(&b, 9, &third));
}

struct racer {
    struct task_table *table;
    char id[TASK_ID_SIZE];
    bool fresh;
    int result;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct task_wish a = token_wish("race", "p");
    struct task task TASK_DONE = { 0 };
    struct im_error mine;

    racer->result = task_insert(racer->table, &a, 9, &task, &racer->fresh, &mine);
    (void)snprintf(racer->id, sizeof(racer->id), "%s", task.id ? task.id : "");
    return NULL;
}

static int count_task(void *arg, const struct task *task)
{
    (void)task;
    ++*(int *)arg;
    return 0;
}

#define RACERS 32

/* Through two services, where there can be two. */
static void test_racing_tokens(void **state)
{
    struct task_table *other = open_other("two", NULL);
    struct racer racer[RACERS] = { 0 };
    pthread_t thread[RACERS];
    int fresh = 0, count = 0;

    (void)state;
    for (int i = 0; i < RACERS; i++) {
        racer[i].table = i % 2 ? other : table;
        assert_int_equal(pthread_create(&thread[i], NULL, race, &racer[i]), 0);
    }
    for (int i = 0; i < RACERS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < RACERS; i++) {
        assert_int_equal(racer[i].result, 0);
        assert_string_equal(racer[i].id, racer[0].id);
        fresh += racer[i].fresh;
    }
    assert_int_equal(fresh, 1);
    ok(task_list(table, "alice", count_task, &count, &err));
    assert_int_equal(count, 1);
    close_other(other);
}

/* ---- writers at the same time ---- */

#define WRITERS 8
#define WRITES  20

/* Every second insert is refused; the others share its transaction. */
static void *write_much(void *arg)
{
    int *wrong = arg;

    for (int i = 0; i < 2 * WRITES; i++) {
        struct task task TASK_DONE = { 0 };
        struct im_error mine;
        bool fresh;
        int r = task_insert(table, &wish, i % 2 ? 0 : 9999, &task, &fresh, &mine);

        *wrong += r != (i % 2 ? -EBUSY : 0);
    }
    return NULL;
}

static void test_writers(void **state)
{
    pthread_t thread[WRITERS];
    int wrong[WRITERS] = { 0 }, count = 0;

    (void)state;
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_much, &wrong[i]), 0);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_int_equal(wrong[i], 0);
    }
    reopen();
    ok(task_list(table, "alice", count_task, &count, &err));
    assert_int_equal(count, WRITERS * WRITES);
}

/* ---- tags ---- */

/* "key=value,key=value" */
static const char *tags(const char *id)
{
    static char text[256];
    const struct task *task = row(id);
    size_t n = 0;

    text[0] = '\0';
    for (size_t i = 0; i < task->tag_count; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%s", n ? "," : "", task->tag[i].key,
                              task->tag[i].value);
    return text;
}

static void test_tags(void **state)
{
    static const struct task_tag set[] = { { "b", "2" }, { "a", "1" } };
    static const struct task_tag more[] = { { "b", "3" }, { "c", "" } };
    static const struct task_tag no[] = { { "b", "2" }, { "c", "" }, { "x", NULL }, { "a", NULL } };
    struct task_tag many[50];
    char key[50][8];
    struct task_wish other = wish;
    struct task task TASK_DONE = { 0 }, plain TASK_DONE = { 0 };

    (void)state;
    other.tag = set;
    other.tag_count = 2;
    ok(try_insert(&other, 9, &task));
    insert(&plain);
    assert_string_equal(tags(task.id), "a=1,b=2");
    assert_string_equal(tags(plain.id), "");
    ok(task_tag(table, "alice", task.id, more, 2, &err));
    assert_string_equal(tags(task.id), "a=1,b=3,c=");
    assert_int_equal(task_tag(table, "bob", task.id, more, 2, &err), -ENOENT);
    assert_int_equal(task_untag(table, "bob", task.id, more, 2, &err), -ENOENT);
    ok(task_untag(table, "alice", task.id, no, 4, &err));
    assert_string_equal(tags(task.id), "b=3");
    for (int i = 0; i < 50; i++) {
        (void)snprintf(key[i], sizeof(key[i]), "k%d", i);
        many[i] = (struct task_tag){ key[i], "v" };
    }
    assert_int_equal(task_tag(table, "alice", task.id, many, 50, &err), -E2BIG);
    assert_string_equal(tags(task.id), "b=3"); /* nothing of it */
    ok(task_tag(table, "alice", plain.id, many, 50, &err));
    ok(task_tag(table, "alice", plain.id, many, 50, &err)); /* the same ones */
    assert_int_equal(row(plain.id)->tag_count, 50);
    ok(task_untag(table, "alice", task.id, NULL, 0, &err));
    assert_string_equal(tags(task.id), "");
    assert_int_equal(row(plain.id)->tag_count, 50);
    forget_rows();
}

/* ---- many ---- */

/* An account's tasks are shown page by page, none left out and none twice, with what is theirs. */
static int check_one(void *arg, const struct task *task)
{
    int *count = arg;

    assert_int_equal(task->stage_count, *count % 7 == 0 ? 3 : 1);
    assert_int_equal(task->tag_count, *count % 5 == 0);
    ++*count;
    return 0;
}

static void test_many(void **state)
{
    static const struct task_tag tag = { "k", "v" };
    struct task_wish other = wish;
    int count = 0;

    (void)state;
    for (int i = 0; i < 350; i++) {
        struct task task TASK_DONE = { 0 };

        other.account = "bob"; /* between any two of hers is one of his */
        ok(try_insert(&other, 1000, &task));
        task_done(&task);
        other = wish;
        other.machine = i % 7 == 0 ? &machine : NULL;
        other.disk_count = i % 7 == 0 ? 2 : 1;
        other.tag = &tag;
        other.tag_count = i % 5 == 0;
        ok(try_insert(&other, 1000, &task));
        other = wish;
    }
    ok(task_list(table, "alice", check_one, &count, &err));
    assert_int_equal(count, 350);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),  cmocka_unit_test(test_ids),
        with_table(test_reopen),       with_table(test_insert),
        with_table(test_insert_limit), with_table(test_insert_uncountable),
        with_table(test_hostile_text), with_table(test_get_of_others),
        with_table(test_list),         with_table(test_cancel_waiting),
        with_table(test_token),        with_table(test_racing_tokens),
        with_table(test_writers),      with_table(test_tags),
        with_table(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
