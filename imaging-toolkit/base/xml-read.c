/* xml-read - walk an XML document from outside; see xml-read.h. */

#include <config.h>

#include "base/xml-read.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"

__attribute__((format(printf, 2, 3))) static int refuse(struct im_xml *xml, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(xml->why, sizeof(xml->why), format, args);
    va_end(args);
    return -EBADMSG;
}

static int check_runs(struct im_xml *xml, const char *text, size_t len)
{
    const char *end = text + len;

    for (const char *p = text; p < end;) {
        const char *next = memchr(p + 1, '<', (size_t)(end - p) - 1);
        size_t run = (size_t)((next ? next : end) - p);

        if (run > xml->limits->run)
            return refuse(xml, "an element is longer than %zu bytes", xml->limits->run);
        p += run;
    }
    return 0;
}

/* The bytes are read as UTF-8, whatever they say they are (IGNORE_ENC); one that says something
 * else (XML 1.0 section 4.3.3) is refused. */
static int check_encoding(struct im_xml *xml, const char *text, size_t len)
{
    static const char bom[] = "\xef\xbb\xbf", begin[] = "<?xml", word[] = "encoding";
    size_t skip = len >= 3 && memcmp(text, bom, 3) == 0 ? 3 : 0;
    const char *end = memmem(text, len, "?>", 2);
    char name[64], shown[64];
    size_t n;

    if (!end || strncmp(text + skip, begin, strlen(begin)) != 0 ||
        !strchr(" \t\r\n", text[skip + strlen(begin)]))
        return 0;
    text = memmem(text, (size_t)(end - text), word, strlen(word));
    if (!text)
        return 0;
    text += strlen(word);
    text += strspn(text, " \t\r\n=\"'");
    n = strcspn(text, " \t\r\n=\"'?");
    (void)snprintf(name, sizeof(name), "%.*s", (int)im_min(n, sizeof(name)), text);
    if (strcasecmp(name, "UTF-8") == 0 || strcasecmp(name, "US-ASCII") == 0)
        return 0;
    return refuse(xml, "it is encoded in %s; only UTF-8 is read",
                  im_text_printable(shown, sizeof(shown), name));
}

/* What must hold before libxml2 may look: its own defences are not relied upon. */
static int check_bytes(struct im_xml *xml, const char *text, size_t len)
{
    if (len > xml->limits->bytes)
        return refuse(xml, "it has %zu bytes; at most %zu are allowed", len, xml->limits->bytes);
    if (!im_text_is_xml(text, len))
        return refuse(xml, "it is not XML text in UTF-8");
    if (xml->limits->plain && memmem(text, len, "<!", 2))
        return refuse(xml, "it has a DOCTYPE, a comment or CDATA; none is allowed");
    if (memmem(text, len, "<!DOCTYPE", 9))
        return refuse(xml, "it has a DOCTYPE; none is allowed");
    if (xml->limits->plain && len > 2 && memmem(text + 1, len - 1, "<?", 2))
        return refuse(xml, "it has a processing instruction; none is allowed");
    return check_encoding(xml, text, len) < 0 ? -EBADMSG : check_runs(xml, text, len);
}

static void on_syntax(void *arg, xmlErrorPtr error)
{
    struct im_xml *xml = arg;
    char message[100];

    /* the first complaint is the cause of the others */
    if (xml->complained || error->level == XML_ERR_WARNING)
        return;
    xml->complained = true;
    im_text_printable(message, sizeof(message), error->message ? error->message : "");
    (void)snprintf(xml->syntax, sizeof(xml->syntax), "line %d: %s", error->line, message);
}

int im_xml_open(struct im_xml *ret_xml, const char *text, size_t len,
                const struct im_xml_limits *limits)
{
    int r;

    *ret_xml = (struct im_xml){ .limits = limits, .empty = -1 };
    r = check_bytes(ret_xml, text, len);
    if (r < 0)
        return r;
    /* no option but these: NOENT, HUGE, DTDLOAD, DTDVALID and XINCLUDE open files and floodgates,
     * and without IGNORE_ENC it is the document that chooses a decoder of iconv */
    ret_xml->reader = xmlReaderForMemory(
        text, (int)len, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOCDATA | XML_PARSE_IGNORE_ENC);
    if (!ret_xml->reader)
        return -ENOMEM;
    xmlTextReaderSetStructuredErrorHandler(ret_xml->reader, on_syntax, ret_xml);
    return 0;
}

