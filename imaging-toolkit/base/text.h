/* text - the few string helpers everything needs: parse a number, a size; make text printable. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Parse all of `text` as an unsigned decimal number (digits only: no sign, blank or base prefix).
 * Returns 0 and *ret_value, or -EINVAL (not a number) or -ERANGE (above max); *ret_value untouched.
 */
int im_parse_uint(const char *text, uint64_t max, uint64_t *ret_value);

/* Parse a size in bytes: digits with an optional k, m, g or t (powers of 1024, any case) and an
 * optional b after it: "25M", "2GB", "4096".  Errors as im_parse_uint. */
int im_parse_size(const char *text, uint64_t *ret_bytes);

/* Write bytes as "1.5 GiB" into buf (at least 16 bytes); returns buf. */
const char *im_format_size(char *buf, size_t size, uint64_t bytes);

/* Copy `text` into buf with every control character and invalid UTF-8 byte replaced by '?' (tabs
 * and line ends by a blank), cut to fit, always terminated: one line, safe for a terminal, a log
 * and the text of an XML element once escaped.  size is at least 1.  Returns buf. */
const char *im_text_printable(char *buf, size_t size, const char *text);

/* True when im_text_printable would leave the text as it is, if there is room. */
bool im_text_is_printable(const char *text);
/* What stands behind the last '/' of a path, within it: "" when the path ends with one. */
const char *im_text_basename(const char *path);

/* What is left of `text` without blanks, tabs and line ends at both ends; the text itself is cut.
 */
char *im_text_trim(char *text);

/* True when text is valid UTF-8 (RFC 3629), controls and NUL included. */
bool im_text_is_utf8(const char *text, size_t len);

/* True when text is valid UTF-8 without characters XML 1.0 forbids (section 2.2). */
bool im_text_is_xml(const char *text, size_t len);

/* Copy `url` into buf without user-info, query string and fragment, for messages, printable and cut
 * to fit as above; returns buf. */
const char *im_text_url(char *buf, size_t size, const char *url);

/* True when the pattern stands for the whole text, case sensitive: '*' for any characters, '?' for
 * one, and '\' takes the meaning of the next away. */
bool im_text_matches(const char *pattern, const char *text);

/* printf into a new string owned by the caller; NULL when out of memory. */
char *im_asprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
