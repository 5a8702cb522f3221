/* hint - command lines of ours in messages, to be pasted. */
#pragma once

#include "base/buffer.h"

#include "options.h"

/* "euca-COMMAND", the region and the endpoint of EC2 as they were given to this program, and the
 * arguments, of which NULL is the last: each a word for the shell.  A new string, the caller's;
 * NULL when out of memory.  Keys are not in it. */
char *euca_hint(const char *command, const struct euca_common *common,
                const char *const *arguments);

/* Tell on standard error, beside a command line, that it wants the keys which were given to this
 * program as options, if any were.  Those of the object store count where it is reached: `s3` may
 * be NULL. */
void euca_tell_keys(const char *program, const struct euca_common *common,
                    const struct euca_s3_options *s3);

/* Append `word` so that a shell reads it as one word, on one line and without what terminals act
 * upon.  Where it has such characters it becomes $'…', which bash, ksh and zsh read, dash does not.
 * 0 or as im_buffer_add. */
int euca_shell_quote(struct im_buffer *out, const char *word);
