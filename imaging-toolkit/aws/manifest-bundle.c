/* manifest-bundle - manifests of bundles, from bytes to a proven structure.
 *
 * The document comes from a customer.  base/xml-read.h finds the tags; what may stand where is the
 * table below.  What is signed are the bytes of whole elements as they stand in the document,
 * so nothing may make a tag look like text or text like a tag: comments, CDATA, entities of its own
 * and processing instructions are refused before the XML parser looks. */

#include <config.h>

#include "aws/bundle-inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"
#include "base/xml-read.h"

/* The real documents are 5 deep; elements that mean nothing here may nest a little. */
#define DEPTH_MAX 12
/* Names of the elements around one, with slashes. */
#define PATH_TEXT_MAX 256
/* An element has one attribute. */
#define ATTRIBUTES_MAX 8
/* From one '<' to the next: an URL with each byte written as an entity. */
#define RUN_MAX (32 * 1024)
/* Text of one element: the longest URL, and twice the longest sealed key. */
#define TEXT_MAX       8192
#define NAME_MAX_BYTES 255
#define URL_MAX        4096

/* In which kind of manifest an element is required. */
enum { OF_BUNDLE = 1, OF_DOWNLOAD = 2 };

enum kind {
    CONTAINER,
    VERSION,
    FORMAT,
    TEXT,
    NUMBER,
    SHA1,
    SEALED,
    PARTS,
    PART,
    NAME,
    URL,
    SIGNATURE
};

#define IN(field) offsetof(struct im_bundle, field)

static const struct rule {
    const char *path;
    enum kind kind;
    unsigned required;
    size_t place;          /* of the field in struct im_bundle, or im_bundle_part */
    const char *algorithm; /* the attribute must say so; NULL: nobody looks */
} rules[] = {
    { "/manifest", CONTAINER, OF_BUNDLE | OF_DOWNLOAD, 0, NULL },
    { "/manifest/version", VERSION, OF_BUNDLE | OF_DOWNLOAD, 0, NULL },
    { "/manifest/file-format", FORMAT, OF_DOWNLOAD, 0, NULL },
    { "/manifest/bundle", CONTAINER, OF_DOWNLOAD, 0, NULL },
    { "/manifest/bundle/encrypted-key", SEALED, OF_DOWNLOAD, IN(key[IM_BUNDLE_USER]), NULL },
    { "/manifest/bundle/encrypted-iv", SEALED, OF_DOWNLOAD, IN(vector[IM_BUNDLE_USER]), NULL },
    { "/manifest/bundle/unbundled-size", NUMBER, OF_DOWNLOAD, IN(size), NULL },
    { "/manifest/machine_configuration", CONTAINER, OF_BUNDLE, 0, NULL },
    { "/manifest/machine_configuration/architecture", TEXT, 0, IN(arch), NULL },
    { "/manifest/machine_configuration/kernel_id", TEXT, 0, IN(kernel), NULL },
    { "/manifest/machine_configuration/ramdisk_id", TEXT, 0, IN(ramdisk), NULL },
    { "/manifest/image", CONTAINER, OF_BUNDLE | OF_DOWNLOAD, 0, NULL },
    { "/manifest/image/name", TEXT, 0, IN(name), NULL },
    { "/manifest/image/user", TEXT, 0, IN(user), NULL },
    { "/manifest/image/digest", SHA1, OF_BUNDLE, IN(digest), "SHA1" },
    { "/manifest/image/size", NUMBER, OF_BUNDLE | OF_DOWNLOAD, 0, NULL }, /* see end_number */
    { "/manifest/image/bundled_size", NUMBER, OF_BUNDLE, IN(bundled_size), NULL },
    { "/manifest/image/ec2_encrypted_key", SEALED, OF_BUNDLE, IN(key[IM_BUNDLE_CLOUD]),
      "AES-128-CBC" },
    { "/manifest/image/user_encrypted_key", SEALED, OF_BUNDLE, IN(key[IM_BUNDLE_USER]),
      "AES-128-CBC" },
    { "/manifest/image/ec2_encrypted_iv", SEALED, OF_BUNDLE, IN(vector[IM_BUNDLE_CLOUD]), NULL },
    { "/manifest/image/user_encrypted_iv", SEALED, OF_BUNDLE, IN(vector[IM_BUNDLE_USER]), NULL },
    { "/manifest/image/parts", PARTS, OF_BUNDLE | OF_DOWNLOAD, 0, NULL },
    { "/manifest/image/parts/part", PART, 0, 0, NULL },
    { "/manifest/image/parts/part/filename", NAME, OF_BUNDLE, 0, NULL },
    { "/manifest/image/parts/part/get-url", URL, OF_DOWNLOAD, 0, NULL },
    { "/manifest/image/parts/part/digest", SHA1, OF_BUNDLE | OF_DOWNLOAD, 0, "SHA1" },
    { "/manifest/signature", SIGNATURE, OF_BUNDLE | OF_DOWNLOAD, 0, NULL },
};

