/* files - the names one claim uses on disk, and their removal. */

#include <config.h>

#include "dispatch/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "log.h"

/* Directories nftw keeps open at once; deeper trees are read again, not refused. */
#define TREE_DESCRIPTORS 16

/* The toolkit lists a few thousand extents at most. */
#define MANIFEST_MAX (1u << 20)

char *files_volume_path(const struct svc_conf *conf, const char *volume_id)
{
    return im_asprintf("%s/%s.raw", conf->volumes_dir, volume_id);
}

int claim_files_init(const struct svc_conf *conf, const struct claim *claim, uint64_t epoch,
                     struct claim_files *ret_files, struct im_error *err)
{
    const struct stage *stage = claim->stage;
    const char *id = claim->task.id;
    struct claim_files files = {
        .volumes_dir = conf->volumes_dir,
        .part = im_asprintf("%s/.%s.%u.%" PRIu64 ".part", conf->volumes_dir, id, stage->number,
                            epoch),
        .volume = files_volume_path(conf, stage->volume_id),
        .scratch = im_asprintf("%s/%s.%u.%" PRIu64, conf->scratch_dir, id, stage->number, epoch),
    };

    if (!files.part || !files.volume || !files.scratch) {
        claim_files_done(&files);
        return im_fail(err, ENOMEM, "out of memory");
    }
    *ret_files = files;
    return 0;
}

void claim_files_done(struct claim_files *files)
{
    free(files->part);
    free(files->volume);
    free(files->scratch);
    memset(files, 0, sizeof(*files));
}

static void complain(const char *path)
{
    svc_log(SVC_WARNING, "cannot remove '%s': %s", path, strerrordesc_np(errno));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    if (remove(path) < 0 && errno != ENOENT)
        complain(path);
    return 0; /* on with the rest */
}

/* Contents first, links not followed, other file systems left alone. */
static void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, TREE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The manifest that the toolkit writes beside a volume. */
static char *manifest_of(const char *volume)
{
    return im_asprintf("%s.manifest.json", volume);
}

int claim_files_create(const struct claim_files *files, struct im_error *err)
{
    remove_tree(files->scratch);
    if (mkdir(files->scratch, 0700) < 0)
        return im_fail_errno(err, errno, "cannot make the scratch directory '%s'", files->scratch);
    return 0;
}

char *claim_files_digest(const struct claim_files *files)
{
    char *path IM_FREE = manifest_of(files->part);
    char *text IM_FREE = NULL;
    char *digest = NULL;
    json_t *manifest;
    size_t len;

    if (!path || im_read_file(path, MANIFEST_MAX, &text, &len, NULL) < 0)
        return NULL;
    manifest = json_loads(text, 0, NULL);
    if (json_unpack(manifest, "{s:{s:s}}", "digests", "fs-verity", &digest) == 0)
        digest = strdup(digest);
    else
        digest = NULL;
    json_decref(manifest);
    return digest;
}

int claim_files_publish(const struct claim_files *files, struct im_error *err)
{
    char *from IM_FREE = manifest_of(files->part);
    char *to IM_FREE = manifest_of(files->volume);
    int r;

    if (!from || !to)
        return im_fail(err, ENOMEM, "out of memory");
    /* first, so that whoever finds the volume finds its manifest */
    if (rename(from, to) < 0 && errno != ENOENT)
        return im_fail_errno(err, errno, "cannot rename '%s' to '%s'", from, to);
    if (rename(files->part, files->volume) < 0 &&
        (errno != ENOENT || access(files->volume, F_OK) < 0))
        return im_fail_errno(err, errno, "cannot rename '%s' to '%s'", files->part, files->volume);
    r = im_sync_parent(files->volume);
    if (r < 0)
        return im_fail_errno(err, -r, "cannot make the name '%s' durable", files->volume);
    return 0;
}

/* The toolkit's, while a file is made where the file system has no nameless ones. */
static bool is_temporary(const char *name, const char *arg)
{
    (void)arg;
    return strncmp(name, ".imaging-", 9) == 0 && strlen(name) == 15;
}

static bool begins_with(const char *name, const char *beginning)
{
    return strncmp(name, beginning, strlen(beginning)) == 0;
}

/* Remove the entries of dir that `matches` takes. */
static void remove_matching(const char *dir, bool (*matches)(const char *name, const char *arg),
                            const char *arg)
{
    DIR *entries = opendir(dir);
    const struct dirent *entry;

    if (!entries) {
        svc_log(SVC_WARNING, "cannot read '%s': %s", dir, strerrordesc_np(errno));
        return;
    }
    while ((entry = readdir(entries))) {
        char *path IM_FREE = NULL;

        if (!matches(entry->d_name, arg))
            continue;
        path = im_asprintf("%s/%s", dir, entry->d_name);
        if (path)
            remove_tree(path);
    }
    (void)closedir(entries);
}

void claim_files_remove_scratch(const struct claim_files *files)
{
    remove_tree(files->scratch);
}

void claim_files_remove_part(const struct claim_files *files)
{
    remove_matching(files->volumes_dir, begins_with, strrchr(files->part, '/') + 1);
}

static void remove_volume(const char *volume)
{
    char *manifest IM_FREE = manifest_of(volume);

    if (manifest && unlink(manifest) < 0 && errno != ENOENT)
        complain(manifest);
    if (unlink(volume) < 0 && errno != ENOENT)
        complain(volume);
}

void files_remove_disk(const struct svc_conf *conf, const struct claim *claim, bool volume)
{
    char *path IM_FREE = files_volume_path(conf, claim->stage->volume_id);
    char *parts IM_FREE = im_asprintf(".%s.%u.", claim->task.id, claim->stage->number);

    if (!path || !parts) {
        svc_log(SVC_WARNING, "%s: files cannot be removed: out of memory", claim->task.id);
        return;
    }
    /* first: a part file that is still there may get the volume's name at any moment */
    remove_matching(conf->volumes_dir, begins_with, parts);
    if (volume)
        remove_volume(path);
    (void)im_sync_parent(path);
    remove_matching(conf->scratch_dir, begins_with, parts + 1);
}

void files_remove_thing(const struct svc_conf *conf, const struct thing *thing)
{
    char *part IM_FREE =
        im_asprintf(".%s.%u.%" PRIu64 ".part", thing->task_id, thing->number, thing->epoch);
    char *scratch IM_FREE = im_asprintf("%s/%s.%u.%" PRIu64, conf->scratch_dir, thing->task_id,
                                        thing->number, thing->epoch);

    if (!part || !scratch)
        return; /* the ledger keeps it */
    if (!thing->kept)
        remove_matching(conf->volumes_dir, begins_with, part);
    remove_tree(scratch);
}

void files_sweep(const struct svc_conf *conf)
{
    remove_matching(conf->volumes_dir, is_temporary, NULL);
}
