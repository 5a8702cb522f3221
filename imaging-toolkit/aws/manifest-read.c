/* manifest-read - the VM Import manifest, from bytes to a proven structure.
 *
 * The document comes from a customer.  base/xml-read.h finds the tags and refuses what is no plain
 * XML in UTF-8; which element may stand where, how often and with what in it is the table below.
 * Decided here:
 * - Numbers are digits with blanks around them at most; no sign, no exponent.
 * - Unknown elements are skipped, known ones must not occur twice. */

#include <config.h>

#include "aws/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"
#include "base/xml-read.h"

/* The real document is 6 deep; unknown elements may nest a little. */
#define DEPTH_MAX 16

/* <byte-range> has two; xmlns and xsi noise is tolerated. */
#define ATTRIBUTES_MAX 16

/* From one '<' to the next: the longest URL with each byte written as an entity, and its indent. */
#define RUN_MAX (32 * 1024)

/* Text of one element with its blanks, and the longest URL in it. */
#define TEXT_MAX 8192
#define URL_MAX  4096

#define SIZE_MAX_BYTES ((uint64_t)INT64_MAX)
#define VOLUME_MAX_GIB ((uint64_t)INT64_MAX >> 30)

enum element {
    UNKNOWN, /* also: what the root's parent is */
    MANIFEST,
    VERSION,
    FILE_FORMAT,
    IMPORTER,
    IMPORTER_NAME,
    IMPORTER_VERSION,
    SELF_DESTRUCT,
    IMPORT,
    SIZE,
    VOLUME_SIZE,
    PARTS,
    PART,
    RANGE,
    KEY,
    HEAD_URL,
    GET_URL,
    DELETE_URL,
    ELEMENTS
};

enum kind { CONTAINER, TEXT, RAW_TEXT, URL, NUMBER };

#define IN_MANIFEST(field) offsetof(struct im_manifest, field)
#define IN_PART(field)     offsetof(struct im_manifest_part, field)

static const struct rule {
    const char *name;
    enum element parent;
    enum kind kind;
    bool optional;
    size_t place; /* of the field in struct im_manifest, or in im_manifest_part below <part> */
    uint64_t max; /* of a number; bytes of a text */
} rules[ELEMENTS] = {
    [MANIFEST] = { "manifest", UNKNOWN, CONTAINER, false, 0, 0 },
    [VERSION] = { "version", MANIFEST, TEXT, false, 0, 64 },
    [FILE_FORMAT] = { "file-format", MANIFEST, TEXT, false, IN_MANIFEST(file_format), 64 },
    [IMPORTER] = { "importer", MANIFEST, CONTAINER, true, 0, 0 },
    [IMPORTER_NAME] = { "name", IMPORTER, TEXT, true, IN_MANIFEST(importer_name), 256 },
    [IMPORTER_VERSION] = { "version", IMPORTER, TEXT, true, IN_MANIFEST(importer_version), 256 },
    [SELF_DESTRUCT] = { "self-destruct-url", MANIFEST, URL, false, IN_MANIFEST(self_destruct_url),
                        URL_MAX },
    [IMPORT] = { "import", MANIFEST, CONTAINER, false, 0, 0 },
    [SIZE] = { "size", IMPORT, NUMBER, false, IN_MANIFEST(size), SIZE_MAX_BYTES },
    [VOLUME_SIZE] = { "volume-size", IMPORT, NUMBER, false, IN_MANIFEST(volume_gib),
                      VOLUME_MAX_GIB },
    [PARTS] = { "parts", IMPORT, CONTAINER, false, 0, 0 },
    [PART] = { "part", PARTS, CONTAINER, true, 0, 0 },
    [RANGE] = { "byte-range", PART, CONTAINER, false, 0, 0 },
    [KEY] = { "key", PART, RAW_TEXT, false, IN_PART(key), 1024 }, /* S3's longest key */
    [HEAD_URL] = { "head-url", PART, URL, false, IN_PART(head_url), URL_MAX },
    [GET_URL] = { "get-url", PART, URL, false, IN_PART(get_url), URL_MAX },
    [DELETE_URL] = { "delete-url", PART, URL, false, IN_PART(delete_url), URL_MAX },
};

struct reader {
    struct im_xml xml;
    struct im_manifest *manifest;
    struct im_manifest_part *part; /* the slot of the <part> being read, or NULL */
    size_t parts_seen;
    uint32_t seen;                /* bit per element met, those below <part> since its start */
    enum element path[DEPTH_MAX]; /* known elements open at each depth */
    struct im_buffer text;        /* of the innermost element */
    struct im_error *err;
};

/* "manifest, part index 3: <what is wrong>". */
__attribute__((format(printf, 2, 3))) static int refuse(const struct reader *reader,
                                                        const char *format, ...)
{
    char what[IM_ERROR_MAX - 40];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    if (reader->part)
        return im_fail_code(reader->err, EBADMSG, "InvalidManifest", "manifest, part index %zu: %s",
                            (size_t)(reader->part - reader->manifest->part), what);
    return im_fail_code(reader->err, EBADMSG, "InvalidManifest", "manifest: %s", what);
}

