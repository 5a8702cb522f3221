/* vmdk - VMware's virtual disk.
 *
 * Read are stream-optimized and monolithicSparse images, which are one sparse extent with its
 * descriptor inside, and split and flat ones, whose descriptor names the files that hold the data,
 * when the caller says in which directory they are.  Everything whose data is somewhere else
 * (devices, parents) or of another build (COWD, SEsparse, encrypted) is recognised, and refused
 * with the reason. */

#include <config.h>

#include "format/vmdk.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/format.h"
#include "core/inflate.h"
#include "format/vmdk-encode.h"

/* The high half of the flags is for features a reader must know. */
#define MUST_KNOW 0xffff0000u
/* Bytes of tables read at once in one of perhaps thousands of extents. */
#define TABLE_WINDOW (8u * 1024)

/* "# Disk DescriptorFile", of which there are spellings with more and fewer blanks. */
static bool is_descriptor(const uint8_t *p, size_t len)
{
    static const char magic[] = "#diskdescriptorfile";
    const char *want = magic;

    for (size_t i = 0; i < len && *want; i++) {
        if (p[i] == ' ')
            continue;
        if (tolower(p[i]) != *want++)
            return false;
    }
    return *want == '\0';
}

/* What QEMU's probe takes for a descriptor, too: behind lines that are comments or blank the
 * version, which must end its line. */
static bool is_versioned(const uint8_t *p, size_t len)
{
    const uint8_t *end = p + len;

    while (p < end && *p != 'v') {
        const uint8_t *newline = memchr(p, '\n', (size_t)(end - p));
        const uint8_t *q = p;

        while (q < end && *q == ' ')
            q++;
        if (q < end && *q == '\r')
            q++;
        if (!newline || (*p != '#' && q != newline))
            return false;
        p = newline + 1;
    }
    if (end - p < 10 || memcmp(p, "version=", 8) != 0 || p[8] < '1' || p[8] > '3')
        return false;
    return p[9] == '\n' || (end - p > 10 && p[9] == '\r' && p[10] == '\n');
}

/* The magic of a sparse extent. */
static bool is_sparse(const uint8_t *p, size_t len)
{
    return len >= 4 && memcmp(p, "KDMV", 4) == 0;
}

/* The sparse formats of ESX: COWD (vmfsSparse) and SEsparse. */
static const char *foreign_kind(const uint8_t *p, size_t len)
{
    if (len >= 8 && memcmp(p, "COWD", 4) == 0 && im_le32(p + 4) == 1)
        return "vmfsSparse (COWD)";
    if (len >= 8 && im_le64(p) == UINT64_C(0xcafebabe))
        return "SEsparse";
    return NULL;
}

/* The magic alone is enough to be certain: no boot sector begins with it, so that a disk which does
 * is a VMDK declared as something else, or made to be taken for one. */
static enum im_bid vmdk_probe(const struct im_probe *probe)
{
    const uint8_t *head = probe->head;
    size_t len = probe->head_len;

    return is_sparse(head, len) || is_descriptor(head, len) || is_versioned(head, len) ||
                   foreign_kind(head, len)
               ? IM_BID_CERTAIN
               : IM_BID_NO;
}

static void parse_header(struct vmdk_header *header)
{
    const uint8_t *p = header->raw;

    header->version = im_le32(p + 4);
    header->flags = im_le32(p + 8);
    header->capacity = im_le64(p + 12);
    header->grain = im_le64(p + 20);
    header->descriptor = im_le64(p + 28);
    header->descriptor_len = im_le64(p + 36);
    header->redundant = im_le64(p + VMDK_REDUNDANT_AT);
    header->directory = im_le64(p + VMDK_DIRECTORY_AT);
    header->overhead = im_le64(p + 64);
}

static int check_flags(const struct vmdk_header *header, struct im_error *err)
{
    uint32_t known = VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS;
    uint32_t unknown = header->flags & MUST_KNOW & ~known;
    uint16_t algorithm = im_le16(header->raw + 77);

    if (unknown)
        return vmdk_unsupported(err,
                                "the VMDK header has flags 0x%08" PRIx32 "; 0x%08" PRIx32
                                " of them are unknown" VMDK_CURE,
                                header->flags, unknown);
    if (!(header->flags & VMDK_FLAG_COMPRESSED) != !(header->flags & VMDK_FLAG_MARKERS))
        return vmdk_unsupported(err,
                                "the VMDK header has flags 0x%08" PRIx32
                                ": compressed grains and markers come only together" VMDK_CURE,
                                header->flags);
    if (header->flags & VMDK_FLAG_COMPRESSED && algorithm != 1)
        return vmdk_unsupported(err,
                                "File uses unsupported compression algorithm %u; only 1 (deflate) "
                                "can be read" VMDK_CURE,
                                algorithm);
    /* "the newline detection": a transfer as text would have changed these */
    if (header->flags & VMDK_FLAG_NEWLINES && memcmp(header->raw + 73, "\n \r\n", 4) != 0)
        return vmdk_damaged(err, "the VMDK header's newline characters are changed: the file was "
                                 "transferred as text; transfer it again as binary");
    if (header->raw[72])
        return vmdk_damaged(err,
                            "the VMDK was not closed by its last writer (unclean shutdown): "
                            "its tables may be wrong; let VMware repair it, or export it again");
    return 0;
}

