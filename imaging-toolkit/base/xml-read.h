/* xml-read - an XML document that comes from outside, walked node by node under limits.
 *
 * libxml2's xmlReader finds the tags, after what would make it work hard or open files has been
 * refused: bytes that are not XML in UTF-8, a DOCTYPE, what is very long, deep or wide.  Which
 * element may stand where is the caller's, and so is the sentence around what is wrong. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libxml/xmlreader.h>

struct im_xml_limits {
    size_t bytes;   /* of the document */
    size_t run;     /* from one '<' to the next: what libxml2 may meet in a single tag or text */
    int depth;      /* elements in each other */
    int attributes; /* of an element, namespaces included; libxml2 compares each with each */
    bool plain;     /* comments, CDATA and processing instructions are refused, too */
};

struct im_xml {
    xmlTextReaderPtr reader; /* at the current node: for its name and attributes */
    const struct im_xml_limits *limits;
    int empty;        /* depth of the element just begun that ends at once, or -1 */
    bool complained;  /* of the syntax; of a prefix that is not declared libxml2 only complains */
    char syntax[160]; /* its first complaint */
    char why[400];    /* what is wrong with the document, after -EBADMSG */
};

enum im_xml_kind { IM_XML_START, IM_XML_END, IM_XML_TEXT, IM_XML_BLANKS };

struct im_xml_node {
    enum im_xml_kind kind;
    int depth;        /* of the element that begins or ends, or of the text; the root has 0 */
    const char *text; /* of a text, or of blanks; the document's, until the next node */
};

/* Judge the bytes and begin.  text and limits live as long as *ret_xml.  0, -EBADMSG with why, or
 * -ENOMEM; im_xml_close in each case. */
int im_xml_open(struct im_xml *ret_xml, const char *text, size_t len,
                const struct im_xml_limits *limits);

/* Step to the next node; every start has an end.  1, 0 when the document has come to its end, or
 * -EBADMSG with why. */
int im_xml_next(struct im_xml *xml, struct im_xml_node *ret_node);

/* The attribute of the element that begins, as a number.  0, or -EBADMSG with why: there is none,
 * or it is no number up to max. */
int im_xml_attribute(struct im_xml *xml, const char *name, uint64_t max, uint64_t *ret_value);

/* Releases what it holds; of a zeroed one, nothing. */
void im_xml_close(struct im_xml *xml);

/* A document of at most max bytes as a tree, for answers of services: depth as libxml2 bounds it
 * (256).  NULL when it is longer, or not XML in UTF-8 with a root and without a DOCTYPE, or there
 * is no memory.  The caller's: xmlDoc *doc IM_XML_DOCUMENT = im_xml_document(…). */
xmlDoc *im_xml_document(const char *text, size_t len, size_t max);

void im_xml_document_free(xmlDoc **doc);
#define IM_XML_DOCUMENT __attribute__((cleanup(im_xml_document_free)))
