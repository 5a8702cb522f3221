/* manifest-url - may the service fetch from there?
 *
 * Judges the URL a customer gives, before anything is stored.  The toolkit, which fetches it and
 * the parts that the manifest names, gets the same policy (plan_urls). */
#pragma once

#include "api/operation.h"

/* Refuse the value of a parameter unless it is an http(s) URL without user name that the settings
 * manifest-schemes, manifest-hosts and manifest-networks allow, as far as it can be told from what
 * is written there (base/url-policy.h).  The service's own object store is always allowed.  0 or
 * what svc_refuse returned. */
int svc_check_manifest_url(struct svc_call *call, const char *parameter, const char *url);
