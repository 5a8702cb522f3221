/* ovf - the descriptor of a virtual machine, from bytes to a proven structure.
 *
 * The document comes from a customer; base/xml-read.h finds the tags and refuses what is no plain
 * XML.  What is read:
 * - References/File: id, href, size, compression; chunkSize is refused, with AWS's words.
 * - DiskSection/Disk: diskId, fileRef, capacity and its units, format; parentRef is refused.
 * - VirtualSystem/VirtualHardwareSection/Item (of OVF 2 also StorageItem): who hangs on whom.
 * Elements and attributes are known by their names without the prefix, which differs with the
 * makers; what is not named here is skipped. */

#include <config.h>

#include "unpack/ovf-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "base/xml-read.h"

/* VMware's are 8 deep. */
#define DEPTH_MAX 24
/* <File> has 5, <Envelope> some namespaces more. */
#define ATTRIBUTES_MAX 32
/* From one '<' to the next: an annotation is free text and may be long. */
#define RUN_MAX (256 * 1024)
/* Text of one of the elements that are read. */
#define TEXT_MAX 1024

enum element {
    UNKNOWN,
    ENVELOPE,
    REFERENCES,
    FILE_REFERENCE,
    DISK_SECTION,
    DISK,
    COLLECTION,
    SYSTEM,
    HARDWARE,
    ITEM,
    STORAGE_ITEM,
    ADDRESS,
    ADDRESS_ON_PARENT,
    HOST_RESOURCE,
    INSTANCE_ID,
    PARENT,
};

static const struct rule {
    const char *name;
    enum element parent, element;
} rules[] = {
    { "References", ENVELOPE, REFERENCES },
    { "File", REFERENCES, FILE_REFERENCE },
    { "DiskSection", ENVELOPE, DISK_SECTION },
    { "Disk", DISK_SECTION, DISK },
    { "VirtualSystemCollection", ENVELOPE, COLLECTION },
    { "VirtualSystem", ENVELOPE, SYSTEM },
    { "VirtualHardwareSection", SYSTEM, HARDWARE },
    { "Item", HARDWARE, ITEM },
    { "StorageItem", HARDWARE, STORAGE_ITEM },
    { "Address", ITEM, ADDRESS },
    { "AddressOnParent", ITEM, ADDRESS_ON_PARENT },
    { "HostResource", ITEM, HOST_RESOURCE },
    { "InstanceID", ITEM, INSTANCE_ID },
    { "Parent", ITEM, PARENT },
};

struct reader {
    struct im_xml xml;
    struct im_ovf *ovf;
    struct im_ovf_wiring wiring;
    bool references, disks, system, hardware; /* met */
    enum element path[DEPTH_MAX];
    struct im_buffer text;
    struct im_error *err;
};

static int no_memory(const struct reader *reader)
{
    return im_fail(reader->err, ENOMEM, "out of memory");
}

/* The attribute of the current element whose name without prefix is `name`, into a new string; NULL
 * when there is none.  Two of them (with two prefixes) are refused. */
static int attribute(struct reader *reader, const char *name, char **ret_value)
{
    char *value IM_FREE = NULL;
    int more = xmlTextReaderMoveToFirstAttribute(reader->xml.reader);
    int r = 0;

    for (; r == 0 && more == 1; more = xmlTextReaderMoveToNextAttribute(reader->xml.reader)) {
        const char *text = (const char *)xmlTextReaderConstValue(reader->xml.reader);

        if (strcmp((const char *)xmlTextReaderConstLocalName(reader->xml.reader), name) != 0)
            continue;
        if (value)
            r = im_ovf_refuse(reader->err, "an element has two attributes '%s'", name);
        else if (text && strlen(text) > TEXT_MAX)
            r = im_ovf_refuse(reader->err, "the attribute '%s' has more than %d bytes", name,
                              TEXT_MAX);
        else if (!(value = strdup(text ? text : "")))
            r = no_memory(reader);
    }
    (void)xmlTextReaderMoveToElement(reader->xml.reader);
    if (r == 0)
        *ret_value = im_steal(value);
    return r;
}