static int check_geometry(struct vmdk *vmdk, struct im_error *err)
{
    const struct vmdk_header *header = &vmdk->header;
    uint32_t entries = im_le32(header->raw + 44);
    uint64_t grains;

    if (header->capacity == 0)
        return vmdk_damaged(err, "the VMDK header gives the disk no sectors: the image is empty, "
                                 "or its data is elsewhere");
    if (header->grain < VMDK_GRAIN_MIN || header->grain > VMDK_GRAIN_MAX ||
        (header->grain & (header->grain - 1)) != 0)
        return vmdk_damaged(
            err, "a grain size of %" PRIu64 " sectors; it must be a power of two between %u and %u",
            header->grain, VMDK_GRAIN_MIN, VMDK_GRAIN_MAX);
    if (entries != VMDK_TABLE_ENTRIES)
        return vmdk_damaged(err,
                            "the VMDK header says a grain table has %" PRIu32 " entries, not %u",
                            entries, VMDK_TABLE_ENTRIES);
    grains = (header->capacity - 1) / header->grain + 1;
    if (grains > VMDK_GRAINS_MAX)
        return vmdk_unsupported(
            err, "a disk of %" PRIu64 " sectors has %" PRIu64 " grains, more than the %u supported",
            header->capacity, grains, VMDK_GRAINS_MAX);
    vmdk->grains = (uint32_t)grains;
    vmdk->tables = (vmdk->grains - 1) / VMDK_TABLE_ENTRIES + 1;
    vmdk->disk.size = header->capacity * VMDK_SECTOR;
    return 0;
}

static int refuse_piece(struct im_error *err)
{
    return vmdk_unsupported(err,
                            "the VMDK has no descriptor inside: it is one piece of a split image; "
                            "give the descriptor file of the disk, and --extents DIR, the "
                            "directory that holds its pieces");
}

/* The claim of the descriptor.  A piece of a disk needs none: its text is in a file of its own. */
static int check_text_place(struct vmdk *vmdk, struct im_error *err)
{
    const struct vmdk_header *header = &vmdk->header;

    if (header->descriptor == 0 || header->descriptor_len == 0)
        return vmdk->piece.len ? 0 : refuse_piece(err);
    if (header->descriptor_len > VMDK_DESCRIPTOR_MAX)
        return vmdk_damaged(
            err, "the VMDK header says the descriptor has %" PRIu64 " sectors; %u are the limit",
            header->descriptor_len, VMDK_DESCRIPTOR_MAX);
    return vmdk_claim(vmdk, header->descriptor, header->descriptor_len, "descriptor", err);
}

/* Headers and the text they name: what stands before everything else. */
static int check_layout(struct vmdk *vmdk, struct im_error *err)
{
    const struct vmdk_header *header = &vmdk->header;
    int r = vmdk_claim(vmdk, 0, 1, "header", err);

    if (r == 0)
        r = check_text_place(vmdk, err);
    if (r == 0)
        r = vmdk_check_claims(vmdk, err);
    if (r == 0 && vmdk_is_stream(vmdk) &&
        (header->overhead < header->descriptor + header->descriptor_len ||
         header->overhead > vmdk->file_sectors))
        r = vmdk_damaged(err,
                         "the VMDK header says the grains begin at sector %" PRIu64
                         ", which is not between the descriptor and the end of the file",
                         header->overhead);
    return r;
}

/* qemu-img leaves room for a text in every extent, and leaves it empty in the pieces of a disk. */
static int read_descriptor(struct vmdk *vmdk, struct im_error *err)
{
    size_t len = (size_t)vmdk->header.descriptor_len * VMDK_SECTOR;
    char *text IM_FREE = NULL;
    int r;

    if (vmdk->header.descriptor == 0 || len == 0)
        return 0;
    text = calloc(len + 1, 1);
    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read(vmdk->disk.source, text, len, vmdk->header.descriptor * VMDK_SECTOR, err);
    if (r < 0)
        return r;
    if (vmdk->piece.len)
        return *text ? vmdk_unsupported(err, "it has a descriptor of its own, so that it is not a "
                                             "piece of this disk but a whole one")
                     : 0;
    return *text ? vmdk_check_descriptor(vmdk, text, err) : refuse_piece(err);
}

