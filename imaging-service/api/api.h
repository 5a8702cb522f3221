/* api - the EC2 query API: decoded parameters in, an XML document out.
 *
 * Knows no HTTP, no SQL and no XML library.  By the time a request is here it is authenticated. */
#pragma once

#include "api/errors.h"
#include "api/throttle.h"
#include "aws/query.h"
#include "base/buffer.h"
#include "caller.h"
#include "conf/conf.h"
#include "task/task.h"

/* What the operations work with; outlives every call. */
struct svc_api {
    const struct svc_conf *conf;
    struct svc_throttle *throttle; /* of svc_api_throttle; NULL: no limits */
    struct task_table *tasks;
    const char *objects_url; /* of the service's own object store; NULL: it has none */
    /* Who works on tasks: told that there is something to do, and asked why it cannot be done (as
     * dispatch_wake and dispatch_trouble).  NULL: nobody. */
    void (*wake)(void *worker);
    const char *(*trouble)(void *worker, char *buf, size_t size);
    void *worker;
};

/* An answer: HTTP status and document (Content-Type SVC_XML_TYPE). */
struct svc_answer {
    unsigned status;
    struct im_buffer *body; /* empty, the caller's */
};

#define SVC_XML_TYPE "text/xml;charset=UTF-8"

/* Make the limits that conf sets on the actions of this API.  Errors as svc_throttle_new. */
int svc_api_throttle(const struct svc_conf *conf, struct svc_throttle **ret_throttle,
                     struct im_error *err);

/* Do what the parameters ask for, if the caller may.  request_id is the UUID that goes into the
 * answer. */
void svc_api_run(const struct svc_api *api, const struct svc_caller *caller, const char *request_id,
                 const struct im_query *params, struct svc_answer *answer);

/* Answer with an error; message NULL: the code's own sentence. */
void svc_api_refuse(enum svc_code code, const char *message, const char *request_id,
                    struct svc_answer *answer);

/* Name of the n-th action, NULL behind the last. */
const char *svc_api_action(size_t n);

/* The action of that name as it stands in the table, static; NULL when there is none, or no name.
 */
const char *svc_api_known(const char *name);
