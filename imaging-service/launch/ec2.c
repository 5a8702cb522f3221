/* ec2 - an instance at an EC2 endpoint: CreateSnapshot, RegisterImage, RunInstances.
 *
 * Nothing is remembered here of what was done there.  Each step first looks for what an earlier
 * attempt has made, by a description or a name that holds the task's id, and makes it when it is
 * not there; RunInstances has the task's id as its ClientToken.  So an attempt may end anywhere and
 * be repeated, and there is one snapshot per volume, one image and one instance in the end.
 *
 * The volumes must be known to the endpoint by their ids. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/retry.h"
#include "launch/ec2-client.h"
#include "launch/ec2-form.h"
#include "launch/launcher.h"
#include "log.h"

/* One request; the answers are small. */
#define REQUEST_MS 60000

/* When a cancelled task waits for it. */
#define WITHDRAW_REQUEST_MS 5000

/* Tries of a step whose failure may heal, before the whole attempt is given back. */
#define TRIES 4

/* How often something that is being made is looked at: at first, and later. */
#define POLL_MIN_MS 200
#define POLL_MAX_MS 5000

/* What can be looked for, made, and waited for. */
struct kind {
    const char *noun;
    const char *describe, *owner; /* the action, and whose are looked at */
    const char *id_param, *filter;
    const char *id_path, *state_path, *reason_path; /* in its answer */
    const char *good, *coming;                      /* states */
    const char *create, *created_path;              /* the action, the id in its answer */
    const char *destroy, *destroy_param;
};

static const struct kind snapshot_kind = {
    .noun = "snapshot",
    .describe = "DescribeSnapshots",
    .owner = "self",
    .id_param = "SnapshotId.1",
    .filter = "description",
    .id_path = "snapshotSet/item/snapshotId",
    .state_path = "snapshotSet/item/status",
    .reason_path = "snapshotSet/item/statusMessage",
    .good = "completed",
    .coming = "pending",
    .create = "CreateSnapshot",
    .created_path = "snapshotId",
    .destroy = "DeleteSnapshot",
    .destroy_param = "SnapshotId",
};

static const struct kind image_kind = {
    .noun = "image",
    .describe = "DescribeImages",
    .owner = "self",
    .id_param = "ImageId.1",
    .filter = "name",
    .id_path = "imagesSet/item/imageId",
    .state_path = "imagesSet/item/imageState",
    .reason_path = "imagesSet/item/stateReason/message",
    .good = "available",
    .coming = "pending",
    .create = "RegisterImage",
    .created_path = "imageId",
    .destroy = "DeregisterImage",
    .destroy_param = "ImageId",
};

static const struct kind instance_kind = {
    .noun = "instance",
    .describe = "DescribeInstances",
    .filter = "client-token",
    .id_path = "reservationSet/item/instancesSet/item/instanceId",
    .state_path = "reservationSet/item/instancesSet/item/instanceState/name",
    .reason_path = "reservationSet/item/instancesSet/item/stateReason/message",
    .destroy = "TerminateInstances",
    .destroy_param = "InstanceId.1",
};

struct ec2 {
    struct launch *launch;
    struct ec2_client *client;
    char snapshot[LAUNCH_DISKS_MAX][LAUNCH_ID_SIZE];
    char image[LAUNCH_ID_SIZE];
};

/* One of its kind. */
struct thing {
    const struct kind *kind;
    char key[EC2_KEY_SIZE]; /* what it is found by */
    size_t disk;            /* of a snapshot */
    char id[LAUNCH_ID_SIZE];
    char state[32];
    char reason[160];
};

/* ---- requests ---- */

static int form_failed(int r, struct im_error *err)
{
    return r == -EINVAL
               ? im_fail(err, EINVAL, "the launch specification has a member of the wrong type")
               : im_fail_errno(err, -r, "cannot write a request to the launcher's endpoint");
}

static int take_id(const struct kind *kind, const char *id, char ret_id[LAUNCH_ID_SIZE],
                   struct im_error *err)
{
    if (launch_is_id(id)) {
        memcpy(ret_id, id, strlen(id) + 1);
        return 0;
    }
    return im_fail_code(err, EBADMSG, "LauncherFailed",
                        "the launcher's endpoint named the %s '%.80s', which is not an id",
                        kind->noun, id);
}

