/* files - the names one claim of a convert uses on disk, and their removal.
 *
 * Names hold the task, the number of the disk and the epoch of the claim, so that two attempts
 * never share one: VOLUMES/.import-i-xxxxxxxx.DISK.EPOCH.part and
 * SCRATCH/import-i-xxxxxxxx.DISK.EPOCH.  The toolkit writes a manifest beside the part file; it is
 * published as VOLUME.manifest.json.  Until the part file is whole there are PART.partial and
 * PART.journal, with which the toolkit of a later claim goes on under its own names. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

struct claim_files {
    const char *volumes_dir; /* of the settings */
    char *part;              /* where the toolkit commits */
    char *earlier;           /* what the names of all claims' part files begin with */
    char *volume;            /* the published name */
    char *scratch;           /* directory of the toolkit's own */
};

/* Name those of the claim with that epoch; nothing is created.  0 or -ENOMEM. */
int claim_files_init(const struct svc_conf *conf, const struct claim *claim, uint64_t epoch,
                     struct claim_files *ret_files, struct im_error *err);
void claim_files_done(struct claim_files *files);
#define CLAIM_FILES_DONE __attribute__((cleanup(claim_files_done)))

/* Make the scratch directory, mode 0700 and empty. */
int claim_files_create(const struct claim_files *files, struct im_error *err);

/* The fs-verity digest ("sha256:…") that the manifest beside the part file tells; owned by the
 * caller.  NULL when there is none. */
char *claim_files_digest(const struct claim_files *files);

/* Give the part file the volume's name, and its manifest too; durable when it returns.  It does no
 * harm when that has been done already.  -ENOENT when there is neither. */
int claim_files_publish(const struct claim_files *files, struct im_error *err);

/* Remove the scratch directory; or the part file and whatever the toolkit made beside it.  What
 * cannot be removed is logged and found again by the ledger. */
void claim_files_remove_scratch(const struct claim_files *files);
void claim_files_remove_part(const struct claim_files *files);

/* The same, but for what a later claim can go on with. */
void claim_files_leave_part(const struct claim_files *files);

/* The published name of a volume, owned by the caller; NULL when out of memory. */
char *files_volume_path(const struct svc_conf *conf, const char *volume_id);

/* Remove what all claims of that disk left, and its volume with its manifest, too, when it is to
 * go; durable when it returns. */
void files_remove_disk(const struct svc_conf *conf, const struct claim *claim, bool volume);

/* Call each(arg) with the path of everything there is of a claim, by the ledger, but for what
 * another claim goes on with, and its bytes on the disk; each may remove it.  A negative return
 * stops and is returned. */
int files_of_thing(const struct svc_conf *conf, const struct thing *thing,
                   int (*each)(void *arg, const char *path, uint64_t bytes), void *arg);

/* Remove a file, or a directory with all in it, durably; true when it is gone, else the log says
 * why it is not. */
bool files_remove(const char *path);

/* Where the file system has no nameless files the toolkit's have names of its own for a moment:
 * remove those of a death.  For a start, of a service that has the directory for itself. */
void files_sweep(const struct svc_conf *conf);
