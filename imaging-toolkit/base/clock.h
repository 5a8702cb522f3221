/* clock - the time, read in one place. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Milliseconds since 1970-01-01T00:00:00Z. */
int64_t im_clock_now_ms(void);

/* Milliseconds of a clock that never jumps, for durations and deadlines. */
int64_t im_clock_monotonic_ms(void);

/* The same in microseconds. */
int64_t im_clock_monotonic_us(void);

/* Write ms as "2026-11-20T10:00:00Z" into buf (at least 21 bytes); returns buf. */
const char *im_clock_iso8601(char *buf, size_t size, int64_t ms);

/* The same as "20261120T100000Z", the form of X-Amz-Date (at least 17 bytes); returns buf. */
const char *im_clock_basic(char *buf, size_t size, int64_t ms);

/* The same as "Fri, 20 Nov 2026 10:00:00 GMT", the form of HTTP's Date (at least 30 bytes); returns
 * buf. */
const char *im_clock_http(char *buf, size_t size, int64_t ms);

/* Read "20261120T100000Z"; 0 and *ret_ms, or -EINVAL for anything else. */
int im_clock_parse_basic(const char *text, int64_t *ret_ms);

/* Read a time as clients write it (ISO 8601, RFC 3339 section 5.6): "2026-11-20T10:00:00Z", seconds
 * with up to nine digits behind a point, the zone also as "+01:00" or left out (then UTC).  0 and
 * *ret_ms, or -EINVAL. */
int im_clock_parse_iso8601(const char *text, int64_t *ret_ms);

/* Read the date of an HTTP or mail header (RFC 1123 section 5.2.14): "Fri, 20 Nov 2026 10:00:00
 * GMT", zone also UTC or ±hhmm, name of the day optional.  0 and *ret_ms, or -EINVAL. */
int im_clock_parse_http(const char *text, int64_t *ret_ms);
