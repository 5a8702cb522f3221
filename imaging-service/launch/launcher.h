/* launcher - a way to start an instance: one file in launch/, one row in launch.c. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "launch/launch.h"

struct json_t;

/* One start. */
struct launch {
    const struct svc_conf *conf;
    const struct launch_machine *machine;
    const struct json_t *image; /* the machine image's descriptor, launch/record.h */
    const struct json_t *spec;  /* the launch specification, an object */
    const atomic_bool *stop;    /* NULL: nobody will ask */
    int64_t deadline_ms;        /* of the monotonic clock */

    /* The result; instance_id begins as the machine's own. */
    char instance_id[LAUNCH_ID_SIZE];
    const char *state; /* static */
};

struct launcher {
    const char *name; /* as in the configuration */

    /* Start; errors as launch_start. */
    int (*start)(struct launch *launch, struct im_error *err);

    /* Take back what an unfinished start may have made.  NULL: nothing can be. */
    void (*withdraw)(const struct svc_conf *conf, const struct json_t *image);
};

extern const struct launcher launcher_none, launcher_command, launcher_ec2;

/* True for an id as launchers give them: 1 to 64 letters, digits and '-'. */
bool launch_is_id(const char *text);

/* The static word for a state that an instance may be in after its start, or NULL. */
const char *launch_state(const char *text);

/* The wish to stop as a failure: 0, or -ECANCELED. */
int launch_check_stop(const struct launch *launch, struct im_error *err);
