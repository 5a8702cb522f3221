/* cache-inner - what the files of the command cache share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct im_cache_request {
    const char *place, *policy, *sha256;
    uint64_t target;
    bool targeted, force, json;
    int argc; /* what is left: words that are no options */
    char **argv;
};

/* Are there `words` words behind the verb?  -EINVAL "SOURCE is expected, …". */
int im_cache_expect(const struct im_cache_request *request, int words, const char *what,
                    struct im_error *err);

/* The verbs with files of their own. */
int im_cache_add_command(const struct im_cache_request *request, struct im_error *err);
int im_cache_get_command(const struct im_cache_request *request, struct im_error *err);
int im_cache_format_command(const struct im_cache_request *request, struct im_error *err);
