/* throttle - how often an account may call an action: one token bucket for each.
 *
 * A bucket holds `burst` tokens when full and gets `requests_per_second` new ones each second; a
 * call takes one.  Knows no time of its own and no HTTP. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

struct svc_throttle;

/* Buckets for the actions (action_count names, which outlive it), with the rates of conf: that of
 * the action's name, else that of "*", else none.  0; -EINVAL when conf names an action that is
 * none of these; -ENOMEM. */
int svc_throttle_new(const struct svc_conf *conf, const char *const *actions, size_t action_count,
                     struct svc_throttle **ret_throttle, struct im_error *err);

/* May the account call the action (its place in actions; anything beyond stands for all unknown
 * ones) now?  Takes a token.  now_ms is of a clock that never goes back.  Of any thread; constant
 * time.  throttle NULL: yes. */
bool svc_throttle_take(struct svc_throttle *throttle, const char *account, size_t action,
                       int64_t now_ms);

/* Takes NULL, returns NULL. */
struct svc_throttle *svc_throttle_free(struct svc_throttle *throttle);
