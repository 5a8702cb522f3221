/* disk-image - a disk to import, as both imports ask for it. */
#pragma once

#include "api/operation.h"
#include "task/task.h"

/* Bytes of a manifest URL: presigned with a session token they reach 2-3 KiB. */
#define SVC_URL_MAX 4096

/* Rows of a parameter table for a struct task_disk that begins at `base`. */
#define SVC_DISK_ROWS(base)                                                                        \
    { .name = "Image.Format",                                                                      \
      .offset = (base) + offsetof(struct task_disk, format),                                       \
      .required = true },                                                                          \
        { .name = "Image.Bytes",                                                                   \
          .offset = (base) + offsetof(struct task_disk, image_bytes),                              \
          .required = true,                                                                        \
          .type = SVC_NUMBER,                                                                      \
          .min = 1 },                                                                              \
        { .name = "Image.ImportManifestUrl",                                                       \
          .offset = (base) + offsetof(struct task_disk, manifest_url),                             \
          .required = true,                                                                        \
          .max = SVC_URL_MAX },                                                                    \
        { .name = "Description", .offset = (base) + offsetof(struct task_disk, description) },     \
    {                                                                                              \
        .name = "Volume.Size", .offset = (base) + offsetof(struct task_disk, volume_gib),          \
        .required = true, .type = SVC_NUMBER, .min = 1                                             \
    }

/* Refuse what can be known to be wrong before the image is there; prefix is what stands before the
 * parameters' names in the request ("", "DiskImage.2.").  0 when all is well. */
int svc_check_disk(struct svc_call *call, const char *prefix, const struct task_disk *disk);
