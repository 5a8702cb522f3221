/* files - the names one claim of a convert uses on disk, and their removal.
 *
 * Names hold the task, the number of the disk and the epoch of the claim, so that two attempts
 * never share one: VOLUMES/.import-i-xxxxxxxx.DISK.EPOCH.part and
 * SCRATCH/import-i-xxxxxxxx.DISK.EPOCH.  The toolkit writes a manifest beside the part file; it is
 * published as VOLUME.manifest.json. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

struct claim_files {
    const char *volumes_dir; /* of the settings */
    char *part;              /* where the toolkit commits */
    char *volume;            /* the published name */
    char *scratch;           /* directory of the toolkit's own */
};

/* Name them; nothing is created.  0 or -ENOMEM. */
int claim_files_init(const struct svc_conf *conf, const struct claim *claim,
                     struct claim_files *ret_files, struct im_error *err);
void claim_files_done(struct claim_files *files);
#define CLAIM_FILES_DONE __attribute__((cleanup(claim_files_done)))

/* Make the scratch directory, mode 0700 and empty. */
int claim_files_create(const struct claim_files *files, struct im_error *err);

/* The fs-verity digest ("sha256:…") that the manifest beside the part file, or beside the published
 * volume, tells; owned by the caller.  NULL when there is none. */
char *claim_files_digest(const struct claim_files *files, bool published);

/* Give the part file the volume's name, and its manifest too; durable when it returns. */
int claim_files_publish(const struct claim_files *files, struct im_error *err);

/* True when the published name is there. */
bool claim_files_published(const struct claim_files *files);

/* Remove the scratch directory; or the part file and whatever the toolkit made beside it.  What
 * cannot be removed is logged and found again by files_sweep. */
void claim_files_remove_scratch(const struct claim_files *files);
void claim_files_remove_part(const struct claim_files *files);

/* Take a publication back whose row was never written; the volume is gone then. */
void claim_files_unpublish(const struct claim_files *files);

/* The published name of a volume, owned by the caller; NULL when out of memory. */
char *files_volume_path(const struct svc_conf *conf, const char *volume_id);

/* Remove a published volume and its manifest; durable when it returns. */
void files_remove_volume(const struct svc_conf *conf, const char *volume_id);

/* Remove the part files and scratch directories of all claims: for a start, when none lives.
 * Files with other names are not touched. */
void files_sweep(const struct svc_conf *conf);
