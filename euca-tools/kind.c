/* kind - the formats that are known, and how they are told apart.
 *
 * The marks are those of imaging-toolkit's own probes; a few of them that a raw disk could hold by
 * accident are looked at more closely here, for no raw disk is to be refused. */

#include <config.h>

#include "kind.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"

#include "vhd.h"

/* Bytes at each end that are looked at. */
#define ENDS 512

/* Both ends of a file, zeros where it has less, and its size. */
struct ends {
    uint8_t head[ENDS], tail[ENDS];
    uint64_t size;
};

/* How sure one may be: a raw disk may hold by accident what is PLAUSIBLE, not what is CERTAIN. */
enum bid { NO, PLAUSIBLE, CERTAIN };

static enum bid is_vmdk(const struct ends *ends)
{
    static const char descriptor[] = "# Disk DescriptorFile";
    uint32_t version = im_le32(ends->head + 4);

    if (strncasecmp((const char *)ends->head, descriptor, sizeof(descriptor) - 1) == 0)
        return CERTAIN;
    if (memcmp(ends->head, "KDMV", 4) != 0)
        return NO;
    return version >= 1 && version <= 3 ? CERTAIN : PLAUSIBLE;
}

static enum bid is_vhd(const struct ends *ends)
{
    bool whole;

    if (euca_vhd_cookie(ends->head)) /* in the place of a boot sector: a dynamic disk's copy */
        return CERTAIN;
    /* A raw disk may end with the footer of an image it holds: that one has another size. */
    if (!euca_vhd_ends(ends->tail, ends->size, &whole))
        return NO;
    return whole ? CERTAIN : PLAUSIBLE;
}

static enum bid is_vhdx(const struct ends *ends)
{
    return memcmp(ends->head, "vhdxfile", 8) == 0 ? CERTAIN : NO;
}

static enum bid is_qcow2(const struct ends *ends)
{
    uint32_t version = im_be32(ends->head + 4);

    if (memcmp(ends->head, "QFI\xfb", 4) != 0)
        return NO;
    return version >= 1 && version <= 3 ? CERTAIN : PLAUSIBLE;
}

/* QEMU's block/vdi.c: signature behind 64 bytes of text, then the version, 1.1. */
static enum bid is_vdi(const struct ends *ends)
{
    if (im_le32(ends->head + 64) != 0xbeda107f)
        return NO;
    return im_le32(ends->head + 68) == 0x00010001 ? CERTAIN : PLAUSIBLE;
}

/* A tar (POSIX.1, ustar) whose first member is the description (DSP0243 section 5.3). */
static enum bid is_ova(const struct ends *ends)
{
    const char *name = (const char *)ends->head;
    size_t len = strnlen(name, 100);

    if (memcmp(ends->head + 257, "ustar", 5) != 0)
        return NO;
    return len > 4 && strncasecmp(name + len - 4, ".ovf", 4) == 0 ? CERTAIN : PLAUSIBLE;
}

/* RFC 1952 section 2.3: of three bytes of magic a disk of noise has one in 16 million; the flags,
 * and who wrote it, are looked at as well. */
static enum bid is_gz(const struct ends *ends)
{
    const uint8_t *head = ends->head;
    bool extra = head[8] == 0 || head[8] == 2 || head[8] == 4;

    if (memcmp(head, "\x1f\x8b\x08", 3) != 0)
        return NO;
    return (head[3] & 0xe0) == 0 && extra && (head[9] <= 13 || head[9] == 255) ? CERTAIN
                                                                               : PLAUSIBLE;
}

static enum bid is_xz(const struct ends *ends)
{
    return memcmp(ends->head, "\3757zXZ", 6) == 0 ? CERTAIN : NO;
}

/* APPNOTE.TXT section 4.3.7: version needed (at most 6.3), then flags, then the method. */
static enum bid is_zip(const struct ends *ends)
{
    if (memcmp(ends->head, "PK\3\4", 4) != 0)
        return NO;
    return im_le16(ends->head + 4) <= 63 && im_le16(ends->head + 8) < 100 ? CERTAIN : PLAUSIBLE;
}

