/* journal - what a conversion has done for good: the file.
 *
 * All numbers are little-endian.
 *
 *   header: "EUCAJRNL", version (32 bits), CRC of the header with 0 in this place (32), identity
 *   mark:   "MARK", length of the body (32), CRC (32), 0 (32), then the body:
 *           data, position, rest_offset (64 each), lengths of rest, log, proof, number of runs (32
 *           each); rest, log, proof; runs: offset (64), length, CRC (32 each)
 *
 * A mark's CRC goes on from the one before it, or the header's, over its number, its length and its
 * body: no mark of another journal, and no older one left behind the end, can follow. */

#include <config.h>

#include "core/journal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "core/inflate.h"

#define VERSION 1u

#define HEADER_CRC      12u
#define HEADER_IDENTITY 16u
#define HEADER          (HEADER_IDENTITY + IM_JOURNAL_IDENTITY)

#define HEAD     16u
#define HEAD_CRC 8u
#define FIXED    40u
#define RUN      16u

static const char header_magic[8] = { 'E', 'U', 'C', 'A', 'J', 'R', 'N', 'L' };
static const char mark_magic[4] = { 'M', 'A', 'R', 'K' };

/* ---- header ---- */

static uint32_t make_header(uint8_t header[HEADER], const uint8_t *identity)
{
    uint32_t version = htole32(VERSION), crc, le;

    memset(header, 0, HEADER);
    memcpy(header, header_magic, sizeof(header_magic));
    memcpy(header + 8, &version, sizeof(version));
    memcpy(header + HEADER_IDENTITY, identity, IM_JOURNAL_IDENTITY);
    crc = im_zlib_crc32(0, header, HEADER);
    le = htole32(crc);
    memcpy(header + HEADER_CRC, &le, sizeof(le));
    return crc;
}

int im_journal_create(struct im_journal *ret_journal, int fd,
                      const uint8_t identity[IM_JOURNAL_IDENTITY])
{
    uint8_t header[HEADER];
    uint32_t crc = make_header(header, identity);
    int r = ftruncate(fd, 0) < 0 ? -errno : im_pwrite(fd, header, HEADER, 0);

    if (r == 0)
        *ret_journal = (struct im_journal){ .fd = fd, .end = HEADER, .chain = crc };
    return r;
}

int im_journal_open(struct im_journal *ret_journal, int fd,
                    const uint8_t identity[IM_JOURNAL_IDENTITY])
{
    uint8_t header[HEADER], wanted[HEADER];
    ssize_t n = im_pread(fd, header, HEADER, 0);
    uint32_t crc;

    if (n < 0)
        return (int)n;
    if (n < (ssize_t)HEADER)
        return -ESTALE;
    crc = make_header(wanted, identity ? identity : header + HEADER_IDENTITY);
    if (memcmp(header, wanted, HEADER) != 0)
        return -ESTALE;
    *ret_journal = (struct im_journal){ .fd = fd, .end = HEADER, .chain = crc };
    return 0;
}

/* ---- marks ---- */

static uint32_t crc_of(const struct im_journal *journal, const void *body, size_t len)
{
    const uint64_t about[2] = { htole64(journal->number), htole64(len) };

    return im_zlib_crc32(im_zlib_crc32(journal->chain, about, sizeof(about)), body, len);
}

/* The parts of a body; false when they are not all of it. */
static bool parse(const uint8_t *body, size_t len, struct im_journal_mark *ret_mark)
{
    struct im_journal_mark mark = { .data = im_le64(body),
                                    .position = im_le64(body + 8),
                                    .rest_offset = im_le64(body + 16),
                                    .rest_len = im_le32(body + 24),
                                    .log_len = im_le32(body + 28),
                                    .proof_len = im_le32(body + 32),
                                    .run_count = im_le32(body + 36) };
    uint64_t sum = FIXED + (uint64_t)mark.rest_len + mark.log_len + mark.proof_len +
                   (uint64_t)mark.run_count * RUN;

    if (sum != len)
        return false;
    mark.rest = body + FIXED;
    mark.log = mark.rest + mark.rest_len;
    mark.proof = mark.log + mark.log_len;
    mark.runs = mark.proof + mark.proof_len;
    *ret_mark = mark;
    return true;
}

