/* seal - secrets at rest: AES-256-GCM under the master key of one file. */

#include <config.h>

#include "auth/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "file.h"

/* Bytes of what a record is bound to: two names of under a hundred bytes and a few more. */
#define BOUND_MAX 256

/* In pages of its own, which are neither swapped nor dumped nor seen by children. */
struct svc_seal {
    uint8_t key[SVC_MASTER_KEY];
};

static void wipe_key(uint8_t (*key)[SVC_MASTER_KEY])
{
    im_wipe(*key, sizeof(*key));
}

int svc_seal_make(const char *path, struct im_error *err)
{
    uint8_t key[SVC_MASTER_KEY] IM_CLEANUP(wipe_key);

    im_random(key, sizeof(key));
    return svc_file_put(path, key, sizeof(key), 0400, err);
}

/* A group may read only when it is root's: so systemd shows a credential to a service through an
 * access list, whose mask takes the group's place in the mode. */
static int check_file(const char *path, const struct stat *st, struct im_error *err)
{
    if (!S_ISREG(st->st_mode))
        return im_fail(err, EBADMSG, "the master key '%s' is no regular file", path);
    if ((st->st_mode & 0037) || ((st->st_mode & 0040) && st->st_gid != 0))
        return im_fail(err, EPERM,
                       "the master key '%s' has mode %04o, so others than its owner can get at it; "
                       "if nobody has, chmod 0400 it, else make the keys of all accounts anew",
                       path, st->st_mode & 07777);
    if (st->st_size != SVC_MASTER_KEY)
        return im_fail(err, EBADMSG,
                       "the master key '%s' has %lld bytes and must have %d; restore a copy of it",
                       path, (long long)st->st_size, SVC_MASTER_KEY);
    return 0;
}

static struct svc_seal *allocate(void)
{
    struct svc_seal *seal =
        mmap(NULL, sizeof(*seal), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (seal == MAP_FAILED)
        return NULL;
    /* each is a help where the system allows it */
    (void)mlock(seal, sizeof(*seal));
    (void)madvise(seal, sizeof(*seal), MADV_DONTDUMP);
    (void)madvise(seal, sizeof(*seal), MADV_DONTFORK);
    return seal;
}

int svc_seal_open(const char *path, struct svc_seal **ret_seal, struct im_error *err)
{
    int fd IM_CLOSE = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct svc_seal *seal;
    struct stat st;
    ssize_t n;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot read the master key '%s'", path);
    r = check_file(path, &st, err);
    if (r < 0)
        return r;
    seal = allocate();
    if (!seal)
        return im_fail(err, ENOMEM, "out of memory");
    n = im_pread(fd, seal->key, sizeof(seal->key), 0);
    if (n != (ssize_t)sizeof(seal->key)) {
        (void)svc_seal_close(seal);
        return im_fail_errno(err, n < 0 ? (int)-n : EIO, "cannot read the master key '%s'", path);
    }
    *ret_seal = seal;
    return 0;
}

struct svc_seal *svc_seal_close(struct svc_seal *seal)
{
    if (seal) {
        im_wipe(seal, sizeof(*seal));
        (void)munmap(seal, sizeof(*seal));
    }
    return NULL;
}

/* What a record is bound to.  No name holds a NUL, so no two lists of names look the same. */
static int bind(const char *account, const char *access_key, unsigned version,
                char bound[BOUND_MAX], size_t *ret_len, struct im_error *err)
{
    int n = snprintf(bound, BOUND_MAX, "%s%c%s%c%u", account, '\0', access_key, '\0', version);

    if (n < 0 || n >= BOUND_MAX)
        return im_fail(err, EINVAL, "an account or access key of too many bytes");
    *ret_len = (size_t)n;
    return 0;
}

int svc_seal_secret(const struct svc_seal *seal, const char *account, const char *access_key,
                    const void *secret, size_t len, uint8_t *ret_record, struct im_error *err)
{
    uint8_t *nonce = ret_record + 1, *cipher = nonce + IM_GCM_NONCE, *tag = cipher + len;
    char bound[BOUND_MAX];
    size_t bound_len;
    int r = bind(account, access_key, SVC_SEAL_VERSION, bound, &bound_len, err);

    if (r < 0)
        return r;
    ret_record[0] = SVC_SEAL_VERSION;
    im_random(nonce, IM_GCM_NONCE);
    im_gcm_seal(seal->key, nonce, bound, bound_len, secret, len, cipher, tag);
    return 0;
}

int svc_seal_reveal(const struct svc_seal *seal, const char *account, const char *access_key,
                    const uint8_t *record, size_t len, void *ret_secret, struct im_error *err)
{
    const uint8_t *nonce = record + 1, *cipher = nonce + IM_GCM_NONCE;
    char bound[BOUND_MAX];
    size_t bound_len;
    int r;

    if (len < SVC_SEAL_EXTRA)
        return im_fail(err, EBADMSG, "the sealed secret of access key '%.40s' is cut short",
                       access_key);
    len -= SVC_SEAL_EXTRA;
    r = bind(account, access_key, record[0], bound, &bound_len, err);
    if (r == 0)
        r = im_gcm_open(seal->key, nonce, bound, bound_len, cipher, len, cipher + len, ret_secret);
    if (r == -EBADMSG)
        return im_fail(err, EBADMSG,
                       "the sealed secret of access key '%.40s' does not open: it was changed or "
                       "belongs elsewhere, or the master key is another",
                       access_key);
    return r;
}
