/* tar - the members of a tar archive.  The only file that knows libarchive, which is given bytes
 * and asked for headers; no filter of its (compression) is switched on, and no other format. */

#include <config.h>

#include "unpack/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/bytes.h"
#include "base/library.h"
#include "base/text.h"
#include "core/cancel.h"

/* Given to libarchive at once: less than a pipe can look back. */
#define PIECE (64u << 10)

static struct library {
    typeof(&archive_read_new) archive_read_new;
    typeof(&archive_read_free) archive_read_free;
    typeof(&archive_read_support_format_tar) archive_read_support_format_tar;
    typeof(&archive_read_open2) archive_read_open2;
    typeof(&archive_read_next_header) archive_read_next_header;
    typeof(&archive_filter_bytes) archive_filter_bytes;
    typeof(&archive_error_string) archive_error_string;
    typeof(&archive_entry_pathname) archive_entry_pathname;
    typeof(&archive_entry_filetype) archive_entry_filetype;
    typeof(&archive_entry_hardlink) archive_entry_hardlink;
    typeof(&archive_entry_size) archive_entry_size;
    typeof(&archive_entry_sparse_count) archive_entry_sparse_count;
} lib;

static const struct im_symbol symbols[] = {
    IM_SYMBOL(library, archive_read_new),
    IM_SYMBOL(library, archive_read_free),
    IM_SYMBOL(library, archive_read_support_format_tar),
    IM_SYMBOL(library, archive_read_open2),
    IM_SYMBOL(library, archive_read_next_header),
    IM_SYMBOL(library, archive_filter_bytes),
    IM_SYMBOL(library, archive_error_string),
    IM_SYMBOL(library, archive_entry_pathname),
    IM_SYMBOL(library, archive_entry_filetype),
    IM_SYMBOL(library, archive_entry_hardlink),
    IM_SYMBOL(library, archive_entry_size),
    IM_SYMBOL(library, archive_entry_sparse_count),
    { 0 },
};

struct im_tar {
    struct im_source *source; /* not owned */
    uint64_t start;           /* of the archive in it */
    uint64_t position;        /* in the source, of what libarchive gets next */
    struct archive *archive;
    struct im_error failure; /* of the source */
    uint8_t piece[PIECE];
};

static la_ssize_t on_read(struct archive *archive, void *arg, const void **ret)
{
    struct im_tar *tar = arg;
    size_t got = 0;
    int r = im_cancel_check(&tar->failure);

    (void)archive;
    if (r == 0)
        r = im_source_read_some(tar->source, tar->piece, PIECE, tar->position, &got, &tar->failure);
    if (r < 0)
        return -1;
    tar->position += got;
    *ret = tar->piece;
    return (la_ssize_t)got;
}

static la_int64_t on_skip(struct archive *archive, void *arg, la_int64_t len)
{
    struct im_tar *tar = arg;
    uint64_t left = tar->source->size - tar->position; /* of a pipe: very much */
    uint64_t skip = im_min((uint64_t)len, im_min(left, INT64_MAX));

    (void)archive;
    tar->position += skip;
    return (la_int64_t)skip;
}

int im_tar_open(struct im_source *source, uint64_t offset, struct im_tar **ret_tar,
                struct im_error *err)
{
    struct im_tar *tar;
    int r = im_library_load("libarchive.so.13", symbols, &lib, err);

    if (r < 0)
        return r;
    tar = calloc(1, sizeof(*tar));
    if (!tar)
        return im_fail(err, ENOMEM, "out of memory");
    tar->source = source;
    tar->start = tar->position = offset;
    tar->archive = lib.archive_read_new();
    if (!tar->archive || lib.archive_read_support_format_tar(tar->archive) != ARCHIVE_OK) {
        im_tar_free(tar);
        return im_fail(err, ENOMEM, "out of memory");
    }
    if (lib.archive_read_open2(tar->archive, tar, NULL, on_read, on_skip, NULL) != ARCHIVE_OK) {
        if (err)
            *err = tar->failure;
        r = tar->failure.number ? -tar->failure.number
                                : im_fail(err, EBADMSG, "'%s' is no tar archive", source->name);
        im_tar_free(tar);
        return r;
    }
    *ret_tar = tar;
    return 0;
}

