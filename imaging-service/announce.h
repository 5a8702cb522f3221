/* announce - tell people and scripts where a service is that has started. */
#pragma once

#include <stdint.h>

#include "auth/accounts.h"
#include "base/error.h"
#include "conf/conf.h"

struct svc_announcement {
    const struct svc_conf *conf;
    struct svc_accounts *accounts; /* whose first keys open it and its objects; NULL: one of several
                                      services, which are nobody's */
    const char *endpoint;          /* "http://127.0.0.1:8773" */
    uint16_t status_port;          /* 0: none */
    const char *trouble;           /* why no task can be worked on; NULL: none */
};

/* Print it on standard output, "ready" last, and write env.sh where there is one.  0 or -errno. */
int svc_announce(const struct svc_announcement *what, struct im_error *err);
