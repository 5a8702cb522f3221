/* launch - minimal records of a machine in DIR/machines; no launcher. */

#include <config.h>

#include "launch/launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "file.h"

static char *record_path(const struct svc_conf *conf, const char *id)
{
    return im_asprintf("%s/machines/%s.json", conf->dir, id);
}

static int write_record(const struct svc_conf *conf, const struct launch_machine *machine,
                        const char *id, struct im_error *err)
{
    char *path IM_FREE = record_path(conf, id);
    char *text IM_FREE = im_asprintf("{\"image_id\": \"%s\", \"instance_id\": \"%s\", "
                                     "\"disks\": %zu}\n",
                                     machine->image_id, machine->instance_id, machine->disk_count);

    if (!path || !text)
        return im_fail(err, ENOMEM, "out of memory");
    return svc_file_write(path, text, err);
}

int launch_register(const struct svc_conf *conf, const struct launch_machine *machine,
                    struct im_error *err)
{
    char *dir IM_FREE = im_asprintf("%s/machines", conf->dir);
    int r;

    if (!dir)
        return im_fail(err, ENOMEM, "out of memory");
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return im_fail_errno(err, errno, "cannot create '%s'", dir);
    r = write_record(conf, machine, machine->image_id, err);
    return r < 0 ? r : write_record(conf, machine, machine->instance_id, err);
}

int launch_start(const struct svc_conf *conf, const struct launch_machine *machine,
                 const atomic_bool *stop, char *ret_instance_id, size_t size,
                 const char **ret_state, struct im_error *err)
{
    (void)conf;
    if (atomic_load(stop))
        return im_fail(err, ECANCELED, "the launch was stopped");
    (void)snprintf(ret_instance_id, size, "%s", machine->instance_id);
    *ret_state = "stopped";
    return 0;
}

void launch_withdraw(const struct svc_conf *conf, const char *image_id, const char *instance_id)
{
    const char *const ids[] = { image_id, instance_id };

    for (size_t i = 0; i < 2; i++) {
        char *path IM_FREE = record_path(conf, ids[i]);

        if (path)
            (void)unlink(path);
    }
}