#define RULES (sizeof(rules) / sizeof(rules[0]))
_Static_assert(RULES <= 32, "a bit of struct reader.seen for each");

#define PART_PATH  "/manifest/image/parts/part"
#define IMAGE_SIZE "/manifest/image/size"

struct reader {
    struct im_xml xml;
    struct im_bundle *bundle;
    struct im_bundle_part *part; /* the slot of the <part> being read, or NULL */
    size_t parts_seen;
    unsigned kind;       /* OF_…, once its version was read */
    uint64_t image_size; /* image/size: of the image, or of what is downloaded */
    uint32_t seen;       /* bit per rule met, those below <part> since its start */
    char path[PATH_TEXT_MAX];
    size_t path_len[DEPTH_MAX]; /* of what is around the element at each depth */
    struct im_buffer text;      /* of the innermost element */
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
                            (size_t)(reader->part - reader->bundle->part), what);
    return im_fail_code(reader->err, EBADMSG, "InvalidManifest", "manifest: %s", what);
}

static bool is_in_part(const struct rule *rule)
{
    return strncmp(rule->path, PART_PATH "/", strlen(PART_PATH) + 1) == 0;
}

static const struct rule *find(const struct reader *reader)
{
    for (size_t i = 0; i < RULES; i++)
        if (strcmp(rules[i].path, reader->path) == 0)
            return &rules[i];
    return NULL;
}

/* The element's own name. */
static const char *name_of(const struct rule *rule)
{
    return strrchr(rule->path, '/') + 1;
}

/* ---- starts of elements ---- */

static int number_attribute(struct reader *reader, const char *name, uint64_t max,
                            uint64_t *ret_value)
{
    return im_xml_attribute(&reader->xml, name, max, ret_value) < 0
               ? refuse(reader, "%s", reader->xml.why)
               : 0;
}

static int start_parts(struct reader *reader)
{
    struct im_bundle *bundle = reader->bundle;
    uint64_t count;
    int r = reader->kind ? 0 : refuse(reader, "its <version> does not come first");

    if (r == 0)
        r = number_attribute(reader, "count", IM_BUNDLE_PARTS_MAX, &count);

    if (r < 0)
        return r;
    if (count == 0)
        return refuse(reader, "there is no part");
    bundle->part = calloc((size_t)count, sizeof(*bundle->part));
    if (!bundle->part)
        return im_fail(reader->err, ENOMEM, "out of memory");
    bundle->part_count = (size_t)count;
    return 0;
}

static int start_part(struct reader *reader)
{
    struct im_bundle *bundle = reader->bundle;
    uint64_t index;
    int r = number_attribute(reader, "index", UINT32_MAX, &index);

    if (r < 0)
        return r;
    if (index >= bundle->part_count)
        return refuse(reader, "a part has index %" PRIu64 ", but there are %zu, numbered from 0",
                      index, bundle->part_count);
    if (bundle->part[index].name)
        return refuse(reader, "two parts have index %" PRIu64, index);
    reader->part = &bundle->part[index];
    reader->parts_seen++;
    for (size_t i = 0; i < RULES; i++) /* forget what the part before had */
        if (is_in_part(&rules[i]))
            reader->seen &= ~(UINT32_C(1) << i);
    return 0;
}

static int check_algorithm(struct reader *reader, const struct rule *rule)
{
    xmlChar *value = xmlTextReaderGetAttribute(reader->xml.reader, (const xmlChar *)"algorithm");
    bool right = value && strcasecmp((const char *)value, rule->algorithm) == 0;
    char shown[64];

    im_text_printable(shown, sizeof(shown), value ? (const char *)value : "");
    xmlFree(value);
    return right ? 0
                 : refuse(reader, "the algorithm of <%s> is '%s'; only %s is known", name_of(rule),
                          shown, rule->algorithm);
}

static int start_rule(struct reader *reader, const struct rule *rule)
{
    uint32_t bit = UINT32_C(1) << (rule - rules);
    int r = 0;

    if (rule->kind != PART && reader->seen & bit)
        return refuse(reader, "there are two <%s>", name_of(rule));
    reader->seen |= bit;
    if (rule->kind == PARTS)
        r = start_parts(reader);
    else if (rule->kind == PART)
        r = start_part(reader);
    else if (rule->algorithm)
        r = check_algorithm(reader, rule);
    return r;
}

