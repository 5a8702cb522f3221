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

/* What the toolkit's own names begin with. */
#define TEMPORARY ".imaging-"

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
        .part =
            im_asprintf("%s/.%s.%u.%" PRIu64 ".part", conf->volumes_dir, id, stage->number, epoch),
        .earlier = im_asprintf("%s/.%s.%u.", conf->volumes_dir, id, stage->number),
        .volume = files_volume_path(conf, stage->volume_id),
        .scratch = im_asprintf("%s/%s.%u.%" PRIu64, conf->scratch_dir, id, stage->number, epoch),
    };

    if (!files.part || !files.earlier || !files.volume || !files.scratch) {
        claim_files_done(&files);
        return im_fail(err, ENOMEM, "out of memory");
    }
    *ret_files = files;
    return 0;
}

void claim_files_done(struct claim_files *files)
{
    free(files->part);
    free(files->earlier);
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

/* Call each(arg) for the paths of the entries of dir whose names begin so. */
static int each_beginning(const char *dir, const char *beginning,
                          int (*each)(void *arg, const char *path), void *arg)
{
    DIR *entries = opendir(dir);
    const struct dirent *entry;
    int r = 0;

    if (!entries) {
        svc_log(SVC_WARNING, "cannot read '%s': %s", dir, strerrordesc_np(errno));
        return 0;
    }
    while (r >= 0 && (entry = readdir(entries))) {
        char *path IM_FREE = NULL;

        if (strncmp(entry->d_name, beginning, strlen(beginning)) != 0)
            continue;
        path = im_asprintf("%s/%s", dir, entry->d_name);
        if (path)
            r = each(arg, path);
    }
    (void)closedir(entries);
    return r;
}

static int remove_path(void *arg, const char *path)
{
    (void)arg;
    remove_tree(path);
    return 0;
}

static void remove_beginning(const char *dir, const char *beginning)
{
    (void)each_beginning(dir, beginning, remove_path, NULL);
}

void claim_files_remove_scratch(const struct claim_files *files)
{
    remove_tree(files->scratch);
}

void claim_files_remove_part(const struct claim_files *files)
{
    remove_beginning(files->volumes_dir, strrchr(files->part, '/') + 1);
}

static int remove_unless_kept(void *arg, const char *path)
{
    const char *ending = strrchr(path, '.');

    (void)arg;
    if (strcmp(ending, ".partial") != 0 && strcmp(ending, ".journal") != 0)
        remove_tree(path);
    return 0;
}

void claim_files_leave_part(const struct claim_files *files)
{
    (void)each_beginning(files->volumes_dir, strrchr(files->part, '/') + 1, remove_unless_kept,
                         NULL);
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
    remove_beginning(conf->volumes_dir, parts);
    if (volume)
        remove_volume(path);
    (void)im_sync_parent(path);
    remove_beginning(conf->scratch_dir, parts + 1);
}

/* What a claim's files begin with, without their directory: ".TASK.NUMBER.EPOCH.part"; the scratch
 * directory's name is what stands between the dots.  NULL when out of memory. */
static char *part_of_thing(const struct thing *thing)
{
    return im_asprintf(".%s.%u.%" PRIu64 ".part", thing->task_id, thing->number, thing->epoch);
}

static char *scratch_of_thing(const struct svc_conf *conf, const struct thing *thing)
{
    return im_asprintf("%s/%s.%u.%" PRIu64, conf->scratch_dir, thing->task_id, thing->number,
                       thing->epoch);
}

/* Of measure_entry, which is given nothing to keep it in. */
static _Thread_local uint64_t measured;

static int measure_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)path;
    (void)type;
    (void)where;
    measured += (uint64_t)st->st_blocks * 512;
    return 0;
}

struct telling {
    int (*each)(void *arg, const char *path, uint64_t bytes);
    void *arg;
};

static int tell_path(void *arg, const char *path)
{
    const struct telling *telling = arg;

    measured = 0;
    (void)nftw(path, measure_entry, TREE_DESCRIPTORS, FTW_PHYS | FTW_MOUNT);
    return telling->each(telling->arg, path, measured);
}

int files_of_thing(const struct svc_conf *conf, const struct thing *thing,
                   int (*each)(void *arg, const char *path, uint64_t bytes), void *arg)
{
    char *part IM_FREE = part_of_thing(thing);
    char *scratch IM_FREE = scratch_of_thing(conf, thing);
    struct telling telling = { each, arg };
    int r = 0;

    if (!part || !scratch)
        return -ENOMEM;
    if (!thing->kept)
        r = each_beginning(conf->volumes_dir, part, tell_path, &telling);
    return r < 0 || access(scratch, F_OK) < 0 ? r : tell_path(&telling, scratch);
}

bool files_remove(const char *path)
{
    struct stat st;

    remove_tree(path);
    return lstat(path, &st) < 0 && errno == ENOENT && im_sync_parent(path) == 0;
}

/* The toolkit's have six characters behind the dash; whatever else begins so is not ours. */
static int remove_temporary(void *arg, const char *path)
{
    (void)arg;
    if (strlen(strrchr(path, '/')) == strlen("/" TEMPORARY "XXXXXX"))
        remove_tree(path);
    return 0;
}

void files_sweep(const struct svc_conf *conf)
{
    (void)each_beginning(conf->volumes_dir, TEMPORARY, remove_temporary, NULL);
}