static uint32_t bit(enum element element)
{
    return UINT32_C(1) << element;
}

static enum element find(enum element parent, const char *name)
{
    for (enum element e = MANIFEST; e < ELEMENTS; e++)
        if (rules[e].parent == parent && strcmp(rules[e].name, name) == 0)
            return e;
    return UNKNOWN;
}

static int attribute(struct reader *reader, const char *name, uint64_t max, uint64_t *ret_value)
{
    return im_xml_attribute(&reader->xml, name, max, ret_value) < 0
               ? refuse(reader, "%s", reader->xml.why)
               : 0;
}

static int start_parts(struct reader *reader)
{
    struct im_manifest *manifest = reader->manifest;
    uint64_t count;
    int r = attribute(reader, "count", IM_MANIFEST_PARTS_MAX, &count);

    if (r < 0)
        return r;
    manifest->part_count = (size_t)count;
    manifest->part = calloc(manifest->part_count + 1, sizeof(*manifest->part));
    return manifest->part ? 0 : im_fail(reader->err, ENOMEM, "out of memory");
}

static int start_part(struct reader *reader)
{
    struct im_manifest *manifest = reader->manifest;
    uint64_t index;
    int r = attribute(reader, "index", UINT32_MAX, &index);

    if (r < 0)
        return r;
    if (index >= manifest->part_count)
        return refuse(reader, "a part has index %" PRIu64 ", but there are %zu, numbered from 0",
                      index, manifest->part_count);
    if (manifest->part[index].get_url)
        return refuse(reader, "two parts have index %" PRIu64, index);
    reader->part = &manifest->part[index];
    reader->parts_seen++;
    reader->seen &= bit(RANGE) - 1; /* forget what the part before had */
    return 0;
}

static int start_range(struct reader *reader)
{
    struct im_manifest_part *part = reader->part;
    int r = attribute(reader, "start", SIZE_MAX_BYTES - 1, &part->start);

    if (r < 0)
        return r;
    r = attribute(reader, "end", SIZE_MAX_BYTES - 1, &part->end);
    if (r < 0)
        return r;
    if (part->end < part->start)
        return refuse(reader, "the byte-range %" PRIu64 "-%" PRIu64 " is inverted", part->start,
                      part->end);
    return 0;
}

static int check_url(struct reader *reader, enum element element, const char *url)
{
    struct im_url split;
    struct im_error why;
    char shown[160];

    if (im_url_split(url, &split, &why) < 0)
        return refuse(reader, "<%s>: %s", rules[element].name, why.message);
    if (split.has_user_info)
        return refuse(reader, "<%s> carries a user name: '%s'", rules[element].name,
                      im_text_url(shown, sizeof(shown), url));
    return 0;
}

static int store_text(struct reader *reader, enum element element, const char *text, void *field)
{
    char **string = field;
    char shown[64];
    int r;

    if (rules[element].kind == URL) {
        r = check_url(reader, element, text);
        if (r < 0)
            return r;
    }
    if (element == VERSION) {
        if (strcmp(text, "2010-11-15") != 0)
            return refuse(reader, "the version is '%s'; only 2010-11-15 is known",
                          im_text_printable(shown, sizeof(shown), text));
        return 0;
    }
    *string = strdup(text);
    return *string ? 0 : im_fail(reader->err, ENOMEM, "out of memory");
}

/* The end of an element that holds text: check it and put it where the table says. */
static int end_text(struct reader *reader, enum element element)
{
    const struct rule *rule = &rules[element];
    void *owner = rule->parent == PART ? (void *)reader->part : (void *)reader->manifest;
    void *field = (char *)owner + rule->place;
    char *text = reader->text.len > 0 ? reader->text.data : (char[]){ "" };
    char shown[64];

    if (rule->kind != RAW_TEXT)
        text = im_text_trim(text);
    if (rule->kind == NUMBER) {
        if (im_parse_uint(text, rule->max, field) < 0)
            return refuse(reader, "<%s> is '%s', not a number up to %" PRIu64, rule->name,
                          im_text_printable(shown, sizeof(shown), text), rule->max);
        return 0;
    }
    if (!*text)
        return refuse(reader, "<%s> is empty", rule->name);
    if (strlen(text) > rule->max)
        return refuse(reader, "<%s> has %zu bytes; at most %" PRIu64 " are allowed", rule->name,
                      strlen(text), rule->max);
    return store_text(reader, element, text, field);
}

/* Everything the table wants below `parent` must have been met. */
static int check_complete(struct reader *reader, enum element parent)
{
    for (enum element e = MANIFEST; e < ELEMENTS; e++)
        if (rules[e].parent == parent && !rules[e].optional && !(reader->seen & bit(e)))
            return refuse(reader, "there is no <%s>", rules[e].name);
    return 0;
}

