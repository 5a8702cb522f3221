/* sha256 - SHA-256 of several blocks side by side, by the processor's own instructions. */

#include <config.h>

#include "base/sha256.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <endian.h>
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define BLOCK 64
#define HASH  32

#define INSTRUCTIONS __attribute__((target("sha,sse4.1")))
#define EACH_LANE    _Pragma("GCC unroll 4") for (int l = 0; l < IM_SHA256_LANES; l++)

/* Section 4.2.2. */
static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The words a to h of each lane, as the instructions want them. */
struct state {
    __m128i abef[IM_SHA256_LANES], cdgh[IM_SHA256_LANES];
};

/* Section 5.3.3. */
INSTRUCTIONS static void start(struct state *state)
{
    EACH_LANE
    {
        state->abef[l] =
            _mm_setr_epi32((int)0x9b05688c, (int)0x510e527f, (int)0xbb67ae85, (int)0x6a09e667);
        state->cdgh[l] =
            _mm_setr_epi32((int)0x5be0cd19, (int)0x1f83d9ab, (int)0xa54ff53a, (int)0x3c6ef372);
    }
}

/* Section 6.2.2 of one block of each lane: sixteen times the next four words of the schedule, and
 * four rounds with them. */
INSTRUCTIONS static void add_block(struct state *state, const uint8_t *const data[IM_SHA256_LANES])
{
    const __m128i big_endian = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    struct state now = *state;
    __m128i words[IM_SHA256_LANES][4];

    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++)
    {
        EACH_LANE
        {
            __m128i *w = words[l], next;

            if (i < 4) {
                next = _mm_loadu_si128((const __m128i *)(const void *)(data[l] + 16 * i));
                next = _mm_shuffle_epi8(next, big_endian);
            } else {
                next = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
                next = _mm_add_epi32(next, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
                next = _mm_sha256msg2_epu32(next, w[(i + 3) & 3]);
            }
            w[i & 3] = next;
            next = _mm_add_epi32(next,
                                 _mm_load_si128((const __m128i *)(const void *)&constants[4 * i]));
            now.cdgh[l] = _mm_sha256rnds2_epu32(now.cdgh[l], now.abef[l], next);
            now.abef[l] =
                _mm_sha256rnds2_epu32(now.abef[l], now.cdgh[l], _mm_shuffle_epi32(next, 0x0e));
        }
    }
    EACH_LANE
    {
        state->abef[l] = _mm_add_epi32(state->abef[l], now.abef[l]);
        state->cdgh[l] = _mm_add_epi32(state->cdgh[l], now.cdgh[l]);
    }
}

/* The eight words in their order, big-endian. */
INSTRUCTIONS static void give_digest(const struct state *state, int l, uint8_t *ret_digest)
{
    uint32_t abef[4], cdgh[4], digest[8];

    memcpy(abef, &state->abef[l], sizeof(abef));
    memcpy(cdgh, &state->cdgh[l], sizeof(cdgh));
    for (int i = 0; i < 2; i++) {
        digest[i] = htobe32(abef[3 - i]);
        digest[2 + i] = htobe32(cdgh[3 - i]);
        digest[4 + i] = htobe32(abef[1 - i]);
        digest[6 + i] = htobe32(cdgh[1 - i]);
    }
    memcpy(ret_digest, digest, sizeof(digest));
}

INSTRUCTIONS static void hash_lanes(const uint8_t *data, size_t size, uint8_t *ret_digests)
{
    uint64_t bits = htobe64((uint64_t)size * 8);
    uint8_t padding[BLOCK] = { 0x80 }; /* section 5.1.1, of whole blocks */
    const uint8_t *at[IM_SHA256_LANES];
    struct state state;

    memcpy(padding + BLOCK - sizeof(bits), &bits, sizeof(bits));
    start(&state);
    for (size_t done = 0; done < size; done += BLOCK) {
        EACH_LANE at[l] = data + (size_t)l * size + done;
        add_block(&state, at);
    }
    EACH_LANE at[l] = padding;
    add_block(&state, at);
    EACH_LANE give_digest(&state, l, ret_digests + (size_t)l * HASH);
}

/* Whether this processor has the instructions.  To ask takes long in a virtual machine. */
static bool is_possible(void)
{
    enum { UNKNOWN, NO, YES };
    static _Atomic char known = UNKNOWN;
    unsigned a, b, c, d;

    if (known == UNKNOWN)
        known = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) &&
                        __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA)
                    ? YES
                    : NO;
    return known == YES;
}

size_t im_sha256_many(const void *data, size_t size, size_t count, uint8_t *ret_digests)
{
    const uint8_t *p = data;
    size_t done = 0;

    if (count < IM_SHA256_LANES || size % BLOCK != 0 || !is_possible())
        return 0;
    for (; count - done >= IM_SHA256_LANES; done += IM_SHA256_LANES)
        hash_lanes(p + done * size, size, ret_digests + done * HASH);
    return done;
}

#else

size_t im_sha256_many(const void *data, size_t size, size_t count, uint8_t *ret_digests)
{
    (void)data;
    (void)size;
    (void)count;
    (void)ret_digests;
    return 0;
}

#endif
