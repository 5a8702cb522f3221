/* account - `imaging-service account …`: arguments in, one call of the account store, lines out. */

#include <config.h>

#include "cmd/account.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "auth/accounts.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "cmd/place.h"
#include "cmd/show.h"
#include "conf/conf.h"

/* Seconds temporary credentials live: 12 hours, as AWS has it. */
#define DEFAULT_DURATION 43200

static const char usage[] =
    "Examples:\n"
    "  imaging-service account list --standalone DIR\n"
    "  imaging-service account add --standalone DIR --name watcher \\\n"
    "      --allow DescribeConversionTasks,ReadObjects\n"
    "  eval \"$(imaging-service account session --standalone DIR watcher)\"\n"
    "  imaging-service account rotate --standalone DIR watcher\n"
    "  imaging-service account disable --standalone DIR AKIA2E3F4G5H6I7J2K3L\n"
    "\n"
    "Usage: imaging-service account COMMAND --standalone DIR [OPTION]... [WHICH]\n"
    "  list             accounts, what they may do, their keys; never a secret\n"
    "  add              make an account and its first key\n"
    "  rotate ACCOUNT   make a second key; when all use it, disable the old one\n"
    "  session ACCOUNT  make temporary credentials: key, secret and session token\n"
    "  disable WHICH    refuse an account or a key from the next request on\n"
    "  enable WHICH     take that back\n"
    "  --name NAME      to call the account by: letters a-z, digits, '.', '-', '_'\n"
    "  --allow ACTIONS  API actions, ReadObjects and WriteObjects joined with commas,\n"
    "                   or all (the default)\n"
    "  --duration N     seconds a session lives, 1 to 129600, default 43200\n"
    "  --config FILE    in place of DIR: names it, or the database services share\n"
    "  --master-key PATH, --output text|json, --help\n"
    "Secrets are shown once.  Run it as the service's user; the service may run.\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.\n";

struct options {
    struct place place;
    const char *master_key, *name, *which;
    char *actions; /* as they are stored */
    uint64_t duration_s;
};

struct command {
    const char *name;
    bool which; /* wants an account or a key */
    int (*run)(struct svc_accounts *accounts, const struct options *options, struct im_error *err);
};

/* ---- the commands ---- */

static int run_list(struct svc_accounts *accounts, const struct options *options,
                    struct im_error *err)
{
    return svc_show_accounts(accounts, options->place.json, err);
}

static int run_add(struct svc_accounts *accounts, const struct options *options,
                   struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int r = svc_accounts_add(accounts, options->name,
                             options->actions ? options->actions : SVC_ALL_ACTIONS,
                             im_clock_now_ms(), &keys, err);

    return r < 0 ? r : svc_show_keys(accounts, &keys, 0, options->place.json, err);
}

static int run_rotate(struct svc_accounts *accounts, const struct options *options,
                      struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int r = svc_accounts_rotate(accounts, options->which, im_clock_now_ms(), &keys, err);

    return r < 0 ? r : svc_show_keys(accounts, &keys, 0, options->place.json, err);
}

static int run_session(struct svc_accounts *accounts, const struct options *options,
                       struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int64_t now_ms = im_clock_now_ms(), end_ms = now_ms + (int64_t)options->duration_s * 1000;
    int r = svc_accounts_session(accounts, options->which, now_ms, end_ms, &keys, err);

    return r < 0 ? r : svc_show_keys(accounts, &keys, end_ms, options->place.json, err);
}

static int run_enable(struct svc_accounts *accounts, const struct options *options,
                      struct im_error *err)
{
    int r = svc_accounts_enable(accounts, options->which, true, err);

    return r < 0 ? r : svc_show_enabled(options->which, true, options->place.json, err);
}

static int run_disable(struct svc_accounts *accounts, const struct options *options,
                       struct im_error *err)
{
    int r = svc_accounts_enable(accounts, options->which, false, err);

    return r < 0 ? r : svc_show_enabled(options->which, false, options->place.json, err);
}

static const struct command commands[] = {
    { "list", false, run_list },      { "add", false, run_add },
    { "rotate", true, run_rotate },   { "session", true, run_session },
    { "disable", true, run_disable }, { "enable", true, run_enable },
};

/* ---- arguments ---- */

/* Name of the n-th thing that can be allowed, NULL behind the last. */
static const char *allowable(size_t n)
{
    static const char *const objects[] = { SVC_READ_OBJECTS, SVC_WRITE_OBJECTS, NULL };
    size_t actions = 0;

    while (svc_api_action(actions))
        actions++;
    return n < actions ? svc_api_action(n) : n - actions < 2 ? objects[n - actions] : NULL;
}

static int check_action(const char *action, struct im_error *err)
{
    struct im_buffer names IM_BUFFER_DONE = IM_BUFFER(SVC_ACTIONS_SIZE);
    const char *name;

    for (size_t n = 0; (name = allowable(n)); n++) {
        if (strcmp(name, action) == 0)
            return 0;
        (void)im_buffer_printf(&names, "%s%s", n ? ", " : "", name);
    }
    return im_fail(err, EINVAL, "there is no action '%.60s' to allow; there are %s, and all",
                   action, names.data);
}

