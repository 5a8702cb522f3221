/* plan - what the toolkit is to do for a disk. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "conf/conf.h"
#include "dispatch/files.h"
#include "task/task.h"

/* Bytes of the volume; 0 or -EFBIG when they cannot be counted. */
int plan_volume_bytes(const struct stage *stage, uint64_t *ret_bytes, struct im_error *err);

/* The object store of this service, for the toolkit to find parts of an upload in its files. */
struct plan_objects {
    const char *url; /* all its objects' URLs begin so: "http://127.0.0.1:8773/objects/" */
    const char *dir;
};

/* Which URLs the toolkit may follow, as a job has it (core/urls.h of the toolkit).  own: a URL of
 * this service's object store, or NULL.  NULL when out of memory. */
struct json_t;
struct json_t *plan_urls(const struct svc_conf *conf, const char *own);

/* The job of a claimed convert as JSON text, owned by the caller (free).  objects may be NULL.  A
 * pure function of its arguments. Errors: -EFBIG (volume), -EINVAL (the row has text that JSON
 * cannot hold), -ENOMEM. */
int plan_job(const struct svc_conf *conf, const struct claim *claim,
             const struct claim_files *files, const struct plan_objects *objects, char **ret_json,
             struct im_error *err);