struct im_tar *im_tar_free(struct im_tar *tar)
{
    if (tar && tar->archive)
        (void)lib.archive_read_free(tar->archive);
    free(tar);
    return NULL;
}

int im_member_check_name(const char *archive, const char *name, struct im_error *err)
{
    char shown[160], printable[IM_MEMBER_NAME_MAX + 1];
    const char *part = name, *end;
    bool plain = name && *name && strlen(name) <= IM_MEMBER_NAME_MAX && !strchr(name, '\\') &&
                 im_text_is_utf8(name, strlen(name)) &&
                 strcmp(im_text_printable(printable, sizeof(printable), name), name) == 0;

    for (; plain; part = end + 1) {
        size_t len = strcspn(part, "/");

        end = part + len;
        plain = len > 0 && !(len <= 2 && strncmp(part, "..", len) == 0);
        if (!*end)
            break;
    }
    if (plain)
        return 0;
    return im_fail_code(err, EOPNOTSUPP, "UnsafeName",
                        "the archive '%s' has a member called '%s', which is no plain name: "
                        "absolute names, '.', '..', backslashes, control characters and more than "
                        "%d bytes are refused; nothing was unpacked",
                        archive, im_text_printable(shown, sizeof(shown), name ? name : ""),
                        IM_MEMBER_NAME_MAX);
}

/* Why libarchive, or the source below it, gives no header. */
static int refuse(struct im_tar *tar, struct im_error *err)
{
    const char *why = lib.archive_error_string(tar->archive);
    char shown[160];

    if (tar->failure.number) {
        if (err)
            *err = tar->failure;
        return -tar->failure.number;
    }
    return im_fail(err, EBADMSG,
                   "the tar archive '%s' is damaged or truncated near byte %" PRIu64 ": %s",
                   tar->source->name, tar->position,
                   im_text_printable(shown, sizeof(shown), why ? why : "unknown"));
}

static int check_kind(const struct im_tar *tar, struct archive_entry *entry, const char *name,
                      struct im_error *err)
{
    char shown[160];

    im_text_printable(shown, sizeof(shown), name ? name : "");
    if (lib.archive_entry_filetype(entry) != AE_IFREG || lib.archive_entry_hardlink(entry))
        return im_fail_code(err, EOPNOTSUPP, "NotAFile",
                            "the archive '%s' has a member '%s' that is no regular file; links, "
                            "directories and devices are refused: pack the files alone",
                            tar->source->name, shown);
    if (lib.archive_entry_sparse_count(entry) > 0)
        return im_fail(err, EOPNOTSUPP,
                       "the archive '%s' has a member '%s' that is stored as a sparse file; pack "
                       "it again with tar --format=ustar",
                       tar->source->name, shown);
    return 0;
}

int im_tar_next(struct im_tar *tar, struct im_member *ret_member, struct im_error *err)
{
    struct archive_entry *entry;
    struct im_member member = { 0 };
    const char *name;
    la_int64_t size;
    int result = lib.archive_read_next_header(tar->archive, &entry);
    int r;

    if (result == ARCHIVE_EOF && !tar->failure.number)
        return 0;
    if (result != ARCHIVE_OK) /* a warning is a header that can be read in two ways */
        return refuse(tar, err);
    name = lib.archive_entry_pathname(entry);
    r = check_kind(tar, entry, name, err);
    if (r == 0)
        r = im_member_check_name(tar->source->name, name, err);
    if (r < 0)
        return r;
    (void)snprintf(member.name, sizeof(member.name), "%s", name);
    size = lib.archive_entry_size(entry);
    member.at = tar->start + (uint64_t)lib.archive_filter_bytes(tar->archive, 0);
    if (size < 0 || (uint64_t)size > INT64_MAX - member.at ||
        (tar->source->size != IM_SIZE_UNKNOWN &&
         (uint64_t)size > tar->source->size - im_min(member.at, tar->source->size)))
        return im_fail(err, EBADMSG,
                       "the archive '%s' is truncated: its member '%s' is said to have %" PRIi64
                       " bytes, and the archive ends before",
                       tar->source->name, name, (int64_t)size);
    member.size = (uint64_t)size;
    *ret_member = member;
    return 1;
}
