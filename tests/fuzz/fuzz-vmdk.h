/* fuzz-vmdk - what the repairs of the three VMDK targets share. */
#pragma once

#include "fuzz/fuzz-image.h"

#define FUZZ_SECTOR  512u
#define FUZZ_ENTRIES 512u /* of a grain table */

struct fuzz_vmdk {
    unsigned file;
    uint8_t header[FUZZ_SECTOR];
    uint64_t capacity, grain;      /* sectors */
    uint64_t redundant, directory; /* sectors */
    uint64_t overhead;             /* sectors */
    uint64_t text, text_len;       /* of the descriptor, sectors */
    bool compressed;
};

/* Read the header of a file.  False when there is none, or its numbers are beyond repair. */
bool fuzz_vmdk_parse(const struct fuzz_image *image, unsigned file, struct fuzz_vmdk *ret);

/* The sector entry i of the table at `sector` holds, and the other way round. */
uint32_t fuzz_vmdk_load(const struct fuzz_image *image, unsigned file, uint64_t sector, uint64_t i);
void fuzz_vmdk_store(struct fuzz_image *image, unsigned file, uint64_t sector, uint64_t i,
                     uint32_t value);

/* Write the capacity into the extent line of a descriptor (the text at byte `at` of a file) in
 * which `words` follow the number, when there is room for it. */
void fuzz_vmdk_repair_line(struct fuzz_image *image, unsigned file, uint64_t at, const char *words,
                           uint64_t capacity);

/* The redundant grain tables become copies of the primary ones. */
void fuzz_vmdk_repair_copy(struct fuzz_image *image, const struct fuzz_vmdk *vmdk);
