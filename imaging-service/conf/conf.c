/* conf - the settings of one service, from its command line. */

#include <config.h>

#include "conf/conf.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define DEFAULT_ADDRESS    "127.0.0.1"
#define DEFAULT_PORT       8773
#define DEFAULT_ZONE       "standalone"
#define DEFAULT_WORKERS    2
#define DEFAULT_MAX_ACTIVE 20
#define DEFAULT_MAX_GIB    16384
#define DEFAULT_LAUNCHER   "none"
#define DEFAULT_REGION     "us-east-1"
/* A snapshot of a large volume takes its time. */
#define DEFAULT_LAUNCHER_S 3600

/* Conversions at once; each is a process with threads of its own. */
#define WORKERS_MAX 64

/* Bytes of DIR: the names below it must still fit into a path. */
#define DIR_MAX (PATH_MAX - 512)

static const char usage[] =
    "Usage: imaging-service --standalone DIR [OPTION]...\n"
    "Import disk images as volumes: an EC2 query API, an object store and a volume\n"
    "pool on one machine, with everything it keeps in DIR (made with mode 0700).\n"
    "\n"
    "  --standalone DIR     where tasks, objects, volumes and keys are kept\n"
    "  --listen ADDR:PORT   address to serve, default 127.0.0.1:8773; port 0 is any\n"
    "                       free one; IPv6 as [::1]:8773.  Plain HTTP: think before\n"
    "                       leaving loopback\n"
    "  --toolkit PATH       the imaging-toolkit program; default: the one built or\n"
    "                       installed beside this program, else on the search path\n"
    "  --workers N          tasks converted at once, 1 to 64, default 2\n"
    "  --master-key PATH    32 bytes that seal the secrets, mode 0400; default:\n"
    "                       DIR/master.key, made at the first start\n"
    "  --help               show this text\n"
    "  --version            show the version\n"
    "\n"
    "Accounts and keys: imaging-service account --help.\n"
    "Endpoints and keys are printed, and written to DIR/env.sh for '. DIR/env.sh'.\n"
    "The last line printed is 'ready'.  SIGTERM and SIGINT end the service.\n"
    "\n"
    "Exit status: 0 stopped as asked, 1 could not start, 2 wrong usage.\n";

static int out_of_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

static int replace(char **text, const char *value, struct im_error *err)
{
    char *copy = strdup(value);

    if (!copy)
        return out_of_memory(err);
    free(*text);
    *text = copy;
    return 0;
}

/* "ADDR:PORT", "[ADDR]:PORT". */
static int set_listen(struct svc_conf *conf, const char *value, struct im_error *err)
{
    const char *colon = strrchr(value, ':');
    char *address IM_FREE = colon ? strndup(value, (size_t)(colon - value)) : NULL;
    size_t len = address ? strlen(address) : 0;
    uint64_t port;

    if (!address || len == 0 || im_parse_uint(colon + 1, UINT16_MAX, &port) < 0)
        return im_fail(err, EINVAL,
                       "--listen wants ADDR:PORT with a port from 0 to 65535, not '%s'", value);
    if (address[0] == '[' && address[len - 1] == ']') {
        memmove(address, address + 1, len - 2);
        address[len - 2] = '\0';
    }
    conf->port = (uint16_t)port;
    return replace(&conf->address, address, err);
}

static int set_workers(struct svc_conf *conf, const char *value, struct im_error *err)
{
    uint64_t workers;

    if (im_parse_uint(value, WORKERS_MAX, &workers) < 0 || workers == 0)
        return im_fail(err, EINVAL, "--workers wants a number from 1 to %d, not '%s'", WORKERS_MAX,
                       value);
    conf->workers = (unsigned)workers;
    return 0;
}

/* The service's directory may be given relative to where it was started. */
static int set_dir(struct svc_conf *conf, const char *value, struct im_error *err)
{
    char *here IM_FREE = NULL;

    if (strlen(value) > DIR_MAX || !*value)
        return im_fail(err, EINVAL, "--standalone wants a directory of 1 to %d bytes", DIR_MAX);
    free(conf->dir);
    conf->dir = NULL;
    if (value[0] == '/')
        return replace(&conf->dir, value, err);
    here = getcwd(NULL, 0);
    if (!here)
        return im_fail_errno(err, errno, "cannot tell the current directory");
    conf->dir = im_asprintf("%s/%s", here, value);
    return conf->dir ? 0 : out_of_memory(err);
}