/* Fill the buffer with len bytes of the file; 1, or 0 when the file is shorter. */
static int load(int fd, uint64_t at, size_t len, struct im_buffer *buffer)
{
    uint8_t piece[16384];

    im_buffer_clear(buffer);
    while (buffer->len < len) {
        size_t step = (size_t)im_min(sizeof(piece), len - buffer->len);
        ssize_t n = im_pread(fd, piece, step, at + buffer->len);
        int r = n < 0 ? (int)n : n < (ssize_t)step ? 0 : im_buffer_add(buffer, piece, step);

        if (r < 0 || n < (ssize_t)step)
            return r;
    }
    return 1;
}

int im_journal_next(struct im_journal *journal, struct im_buffer *buffer,
                    struct im_journal_mark *ret_mark)
{
    uint8_t head[HEAD];
    ssize_t n = im_pread(journal->fd, head, HEAD, journal->end);
    uint32_t len, crc;
    int r;

    if (n < 0)
        return (int)n;
    if (n < (ssize_t)HEAD || memcmp(head, mark_magic, sizeof(mark_magic)) != 0)
        return 0;
    len = im_le32(head + 4);
    if (len < FIXED || len > IM_JOURNAL_MARK_MAX)
        return 0;
    r = load(journal->fd, journal->end + HEAD, len, buffer);
    if (r <= 0)
        return r;
    crc = crc_of(journal, buffer->data, len);
    if (crc != im_le32(head + HEAD_CRC) || !parse((const uint8_t *)buffer->data, len, ret_mark))
        return 0;
    journal->chain = crc;
    journal->end += HEAD + len;
    journal->number++;
    return 1;
}

struct im_journal_run im_journal_run_at(const struct im_journal_mark *mark, size_t i)
{
    const uint8_t *p = mark->runs + i * RUN;

    return (struct im_journal_run){ im_le64(p), im_le32(p + 8), im_le32(p + 12) };
}

int im_journal_add_run(struct im_buffer *runs, const struct im_journal_run *run)
{
    const uint32_t le[4] = { htole32((uint32_t)run->offset), htole32((uint32_t)(run->offset >> 32)),
                             htole32(run->len), htole32(run->crc) };

    return im_buffer_add(runs, le, sizeof(le));
}

static int make_body(const struct im_journal_mark *mark, struct im_buffer *body)
{
    const uint64_t numbers[] = { mark->data, mark->position, mark->rest_offset };
    const size_t lengths[] = { mark->rest_len, mark->log_len, mark->proof_len, mark->run_count };
    int r = 0;

    for (size_t i = 0; r == 0 && i < 3; i++)
        r = im_buffer_le64(body, numbers[i]);
    for (size_t i = 0; r == 0 && i < 4; i++)
        r = lengths[i] > IM_JOURNAL_MARK_MAX ? -EFBIG : im_buffer_le32(body, (uint32_t)lengths[i]);
    if (r == 0)
        r = im_buffer_add(body, mark->rest, mark->rest_len);
    if (r == 0)
        r = im_buffer_add(body, mark->log, mark->log_len);
    if (r == 0)
        r = im_buffer_add(body, mark->proof, mark->proof_len);
    return r < 0 ? r : im_buffer_add(body, mark->runs, mark->run_count * RUN);
}

int im_journal_append(struct im_journal *journal, const struct im_journal_mark *mark)
{
    struct im_buffer body IM_BUFFER_DONE = IM_BUFFER(IM_JOURNAL_MARK_MAX);
    uint32_t head[4] = { 0 }, crc;
    int r = make_body(mark, &body);

    if (r < 0)
        return r;
    crc = crc_of(journal, body.data, body.len);
    memcpy(head, mark_magic, sizeof(mark_magic));
    head[1] = htole32((uint32_t)body.len);
    head[2] = htole32(crc);
    if (ftruncate(journal->fd, (off_t)journal->end) < 0)
        return -errno;
    r = im_pwrite(journal->fd, head, HEAD, journal->end);
    if (r == 0)
        r = im_pwrite(journal->fd, body.data, body.len, journal->end + HEAD);
    if (r == 0 && fdatasync(journal->fd) < 0)
        r = -errno;
    if (r < 0)
        return r;
    journal->chain = crc;
    journal->end += HEAD + body.len;
    journal->number++;
    return 0;
}
