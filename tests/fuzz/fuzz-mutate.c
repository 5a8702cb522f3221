/* fuzz-mutate - change an image where it hurts, keep its checksums right.
 *
 * A blind change of a byte fails at the first checksum and shows nothing.  So a mutation changes a
 * number, a piece or a size of the image, and most of the time the target repairs the rest. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <string.h>

#include "base/bytes.h"

static uint64_t state;

uint32_t fuzz_random(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33);
}

bool fuzz_mostly(void)
{
    return fuzz_random() % 16 != 0;
}

static uint64_t random64(void)
{
    return (uint64_t)fuzz_random() << 40 ^ (uint64_t)fuzz_random() << 20 ^ fuzz_random();
}

static struct fuzz_piece *any_piece(struct fuzz_image *image)
{
    return &image->piece[fuzz_random() % image->n];
}

/* A number that may mean something in this image. */
static uint64_t telling_number(struct fuzz_image *image)
{
    static const uint64_t units[] = { 1, 1, 512, 512, 4096, 65536, 1u << 20 };
    const struct fuzz_piece *piece = any_piece(image);
    uint64_t unit = units[fuzz_random() % (sizeof(units) / sizeof(units[0]))];
    uint64_t number;

    switch (fuzz_random() % 6) {
    case 0:
        number = UINT64_C(1) << fuzz_random() % 64;
        break;
    case 1:
        number = image->size[piece->file] / unit;
        break;
    case 2:
        number = piece->offset / unit;
        break;
    case 3:
        number = (piece->offset + piece->len) / unit;
        break;
    case 4:
        number = fuzz_random() % 16;
        break;
    default:
        number = random64() >> fuzz_random() % 64;
        break;
    }
    return number + fuzz_random() % 3 - 1;
}

static uint64_t load(const uint8_t *p, size_t width, bool big)
{
    uint64_t value = 0;

    for (size_t i = 0; i < width; i++)
        value |= (uint64_t)p[i] << 8 * (big ? width - 1 - i : i);
    return value;
}

static void store(uint8_t *p, size_t width, bool big, uint64_t value)
{
    for (size_t i = 0; i < width; i++)
        p[i] = (uint8_t)(value >> 8 * (big ? width - 1 - i : i));
}

/* A field of 1, 2, 4 or 8 bytes becomes another number. */
static void change_number(struct fuzz_image *image)
{
    struct fuzz_piece *piece = any_piece(image);
    size_t stored = piece->fill ? 1 : piece->len;
    size_t width = (size_t)1 << fuzz_random() % 4;
    bool big = fuzz_random() % 2;
    uint8_t *p;

    while (width > stored)
        width /= 2;
    p = piece->bytes + fuzz_random() % (stored / width) * width;
    switch (fuzz_random() % 4) {
    case 0:
        store(p, width, big, load(p, width, big) + fuzz_random() % 9 - 4);
        break;
    case 1: /* the same as another field of the piece */
        memmove(p, piece->bytes + fuzz_random() % (stored / width) * width, width);
        break;
    default:
        store(p, width, big, telling_number(image));
        break;
    }
}

/* Bytes change in their place, as libFuzzer thinks best. */
static void change_bytes(struct fuzz_image *image)
{
    struct fuzz_piece *piece = any_piece(image);
    size_t stored = piece->fill ? 1 : piece->len;
    size_t at = fuzz_random() % stored;
    size_t len = fuzz_random() % 2 ? stored - at : im_min(stored - at, 32);
    size_t got = LLVMFuzzerMutate(piece->bytes + at, len, len);

    if (got > 0 && got < len) /* what it left out at the end is zeros */
        memset(piece->bytes + at + got, 0, len - got);
}

/* A piece moves, grows or shrinks in the file. */
static void change_piece(struct fuzz_image *image)
{
    struct fuzz_piece *piece = any_piece(image);

    switch (fuzz_random() % 4) {
    case 0:
        piece->offset =
            (piece->offset + 512 * (uint64_t)(fuzz_random() % 17) - 512 * 8) % FUZZ_FILE_MAX;
        break;
    case 1:
        piece->offset = telling_number(image) % FUZZ_FILE_MAX;
        break;
    case 2:
        if (piece->fill)
            piece->len = (uint32_t)(telling_number(image) % FUZZ_FILL_MAX) + 1;
        else
            piece->len = fuzz_random() % piece->len + 1;
        break;
    default:
        *piece = image->piece[--image->n];
        break;
    }
}

/* A part of a piece stands somewhere else as well. */
static void copy_piece(struct fuzz_image *image)
{
    const struct fuzz_piece *piece = any_piece(image);
    uint64_t offset =
        (any_piece(image)->offset + 512 * (uint64_t)(fuzz_random() % 64)) % FUZZ_FILE_MAX;

    if (image->n == FUZZ_PIECES)
        return;
    if (piece->fill) {
        image->piece[image->n] = *piece;
        image->piece[image->n++].offset = offset;
    } else {
        uint8_t copy[4096];
        size_t at = fuzz_random() % piece->len / 4 * 4;
        size_t len = (size_t)im_min(piece->len - at, fuzz_random() % sizeof(copy) + 1);

        memcpy(copy, piece->bytes + at, len);
        (void)fuzz_put(image, piece->file, offset + fuzz_random() % 512 / 4 * 4, copy, len);
    }
}

static void change_size(struct fuzz_image *image)
{
    unsigned file = any_piece(image)->file;
    uint64_t size = image->size[file];

    switch (fuzz_random() % 4) {
    case 0:
        size += fuzz_random() % 5 - 2;
        break;
    case 1:
        size += 512 * (uint64_t)(fuzz_random() % 5) - 512 * 2;
        break;
    case 2:
        size = any_piece(image)->offset;
        break;
    default:
        size = telling_number(image);
        break;
    }
    image->size[file] = size % FUZZ_FILE_MAX;
}

static void mutate(struct fuzz_image *image)
{
    if (image->n == 0)
        return;
    switch (fuzz_random() % 16) {
    case 0:
        change_size(image);
        break;
    case 1:
    case 2:
        change_piece(image);
        break;
    case 3:
        copy_piece(image);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        change_bytes(image);
        break;
    default:
        change_number(image);
        break;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room, unsigned seed)
{
    static struct fuzz_image image;
    size_t got;

    state = seed;
    (void)fuzz_random();
    fuzz_decode(&image, data, len);
    for (unsigned times = fuzz_random() % 4 + 1; times > 0; times--)
        mutate(&image);
    if (fuzz_target.repair && fuzz_mostly())
        fuzz_target.repair(&image);
    got = fuzz_encode(&image, data, room);
    return got > 0 ? got : LLVMFuzzerMutate(data, len, room);
}
