/* conf - the settings of one service: built-in defaults, then a file, then the command line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/* A list of words. */
struct svc_words {
    size_t count;
    char **item;
};

/* How often an account may call an action: section rate "ActionName". */
struct svc_rate {
    char *action;                 /* "*": every action that has no section of its own */
    unsigned requests_per_second; /* 0: as often as it likes */
    unsigned burst;               /* calls at once after a rest; 0: requests_per_second */
};

struct svc_conf {
    char *config;    /* --config FILE; NULL: none */
    bool check_only; /* --check-config: say what is in force instead of starting */
    char *dir;       /* --standalone DIR, absolute */
    char *address;   /* --listen ADDR:PORT, default 127.0.0.1:8773 */
    uint16_t port;
    char *public_host;       /* the name clients know this machine by; NULL: the address */
    char *toolkit;           /* --toolkit PATH, default: imaging-toolkit beside this program's build
                                directory, else from the search path; may be missing (see dispatch) */
    unsigned workers;        /* tasks converted at once, --workers N, default 2 */
    struct svc_words zones;  /* availability zones, at least one; the first is the default */
    unsigned max_active;     /* tasks of an account that have not ended, default 20 */
    uint64_t max_volume_gib; /* largest volume, default 16384 */
    char *delete_uploads;    /* "true": parts and manifest go once they are a volume */
    struct svc_words manifest_schemes; /* of the URLs customers may give: "http", "https" */
    struct svc_words manifest_hosts;   /* hosts they may name (see api/manifest-url.h); none: any */
    char *tls_certificate; /* PEM file with the certificate and its chain; NULL: plain HTTP */
    char *tls_key;         /* PEM file with its key; both or none */
    unsigned connections;  /* at once */
    unsigned connections_per_address; /* at once from one address; 0: no such limit */
    unsigned idle_seconds;            /* without a byte in either direction */
    unsigned request_seconds;         /* until a request is whole, uploads excepted */
    unsigned stop_seconds;            /* for what is under way when the service is told to end */
    struct svc_rate *rates;
    size_t rate_count;
    char *master_key; /* --master-key PATH; NULL: DIR/master.key, made at the first start */
    char *launcher;   /* what starts instances: "none", "command", "ec2" */
    char *launcher_command;
    char *launcher_endpoint;
    char *launcher_credentials;
    char *launcher_region;     /* that requests to it are signed for */
    unsigned launcher_seconds; /* that one attempt to start an instance may take */
    /* derived from dir */
    char *tasks_path;    /* DIR/tasks.db */
    char *objects_dir;   /* DIR/objects: one directory per bucket */
    char *volumes_dir;   /* DIR/volumes: vol-….raw */
    char *scratch_dir;   /* DIR/scratch: one directory per claim */
    char *images_dir;    /* DIR/images: ami-….json, what ImportInstance registered */
    char *instances_dir; /* DIR/instances: i-….json */
    char *env_path;      /* DIR/env.sh */
};

/* Read the command line and the file it names.  0; 1 when --help or --version was answered; -EINVAL
 * when something is wrong with what was said, in one sentence that names file and line. */
int svc_conf_parse(int argc, char **argv, struct svc_conf *ret_conf, struct im_error *err);

/* Whether a setting that is "true" or "false" is on; NULL is off. */
bool svc_conf_is(const char *setting);

/* Write what is in force in the form of a configuration file.  0, or -errno of the writing. */
int svc_conf_print(const struct svc_conf *conf, FILE *out);

void svc_conf_done(struct svc_conf *conf);
