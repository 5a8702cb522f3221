/* launch-helper - call launch/ for a machine that is given as JSON; for the stories launch-*.py.
 *
 *   launch-helper register|start|withdraw DIR LAUNCHER SECONDS < MACHINE
 *
 * MACHINE has the members of struct launch_machine (launch_spec as an object, disks as "disks"),
 * and of the settings: command, endpoint, credentials, region.  Records go to DIR/images and
 * DIR/instances.  SIGTERM sets the wish to stop.  Prints one line of JSON: {"r": 0, "instance_id":
 * …, "state": …} or {"r": -errno, "code": …, "message": …}. */

#include <config.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"
#include "launch/launch.h"

static atomic_bool stop;

static void on_term(int number)
{
    (void)number;
    atomic_store(&stop, true);
}

/* Lives as long as the object. */
static const char *get(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static struct launch_machine machine_of(const json_t *object)
{
    static struct launch_disk disk[LAUNCH_DISKS_MAX + 1];
    const json_t *disks = json_object_get(object, "disks");
    struct launch_machine machine = {
        .task_id = get(object, "task_id"),
        .account = get(object, "account"),
        .image_id = get(object, "image_id"),
        .instance_id = get(object, "instance_id"),
        .name = get(object, "name"),
        .description = get(object, "description"),
        .architecture = get(object, "architecture"),
        .platform = get(object, "platform"),
        .boot_mode = get(object, "boot_mode"),
        .zone = get(object, "zone"),
        .disk = disk,
    };

    for (; machine.disk_count < json_array_size(disks) && machine.disk_count <= LAUNCH_DISKS_MAX;
         machine.disk_count++) {
        const json_t *item = json_array_get(disks, machine.disk_count);

        disk[machine.disk_count] = (struct launch_disk){
            .volume_id = get(item, "volume_id"),
            .path = get(item, "path"),
            .device = get(item, "device"),
            .description = get(item, "description"),
            .digest = get(item, "digest"),
            .gib = (uint64_t)json_integer_value(json_object_get(item, "gib")),
        };
    }
    return machine;
}

static int tell(int r, const char *id, const char *state, const struct im_error *err)
{
    json_t *answer =
        r < 0 ? json_pack("{s:i, s:s, s:s}", "r", r, "code", err->code, "message", err->message)
              : json_pack("{s:i, s:s*, s:s*}", "r", r, "instance_id", id, "state", state);

    (void)json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(answer);
    return 0;
}

static int act(const char *what, const struct svc_conf *conf, const struct launch_machine *machine)
{
    char id[LAUNCH_ID_SIZE] = "";
    const char *state = NULL;
    struct im_error err = { 0 };
    int r = 0;

    if (strcmp(what, "register") == 0)
        r = launch_register(conf, machine, &err);
    else if (strcmp(what, "start") == 0)
        r = launch_start(conf, machine, &stop, id, sizeof(id), &state, &err);
    else
        launch_withdraw(conf, machine->image_id, machine->instance_id);
    return tell(r, *id ? id : NULL, state, &err);
}

static int run(char **argv, const json_t *object, unsigned seconds)
{
    char *images IM_FREE = im_asprintf("%s/images", argv[2]);
    char *instances IM_FREE = im_asprintf("%s/instances", argv[2]);
    const struct svc_conf conf = {
        .images_dir = images,
        .instances_dir = instances,
        .launcher = argv[3],
        .launcher_command = (char *)(uintptr_t)get(object, "command"),
        .launcher_endpoint = (char *)(uintptr_t)get(object, "endpoint"),
        .launcher_credentials = (char *)(uintptr_t)get(object, "credentials"),
        .launcher_region = (char *)(uintptr_t)get(object, "region"),
        .launcher_seconds = seconds,
    };
    const json_t *spec = json_object_get(object, "launch_spec");
    char *spec_text IM_FREE = spec ? json_dumps(spec, JSON_ENCODE_ANY) : NULL;
    struct launch_machine machine = machine_of(object);

    machine.launch_spec = spec_text;
    return act(argv[1], &conf, &machine);
}

int main(int argc, char **argv)
{
    struct sigaction action = { .sa_handler = on_term };
    json_t *object = json_loadf(stdin, 0, NULL);
    uint64_t seconds = 0;
    int r;

    if (argc != 5 || !object || im_parse_uint(argv[4], 3600, &seconds) < 0)
        return 2;
    (void)sigaction(SIGTERM, &action, NULL);
    im_http_global();
    r = run(argv, object, (unsigned)seconds);
    json_decref(object);
    return r;
}
