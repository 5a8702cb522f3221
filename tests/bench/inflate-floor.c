/* inflate-floor - how fast this machine inflates the grains of one stream-optimized VMDK.
 *
 *   inflate-floor IMAGE THREADS
 *
 * Prints seconds.  Each thread inflates grains out of memory into one buffer that stays in its
 * cache: nothing is read, written, checked or put in place meanwhile, so no decoder of this image
 * that uses libdeflate can be faster.  It trusts the image, which `make bench` has made. */

#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include <libdeflate.h>

#define SECTOR      512u
#define GRAIN       65536u
#define THREADS_MAX 64

static const uint8_t *image;
static size_t image_len;
static size_t *grains; /* where each begins */
static size_t grain_count;
static atomic_size_t next_grain;
static atomic_bool failed;

static uint32_t le32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static uint64_t le64(const uint8_t *at)
{
    return le32(at) | (uint64_t)le32(at + 4) << 32;
}

/* Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents": a grain has its sector and
 * its length in front; a marker has length 0 and its kind behind, and is followed by so many
 * sectors as its first field says. */
static void find_grains(void)
{
    size_t at = (size_t)le64(image + 64) * SECTOR; /* overHead of the header */

    while (at + SECTOR <= image_len) {
        uint32_t len = le32(image + at + 8);

        if (len > 0) {
            if (len > image_len - at - 12)
                break;
            grains[grain_count++] = at;
            at += (12 + (size_t)len + SECTOR - 1) / SECTOR * SECTOR;
        } else {
            uint64_t sectors = le64(image + at);

            if (sectors > image_len / SECTOR)
                break;
            at += SECTOR + (size_t)sectors * SECTOR;
        }
    }
}

static void *inflate_some(void *arg)
{
    struct libdeflate_decompressor *z = libdeflate_alloc_decompressor();
    uint8_t *out = malloc(GRAIN);
    size_t i, len;

    (void)arg;
    while (z && out && (i = atomic_fetch_add(&next_grain, 1)) < grain_count) {
        const uint8_t *grain = image + grains[i];

        if (libdeflate_zlib_decompress(z, grain + 12, le32(grain + 8), out, GRAIN, &len) !=
            LIBDEFLATE_SUCCESS)
            atomic_store(&failed, true);
    }
    if (!z || !out)
        atomic_store(&failed, true);
    free(out);
    libdeflate_free_decompressor(z);
    return NULL;
}

static int map_image(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < (off_t)SECTOR)
        return -1;
    image_len = (size_t)st.st_size;
    map = mmap(NULL, image_len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    grains = calloc(image_len / SECTOR + 1, sizeof(*grains));
    image = map;
    return map == MAP_FAILED || !grains ? -1 : 0;
}

static double seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    pthread_t thread[THREADS_MAX];
    double begin;

    if (count < 1 || count > THREADS_MAX) {
        fprintf(stderr, "usage: inflate-floor IMAGE THREADS\n");
        return 2;
    }
    if (map_image(argv[1]) < 0) {
        perror(argv[1]);
        return 1;
    }
    find_grains();
    begin = seconds();
    for (long i = 0; i < count; i++)
        if (pthread_create(&thread[i], NULL, inflate_some, NULL) != 0)
            return 1;
    for (long i = 0; i < count; i++)
        (void)pthread_join(thread[i], NULL);
    printf("%.4f %zu\n", seconds() - begin, grain_count);
    if (atomic_load(&failed) || grain_count == 0)
        fprintf(stderr, "inflate-floor: %s does not hold sound grains alone\n", argv[1]);
    return atomic_load(&failed) || grain_count == 0;
}