static int check_piece(const struct vmdk *vmdk, struct im_error *err)
{
    uint64_t wanted = vmdk->piece.len / VMDK_SECTOR;

    if (vmdk_is_stream(vmdk))
        return vmdk_unsupported(err, "it is stream-optimized, which no piece of a disk is");
    if (vmdk->header.capacity != wanted)
        return vmdk_damaged(
            err, "the descriptor says it has %" PRIu64 " sectors, but its header %" PRIu64, wanted,
            vmdk->header.capacity);
    return 0;
}

/* got: bytes of header.raw that the file has. */
static int check_header(struct vmdk *vmdk, size_t got, struct im_error *err)
{
    int r;

    if (got < VMDK_SECTOR)
        return vmdk_damaged(err, "the file has only %zu bytes, less than a VMDK header", got);
    parse_header(&vmdk->header);
    if (vmdk->header.version < 1 || vmdk->header.version > 3)
        return vmdk_unsupported(
            err, "the VMDK header has version %" PRIu32 "; 1 to 3 can be read" VMDK_CURE,
            vmdk->header.version);
    vmdk->file_sectors = vmdk->disk.source->size / VMDK_SECTOR;
    r = check_flags(&vmdk->header, err);
    if (r == 0)
        r = check_geometry(vmdk, err);
    if (r == 0 && vmdk->piece.len)
        r = check_piece(vmdk, err);
    return r;
}

int vmdk_check_size(uint64_t size, const struct im_open *options, struct im_error *err)
{
    if (size <= options->max_size)
        return 0;
    return im_fail(err, EFBIG,
                   "the VMDK holds a disk of %" PRIu64 " bytes, more than the %" PRIu64 " allowed",
                   size, options->max_size);
}

/* What is read at once, and a grain of the largest size behind its last byte; of a piece only
 * tables go through the window. */
static size_t window_size(const struct vmdk *vmdk)
{
    return vmdk->piece.len ? TABLE_WINDOW : IM_WINDOW_SIZE + (size_t)vmdk_grain_bytes(vmdk);
}

/* The header is known to be right. */
static int open_it(struct vmdk *vmdk, struct im_error *err)
{
    int r = check_layout(vmdk, err);

    if (r == 0)
        r = read_descriptor(vmdk, err);
    if (r == 0)
        r = im_window_init(&vmdk->window, vmdk->disk.source, window_size(vmdk), err);
    if (r < 0)
        return r;
    if (getrandom(vmdk->key, sizeof(vmdk->key), 0) != (ssize_t)sizeof(vmdk->key))
        return im_fail_errno(err, errno, "the system gives no random numbers");
    vmdk->key[1] |= 1;
    vmdk->cached_table = UINT32_MAX;
    vmdk->disk.ops = vmdk_is_stream(vmdk) ? &vmdk_stream_ops : &vmdk_sparse_ops;
    return vmdk_is_stream(vmdk) ? vmdk_stream_open(vmdk, err) : vmdk_sparse_open(vmdk, err);
}

void vmdk_describe(struct im_disk *disk, struct im_facts *facts)
{
    struct vmdk *vmdk = (struct vmdk *)disk;

    im_fact(facts, "subformat", "%s",
            vmdk_is_stream(vmdk) ? "streamOptimized" : "monolithicSparse");
    im_fact(facts, "create-type", "%s", vmdk->create_type);
    im_fact(facts, "version", "%" PRIu32, vmdk->header.version);
    im_fact(facts, "grain-size", "%" PRIu64, vmdk->header.grain * VMDK_SECTOR);
    if (vmdk->directory) /* else they are known only after a walk */
        im_fact(facts, "allocated-grains", "%" PRIu64, vmdk->allocated);
}

void vmdk_close(struct im_disk *disk)
{
    struct vmdk *vmdk = (struct vmdk *)disk;

    im_window_done(&vmdk->window);
    im_zlib_free(vmdk->zlib);
    free(vmdk->directory);
    free(vmdk->prints);
    free(vmdk->claims);
    free(vmdk->list);
    free(vmdk->packed);
    free(vmdk->plain);
}

/* When qemu-img writes a shorter CID over a longer one, up to so many bytes of the old text are
 * left behind the new text's NUL: the same that the text ends with. */
#define STALE_MAX 6u

/* Where what stands behind the text of `end` bytes differs from NULs and from what qemu-img leaves
 * there; len: nowhere. */
