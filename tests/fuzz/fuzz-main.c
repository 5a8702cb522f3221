/* fuzz-main - a main for a fuzz target that needs no libFuzzer.
 *
 *   fuzz-NAME [--rounds N] RECIPE...    look at each, and at N mutations of it
 *   fuzz-NAME --write DIR RECIPE...     write the images, and the disks of those that are accepted
 *
 * What was looked at last lies in ./last-mutation when the first is stopped by a finding.
 * The second prints a line for each that is accepted: its disk's size, name and recipe.  In
 * DIR/NAME/ it writes the image's files and disk.raw. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define RECIPE_MAX (FUZZ_BYTES + 4096u)
/* Larger disks are not written. */
#define WRITE_MAX (UINT64_C(64) << 30)

size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t room)
{
    (void)room;
    for (unsigned n = fuzz_random() % 8 + 1; n > 0 && len > 0; n--)
        data[fuzz_random() % len] = (uint8_t)fuzz_random();
    return len;
}

static size_t load(const char *path, uint8_t *buf)
{
    FILE *file IM_FCLOSE = fopen(path, "rbe");
    size_t len;

    if (!file) {
        (void)fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
        exit(2);
    }
    len = fread(buf, 1, RECIPE_MAX, file);
    return len;
}

/* Leave a mutation behind, in case it is the last. */
static void save(const uint8_t *data, size_t len)
{
    int fd IM_CLOSE = open("last-mutation", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, len) != (ssize_t)len) {
        (void)fprintf(stderr, "cannot write last-mutation: %s\n", strerror(errno));
        exit(2);
    }
}

/* Accepted ones among the recipe and its mutations. */
static unsigned replay(const char *path, uint64_t rounds)
{
    static uint8_t recipe[RECIPE_MAX], mutation[RECIPE_MAX];
    static struct fuzz_image image;
    size_t len = load(path, recipe);
    size_t mutation_len = len;
    unsigned accepted;

    fuzz_decode(&image, recipe, len);
    accepted = fuzz_look(&image);
    if (!accepted)
        (void)printf("refused: %s\n", path);
    memcpy(mutation, recipe, len);
    for (uint64_t i = 0; i < rounds; i++) {
        if (i % 4 == 0) { /* one mutation on another, but not for ever */
            memcpy(mutation, recipe, len);
            mutation_len = len;
        }
        mutation_len =
            LLVMFuzzerCustomMutator(mutation, mutation_len, sizeof(mutation), (unsigned)i);
        save(mutation, mutation_len);
        fuzz_decode(&image, mutation, mutation_len);
        accepted += fuzz_look(&image);
    }
    return accepted;
}

static void write_images(const struct fuzz_image *image, const char *dir)
{
    for (unsigned n = 0; n < FUZZ_FILES; n++) {
        char path[4096];

        if (n == 0)
            (void)snprintf(path, sizeof(path), "%s/%s", dir, fuzz_target.name);
        else
            (void)snprintf(path, sizeof(path), "%s/x%u.vmdk", dir, n);
        if (n == 0 || image->size[n] > 0)
            fuzz_write_file(image, n, path);
    }
}

static void write_out(const char *to, const char *path)
{
    static uint8_t recipe[RECIPE_MAX];
    static struct fuzz_image image;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct im_error err = { 0 };
    char dir[2048], disk[4096];
    uint64_t size = 0;
    int fd IM_CLOSE = -1;

    fuzz_decode(&image, recipe, load(path, recipe));
    if (fuzz_decode_to(&image, -1, &size, &err) < 0 || size > WRITE_MAX)
        return;
    (void)snprintf(dir, sizeof(dir), "%s/%s", to, name);
    (void)snprintf(disk, sizeof(disk), "%s/disk.raw", dir);
    if (mkdir(dir, 0700) < 0 || (fd = open(disk, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0 ||
        fuzz_decode_to(&image, fd, &size, &err) < 0 || ftruncate(fd, (off_t)size) < 0) {
        (void)fprintf(stderr, "cannot write %s: %s %s\n", disk, strerror(errno), err.message);
        exit(2);
    }
    write_images(&image, dir);
    (void)printf("%" PRIu64 " %s %s\n", size, name, path);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: fuzz-NAME [--rounds N | --write DIR] RECIPE...\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *option = argc > 3 ? argv[1] : "";
    bool writing = strcmp(option, "--write") == 0;
    uint64_t rounds = 0, accepted = 0;
    int first = 1;

    if (argc < 2 || (argc < 4 && strncmp(argv[1], "--", 2) == 0))
        return usage();
    if (writing || strcmp(option, "--rounds") == 0)
        first = 3;
    if (!writing && first == 3 && im_parse_uint(argv[2], UINT32_MAX, &rounds) < 0)
        return usage();
    for (int i = first; i < argc; i++) {
        if (writing)
            write_out(argv[2], argv[i]);
        else
            accepted += replay(argv[i], rounds);
    }
    if (!writing)
        (void)printf("%d recipes with %" PRIu64 " mutations each: %" PRIu64 " accepted\n",
                     argc - first, rounds, accepted);
    return 0;
}
