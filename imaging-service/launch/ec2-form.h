/* ec2-form - the parameters of EC2 requests, as form bodies. */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "launch/launch.h"

struct json_t;

/* Bytes of a form: user data of 22 KiB percent-encoded, and 26 disks, are far below. */
#define EC2_FORM_MAX (256 * 1024)
#define EC2_FORM     IM_BUFFER(EC2_FORM_MAX)

/* Bytes of the name an image has at the endpoint (AWS: 3 to 128) and of what is said of a snapshot,
 * with their NUL.  Both hold the task's id: they are how an earlier attempt's are found. */
#define EC2_KEY_SIZE 129

/* Every function appends; 0 or as im_buffer_add. */
int ec2_form_action(struct im_buffer *form, const char *action);

/* A NULL value adds nothing. */
int ec2_form_add(struct im_buffer *form, const char *name, const char *value);

/* Owner (NULL: none) and one filter: what was made for a task. */
int ec2_form_filter(struct im_buffer *form, const char *owner, const char *name, const char *value);

/* What an image's descriptor says of RegisterImage; snapshot ids are those of its disks. */
int ec2_form_image(struct im_buffer *form, const struct json_t *image,
                   const char (*snapshot)[LAUNCH_ID_SIZE]);

/* What a launch specification says of RunInstances, with the zone in its placement.  -EINVAL for
 * a member of the wrong type. */
int ec2_form_spec(struct im_buffer *form, const struct json_t *spec, const char *zone);

/* The names, see EC2_KEY_SIZE. */
void ec2_image_name(const struct json_t *image, char ret_name[EC2_KEY_SIZE]);
void ec2_snapshot_description(const struct json_t *image, size_t disk, char ret_text[EC2_KEY_SIZE]);

/* The ClientToken of its instance, as EC2_KEY_SIZE. */
void ec2_client_token(const struct json_t *image, char ret_token[EC2_KEY_SIZE]);

/* Disks of an image, at most LAUNCH_DISKS_MAX. */
size_t ec2_disk_count(const struct json_t *image);
