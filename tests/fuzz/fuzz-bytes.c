/* fuzz-bytes - a main for a fuzz target whose inputs are plain bytes, without libFuzzer.
 *
 *   fuzz-NAME [--rounds N] INPUT...    look at each, and at N mutations of it */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define INPUT_MAX 65536u

static uint32_t seed = 1;

static uint32_t random_number(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void look_at(const char *path, uint64_t rounds)
{
    static uint8_t input[INPUT_MAX], mutation[INPUT_MAX];
    FILE *file = fopen(path, "rbe");
    size_t len;

    if (!file)
        abort();
    len = fread(input, 1, sizeof(input), file);
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(input, len);
    if (fuzz_refused)
        (void)printf("refused: %s\n", path);
    for (uint64_t i = 0; i < rounds; i++) {
        size_t cut = random_number() % 8 == 0 ? random_number() % (len + 1) : len;

        memcpy(mutation, input, len);
        for (unsigned n = random_number() % 6; n > 0 && cut > 0; n--)
            mutation[random_number() % cut] =
                (uint8_t)(random_number() % 3 ? random_number() : random_number() % 4);
        (void)LLVMFuzzerTestOneInput(mutation, cut);
    }
}

int main(int argc, char **argv)
{
    uint64_t rounds = 0;
    int first = 1;

    if (argc > 2 && strcmp(argv[1], "--rounds") == 0) {
        if (im_parse_uint(argv[2], 1000000, &rounds) < 0)
            return 2;
        first = 3;
    }
    for (int i = first; i < argc; i++)
        look_at(argv[i], rounds);
    (void)printf("%d inputs, %" PRIu64 " mutations of each\n", argc - first, rounds);
    return 0;
}
