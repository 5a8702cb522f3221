/* md5 - several MD5s side by side: the steps of RFC 1321, each done for all lanes in turn, so that
 * the processor has something to do while a lane waits for its last result. */

#include <config.h>

#include "base/md5.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

#define BLOCK 64

#define START_A 0x67452301
#define START_B 0xefcdab89
#define START_C 0x98badcfe
#define START_D 0x10325476

/* The four words of section 3.3, of each lane. */
struct state {
    uint32_t a[IM_MD5_LANES], b[IM_MD5_LANES], c[IM_MD5_LANES], d[IM_MD5_LANES];
};

/* Where a lane stands: in its whole blocks, then in its padding. */
struct lane {
    const uint8_t *next; /* NULL: at its end */
    size_t blocks;       /* left from there on */
    size_t tail_blocks;  /* of padding to come */
    uint8_t tail[2 * BLOCK];
};

/* floor(2^32 × |sin(i + 1)|), section 3.4. */
static const uint32_t sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

/* F, G, H and I of section 3.4. */
static inline __attribute__((always_inline)) uint32_t mix(int round, uint32_t b, uint32_t c,
                                                          uint32_t d)
{
    switch (round) {
    case 0:
        return d ^ (b & (c ^ d));
    case 1:
        return (b & d) + (c & ~d);
    case 2:
        return b ^ c ^ d;
    default:
        return c ^ (b | ~d);
    }
}

/* The sixteen steps of a round; unrolled, so that all numbers are known and all words in registers.
 */
#define ROUND(round, first, stride, r0, r1, r2, r3)                                                \
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)                                          \
    {                                                                                              \
        const int by = (const int[]){ r0, r1, r2, r3 }[i & 3];                                     \
                                                                                                   \
        _Pragma("GCC unroll 4") for (int l = 0; l < lanes; l++)                                    \
        {                                                                                          \
            uint32_t sum = a[l] + sines[16 * (round) + i] +                                        \
                           im_le32(data[l] + at + 4 * (((first) + (stride)*i) & 15));              \
                                                                                                   \
            sum += mix(round, b[l], c[l], d[l]);                                                   \
            a[l] = d[l];                                                                           \
            d[l] = c[l];                                                                           \
            c[l] = b[l];                                                                           \
            b[l] += sum << by | sum >> (32 - by);                                                  \
        }                                                                                          \
    }

/* Vectors would make one chain of it again. */
#if defined(__GNUC__) && !defined(__clang__)
#define NO_VECTORS __attribute__((optimize("no-tree-slp-vectorize")))
#else
#define NO_VECTORS
#endif

NO_VECTORS static inline __attribute__((always_inline)) void
digest_lanes(struct state *state, const uint8_t *const data[IM_MD5_LANES], size_t blocks, int lanes)
{
    uint32_t a[IM_MD5_LANES], b[IM_MD5_LANES], c[IM_MD5_LANES], d[IM_MD5_LANES];

    for (size_t at = 0; at < blocks * BLOCK; at += BLOCK) {
        memcpy(a, state->a, sizeof(a));
        memcpy(b, state->b, sizeof(b));
        memcpy(c, state->c, sizeof(c));
        memcpy(d, state->d, sizeof(d));
        ROUND(0, 0, 1, 7, 12, 17, 22)
        ROUND(1, 1, 5, 5, 9, 14, 20)
        ROUND(2, 5, 3, 4, 11, 16, 23)
        ROUND(3, 0, 7, 6, 10, 15, 21)
        for (int l = 0; l < lanes; l++) {
            state->a[l] += a[l];
            state->b[l] += b[l];
            state->c[l] += c[l];
            state->d[l] += d[l];
        }
    }
}

NO_VECTORS static void digest_blocks(struct state *state, const uint8_t *const data[IM_MD5_LANES],
                                     size_t blocks)
{
    digest_lanes(state, data, blocks, IM_MD5_LANES);
}

NO_VECTORS static void digest_one(struct state *state, const uint8_t *data, size_t blocks)
{
    const uint8_t *const first[IM_MD5_LANES] = { data };

    digest_lanes(state, first, blocks, 1);
}

