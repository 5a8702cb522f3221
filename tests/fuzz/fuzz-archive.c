/* fuzz-archive - what images are packed in: gz, xz, zip, OVA, told by the first bytes.
 *
 * An input is the archive.  It is read as a file and as a pipe.  The checksums of tar's headers are
 * made right, 15 times of 16, so that what they guard is reached.  A finding is a report of a
 * sanitizer, more bytes than may come out, or two readings that are both accepted and differ.
 *
 * A program of its own beside those of fuzz-image.h; fuzz-bytes.c is its main without libFuzzer. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "core/inflate.h"
#include "unpack/unpack.h"

#define INPUT_MAX 65536u
#define OUT_MAX   (4u << 20)
/* core/source.h: how far back a pipe can look */
#define LOOK_BACK (1u << 20)

struct bytes {
    struct im_source base;
    const uint8_t *data;
    size_t len;
    uint64_t position;
};

static int bytes_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                      size_t *ret_len, struct im_error *err)
{
    struct bytes *bytes = (struct bytes *)source;

    if (source->sequential && offset + LOOK_BACK < bytes->position)
        return im_fail(err, EOPNOTSUPP, "a pipe does not go back");
    *ret_len = offset >= bytes->len ? 0 : (size_t)im_min(len, bytes->len - offset);
    if (*ret_len > 0)
        memcpy(buf, bytes->data + offset, *ret_len);
    if (offset + *ret_len > bytes->position)
        bytes->position = offset + *ret_len;
    return 0;
}

static void bytes_close(struct im_source *source)
{
    (void)source;
}

static const struct im_source_ops bytes_ops = { .name = "bytes",
                                                .read = bytes_read,
                                                .close = bytes_close };

static struct im_source *open_bytes(const uint8_t *data, size_t len, bool pipe)
{
    struct bytes *bytes = im_source_new(sizeof(*bytes), &bytes_ops, "fuzz");

    if (!bytes)
        fault("out of memory");
    bytes->data = data;
    bytes->len = len;
    bytes->base.size = pipe ? IM_SIZE_UNKNOWN : len;
    bytes->base.sequential = pipe;
    bytes->base.direct = !pipe;
    return &bytes->base;
}

/* Read all of it; whether it was accepted, and the CRC of what came out. */
static bool read_all(struct im_source *source, uint32_t *ret_crc)
{
    static uint8_t buf[65536];
    uint64_t offset = 0;
    size_t got = 1;
    int r = 0;

    *ret_crc = 0;
    while (r == 0 && got > 0) {
        r = im_source_read_some(source, buf, sizeof(buf), offset, &got, NULL);
        if (r == 0)
            *ret_crc = im_zlib_crc32(*ret_crc, buf, got);
        offset += got;
        if (r == 0 && offset > OUT_MAX)
            fault("more came out than was allowed");
    }
    if (r == 0)
        r = im_source_finish(source, NULL);
    return r == 0;
}

static bool look(const uint8_t *data, size_t len, bool pipe, const char *disk, uint32_t *ret_crc)
{
    static struct im_contents contents;
    struct im_unpack unpack = { .disk = disk,
                                .size = IM_SIZE_UNKNOWN,
                                .limits = { OUT_MAX, IM_EXPANSION_MAX } };
    struct im_source *source = open_bytes(data, len, pipe);
    bool accepted;
    int r = im_packing_probe(source, &unpack.packing, NULL);

    if (r == 0)
        r = im_unpack(&source, &unpack, &contents, NULL);
    accepted = r == 0 && read_all(source, ret_crc);
    im_source_close(source);
    return accepted;
}

/* The checksum of a tar header is the sum of its bytes, with blanks in its own place. */
static void repair(uint8_t *data, size_t len)
{
    for (size_t at = 0; at + 512 <= len; at += 512) {
        uint8_t *head = data + at;
        unsigned sum = 0;

        if (memcmp(head + 257, "ustar", 5) != 0)
            continue;
        memset(head + 148, ' ', 8);
        for (size_t i = 0; i < 512; i++)
            sum += head[i];
        (void)snprintf((char *)head + 148, 8, "%06o", sum);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t input[INPUT_MAX];
    static const char *const disks[] = { NULL, "1", "2", "a" };
    uint32_t of_file, of_pipe;

    if (len == 0 || len > INPUT_MAX)
        return 0;
    memcpy(input, data, len);
    if (data[len / 2] % 16 != 0)
        repair(input, len);
    for (size_t i = 0; i < 4; i++)
        if (look(input, len, false, disks[i], &of_file) &&
            look(input, len, true, disks[i], &of_pipe) && of_file != of_pipe)
            fault("file and pipe give different bytes");
    return 0;
}
