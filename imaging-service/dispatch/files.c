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

#define DIGITS       "0123456789"
#define ID_DIGITS    DIGITS "abcdefghijklmnopqrstuvwxyz"
#define ID_RANDOM    8
#define EPOCH_DIGITS 20 /* of 2^64 */

char *files_volume_path(const struct svc_conf *conf, const char *volume_id)
{
    return im_asprintf("%s/%s.raw", conf->volumes_dir, volume_id);
}

int claim_files_init(const struct svc_conf *conf, const struct claim *claim,
                     struct claim_files *ret_files, struct im_error *err)
{
    const struct stage *stage = claim->stage;
    const char *id = claim->task.id;
    struct claim_files files = {
        .volumes_dir = conf->volumes_dir,
        .part = im_asprintf("%s/.%s.%u.%" PRIu64 ".part", conf->volumes_dir, id, stage->number,
                            stage->epoch),
        .volume = files_volume_path(conf, stage->volume_id),
        .scratch =
            im_asprintf("%s/%s.%u.%" PRIu64, conf->scratch_dir, id, stage->number, stage->epoch),
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

char *claim_files_digest(const struct claim_files *files, bool published)
{
    char *path IM_FREE = manifest_of(published ? files->volume : files->part);
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
    if (rename(files->part, files->volume) < 0)
        return im_fail_errno(err, errno, "cannot rename '%s' to '%s'", files->part, files->volume);
    r = im_sync_parent(files->volume);
    if (r < 0)
        return im_fail_errno(err, -r, "cannot make the name '%s' durable", files->volume);
    return 0;
}

/* Past ".N" at the start of text, or NULL. */
static const char *skip_number(const char *text)
{
    size_t n = *text == '.' ? strspn(text + 1, DIGITS) : 0;

    return n > 0 && n <= EPOCH_DIGITS ? text + 1 + n : NULL;
}

/* Past "import-vol-xxxxxxxx.DISK.EPOCH" or "import-i-…" at the start of name, or NULL.  Before
 * tasks had several disks the number was left out. */
static const char *skip_claim(const char *name)
{
    static const char *const prefixes[] = { "import-vol-", "import-i-" };
    const char *rest = NULL, *epoch;

    for (size_t i = 0; i < 2 && !rest; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            rest = name + strlen(prefixes[i]);
    if (!rest || strspn(rest, ID_DIGITS) != ID_RANDOM)
        return NULL;
    rest = skip_number(rest + ID_RANDOM);
    epoch = rest ? skip_number(rest) : NULL;
    return epoch ? epoch : rest;
}

static bool is_scratch(const char *name, const char *arg)
{
    const char *rest = skip_claim(name);

    (void)arg;
    return rest && *rest == '\0';
}

/* A part file, or one that the toolkit makes beside it while it takes its name (PART.new-PID), or
 * where the file system has no nameless files (.imaging-XXXXXX). */
static bool is_part(const char *name, const char *arg)
{
    const char *rest = *name == '.' ? skip_claim(name + 1) : NULL;

    (void)arg;
    if (rest)
        return strncmp(rest, ".part", 5) == 0;
    return strncmp(name, ".imaging-", 9) == 0 && strlen(name) == 15;
}

static bool is_of_part(const char *name, const char *part)
{
    return strncmp(name, part, strlen(part)) == 0;
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
    remove_matching(files->volumes_dir, is_of_part, strrchr(files->part, '/') + 1);
}

bool claim_files_published(const struct claim_files *files)
{
    struct stat st;

    return lstat(files->volume, &st) == 0;
}

static void remove_volume(const char *volume)
{
    char *manifest IM_FREE = manifest_of(volume);

    if (manifest && unlink(manifest) < 0 && errno != ENOENT)
        complain(manifest);
    if (unlink(volume) < 0 && errno != ENOENT)
        complain(volume);
}

void claim_files_unpublish(const struct claim_files *files)
{
    remove_volume(files->volume);
}

void files_remove_volume(const struct svc_conf *conf, const char *volume_id)
{
    char *volume IM_FREE = files_volume_path(conf, volume_id);

    if (!volume) {
        svc_log(SVC_WARNING, "cannot remove volume %s: out of memory", volume_id);
        return;
    }
    remove_volume(volume);
    (void)im_sync_parent(volume);
}

void files_sweep(const struct svc_conf *conf)
{
    remove_matching(conf->volumes_dir, is_part, NULL);
    remove_matching(conf->scratch_dir, is_scratch, NULL);
}
