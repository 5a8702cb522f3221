/* xml - write a small XML document; the only file that knows libxml2's writer.
 *
 * Functions keep the first failure and do nothing after it, so that callers need not look until the
 * end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

struct svc_xml;

/* Prepare the library; once per process, before threads start. */
void svc_xml_global(void);

/* Begin a document that is appended to out, which outlives it; NULL when out of memory. */
struct svc_xml *svc_xml_new(struct im_buffer *out);

/* Open an element; xmlns is its namespace, NULL for none.  Each needs its svc_xml_close. */
void svc_xml_open(struct svc_xml *xml, const char *name, const char *xmlns);
void svc_xml_close(struct svc_xml *xml);

/* <name>text</name>; nothing at all when text is NULL.  What XML 1.0 forbids becomes '?'. */
void svc_xml_text(struct svc_xml *xml, const char *name, const char *text);

/* <name>value</name> in decimal. */
void svc_xml_uint(struct svc_xml *xml, const char *name, uint64_t value);

/* <name>true</name> or false. */
void svc_xml_bool(struct svc_xml *xml, const char *name, bool value);

/* End the document and release xml (may be NULL: -ENOMEM).  0, -EFBIG (the buffer's ceiling) or
 * -ENOMEM; then what stands in the buffer is not a document. */
int svc_xml_end(struct svc_xml *xml);
