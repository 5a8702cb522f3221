/* postgres-schema - what a server's database is to hold: one service at a time makes it.
 *
 * Services of two versions run side by side during an upgrade: a newer schema is fine unless it
 * says (schema_oldest) that it is wrong for programs that do not know it. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "sql/postgres.h"

/* Held by who changes a schema; a number that others hardly use. */
#define LOCK_SCHEMA   "SELECT pg_advisory_lock(7310029173654645)"
#define UNLOCK_SCHEMA "SELECT pg_advisory_unlock(7310029173654645)"

/* What every database of ours has.  Tests put another imaging_now() in the place of this. */
static const struct {
    const char *is_missing, *make;
} foundation[] = {
    { "SELECT to_regclass('schema_version') IS NULL",
      "CREATE TABLE schema_version (name text, version bigint, applied_ms bigint NOT NULL, "
      "PRIMARY KEY (name, version))" },
    { "SELECT to_regclass('schema_oldest') IS NULL",
      "CREATE TABLE schema_oldest (name text PRIMARY KEY, version bigint NOT NULL)" },
    { "SELECT to_regprocedure('imaging_now()') IS NULL",
      "CREATE FUNCTION imaging_now() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS "
      "'SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint'" },
};

/* ---- scripts: several statements, no time limit ---- */

/* Run them; the first column of the last one's first row is *ret_text unless that is NULL, freed by
 * the caller. */
static int run_script(struct postgres_connection *connection, const char *script, char **ret_text,
                      struct im_error *err)
{
    char *text IM_FREE = NULL;
    int r = 0, left = PQsendQuery(connection->conn, script);

    if (!left)
        return im_fail(err, EHOSTDOWN, "%s '%s': the connection to the server was lost",
                       connection->db->schema->what, connection->db->where);
    while (left) {
        PGresult *result = NULL;
        int next = postgres_next_result(connection, INT64_MAX, &result, err);

        if (next < 0)
            return next;
        if (PQresultStatus(result) == PGRES_FATAL_ERROR && result && r == 0)
            r = postgres_failed(connection, result, err);
        if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0) {
            free(text);
            text = strdup(PQgetvalue(result, 0, 0));
        }
        left = result != NULL;
        PQclear(result);
    }
    if (r == 0 && ret_text)
        *ret_text = im_steal(text);
    return r;
}

static int ask_number(struct postgres_connection *connection, const char *format, const char *name,
                      uint64_t *ret_number, struct im_error *err)
{
    char *script IM_FREE = im_asprintf(format, name), *text IM_FREE = NULL;
    int r =
        script ? run_script(connection, script, &text, err) : im_fail(err, ENOMEM, "out of memory");

    if (r == 0 && (!text || im_parse_uint(text, INT64_MAX, ret_number) < 0))
        r = im_fail(err, EBADMSG, "%s '%s': schema_version is damaged",
                    connection->db->schema->what, connection->db->where);
    return r;
}

/* ---- migrations ---- */

static int lay_foundation(struct postgres_connection *connection, struct im_error *err)
{
    int r = 0;

    for (size_t i = 0; i < sizeof(foundation) / sizeof(foundation[0]) && r == 0; i++) {
        char *missing IM_FREE = NULL;

        r = run_script(connection, foundation[i].is_missing, &missing, err);
        if (r == 0 && missing && missing[0] == 't')
            r = run_script(connection, foundation[i].make, NULL, err);
    }
    return r;
}

static int migrate_once(struct postgres_connection *connection, uint64_t version,
                        struct im_error *err)
{
    const struct sql_schema *schema = connection->db->schema;
    const struct sql_migration *migration = &schema->postgres[version - 1];
    char *script IM_FREE =
        im_asprintf("BEGIN;\n"
                    "INSERT INTO schema_oldest VALUES ('%s', 1) ON CONFLICT DO NOTHING;\n"
                    "INSERT INTO schema_version VALUES ('%s', %" PRIu64 ", imaging_now());\n"
                    "%s;\nCOMMIT",
                    schema->name, schema->name, version, migration->sql);
    int r =
        script ? run_script(connection, script, NULL, err) : im_fail(err, ENOMEM, "out of memory");

    if (r < 0) {
        im_error_prefix(err, "migration %s failed and was taken back", migration->name);
        if (connection->state == POSTGRES_FINE)
            (void)run_script(connection, "ROLLBACK", NULL, NULL);
    }
    return r;
}

static int bring_up_to_date(struct postgres_connection *connection, bool existing,
                            struct im_error *err)
{
    const struct sql_schema *schema = connection->db->schema;
    uint64_t version = 0, oldest = 0, latest = schema->postgres_count;
    int r = ask_number(connection,
                       "SELECT coalesce(max(version), 0) FROM schema_version WHERE name = '%s'",
                       schema->name, &version, err);

    if (r == 0)
        r = ask_number(connection,
                       "SELECT coalesce(max(version), 0) FROM schema_oldest WHERE name = '%s'",
                       schema->name, &oldest, err);
    if (r == 0 && latest < oldest)
        return im_fail(err, EOPNOTSUPP,
                       "the %s '%s' has schema version %" PRIu64 ", made for programs that know "
                       "%" PRIu64 " at least, but this one knows only up to %" PRIu64
                       ": start a newer imaging-service",
                       schema->what, connection->db->where, version, oldest, latest);
    if (r == 0 && existing && version < latest)
        return sql_too_old(schema, connection->db->where, version, latest, err);
    while (r == 0 && version < latest)
        r = migrate_once(connection, ++version, err);
    return r;
}

/* Beside services that may be at work: nobody is made to wait. */
static int expect_schema(struct postgres_connection *connection, struct im_error *err)
{
    char *missing IM_FREE = NULL;
    int r = run_script(connection, foundation[0].is_missing, &missing, err);

    if (r == 0 && (!missing || missing[0] == 't'))
        return sql_missing(connection->db->schema, connection->db->where, err);
    return r < 0 ? r : bring_up_to_date(connection, true, err);
}

static int make_schema(struct postgres_connection *connection, struct im_error *err)
{
    int r = run_script(connection, "SET statement_timeout = 0; SET lock_timeout = 0; " LOCK_SCHEMA,
                       NULL, err);

    if (r == 0)
        r = lay_foundation(connection, err);
    if (r == 0)
        r = bring_up_to_date(connection, false, err);
    return r < 0 ? r : run_script(connection, UNLOCK_SCHEMA, NULL, err);
}

int postgres_migrate(struct postgres *db, bool existing, struct im_error *err)
{
    struct postgres_connection *connection = NULL;
    int r = postgres_connect(db, im_clock_monotonic_ms() + POSTGRES_PATIENCE_MS, &connection, err);

    if (r < 0)
        return r;
    if (!PQexitPipelineMode(connection->conn))
        r = im_fail(err, EIO, "%s: the connection cannot be used", db->base.where);
    if (r == 0)
        r = existing ? expect_schema(connection, err) : make_schema(connection, err);
    (void)postgres_disconnect(connection); /* gives the lock up, too */
    return r;
}
