/* place - whose data a command works on. */

#include <config.h>

#include "cmd/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A command does one thing after the other. */
#define CONNECTIONS 1

static int set_output(struct place *place, const char *value, struct im_error *err)
{
    place->json = strcmp(value, "json") == 0;
    if (place->json || strcmp(value, "text") == 0)
        return 0;
    return im_fail(err, EINVAL, "--output wants text or json, not '%.40s'", value);
}

int place_take(struct place *place, int option, const char *value, const char *command,
               const char *usage, struct im_error *err)
{
    switch (option) {
    case 's':
        place->dir = value;
        return *value ? 0 : im_fail(err, EINVAL, "--standalone wants a directory");
    case 'c':
        place->config = value;
        return *value ? 0 : im_fail(err, EINVAL, "--config wants the path of a file");
    case 'o':
        return set_output(place, value, err);
    case 'h':
        (void)fputs(usage, stdout);
        return 1;
    default:
        return im_fail(err, EINVAL,
                       "'%.80s' is no option or wants a value; see imaging-service %s --help",
                       value, command);
    }
}

int place_parse(int argc, char **argv, const struct option *known,
                int (*take)(void *arg, int option, const char *value, struct im_error *err),
                void *arg, struct im_error *err)
{
    int option, r = 0;

    opterr = 0; /* one line is enough */
    while (r == 0 && (option = getopt_long(argc, argv, "h", known, NULL)) != -1)
        r = take(arg, option, option == '?' ? argv[optind - 1] : optarg, err);
    return r;
}

int place_status(int r, bool understood, const struct im_error *err)
{
    if (r < 0)
        im_error_print("imaging-service", err);
    return r >= 0 ? EXIT_SUCCESS : understood ? EXIT_FAILURE : IM_USAGE;
}

int place_check(const struct place *place, struct im_error *err)
{
    if (!place->dir != !place->config)
        return 0;
    return im_fail(err, EINVAL,
                   place->dir ? "--standalone DIR and --config FILE: give one of them"
                              : "--standalone DIR is missing, or --config FILE");
}

/* What belongs to a service is found by its name: the one it has when it runs with these settings.
 */
static int open_tasks(struct svc_conf *conf, struct task_table **ret_table, struct im_error *err)
{
    struct task_options options = {
        .where = conf->database ? conf->database : conf->tasks_path,
        .guest = true,
        .alone = !conf->database,
        .connections = CONNECTIONS,
    };
    int r = svc_conf_name(conf, conf->listen.port, err);

    options.worker = conf->instance_name;
    return r < 0 ? r : task_table_open(&options, ret_table, err);
}

int place_open(const struct place *place, struct svc_conf *ret_conf, struct task_table **ret_table,
               struct im_error *err)
{
    struct svc_conf conf = { 0 };
    int r = svc_conf_load(place->dir, place->config, &conf, err);

    if (r == 0)
        r = open_tasks(&conf, ret_table, err);
    if (r < 0)
        svc_conf_done(&conf);
    else
        *ret_conf = conf;
    return r;
}
