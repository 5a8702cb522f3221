/* vmdk - VMware's virtual disk, as one sparse extent with its descriptor inside.
 *
 * Stream-optimized and monolithicSparse images are read.  Everything whose data is somewhere else
 * (descriptors alone, flat, split, device maps, parents) or of another build (COWD, SEsparse,
 * encrypted) is recognised, and refused with the reason. */

#include <config.h>

#include "format/vmdk.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/format.h"
#include "core/inflate.h"

/* The high half of the flags is for features a reader must know. */
#define MUST_KNOW 0xffff0000u

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
    if (probe->head_len >= 4 && memcmp(probe->head, "KDMV", 4) == 0)
        return IM_BID_CERTAIN;
    if (is_descriptor(probe->head, probe->head_len) || foreign_kind(probe->head, probe->head_len))
        return IM_BID_CERTAIN;
    return IM_BID_NO;
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
    header->redundant = im_le64(p + 48);
    header->directory = im_le64(p + 56);
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

/* Headers and the text they name: what stands before everything else. */
static int check_layout(struct vmdk *vmdk, struct im_error *err)
{
    const struct vmdk_header *header = &vmdk->header;
    int r;

    if (header->descriptor == 0 || header->descriptor_len == 0)
        return vmdk_unsupported(err,
                                "the VMDK has no descriptor inside: it is one piece of a split "
                                "image" VMDK_CURE);
    if (header->descriptor_len > VMDK_DESCRIPTOR_MAX)
        return vmdk_damaged(
            err, "the VMDK header says the descriptor has %" PRIu64 " sectors; %u are the limit",
            header->descriptor_len, VMDK_DESCRIPTOR_MAX);
    r = vmdk_claim(vmdk, 0, 1, "header", err);
    if (r == 0)
        r = vmdk_claim(vmdk, header->descriptor, header->descriptor_len, "descriptor", err);
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

static int read_descriptor(struct vmdk *vmdk, struct im_error *err)
{
    size_t len = (size_t)vmdk->header.descriptor_len * VMDK_SECTOR;
    char *text IM_FREE
    = calloc(len + 1, 1);
    int r;

    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read(vmdk->disk.source, text, len, vmdk->header.descriptor * VMDK_SECTOR, err);
    if (r < 0)
        return r;
    return vmdk_check_descriptor(vmdk, text, err);
}

/* A file that has not the header of a sparse extent: say what it is. */
static int refuse(struct im_source *source, const uint8_t *head, size_t len, struct im_error *err)
{
    size_t size = VMDK_DESCRIPTOR_MAX * VMDK_SECTOR;
    char *text IM_FREE
    = NULL;
    size_t got;
    int r;

    if (foreign_kind(head, len))
        return vmdk_unsupported(err, "this VMDK is of type %s, which only ESX uses" VMDK_CURE,
                                foreign_kind(head, len));
    if (!is_descriptor(head, len))
        return vmdk_damaged(err, "the file does not begin with 'KDMV': it is no VMDK, or its start "
                                 "is missing");
    text = calloc(size + 1, 1);
    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read_some(source, text, size, 0, &got, err);
    return r < 0 ? r : vmdk_refuse_descriptor(text, err);
}

static int read_header(struct vmdk *vmdk, struct im_error *err)
{
    struct im_source *source = vmdk->disk.source;
    uint8_t *raw = vmdk->header.raw;
    size_t got;
    int r = im_source_read_some(source, raw, VMDK_SECTOR, 0, &got, err);

    if (r < 0)
        return r;
    if (got < 4 || memcmp(raw, "KDMV", 4) != 0)
        return refuse(source, raw, got, err);
    if (got < VMDK_SECTOR)
        return vmdk_damaged(err, "the file has only %zu bytes, less than a VMDK header", got);
    parse_header(&vmdk->header);
    if (vmdk->header.version < 1 || vmdk->header.version > 3)
        return vmdk_unsupported(
            err, "the VMDK header has version %" PRIu32 "; 1 to 3 can be read" VMDK_CURE,
            vmdk->header.version);
    vmdk->file_sectors = source->size / VMDK_SECTOR;
    r = check_flags(&vmdk->header, err);
    if (r == 0)
        r = check_geometry(vmdk, err);
    return r;
}

static int open_it(struct vmdk *vmdk, const struct im_open *options, struct im_error *err)
{
    int r = read_header(vmdk, err);

    if (r < 0)
        return r;
    if (vmdk->disk.size > options->max_size)
        return im_fail(err, EFBIG,
                       "the VMDK holds a disk of %" PRIu64 " bytes, more than the %" PRIu64
                       " allowed",
                       vmdk->disk.size, options->max_size);
    r = check_layout(vmdk, err);
    if (r == 0)
        r = read_descriptor(vmdk, err);
    /* one piece, and a grain of the largest size behind its last byte */
    if (r == 0)
        r = im_window_init(&vmdk->window, vmdk->disk.source,
                           IM_WINDOW_SIZE + vmdk->header.grain * VMDK_SECTOR, err);
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

static int vmdk_open(struct im_source *source, const struct im_open *options,
                     struct im_disk **ret_disk, struct im_error *err)
{
    /* either layout's ops will do to close it */
    struct vmdk *vmdk = im_disk_new(sizeof(*vmdk), &vmdk_sparse_ops, 0, NULL);
    int r;

    if (!vmdk)
        return im_fail(err, ENOMEM, "out of memory");
    vmdk->disk.source = source;
    r = open_it(vmdk, options, err);
    if (r < 0) {
        im_disk_close(&vmdk->disk);
        return r;
    }
    *ret_disk = &vmdk->disk;
    return 0;
}

const struct im_format im_format_vmdk = {
    .name = "vmdk",
    .summary = "VMware virtual disk, stream-optimized or monolithicSparse",
    .probe = vmdk_probe,
    .open = vmdk_open,
};
