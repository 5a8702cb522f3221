/* message - what the owner of a task reads when it failed.
 *
 * AWS's words where there are some (AWS VM Import's documented status messages): people and
 * programs search for them.  "ClientError: " is the owner's file or request, "ServerError: " is
 * ours. */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* Bytes of the longest message: the longest sentence and the words around it. */
#define MESSAGE_SIZE (IM_ERROR_MAX + 256)

/* Word a failure of the toolkit: its exit status (enum im_status), the code and the sentence of its
 * error event ("" when it told none).  Writes into buf (MESSAGE_SIZE bytes), returns buf. */
const char *message_failure(char *buf, int status, const char *code, const char *sentence);

/* Word a failure of the service itself. */
const char *message_internal(char *buf, const char *sentence);
