/* store - buckets and objects on disk; knows no HTTP.
 *
 * DIR/<bucket>/<SHA-256 of the key, in hex>: the object's bytes from offset 0, then a trailer of
 * fixed size with its length, MD5 and key.  So one rename makes bytes and ETag visible together,
 * and the bytes can be sent from the file as they are.  DIR/.owners/<SHA-256 of the bucket's name>:
 * the number of the account that made it.
 *
 * Failures carry S3's code where it has one: NoSuchBucket, NoSuchKey, BucketAlreadyExists. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/io.h"

/* Bytes of a key, as S3 has it. */
#define SVC_KEY_MAX 1024

/* Bytes of a bucket name: what stock euca2ools accept, and a file name. */
#define SVC_BUCKET_MAX 255

/* Bytes of an account's number with its NUL. */
#define SVC_OWNER_SIZE 13

struct svc_store;

/* Open the store in an existing directory and remove what uploads of a dead process left.  Nobody
 * else has it open.  Buckets made before they had owners are `first`'s. */
int svc_store_open(const char *dir, const char *first, struct svc_store **ret_store,
                   struct im_error *err);
/* Takes NULL, returns NULL. */
struct svc_store *svc_store_close(struct svc_store *store);

/* True when name may be a bucket's: letters, digits, '.', '-', '_', beginning with a letter or
 * digit. */
bool svc_bucket_name_ok(const char *name);

/* Create; 0 also when it is there and the owner's already, -EEXIST when it is another's. */
int svc_bucket_create(struct svc_store *store, const char *bucket, const char *owner,
                      struct im_error *err);

/* Whose it is; -ENOENT. */
int svc_bucket_owner(struct svc_store *store, const char *bucket, char ret_owner[SVC_OWNER_SIZE],
                     struct im_error *err);

/* 0, or -ENOENT. */
int svc_bucket_check(struct svc_store *store, const char *bucket, struct im_error *err);

/* Call each for the buckets of an owner (NULL: all), in no order, with its time of creation; a
 * negative return stops. */
int svc_bucket_list(struct svc_store *store, const char *owner,
                    int (*each)(void *arg, const char *name, int64_t created_s), void *arg,
                    struct im_error *err);

struct svc_object {
    int fd; /* bytes 0 … size - 1 are the object's */
    uint64_t size;
    int64_t modified_s; /* seconds since 1970 */
    uint8_t md5[16];
    char file[SVC_BUCKET_MAX + 66]; /* its name below the store's directory */
    struct im_file_id id;           /* … and which file that is: objects are only ever replaced */
};

/* Open for reading; the caller closes fd.  -ENOENT; -EBADMSG when the file is damaged. */
int svc_object_open(struct svc_store *store, const char *bucket, const char *key,
                    struct svc_object *ret_object, struct im_error *err);

/* Remove; 0 also when there is no such object. */
int svc_object_remove(struct svc_store *store, const char *bucket, const char *key,
                      struct im_error *err);

/* An object on its way in: invisible until it is committed. */
struct svc_upload;

/* Start one of `size` bytes; -ENOSPC when the disk cannot hold them. */
int svc_upload_new(struct svc_store *store, const char *bucket, const char *key, uint64_t size,
                   struct svc_upload **ret_upload, struct im_error *err);

/* Append. */
int svc_upload_write(struct svc_upload *upload, const void *data, size_t len, struct im_error *err);

/* Make it visible and durable, replacing an object of that key. */
int svc_upload_commit(struct svc_upload *upload, const uint8_t md5[16], struct im_error *err);

/* Release; what was not committed is removed.  Takes NULL, returns NULL. */
struct svc_upload *svc_upload_free(struct svc_upload *upload);

/* One row of a listing. */
struct svc_entry {
    char *key;
    uint64_t size;
    int64_t modified_s;
    uint8_t md5[16];
};

struct svc_listing {
    struct svc_entry *entry; /* by the bytes of their keys */
    size_t count;
    bool more; /* there are keys behind the last */
};

/* The first `max` (at most 1000) keys that begin with prefix and come after `after` ("": from the
 * start).  Reads every trailer of the bucket, but never keeps more than max + 1 keys. */
int svc_object_list(struct svc_store *store, const char *bucket, const char *prefix,
                    const char *after, size_t max, struct svc_listing *ret_listing,
                    struct im_error *err);
void svc_listing_done(struct svc_listing *listing);
#define SVC_LISTING_DONE __attribute__((cleanup(svc_listing_done)))
