/* confine-calls - the system calls of a confined process, as a seccomp filter; only base/confine.c
 * knows it. */
#pragma once

#include <linux/filter.h>
#include <stddef.h>

struct im_confine;

/* Instructions of the longest filter. */
#define IM_CALLS_MAX 768

/* Write the filter for the calling process (its number is in it); gives its length.
 * Async-signal-safe. */
size_t im_confine_calls(const struct im_confine *confine, struct sock_filter filter[IM_CALLS_MAX]);

/* The filter of im_confine_offline, the same way. */
size_t im_confine_calls_offline(struct sock_filter filter[IM_CALLS_MAX]);
