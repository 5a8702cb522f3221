/* conf - the settings of one service: built-in defaults, then a file, then the command line.
 *
 * A service is standalone (dir), with everything in one directory, or one of several that share a
 * PostgreSQL database and a pool of volumes (database). */
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

/* An IP address to listen on, and a port. */
struct svc_listen {
    char *address;
    uint16_t port;
};

/* How often an account may call an action: section rate "ActionName". */
struct svc_rate {
    char *action;                 /* "*": every action that has no section of its own */
    unsigned requests_per_second; /* 0: as often as it likes */
    unsigned burst;               /* calls at once after a rest; 0: requests_per_second */
};

/* What one volume pool, that of an availability zone, is spared: section zone "NAME". */
struct svc_zone_limit {
    char *zone;
    unsigned conversions; /* disks converted into it at once, by all services; 0: any */
};

struct svc_conf {
    char *config;        /* --config FILE; NULL: none */
    bool check_only;     /* --check-config: say what is in force instead of starting */
    char *dir;           /* --standalone DIR, absolute; NULL: one of several, see database */
    char *database;      /* "postgresql://…", maybe with a password; NULL: standalone */
    char *instance_name; /* of this service in rows and logs, SVC_INSTANCE_MAX bytes at most; NULL
                            until svc_conf_name */
    /* --listen ADDR:PORT, default 127.0.0.1:8773; --status-listen, address NULL: none */
    struct svc_listen listen, status;
    char *public_host;      /* the name clients know this machine by; NULL: the address */
    char *toolkit;          /* --toolkit PATH, default: imaging-toolkit beside this program's build
                               directory, else from the search path; may be missing (see dispatch) */
    unsigned workers;       /* tasks converted at once, --workers N, default 2 */
    struct svc_words zones; /* availability zones, at least one; the first is the default */
    struct svc_zone_limit *zone_limits; /* each of a zone in zones */
    size_t zone_limit_count;
    unsigned conversions;              /* disks converted at once by all services; 0: any */
    unsigned conversions_per_account;  /* the same of one account */
    unsigned max_active;               /* tasks of an account that have not ended, default 20 */
    uint64_t max_volume_gib;           /* largest volume, default 16384 */
    char *unconfined;                  /* "true": run where the toolkit cannot be confined */
    char *delete_uploads;              /* "true": parts and manifest go once they are a volume */
    /* where customers may send this service, see base/url-policy.h */
    struct svc_words manifest_schemes;  /* of their URLs: "http", "https" */
    struct svc_words manifest_hosts;    /* they may name; none: any */
    struct svc_words manifest_networks; /* they may lead to besides public addresses */
    char *tls_certificate; /* PEM file with the certificate and its chain; NULL: plain HTTP */
    char *tls_key;         /* PEM file with its key; both or none */
    unsigned connections;  /* at once */
    unsigned connections_per_address; /* at once from one address; 0: no such limit */
    unsigned idle_seconds;            /* without a byte in either direction */
    unsigned request_seconds;         /* until a request is whole, uploads excepted */
    unsigned stop_delay_seconds;      /* that all is served as before when it is told to end */
    unsigned stop_seconds;            /* and then for what is under way */
    struct svc_rate *rates;
    size_t rate_count;
    char *master_key; /* --master-key PATH; NULL: DIR/master.key, made at the first start; never
                         NULL with a database */
    char *launcher;   /* what starts instances: "none", "command", "ec2" */
    char *launcher_command;
    char *launcher_endpoint;
    char *launcher_credentials;
    char *launcher_region;     /* that requests to it are signed for */
    unsigned launcher_seconds; /* that one attempt to start an instance may take */
    unsigned scratch_reserve;  /* MiB that are to be free in scratch_dir, default 64 */
    /* settings of services with a database, derived from dir in a standalone one; absolute */
    char *volumes_dir; /* DIR/volumes: vol-….raw; several services share it */
    char *scratch_dir; /* DIR/scratch: one directory per claim; of this service alone */
    char *state_dir;   /* DIR: records of images and instances; several services share it */
    /* derived from these */
    char *images_dir;    /* STATE/images: ami-….json, what ImportInstance registered */
    char *instances_dir; /* STATE/instances: i-….json */
    char *lock_path;     /* DIR/lock, or SCRATCH/lock: what no two services may have */
    /* of a standalone service only, else NULL */
    char *tasks_path;  /* DIR/tasks.db */
    char *objects_dir; /* DIR/objects: one directory per bucket */
    char *env_path;    /* DIR/env.sh */
};

/* An instance's name: bytes at most (the longest label of a host name is 63), and which ones. */
#define SVC_INSTANCE_MAX   64
#define SVC_INSTANCE_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-"

/* Read the command line and the file it names.  0; 1 when --help or --version was answered; -EINVAL
 * when something is wrong with what was said, in one sentence that names file and line. */
int svc_conf_parse(int argc, char **argv, struct svc_conf *ret_conf, struct im_error *err);

/* Whether a setting that is "true" or "false" is on; NULL is off. */
bool svc_conf_is(const char *setting);

/* The same for a directory (as --standalone) or a file alone, the other NULL, without a command
 * line: for the commands that work on a service's data. */
int svc_conf_load(const char *dir, const char *file, struct svc_conf *ret_conf,
                  struct im_error *err);

/* Give an instance without a name its default, HOST:ADDRESS:PORT.  0 or -ENOMEM. */
int svc_conf_name(struct svc_conf *conf, uint16_t port, struct im_error *err);

/* Write what is in force in the form of a configuration file, but for a password.  0, or -errno of
 * the writing. */
int svc_conf_print(const struct svc_conf *conf, FILE *out);

/* Write the database's URI without its password into buf, for people; returns buf. */
const char *svc_conf_database(const struct svc_conf *conf, char *buf, size_t size);

void svc_conf_done(struct svc_conf *conf);
