/* refusal - a whole HTTP answer for a connection that never gets to the HTTP library, or will not
 * have its answer from there. */
#pragma once

#include "api/errors.h"
#include "base/buffer.h"

/* A UUID (RFC 4122, version 4) at random; id has 37 bytes. */
void svc_request_id(char *id);

/* Append head and body of an answer with a request id of its own, after which the connection ends.
 * message NULL: the code's own sentence.  0 or as im_buffer_add. */
int svc_refusal(enum svc_code code, const char *message, struct im_buffer *out);