static int set_actions(struct options *options, const char *list, struct im_error *err)
{
    char *actions = strdup(list), *copy IM_FREE = strdup(list), *rest = NULL;
    size_t pieces = 0, len = strlen(list);
    int r = 0;

    free(options->actions);
    options->actions = actions;
    if (!actions || !copy)
        return im_fail(err, ENOMEM, "out of memory");
    if (strcmp(list, SVC_ALL_ACTIONS) == 0)
        return 0;
    for (char *p = strtok_r(copy, ",", &rest); p && r == 0; p = strtok_r(NULL, ",", &rest)) {
        r = check_action(p, err);
        pieces++;
    }
    if (r == 0 && (pieces == 0 || len >= SVC_ACTIONS_SIZE || list[0] == ',' ||
                   list[len - 1] == ',' || strstr(list, ",,")))
        return im_fail(err, EINVAL, "--allow wants names joined with single commas, not '%.60s'",
                       list);
    return r;
}

/* One option; 1 when it has been answered. */
static int take_option(void *arg, int option, const char *value, struct im_error *err)
{
    struct options *options = arg;

    switch (option) {
    case 'm':
        options->master_key = value;
        return *value ? 0 : im_fail(err, EINVAL, "--master-key wants the path of a file");
    case 'n':
        options->name = value;
        return svc_account_name_ok(value)
                   ? 0
                   : im_fail(err, EINVAL,
                             "--name wants 1 to %d of a-z, 0-9, '.', '-' and '_', the first a "
                             "letter, not '%.80s'",
                             SVC_NAME_MAX, value);
    case 'a':
        return set_actions(options, value, err);
    case 'd':
        return im_parse_uint(value, SVC_SESSION_MAX_S, &options->duration_s) == 0 &&
                       options->duration_s > 0
                   ? 0
                   : im_fail(err, EINVAL, "--duration wants seconds from 1 to %d, not '%.40s'",
                             SVC_SESSION_MAX_S, value);
    default:
        return place_take(&options->place, option, value, "account", usage, err);
    }
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The words between the options: the command, and what it works on. */
static int take_words(int argc, char **argv, struct options *options,
                      const struct command **ret_command, struct im_error *err)
{
    const struct command *command = find_command(optind < argc ? argv[optind] : NULL);
    int words = argc - optind;

    if (!command)
        return im_fail(err, EINVAL,
                       "'%.40s' is no command; there are list, add, rotate, session, disable and "
                       "enable: see imaging-service account --help",
                       words ? argv[optind] : "");
    if (command->which && words < 2)
        return im_fail(err, EINVAL, "%s wants to know which account%s", command->name,
                       command->run == run_rotate || command->run == run_session ? "" : " or key");
    if (words > (command->which ? 2 : 1))
        return im_fail(err, EINVAL, "'%.80s' is one argument too many",
                       argv[optind + (command->which ? 2 : 1)]);
    options->which = command->which ? argv[optind + 1] : NULL;
    *ret_command = command;
    return place_check(&options->place, err);
}

static int parse(int argc, char **argv, struct options *options, const struct command **ret_command,
                 struct im_error *err)
{
    static const struct option known[] = { PLACE_OPTIONS,
                                           { "master-key", required_argument, NULL, 'm' },
                                           { "name", required_argument, NULL, 'n' },
                                           { "allow", required_argument, NULL, 'a' },
                                           { "duration", required_argument, NULL, 'd' },
                                           { 0 } };
    int r = place_parse(argc, argv, known, take_option, options, err);

    return r != 0 ? r : take_words(argc, argv, options, ret_command, err);
}

static int open_accounts(const struct options *options, struct svc_accounts **ret_accounts,
                         struct im_error *err)
{
    const char *key = options->master_key;
    struct svc_conf conf = { 0 };
    int r;

    if (options->place.dir)
        return svc_accounts_open(options->place.dir, key, ret_accounts, err);
    r = svc_conf_load(NULL, options->place.config, &conf, err);
    if (r == 0 && !key)
        key = conf.master_key;
    if (r == 0)
        r = conf.database ? svc_accounts_open_shared(conf.database, key, ret_accounts, err)
                          : svc_accounts_open(conf.dir, key, ret_accounts, err);
    svc_conf_done(&conf);
    return r;
}

int svc_account_command(int argc, char **argv)
{
    struct options options = { .duration_s = DEFAULT_DURATION };
    struct svc_accounts *accounts = NULL;
    const struct command *command = NULL;
    struct im_error err = { 0 };
    bool understood = false;
    int r = parse(argc, argv, &options, &command, &err);

    if (r == 0) {
        understood = true;
        r = open_accounts(&options, &accounts, &err);
    }
    if (r == 0)
        r = command->run(accounts, &options, &err);
    (void)svc_accounts_close(accounts);
    free(options.actions);
    return place_status(r, understood, &err);
}