static int start_element(struct reader *reader, int depth)
{
    const char *name = (const char *)xmlTextReaderConstName(reader->xml.reader);
    size_t around = depth > 0 ? reader->path_len[depth - 1] : 0, len = strlen(name);
    const struct rule *rule;

    if (around + len + 2 > sizeof(reader->path))
        return refuse(reader, "names of elements are longer than %d bytes together", PATH_TEXT_MAX);
    reader->path[around] = '/';
    memcpy(reader->path + around + 1, name, len + 1);
    reader->path_len[depth] = around + 1 + len;
    im_buffer_clear(&reader->text);
    rule = find(reader);
    if (!rule && depth == 0)
        return refuse(reader, "the root is not <manifest>");
    return rule ? start_rule(reader, rule) : 0;
}

/* ---- ends of elements ---- */

static int end_version(struct reader *reader, const char *text)
{
    char shown[64];

    if (strcmp(text, "2007-10-10") == 0)
        reader->kind = OF_BUNDLE;
    else if (strcmp(text, "2014-01-14") == 0)
        reader->kind = OF_DOWNLOAD;
    else
        return refuse(reader,
                      "the version is '%s'; bundles have 2007-10-10, download manifests 2014-01-14",
                      im_text_printable(shown, sizeof(shown), text));
    reader->bundle->download = reader->kind == OF_DOWNLOAD;
    return 0;
}

static int end_number(struct reader *reader, const struct rule *rule, const char *text)
{
    uint64_t *field = strcmp(rule->path, IMAGE_SIZE) == 0
                          ? &reader->image_size
                          : (uint64_t *)(void *)((char *)reader->bundle + rule->place);
    char shown[64];

    if (im_parse_uint(text, INT64_MAX, field) < 0)
        return refuse(reader, "<%s> is '%s', not a number up to %" PRId64, name_of(rule),
                      im_text_printable(shown, sizeof(shown), text), INT64_MAX);
    return 0;
}

static int end_sha1(struct reader *reader, const struct rule *rule, const char *text)
{
    uint8_t *field = reader->part ? reader->part->sha1 : reader->bundle->digest;
    size_t len = 0;
    char shown[64];

    if (im_bundle_hex(text, field, IM_BUNDLE_SHA1, &len) < 0 || len != IM_BUNDLE_SHA1)
        return refuse(reader, "<%s> is '%s', not the 40 hex digits of a SHA-1", name_of(rule),
                      im_text_printable(shown, sizeof(shown), text));
    reader->bundle->has_digest |= !reader->part;
    return 0;
}

static int end_sealed(struct reader *reader, const struct rule *rule, const char *text)
{
    struct im_bundle_sealed *sealed = rule->kind == SIGNATURE
                                          ? &reader->bundle->signature
                                          : (void *)((char *)reader->bundle + rule->place);

    if (rule->kind == SIGNATURE && strcmp(text, "UNSIGNED") == 0)
        return 0;
    if (im_bundle_hex(text, sealed->data, sizeof(sealed->data), &sealed->len) < 0)
        return refuse(reader, "<%s> is not 1 to %d bytes in hex", name_of(rule), IM_RSA_MAX);
    return 0;
}

/* A name is compared as it is: nothing in it is decoded, and it leads nowhere. */
static int check_name(struct reader *reader, const char *name)
{
    char shown[64];

    im_text_printable(shown, sizeof(shown), name);
    if (strlen(name) > NAME_MAX_BYTES)
        return refuse(reader, "the file name has %zu bytes; at most %d are allowed", strlen(name),
                      NAME_MAX_BYTES);
    if (strchr(name, '/') || strchr(name, '\\') || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0 ||
        strncmp(name, im_text_printable((char[256]){ 0 }, 256, name), 256) != 0)
        return refuse(reader, "'%s' is no plain file name; parts lie beside the manifest", shown);
    return 0;
}

static int check_url(struct reader *reader, const char *url)
{
    struct im_url split;
    struct im_error why;
    char shown[160];

    if (strlen(url) > URL_MAX)
        return refuse(reader, "the URL has %zu bytes; at most %d are allowed", strlen(url),
                      URL_MAX);
    if (im_url_split(url, &split, &why) < 0)
        return refuse(reader, "<get-url>: %s", why.message);
    if (split.has_user_info)
        return refuse(reader, "<get-url> carries a user name: '%s'",
                      im_text_url(shown, sizeof(shown), url));
    return 0;
}

static int keep(struct reader *reader, char **field, const char *text)
{
    if (*field)
        return refuse(reader, "it has both a file name and an URL");
    *field = strdup(text);
    return *field ? 0 : im_fail(reader->err, ENOMEM, "out of memory");
}

static int end_name(struct reader *reader, const struct rule *rule, const char *text)
{
    int r = rule->kind == URL ? check_url(reader, text) : check_name(reader, text);

    return r < 0 ? r : keep(reader, &reader->part->name, text);
}

