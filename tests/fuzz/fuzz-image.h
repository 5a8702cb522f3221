/* fuzz-image - what the fuzz targets share.
 *
 * An input is not an image but a recipe of one: pieces at their offsets, everything else a hole.
 * So a few hundred bytes reach layouts of many terabytes, and a mutation changes a field instead of
 * moving everything behind it.  README.md describes the records.
 *
 * fuzz-recipe.c   recipes: read, written, patched
 * fuzz-source.c   the image as a source: a file, something fetched, a pipe
 * fuzz-sink.c     takes the bytes of a walk, and remembers their sum
 * fuzz-faces.c    opens the image in every way and compares; the entry of libFuzzer
 * fuzz-mutate.c   mutates fields, pieces and sizes, then repairs what a checksum guards
 * fuzz-NAME.c     one decoder: its format and its repair
 * fuzz-main.c     a main without libFuzzer: replays recipes, mutates a little, writes images out */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/format.h"

/* Nothing a decoder looks at needs more; small inputs are quick ones. */
#define FUZZ_PIECES 64u
#define FUZZ_BYTES  (1u << 16) /* all pieces together, without fills */
/* The files of an image: itself, and its extents. */
#define FUZZ_FILES 4u
/* No file is larger: offsets and lengths are taken modulo this. */
#define FUZZ_FILE_MAX (UINT64_C(1) << 46)
/* Bytes one byte of the recipe can be repeated to. */
#define FUZZ_FILL_MAX (16u << 20)

struct fuzz_piece {
    unsigned file;
    uint64_t offset; /* in the file, bytes */
    uint32_t len;    /* bytes */
    bool fill;       /* all of them are bytes[0] */
    uint8_t *bytes;  /* in the image's arena */
};

struct fuzz_image {
    uint64_t size[FUZZ_FILES]; /* bytes; 0: the file does not exist */
    size_t n;
    struct fuzz_piece piece[FUZZ_PIECES]; /* a later one lies on an earlier one */
    size_t used;
    uint8_t arena[FUZZ_BYTES];
};

/* One decoder. */
struct fuzz_target {
    const struct im_format *format;
    bool probed;      /* open by im_format_open, which lets every format look first */
    const char *name; /* of file 0, "disk." and a suffix; file n > 0 is "xN.vmdk" */

    /* Make whole again what a mutation broke and what would stop every decoder at once: checksums,
     * copies.  fuzz_mostly() decides what stays broken.  May be NULL. */
    void (*repair)(struct fuzz_image *image);

    /* More that must hold for an accepted image; aborts by fuzz_fault.  May be NULL. */
    void (*check)(const struct fuzz_image *image, const struct im_disk *disk);
};

/* Defined by each target. */
extern const struct fuzz_target fuzz_target;

/* Print what is wrong and abort: a finding. */
_Noreturn void fuzz_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- fuzz-recipe.c --- */

/* Read a recipe; any bytes are one. */
void fuzz_decode(struct fuzz_image *image, const uint8_t *data, size_t len);

/* Write the recipe of an image; its length, or 0 when it is longer than room. */
size_t fuzz_encode(const struct fuzz_image *image, uint8_t *out, size_t room);

/* Copy len bytes of a file out, zeros where there is none. */
void fuzz_get(const struct fuzz_image *image, unsigned file, uint64_t offset, void *buf,
              size_t len);

/* Change len bytes of a file, in the piece that holds them or by a new one.  False when there is no
 * room for it. */
bool fuzz_put(struct fuzz_image *image, unsigned file, uint64_t offset, const void *buf,
              size_t len);

/* How many bytes from offset on are alike, at most len, and whether they are a hole, in sectors as
 * on a file system with very small blocks. */
uint64_t fuzz_alike(const struct fuzz_image *image, unsigned file, uint64_t offset, uint64_t len,
                    bool *ret_hole);

/* --- fuzz-source.c --- */

enum fuzz_kind { FUZZ_FILE, FUZZ_FETCH, FUZZ_PIPE };

struct fuzz_source {
    struct im_source base;
    const struct fuzz_image *image;
    uint64_t position; /* where the last read ended at most */
};

/* A source of file 0 of the image; nothing to close. */
struct fuzz_source fuzz_source(const struct fuzz_image *image, enum fuzz_kind kind);

/* Have the files behind the first as real ones in a directory of this process; NULL when the image
 * has none. */
const char *fuzz_extents(const struct fuzz_image *image);

/* Write file `n` of the image, sparsely, as `path`. */
void fuzz_write_file(const struct fuzz_image *image, unsigned n, const char *path);

/* --- fuzz-sink.c --- */

typedef unsigned __int128 fuzz_sum;

/* Each byte of the disk, times a number that belongs to its place: the same whatever the order and
 * the cuts, and zeros count as nothing. */
fuzz_sum fuzz_add(fuzz_sum sum, const void *buf, size_t len, uint64_t offset);

struct fuzz_run {
    uint64_t start, end; /* bytes of the disk */
};

struct fuzz_sink {
    struct im_sink sink;
    fuzz_sum sum;
    uint64_t end;   /* of the last byte given */
    uint64_t bytes; /* given */
    unsigned calls;
    bool enough;            /* it has stopped the walk: -ECANCELED */
    struct fuzz_run *given; /* sorted; to see that no byte comes twice */
    size_t given_len, given_size;
    int fd; /* write the disk there as well, and never stop; -1: nowhere */
};

/* fd: see above. */
void fuzz_sink_init(struct fuzz_sink *sink, int fd);
void fuzz_sink_done(struct fuzz_sink *sink);

/* --- fuzz-faces.c --- */

/* Look at an image through every face; aborts by fuzz_fault.  Whether it is accepted. */
bool fuzz_look(const struct fuzz_image *image);

/* Open the image as a file and write its disk to fd; fails as the decoder does. */
int fuzz_decode_to(const struct fuzz_image *image, int fd, uint64_t *ret_size,
                   struct im_error *err);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* --- fuzz-mutate.c --- */

/* A number that only depends on the seed of the mutation. */
uint32_t fuzz_random(void);

/* True 15 times of 16: what repairs ask, so that some faults stay. */
bool fuzz_mostly(void);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room, unsigned seed);

/* libFuzzer's own mutation of bytes; fuzz-main.c has a simple one in its place. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t room);
