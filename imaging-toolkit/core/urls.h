/* urls - which URLs this process may follow, if a job tells.
 *
 * The toolkit obeys im_urls (base/url-policy.h) from its start on.  Empty, it is what holds for
 * people at this machine; a service hands its own policy over with each job. */
#pragma once

#include "base/error.h"
#include "base/url-policy.h"

/* Set by a job before anything is fetched; one process does one job. */
extern struct im_url_policy im_urls;

/* Take it from JSON: {"schemes": [TEXT, …], "hosts": […], "networks": […], "own": URL}, all
 * optional.  From then on it is strict.  0, -EINVAL or -ENOMEM. */
struct json_t;
int im_urls_parse(const struct json_t *value, struct im_error *err);