/* Look it up, by its id when that is known; thing->id is "" when there is none. */
static int find(struct ec2_client *client, struct thing *thing, struct im_error *err)
{
    const struct kind *kind = thing->kind;
    struct im_buffer form IM_BUFFER_DONE = EC2_FORM;
    char id[128];
    const struct ec2_field fields[] = {
        { kind->id_path, id, sizeof(id) },
        { kind->state_path, thing->state, sizeof(thing->state) },
        { kind->reason_path, thing->reason, sizeof(thing->reason) },
    };
    int r = ec2_form_action(&form, kind->describe);

    if (r == 0)
        r = *thing->id ? ec2_form_add(&form, kind->id_param, thing->id)
                       : ec2_form_filter(&form, kind->owner, kind->filter, thing->key);
    if (r < 0)
        return form_failed(r, err);
    r = ec2_call(client, &form, fields, sizeof(fields) / sizeof(fields[0]), err);
    if (r < 0 || !*id) /* made a moment ago it may not be listed yet: the known id stays */
        return r;
    return take_id(kind, id, thing->id, err);
}

static int add_create_params(struct ec2 *ec2, const struct thing *thing, struct im_buffer *form)
{
    const struct launch *launch = ec2->launch;
    int r = ec2_form_action(form, thing->kind->create);

    if (r < 0)
        return r;
    if (thing->kind == &image_kind)
        return ec2_form_image(form, launch->image, ec2->snapshot);
    r = ec2_form_add(form, "VolumeId", launch->machine->disk[thing->disk].volume_id);
    return r < 0 ? r : ec2_form_add(form, "Description", thing->key);
}

static int create(struct ec2 *ec2, struct thing *thing, struct im_error *err)
{
    struct im_buffer form IM_BUFFER_DONE = EC2_FORM;
    char id[128];
    const struct ec2_field field = { thing->kind->created_path, id, sizeof(id) };
    int r = add_create_params(ec2, thing, &form);

    if (r < 0)
        return form_failed(r, err);
    r = ec2_call(ec2->client, &form, &field, 1, err);
    if (r == 0)
        r = take_id(thing->kind, id, thing->id, err);
    if (r < 0)
        return r;
    (void)snprintf(thing->state, sizeof(thing->state), "%s", thing->kind->coming);
    return 0;
}

/* ---- steps: 1 done, 0 not yet, -errno ---- */

/* It is there, whatever its state. */
static int step_exists(struct ec2 *ec2, struct thing *thing, struct im_error *err)
{
    int r = find(ec2->client, thing, err);

    if (r == 0 && !*thing->id)
        r = create(ec2, thing, err);
    return r < 0 ? r : 1;
}

/* It is there and good. */
static int step_ready(struct ec2 *ec2, struct thing *thing, struct im_error *err)
{
    const struct kind *kind = thing->kind;
    int r = step_exists(ec2, thing, err);

    if (r < 0)
        return r;
    if (strcmp(thing->state, kind->good) == 0)
        return 1;
    if (strcmp(thing->state, kind->coming) == 0 || !*thing->state)
        return 0;
    return im_fail_code(err, EREMOTEIO, "LauncherFailed",
                        "the %s %s at the launcher's endpoint is in the state '%s'%s%s", kind->noun,
                        thing->id, thing->state, *thing->reason ? ": " : "", thing->reason);
}

typedef int step_fn(struct ec2 *ec2, struct thing *thing, struct im_error *err);

static int too_late(const struct thing *thing, struct im_error *err)
{
    return im_fail_code(err, EAGAIN, "LauncherFailed",
                        "the %s %s at the launcher's endpoint is not there yet", thing->kind->noun,
                        *thing->id ? thing->id : thing->key);
}

/* Repeat a step until it is done, with pauses between its looks and after failures that may heal.
 */
static int until_done(struct ec2 *ec2, step_fn *step, struct thing *thing, struct im_error *err)
{
    const volatile bool *stop = (const volatile bool *)ec2->launch->stop;
    int64_t poll_ms = POLL_MIN_MS;
    unsigned faults = 0;

    for (;;) {
        int r = launch_check_stop(ec2->launch, err);

        if (r == 0)
            r = step(ec2, thing, err);
        if (r == 1)
            return 0;
        if (r < 0 && (r != -EAGAIN || ++faults == TRIES))
            return r;
        if (r == 0 && im_clock_monotonic_ms() >= ec2->launch->deadline_ms)
            return too_late(thing, err);
        if (r < 0) {
            (void)im_retry_wait(faults, stop);
            continue;
        }
        faults = 0;
        (void)im_retry_pause(poll_ms, stop);
        poll_ms = poll_ms < POLL_MAX_MS / 2 ? 2 * poll_ms : POLL_MAX_MS;
    }
}

/* All at once, then wait for each: they are made side by side. */
static int make_snapshots(struct ec2 *ec2, struct im_error *err)
{
    static step_fn *const steps[] = { step_exists, step_ready };
    const struct launch *launch = ec2->launch;
    int r = 0;

    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; r == 0 && i < launch->machine->disk_count; i++) {
            struct thing thing = { .kind = &snapshot_kind, .disk = i };

            ec2_snapshot_description(launch->image, i, thing.key);
            memcpy(thing.id, ec2->snapshot[i], sizeof(thing.id));
            r = until_done(ec2, steps[s], &thing, err);
            memcpy(ec2->snapshot[i], thing.id, sizeof(thing.id));
        }
    return r;
}

