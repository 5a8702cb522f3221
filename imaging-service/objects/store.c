/* store - buckets and objects on disk.
 *
 * Trailer, behind the object's last byte, integers little-endian:
 *     0  magic "EIobj\0\0\1"
 *     8  length of the object
 *    16  MD5 of the object
 *    32  length of the key
 *    40  the key, zeros up to 1024 bytes
 * Names of uploads in progress begin with a dot; no hash and no bucket does. */

#include <config.h>

#include "objects/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "file.h"
#include "log.h"

#define TRAILER_SIZE (40 + SVC_KEY_MAX)
#define NAME_SIZE    65 /* SHA-256 in hex */

static const char magic[8] = "EIobj\0\0\1";

/* Directory of the owners of buckets; no bucket begins with a dot. */
#define OWNERS ".owners"

struct svc_store {
    int fd; /* of its directory */
    char *dir;
    char first[SVC_OWNER_SIZE]; /* owns what has no owner */
    pthread_mutex_t lock;       /* held while a bucket is made */
    atomic_uint uploads;        /* started so far: makes names */
};

struct svc_upload {
    int fd, bucket_fd;
    uint64_t size; /* bytes so far */
    char *key;
    char temporary[32]; /* name in the bucket; "" once committed */
};

static void closedir_done(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

static int out_of_memory(struct im_error *err)
{
    return im_fail(err, ENOMEM, "out of memory");
}

/* A directory stream of its own for what fd names. */
static DIR *open_stream(int fd)
{
    int again IM_CLOSE = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again < 0 ? NULL : fdopendir(again);

    if (dir)
        (void)im_steal_fd(&again);
    return dir;
}

static int open_bucket(struct svc_store *store, const char *bucket, struct im_error *err)
{
    int fd = openat(store->fd, bucket, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0)
        return fd;
    if (errno == ENOENT)
        return im_fail_code(err, ENOENT, "NoSuchBucket", "The specified bucket does not exist");
    return im_fail_errno(err, errno, "cannot open bucket '%s'", bucket);
}

static void hash_name(const char *key, char name[NAME_SIZE])
{
    uint8_t digest[IM_HASH_MAX];

    im_hash(IM_SHA256, key, strlen(key), digest);
    im_hex(digest, im_hash_size(IM_SHA256), name);
}

/* Remove the uploads that never ended. */
static void sweep(int bucket_fd)
{
    DIR *dir IM_CLEANUP(closedir_done) = open_stream(bucket_fd);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (strncmp(entry->d_name, ".upload-", 8) == 0)
            (void)unlinkat(bucket_fd, entry->d_name, 0);
}

static int sweep_bucket(void *arg, const char *name, int64_t created_s)
{
    struct svc_store *store = arg;
    int fd IM_CLOSE = open_bucket(store, name, NULL);

    (void)created_s;
    if (fd >= 0)
        sweep(fd);
    return 0;
}

static int open_dir(struct svc_store *store, struct im_error *err)
{
    store->fd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->fd < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", store->dir);
    if ((mkdirat(store->fd, OWNERS, 0700) < 0 && errno != EEXIST) || fsync(store->fd) < 0)
        return im_fail_errno(err, errno, "cannot create '%s/" OWNERS "'", store->dir);
    return 0;
}

int svc_store_open(const char *dir, const char *first, struct svc_store **ret_store,
                   struct im_error *err)
{
    struct svc_store *store = calloc(1, sizeof(*store));
    int r;

    if (!store)
        return out_of_memory(err);
    store->fd = -1;
    (void)pthread_mutex_init(&store->lock, NULL);
    (void)snprintf(store->first, sizeof(store->first), "%s", first);
    store->dir = strdup(dir);
    r = store->dir ? open_dir(store, err) : out_of_memory(err);
    if (r == 0)
        r = svc_bucket_list(store, NULL, sweep_bucket, store, err);
    if (r < 0) {
        (void)svc_store_close(store);
        return r;
    }
    *ret_store = store;
    return 0;
}

struct svc_store *svc_store_close(struct svc_store *store)
{
    if (!store)
        return NULL;
    if (store->fd >= 0)
        (void)close(store->fd);
    (void)pthread_mutex_destroy(&store->lock);
    free(store->dir);
    free(store);
    return NULL;
}

bool svc_bucket_name_ok(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  ".-_";
    size_t len = strlen(name);

    return len >= 1 && len <= SVC_BUCKET_MAX && strspn(name, letters) == len && name[0] != '.' &&
           name[0] != '-' && name[0] != '_';
}

static char *owner_path(const struct svc_store *store, const char *bucket)
{
    char name[NAME_SIZE];

    hash_name(bucket, name);
    return im_asprintf("%s/" OWNERS "/%s", store->dir, name);
}

/* Whose a bucket is, or would be if it were there. */
static int read_owner(const struct svc_store *store, const char *bucket,
                      char ret_owner[SVC_OWNER_SIZE], struct im_error *err)
{
    char *path IM_FREE = owner_path(store, bucket);
    int fd IM_CLOSE = path ? open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC) : -1;
    char text[SVC_OWNER_SIZE] = "";
    ssize_t n;

    if (!path)
        return out_of_memory(err);
    if (fd < 0 && errno == ENOENT) {
        memcpy(ret_owner, store->first, SVC_OWNER_SIZE);
        return 0;
    }
    n = fd < 0 ? -errno : im_pread(fd, text, sizeof(text), 0);
    if (n < 0)
        return im_fail_errno(err, (int)-n, "cannot read the owner of bucket '%s'", bucket);
    if (n != SVC_OWNER_SIZE - 1 || strspn(text, "0123456789") != (size_t)n)
        return im_fail(err, EBADMSG, "the file '%s' with the owner of bucket '%s' is damaged", path,
                       bucket);
    memcpy(ret_owner, text, SVC_OWNER_SIZE);
    return 0;
}