static int end_element(struct reader *reader, enum element element)
{
    int r = 0;

    if (element == UNKNOWN)
        return 0;
    if (rules[element].kind != CONTAINER)
        return end_text(reader, element);
    if (element != RANGE)
        r = check_complete(reader, element);
    if (element == PART)
        reader->part = NULL;
    return r;
}

static int start_element(struct reader *reader, int depth)
{
    enum element parent = depth > 0 ? reader->path[depth - 1] : UNKNOWN;
    const char *name = (const char *)xmlTextReaderConstName(reader->xml.reader);
    enum element element = UNKNOWN;
    char shown[64];
    int r = 0;

    im_text_printable(shown, sizeof(shown), name);
    if (depth == 0 || parent != UNKNOWN)
        element = find(parent, name);
    if (depth == 0 && element != MANIFEST)
        return refuse(reader, "the root element is <%s>, not <manifest>", shown);
    if (parent != UNKNOWN && rules[parent].kind != CONTAINER)
        return refuse(reader, "<%s> holds an element <%s>", rules[parent].name, shown);
    reader->path[depth] = element;
    if (element == UNKNOWN)
        return 0;

    if (element != PART && reader->seen & bit(element))
        return refuse(reader, "<%s> occurs twice", rules[element].name);
    reader->seen |= bit(element);
    im_buffer_clear(&reader->text);
    if (element == PARTS)
        r = start_parts(reader);
    else if (element == PART)
        r = start_part(reader);
    else if (element == RANGE)
        r = start_range(reader);
    return r;
}

static int add_text(struct reader *reader, const char *text, int depth)
{
    enum element element = depth > 0 ? reader->path[depth - 1] : UNKNOWN;
    int r;

    if (element == UNKNOWN || rules[element].kind == CONTAINER)
        return 0;
    r = im_buffer_puts(&reader->text, text);
    if (r == -EFBIG)
        return refuse(reader, "<%s> has more than %d bytes", rules[element].name, TEXT_MAX);
    return r < 0 ? im_fail(reader->err, ENOMEM, "out of memory") : 0;
}

static int take_node(struct reader *reader, const struct im_xml_node *node)
{
    switch (node->kind) {
    case IM_XML_START:
        return start_element(reader, node->depth);
    case IM_XML_END:
        return end_element(reader, reader->path[node->depth]);
    default:
        return add_text(reader, node->text, node->depth);
    }
}

/* Number of parts, and ranges that adjoin from 0. */
static int check_parts(struct reader *reader)
{
    struct im_manifest *manifest = reader->manifest;
    uint64_t next = 0;

    if (reader->parts_seen != manifest->part_count)
        return refuse(reader, "%zu parts are announced, but there are %zu", manifest->part_count,
                      reader->parts_seen);
    for (size_t i = 0; i < manifest->part_count; i++) {
        if (manifest->part[i].start != next)
            return refuse(reader,
                          "part index %zu starts at byte %" PRIu64 " instead of %" PRIu64
                          ": the ranges must adjoin",
                          i, manifest->part[i].start, next);
        next = manifest->part[i].end + 1;
    }
    manifest->file_size = next;
    return 0;
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
    return r < 0 ? refuse(reader, "%s", reader->xml.why) : check_parts(reader);
}

int im_manifest_parse(const char *xml, size_t len, struct im_manifest **ret_manifest,
                      struct im_error *err)
{
    static const struct im_xml_limits limits = {
        .bytes = IM_MANIFEST_MAX, .run = RUN_MAX, .depth = DEPTH_MAX, .attributes = ATTRIBUTES_MAX
    };
    struct reader reader = { .text = IM_BUFFER(TEXT_MAX), .err = err };
    int r = im_xml_open(&reader.xml, xml, len, &limits);

    if (r == 0)
        reader.manifest = calloc(1, sizeof(*reader.manifest));
    if (r == -EBADMSG)
        r = refuse(&reader, "%s", reader.xml.why);
    else if (!reader.manifest)
        r = im_fail(err, ENOMEM, "out of memory");
    else
        r = read_document(&reader);
    im_xml_close(&reader.xml);
    im_buffer_done(&reader.text);
    if (r == 0)
        *ret_manifest = im_steal(reader.manifest);
    im_manifest_free(reader.manifest);
    return r;
}

struct im_manifest *im_manifest_free(struct im_manifest *manifest)
{
    if (!manifest)
        return NULL;
    for (size_t i = 0; manifest->part && i < manifest->part_count; i++) {
        free(manifest->part[i].key);
        free(manifest->part[i].head_url);
        free(manifest->part[i].get_url);
        free(manifest->part[i].delete_url);
    }
    free(manifest->part);
    free(manifest->file_format);
    free(manifest->importer_name);
    free(manifest->importer_version);
    free(manifest->self_destruct_url);
    free(manifest);
    return NULL;
}
