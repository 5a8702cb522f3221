/* reply - the only file of the clients that knows libxml2.
 *
 * Answers come over the network and are not trusted: no DTD, no network, depth as libxml2 bounds
 * it (256), size as client.c bounds it. */

#include <config.h>

#include "reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/tree.h>

#include "base/cleanup.h"
#include "base/xml-read.h"

static xmlNode *first_element(const xmlNode *parent)
{
    xmlNode *node = parent ? parent->children : NULL;

    while (node && node->type != XML_ELEMENT_NODE)
        node = node->next;
    return node;
}

static xmlNode *next_element(const xmlNode *node)
{
    xmlNode *next = node->next;

    while (next && next->type != XML_ELEMENT_NODE)
        next = next->next;
    return next;
}

/* The first child called name, or NULL; parent may be NULL. */
static xmlNode *child(const xmlNode *parent, const char *name)
{
    xmlNode *node = first_element(parent);

    while (node && strcmp((const char *)node->name, name) != 0)
        node = next_element(node);
    return node;
}

/* Text of the child called name as a new string in *ret_text; nothing happens when it is missing
 * or empty.  0 or -ENOMEM. */
static int get_text(const xmlNode *parent, const char *name, char **ret_text)
{
    const xmlNode *node = child(parent, name);
    xmlChar *text;
    int r = 0;

    if (!node)
        return 0;
    text = xmlNodeGetContent(node);
    if (!text)
        return -ENOMEM;
    if (*text) {
        *ret_text = strdup((const char *)text);
        r = *ret_text ? 0 : -ENOMEM;
    }
    xmlFree(text);
    return r;
}

/* importVolume, or one item of importInstance/volumes. */
static int read_disk(const xmlNode *node, bool instance, struct euca_task_disk *disk)
{
    const xmlNode *image = child(node, "image");
    const xmlNode *volume = child(node, "volume");
    const struct {
        const xmlNode *parent;
        const char *name;
        char **text;
    } fields[] = {
        { image, "format", &disk->format },
        { image, "checksum", &disk->checksum },
        { image, "size", &disk->size },
        { image, "importManifestUrl", &disk->manifest_url },
        { volume, "id", &disk->volume_id },
        { volume, "size", &disk->volume_size },
        { node, "availabilityZone", &disk->zone },
        { node, "bytesConverted", &disk->bytes_converted },
        { node, "description", &disk->description },
        { instance ? node : NULL, "status", &disk->status },
        { instance ? node : NULL, "statusMessage", &disk->status_message },
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(fields) / sizeof(fields[0]); i++)
        r = get_text(fields[i].parent, fields[i].name, fields[i].text);
    return r;
}