/* The owner first: a bucket never stands there without, and what a crash leaves is written over. */
static int make_bucket(struct svc_store *store, const char *bucket, const char *owner,
                       struct im_error *err)
{
    char *path IM_FREE = owner_path(store, bucket);
    int r = path ? svc_file_write(path, owner, err) : out_of_memory(err);

    if (r == 0 && (mkdirat(store->fd, bucket, 0700) < 0 || fsync(store->fd) < 0))
        return im_fail_errno(err, errno, "cannot create bucket '%s'", bucket);
    return r;
}

int svc_bucket_create(struct svc_store *store, const char *bucket, const char *owner,
                      struct im_error *err)
{
    char found[SVC_OWNER_SIZE];
    int r;

    (void)pthread_mutex_lock(&store->lock);
    r = svc_bucket_owner(store, bucket, found, err);
    if (r == -ENOENT)
        r = make_bucket(store, bucket, owner, err);
    else if (r == 0 && strcmp(found, owner) != 0)
        r = im_fail_code(err, EEXIST, "BucketAlreadyExists",
                         "The requested bucket name is not available. Please select a different "
                         "name and try again.");
    (void)pthread_mutex_unlock(&store->lock);
    return r;
}

int svc_bucket_owner(struct svc_store *store, const char *bucket, char ret_owner[SVC_OWNER_SIZE],
                     struct im_error *err)
{
    int r = svc_bucket_check(store, bucket, err);

    return r < 0 ? r : read_owner(store, bucket, ret_owner, err);
}

int svc_bucket_check(struct svc_store *store, const char *bucket, struct im_error *err)
{
    int fd IM_CLOSE = open_bucket(store, bucket, err);

    return fd < 0 ? fd : 0;
}

/* Those whose owner cannot be read are nobody's. */
static bool owns(const struct svc_store *store, const char *owner, const char *bucket)
{
    char found[SVC_OWNER_SIZE];

    return !owner || (read_owner(store, bucket, found, NULL) == 0 && strcmp(found, owner) == 0);
}

int svc_bucket_list(struct svc_store *store, const char *owner,
                    int (*each)(void *arg, const char *name, int64_t created_s), void *arg,
                    struct im_error *err)
{
    DIR *dir IM_CLEANUP(closedir_done) = open_stream(store->fd);
    struct dirent *entry;
    struct stat st;
    int r = 0;

    if (!dir)
        return im_fail_errno(err, errno, "cannot list the buckets");
    while (r >= 0 && (entry = readdir(dir)))
        if (svc_bucket_name_ok(entry->d_name) &&
            fstatat(store->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode) && owns(store, owner, entry->d_name))
            r = each(arg, entry->d_name, st.st_ctim.tv_sec);
    return r < 0 ? r : 0;
}

