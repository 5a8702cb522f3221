/* ImportVolume - a new task: make a volume of the image the manifest describes.
 *
 * Neither manifest nor parts need to exist yet.  Everything that can be wrong about the request is
 * said here, with 4xx; what is wrong with the image is found later and told by the task. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "api/operation.h"
#include "base/cleanup.h"
#include "base/http.h"
#include "base/text.h"

/* Bytes of a manifest URL: presigned with a session token they reach 2-3 KiB. */
#define URL_MAX 4096

#define GIB_SHIFT 30

struct input {
    const char *zone, *zone_id;
    const char *format;
    uint64_t bytes;
    const char *manifest_url;
    const char *description;
    uint64_t volume_gib;
};

static const struct svc_param params[] = {
    { .name = "AvailabilityZone", .offset = offsetof(struct input, zone) },
    { .name = "AvailabilityZoneId", .offset = offsetof(struct input, zone_id) },
    { .name = "Image.Format", .offset = offsetof(struct input, format), .required = true },
    { .name = "Image.Bytes",
      .offset = offsetof(struct input, bytes),
      .required = true,
      .type = SVC_NUMBER,
      .min = 1 },
    { .name = "Image.ImportManifestUrl",
      .offset = offsetof(struct input, manifest_url),
      .required = true,
      .max = URL_MAX },
    { .name = "Description", .offset = offsetof(struct input, description) },
    { .name = "Volume.Size",
      .offset = offsetof(struct input, volume_gib),
      .required = true,
      .type = SVC_NUMBER,
      .min = 1 },
    { 0 }
};

static const char *zone_of(const struct input *in)
{
    return in->zone ? in->zone : in->zone_id;
}

static int check_zone(struct svc_call *call, const struct input *in)
{
    if (in->zone && in->zone_id)
        return svc_refuse(call, SVC_INVALID_COMBINATION,
                          "The parameters AvailabilityZone and AvailabilityZoneId cannot be used "
                          "together");
    if (!zone_of(in))
        return svc_refuse(call, SVC_MISSING_PARAMETER,
                          "The request must contain the parameter AvailabilityZone");
    if (strcmp(zone_of(in), call->api->conf->zone) != 0)
        return svc_refuse(call, SVC_UNKNOWN_ZONE,
                          "The zone '%.100s' does not exist. The zone of this service is '%s'.",
                          zone_of(in), call->api->conf->zone);
    return 0;
}

static int check_format(struct svc_call *call, const struct input *in)
{
    if (strcasecmp(in->format, "VMDK") != 0 && strcasecmp(in->format, "VHD") != 0 &&
        strcasecmp(in->format, "RAW") != 0)
        return svc_refuse(call, SVC_INVALID_FORMAT,
                          "The disk format '%.60s' is not valid: it must be VMDK, VHD or RAW.",
                          in->format);
    return 0;
}

/* Image.Bytes is the size of the file for some clients, that of the disk inside for others, and for
 * VMDK and VHD nobody can tell which.  A file is larger than its disk by its tables only, at worst
 * an eighth (a VMDK of 4 KiB grains that do not compress) and the few tables of an empty disk;
 * within that the image itself decides when it is read. */
static uint64_t least_disk(const struct input *in)
{
    const uint64_t tables = 1024 * 1024;

    if (strcasecmp(in->format, "RAW") == 0)
        return in->bytes;
    if (in->bytes <= tables)
        return 0;
    return (in->bytes - tables) / 9 * 8;
}

static int check_sizes(struct svc_call *call, const struct input *in)
{
    const uint64_t max_gib = call->api->conf->max_volume_gib;
    uint64_t disk = least_disk(in);
    uint64_t gib = (disk >> GIB_SHIFT) + ((disk & ((UINT64_C(1) << GIB_SHIFT) - 1)) != 0);

    if (in->volume_gib > max_gib)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%" PRIu64 ") for parameter Volume.Size is invalid. Volumes have "
                          "from 1 to %" PRIu64 " GiB.",
                          in->volume_gib, max_gib);
    if (gib > max_gib)
        return svc_refuse(call, SVC_IMAGE_TOO_LARGE,
                          "The image of %" PRIu64 " bytes does not fit the largest volume, "
                          "%" PRIu64 " GiB.",
                          in->bytes, max_gib);
    if (gib > in->volume_gib)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%" PRIu64 ") for parameter Volume.Size is invalid. The image of "
                          "%" PRIu64 " bytes needs at least %" PRIu64 " GiB.",
                          in->volume_gib, in->bytes, gib);
    return 0;
}

static int check_url(struct svc_call *call, const struct input *in)
{
    struct im_error err = { 0 };
    const char *reason = NULL;
    struct im_url url;
    char shown[200];

    if (im_url_split(in->manifest_url, &url, &err) < 0)
        reason = err.message;
    else if (url.has_user_info)
        reason = "it must not hold a user name or password";
    if (reason)
        return svc_refuse(call, SVC_INVALID_VALUE,
                          "Value (%s) for parameter Image.ImportManifestUrl is invalid. An http or "
                          "https URL is expected: %s.",
                          im_text_url(shown, sizeof(shown), in->manifest_url), reason);
    return 0;
}

static int check(struct svc_call *call, const void *input)
{
    const struct svc_api *api = call->api;
    const struct input *in = input;
    const char *trouble = NULL;
    char sentence[IM_ERROR_MAX];
    int r = check_zone(call, in);

    if (r == 0)
        r = check_format(call, in);
    if (r == 0)
        r = check_url(call, in);
    if (r == 0)
        r = check_sizes(call, in);
    if (r == 0 && api->trouble)
        trouble = api->trouble(api->worker, sentence, sizeof(sentence));
    if (trouble)
        r = svc_refuse(call, SVC_UNAVAILABLE, "%s", trouble);
    return r;
}

static int run(struct svc_call *call, const void *input)
{
    const struct input *in = input;
    const struct task_disk disk = {
        .format = in->format,
        .manifest_url = in->manifest_url,
        .image_bytes = in->bytes,
        .volume_gib = in->volume_gib,
    };
    const struct task_wish wish = {
        .account = call->account,
        .zone = zone_of(in),
        .description = in->description,
        .disk = &disk,
        .disk_count = 1,
    };
    struct task task TASK_DONE = { 0 };
    bool fresh;
    int r;

    r = task_insert(call->tasks, &wish, call->api->conf->max_active, im_clock_now_ms(), &task,
                    &fresh, &call->err);
    if (r == -EBUSY)
        return svc_refuse(call, SVC_TOO_MANY_TASKS,
                          "%u conversion tasks are in progress, which is the limit; cancel one or "
                          "wait for one to end.",
                          call->api->conf->max_active);
    if (r < 0)
        return r;
    if (call->api->wake)
        call->api->wake(call->api->worker);
    svc_write_conversion_task(call->xml, "conversionTask", &task);
    return 0;
}

const struct svc_operation svc_operation_import_volume = {
    .action = "ImportVolume",
    .params = params,
    .input_size = sizeof(struct input),
    .check = check,
    .run = run,
};
