/* result - the manifest of a result, and the names of digests. */

#include <config.h>

#include "core/result.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/io.h"
#include "base/json.h"
#include "base/text.h"

/* A manifest with all extents of a very scattered disk would be large and of no use to anybody. */
#define EXTENTS_MAX 4096u

static const struct {
    const char *name;
    unsigned bit;
} digests[] = {
    { "fs-verity", IM_DIGEST_FSVERITY },
    { "sha256", IM_DIGEST_SHA256 },
    { "none", 0 },
};

static int parse_one(const char *name, size_t len, unsigned *digest)
{
    for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++)
        if (strlen(digests[i].name) == len && memcmp(digests[i].name, name, len) == 0) {
            *digest |= digests[i].bit;
            return 0;
        }
    return -EINVAL;
}

int im_digest_parse(const char *text, unsigned *ret_digests, struct im_error *err)
{
    unsigned set = 0;
    const char *rest = text;

    for (;;) {
        size_t len = strcspn(rest, ",");

        if (parse_one(rest, len, &set) < 0)
            return im_fail(err, EINVAL,
                           "'%s' names no digest; there are fs-verity and sha256, or both with a "
                           "comma between them, or none",
                           text);
        if (!rest[len])
            break;
        rest += len + 1;
    }
    *ret_digests = set;
    return 0;
}

static json_t *digests_json(const struct im_copy_result *result)
{
    char fsverity[8 + 2 * 32] = "sha256:";
    char sha256[2 * 32 + 1];
    json_t *object = json_object();

    im_hex(result->fsverity, sizeof(result->fsverity), fsverity + strlen(fsverity));
    im_hex(result->sha256, sizeof(result->sha256), sha256);
    if (result->digests & IM_DIGEST_FSVERITY)
        (void)json_object_set_new(object, "fs-verity", json_string(fsverity));
    if (result->digests & IM_DIGEST_SHA256)
        (void)json_object_set_new(object, "sha256", json_string(sha256));
    return object;
}

struct json_t *im_result_json(const struct im_copy_result *result)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:s*, s:o}", "size", (json_int_t)result->size, "file_size",
        (json_int_t)result->file_size, "data_bytes", (json_int_t)result->data_bytes, "shared_bytes",
        (json_int_t)result->shared_bytes, "scratch_peak_bytes", (json_int_t)result->scratch_bytes,
        "boot_mode", result->boot_mode, "digests", digests_json(result));
}

/* [offset, length] of every run of data, and whether these are all. */
static json_t *extents_json(struct im_store *store, uint64_t size, bool *ret_all)
{
    json_t *list = json_array();
    uint64_t offset = 0;

    while (offset < size && json_array_size(list) < EXTENTS_MAX) {
        uint64_t len;
        bool hole;

        im_file_extent(store->fd, offset, size - offset, &hole, &len);
        if (!hole)
            (void)json_array_append_new(list,
                                        json_pack("[I, I]", (json_int_t)offset, (json_int_t)len));
        offset += len;
    }
    *ret_all = offset >= size;
    return list;
}

static json_t *times_json(const struct im_manifest_facts *facts)
{
    char started[40], ended[40];

    return json_pack("{s:s, s:s}", "started",
                     im_clock_iso8601(started, sizeof(started), facts->started_ms), "ended",
                     im_clock_iso8601(ended, sizeof(ended), facts->ended_ms));
}

char *im_manifest_text(const struct im_manifest_facts *facts, const struct im_copy_result *result,
                       struct im_store *store)
{
    char volume[1024], source[1024];
    json_t *object = json_pack(
        "{s:i, s:s, s:s, s:{s:s, s:s}, s:{s:s}, s:o}", "version", 1, "volume",
        im_text_printable(volume, sizeof(volume), im_text_basename(facts->volume)), "format",
        facts->format, "source", "name", im_text_printable(source, sizeof(source), facts->source),
        "format", facts->source_format, "tools", "imaging-toolkit", PACKAGE_VERSION, "times",
        times_json(facts));
    json_t *numbers = im_result_json(result);
    bool all = false;
    char *text IM_FREE = NULL;

    if (object && numbers && json_object_update(object, numbers) == 0 &&
        json_object_set_new(object, "extents", extents_json(store, result->file_size, &all)) == 0 &&
        json_object_set_new(object, "extents_complete", json_boolean(all)) == 0)
        text = json_dumps(object, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(numbers);
    json_decref(object);
    return im_json_lost() ? NULL : im_steal(text);
}

char *im_manifest_path(const char *volume)
{
    return im_asprintf("%s.manifest.json", volume);
}
