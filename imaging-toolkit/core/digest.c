/* digest - the Merkle tree of fs-verity, grown from pieces in any order.
 *
 * A hash block holds the 128 hashes of the level below.  Its first level, a group of 128 blocks
 * (512 KiB), is put together in one of a few open groups; what falls out of them has gaps that are
 * taken for zeros.  A piece that comes too late for its group, or that does not begin and end with
 * a block, marks the group instead, and it is read again at the end: that happens only to images
 * with very scattered data. */

#include <config.h>

#include "core/digest.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crypto.h"

#define BLOCK       4096u
#define HASH        IM_FSVERITY_LEN
#define FANOUT      (BLOCK / HASH)
#define GROUP_BYTES ((uint64_t)BLOCK * FANOUT)
/* Groups of one chunk: a hash block of the second level, 64 MiB of the file. */
#define CHUNK_BYTES (GROUP_BYTES * FANOUT)
/* 1 MiB; walks in the order of a file have two or three open at a time. */
#define OPEN_MAX 256u
/* A file of 2^63 bytes, the largest there can be, has 2^37 chunks; 64 TiB, the largest disk of any
 * format that is read, has 2^20. */
#define CHUNKS_MAX (1u << 20)

struct group {
    uint64_t number;
    uint64_t used; /* when last; 0: free */
    unsigned count;
    uint8_t hash[FANOUT][HASH];
};

enum { GROUP_ZERO, GROUP_KNOWN, GROUP_AGAIN };

struct chunk {
    uint8_t state[FANOUT];
    uint8_t hash[FANOUT][HASH];
};

struct im_digest {
    pthread_mutex_t lock;
    uint64_t clock;
    struct group *open; /* OPEN_MAX */
    struct chunk **chunk;
    size_t chunks;
    uint8_t zero_block[HASH];     /* hash of a block of zeros … */
    uint8_t zeros[FANOUT * HASH]; /* … as often as a group has blocks */
    uint8_t zero_group[HASH];
};

static int hash_block(const void *block, uint8_t *ret_hash)
{
    return im_sha256_blocks(block, BLOCK, 1, ret_hash);
}

struct im_digest *im_digest_new(void)
{
    static const uint8_t block[BLOCK];
    struct im_digest *digest = calloc(1, sizeof(*digest));

    if (!digest)
        return NULL;
    (void)pthread_mutex_init(&digest->lock, NULL);
    digest->open = calloc(OPEN_MAX, sizeof(*digest->open));
    if (!digest->open || hash_block(block, digest->zero_block) < 0)
        return im_digest_free(digest);
    for (unsigned i = 0; i < FANOUT; i++)
        memcpy(digest->zeros + (size_t)i * HASH, digest->zero_block, HASH);
    return hash_block(digest->zeros, digest->zero_group) < 0 ? im_digest_free(digest) : digest;
}

struct im_digest *im_digest_free(struct im_digest *digest)
{
    if (!digest)
        return NULL;
    for (size_t i = 0; i < digest->chunks; i++)
        free(digest->chunk[i]);
    free(digest->chunk);
    free(digest->open);
    (void)pthread_mutex_destroy(&digest->lock);
    free(digest);
    return NULL;
}

/* ---- chunks; the lock is held ---- */

static int need_chunk(struct im_digest *digest, uint64_t number, struct chunk **ret)
{
    if (number >= CHUNKS_MAX)
        return -EFBIG;
    if (number >= digest->chunks) {
        size_t want = (size_t)number + number / 2 + 16;
        struct chunk **grown = reallocarray(digest->chunk, want, sizeof(struct chunk *));

        if (!grown)
            return -ENOMEM;
        memset(grown + digest->chunks, 0, (want - digest->chunks) * sizeof(struct chunk *));
        digest->chunk = grown;
        digest->chunks = want;
    }
    if (!digest->chunk[number])
        digest->chunk[number] = calloc(1, sizeof(struct chunk));
    *ret = digest->chunk[number];
    return *ret ? 0 : -ENOMEM;
}

static int mark(struct im_digest *digest, uint64_t group)
{
    struct chunk *chunk;
    int r = need_chunk(digest, group / FANOUT, &chunk);

    if (r == 0)
        chunk->state[group % FANOUT] = GROUP_AGAIN;
    return r;
}

/* What is in an open group so far becomes its hash. */
static int close_group(struct im_digest *digest, struct group *group)
{
    unsigned i = (unsigned)(group->number % FANOUT);
    struct chunk *chunk;
    int r = need_chunk(digest, group->number / FANOUT, &chunk);

    group->used = 0;
    if (r < 0 || chunk->state[i] == GROUP_AGAIN)
        return r;
    chunk->state[i] = GROUP_KNOWN;
    return hash_block(group->hash, chunk->hash[i]);
}

