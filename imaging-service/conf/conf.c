/* conf - the command line: which file to read, and what wins over it. */

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
#include "conf/file.h"
#include "conf/settings.h"

/* Bytes of DIR: the names below it must still fit into a path. */
#define DIR_MAX (PATH_MAX - 512)

/* Bytes of an address (INET6_ADDRSTRLEN has its scope and the NUL besides), and of a host's name
 * that are left for it in an instance's, with a port and two colons. */
#define ADDRESS_MAX 39
#define HOST_MAX    (SVC_INSTANCE_MAX - ADDRESS_MAX - 7)

static const char usage[] =
    "Usage: imaging-service --standalone DIR|--config FILE [OPTION]...\n"
    "       imaging-service account|task|gc ...      (each has --help)\n"
    "Import disk images as volumes: an EC2 query API, an object store and a volume\n"
    "pool on one machine, with everything it keeps in DIR (made with mode 0700); or,\n"
    "when FILE names a database, one of several services that share it.\n"
    "  --standalone DIR     where tasks, objects, volumes and keys are kept\n"
    "  --config FILE        settings; the options given here win over it\n"
    "  --check-config       print the settings in force, and end\n"
    "  --listen ADDR:PORT   address to serve, default 127.0.0.1:8773; port 0 is any\n"
    "                       free one; IPv6 as [::1]:8773.  Plain HTTP without tls in\n"
    "                       FILE: think before leaving loopback\n"
    "  --status-listen ADDR:PORT  serve /live, /ready and /metrics there, plain HTTP\n"
    "  --toolkit PATH       the imaging-toolkit program; default: the one built or\n"
    "                       installed beside this program, else on the search path\n"
    "  --workers N          disks converted at once, 1 to 64, default 2\n"
    "  --master-key PATH    seals the secret keys, default: master.key of systemd's\n"
    "                       credentials if there is one, else DIR/master.key\n"
    "  --help, --version    show this text, show the version\n"
    "\n"
    "Endpoints and keys are printed, and written to DIR/env.sh for '. DIR/env.sh'\n"
    "(with a database: only the endpoint, and only printed).\n"
    "The last line printed is 'ready'.  SIGTERM and SIGINT end the service, SIGHUP\n"
    "reads its certificate again.\n"
    "Exit status: 0 stopped as asked, 1 could not start, 2 wrong usage.\n";

/* The service's directory may be given relative to where it was started. */
static int set_dir(struct svc_conf *conf, const char *value, struct im_error *err)
{
    char *here IM_FREE = NULL;

    if (strlen(value) > DIR_MAX || !*value)
        return im_fail(err, EINVAL, "--standalone wants a directory of 1 to %d bytes", DIR_MAX);
    free(conf->dir);
    conf->dir = NULL;
    if (value[0] == '/')
        return svc_conf_replace(&conf->dir, value, err);
    here = getcwd(NULL, 0);
    if (!here)
        return im_fail_errno(err, errno, "cannot tell the current directory");
    conf->dir = im_asprintf("%s/%s", here, value);
    return conf->dir ? 0 : svc_conf_no_memory(err);
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
            return svc_conf_no_memory(err);
        if (access(path, X_OK) == 0)
            return svc_conf_replace(&conf->toolkit, path, err);
    }
    return svc_conf_replace(&conf->toolkit, "imaging-toolkit", err);
}

/* A path below a directory. */
struct derived {
    char **path;
    const char *dir, *name;
};

static int derive(const struct derived *paths, size_t count, struct im_error *err)
{
    for (size_t i = 0; i < count; i++) {
        free(*paths[i].path);
        *paths[i].path = im_asprintf("%s/%s", paths[i].dir, paths[i].name);
        if (!*paths[i].path)
            return svc_conf_no_memory(err);
    }
    return 0;
}

static int derive_paths(struct svc_conf *conf, struct im_error *err)
{
    const char *dir = conf->dir;
    const struct derived alone[] = {
        { &conf->volumes_dir, dir, "volumes" }, { &conf->scratch_dir, dir, "scratch" },
        { &conf->tasks_path, dir, "tasks.db" }, { &conf->objects_dir, dir, "objects" },
        { &conf->env_path, dir, "env.sh" },
    };
    int r = 0;

    if (dir)
        r = derive(alone, sizeof(alone) / sizeof(alone[0]), err);
    if (dir && r == 0)
        r = svc_conf_replace(&conf->state_dir, dir, err);
    if (r < 0 || !conf->state_dir)
        return r; /* with --check-config */
    const struct derived both[] = {
        { &conf->images_dir, conf->state_dir, "images" },
        { &conf->instances_dir, conf->state_dir, "instances" },
        { &conf->lock_path, dir ? dir : conf->scratch_dir, "lock" },
    };
    return derive(both, sizeof(both) / sizeof(both[0]), err);
}