/* The same, which must be there. */
static int needed(struct reader *reader, const char *element, const char *name, char **ret_value)
{
    int r = attribute(reader, name, ret_value);

    return r == 0 && (!*ret_value || !**ret_value)
               ? im_ovf_refuse(reader->err, "<%s> has no attribute '%s'", element, name)
               : r;
}

static int read_compression(struct reader *reader, struct im_ovf_file *file)
{
    char *text IM_FREE = NULL;
    char shown[64];
    int r = attribute(reader, "compression", &text);

    if (r < 0 || !text || !*text || strcmp(text, "identity") == 0)
        return r;
    file->compression = strcmp(text, "gzip") == 0 ? IM_OVF_GZIP : IM_OVF_XZ;
    if (strcmp(text, "gzip") == 0 || strcmp(text, "xz") == 0)
        return 0;
    return im_ovf_refuse(reader->err,
                         "the compression '%s' of the file '%s' is not supported; gzip and xz are",
                         im_text_printable(shown, sizeof(shown), text), file->href);
}

/* Part of href is said in messages; it may hold anything. */
static int printable_href(const struct reader *reader, const char *href)
{
    char shown[160];

    im_text_printable(shown, sizeof(shown), href);
    return strcmp(shown, href) == 0 ? 0
                                    : im_ovf_refuse(reader->err,
                                                    "the href '%s' of a file is no plain name "
                                                    "(controls, or more than %zu bytes)",
                                                    shown, sizeof(shown) - 1);
}

static int check_chunks(struct reader *reader, const struct im_ovf_file *file)
{
    char *text IM_FREE = NULL;
    char shown[32];
    int r = attribute(reader, "chunkSize", &text);

    if (r < 0 || !text)
        return r;
    return im_fail_code(reader->err, EOPNOTSUPP, "ChunkedDisk",
                        "OVF file parsing error: OVA with chunked disk files is not supported "
                        "(chunkSize %s of '%s'); export the machine again as one file",
                        im_text_printable(shown, sizeof(shown), text), file->href);
}

static int start_file(struct reader *reader)
{
    struct im_ovf *ovf = reader->ovf;
    struct im_ovf_file *file = &ovf->file[ovf->file_count];
    char *size IM_FREE = NULL;
    char shown[32];
    int r;

    if (ovf->file_count == IM_OVF_FILES_MAX)
        return im_ovf_refuse(reader->err, "it has more than %u files", IM_OVF_FILES_MAX);
    ovf->file_count++;
    file->size = UINT64_MAX;
    r = needed(reader, "File", "id", &file->id);
    if (r == 0)
        r = needed(reader, "File", "href", &file->href);
    if (r == 0)
        r = printable_href(reader, file->href);
    if (r == 0)
        r = check_chunks(reader, file);
    if (r == 0)
        r = read_compression(reader, file);
    if (r == 0)
        r = attribute(reader, "size", &size);
    if (r == 0 && size && im_parse_uint(size, INT64_MAX, &file->size) < 0)
        r = im_ovf_refuse(reader->err, "the size '%s' of the file '%s' is not a number of bytes",
                          im_text_printable(shown, sizeof(shown), size), file->href);
    for (unsigned i = 0; r == 0 && i + 1 < ovf->file_count; i++)
        if (strcmp(ovf->file[i].id, file->id) == 0 || strcmp(ovf->file[i].href, file->href) == 0)
            r = im_ovf_refuse(reader->err, "two files have one id, or the name '%s'", file->href);
    return r;
}

static int read_capacity(struct reader *reader, struct im_ovf_disk *disk)
{
    char *number IM_FREE = NULL, *units IM_FREE = NULL;
    char shown[48], shown_units[48];
    uint64_t unit = 1;
    int r = needed(reader, "Disk", "capacity", &number);

    if (r == 0)
        r = attribute(reader, "capacityAllocationUnits", &units);
    if (r < 0)
        return r;
    if (im_parse_uint(number, INT64_MAX, &disk->capacity) == 0 &&
        (!units || im_ovf_units(units, &unit) == 0) &&
        !__builtin_mul_overflow(disk->capacity, unit, &disk->capacity) &&
        disk->capacity <= INT64_MAX)
        return 0;
    return im_ovf_refuse(
        reader->err, "the capacity '%s' in units of '%s' is no number of bytes",
        im_text_printable(shown, sizeof(shown), number),
        im_text_printable(shown_units, sizeof(shown_units), units ? units : "byte"));
}

