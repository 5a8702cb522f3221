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
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "dispatch/tree.h"
#include "log.h"

/* Directories nftw keeps open at once; deeper trees are read again, not refused. */
#define TREE_DESCRIPTORS 16

/* The toolkit lists a few thousand extents at most. */
#define MANIFEST_MAX (1u << 20)

/* What names begin with that the toolkit gave in the volumes directory in earlier versions. */
#define TEMPORARY ".imaging-"

/* How names end: a claim's directory, and what the toolkit goes on with (its core/resume.h). */
#define JOB     ".job"
#define PARTIAL ".partial"
#define JOURNAL ".journal"

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
        .dir = im_asprintf("%s/.%s.%u.%" PRIu64 ".part" JOB, conf->volumes_dir, id, stage->number,
                           epoch),
        .volume = files_volume_path(conf, stage->volume_id),
        .scratch = im_asprintf("%s/%s.%u.%" PRIu64, conf->scratch_dir, id, stage->number, epoch),
    };

    if (files.part && files.dir)
        files.store = im_asprintf("%s%s", files.dir, strrchr(files.part, '/'));
    if (files.dir)
        files.earlier = im_asprintf("%s/.%s.%u.", files.dir, id, stage->number);
    if (!files.store || !files.earlier || !files.volume || !files.scratch) {
        claim_files_done(&files);
        return im_fail(err, ENOMEM, "out of memory");
    }
    *ret_files = files;
    return 0;
}

void claim_files_done(struct claim_files *files)
{
    free(files->part);
    free(files->dir);
    free(files->store);
    free(files->earlier);
    free(files->volume);
    free(files->scratch);
    memset(files, 0, sizeof(*files));
}

static void complain(const char *path)
{
    svc_log(SVC_WARNING, "cannot remove '%s': %s", path, strerrordesc_np(errno));
}

static void remove_tree(const char *path)
{
    errno = -tree_remove(path);
    if (errno != 0)
        complain(path);
}

/* The manifest that the toolkit writes beside a volume. */
static char *manifest_of(const char *volume)
{
    return im_asprintf("%s.manifest.json", volume);
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

        if (strncmp(entry->d_name, beginning, strlen(beginning)) != 0 ||
            strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        path = im_asprintf("%s/%s", dir, entry->d_name);
        if (path)
            r = each(arg, path);
    }
    (void)closedir(entries);
    return r;
}

static bool ends_with(const char *path, const char *ending)
{
    size_t len = strlen(path), tail = strlen(ending);

    return len > tail && strcmp(path + len - tail, ending) == 0;
}

/* Give the attempt with that journal, which nobody is at, to the claim.  What stands there may be
 * the doing of an image: nothing is read, and whoever goes on with it looks at what it is. */
