/* ec2-reply - the only file of the launchers that knows libxml2.
 *
 * No DTD, no network; depth as libxml2 bounds it (256), size by EC2_REPLY_MAX. */

#include <config.h>

#include "launch/ec2-reply.h"

#include <errno.h>
#include <string.h>

#include <libxml/tree.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/xml-read.h"

/* The first child element whose name is the len bytes at name, or NULL. */
static const xmlNode *child(const xmlNode *parent, const char *name, size_t len)
{
    const xmlNode *node = parent->children;

    while (node && (node->type != XML_ELEMENT_NODE || strlen((const char *)node->name) != len ||
                    memcmp(node->name, name, len) != 0))
        node = node->next;
    return node;
}

static int read_field(const xmlNode *root, const struct ec2_field *field)
{
    const xmlNode *node = root;
    const char *path = field->path;
    xmlChar *text;

    field->text[0] = '\0';
    while (node && *path) {
        size_t len = strcspn(path, "/");

        node = child(node, path, len);
        path += len + (path[len] == '/');
    }
    if (!node)
        return 0;
    text = xmlNodeGetContent(node);
    if (!text)
        return -ENOMEM;
    (void)im_text_printable(field->text, field->size, (const char *)text);
    xmlFree(text);
    return 0;
}

int ec2_reply_read(const char *xml, size_t len, const struct ec2_field *fields, size_t count,
                   struct im_error *err)
{
    xmlDoc *doc IM_XML_DOCUMENT = im_xml_document(xml, len, EC2_REPLY_MAX);

    if (!doc)
        return im_fail(err, EBADMSG, "%zu bytes that are not XML as EC2 speaks it", len);
    for (size_t i = 0; i < count; i++)
        if (read_field(xmlDocGetRootElement(doc), &fields[i]) < 0)
            return im_fail(err, ENOMEM, "out of memory");
    return 0;
}
