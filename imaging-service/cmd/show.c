/* show - what `imaging-service account` prints. */

#include <config.h>

#include "cmd/show.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "cmd/rows.h"

/* Collects what svc_accounts_list tells. */
struct listing {
    json_t *accounts; /* NULL when lines are printed instead */
    json_t *keys;     /* of the last account */
};

static const char *state(bool enabled)
{
    return enabled ? "enabled" : "disabled";
}

/* ---- listings ---- */

static int list_account(void *arg, const struct svc_listed_account *account)
{
    struct listing *listing = arg;
    char made[24];
    json_t *row;

    (void)im_clock_iso8601(made, sizeof(made), account->created_ms);
    if (!listing->accounts) {
        (void)printf("%s  %-9s %s  %s  %s\n", account->id, state(account->enabled), made,
                     account->name ? account->name : "-", account->actions);
        return 0;
    }
    listing->keys = json_array();
    row = json_pack("{s:s, s:s?, s:b, s:s, s:s, s:o}", "account", account->id, "name",
                    account->name, "enabled", account->enabled, "created", made, "allow",
                    account->actions, "keys", listing->keys);
    return row && json_array_append_new(listing->accounts, row) == 0 ? 0 : -ENOMEM;
}

static int list_key(void *arg, const struct svc_listed_key *key)
{
    struct listing *listing = arg;
    char made[24], end[24];
    json_t *row;

    (void)im_clock_iso8601(made, sizeof(made), key->created_ms);
    if (!listing->accounts) {
        (void)printf("  %s  %-9s %s%s%s\n", key->id, state(key->enabled), made,
                     key->expires_ms ? "  temporary, until " : "",
                     key->expires_ms ? im_clock_iso8601(end, sizeof(end), key->expires_ms) : "");
        return 0;
    }
    row = json_pack("{s:s, s:b, s:s, s:o}", "access_key", key->id, "enabled", key->enabled,
                    "created", made, "expires", rows_time(key->expires_ms));
    return row && json_array_append_new(listing->keys, row) == 0 ? 0 : -ENOMEM;
}

int svc_show_accounts(struct svc_accounts *accounts, bool json, struct im_error *err)
{
    json_t *rows JSON_DONE = json ? json_array() : NULL;
    struct listing listing = { .accounts = rows };
    int r;

    if (json && !rows)
        return im_fail(err, ENOMEM, "out of memory");
    r = svc_accounts_list(accounts, NULL, list_account, list_key, &listing, err);
    if (r == -ENOMEM)
        return im_fail(err, ENOMEM, "out of memory");
    if (r < 0)
        return r;
    return json ? rows_print_json(rows, err) : rows_flush(err);
}

/* ---- new keys ---- */

/* The other permanent keys that are enabled; SVC_KEYS_MAX bounds them. */
struct others {
    const char *not_this;
    char id[SVC_KEYS_MAX][SVC_ACCESS_KEY_LEN + 1];
    size_t count;
};

static int no_line(void *arg, const struct svc_listed_account *account)
{
    (void)arg;
    (void)account;
    return 0;
}

static int note_other(void *arg, const struct svc_listed_key *key)
{
    struct others *others = arg;

    if (key->enabled && !key->expires_ms && strcmp(key->id, others->not_this) != 0 &&
        others->count < SVC_KEYS_MAX)
        (void)snprintf(others->id[others->count++], sizeof(others->id[0]), "%s", key->id);
    return 0;
}

static int print_keys_json(const struct svc_keys *keys, int64_t expires_ms,
                           const struct others *others, struct im_error *err)
{
    const char *token = keys->token[0] ? keys->token : NULL;
    json_t *list = json_array();
    json_t *row JSON_DONE =
        json_pack("{s:s, s:s, s:s, s:s*, s:o, s:o}", "account", keys->account, "access_key",
                  keys->access_key, "secret_key", keys->secret_key, "session_token", token,
                  "expires", rows_time(expires_ms), "other_enabled_keys", list);

    for (size_t i = 0; row && i < others->count; i++)
        if (json_array_append_new(list, json_string(others->id[i])) < 0)
            return im_fail(err, ENOMEM, "out of memory");
    return rows_print_json(row, err);
}

/* Lines that a shell may evaluate as they are. */
static int print_keys(const struct svc_keys *keys, int64_t expires_ms, const struct others *others,
                      struct im_error *err)
{
    char end[24];

    (void)printf("# Account %s.  The secret is shown this once.\n", keys->account);
    for (size_t i = 0; i < others->count; i++)
        (void)printf("# Still enabled: %s; disable it when nobody uses it any more.\n",
                     others->id[i]);
    (void)printf("export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n", keys->access_key,
                 keys->secret_key);
    if (expires_ms) /* under the names of new and old clients */
        (void)printf("export AWS_SESSION_TOKEN=%s\nexport AWS_SECURITY_TOKEN=%s\n"
                     "export AWS_CREDENTIAL_EXPIRATION=%s\n",
                     keys->token, keys->token, im_clock_iso8601(end, sizeof(end), expires_ms));
    return rows_flush(err);
}

int svc_show_keys(struct svc_accounts *accounts, const struct svc_keys *keys, int64_t expires_ms,
                  bool json, struct im_error *err)
{
    struct others others = { .not_this = keys->access_key };
    int r = 0;

    if (!expires_ms)
        r = svc_accounts_list(accounts, keys->account, no_line, note_other, &others, err);
    if (r < 0)
        return r;
    return json ? print_keys_json(keys, expires_ms, &others, err)
                : print_keys(keys, expires_ms, &others, err);
}

int svc_show_enabled(const char *which, bool enabled, bool json, struct im_error *err)
{
    json_t *row JSON_DONE = NULL;

    if (!json) {
        (void)printf("%s is %s\n", which, state(enabled));
        return rows_flush(err);
    }
    row = json_pack("{s:s, s:b}", "id", which, "enabled", enabled);
    return rows_print_json(row, err);
}
