/* database - the URI of a database as a setting: what is one, and where its password stands.
 *
 * "Connection URIs" of libpq's documentation.  Connecting is the driver's business. */

#include <config.h>

#include "conf/database.h"

#include <string.h>

/* Bytes of a URI: several hosts, and options, stay far below. */
#define DATABASE_MAX 2000

/* May that option stand?  Those that hold a password may not, nor may any name be hidden. */
static bool is_option(const char *name, size_t len)
{
    static const char secret[] = "password";
    size_t tail = sizeof(secret) - 1;

    return !memchr(name, '%', len) && (len < tail || memcmp(name + len - tail, secret, tail) != 0);
}

/* User, host and path: '@' ends the user, once, and before the path. */
static bool is_place(const char *text)
{
    const char *at = strchr(text, '@');

    return !at || (at < text + strcspn(text, "/?") && !strchr(at + 1, '@'));
}

bool svc_database_ok(const char *uri)
{
    const char *place = strstr(uri, "://");

    if (strlen(uri) > DATABASE_MAX || !place ||
        (strncmp(uri, "postgresql://", 13) != 0 && strncmp(uri, "postgres://", 11) != 0))
        return false;
    for (const char *p = uri; *p; p++)
        if (*p <= ' ' || *p >= 0x7f)
            return false;
    for (const char *p = strchr(uri, '?'); p; p = strchr(p + 1, '&'))
        if (!is_option(p + 1, strcspn(p + 1, "=&")))
            return false;
    return is_place(place + 3);
}

const char *svc_database_password(const char *uri, size_t *ret_len)
{
    const char *user = strstr(uri, "://") + 3;
    const char *at = strchr(user, '@'), *colon = strchr(user, ':');

    if (!at || !colon || colon > at)
        return NULL;
    *ret_len = (size_t)(at - colon);
    return colon;
}