/* The open group of that number, opened when it is not; NULL and 0 when it was closed before. */
static int need_group(struct im_digest *digest, uint64_t number, struct group **ret)
{
    struct group *oldest = &digest->open[0];
    struct chunk *chunk;
    int r;

    *ret = NULL;
    for (unsigned i = 0; i < OPEN_MAX; i++) {
        struct group *here = &digest->open[i];

        if (here->used && here->number == number)
            *ret = here;
        if (here->used < oldest->used)
            oldest = here;
    }
    if (!*ret) {
        r = need_chunk(digest, number / FANOUT, &chunk);
        if (r < 0 || chunk->state[number % FANOUT] != GROUP_ZERO)
            return r < 0 ? r : mark(digest, number);
        r = oldest->used ? close_group(digest, oldest) : 0;
        if (r < 0)
            return r;
        oldest->number = number;
        oldest->count = 0;
        memcpy(oldest->hash, digest->zeros, sizeof(oldest->hash));
        *ret = oldest;
    }
    (*ret)->used = ++digest->clock;
    return 0;
}

static int put(struct im_digest *digest, uint64_t number, unsigned first, unsigned count,
               const uint8_t *hashes)
{
    struct group *group;
    int r = need_group(digest, number, &group);

    if (r < 0 || !group)
        return r;
    memcpy(group->hash[first], hashes, (size_t)count * HASH);
    group->count += count;
    return group->count == FANOUT ? close_group(digest, group) : 0;
}

/* ---- pieces ---- */

static int explain(int r, uint64_t offset, struct im_error *err)
{
    if (r == -EFBIG)
        return im_fail(err, EFBIG, "a digest of data at byte %llu; 64 TiB is the most",
                       (unsigned long long)offset);
    return r < 0 ? im_fail(err, ENOMEM, "out of memory") : 0;
}

int im_digest_add(struct im_digest *digest, const void *buf, size_t len, uint64_t offset,
                  struct im_error *err)
{
    const uint8_t *p = buf;

    while (len > 0) {
        uint64_t group = offset / GROUP_BYTES;
        size_t step = (size_t)im_min(len, GROUP_BYTES - offset % GROUP_BYTES);
        unsigned first = (unsigned)(offset % GROUP_BYTES / BLOCK);
        unsigned count = (unsigned)(step / BLOCK);
        bool whole = offset % BLOCK == 0 && step % BLOCK == 0;
        uint8_t hashes[FANOUT * HASH];
        int r = whole ? im_sha256_blocks(p, BLOCK, count, hashes) : 0;

        (void)pthread_mutex_lock(&digest->lock);
        if (r == 0)
            r = whole ? put(digest, group, first, count, hashes) : mark(digest, group);
        (void)pthread_mutex_unlock(&digest->lock);
        if (r < 0)
            return explain(r, offset, err);
        p += step;
        offset += step;
        len -= step;
    }
    return 0;
}

/* ---- the end ---- */

/* A file under its digest. */
struct end {
    struct im_digest *digest;
    uint64_t size;
    im_digest_read_fn read;
    void *arg;
    uint8_t *data; /* a group */
};

/* The hashes of the blocks of a group, read again; those past the end are zero bytes. */
static int read_hashes(const struct end *end, uint64_t group, uint8_t *ret_hashes,
                       struct im_error *err)
{
    uint64_t offset = group * GROUP_BYTES;
    size_t len = (size_t)im_min(GROUP_BYTES, end->size - offset);
    size_t blocks = (len + BLOCK - 1) / BLOCK;
    int r = end->read(end->arg, end->data, len, offset, err);

    if (r < 0)
        return r;
    memset(end->data + len, 0, blocks * BLOCK - len);
    memset(ret_hashes, 0, BLOCK);
    return im_sha256_blocks(end->data, BLOCK, blocks, ret_hashes) < 0
               ? im_fail(err, ENOMEM, "out of memory")
               : 0;
}

/* The hash of a group; a last one that is not full was not closed right and is read again. */
static int group_hash(const struct end *end, uint64_t group, uint8_t *ret_hash,
                      struct im_error *err)
{
    const struct im_digest *digest = end->digest;
    const struct chunk *chunk =
        group / FANOUT < digest->chunks ? digest->chunk[group / FANOUT] : NULL;
    unsigned i = (unsigned)(group % FANOUT);
    bool full = end->size - group * GROUP_BYTES >= GROUP_BYTES;
    uint8_t hashes[BLOCK];
    int r;

    if (full && (!chunk || chunk->state[i] == GROUP_ZERO)) {
        memcpy(ret_hash, digest->zero_group, HASH);
        return 0;
    }
    if (full && chunk->state[i] == GROUP_KNOWN) {
        memcpy(ret_hash, chunk->hash[i], HASH);
        return 0;
    }
    r = read_hashes(end, group, hashes, err);
    return r < 0 ? r : explain(hash_block(hashes, ret_hash), 0, err);
}