static int start(struct im_xml *xml, int depth, struct im_xml_node *node)
{
    if (xmlTextReaderAttributeCount(xml->reader) > xml->limits->attributes)
        return refuse(xml, "an element has more than %d attributes", xml->limits->attributes);
    if (xmlTextReaderIsEmptyElement(xml->reader))
        xml->empty = depth;
    node->kind = IM_XML_START;
    return 1;
}

/* The node libxml2 has found: 1, 0 when it is nobody's business, -EBADMSG. */
static int take(struct im_xml *xml, struct im_xml_node *node)
{
    int depth = xmlTextReaderDepth(xml->reader);

    if (depth < 0 || depth >= xml->limits->depth)
        return refuse(xml, "elements are nested more than %d deep", xml->limits->depth);
    *node = (struct im_xml_node){ .kind = IM_XML_TEXT, .depth = depth };
    switch (xmlTextReaderNodeType(xml->reader)) {
    case XML_READER_TYPE_ELEMENT:
        return start(xml, depth, node);
    case XML_READER_TYPE_END_ELEMENT:
        node->kind = IM_XML_END;
        return 1;
    case XML_READER_TYPE_WHITESPACE:
    case XML_READER_TYPE_SIGNIFICANT_WHITESPACE:
        node->kind = IM_XML_BLANKS; /* fall through */
    case XML_READER_TYPE_TEXT:
    case XML_READER_TYPE_CDATA:
        node->text = (const char *)xmlTextReaderConstValue(xml->reader);
        return node->text != NULL;
    case XML_READER_TYPE_DOCUMENT_TYPE:
    case XML_READER_TYPE_ENTITY_REFERENCE:
        return refuse(xml, "it has a document type or an entity of its own");
    default: /* comments, processing instructions */
        return 0;
    }
}

/* Before main, as libxml2 wants: nothing may have been allocated otherwise. */
__attribute__((constructor)) static void set_memory(void)
{
    (void)xmlMemSetup(free, im_memory_new, im_memory_resize, im_memory_copy);
}

int im_xml_next(struct im_xml *xml, struct im_xml_node *ret_node)
{
    int r = 0, more;

    if (im_memory_lost()) /* for an attribute or a text, which would be none */
        return refuse(xml, "out of memory");

    if (xml->empty >= 0) {
        *ret_node = (struct im_xml_node){ .kind = IM_XML_END, .depth = xml->empty };
        xml->empty = -1;
        return 1;
    }
    while (r == 0 && (more = xmlTextReaderRead(xml->reader)) == 1)
        r = take(xml, ret_node);
    if (r == 0 && more < 0)
        return refuse(xml, "it is not well-formed XML: %s",
                      xml->complained ? xml->syntax : "it ends early");
    return r;
}

int im_xml_attribute(struct im_xml *xml, const char *name, uint64_t max, uint64_t *ret_value)
{
    const char *element = (const char *)xmlTextReaderConstName(xml->reader);
    xmlChar *value = xmlTextReaderGetAttribute(xml->reader, (const xmlChar *)name);
    char shown[64];
    int r;

    if (!value)
        return refuse(xml, "<%s> has no attribute '%s'", element, name);
    r = im_parse_uint((const char *)value, max, ret_value);
    im_text_printable(shown, sizeof(shown), (const char *)value);
    xmlFree(value);
    return r < 0 ? refuse(xml, "%s=\"%s\" of <%s> is no number up to %" PRIu64, name, shown,
                          element, max)
                 : 0;
}

void im_xml_close(struct im_xml *xml)
{
    if (xml->reader)
        xmlFreeTextReader(xml->reader);
    xml->reader = NULL;
}

xmlDoc *im_xml_document(const char *text, size_t len, size_t max)
{
    xmlDoc *doc;

    if (len == 0 || len > max || !im_text_is_xml(text, len) || memmem(text, len, "<!DOCTYPE", 9))
        return NULL;
    doc = xmlReadMemory(text, (int)len, NULL, NULL,
                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                            XML_PARSE_NOCDATA | XML_PARSE_IGNORE_ENC);
    if (doc && !xmlDocGetRootElement(doc)) {
        xmlFreeDoc(doc);
        return NULL;
    }
    return doc;
}

void im_xml_document_free(xmlDoc **doc)
{
    xmlFreeDoc(*doc);
}