static int end_text(struct reader *reader, const struct rule *rule, const char *text)
{
    char shown[64];

    if (rule->kind == FORMAT && strcmp(text, "BUNDLE") == 0)
        return 0;
    if (rule->kind == FORMAT)
        return refuse(reader, "its file-format is '%s'; only BUNDLE is unbundled",
                      im_text_printable(shown, sizeof(shown), text));
    return keep(reader, (char **)(void *)((char *)reader->bundle + rule->place), text);
}

/* Everything a manifest of this kind needs inside parts, or outside of them, must have been met. */
static int check_complete(struct reader *reader, bool in_part)
{
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].required & reader->kind && is_in_part(&rules[i]) == in_part &&
            !(reader->seen & UINT32_C(1) << i))
            return refuse(reader, "there is no <%s>", name_of(&rules[i]));
    return 0;
}

static int end_part(struct reader *reader)
{
    int r = check_complete(reader, true);

    reader->part = NULL;
    return r;
}

static int end_element(struct reader *reader, int depth)
{
    char *text = reader->text.len > 0 ? im_text_trim(reader->text.data) : (char[]){ "" };
    const struct rule *rule;
    int r = 0;

    reader->path[reader->path_len[depth]] = '\0';
    rule = find(reader);
    if (rule && rule->kind == PART)
        return end_part(reader);
    if (rule && rule->kind != CONTAINER && rule->kind != PARTS && rule->kind != TEXT && !*text)
        return refuse(reader, "<%s> is empty", name_of(rule));
    switch (rule ? rule->kind : CONTAINER) {
    case VERSION:
        r = end_version(reader, text);
        break;
    case NUMBER:
        r = end_number(reader, rule, text);
        break;
    case SHA1:
        r = end_sha1(reader, rule, text);
        break;
    case SEALED:
    case SIGNATURE:
        r = end_sealed(reader, rule, text);
        break;
    case NAME:
    case URL:
        r = end_name(reader, rule, text);
        break;
    case TEXT:
    case FORMAT:
        r = end_text(reader, rule, text);
        break;
    default:
        break;
    }
    im_buffer_clear(&reader->text);
    return r;
}

/* ---- the document ---- */

static int add_text(struct reader *reader, const char *text)
{
    int r = im_buffer_puts(&reader->text, text);

    if (r == -EFBIG)
        return refuse(reader, "an element has more than %d bytes", TEXT_MAX);
    return r < 0 ? im_fail(reader->err, ENOMEM, "out of memory") : 0;
}

static int take_node(struct reader *reader, const struct im_xml_node *node)
{
    switch (node->kind) {
    case IM_XML_START:
        return start_element(reader, node->depth);
    case IM_XML_END:
        return end_element(reader, node->depth);
    default:
        return add_text(reader, node->text);
    }
}

static int check_whole(struct reader *reader)
{
    struct im_bundle *bundle = reader->bundle;
    /* what must be there depends on the kind, which the version tells */
    int r = reader->kind ? check_complete(reader, false) : refuse(reader, "there is no <version>");

    if (r < 0)
        return r;
    *(reader->kind == OF_DOWNLOAD ? &bundle->bundled_size : &bundle->size) = reader->image_size;
    if (reader->parts_seen != bundle->part_count)
        return refuse(reader, "%zu parts are announced, but there are %zu", bundle->part_count,
                      reader->parts_seen);
    return im_bundle_prove(bundle, reader->err);
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
    return r < 0 ? refuse(reader, "%s", reader->xml.why) : check_whole(reader);
}

int im_bundle_parse(const char *xml, size_t len, struct im_bundle **ret_bundle,
                    struct im_error *err)
{
    static const struct im_xml_limits limits = { .bytes = IM_BUNDLE_MANIFEST_MAX,
                                                 .run = RUN_MAX,
                                                 .depth = DEPTH_MAX,
                                                 .attributes = ATTRIBUTES_MAX,
                                                 .plain = true };
    struct reader reader = { .text = IM_BUFFER(TEXT_MAX), .err = err };
    int r = im_xml_open(&reader.xml, xml, len, &limits);

    if (r == 0)
        reader.bundle = calloc(1, sizeof(*reader.bundle));
    if (r == -EBADMSG)
        r = refuse(&reader, "%s", reader.xml.why);
    else if (!reader.bundle)
        r = im_fail(err, ENOMEM, "out of memory");
    else
        r = read_document(&reader);
    if (r == 0)
        r = im_bundle_find_signed(reader.bundle, xml, len, err);
    im_xml_close(&reader.xml);
    im_buffer_done(&reader.text);
    if (r == 0)
        *ret_bundle = im_steal(reader.bundle);
    im_bundle_free(reader.bundle);
    return r;
}
