/* fuzz-recipe - an image as a list of pieces, and its recipe, which is what libFuzzer keeps.
 *
 * A record is 13 bytes, little-endian: what (1), offset (8), length (4).  Bits 0-1 of `what` are
 * the file.  With bit 7 the offset is the file's size.  With bit 6 one byte follows, which stands
 * `length` times at offset; else `length` bytes follow, or as many as there are. */

#include <config.h>

#include "fuzz/fuzz-image.h"

#include <string.h>

#include "base/bytes.h"

#define RECORD   13u
#define IS_SIZE  0x80u
#define IS_FILL  0x40u
#define THE_FILE (FUZZ_FILES - 1)

static void add_piece(struct fuzz_image *image, const struct fuzz_piece *piece,
                      const uint8_t *bytes)
{
    size_t stored = piece->fill ? 1 : piece->len;

    if (piece->len == 0 || image->n == FUZZ_PIECES || stored > FUZZ_BYTES - image->used)
        return;
    image->piece[image->n] = *piece;
    image->piece[image->n].bytes = image->arena + image->used;
    memcpy(image->arena + image->used, bytes, stored);
    image->used += stored;
    image->n++;
}

/* A file whose size no record says ends with its last piece. */
static void guess_sizes(struct fuzz_image *image, const bool *has_size)
{
    for (size_t i = 0; i < image->n; i++) {
        const struct fuzz_piece *piece = &image->piece[i];
        uint64_t end = piece->offset + piece->len;

        if (!has_size[piece->file] && end > image->size[piece->file])
            image->size[piece->file] = end;
    }
}

void fuzz_decode(struct fuzz_image *image, const uint8_t *data, size_t len)
{
    bool has_size[FUZZ_FILES] = { false };

    image->n = image->used = 0;
    memset(image->size, 0, sizeof(image->size));
    while (len >= RECORD) {
        struct fuzz_piece piece = {
            .file = data[0] & THE_FILE,
            .offset = im_le64(data + 1) % FUZZ_FILE_MAX,
            .len = im_le32(data + 9),
            .fill = data[0] & IS_FILL,
        };
        bool is_size = data[0] & IS_SIZE;
        size_t stored;

        data += RECORD;
        len -= RECORD;
        if (is_size) {
            image->size[piece.file] = piece.offset;
            has_size[piece.file] = true;
            continue;
        }
        stored = piece.fill ? 1 : piece.len;
        if (stored > len) {
            stored = len;
            piece.len = piece.fill ? 0 : (uint32_t)len;
        }
        if (piece.fill)
            piece.len %= FUZZ_FILL_MAX + 1;
        add_piece(image, &piece, data);
        data += stored;
        len -= stored;
    }
    guess_sizes(image, has_size);
}

static size_t put_record(uint8_t *out, unsigned what, uint64_t offset, uint32_t len)
{
    uint64_t offset_le = htole64(offset);
    uint32_t len_le = htole32(len);

    out[0] = (uint8_t)what;
    memcpy(out + 1, &offset_le, sizeof(offset_le));
    memcpy(out + 9, &len_le, sizeof(len_le));
    return RECORD;
}

size_t fuzz_encode(const struct fuzz_image *image, uint8_t *out, size_t room)
{
    size_t len = 0;

    for (unsigned file = 0; file < FUZZ_FILES; file++) {
        if (image->size[file] == 0)
            continue;
        if (room - len < RECORD)
            return 0;
        len += put_record(out + len, IS_SIZE | file, image->size[file], 0);
    }
    for (size_t i = 0; i < image->n; i++) {
        const struct fuzz_piece *piece = &image->piece[i];
        size_t stored = piece->fill ? 1 : piece->len;

        if (room - len < RECORD + stored)
            return 0;
        len += put_record(out + len, piece->file | (piece->fill ? IS_FILL : 0), piece->offset,
                          piece->len);
        memcpy(out + len, piece->bytes, stored);
        len += stored;
    }
    return len;
}

void fuzz_get(const struct fuzz_image *image, unsigned file, uint64_t offset, void *buf, size_t len)
{
    uint8_t *out = buf;

    memset(out, 0, len);
    for (size_t i = 0; i < image->n; i++) {
        const struct fuzz_piece *piece = &image->piece[i];
        uint64_t start = piece->offset > offset ? piece->offset : offset;
        uint64_t end = im_min(piece->offset + piece->len, offset + len);

        if (piece->file != file || start >= end)
            continue;
        if (piece->fill)
            memset(out + (start - offset), piece->bytes[0], (size_t)(end - start));
        else
            memcpy(out + (start - offset), piece->bytes + (start - piece->offset),
                   (size_t)(end - start));
    }
}

bool fuzz_put(struct fuzz_image *image, unsigned file, uint64_t offset, const void *buf, size_t len)
{
    struct fuzz_piece piece = { .file = file, .offset = offset, .len = (uint32_t)len };
    size_t n = image->n;

    for (size_t i = image->n; i > 0; i--) {
        struct fuzz_piece *at = &image->piece[i - 1];

        if (at->file != file || at->offset >= offset + len || at->offset + at->len <= offset)
            continue;
        if (at->fill || at->offset > offset || at->offset + at->len < offset + len)
            break;
        memcpy(at->bytes + (offset - at->offset), buf, len);
        return true;
    }
    add_piece(image, &piece, buf);
    return image->n > n;
}

uint64_t fuzz_alike(const struct fuzz_image *image, unsigned file, uint64_t offset, uint64_t len,
                    bool *ret_hole)
{
    uint64_t data_end = offset, next_data = offset + len;

    /* grow the run of data until no piece continues it */
    for (bool grown = true; grown;) {
        grown = false;
        for (size_t i = 0; i < image->n; i++) {
            const struct fuzz_piece *piece = &image->piece[i];
            uint64_t start = piece->offset & ~UINT64_C(511);
            uint64_t end = im_round_up(piece->offset + piece->len, 512);

            if (piece->file != file || end <= data_end)
                continue;
            if (start <= data_end) {
                data_end = end;
                grown = true;
            } else {
                next_data = im_min(next_data, start);
            }
        }
    }
    *ret_hole = data_end == offset;
    return im_min(len, *ret_hole ? next_data - offset : data_end - offset);
}