static int start_disk(struct reader *reader)
{
    struct im_ovf *ovf = reader->ovf;
    struct im_ovf_disk *disk = &ovf->disk[ovf->disk_count];
    char *parent IM_FREE = NULL;
    char shown[64];
    int r;

    if (ovf->disk_count == IM_OVF_DISKS_MAX)
        return im_ovf_refuse(reader->err, "it has more than %u disks", IM_OVF_DISKS_MAX);
    disk->place = ovf->disk_count++;
    r = needed(reader, "Disk", "diskId", &disk->id);
    if (r == 0)
        r = attribute(reader, "fileRef", &reader->wiring.file_ref[disk->place]);
    if (r == 0)
        r = attribute(reader, "format", &disk->format);
    if (r == 0)
        r = read_capacity(reader, disk);
    if (r == 0)
        r = attribute(reader, "parentRef", &parent);
    im_text_printable(shown, sizeof(shown), disk->id ? disk->id : "");
    if (r == 0 && parent)
        r = im_ovf_refuse(reader->err,
                          "the disk '%s' has a parent (parentRef); flatten it before the export",
                          shown);
    for (unsigned i = 0; r == 0 && i + 1 < ovf->disk_count; i++)
        if (strcmp(ovf->disk[i].id, disk->id) == 0)
            r = im_ovf_refuse(reader->err, "two disks have the id '%s'", shown);
    return r;
}

static int start_item(struct reader *reader)
{
    if (reader->wiring.device_count == IM_OVF_DEVICES_MAX)
        return im_ovf_refuse(reader->err, "it has more than %u devices", IM_OVF_DEVICES_MAX);
    reader->wiring.device_count++;
    return 0;
}

static enum element find(enum element parent, const char *name)
{
    if (parent == STORAGE_ITEM)
        parent = ITEM;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (rules[i].parent == parent && strcmp(rules[i].name, name) == 0)
            return rules[i].element;
    return UNKNOWN;
}

/* A section of which there is one. */
static int once(struct reader *reader, bool *seen, const char *name)
{
    if (*seen)
        return im_ovf_refuse(reader->err, "it has two <%s>", name);
    *seen = true;
    return 0;
}

static int start_element(struct reader *reader, int depth)
{
    const char *name = (const char *)xmlTextReaderConstLocalName(reader->xml.reader);
    enum element parent = depth > 0 ? reader->path[depth - 1] : UNKNOWN;
    enum element element = parent == UNKNOWN ? UNKNOWN : find(parent, name);
    char shown[64];

    if (depth == 0 && strcmp(name, "Envelope") != 0)
        return im_ovf_refuse(reader->err, "the root element is <%s>, not <Envelope>",
                             im_text_printable(shown, sizeof(shown), name));
    if (depth == 0)
        element = ENVELOPE;
    if (element == HARDWARE && reader->hardware)
        element = UNKNOWN; /* alternatives for other products: the first counts */
    reader->path[depth] = element;
    im_buffer_clear(&reader->text);
    switch (element) {
    case REFERENCES:
        return once(reader, &reader->references, name);
    case FILE_REFERENCE:
        return start_file(reader);
    case DISK_SECTION:
        return once(reader, &reader->disks, name);
    case DISK:
        return start_disk(reader);
    case COLLECTION:
        return im_ovf_refuse(reader->err,
                             "it holds several machines (<VirtualSystemCollection>); export the "
                             "one that is wanted");
    case SYSTEM:
        return once(reader, &reader->system, name);
    case HARDWARE:
        reader->hardware = true;
        return 0;
    case ITEM:
    case STORAGE_ITEM:
        return start_item(reader);
    default:
        return 0;
    }
}