static int hand_over(void *arg, const char *journal)
{
    const struct claim_files *files = arg;
    int stem = (int)(strlen(journal) - strlen(JOURNAL));
    char *partial IM_FREE = NULL, *to IM_FREE = NULL, *partial_to IM_FREE = NULL;
    int fd IM_CLOSE = -1;

    if (!ends_with(journal, JOURNAL))
        return 0;
    fd = open(journal, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return 0;
    partial = im_asprintf("%.*s" PARTIAL, stem, journal);
    to = im_asprintf("%s%s", files->dir, strrchr(journal, '/'));
    if (partial && to)
        partial_to = im_asprintf("%s%s", files->dir, strrchr(partial, '/'));
    if (partial_to && (rename(partial, partial_to) < 0 || rename(journal, to) < 0) &&
        errno != ENOENT)
        svc_log(SVC_WARNING, "cannot rename '%s': %s", journal, strerrordesc_np(errno));
    return 0;
}

/* Of the claim that a name in the volumes directory, ".TASK.DISK.EPOCH.part…", is of. */
static uint64_t epoch_of(const struct claim_files *files, const char *path)
{
    return strtoull(strrchr(path, '/') + strlen(strrchr(files->earlier, '/')), NULL, 10);
}

/* From the directories of earlier claims; earlier versions had none.  Who has lost its claim and
 * sees that late takes nothing from who came after it. */
static int hand_over_from(void *arg, const char *path)
{
    const struct claim_files *files = arg;

    if (epoch_of(files, path) >= epoch_of(files, files->dir))
        return 0;
    if (!ends_with(path, JOB))
        return hand_over(arg, path);
    (void)each_beginning(path, strrchr(files->earlier, '/') + 1, hand_over, arg);
    (void)rmdir(path); /* when that was all */
    return 0;
}

static int make_directory(const char *path, const char *what, struct im_error *err)
{
    remove_tree(path);
    if (mkdir(path, 0700) < 0)
        return im_fail_errno(err, errno, "cannot make the %s directory '%s'", what, path);
    return 0;
}

int claim_files_create(const struct claim_files *files, struct im_error *err)
{
    int r = make_directory(files->scratch, "scratch", err);

    if (r == 0)
        r = make_directory(files->dir, "job's", err);
    if (r == 0)
        (void)each_beginning(files->volumes_dir, strrchr(files->earlier, '/') + 1, hand_over_from,
                             (void *)files);
    return r;
}

/* "sha256:" and 64 digits, as the toolkit writes it (its core/result.c). */
static bool is_digest(const char *text)
{
    size_t algorithm = strlen("sha256:");

    return strncmp(text, "sha256:", algorithm) == 0 && strlen(text) == algorithm + 64 &&
           strspn(text + algorithm, "0123456789abcdef") == 64;
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
        digest = is_digest(digest) ? strdup(digest) : NULL;
    else
        digest = NULL;
    json_decref(manifest);
    return digest;
}

/* A file of the toolkit's and its manifest get other names; the manifest first, so that whoever
 * finds the file finds it.  Durable. */
static int move(const char *from, const char *to, struct im_error *err)
{
    char *manifest IM_FREE = manifest_of(from);
    char *manifest_to IM_FREE = manifest_of(to);
    int r;

    if (!manifest || !manifest_to)
        return im_fail(err, ENOMEM, "out of memory");
    if (rename(manifest, manifest_to) < 0 && errno != ENOENT)
        return im_fail_errno(err, errno, "cannot rename '%s' to '%s'", manifest, manifest_to);
    if (rename(from, to) < 0 && (errno != ENOENT || access(to, F_OK) < 0))
        return im_fail_errno(err, errno, "cannot rename '%s' to '%s'", from, to);
    r = im_sync_parent(to);
    if (r < 0)
        return im_fail_errno(err, -r, "cannot make the name '%s' durable", to);
    return 0;
}

/* What the toolkit left under a name is a file, has no other name, and is the service's alone from
 * now on.  0, also when nothing is there; -EBADMSG when it is no such file, else -errno. */
static int own(const char *path, struct im_error *err)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 && errno != ELOOP && errno != ENXIO) /* a link, a socket */
        return im_fail_errno(err, errno, "cannot open '%s'", path);
    if (fd >= 0 && fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at '%s'", path);
    if (fd < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
        return im_fail(err, EBADMSG, "the toolkit left '%s', which is no file of its own", path);
    if (fchmod(fd, 0600) < 0)
        return im_fail_errno(err, errno, "cannot set the mode of '%s'", path);
    return 0;
}

int claim_files_take(const struct claim_files *files, struct im_error *err)
{
    char *manifest IM_FREE = manifest_of(files->store);
    int r = manifest ? own(manifest, err) : im_fail_memory(err);

    if (r == 0)
        r = own(files->store, err);
    return r < 0 ? r : move(files->store, files->part, err);
}

int claim_files_publish(const struct claim_files *files, struct im_error *err)
{
    return move(files->part, files->volume, err);
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
    (void)arg;
    if (!ends_with(path, PARTIAL) && !ends_with(path, JOURNAL) && !ends_with(path, JOB))
        remove_tree(path);
    return 0;
}

void claim_files_leave_part(const struct claim_files *files)
{
    if (access(files->dir, F_OK) == 0)
        (void)each_beginning(files->dir, "", remove_unless_kept, NULL);
    (void)rmdir(files->dir); /* when nothing was kept */
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

/* They have six characters behind the dash; whatever else begins so is not ours. */
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
