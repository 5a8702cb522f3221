/* query-handler - HTTP requests to the EC2 query API: collect, authenticate, decode, call. */
#pragma once

#include "api/api.h"
#include "auth/accounts.h"
#include "http/message.h"

/* The handler's service data; outlives the server. */
struct svc_query_service {
    const struct svc_api *api;
    struct svc_accounts *accounts;
};

/* Answers "/" and "/services/compute"; every other path is 404. */
extern const struct svc_handler svc_query_handler;