/* In a build tree the toolkit is in ../imaging-toolkit/, installed it is in the same directory. */
static int find_toolkit(struct svc_conf *conf, struct im_error *err)
{
    static const char *const places[] = { "../imaging-toolkit/imaging-toolkit", "imaging-toolkit" };
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    self[len > 0 ? len : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
        char *path IM_FREE = im_asprintf("%.*s/%s", (int)(slash - self), self, places[i]);

        if (!path)
            return out_of_memory(err);
        if (access(path, X_OK) == 0)
            return replace(&conf->toolkit, path, err);
    }
    return replace(&conf->toolkit, "imaging-toolkit", err);
}

static int derive_paths(struct svc_conf *conf, struct im_error *err)
{
    const struct {
        char **path;
        const char *name;
    } paths[] = {
        { &conf->tasks_path, "tasks.db" },     { &conf->objects_dir, "objects" },
        { &conf->volumes_dir, "volumes" },     { &conf->scratch_dir, "scratch" },
        { &conf->env_path, "env.sh" },         { &conf->images_dir, "images" },
        { &conf->instances_dir, "instances" },
    };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        *paths[i].path = im_asprintf("%s/%s", conf->dir, paths[i].name);
        if (!*paths[i].path)
            return out_of_memory(err);
    }
    return 0;
}

static int set_defaults(struct svc_conf *conf, struct im_error *err)
{
    *conf = (struct svc_conf){
        .port = DEFAULT_PORT,
        .workers = DEFAULT_WORKERS,
        .max_active = DEFAULT_MAX_ACTIVE,
        .max_volume_gib = DEFAULT_MAX_GIB,
        .launcher_seconds = DEFAULT_LAUNCHER_S,
    };
    if (replace(&conf->address, DEFAULT_ADDRESS, err) < 0 ||
        replace(&conf->launcher, DEFAULT_LAUNCHER, err) < 0 ||
        replace(&conf->launcher_region, DEFAULT_REGION, err) < 0)
        return -ENOMEM;
    return replace(&conf->zone, DEFAULT_ZONE, err);
}

/* One option; 1 when it has been answered. */
static int take_option(struct svc_conf *conf, int option, const char *value, struct im_error *err)
{
    switch (option) {
    case 's':
        return set_dir(conf, value, err);
    case 'l':
        return set_listen(conf, value, err);
    case 't':
        return *value ? replace(&conf->toolkit, value, err)
                      : im_fail(err, EINVAL, "--toolkit wants the path of a program");
    case 'w':
        return set_workers(conf, value, err);
    case 'm':
        return *value ? replace(&conf->master_key, value, err)
                      : im_fail(err, EINVAL, "--master-key wants the path of a file");
    case 'h':
        (void)fputs(usage, stdout);
        return 1;
    case 'V':
        (void)puts("imaging-service (euca-imaging) " PACKAGE_VERSION);
        return 1;
    default:
        return im_fail(err, EINVAL, "wrong option; see imaging-service --help");
    }
}

static int parse(int argc, char **argv, struct svc_conf *conf, struct im_error *err)
{
    static const struct option options[] = {
        { "standalone", required_argument, NULL, 's' }, { "listen", required_argument, NULL, 'l' },
        { "toolkit", required_argument, NULL, 't' },    { "workers", required_argument, NULL, 'w' },
        { "master-key", required_argument, NULL, 'm' }, { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },          { 0 }
    };
    int option, r = set_defaults(conf, err);

    optind = 0; /* so that tests can parse more than once */
    while (r == 0 && (option = getopt_long(argc, argv, "hV", options, NULL)) != -1)
        r = take_option(conf, option, optarg, err);
    if (r != 0)
        return r;
    if (optind < argc)
        return im_fail(err, EINVAL, "'%s' is one argument too many; see imaging-service --help",
                       argv[optind]);
    if (!conf->dir)
        return im_fail(err, EINVAL, "--standalone DIR is missing; see imaging-service --help");
    if (!conf->toolkit)
        r = find_toolkit(conf, err);
    return r < 0 ? r : derive_paths(conf, err);
}

int svc_conf_parse(int argc, char **argv, struct svc_conf *ret_conf, struct im_error *err)
{
    struct svc_conf conf;
    int r = parse(argc, argv, &conf, err);

    if (r != 0) {
        svc_conf_done(&conf);
        return r;
    }
    *ret_conf = conf;
    return 0;
}

void svc_conf_done(struct svc_conf *conf)
{
    free(conf->dir);
    free(conf->address);
    free(conf->toolkit);
    free(conf->zone);
    free(conf->tasks_path);
    free(conf->objects_dir);
    free(conf->volumes_dir);
    free(conf->scratch_dir);
    free(conf->master_key);
    free(conf->env_path);
    free(conf->images_dir);
    free(conf->instances_dir);
    free(conf->launcher);
    free(conf->launcher_command);
    free(conf->launcher_endpoint);
    free(conf->launcher_credentials);
    free(conf->launcher_region);
    *conf = (struct svc_conf){ 0 };
}