int svc_conf_name(struct svc_conf *conf, uint16_t port, struct im_error *err)
{
    char host[HOST_NAME_MAX + 1] = "";

    const char *address = conf->listen.address;

    if (conf->instance_name)
        return 0;
    if (gethostname(host, sizeof(host) - 1) < 0 || !host[0])
        (void)snprintf(host, sizeof(host), "unknown");
    /* two services of one machine may have the same port at different addresses */
    conf->instance_name =
        im_asprintf("%.*s:%.*s:%u", HOST_MAX, host, ADDRESS_MAX, address, (unsigned)port);
    if (!conf->instance_name)
        return svc_conf_no_memory(err);
    for (char *p = conf->instance_name; *p; p++)
        if (!strchr(SVC_INSTANCE_BYTES, *p))
            *p = '-';
    return 0;
}

/* Options that have a value, as they were given; the last of each counts. */
struct given {
    const char *dir, *config, *listen, *status, *toolkit, *workers, *master_key;
    bool check_only;
};

/* One option; 1 when it has been answered. */
static int take_option(struct given *given, int option, const char *value, struct im_error *err)
{
    switch (option) {
    case 's':
        given->dir = value;
        return 0;
    case 'f':
        given->config = value;
        return 0;
    case 'c':
        given->check_only = true;
        return 0;
    case 'l':
        given->listen = value;
        return 0;
    case 'S':
        given->status = value;
        return 0;
    case 't':
        given->toolkit = value;
        return 0;
    case 'w':
        given->workers = value;
        return 0;
    case 'm':
        given->master_key = value;
        return 0;
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

static int take_options(int argc, char **argv, struct given *given, struct im_error *err)
{
    static const struct option options[] = { { "standalone", required_argument, NULL, 's' },
                                             { "config", required_argument, NULL, 'f' },
                                             { "check-config", no_argument, NULL, 'c' },
                                             { "listen", required_argument, NULL, 'l' },
                                             { "toolkit", required_argument, NULL, 't' },
                                             { "workers", required_argument, NULL, 'w' },
                                             { "master-key", required_argument, NULL, 'm' },
                                             { "help", no_argument, NULL, 'h' },
                                             { "status-listen", required_argument, NULL, 'S' },
                                             { "version", no_argument, NULL, 'V' },
                                             { 0 } };
    int option, r = 0;

    optind = 0; /* so that tests can parse more than once */
    while (r == 0 && (option = getopt_long(argc, argv, "hV", options, NULL)) != -1)
        r = take_option(given, option, optarg, err);
    if (r == 0 && optind < argc)
        return im_fail(err, EINVAL, "'%s' is one argument too many; see imaging-service --help",
                       argv[optind]);
    return r;
}

static int set(struct svc_conf *conf, const char *name, const char *shown, const char *value,
               struct im_error *err)
{
    return value ? svc_setting_set(svc_setting_find("", name), shown, conf, NULL, &value, 1, err)
                 : 0;
}

/* The command line's own say, after the file's. */
static int apply(struct svc_conf *conf, const struct given *given, struct im_error *err)
{
    int r = given->dir ? set_dir(conf, given->dir, err) : 0;

    conf->check_only = given->check_only;
    if (r == 0)
        r = set(conf, "listen", "--listen", given->listen, err);
    if (r == 0)
        r = set(conf, "status-listen", "--status-listen", given->status, err);
    if (r == 0)
        r = set(conf, "workers", "--workers", given->workers, err);
    if (r == 0 && given->toolkit)
        r = *given->toolkit ? svc_conf_replace(&conf->toolkit, given->toolkit, err)
                            : im_fail(err, EINVAL, "--toolkit wants the path of a program");
    if (r == 0 && given->master_key)
        r = *given->master_key ? svc_conf_replace(&conf->master_key, given->master_key, err)
                               : im_fail(err, EINVAL, "--master-key wants the path of a file");
    return r;
}

/* The master key that systemd hands over (LoadCredential=), when none was named. */
static int find_credential(struct svc_conf *conf, struct im_error *err)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");

    if (conf->master_key || !dir || dir[0] != '/')
        return 0;
    conf->master_key = im_asprintf("%s/master.key", dir);
    if (!conf->master_key)
        return svc_conf_no_memory(err);
    if (access(conf->master_key, F_OK) < 0 && errno == ENOENT) {
        free(conf->master_key);
        conf->master_key = NULL;
    }
    return 0;
}

static const char *source(const struct svc_conf *conf)
{
    return conf->config ? conf->config : "command line";
}

/* A standalone service has all in its directory, one with a database says where everything is. */
static int check_mode(const struct svc_conf *conf, struct im_error *err)
{
    if (!conf->dir && !conf->database && !conf->check_only)
        return im_fail(err, EINVAL,
                       "--standalone DIR is missing, or a --config FILE with a database; see "
                       "imaging-service --help");
    for (const struct svc_setting *s = svc_settings; s->name; s++) {
        const char *value = s->shared ? *(char *const *)((const char *)conf + s->offset) : NULL;

        if (value && (conf->dir || !conf->database))
            return im_fail(err, EINVAL,
                           "'%s': %s is for services that share a database; a standalone one keeps "
                           "everything in its directory%s",
                           source(conf), s->name, conf->dir ? "" : ", and database is missing");
        if (s->shared && !value && conf->database)
            return im_fail(err, EINVAL, "'%s': a service with a database wants %s, too",
                           source(conf), s->name);
    }
    if (conf->database && !conf->master_key)
        return im_fail(err, EINVAL,
                       "'%s': a service with a database wants master-key, the file with the same "
                       "32 bytes for all of them",
                       source(conf));
    return 0;
}

static int check_zones(const struct svc_conf *conf, struct im_error *err)
{
    for (size_t i = 0; i < conf->zone_limit_count; i++) {
        const char *zone = conf->zone_limits[i].zone;
        size_t n = 0;

        while (n < conf->zones.count && strcmp(conf->zones.item[n], zone) != 0)
            n++;
        if (n == conf->zones.count)
            return im_fail(err, EINVAL, "'%s': the section zone \"%s\" is of no zone in zones",
                           source(conf), zone);
    }
    return 0;
}

static int check_launcher(const struct svc_conf *conf, struct im_error *err)
{
    const char *launcher = conf->launcher;

    if (strcmp(launcher, "command") == 0 && !conf->launcher_command)
        return im_fail(err, EINVAL, "'%s': launcher = command wants launcher-command",
                       source(conf));
    if (strcmp(launcher, "ec2") == 0 && (!conf->launcher_endpoint || !conf->launcher_credentials))
        return im_fail(err, EINVAL,
                       "'%s': launcher = ec2 wants launcher-endpoint and launcher-credentials",
                       source(conf));
    return 0;
}

/* What no single setting shows. */
static int check_together(const struct svc_conf *conf, struct im_error *err)
{
    int r = check_mode(conf, err);

    if (r == 0 && !conf->tls_certificate != !conf->tls_key)
        return im_fail(err, EINVAL, "'%s': the section tls wants both certificate and key",
                       source(conf));
    if (r == 0)
        r = check_zones(conf, err);
    return r == 0 ? check_launcher(conf, err) : r;
}

/* What was given on the command line is known: all the rest. */
static int settle(const struct given *given, struct svc_conf *conf, struct im_error *err)
{
    int r = svc_settings_preset(conf, err);

    if (r == 0 && given->config)
        r = svc_conf_replace(&conf->config, given->config, err);
    if (r == 0 && given->config)
        r = svc_conf_read(given->config, conf, err);
    if (r == 0)
        r = apply(conf, given, err);
    if (r == 0)
        r = find_credential(conf, err);
    if (r == 0)
        r = check_together(conf, err);
    if (r == 0 && !conf->toolkit)
        r = find_toolkit(conf, err);
    return r != 0 ? r : derive_paths(conf, err);
}

/* Settle into *ret_conf. */
static int load(const struct given *given, struct svc_conf *ret_conf, struct im_error *err)
{
    struct svc_conf conf = { 0 };
    int r = settle(given, &conf, err);

    if (r != 0) {
        svc_conf_done(&conf);
        return r;
    }
    *ret_conf = conf;
    return 0;
}

int svc_conf_parse(int argc, char **argv, struct svc_conf *ret_conf, struct im_error *err)
{
    struct given given = { 0 };
    int r = take_options(argc, argv, &given, err);

    return r != 0 ? r : load(&given, ret_conf, err);
}

int svc_conf_load(const char *dir, const char *file, struct svc_conf *ret_conf,
                  struct im_error *err)
{
    const struct given given = { .dir = dir, .config = file };

    return load(&given, ret_conf, err);
}

void svc_conf_done(struct svc_conf *conf)
{
    svc_settings_done(conf);
    free(conf->config);
    free(conf->tasks_path);
    free(conf->objects_dir);
    free(conf->lock_path);
    free(conf->images_dir);
    free(conf->instances_dir);
    free(conf->env_path);
    *conf = (struct svc_conf){ 0 };
}