/* Keep the text of a device's property; the first of several counts. */
static int end_element(struct reader *reader, enum element element)
{
    struct im_ovf_device *item = reader->wiring.device_count
                                     ? &reader->wiring.device[reader->wiring.device_count - 1]
                                     : NULL;
    char **field = NULL;

    if (element == ADDRESS)
        field = &item->address;
    else if (element == ADDRESS_ON_PARENT)
        field = &item->unit;
    else if (element == HOST_RESOURCE)
        field = &item->resource;
    else if (element == INSTANCE_ID)
        field = &item->id;
    else if (element == PARENT)
        field = &item->parent;
    if (!field || *field)
        return 0;
    *field = strdup(reader->text.len ? reader->text.data : "");
    return *field ? 0 : no_memory(reader);
}

static int add_text(struct reader *reader, const char *text, int depth)
{
    int r;

    if (depth == 0 || reader->path[depth - 1] < ADDRESS)
        return 0;
    r = im_buffer_puts(&reader->text, text);
    if (r == -EFBIG)
        return im_ovf_refuse(reader->err, "a property of a device has more than %d bytes",
                             TEXT_MAX);
    return r < 0 ? no_memory(reader) : 0;
}

static int take_node(struct reader *reader, const struct im_xml_node *node)
{
    switch (node->kind) {
    case IM_XML_START:
        return start_element(reader, node->depth);
    case IM_XML_END:
        return end_element(reader, reader->path[node->depth]);
    case IM_XML_TEXT:
        return add_text(reader, node->text, node->depth);
    default: /* blanks */
        return 0;
    }
}

static int read_document(struct reader *reader)
{
    struct im_xml_node node;
    int r;

    while ((r = im_xml_next(&reader->xml, &node)) == 1) {
        r = take_node(reader, &node);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return im_ovf_refuse(reader->err, "%s", reader->xml.why);
    if (reader->xml.complained) /* a prefix that nobody declared */
        return im_ovf_refuse(reader->err, "it is not well-formed XML: %s", reader->xml.syntax);
    if (reader->ovf->disk_count == 0)
        return im_ovf_refuse(reader->err, "it describes no disk (no <Disk> in <DiskSection>)");
    return im_ovf_order(reader->ovf, &reader->wiring, reader->err);
}

static struct reader *reader_free(struct reader *reader)
{
    if (!reader)
        return NULL;
    im_xml_close(&reader->xml);
    for (unsigned i = 0; i < reader->wiring.device_count; i++) {
        struct im_ovf_device *item = &reader->wiring.device[i];

        free(item->id);
        free(item->parent);
        free(item->resource);
        free(item->address);
        free(item->unit);
    }
    for (unsigned i = 0; i < IM_OVF_DISKS_MAX; i++)
        free(reader->wiring.file_ref[i]);
    im_buffer_done(&reader->text);
    im_ovf_free(reader->ovf);
    free(reader);
    return NULL;
}

int im_ovf_parse(const char *xml, size_t len, struct im_ovf **ret_ovf, struct im_error *err)
{
    static const struct im_xml_limits limits = {
        .bytes = IM_OVF_MAX, .run = RUN_MAX, .depth = DEPTH_MAX, .attributes = ATTRIBUTES_MAX
    };
    struct reader *reader = calloc(1, sizeof(*reader));
    int r;

    if (!reader)
        return im_fail(err, ENOMEM, "out of memory");
    reader->err = err;
    reader->text = IM_BUFFER(TEXT_MAX);
    r = im_xml_open(&reader->xml, xml, len, &limits);
    if (r == 0)
        reader->ovf = calloc(1, sizeof(*reader->ovf));
    if (r == -EBADMSG)
        r = im_ovf_refuse(reader->err, "%s", reader->xml.why);
    else if (!reader->ovf)
        r = no_memory(reader);
    else
        r = read_document(reader);
    if (r == 0)
        *ret_ovf = im_steal(reader->ovf);
    reader_free(reader);
    return r;
}

struct im_ovf *im_ovf_free(struct im_ovf *ovf)
{
    if (!ovf)
        return NULL;
    for (unsigned i = 0; i < ovf->file_count; i++) {
        free(ovf->file[i].id);
        free(ovf->file[i].href);
    }
    for (unsigned i = 0; i < ovf->disk_count; i++) {
        free(ovf->disk[i].id);
        free(ovf->disk[i].format);
    }
    free(ovf);
    return NULL;
}