/* Sections 3.1 and 3.2: a one, zeros, and the length in bits; `before`: bytes that have been. */
static void start_lane(struct lane *lane, const struct im_md5 *md5, uint64_t before)
{
    uint64_t bits = htole64((before + md5->len) * 8);
    size_t rest = md5->len % BLOCK;

    lane->next = md5->data;
    lane->blocks = md5->len / BLOCK;
    lane->tail_blocks = rest + 1 + sizeof(bits) <= BLOCK ? 1 : 2;
    memset(lane->tail, 0, sizeof(lane->tail));
    if (rest > 0)
        memcpy(lane->tail, lane->next + md5->len - rest, rest);
    lane->tail[rest] = 0x80;
    memcpy(lane->tail + lane->tail_blocks * BLOCK - sizeof(bits), &bits, sizeof(bits));
}

/* Where its blocks end, let a lane go on with its padding, and then give its digest. */
static void turn_lane(struct lane *lane, const struct state *state, size_t l, uint8_t digest[16])
{
    const uint32_t words[4] = { htole32(state->a[l]), htole32(state->b[l]), htole32(state->c[l]),
                                htole32(state->d[l]) };

    if (!lane->next || lane->blocks > 0)
        return;
    if (lane->tail_blocks > 0) {
        lane->next = lane->tail;
        lane->blocks = lane->tail_blocks;
        lane->tail_blocks = 0;
    } else {
        memcpy(digest, words, sizeof(words));
        lane->next = NULL;
    }
}

/* As many blocks as every lane has left; those at their end go along with another's bytes.  False
 * when all are at their end. */
static bool step(struct state *state, struct lane lanes[IM_MD5_LANES])
{
    const uint8_t *data[IM_MD5_LANES], *any = NULL;
    size_t blocks = SIZE_MAX;

    for (size_t l = 0; l < IM_MD5_LANES; l++)
        if (lanes[l].next) {
            any = lanes[l].next;
            blocks = lanes[l].blocks < blocks ? lanes[l].blocks : blocks;
        }
    if (!any)
        return false;
    for (size_t l = 0; l < IM_MD5_LANES; l++)
        data[l] = lanes[l].next ? lanes[l].next : any;
    digest_blocks(state, data, blocks);
    for (size_t l = 0; l < IM_MD5_LANES; l++)
        if (lanes[l].next) {
            lanes[l].next += blocks * BLOCK;
            lanes[l].blocks -= blocks;
        }
    return true;
}

void im_md5_many(struct im_md5 *md5, size_t count)
{
    struct lane lanes[IM_MD5_LANES] = { 0 };
    struct state state;

    for (size_t l = 0; l < IM_MD5_LANES; l++) {
        state.a[l] = START_A;
        state.b[l] = START_B;
        state.c[l] = START_C;
        state.d[l] = START_D;
    }
    for (size_t l = 0; l < count; l++)
        start_lane(&lanes[l], &md5[l], 0);
    do {
        for (size_t l = 0; l < count; l++)
            turn_lane(&lanes[l], &state, l, md5[l].digest);
    } while (step(&state, lanes));
}

/* ---- one that can be kept ---- */

static struct state state_of(const struct im_md5_run *run)
{
    return (struct state){
        .a = { run->word[0] }, .b = { run->word[1] }, .c = { run->word[2] }, .d = { run->word[3] }
    };
}

struct im_md5_run im_md5_run_new(void)
{
    return (struct im_md5_run){ .word = { START_A, START_B, START_C, START_D } };
}

void im_md5_run_add(struct im_md5_run *run, const void *data, size_t len)
{
    struct state state = state_of(run);

    digest_one(&state, data, len / BLOCK);
    *run = (struct im_md5_run){ .len = run->len + len,
                                .word = { state.a[0], state.b[0], state.c[0], state.d[0] } };
}

void im_md5_run_end(const struct im_md5_run *run, const void *data, size_t len,
                    uint8_t ret_digest[16])
{
    const struct im_md5 last = { .data = data, .len = len };
    struct state state = state_of(run);
    struct lane lane;

    start_lane(&lane, &last, run->len);
    digest_one(&state, lane.next, lane.blocks);
    digest_one(&state, lane.tail, lane.tail_blocks);
    lane.next = lane.tail;
    lane.blocks = lane.tail_blocks = 0;
    turn_lane(&lane, &state, 0, ret_digest);
}
