/* record - the files of a registered machine, as schemas/json/ describes them. */
#pragma once

#include <stdbool.h>

#include "launch/launch.h"

struct json_t;

/* A launch specification as a new object; NULL text is an empty one.  -EINVAL. */
int record_parse_spec(const char *text, struct json_t **ret_spec, struct im_error *err);

/* The descriptor of a machine's image, a new object without "created"; -EINVAL for a text that is
 * not UTF-8. */
int record_image(const struct launch_machine *machine, const struct json_t *spec,
                 struct json_t **ret_image, struct im_error *err);

/* The record of its instance, stopped; as record_image. */
int record_instance(const struct launch_machine *machine, const struct json_t *spec,
                    const char *launcher, struct json_t **ret_instance, struct im_error *err);

/* True for prefix and 17 lower-case hexadecimal digits: only such an id becomes a file's name. */
bool record_is_id(const char *id, const char *prefix);

/* Write DIR/ID.json, mode 0600, all of it or nothing, with the time as member `stamp`; the
 * directory is made when it is missing. */
int record_write(const char *dir, const char *id, const char *stamp, struct json_t *record,
                 struct im_error *err);

/* Read it into a new object.  -ENOENT (err untouched) when there is none, -EBADMSG when it is not
 * what record_write writes. */
int record_read(const char *dir, const char *id, struct json_t **ret_record, struct im_error *err);

/* Remove it; true when it is gone. */
bool record_remove(const char *dir, const char *id);