/* Read and prove the trailer; 0, or -EBADMSG when this is no object as we write them. */
static int read_trailer(int fd, struct svc_object *object, char key[SVC_KEY_MAX + 1])
{
    uint8_t trailer[TRAILER_SIZE];
    struct stat st;
    uint64_t size, key_len;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < TRAILER_SIZE)
        return -EBADMSG;
    size = (uint64_t)st.st_size - TRAILER_SIZE;
    if (im_pread(fd, trailer, sizeof(trailer), size) != sizeof(trailer))
        return -EBADMSG;
    key_len = im_le64(trailer + 32);
    if (memcmp(trailer, magic, sizeof(magic)) != 0 || im_le64(trailer + 8) != size ||
        key_len > SVC_KEY_MAX)
        return -EBADMSG;
    memcpy(object->md5, trailer + 16, sizeof(object->md5));
    memcpy(key, trailer + 40, (size_t)key_len);
    key[key_len] = '\0';
    object->fd = fd;
    object->size = size;
    object->modified_s = st.st_mtim.tv_sec;
    object->id = im_file_id(&st);
    return 0;
}

int svc_object_open(struct svc_store *store, const char *bucket, const char *key,
                    struct svc_object *ret_object, struct im_error *err)
{
    int bucket_fd IM_CLOSE = open_bucket(store, bucket, err);
    int fd IM_CLOSE = -1;
    char name[NAME_SIZE], found[SVC_KEY_MAX + 1];
    int r;

    if (bucket_fd < 0)
        return bucket_fd;
    hash_name(key, name);
    fd = openat(bucket_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return im_fail_code(err, ENOENT, "NoSuchKey", "The specified key does not exist.");
    if (fd < 0)
        return im_fail_errno(err, errno, "cannot open object '%s/%s'", bucket, name);
    r = read_trailer(fd, ret_object, found);
    if (r == 0 && strcmp(found, key) != 0)
        r = -EBADMSG;
    if (r < 0)
        return im_fail_errno(err, -r, "the file '%s/%s' of the object store is damaged", bucket,
                             name);
    (void)snprintf(ret_object->file, sizeof(ret_object->file), "%s/%s", bucket, name);
    (void)im_steal_fd(&fd);
    return 0;
}

int svc_object_remove(struct svc_store *store, const char *bucket, const char *key,
                      struct im_error *err)
{
    int bucket_fd IM_CLOSE = open_bucket(store, bucket, err);
    char name[NAME_SIZE];

    if (bucket_fd < 0)
        return bucket_fd;
    hash_name(key, name);
    if (unlinkat(bucket_fd, name, 0) < 0)
        return errno == ENOENT ? 0 : im_fail_errno(err, errno, "cannot remove '%s'", name);
    return fsync(bucket_fd) < 0 ? im_fail_errno(err, errno, "cannot remove '%s'", name) : 0;
}

/* Say no before the body is sent when it cannot fit. */
static int check_space(int fd, uint64_t size, struct im_error *err)
{
    struct statvfs vfs;
    uint64_t room;

    if (fstatvfs(fd, &vfs) < 0 || __builtin_mul_overflow(vfs.f_bavail, vfs.f_frsize, &room))
        return 0;
    if (size > room)
        return im_fail(err, ENOSPC, "an object of %" PRIu64 " bytes, but %" PRIu64 " are free",
                       size, room);
    return 0;
}

int svc_upload_new(struct svc_store *store, const char *bucket, const char *key, uint64_t size,
                   struct svc_upload **ret_upload, struct im_error *err)
{
    struct svc_upload *upload = calloc(1, sizeof(*upload));
    int r;