/* All disks: the elements from `first` on, or `first` alone. */
static int read_disks(const xmlNode *first, bool instance, struct euca_task *task)
{
    for (const xmlNode *node = first; node; node = instance ? next_element(node) : NULL) {
        struct euca_task_disk *grown =
            reallocarray(task->disk, task->disk_count + 1, sizeof(*task->disk));
        int r;

        if (!grown)
            return -ENOMEM;
        task->disk = grown;
        grown[task->disk_count] = (struct euca_task_disk){ 0 };
        r = read_disk(node, instance, &grown[task->disk_count++]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The items of tagSet; set may be NULL. */
static int read_tags(const xmlNode *set, struct euca_task *task)
{
    for (const xmlNode *node = first_element(set); node; node = next_element(node)) {
        struct euca_tag *grown = reallocarray(task->tag, task->tag_count + 1, sizeof(*task->tag));
        struct euca_tag *tag;

        if (!grown)
            return -ENOMEM;
        task->tag = grown;
        tag = &grown[task->tag_count++];
        *tag = (struct euca_tag){ 0 };
        if (get_text(node, "key", &tag->key) < 0 || get_text(node, "value", &tag->value) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* The children of `node` are a task's fields. */
static int read_task(const xmlNode *node, struct euca_task *task)
{
    const xmlNode *volume = child(node, "importVolume");
    const xmlNode *instance = child(node, "importInstance");
    const struct {
        const xmlNode *parent;
        const char *name;
        char **text;
    } fields[] = {
        { node, "conversionTaskId", &task->id },
        { node, "expirationTime", &task->expiration_time },
        { node, "state", &task->state },
        { node, "statusMessage", &task->status_message },
        { instance, "instanceId", &task->instance_id },
        { instance, "platform", &task->platform },
        { instance, "description", &task->description },
    };
    int r = read_tags(child(node, "tagSet"), task);

    for (size_t i = 0; r == 0 && i < sizeof(fields) / sizeof(fields[0]); i++)
        r = get_text(fields[i].parent, fields[i].name, fields[i].text);
    if (r < 0)
        return r;
    if (first_element(volume))
        return read_disks(volume, false, task);
    task->instance = first_element(instance) != NULL;
    return read_disks(first_element(child(instance, "volumes")), true, task);
}

static int add_task(const xmlNode *node, struct euca_tasks *tasks)
{
    struct euca_task *grown = reallocarray(tasks->task, tasks->count + 1, sizeof(*tasks->task));

    if (!grown)
        return -ENOMEM;
    tasks->task = grown;
    grown[tasks->count] = (struct euca_task){ 0 };
    return read_task(node, &grown[tasks->count++]);
}

int euca_reply_tasks(const char *xml, size_t len, struct euca_tasks *ret_tasks,
                     struct im_error *err)
{
    struct euca_tasks tasks EUCA_TASKS_DONE = { 0 };
    xmlDoc *doc IM_XML_DOCUMENT = im_xml_document(xml, len, EUCA_REPLY_MAX);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    const xmlNode *one = child(root, "conversionTask");
    const xmlNode *list = child(root, "conversionTasks");
    int r = 0;

    if (!one && !list)
        return im_fail_code(err, EBADMSG, "BadReply",
                            "the server's answer of %zu bytes holds no conversion tasks; is the "
                            "endpoint really an EC2 service?",
                            len);
    if (one)
        r = add_task(one, &tasks);
    else
        for (const xmlNode *item = first_element(list); r == 0 && item; item = next_element(item))
            r = add_task(item, &tasks);
    if (r < 0)
        return im_fail_memory(err);
    *ret_tasks = tasks;
    tasks = (struct euca_tasks){ 0 };
    return 0;
}

const char *euca_task_type(const struct euca_task *task)
{
    return task->instance ? "IMPORTINSTANCE" : "IMPORTVOLUME";
}

static void disk_done(struct euca_task_disk *disk)
{
    free(disk->format);
    free(disk->checksum);
    free(disk->size);
    free(disk->manifest_url);
    free(disk->volume_id);
    free(disk->volume_size);
    free(disk->zone);
    free(disk->bytes_converted);
    free(disk->description);
    free(disk->status);
    free(disk->status_message);
}

static void task_done(struct euca_task *task)
{
    for (size_t i = 0; i < task->disk_count; i++)
        disk_done(&task->disk[i]);
    for (size_t i = 0; i < task->tag_count; i++) {
        free(task->tag[i].key);
        free(task->tag[i].value);
    }
    free(task->disk);
    free(task->tag);
    free(task->id);
    free(task->expiration_time);
    free(task->state);
    free(task->status_message);
    free(task->instance_id);
    free(task->platform);
    free(task->description);
}

void euca_tasks_done(struct euca_tasks *tasks)
{
    for (size_t i = 0; i < tasks->count; i++)
        task_done(&tasks->task[i]);
    free(tasks->task);
    *tasks = (struct euca_tasks){ 0 };
}

int euca_reply_return(const char *xml, size_t len, bool *ret_value, struct im_error *err)
{
    xmlDoc *doc IM_XML_DOCUMENT = im_xml_document(xml, len, EUCA_REPLY_MAX);
    char *text IM_FREE = NULL;

    if (doc && get_text(xmlDocGetRootElement(doc), "return", &text) < 0)
        return im_fail_memory(err);
    if (!text)
        return im_fail_code(err, EBADMSG, "BadReply",
                            "the server's answer of %zu bytes holds no result; is the endpoint "
                            "really an EC2 service?",
                            len);
    *ret_value = strcmp(text, "true") == 0;
    return 0;
}

void euca_reply_fault(const char *xml, size_t len, struct euca_fault *ret_fault)
{
    xmlDoc *doc IM_XML_DOCUMENT = im_xml_document(xml, len, EUCA_REPLY_MAX);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    const xmlNode *node = child(root, "Errors");
    char *code IM_FREE = NULL;
    char *message IM_FREE = NULL;

    *ret_fault = (struct euca_fault){ 0 };
    node = child(node ? node : root, "Error");
    if (!node && root && strcmp((const char *)root->name, "Error") == 0)
        node = root;
    if (get_text(node, "Code", &code) < 0 || get_text(node, "Message", &message) < 0)
        return;
    (void)snprintf(ret_fault->code, sizeof(ret_fault->code), "%s", code ? code : "");
    (void)snprintf(ret_fault->message, sizeof(ret_fault->message), "%s", message ? message : "");
}
