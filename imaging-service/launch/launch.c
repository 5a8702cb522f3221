/* launch - register a machine, start it, take it back. */

#include <config.h>

#include "launch/launch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "launch/launcher.h"
#include "launch/record.h"
#include "log.h"

static const struct launcher *const launchers[] = {
    &launcher_none,
    &launcher_command,
    &launcher_ec2,
};

static void drop(json_t **object)
{
    json_decref(*object);
}
#define JSON_DONE IM_CLEANUP(drop)

static const struct launcher *find_launcher(const char *name)
{
    for (size_t i = 0; i < sizeof(launchers) / sizeof(launchers[0]); i++)
        if (strcmp(launchers[i]->name, name) == 0)
            return launchers[i];
    return NULL;
}

bool launch_is_id(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");

    return len > 0 && len < LAUNCH_ID_SIZE && !text[len];
}

const char *launch_state(const char *text)
{
    static const char *const states[] = { "stopped", "pending", "running" };

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(states[i], text) == 0)
            return states[i];
    return NULL;
}

int launch_check_stop(const struct launch *launch, struct im_error *err)
{
    return launch->stop && atomic_load(launch->stop)
               ? im_fail(err, ECANCELED, "the start of an instance was cancelled")
               : 0;
}

/* ---- register ---- */

static int check_machine(const struct launch_machine *machine, struct im_error *err)
{
    if (!record_is_id(machine->image_id, "ami-") || !record_is_id(machine->instance_id, "i-"))
        return im_fail(err, EINVAL, "task %s has no ids for its image and instance",
                       machine->task_id);
    if (machine->disk_count == 0 || machine->disk_count > LAUNCH_DISKS_MAX)
        return im_fail(err, EINVAL, "task %s has %zu disks; a machine has 1 to %d",
                       machine->task_id, machine->disk_count, LAUNCH_DISKS_MAX);
    return 0;
}

/* The record that is there, when it is this task's; -ENOENT when there is none that is whole. */
static int read_own(const char *dir, const char *id, const struct launch_machine *machine,
                    json_t **ret_record, struct im_error *err)
{
    json_t *record JSON_DONE = NULL;
    const char *owner;
    int r = record_read(dir, id, &record, err);

    if (r < 0)
        return r == -EBADMSG ? -ENOENT : r;
    owner = json_string_value(json_object_get(record, "task_id"));
    if (!owner || strcmp(owner, machine->task_id) != 0)
        return im_fail(err, EEXIST, "%s belongs to another task than %s", id, machine->task_id);
    *ret_record = im_steal(record);
    return 0;
}

/* The records of a machine: those that are there, else written now. */
static int get_image(const struct svc_conf *conf, const struct launch_machine *machine,
                     const json_t *spec, json_t **ret_image, struct im_error *err)
{
    int r = read_own(conf->images_dir, machine->image_id, machine, ret_image, err);

    if (r != -ENOENT)
        return r;
    r = record_image(machine, spec, ret_image, err);
    return r < 0 ? r
                 : record_write(conf->images_dir, machine->image_id, "created", *ret_image, err);
}

static int get_instance(const struct svc_conf *conf, const struct launch_machine *machine,
                        const json_t *spec, json_t **ret_instance, struct im_error *err)
{
    int r = read_own(conf->instances_dir, machine->instance_id, machine, ret_instance, err);

    if (r != -ENOENT)
        return r;
    r = record_instance(machine, spec, conf->launcher, ret_instance, err);
    return r < 0 ? r
                 : record_write(conf->instances_dir, machine->instance_id, "created", *ret_instance,
                                err);
}

static int get_records(const struct svc_conf *conf, const struct launch_machine *machine,
                       const json_t *spec, json_t **ret_image, json_t **ret_instance,
                       struct im_error *err)
{
    int r = check_machine(machine, err);

    if (r == 0)
        r = get_image(conf, machine, spec, ret_image, err);
    return r < 0 ? r : get_instance(conf, machine, spec, ret_instance, err);
}

int launch_register(const struct svc_conf *conf, const struct launch_machine *machine,
                    struct im_error *err)
{
    json_t *spec JSON_DONE = NULL, *image JSON_DONE = NULL, *instance JSON_DONE = NULL;
    int r = record_parse_spec(machine->launch_spec, &spec, err);

    return r < 0 ? r : get_records(conf, machine, spec, &image, &instance, err);
}

/* ---- start ---- */

/* Put the launch's state, and its id when it is over, into the instance's record. */
static int tell(const struct launch *launch, const char *state, bool over, json_t *instance,
                struct im_error *err)
{
    const struct svc_conf *conf = launch->conf;
    bool set = json_object_set_new(instance, "state", json_string(state)) == 0 &&
               json_object_set_new(instance, "launcher", json_string(conf->launcher)) == 0;

