/* conf - the settings of one service, from its command line. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct svc_conf {
    char *dir;          /* --standalone DIR, absolute */
    char *address;      /* --listen ADDR:PORT, default 127.0.0.1:8773 */
    uint16_t port;
    char *toolkit;      /* --toolkit PATH, default: imaging-toolkit beside this program's build
                           directory, else from the search path; may be missing (see dispatch) */
    char *zone;         /* the one availability zone, "standalone" */
    char *tasks_path;   /* DIR/tasks.db */
    char *objects_dir;  /* DIR/objects: one directory per bucket */
    char *volumes_dir;  /* DIR/volumes: vol-….raw */
    char *scratch_dir;  /* DIR/scratch: one directory per claim */
    char *master_key;   /* --master-key PATH; NULL: DIR/master.key, made at the first start */
    char *env_path;     /* DIR/env.sh */
    unsigned workers;   /* tasks converted at once, --workers N, default 2 */
    unsigned max_active; /* tasks of an account that have not ended, default 20 */
    uint64_t max_volume_gib; /* largest volume, default 16384 */
    char *images_dir;        /* DIR/images: ami-….json, what ImportInstance registered */
    char *instances_dir;     /* DIR/instances: i-….json */
    char *launcher;          /* what starts instances: "none" (default), "command", "ec2" */
    char *launcher_command;  /* path of the program; NULL: not set, as the next two */
    char *launcher_endpoint; /* URL of an EC2 service */
    char *launcher_credentials; /* path of a file of mode 0600, see launch/credentials.h */
    char *launcher_region;      /* that requests to it are signed for, default us-east-1 */
    unsigned launcher_seconds;  /* that one attempt to start an instance may take, default 3600 */
};

/* Read the command line.  0; 1 when --help or --version was answered; -EINVAL. */
int svc_conf_parse(int argc, char **argv, struct svc_conf *ret_conf, struct im_error *err);
void svc_conf_done(struct svc_conf *conf);
