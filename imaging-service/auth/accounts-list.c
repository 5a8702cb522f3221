/* accounts-list - the account store: what people are shown.
 *
 * Rows are read piece by piece, each piece in a transaction of its own, and told to the caller
 * between these: he may print them, and a transaction may have to be repeated. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auth/accounts-inner.h"

/* Keys read at once. */
#define PIECE 100

/* One account, the next after a place in their order. */
struct account_row {
    const char *which; /* number or name; NULL: any */
    int64_t seq, last; /* the place, and its own */
    bool found;
    char id[SVC_ACCOUNT_LEN + 1], name[SVC_NAME_MAX + 1], actions[SVC_ACTIONS_SIZE];
    struct svc_listed_account listed; /* points here */
};

/* The next keys of an account. */
struct key_rows {
    const char *account;
    int64_t seq, last; /* the place, and that of the last row read */
    size_t count;
    struct svc_listed_key listed[PIECE]; /* … which points here: */
    char id[PIECE][SVC_ACCESS_KEY_LEN + 1];
};

/* Copy a column's text; NULL when it is NULL; *damaged when it does not fit. */
static const char *copy(struct sql_statement *row, int column, char *to, size_t size, bool *damaged)
{
    const char *text = sql_column_text(row, column);
    size_t len = text ? strlen(text) : 0;

    if (len >= size) {
        *damaged = true;
        return NULL;
    }
    if (text)
        memcpy(to, text, len + 1);
    return text ? to : NULL;
}

static int check(bool damaged, const char *id, struct im_error *err)
{
    return damaged || !id ? im_fail(err, EBADMSG, "a row of the account store is damaged") : 0;
}

static int read_account(struct sql_session *session, void *arg, struct im_error *err)
{
    struct account_row *account = arg;
    struct sql_statement *row SQL_STATEMENT =
        sql_use(session, "SELECT seq, id, name, actions, enabled, created_ms FROM account "
                         "WHERE seq > ?2 AND (CAST(?1 AS TEXT) IS NULL OR id = ?1 OR name = ?1) "
                         "ORDER BY seq LIMIT 1");
    bool damaged = false;
    int r;

    sql_text(row, 1, account->which);
    sql_int(row, 2, account->seq);
    r = sql_step(session, row, err);
    account->found = r == 1;
    if (r != 1)
        return r;
    account->last = sql_column_int(row, 0);
    account->listed = (struct svc_listed_account){
        .id = copy(row, 1, account->id, sizeof(account->id), &damaged),
        .name = copy(row, 2, account->name, sizeof(account->name), &damaged),
        .actions = copy(row, 3, account->actions, sizeof(account->actions), &damaged),
        .enabled = sql_column_int(row, 4) != 0,
        .created_ms = sql_column_int(row, 5),
    };
    return check(damaged || !account->listed.actions, account->listed.id, err);
}

static int read_keys(struct sql_session *session, void *arg, struct im_error *err)
{
    struct key_rows *keys = arg;
    struct sql_statement *row SQL_STATEMENT =
        sql_use(session, "SELECT seq, id, enabled, created_ms, coalesce(expires_ms, 0) "
                         "FROM access_key WHERE account = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");
    int64_t seq = keys->seq;
    int r;

    sql_text(row, 1, keys->account);
    sql_int(row, 2, seq);
    sql_int(row, 3, PIECE);
    for (keys->count = 0; (r = sql_step(session, row, err)) == 1 && keys->count < PIECE;
         keys->count++) {
        char *id = keys->id[keys->count];
        bool damaged = false;

        keys->listed[keys->count] = (struct svc_listed_key){
            .id = copy(row, 1, id, sizeof(keys->id[0]), &damaged),
            .enabled = sql_column_int(row, 2) != 0,
            .created_ms = sql_column_int(row, 3),
            .expires_ms = sql_column_int(row, 4),
        };
        if (check(damaged, keys->listed[keys->count].id, err) < 0)
            return -EBADMSG;
        seq = sql_column_int(row, 0);
    }
    if (r == 0)
        keys->last = seq;
    return r;
}

static int list_keys(struct svc_accounts *accounts, struct key_rows *keys,
                     int (*each)(void *arg, const struct svc_listed_key *key), void *arg,
                     struct im_error *err)
{
    int r;

    do {
        r = sql_read(accounts->db, read_keys, keys, err);
        keys->seq = keys->last;
        for (size_t i = 0; r >= 0 && i < keys->count; i++)
            r = each(arg, &keys->listed[i]);
    } while (r >= 0 && keys->count == PIECE);
    return r;
}

int svc_accounts_list(struct svc_accounts *accounts, const char *which,
                      int (*account)(void *arg, const struct svc_listed_account *account),
                      int (*key)(void *arg, const struct svc_listed_key *key), void *arg,
                      struct im_error *err)
{
    struct account_row row = { .which = which };
    struct key_rows *keys IM_FREE = malloc(sizeof(*keys));
    bool any = false;
    int r;

    if (!keys)
        return im_fail(err, ENOMEM, "out of memory");
    while ((r = sql_read(accounts->db, read_account, &row, err)) == 0 && row.found) {
        any = true;
        r = account(arg, &row.listed);
        memset(keys, 0, sizeof(*keys));
        keys->account = row.id;
        if (r >= 0)
            r = list_keys(accounts, keys, key, arg, err);
        if (r < 0)
            return r;
        row.seq = row.last;
    }
    return r == 0 && !any ? accounts_none(which ? which : "", err) : r;
}
