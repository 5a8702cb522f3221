/* manifest-url - may the service fetch from there?
 *
 * Judges the URL a customer gives, before anything is stored.  The parts that the manifest names
 * are fetched later by the toolkit. */
#pragma once

#include "api/operation.h"

/* Refuse the value of a parameter unless it is an http(s) URL without user name whose scheme and
 * host the settings manifest-schemes and manifest-hosts allow.  A host is allowed by its name, with
 * any port; by "*.NAME", any name below NAME; with ":PORT" behind either, only with that port.  The
 * service's own object store is always allowed.  0 or what svc_refuse returned. */
int svc_check_manifest_url(struct svc_call *call, const char *parameter, const char *url);