    if (!upload)
        return out_of_memory(err);
    upload->fd = -1;
    upload->bucket_fd = open_bucket(store, bucket, err);
    r = upload->bucket_fd < 0 ? upload->bucket_fd : check_space(upload->bucket_fd, size, err);
    if (r < 0)
        goto fail;
    upload->key = strdup(key);
    if (!upload->key) {
        r = out_of_memory(err);
        goto fail;
    }
    (void)snprintf(upload->temporary, sizeof(upload->temporary), ".upload-%u",
                   atomic_fetch_add(&store->uploads, 1));
    upload->fd = openat(upload->bucket_fd, upload->temporary,
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (upload->fd < 0) {
        r = im_fail_errno(err, errno, "cannot create '%s' in bucket '%s'", upload->temporary,
                          bucket);
        upload->temporary[0] = '\0';
        goto fail;
    }
    *ret_upload = upload;
    return 0;
fail:
    (void)svc_upload_free(upload);
    return r;
}

int svc_upload_write(struct svc_upload *upload, const void *data, size_t len, struct im_error *err)
{
    int r = im_write(upload->fd, data, len);

    if (r < 0)
        return im_fail_errno(err, -r, "cannot write an object");
    upload->size += len;
    return 0;
}

int svc_upload_commit(struct svc_upload *upload, const uint8_t md5[16], struct im_error *err)
{
    uint8_t trailer[TRAILER_SIZE] = { 0 };
    size_t key_len = strlen(upload->key);
    uint64_t number;
    char name[NAME_SIZE];
    int r;

    memcpy(trailer, magic, sizeof(magic));
    number = htole64(upload->size);
    memcpy(trailer + 8, &number, sizeof(number));
    memcpy(trailer + 16, md5, 16);
    number = htole64(key_len);
    memcpy(trailer + 32, &number, sizeof(number));
    memcpy(trailer + 40, upload->key, key_len);
    hash_name(upload->key, name);
    r = im_write(upload->fd, trailer, sizeof(trailer));
    if (r == 0 && fsync(upload->fd) < 0)
        r = -errno;
    if (r == 0 && renameat(upload->bucket_fd, upload->temporary, upload->bucket_fd, name) < 0)
        r = -errno;
    if (r == 0) {
        upload->temporary[0] = '\0';
        r = fsync(upload->bucket_fd) < 0 ? -errno : 0;
    }
    return r < 0 ? im_fail_errno(err, -r, "cannot store an object") : 0;
}

struct svc_upload *svc_upload_free(struct svc_upload *upload)
{
    if (!upload)
        return NULL;
    if (upload->temporary[0])
        (void)unlinkat(upload->bucket_fd, upload->temporary, 0);
    if (upload->fd >= 0)
        (void)close(upload->fd);
    if (upload->bucket_fd >= 0)
        (void)close(upload->bucket_fd);
    free(upload->key);
    free(upload);
    return NULL;
}

/* Put the entry in its place if it is among the first `max` + 1; takes its key over. */
static void insert(struct svc_listing *listing, size_t max, struct svc_entry *entry)
{
    size_t low = 0, high = listing->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (strcmp(listing->entry[middle].key, entry->key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > max) {
        free(entry->key);
        return;
    }
    if (listing->count > max)
        free(listing->entry[--listing->count].key);
    memmove(&listing->entry[low + 1], &listing->entry[low],
            (listing->count - low) * sizeof(*listing->entry));
    listing->entry[low] = *entry;
    listing->count++;
}

/* Look at one file of the bucket. */
static int list_file(int bucket_fd, const char *name, const char *prefix, const char *after,
                     size_t max, struct svc_listing *listing)
{
    int fd IM_CLOSE = openat(bucket_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    char key[SVC_KEY_MAX + 1];
    struct svc_object object = { 0 };
    struct svc_entry entry = { 0 };

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (read_trailer(fd, &object, key) < 0) {
        svc_log(SVC_WARNING, "the file '%s' of the object store is damaged; it is not listed",
                name);
        return 0;
    }
    if (strncmp(key, prefix, strlen(prefix)) != 0 || strcmp(key, after) <= 0)
        return 0;
    entry.key = strdup(key);
    if (!entry.key)
        return -ENOMEM;
    entry.size = object.size;
    entry.modified_s = object.modified_s;
    memcpy(entry.md5, object.md5, sizeof(entry.md5));
    insert(listing, max, &entry);
    return 0;
}

int svc_object_list(struct svc_store *store, const char *bucket, const char *prefix,
                    const char *after, size_t max, struct svc_listing *ret_listing,
                    struct im_error *err)
{
    int bucket_fd IM_CLOSE = open_bucket(store, bucket, err);
    DIR *dir IM_CLEANUP(closedir_done) = bucket_fd < 0 ? NULL : open_stream(bucket_fd);
    struct svc_listing listing SVC_LISTING_DONE = { 0 };
    struct dirent *file;
    int r = 0;

    if (bucket_fd < 0)
        return bucket_fd;
    listing.entry = calloc(max + 2, sizeof(*listing.entry));
    if (!dir || !listing.entry)
        return im_fail_errno(err, dir ? ENOMEM : errno, "cannot list bucket '%s'", bucket);
    while (r == 0 && (file = readdir(dir)))
        if (file->d_name[0] != '.')
            r = list_file(bucket_fd, file->d_name, prefix, after, max, &listing);
    if (r < 0)
        return im_fail_errno(err, -r, "cannot list bucket '%s'", bucket);
    listing.more = listing.count > max;
    if (listing.more)
        free(listing.entry[--listing.count].key);
    *ret_listing = listing;
    listing = (struct svc_listing){ 0 };
    return 0;
}

void svc_listing_done(struct svc_listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        free(listing->entry[i].key);
    free(listing->entry);
    *listing = (struct svc_listing){ 0 };
}
