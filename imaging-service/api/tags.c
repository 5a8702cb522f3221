/* tags - what a tag may be: EC2's rules (keys of 1 to 127 characters that do not begin with "aws:",
 * values of up to 256). */

#include <config.h>

#include "api/tags.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define KEY_MAX   127
#define VALUE_MAX 256

/* Bytes: four for each character, and room for what is then refused by its own code. */
#define TAG_TEXT_MAX 4096

const struct svc_param svc_tag_params[] = { { .name = "Key",
                                              .offset = offsetof(struct task_tag, key),
                                              .max = TAG_TEXT_MAX,
                                              .keep_empty = true },
                                            { .name = "Value",
                                              .offset = offsetof(struct task_tag, value),
                                              .max = TAG_TEXT_MAX,
                                              .keep_empty = true },
                                            { 0 } };

/* Characters of text, which is valid UTF-8. */
static size_t length(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

static int check_tag(struct svc_call *call, uint64_t index, const struct task_tag *tag)
{
    if (!tag->key)
        return svc_refuse(call, SVC_MISSING_PARAMETER,
                          "The request must contain the parameter Tag.%" PRIu64 ".Key", index);
    if (!*tag->key || length(tag->key) > KEY_MAX)
        return svc_refuse(
            call, SVC_MALFORMED_TAG,
            "The tag key '%.200s' is not valid: it must have from 1 to %d characters.", tag->key,
            KEY_MAX);
    if (strncasecmp(tag->key, "aws:", 4) == 0)
        return svc_refuse(call, SVC_MALFORMED_TAG,
                          "The tag key '%.200s' is not valid: keys that begin with aws: are "
                          "reserved.",
                          tag->key);
    if (tag->value && length(tag->value) > VALUE_MAX)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "The value of tag '%.200s' is invalid: it has %zu characters, and %d are "
                          "allowed.",
                          tag->key, length(tag->value), VALUE_MAX);
    return 0;
}

int svc_check_tags(struct svc_call *call, const struct svc_structs *tags)
{
    const struct task_tag *tag = tags->item;
    int r = 0;

    if (tags->count > TASK_TAGS_MAX)
        return svc_refuse(call, SVC_TOO_MANY_TAGS,
                          "%zu tags are more than the %d a resource may have.", tags->count,
                          TASK_TAGS_MAX);
    for (size_t i = 0; i < tags->count && r == 0; i++) {
        r = check_tag(call, tags->index[i], &tag[i]);
        for (size_t k = 0; k < i && r == 0; k++)
            if (strcmp(tag[k].key, tag[i].key) == 0)
                r = svc_refuse(call, SVC_INVALID_VALUE, "Duplicate tag key '%.200s' specified.",
                               tag[i].key);
    }
    return r;
}

void svc_copy_tags(const struct svc_structs *tags, struct task_tag *ret_tags)
{
    const struct task_tag *tag = tags->item;

    for (size_t i = 0; i < tags->count; i++)
        ret_tags[i] = (struct task_tag){ tag[i].key, tag[i].value ? tag[i].value : "" };
}

int svc_check_tag_request(struct svc_call *call, const struct svc_tag_request *in)
{
    int r = 0;

    if (in->ids.count == 0)
        return svc_refuse(call, SVC_MISSING_PARAMETER,
                          "The request must contain the parameter ResourceId");
    for (size_t i = 0; i < in->ids.count && r == 0; i++)
        r = svc_check_task_id(call, in->ids.item[i].value);
    return r < 0 ? r : svc_check_tags(call, &in->tags);
}
