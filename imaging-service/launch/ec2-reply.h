/* ec2-reply - answers of a launcher's endpoint: a few texts out of XML that is not trusted. */
#pragma once

#include <stddef.h>

#include "base/error.h"

/* Bytes of an answer: one image, snapshot or instance is a few KiB. */
#define EC2_REPLY_MAX (256 * 1024)

/* One text: of the element at path below the root ("instancesSet/item/instanceId"; the first child
 * of each name counts), printable, cut to size; "" when it is not there. */
struct ec2_field {
    const char *path;
    char *text;
    size_t size;
};

/* Fill the fields.  -EBADMSG for what is not XML, or has a DTD. */
int ec2_reply_read(const char *xml, size_t len, const struct ec2_field *fields, size_t count,
                   struct im_error *err);
