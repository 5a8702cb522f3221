/* manifest-write - the VM Import manifest as stock clients lay it out.
 *
 * Only text in, text out: nothing of the ranges is judged here but what XML cannot carry. */

#include <config.h>

#include "aws/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

struct writer {
    struct im_buffer *out;
    struct im_error *err;
    int failure; /* the first one; everything after it does nothing */
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *writer, const char *format,
                                                      ...)
{
    char line[256];
    va_list args;

    if (writer->failure)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    writer->failure = im_buffer_puts(writer->out, line);
}

/* Character data: CR too, or a reader would turn it into LF (XML 1.0 section 2.11). */
static int put_escaped(struct im_buffer *out, const char *text)
{
    int r = 0;

    while (*text && r == 0) {
        size_t plain = strcspn(text, "<>&\r");

        r = im_buffer_add(out, text, plain);
        text += plain;
        if (r < 0 || !*text)
            break;
        r = im_buffer_puts(out, *text == '<'   ? "&lt;"
                                : *text == '>' ? "&gt;"
                                : *text == '&' ? "&amp;"
                                               : "&#13;");
        text++;
    }
    return r;
}

/* <name>text</name> on a line of its own. */
static void put_text(struct writer *writer, int indent, const char *name, const char *text)
{
    put(writer, "%*s<%s>", indent, "", name);
    if (!writer->failure && !im_text_is_xml(text ? text : "", text ? strlen(text) : 0))
        writer->failure =
            im_fail(writer->err, EINVAL,
                    "the <%s> of the manifest holds a character XML cannot carry", name);
    if (!writer->failure)
        writer->failure = put_escaped(writer->out, text ? text : "");
    put(writer, "</%s>\n", name);
}

static void put_part(struct writer *writer, size_t index, const struct im_manifest_part *part)
{
    put(writer, "      <part index=\"%zu\">\n", index);
    put(writer, "        <byte-range start=\"%" PRIu64 "\" end=\"%" PRIu64 "\"/>\n", part->start,
        part->end);
    put_text(writer, 8, "key", part->key);
    put_text(writer, 8, "head-url", part->head_url);
    put_text(writer, 8, "get-url", part->get_url);
    put_text(writer, 8, "delete-url", part->delete_url);
    put(writer, "      </part>\n");
}

int im_manifest_write(const struct im_manifest *manifest, struct im_buffer *out,
                      struct im_error *err)
{
    struct writer writer = { .out = out, .err = err };

    put(&writer, "<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\n<manifest>\n");
    put(&writer, "  <version>2010-11-15</version>\n");
    put_text(&writer, 2, "file-format", manifest->file_format);
    put(&writer, "  <importer>\n");
    if (manifest->importer_name)
        put_text(&writer, 4, "name", manifest->importer_name);
    if (manifest->importer_version)
        put_text(&writer, 4, "version", manifest->importer_version);
    put(&writer, "    <release>0</release>\n  </importer>\n");
    put_text(&writer, 2, "self-destruct-url", manifest->self_destruct_url);
    put(&writer, "  <import>\n    <size>%" PRIu64 "</size>\n", manifest->size);
    put(&writer, "    <volume-size>%" PRIu64 "</volume-size>\n", manifest->volume_gib);
    put(&writer, "    <parts count=\"%zu\"%s>\n", manifest->part_count,
        manifest->part_count ? "" : "/");
    for (size_t i = 0; i < manifest->part_count; i++)
        put_part(&writer, i, &manifest->part[i]);
    put(&writer, "%s  </import>\n</manifest>", manifest->part_count ? "    </parts>\n" : "");

    if (writer.failure == -EFBIG)
        return im_fail(err, EFBIG,
                       "the manifest of %zu parts would be larger than %zu bytes; use larger parts",
                       manifest->part_count, out->ceiling);
    if (writer.failure == -ENOMEM)
        return im_fail(err, ENOMEM, "out of memory");
    return writer.failure;
}