/* Hash the `count` hashes at level, FANOUT at a time, into the first places of level. */
static int reduce(uint8_t *level, uint64_t count)
{
    for (uint64_t i = 0; i * FANOUT < count; i++) {
        uint8_t block[BLOCK] = { 0 };
        int r;

        memcpy(block, level + i * BLOCK, (size_t)im_min(FANOUT, count - i * FANOUT) * HASH);
        r = hash_block(block, level + i * HASH);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The hash over a whole chunk or what there is of it. */
static int chunk_hash(const struct end *end, uint64_t chunk, uint8_t *ret_hash,
                      struct im_error *err)
{
    uint64_t groups = (end->size - chunk * CHUNK_BYTES + GROUP_BYTES - 1) / GROUP_BYTES;
    uint8_t hashes[BLOCK] = { 0 };

    for (uint64_t i = 0; i < im_min(groups, FANOUT); i++) {
        int r = group_hash(end, chunk * FANOUT + i, hashes + i * HASH, err);

        if (r < 0)
            return r;
    }
    return explain(hash_block(hashes, ret_hash), 0, err);
}

static int chunk_hashes(const struct end *end, uint64_t chunks, uint8_t *level,
                        struct im_error *err)
{
    const struct im_digest *digest = end->digest;
    uint8_t zero_chunk[HASH], block[BLOCK];

    for (unsigned i = 0; i < FANOUT; i++)
        memcpy(block + (size_t)i * HASH, digest->zero_group, HASH);
    if (hash_block(block, zero_chunk) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    for (uint64_t i = 0; i < chunks; i++) {
        bool empty = (i >= digest->chunks || !digest->chunk[i]) &&
                     end->size - i * CHUNK_BYTES >= CHUNK_BYTES;
        int r = 0;

        if (empty)
            memcpy(level + i * HASH, zero_chunk, HASH);
        else
            r = chunk_hash(end, i, level + i * HASH, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The root of a file of more than one block. */
static int tree_root(const struct end *end, uint8_t *ret_root, struct im_error *err)
{
    uint64_t chunks = (end->size - 1) / CHUNK_BYTES + 1;
    uint8_t *level IM_FREE = NULL;
    int r;

    if (end->size <= GROUP_BYTES)
        return group_hash(end, 0, ret_root, err);
    if (chunks > CHUNKS_MAX)
        return explain(-EFBIG, end->size, err);
    level = calloc((size_t)im_round_up(chunks, FANOUT), HASH);
    if (!level)
        return im_fail(err, ENOMEM, "out of memory");
    r = chunk_hashes(end, chunks, level, err);
    for (; r == 0 && chunks > 1; chunks = (chunks + FANOUT - 1) / FANOUT)
        r = explain(reduce(level, chunks), 0, err);
    memcpy(ret_root, level, HASH);
    return r;
}

static int find_root(const struct end *end, uint8_t *ret_root, struct im_error *err)
{
    uint8_t hashes[BLOCK];
    int r;

    memset(ret_root, 0, HASH);
    if (end->size == 0)
        return 0; /* "an empty file has a root of zeros" */
    if (end->size > BLOCK)
        return tree_root(end, ret_root, err);
    r = read_hashes(end, 0, hashes, err); /* the tree has no level but the block itself */
    memcpy(ret_root, hashes, HASH);
    return r;
}

/* "fs-verity descriptor": what is hashed with the root. */
static void hash_descriptor(uint64_t size, const uint8_t *root, uint8_t *ret_digest)
{
    uint8_t descriptor[256] = { 1 /* version */, 1 /* SHA-256 */, 12 /* log2 of the block */ };
    uint64_t le = htole64(size);

    memcpy(descriptor + 8, &le, sizeof(le));
    memcpy(descriptor + 16, root, HASH);
    im_hash(IM_SHA256, descriptor, sizeof(descriptor), ret_digest);
}

int im_digest_end(struct im_digest *digest, uint64_t size, im_digest_read_fn read, void *arg,
                  uint8_t ret_digest[IM_FSVERITY_LEN], struct im_error *err)
{
    uint8_t *data IM_FREE = malloc(GROUP_BYTES);
    struct end end = { digest, size, read, arg, data };
    uint8_t root[HASH];
    int r = data ? 0 : -ENOMEM;

    for (unsigned i = 0; r == 0 && i < OPEN_MAX; i++)
        if (digest->open[i].used)
            r = close_group(digest, &digest->open[i]);
    r = r < 0 ? explain(r, size, err) : find_root(&end, root, err);
    if (r == 0)
        hash_descriptor(size, root, ret_digest);
    return r;
}
