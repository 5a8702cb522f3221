/* database - the URI of a database as a setting: what is one, and where its password stands. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* True for what libpq calls a connection URI, of which it judges the rest itself.  A password
 * stands before the '@' and nowhere else, so that everybody agrees where it ends. */
bool svc_database_ok(const char *uri);

/* The password in such a URI, with the colon before it, and its length; NULL: there is none. */
const char *svc_database_password(const char *uri, size_t *ret_len);
