/* plan - row to job: source, format, limit, stages, store.  Reads and changes nothing else. */

#include <config.h>

#include "dispatch/plan.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"

/* Formats have names of a few letters; the API knows three of them. */
#define FORMAT_MAX 16

int plan_volume_bytes(const struct stage *stage, uint64_t *ret_bytes, struct im_error *err)
{
    /* JSON's integers (jansson's) are signed */
    if (stage->volume_gib == 0 || stage->volume_gib > (uint64_t)INT64_MAX >> 30)
        return im_fail(err, EFBIG, "a volume of %" PRIu64 " GiB cannot be made", stage->volume_gib);
    *ret_bytes = stage->volume_gib << 30;
    return 0;
}

/* The toolkit's name of what the client calls "VMDK". */
static int format_name(const char *format, char ret_name[FORMAT_MAX + 1], struct im_error *err)
{
    size_t n = 0;

    for (; n < FORMAT_MAX && isalnum((unsigned char)format[n]); n++)
        ret_name[n] = (char)tolower((unsigned char)format[n]);
    ret_name[n] = '\0';
    if (n > 0 && !format[n])
        return 0;
    return im_fail(err, EINVAL, "'%.32s' is not the name of a disk image format", format);
}

/* What the first disk of an instance goes through besides, before anything changes it. */
static const char *const boot_stages[] = { "boot-layout", NULL };

/* The stages of the toolkit in their order; NULL when out of memory. */
static json_t *stages_of(const struct claim *claim, uint64_t bytes)
{
    bool boots = claim->task.kind == TASK_INSTANCE && claim->stage->number == 1;
    json_t *stages = json_array();
    int r = 0;

    for (const char *const *name = boot_stages; boots && *name && r == 0; name++)
        r = json_array_append_new(stages, json_pack("{s:s}", "name", *name));
    if (r == 0)
        r = json_array_append_new(
            stages, json_pack("{s:s, s:I}", "name", "grow", "size", (json_int_t)bytes));
    if (r == 0)
        return stages;
    json_decref(stages);
    return NULL;
}

static json_t *list_of(const struct svc_words *words)
{
    json_t *list = json_array();
    int r = 0;

    for (size_t i = 0; i < words->count && r == 0; i++)
        r = json_array_append_new(list, json_string(words->item[i]));
    if (r == 0)
        return list;
    json_decref(list);
    return NULL;
}

json_t *plan_urls(const struct svc_conf *conf, const char *own)
{
    return json_pack("{s:o, s:o, s:o, s:s*}", "schemes", list_of(&conf->manifest_schemes), "hosts",
                     list_of(&conf->manifest_hosts), "networks", list_of(&conf->manifest_networks),
                     "own", own);
}

int plan_job(const struct svc_conf *conf, const struct claim *claim,
             const struct claim_files *files, const struct plan_objects *objects, char **ret_json,
             struct im_error *err)
{
    const struct stage *stage = claim->stage;
    char *source IM_FREE = im_asprintf("manifest:%s", stage->manifest_url);
    char format[FORMAT_MAX + 1];
    uint64_t bytes = 0;
    json_error_t why;
    json_t *job, *where = NULL, *announced = NULL;
    char *json;
    int r = plan_volume_bytes(stage, &bytes, err);

    if (r == 0)
        r = format_name(stage->format, format, err);
    if (r < 0)
        return r;
    if (!source)
        return im_fail(err, ENOMEM, "out of memory");
    if (objects)
        where = json_pack("{s:s, s:s}", "prefix", objects->url, "dir", objects->dir);
    /* of other formats some clients announce the file's size, some the disk's */
    if (strcmp(format, "raw") == 0)
        announced = json_integer((json_int_t)stage->image_bytes);
    job = json_pack_ex(
        &why, 0, "{s:s, s:o*, s:s, s:I, s:o, s:s, s:s, s:s, s:b, s:b, s:b, s:s, s:s, s:o, s:o*}",
        "source", source, "bytes", announced, "format", format, "max_size", (json_int_t)bytes,
        "stages", stages_of(claim, bytes), "store", files->store, "volume",
        strrchr(files->volume, '/') + 1, "digest", "fs-verity", "force", 1, "resume", 1, "confined",
        !svc_conf_is(conf->unconfined), "earlier", files->earlier, "scratch", files->scratch,
        "urls", plan_urls(conf, objects ? objects->url : NULL), "objects", where);
    if (!job)
        return im_fail(err, EINVAL, "task %s cannot be written as a job: %s", claim->task.id,
                       why.text);
    json = json_dumps(job, JSON_COMPACT);
    json_decref(job);
    if (!json)
        return im_fail(err, ENOMEM, "out of memory");
    *ret_json = json;
    return 0;
}