static size_t find_more(const char *text, size_t end, size_t len)
{
    size_t stale = end < len ? strnlen(text + end + 1, len - end - 1) : 0;
    size_t i = end;

    if (stale <= STALE_MAX && stale <= end &&
        (stale == 0 || memcmp(text + end + 1, text + end - stale, stale) == 0))
        i += stale + (end < len);
    while (i < len && !text[i])
        i++;
    return i;
}

/* All of a descriptor file, of which qemu-img fills the last sector with NULs.  Anything else
 * behind a NUL some readers would see and others not. */
static int read_text(struct im_source *source, char **ret_text, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(VMDK_TEXT_MAX);
    char piece[16384];
    size_t got, end, more;

    do {
        int r = im_source_read_some(source, piece, sizeof(piece), text.len, &got, err);

        if (r == 0)
            r = im_buffer_add(&text, piece, got);
        if (r == -EFBIG)
            return vmdk_unsupported(err, "the VMDK's descriptor is longer than %u bytes" VMDK_CURE,
                                    VMDK_TEXT_MAX);
        if (r < 0)
            return r;
    } while (got == sizeof(piece));
    end = strlen(text.data);
    more = find_more(text.data, end, text.len);
    if (more < text.len)
        return vmdk_damaged(err,
                            "the VMDK's descriptor has a NUL byte at offset %zu, and more behind "
                            "it at offset %zu",
                            end, more);
    *ret_text = im_buffer_steal(&text);
    return *ret_text ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static struct vmdk *new_vmdk(struct im_source *source)
{
    /* either layout's ops will do to close it */
    struct vmdk *vmdk = im_disk_new(sizeof(*vmdk), &vmdk_sparse_ops, 0, NULL);

    if (vmdk)
        vmdk->disk.source = source;
    return vmdk;
}

/* Hand vmdk over, or close it when r is a failure. */
static int finish(struct vmdk *vmdk, int r, struct im_disk **ret_disk)
{
    if (r < 0)
        im_disk_close(&vmdk->disk);
    else
        *ret_disk = &vmdk->disk;
    return r;
}

int vmdk_open_piece(struct im_source *source, const struct vmdk_piece *piece,
                    struct im_disk **ret_disk, struct im_error *err)
{
    struct vmdk *vmdk = new_vmdk(source);
    size_t got;
    int r;

    if (!vmdk)
        return im_fail(err, ENOMEM, "out of memory");
    vmdk->piece = *piece;
    r = im_source_read_some(source, vmdk->header.raw, VMDK_SECTOR, 0, &got, err);
    if (r == 0 && !is_sparse(vmdk->header.raw, got))
        r = vmdk_damaged(err, "it does not begin with 'KDMV': it is no sparse extent");
    if (r == 0)
        r = check_header(vmdk, got, err);
    if (r == 0)
        r = open_it(vmdk, err);
    return finish(vmdk, r, ret_disk);
}

/* A file that is an extent and the whole disk; got bytes of head have been read. */
static int open_whole(struct im_source *source, const uint8_t *head, size_t got,
                      const struct im_open *options, struct im_disk **ret_disk,
                      struct im_error *err)
{
    struct vmdk *vmdk = new_vmdk(source);
    int r;

    if (!vmdk)
        return im_fail(err, ENOMEM, "out of memory");
    vmdk->piece.total = source->size;
    memcpy(vmdk->header.raw, head, got);
    r = check_header(vmdk, got, err);
    if (r == 0)
        r = vmdk_check_size(vmdk->disk.size, options, err);
    if (r == 0)
        r = open_it(vmdk, err);
    return finish(vmdk, r, ret_disk);
}

static int vmdk_open(struct im_source *source, const struct im_open *options,
                     struct im_disk **ret_disk, struct im_error *err)
{
    uint8_t head[VMDK_SECTOR];
    char *text = NULL;
    size_t got;
    int r = im_source_read_some(source, head, sizeof(head), 0, &got, err);

    if (r < 0)
        return r;
    if (is_sparse(head, got))
        return open_whole(source, head, got, options, ret_disk, err);
    if (foreign_kind(head, got))
        return vmdk_unsupported(err, "this VMDK is of type %s, which only ESX uses" VMDK_CURE,
                                foreign_kind(head, got));
    if (!is_descriptor(head, got))
        return vmdk_damaged(err, "the file does not begin with 'KDMV': it is no VMDK, or its start "
                                 "is missing");
    r = read_text(source, &text, err);
    return r < 0 ? r : vmdk_open_extents(source, text, options, ret_disk, err);
}

static const char *const subformats[] = { "streamOptimized", NULL };

const struct im_format im_format_vmdk = {
    .name = "vmdk",
    .summary = "VMware virtual disk: stream-optimized, monolithicSparse, split or flat",
    .resumes = true,
    .probe = vmdk_probe,
    .open = vmdk_open,
    .subformats = subformats,
    .encode = vmdk_encode,
};
