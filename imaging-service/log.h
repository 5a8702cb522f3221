/* log - one line per event on standard error: time, level, sentence.
 *
 * Secrets and URL query strings are never logged: URLs go through im_text_url first. */
#pragma once

enum svc_level { SVC_ERROR, SVC_WARNING, SVC_INFO };

/* Write one line; control characters are made visible, so that a line stays a line. */
void svc_log(enum svc_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
