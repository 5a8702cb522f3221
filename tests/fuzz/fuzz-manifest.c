/* fuzz-manifest - the reader of import manifests (aws/manifest.h), and their writer behind it.
 *
 * An input is the document.  A finding is a report of a sanitizer, a manifest that is accepted and
 * breaks what the reader promises, or one that is not the same when it is written and read again.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "aws/manifest.h"
#include "base/http.h"

static void check_url(const char *url)
{
    struct im_url split;

    if (!url || im_url_split(url, &split, NULL) < 0 || split.has_user_info)
        fault("an URL that is none, or with a user name");
}

static void judge(const struct im_manifest *manifest)
{
    uint64_t next = 0;

    if (manifest->part_count > IM_MANIFEST_PARTS_MAX)
        fault("more parts than are allowed");
    check_url(manifest->self_destruct_url);
    if (!manifest->file_format || !*manifest->file_format)
        fault("no format");
    for (size_t i = 0; i < manifest->part_count; i++) {
        const struct im_manifest_part *part = &manifest->part[i];

        if (part->start != next || part->end < part->start || part->end >= INT64_MAX)
            fault("the parts do not adjoin");
        next = part->end + 1;
        if (!part->key || !*part->key)
            fault("a part without a key");
        check_url(part->head_url);
        check_url(part->get_url);
        check_url(part->delete_url);
    }
    if (manifest->file_size != next)
        fault("another size than its parts have");
}

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_same_part(const struct im_manifest_part *a, const struct im_manifest_part *b)
{
    return a->start == b->start && a->end == b->end && is_same(a->key, b->key) &&
           is_same(a->head_url, b->head_url) && is_same(a->get_url, b->get_url) &&
           is_same(a->delete_url, b->delete_url);
}

static bool is_same_manifest(const struct im_manifest *a, const struct im_manifest *b)
{
    if (!is_same(a->file_format, b->file_format) || !is_same(a->importer_name, b->importer_name) ||
        !is_same(a->importer_version, b->importer_version) ||
        !is_same(a->self_destruct_url, b->self_destruct_url) || a->size != b->size ||
        a->volume_gib != b->volume_gib || a->part_count != b->part_count)
        return false;
    for (size_t i = 0; i < a->part_count; i++)
        if (!is_same_part(&a->part[i], &b->part[i]))
            return false;
    return true;
}

static void write_and_read(const struct im_manifest *manifest)
{
    struct im_buffer written IM_BUFFER_DONE = IM_BUFFER(IM_MANIFEST_MAX);
    struct im_manifest *again;
    int r = im_manifest_write(manifest, &written, NULL);

    if (r == -EFBIG) /* its indent made it longer */
        return;
    if (r < 0)
        fault("what was read cannot be written");
    if (im_manifest_parse(written.data, written.len, &again, NULL) < 0)
        fault("what was written cannot be read");
    if (!is_same_manifest(manifest, again))
        fault("what was written is read as something else");
    im_manifest_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct im_manifest *manifest = NULL;
    struct im_error err = { 0 };
    char *text = fuzz_text(data, len);
    int r;

    fault_if_xml_is_loud();
    r = text ? im_manifest_parse(text, len, &manifest, &err) : 0;
    fault_unless_told(r, &err);
    fuzz_refused = r < 0;
    if (manifest) {
        judge(manifest);
        write_and_read(manifest);
    }
    im_manifest_free(manifest);
    free(text);
    return 0;
}