static int make_image(struct ec2 *ec2, struct im_error *err)
{
    struct thing thing = { .kind = &image_kind };
    int r;

    ec2_image_name(ec2->launch->image, thing.key);
    r = until_done(ec2, step_ready, &thing, err);
    memcpy(ec2->image, thing.id, sizeof(thing.id));
    return r;
}

static int add_run_params(const struct ec2 *ec2, struct im_buffer *form)
{
    const struct launch_machine *machine = ec2->launch->machine;
    char token[EC2_KEY_SIZE];
    const struct {
        const char *name, *value;
    } params[] = {
        { "ImageId", ec2->image },
        { "MinCount", "1" },
        { "MaxCount", "1" },
        { "ClientToken", token },
    };
    int r = ec2_form_action(form, "RunInstances");

    ec2_client_token(ec2->launch->image, token);
    for (size_t i = 0; r == 0 && i < sizeof(params) / sizeof(params[0]); i++)
        r = ec2_form_add(form, params[i].name, params[i].value);
    return r < 0 ? r : ec2_form_spec(form, ec2->launch->spec, machine->zone);
}

static int step_run(struct ec2 *ec2, struct thing *thing, struct im_error *err)
{
    struct im_buffer form IM_BUFFER_DONE = EC2_FORM;
    char id[128];
    const struct ec2_field fields[] = {
        { "instancesSet/item/instanceId", id, sizeof(id) },
        { "instancesSet/item/instanceState/name", thing->state, sizeof(thing->state) },
    };
    int r = add_run_params(ec2, &form);

    if (r < 0)
        return form_failed(r, err);
    r = ec2_call(ec2->client, &form, fields, 2, err);
    if (r == 0)
        r = take_id(thing->kind, id, thing->id, err);
    if (r < 0)
        return r;
    ec2->launch->state = launch_state(thing->state);
    if (!ec2->launch->state)
        return im_fail_code(err, EREMOTEIO, "LauncherFailed",
                            "the instance %s at the launcher's endpoint is in the state '%s'",
                            thing->id, thing->state);
    memcpy(ec2->launch->instance_id, thing->id, sizeof(thing->id));
    return 1;
}

static int start(struct launch *launch, struct im_error *err)
{
    struct thing instance = { .kind = &instance_kind };
    struct ec2 ec2 = { .launch = launch };
    int r = ec2_client_new(launch->conf, launch->stop, REQUEST_MS, &ec2.client, err);

    if (r == 0)
        r = make_snapshots(&ec2, err);
    if (r == 0)
        r = make_image(&ec2, err);
    if (r == 0)
        r = until_done(&ec2, step_run, &instance, err);
    ec2_client_free(ec2.client);
    return r;
}

/* ---- taking back ---- */

/* Destroy what is found by the key.  false when the endpoint cannot be asked, so that the rest is
 * not waited for. */
static bool destroy(struct ec2_client *client, struct thing *thing)
{
    struct im_buffer form IM_BUFFER_DONE = EC2_FORM;
    const struct kind *kind = thing->kind;
    struct im_error err = { 0 };
    int r = find(client, thing, &err);

    if (r == 0 && !*thing->id)
        return true;
    if (r == 0)
        r = ec2_form_action(&form, kind->destroy);
    if (r == 0)
        r = ec2_form_add(&form, kind->destroy_param, thing->id);
    if (r == 0)
        r = ec2_call(client, &form, NULL, 0, &err);
    if (r < 0)
        svc_log(SVC_WARNING, "the %s '%s' may be left at the launcher's endpoint: %s", kind->noun,
                *thing->id ? thing->id : thing->key, err.message);
    return r == 0 || r == -EREMOTEIO;
}

static void withdraw(const struct svc_conf *conf, const struct json_t *image)
{
    struct thing instance = { .kind = &instance_kind }, registered = { .kind = &image_kind };
    struct ec2_client *client = NULL;
    struct im_error err = { 0 };
    bool go_on = ec2_client_new(conf, NULL, WITHDRAW_REQUEST_MS, &client, &err) == 0;

    if (!go_on)
        svc_log(SVC_WARNING, "nothing is taken back at the launcher's endpoint: %s", err.message);
    ec2_client_token(image, instance.key);
    ec2_image_name(image, registered.key);
    go_on = go_on && destroy(client, &instance) && destroy(client, &registered);
    for (size_t i = 0; go_on && i < ec2_disk_count(image); i++) {
        struct thing snapshot = { .kind = &snapshot_kind };

        ec2_snapshot_description(image, i, snapshot.key);
        go_on = destroy(client, &snapshot);
    }
    ec2_client_free(client);
}

const struct launcher launcher_ec2 = { .name = "ec2", .start = start, .withdraw = withdraw };
