/* caller - who sent a request, and what he may do; the authentication says it, the operations and
 * the object store ask. */
#pragma once

#include <stdbool.h>

/* Bytes of a list of actions; all names of all operations together have under 700. */
#define SVC_ACTIONS_SIZE 1024

/* In place of a list: every action, also those a later version brings. */
#define SVC_ALL_ACTIONS "all"

/* What the object store asks for; the query API asks for the action's name. */
#define SVC_READ_OBJECTS  "ReadObjects"
#define SVC_WRITE_OBJECTS "WriteObjects"

struct svc_caller {
    char account[13];               /* 12 digits */
    char actions[SVC_ACTIONS_SIZE]; /* SVC_ALL_ACTIONS, or names joined with ',' */

    /* What tells a request that is sent again; both "" of an object's request. */
    char proof[65];      /* SHA-256 of the signature */
    char invocation[65]; /* SHA-256 of amz-sdk-invocation-id, which SDKs make anew for every call,
                            but not when they repeat one; "" when there is none */
};

/* True when the caller may do what has that name. */
bool svc_caller_may(const struct svc_caller *caller, const char *action);
