/* disk-image - parts are deleted by their keys with the user's own credentials, never by the URLs
 * in the manifest.
 */

#include <config.h>

#include "disk-image.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#include "client.h"
#include "command.h"
#include "crew.h"
#include "manifest.h"
#include "s3.h"

/* Objects that are deleted at a time. */
#define DELETIONS 4

void euca_disk_image_done(struct euca_disk_image *image)
{
    free(image->bucket);
    free(image->key);
    im_manifest_free(image->manifest);
    *image = (struct euca_disk_image){ 0 };
}

/* ---- finding ---- */

static int read_manifest(struct euca_disk_image *image, struct im_error *err)
{
    struct im_http *http = im_http_new();
    int r = http ? euca_manifest_get(http, image->s3, image->bucket, image->key, EUCA_TRIES,
                                     &image->manifest, err)
                 : im_fail_memory(err);

    im_http_free(http);
    return r == -ENOENT || r == -ENXIO
               ? im_fail_code(err, ENOENT, EUCA_USAGE, "import manifest \"%s/%s\" does not exist",
                              image->bucket, image->key)
               : r;
}

int euca_disk_image_find(const struct euca_endpoint *s3, const char *url,
                         struct euca_disk_image *ret_image, struct im_error *err)
{
    struct euca_disk_image image EUCA_DISK_IMAGE_DONE = { 0 };
    int r = euca_s3_locate(s3, url, &image.s3, &image.bucket, &image.key, err);

    if (r == 0)
        r = read_manifest(&image, err);
    if (r < 0)
        return r;
    *ret_image = image;
    image = (struct euca_disk_image){ 0 };
    return 0;
}

/* ---- deleting ---- */

/* What the threads share. */
struct job {
    const struct euca_disk_image *image;
};

static int delete_part(void *arg, struct euca_hand *hand, size_t n, struct im_error *err)
{
    const struct job *job = arg;
    const struct euca_disk_image *image = job->image;

    return euca_s3_delete(hand->http, image->s3, image->bucket, image->manifest->part[n].key,
                          hand->stop, err);
}

int euca_disk_image_delete(const struct euca_disk_image *image, struct im_error *err)
{
    struct job job = { image };
    const struct euca_crew crew = {
        .threads = DELETIONS, .count = image->manifest->part_count, .one = delete_part, .arg = &job
    };
    struct im_http *http;
    int r = euca_crew_run(&crew, err);

    if (r < 0)
        return r;
    http = im_http_new();
    if (!http)
        return im_fail_memory(err);
    r = euca_s3_delete(http, image->s3, image->bucket, image->key, NULL, err);
    im_http_free(http);
    return r;
}
