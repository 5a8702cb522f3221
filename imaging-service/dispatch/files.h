/* files - the names one claim of a convert uses on disk, and their removal.
 *
 * Names hold the task, the number of the disk and the epoch of the claim, so that two attempts
 * never share one: SCRATCH/import-i-xxxxxxxx.DISK.EPOCH and, called PART here,
 * VOLUMES/.import-i-xxxxxxxx.DISK.EPOCH.part.
 *
 * The toolkit that parses an image may write in directories of its claim alone (cmd/confined.c):
 * scratch, and PART.job beside the volumes, where it commits a file called as PART, with a manifest
 * beside it.  Until that is whole its bytes and its journal are there, with which the toolkit of a
 * later claim goes on: they are handed over to that one's directory.  What was committed is taken
 * out, to PART, before it is decided that it counts, and published as the volume and
 * VOLUME.manifest.json. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "conf/conf.h"
#include "task/task.h"

struct claim_files {
    const char *volumes_dir; /* of the settings */
    char *part;              /* what is to be published */
    char *dir;               /* the toolkit's own, below which it writes */
    char *store;             /* where it commits */
    char *earlier;           /* what names begin with that were handed over to it */
    char *volume;            /* the published name */
    char *scratch;           /* directory of the toolkit's own */
};

/* Name those of the claim with that epoch; nothing is created.  0 or -ENOMEM. */
int claim_files_init(const struct svc_conf *conf, const struct claim *claim, uint64_t epoch,
                     struct claim_files *ret_files, struct im_error *err);
void claim_files_done(struct claim_files *files);
#define CLAIM_FILES_DONE __attribute__((cleanup(claim_files_done)))

/* Make the toolkit's two directories, mode 0700 and empty; but for what earlier claims can be gone
 * on with that no process is at: that is moved to where the toolkit finds it. */
int claim_files_create(const struct claim_files *files, struct im_error *err);

/* The fs-verity digest ("sha256:…") that the manifest beside the part file tells; owned by the
 * caller.  NULL when there is none. */
char *claim_files_digest(const struct claim_files *files);

/* Take what the toolkit has committed out of its directory: from now on it is the part file.
 * Durable when it returns, and the service's alone (mode 0600).  -ENOENT when nothing was committed;
 * -EBADMSG: it, or its manifest, is no file of its own. */
int claim_files_take(const struct claim_files *files, struct im_error *err);

/* Give the part file the volume's name, and its manifest too; durable when it returns.  It does no
 * harm when that has been done already.  -ENOENT when there is neither. */
int claim_files_publish(const struct claim_files *files, struct im_error *err);

/* Remove the scratch directory; or the part file and the toolkit's directory with all in it.  What
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

/* Where the file system has no nameless files the toolkit's have names of its own for a moment.  In
 * earlier versions these were in the volumes directory: remove those of a death.  For a start, of a
 * service that has the directory for itself. */
void files_sweep(const struct svc_conf *conf);
