/* record - machine image and instance as JSON, and the files they are in. */

#include <config.h>

#include "launch/record.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/text.h"
#include "file.h"

/* A record: a launch specification of LAUNCH_SPEC_MAX, whose characters may be written escaped, and
 * the disks with paths and descriptions of some hundred bytes. */
#define RECORD_MAX (1024 * 1024)

#define VERSION 1

#define HEX_DIGITS 17

bool record_is_id(const char *id, const char *prefix)
{
    size_t len = strlen(prefix);

    return id && strncmp(id, prefix, len) == 0 && strlen(id + len) == HEX_DIGITS &&
           strspn(id + len, "0123456789abcdef") == HEX_DIGITS;
}

int record_parse_spec(const char *text, json_t **ret_spec, struct im_error *err)
{
    size_t len = text ? strlen(text) : 0;
    json_t *spec;

    if (len > LAUNCH_SPEC_MAX)
        return im_fail(err, EINVAL, "the launch specification has %zu bytes, more than %d", len,
                       LAUNCH_SPEC_MAX);
    spec = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : json_object();
    if (!json_is_object(spec)) { /* no word of it: it may hold user data */
        json_decref(spec);
        return im_fail(err, EINVAL, "the launch specification is not a JSON object");
    }
    *ret_spec = spec;
    return 0;
}

/* ---- what is in them ---- */

static const char *device_name(const struct launch_machine *machine, size_t i, char buf[16])
{
    bool windows = strcasecmp(machine->platform, "windows") == 0;

    if (machine->disk[i].device)
        return machine->disk[i].device;
    if (i == 0)
        return "/dev/sda1";
    (void)snprintf(buf, 16, "%s%c", windows ? "xvd" : "/dev/sd", (char)('a' + i));
    return buf;
}

static json_t *disks_json(const struct launch_machine *machine)
{
    json_t *list = json_array();

    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct launch_disk *disk = &machine->disk[i];
        char device[16];
        json_t *item = json_pack("{s:s, s:s, s:s, s:I, s:s*, s:s*}", "device_name",
                                 device_name(machine, i, device), "volume_id", disk->volume_id,
                                 "path", disk->path, "size_gib", (json_int_t)disk->gib,
                                 "description", disk->description, "digest", disk->digest);

        if (!item || json_array_append_new(list, item) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

int record_image(const struct launch_machine *machine, const json_t *spec, json_t **ret_image,
                 struct im_error *err)
{
    const char *kernel = json_string_value(json_object_get(spec, "KernelId"));
    json_t *disks = disks_json(machine);
    char device[16];
    json_t *image =
        disks
            ? json_pack("{s:i, s:s, s:s, s:s, s:s, s:s*, s:s, s:s, s:s*, s:s, s:s, s:s, s:s*, "
                        "s:s*, s:o}",
                        "version", VERSION, "image_id", machine->image_id, "task_id",
                        machine->task_id, "account", machine->account, "name",
                        machine->name && *machine->name ? machine->name : machine->image_id,
                        "description", machine->description, "architecture", machine->architecture,
                        "platform", machine->platform, "boot_mode", machine->boot_mode,
                        "virtualization_type", kernel ? "paravirtual" : "hvm", "root_device_type",
                        "ebs", "root_device_name", device_name(machine, 0, device), "kernel_id",
                        kernel, "ramdisk_id", json_string_value(json_object_get(spec, "RamdiskId")),
                        "block_device_mapping", disks)
            : NULL;

    if (!image)
        return im_fail(err, EINVAL, "task %s cannot be written as a machine image",
                       machine->task_id);
    *ret_image = image;
    return 0;
}

int record_instance(const struct launch_machine *machine, const json_t *spec, const char *launcher,
                    json_t **ret_instance, struct im_error *err)
{
    json_t *instance =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:O}", "version", VERSION,
                  "instance_id", machine->instance_id, "image_id", machine->image_id, "task_id",
                  machine->task_id, "account", machine->account, "state", "stopped", "launcher",
                  launcher, "zone", machine->zone, "launch_specification", spec);

    if (!instance)
        return im_fail(err, EINVAL, "task %s cannot be written as an instance", machine->task_id);
    *ret_instance = instance;
    return 0;
}

/* ---- the files ---- */

static char *path_of(const char *dir, const char *id)
{
    return im_asprintf("%s/%s.json", dir, id);
}

static int make_dir(const char *dir, struct im_error *err)
{
    int r;

    if (mkdir(dir, 0700) < 0)
        return errno == EEXIST ? 0 : im_fail_errno(err, errno, "cannot create '%s'", dir);
    r = im_sync_parent(dir);
    return r < 0 ? im_fail_errno(err, -r, "cannot create '%s'", dir) : 0;
}

int record_write(const char *dir, const char *id, const char *stamp, json_t *record,
                 struct im_error *err)
{
    char *path IM_FREE = path_of(dir, id);
    char *text IM_FREE = NULL;
    char now[40];
    int r = make_dir(dir, err);

    if (r < 0)
        return r;
    (void)im_clock_iso8601(now, sizeof(now), im_clock_now_ms());
    if (path && json_object_set_new(record, stamp, json_string(now)) == 0)
        text = json_dumps(record, JSON_INDENT(1));
    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    return svc_file_write(path, text, err);
}

int record_read(const char *dir, const char *id, json_t **ret_record, struct im_error *err)
{
    char *path IM_FREE = path_of(dir, id);
    char *text IM_FREE = NULL;
    json_t *record;
    size_t len = 0;
    int r;

    if (!path)
        return im_fail(err, ENOMEM, "out of memory");
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return -ENOENT;
    r = im_read_file(path, RECORD_MAX, &text, &len, err);
    if (r < 0)
        return r;
    record = json_loadb(text, len, 0, NULL);
    if (!json_is_object(record)) {
        json_decref(record);
        return im_fail(err, EBADMSG, "'%s' is damaged: it is not a JSON object", path);
    }
    *ret_record = record;
    return 0;
}

bool record_remove(const char *dir, const char *id)
{
    char *path IM_FREE = path_of(dir, id);

    if (!path || (unlink(path) < 0 && errno != ENOENT))
        return false;
    (void)im_sync_parent(path); /* what comes back after a power cut is taken back again */
    return true;
}
