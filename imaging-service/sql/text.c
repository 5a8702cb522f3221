/* text - the text of a statement: its parameters, and how PostgreSQL wants it.
 *
 * Statements are constants of the program, so this knows as much of SQL as they use: quoted text
 * and names, comments between slash and star, parameters with numbers. */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "sql/driver.h"

#define PG_COMMENT "/*pg"

/* Longest statement; they are written by hand. */
#define STATEMENT_MAX 65536

/* Bytes of the quoted text that begins here. */
static size_t quoted_len(const char *sql)
{
    const char *end = strchr(sql + 1, *sql);

    return end ? (size_t)(end + 1 - sql) : strlen(sql);
}

/* The number at text (behind its "?"), and where it ends; 0 when there is none, or is too high. */
static int number_at(const char *text, const char **ret_end)
{
    int number = 0;

    for (; isdigit((unsigned char)*text) && number <= SQL_PARAMETERS_MAX; text++)
        number = number * 10 + (*text - '0');
    *ret_end = text;
    return number <= SQL_PARAMETERS_MAX ? number : 0;
}

int sql_places(const char *sql)
{
    int places = 0;

    for (const char *p = sql; *p;) {
        if (*p == '\'' || *p == '"') {
            p += quoted_len(p);
        } else if (*p == '?') {
            int number = number_at(p + 1, &p);

            if (number == 0)
                return -EINVAL;
            places = number > places ? number : places;
        } else {
            p++;
        }
    }
    return places;
}

char *sql_for_postgres(const char *sql)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(STATEMENT_MAX);
    bool opened = false;
    int r = 0;

    for (const char *p = sql; *p && r == 0;) {
        size_t len = 1;
        const char *give = p;

        if (*p == '\'' || *p == '"') {
            len = quoted_len(p);
            r = im_buffer_add(&text, p, len);
        } else if (strncmp(p, PG_COMMENT, strlen(PG_COMMENT)) == 0) {
            len = strlen(PG_COMMENT);
            opened = true;
        } else if (opened && strncmp(p, "*/", 2) == 0) {
            len = 2;
            opened = false;
        } else {
            give = *p == '?' ? "$" : p;
            r = im_buffer_add(&text, give, 1);
        }
        p += len;
    }
    return r < 0 ? NULL : im_buffer_steal(&text);
}
