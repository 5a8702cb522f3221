/* errors - the codes this API refuses with: one table, in errors.c. */
#pragma once

/* The first is the value of a call that failed without being refused. */
enum svc_code {
    SVC_INTERNAL_ERROR,
    SVC_AUTH_FAILURE,
    SVC_SIGNATURE_MISMATCH,
    SVC_INCOMPLETE_SIGNATURE,
    SVC_REQUEST_EXPIRED,
    SVC_UNAUTHORIZED,
    SVC_THROTTLED,
    SVC_MISSING_ACTION,
    SVC_INVALID_ACTION,
    SVC_NO_SUCH_VERSION,
    SVC_MISSING_PARAMETER,
    SVC_UNKNOWN_PARAMETER,
    SVC_INVALID_VALUE,
    SVC_INVALID_COMBINATION,
    SVC_MALFORMED_QUERY,
    SVC_INVALID_CHARACTER,
    SVC_INVALID_REQUEST,
    SVC_DRY_RUN,
    SVC_TOKEN_MISMATCH,
    SVC_TOO_MANY_TAGS,
    SVC_MALFORMED_TAG,
    SVC_MALFORMED_USER_DATA,
    SVC_UNKNOWN_TASK,
    SVC_MALFORMED_TASK,
    SVC_TASK_FINISHED,
    SVC_INVALID_FORMAT,
    SVC_IMAGE_TOO_LARGE,
    SVC_UNKNOWN_ZONE,
    SVC_TOO_MANY_TASKS,
    SVC_TOO_MANY_FILTERS,
    SVC_UNAVAILABLE,
    SVC_DATABASE_AWAY,
    SVC_NOT_FOUND,
    SVC_METHOD_NOT_ALLOWED,
    SVC_TOO_LARGE,
    SVC_TIMEOUT,
    SVC_CODES, /* how many */
};

/* The word clients see, the HTTP status, and the sentence when nobody has a better one. */
const char *svc_code_name(enum svc_code code);
unsigned svc_code_status(enum svc_code code);
const char *svc_code_text(enum svc_code code);

/* The code of that word; SVC_INTERNAL_ERROR when there is none. */
enum svc_code svc_code_find(const char *name);

/* The code of a failure nobody refused with one, by its errno value, positive or negative:
 * SVC_DATABASE_AWAY for what heals when the database is back, or a lock free; else
 * SVC_INTERNAL_ERROR. */
enum svc_code svc_code_of_failure(int number);