    if (over)
        set = set && json_object_set_new(instance, "launcher_instance_id",
                                         json_string(launch->instance_id)) == 0;
    if (!set)
        return im_fail(err, ENOMEM, "out of memory");
    return record_write(conf->instances_dir, launch->machine->instance_id, "changed", instance,
                        err);
}

/* It was started before, but the task did not come to know. */
static bool is_started(const json_t *instance, struct launch *launch)
{
    const char *id = json_string_value(json_object_get(instance, "launcher_instance_id"));
    const char *state = json_string_value(json_object_get(instance, "state"));

    if (!id || !launch_is_id(id) || !state || !launch_state(state))
        return false;
    (void)snprintf(launch->instance_id, sizeof(launch->instance_id), "%s", id);
    launch->state = launch_state(state);
    return true;
}

static int start(struct launch *launch, const struct launcher *launcher, json_t *instance,
                 struct im_error *err)
{
    int r = tell(launch, "pending", false, instance, err);

    if (r == 0)
        r = launch_check_stop(launch, err);
    if (r == 0)
        r = launcher->start(launch, err);
    if (r < 0)
        return r;
    svc_log(SVC_INFO, "%s: launcher %s: instance %s is %s", launch->machine->task_id,
            launcher->name, launch->instance_id, launch->state);
    return tell(launch, launch->state, true, instance, err);
}

static int choose_and_start(struct launch *launch, json_t *instance, struct im_error *err)
{
    const char *name = launch->machine->zone ? launch->conf->launcher : launcher_none.name;
    const struct launcher *launcher = find_launcher(name);

    if (!launcher)
        return im_fail(err, EINVAL, "there is no launcher '%s'; choose none, command or ec2", name);
    if (launcher == &launcher_none)
        return launcher->start(launch, err);
    return is_started(instance, launch) ? 0 : start(launch, launcher, instance, err);
}

int launch_start(const struct svc_conf *conf, const struct launch_machine *machine,
                 const atomic_bool *stop, char *ret_instance_id, size_t size,
                 const char **ret_state, struct im_error *err)
{
    json_t *spec JSON_DONE = NULL, *image JSON_DONE = NULL, *instance JSON_DONE = NULL;
    struct launch launch = {
        .conf = conf,
        .machine = machine,
        .stop = stop,
        .deadline_ms = im_clock_monotonic_ms() + (int64_t)conf->launcher_seconds * 1000,
    };
    int r = record_parse_spec(machine->launch_spec, &spec, err);

    if (r == 0)
        r = get_records(conf, machine, spec, &image, &instance, err);
    if (r < 0)
        return r;
    launch.spec = spec;
    launch.image = image;
    (void)snprintf(launch.instance_id, sizeof(launch.instance_id), "%s", machine->instance_id);
    r = choose_and_start(&launch, instance, err);
    if (r < 0)
        return r;
    if (strlen(launch.instance_id) >= size)
        return im_fail(err, EINVAL, "%zu bytes are too few for an instance id", size);
    (void)snprintf(ret_instance_id, size, "%s", launch.instance_id);
    *ret_state = launch.state;
    return 0;
}

/* ---- withdraw ---- */

/* What a launcher made elsewhere, when it had begun. */
static void withdraw_started(const struct svc_conf *conf, const char *image_id,
                             const char *instance_id)
{
    json_t *image JSON_DONE = NULL, *instance JSON_DONE = NULL;
    const struct launcher *launcher;
    const char *name;

    if (record_read(conf->instances_dir, instance_id, &instance, NULL) < 0 ||
        record_read(conf->images_dir, image_id, &image, NULL) < 0)
        return;
    name = json_string_value(json_object_get(instance, "launcher"));
    launcher = name ? find_launcher(name) : NULL;
    if (launcher && launcher->withdraw && json_object_get(instance, "changed"))
        launcher->withdraw(conf, image);
}

static void remove_record(const char *dir, const char *id)
{
    if (!record_remove(dir, id))
        svc_log(SVC_WARNING, "the record of %s could not be removed from '%s'", id, dir);
}

void launch_withdraw(const struct svc_conf *conf, const char *image_id, const char *instance_id)
{
    bool has_image = record_is_id(image_id, "ami-"), has_instance = record_is_id(instance_id, "i-");

    if (has_image && has_instance)
        withdraw_started(conf, image_id, instance_id);
    if (has_instance)
        remove_record(conf->instances_dir, instance_id);
    if (has_image)
        remove_record(conf->images_dir, image_id);
}
