/* import - what euca-import-volume and euca-import-instance have in common: files are looked at, a
 * task is made, the files are uploaded, the task is shown. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#include "client.h"
#include "command.h"
#include "options.h"

/* Options of both.  Lists hold one value for all files, or one for each. */
struct euca_import_options {
    struct euca_list format;
    struct euca_list volume_size;
    struct euca_list image_size;
    struct euca_list manifest_url;
    const char *zone;
    const char *bucket;
    const char *prefix;
    const char *expires;
    const char *description;
    bool no_upload;
    bool dry_run;
    bool check;
    bool wait;
    bool dont_verify_format;
    bool ignore_region_affinity; /* never had an effect */
};

/* What one of the commands adds to that. */
struct euca_import_kind {
    const char *action;                /* "ImportVolume" */
    bool numbered;                     /* several files: "DiskImage.1.Image.Format" */
    const struct euca_option *options; /* its own options … */
    void *values;                      /* … and what they fill */
    /* Check its own options, after --format and before anything else, and read what they name:
     * files, standard input.  0, a usage error, -ECANCELED, or as open and read. */
    int (*check)(const struct euca_import_options *shared, void *values, struct im_error *err);
    /* Add the parameters that are not a disk's. */
    void (*add)(const struct euca_import_options *shared, const void *values,
                struct euca_form *form);
};

/* Run the command.  0, 1 when --help or --version was answered, or -errno: EUCA_USAGE for what is
 * wrong with the command line, else as euca_image_open, euca_call and euca_upload.  Nothing has
 * been made when it fails before the task; a task that waits for the rest of its upload is told on
 * standard error.  With --wait also as euca_wait. */
int euca_import(const char *program, const struct euca_command *command,
                const struct euca_import_kind *kind, int argc, char **argv, struct im_error *err);

/* Whole GiB of a volume that holds so many bytes. */
uint64_t euca_volume_gib(uint64_t bytes);

/* The lines of --help that both have. */
#define EUCA_IMPORT_HELP                                                                           \
    "  -b, --bucket BUCKET       where to upload to; made when it is not there\n"                  \
    "      --manifest-url URL    instead: an import manifest, existing or to be\n"                 \
    "  -s, --volume-size GiB, --image-size BYTES (25M, 2GB); default: the disk's\n"                \
    "  -d, --description TEXT, --prefix PREFIX (of the uploaded objects' names)\n"                 \
    "      --check (the disks), --dont-verify-format, --dry-run (make nothing)\n"                  \
    "      --no-upload (only make the task), --wait (until it has ended)\n" EUCA_UPLOAD_HELP
