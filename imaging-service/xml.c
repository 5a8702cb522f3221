/* xml - write a small XML document, on top of libxml2's xmlWriter. */

#include <config.h>

#include "xml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/xmlwriter.h>

#include "base/cleanup.h"
#include "base/text.h"

struct svc_xml {
    xmlTextWriterPtr writer;
    struct im_buffer *out;
    int failed; /* -errno of the first failure */
};

void svc_xml_global(void)
{
    xmlInitParser();
}

/* Says that it wrote even when it did not: the library prints failures to standard error. */
static int on_bytes(void *context, const char *data, int len)
{
    struct svc_xml *xml = context;

    if (xml->failed == 0)
        xml->failed = im_buffer_add(xml->out, data, (size_t)len);
    return len;
}

static void note(struct svc_xml *xml, int result)
{
    if (result < 0 && xml->failed == 0)
        xml->failed = -ENOMEM;
}

struct svc_xml *svc_xml_new(struct im_buffer *out)
{
    struct svc_xml *xml = calloc(1, sizeof(*xml));
    xmlOutputBufferPtr sink;

    if (!xml)
        return NULL;
    xml->out = out;
    sink = xmlOutputBufferCreateIO(on_bytes, NULL, xml, NULL);
    xml->writer = sink ? xmlNewTextWriter(sink) : NULL;
    if (!xml->writer) {
        if (sink)
            (void)xmlOutputBufferClose(sink);
        free(xml);
        return NULL;
    }
    note(xml, xmlTextWriterStartDocument(xml->writer, NULL, "UTF-8", NULL));
    return xml;
}

void svc_xml_open(struct svc_xml *xml, const char *name, const char *xmlns)
{
    if (xml->failed)
        return;
    note(xml, xmlTextWriterStartElement(xml->writer, BAD_CAST name));
    if (xmlns)
        note(xml, xmlTextWriterWriteAttribute(xml->writer, BAD_CAST "xmlns", BAD_CAST xmlns));
}

void svc_xml_close(struct svc_xml *xml)
{
    if (xml->failed == 0)
        note(xml, xmlTextWriterEndElement(xml->writer));
}

void svc_xml_text(struct svc_xml *xml, const char *name, const char *text)
{
    char *safe IM_FREE = NULL;

    if (!text || xml->failed)
        return;
    /* the writer passes control characters and broken UTF-8 through, which no client can read */
    if (!im_text_is_xml(text, strlen(text))) {
        size_t size = strlen(text) + 1;

        safe = malloc(size);
        if (!safe) {
            xml->failed = -ENOMEM;
            return;
        }
        text = im_text_printable(safe, size, text);
    }
    note(xml, xmlTextWriterWriteElement(xml->writer, BAD_CAST name, BAD_CAST text));
}

void svc_xml_uint(struct svc_xml *xml, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    svc_xml_text(xml, name, text);
}

void svc_xml_bool(struct svc_xml *xml, const char *name, bool value)
{
    svc_xml_text(xml, name, value ? "true" : "false");
}

int svc_xml_end(struct svc_xml *xml)
{
    int r;

    if (!xml)
        return -ENOMEM;
    if (xml->failed == 0)
        note(xml, xmlTextWriterEndDocument(xml->writer));
    xmlFreeTextWriter(xml->writer); /* flushes */
    r = xml->failed;
    free(xml);
    return r;
}
