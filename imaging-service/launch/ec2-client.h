/* ec2-client - one signed request to the launcher's endpoint, and what its answer means. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "conf/conf.h"
#include "launch/ec2-reply.h"

struct ec2_client;

/* A client for conf's endpoint, region and credentials.  One request takes request_ms at most and
 * ends when *stop becomes true (NULL: never).  Errors: -EINVAL and -EACCES (settings), -ENOMEM. */
int ec2_client_new(const struct svc_conf *conf, const atomic_bool *stop, long request_ms,
                   struct ec2_client **ret_client, struct im_error *err);
struct ec2_client *ec2_client_free(struct ec2_client *client);

/* Send a form once and read the fields of its answer.
 * Errors: -EAGAIN (network, throttling, 5xx, something made a moment ago is not known everywhere
 * yet), -ECANCELED, -EREMOTEIO (the endpoint refused; the sentence has its code and message),
 * -EBADMSG or -EFBIG (an answer that is none). */
int ec2_call(struct ec2_client *client, const struct im_buffer *form,
             const struct ec2_field *fields, size_t count, struct im_error *err);