/* Raw first, which is what nobody recognises. */
static const struct kind {
    const char *name, *other_name; /* as -f has it; of packings what follows the dot */
    bool packing;
    const char *title;
    enum bid (*bid)(const struct ends *ends); /* NULL: raw */
} kinds[] = {
    { "raw", NULL, false, "a raw disk", NULL },
    { "vmdk", NULL, false, "a VMDK", is_vmdk },
    { "vhd", "vpc", false, "a VHD", is_vhd },
    { "vhdx", NULL, false, "a VHDX", is_vhdx },
    { "qcow2", NULL, false, "a QCOW2 image", is_qcow2 },
    { "vdi", NULL, false, "a VDI", is_vdi },
    { "ova", NULL, true, "an OVA", is_ova },
    { "gz", NULL, true, "a gzip file", is_gz },
    { "xz", NULL, true, "an xz file", is_xz },
    { "zip", NULL, true, "a zip file", is_zip },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool is_called(const struct kind *kind, const char *name, size_t len)
{
    return (strlen(kind->name) == len && strncasecmp(kind->name, name, len) == 0) ||
           (kind->other_name && strlen(kind->other_name) == len &&
            strncasecmp(kind->other_name, name, len) == 0);
}

static const struct kind *find_kind(const char *name, size_t len, bool packing)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].packing == packing && is_called(&kinds[i], name, len))
            return &kinds[i];
    return NULL;
}

static const struct kind *kind_said(const char *format)
{
    const char *dot = strrchr(format, '.');

    if (dot)
        return find_kind(format, (size_t)(dot - format), false)
                   ? find_kind(dot + 1, strlen(dot + 1), true)
                   : NULL;
    if (strcasecmp(format, "ova") == 0)
        return find_kind(format, strlen(format), true);
    return find_kind(format, strlen(format), false);
}

const char *euca_kind_name(const char *format)
{
    const struct kind *kind = kind_said(format);

    return kind ? kind->name : NULL;
}

static int read_ends(const struct euca_image *image, struct ends *ends, struct im_error *err)
{
    size_t len = image->file_size < ENDS ? (size_t)image->file_size : ENDS;
    int r;

    *ends = (struct ends){ .size = image->file_size };
    r = euca_image_read(image, ends->head, len, 0, err);
    /* a file that has no tail of its own has no footer either */
    if (r == 0 && len == ENDS)
        r = euca_image_read(image, ends->tail, len, image->file_size - len, err);
    return r;
}

/* A file that certainly is one thing and was said to be another. */
static int is_another(const struct euca_image *image, const struct kind *kind, const char *format,
                      struct im_error *err)
{
    const char *inner = kind->packing && kind->bid != is_ova ? "FORMAT." : "";
    bool imported = kind->bid == is_vmdk || kind->bid == is_vhd;

    return im_fail(err, EBADMSG,
                   "File %s is %s, not %s: %s%s%sconvert it with 'imaging-toolkit "
                   "convert -f %s%s -O raw IN OUT', or upload it as it is with "
                   "--dont-verify-format",
                   image->path, kind->title, format, imported ? "give -f " : "",
                   imported ? kind->name : "", imported ? ", or " : "", inner, kind->name);
}

int euca_kind_verify(const struct euca_image *image, const char *format, struct im_error *err)
{
    const struct kind *said = kind_said(format);
    struct ends ends;
    int r;

    if (!said)
        return 0;
    r = read_ends(image, &ends, err);
    if (r < 0 || (said->bid && said->bid(&ends) != NO))
        return r;
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].bid && kinds[i].bid(&ends) == CERTAIN)
            return is_another(image, &kinds[i], format, err);
    if (!said->bid)
        return 0;
    return im_fail(err, EBADMSG,
                   "File %s is not %s: nothing in it says so; give -f raw when it is a plain disk, "
                   "or upload it as it is with --dont-verify-format",
                   image->path, said->title);
}
