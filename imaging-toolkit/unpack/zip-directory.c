/* zip-directory - headers and directory of a zip file.  Every field that another one repeats is
 * compared; what lies over something else, on another disk or behind the end is refused. */

#include <config.h>

#include "unpack/zip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/text.h"

/* The extra field of large files. */
#define EXTRA_ZIP64  1u
#define SMALL_MAX    UINT32_C(0xffffffff)
#define MADE_ON_UNIX 3

static int damaged(const char *name, const char *what, uint64_t at, struct im_error *err)
{
    return im_fail(err, EBADMSG, "the zip file '%s' is damaged at byte %" PRIu64 ": %s", name, at,
                   what);
}

/* Name and method, of a local header as of an entry. */
static int take_name(const char *archive, const uint8_t *text, size_t len,
                     struct zip_member *member, struct im_error *err)
{
    char name[IM_MEMBER_NAME_MAX + 2];
    size_t plain = len > 0 && text[len - 1] == '/' ? len - 1 : len; /* of a directory */
    int r;

    if (len > IM_MEMBER_NAME_MAX || memchr(text, '\0', len))
        return im_member_check_name(archive, "", err);
    memcpy(name, text, len);
    name[plain] = '\0';
    r = im_member_check_name(archive, name, err);
    if (r < 0)
        return r;
    memcpy(member->name, text, len);
    member->name[len] = '\0';
    if (member->flags & ZIP_ENCRYPTED)
        return im_fail_code(err, EOPNOTSUPP, "Encrypted",
                            "'%s' in '%s' is encrypted; pack it without a password", name, archive);
    if (member->method != ZIP_STORED && member->method != ZIP_DEFLATED)
        return im_fail(err, EOPNOTSUPP,
                       "'%s' in '%s' is packed by method %u; only stored (0) and deflate (8) are "
                       "read",
                       name, archive, member->method);
    return 0;
}

/* The 64-bit numbers of what did not fit, in this order: size, packed, header. */
static bool take_zip64(const uint8_t *extra, size_t len, uint64_t **field, size_t fields)
{
    while (len >= 4) {
        size_t n = im_le16(extra + 2);

        if (n > len - 4)
            return false;
        if (im_le16(extra) == EXTRA_ZIP64) {
            if (n < 8 * fields)
                return false;
            for (size_t i = 0; i < fields; i++)
                *field[i] = im_le64(extra + 4 + 8 * i);
            return true;
        }
        extra += 4 + n;
        len -= 4 + n;
    }
    return fields == 0;
}

/* What stands for "see the extra field" is replaced by what stands there. */
static bool widen(struct zip_member *member, const uint8_t *extra, size_t len)
{
    uint64_t *wide[3];
    size_t n = 0;

    if (member->size == SMALL_MAX)
        wide[n++] = &member->size;
    if (member->packed == SMALL_MAX)
        wide[n++] = &member->packed;
    if (member->header == SMALL_MAX)
        wide[n++] = &member->header;
    return take_zip64(extra, len, wide, n) && member->size <= INT64_MAX &&
           member->packed <= INT64_MAX && member->header <= INT64_MAX;
}

int im_zip_local(struct im_source *source, uint64_t offset, struct zip_member *ret_member,
                 struct im_error *err)
{
    uint8_t head[ZIP_LOCAL_LEN + 2 * 65535u];
    struct zip_member member = { 0 };
    size_t got, names, extra;
    int r = im_source_read_some(source, head, ZIP_LOCAL_LEN, offset, &got, err);

    if (r < 0 || got < ZIP_LOCAL_LEN || im_le32(head) != ZIP_LOCAL)
        return r;
    names = im_le16(head + 26);
    extra = im_le16(head + 28);
    r = im_source_read(source, head + ZIP_LOCAL_LEN, names + extra, offset + ZIP_LOCAL_LEN, err);
    if (r < 0)
        return r;
    member.flags = im_le16(head + 6);
    member.method = im_le16(head + 8);
    member.crc = im_le32(head + 14);
    member.packed = im_le32(head + 18);
    member.size = im_le32(head + 22);
    member.at = offset + ZIP_LOCAL_LEN + names + extra;
    r = take_name(source->name, head + ZIP_LOCAL_LEN, names, &member, err);
    if (r < 0)
        return r;
    if (member.flags & ZIP_STREAMED)
        member.packed = member.size = UINT64_MAX;
    else if (!widen(&member, head + ZIP_LOCAL_LEN + names, extra))
        return damaged(source->name, "the sizes of a member make no sense", offset, err);
    member.header = offset;
    *ret_member = member;
    return 1;
}

/* An entry of the directory; *ret_len is its length.  A member that is none (a directory) is left
 * out. */
static int take_entry(const char *name, const uint8_t *p, size_t left, uint64_t at,
                      struct zip_directory *directory, size_t *ret_len, struct im_error *err)
{
    struct zip_member *member = &directory->member[directory->count];
    size_t names, extra, comment;
    uint32_t mode;
    int r;

    if (left < ZIP_ENTRY_LEN || im_le32(p) != ZIP_ENTRY)
        return damaged(name, "no entry of the directory is here", at, err);
    names = im_le16(p + 28);
    extra = im_le16(p + 30);
    comment = im_le16(p + 32);
    *ret_len = ZIP_ENTRY_LEN + names + extra + comment;
    if (*ret_len > left)
        return damaged(name, "an entry of the directory is cut off", at, err);
    *member = (struct zip_member){
        .flags = im_le16(p + 8),
        .method = im_le16(p + 10),
        .crc = im_le32(p + 16),
        .packed = im_le32(p + 20),
        .size = im_le32(p + 24),
        .header = im_le32(p + 42),
    };
    r = take_name(name, p + ZIP_ENTRY_LEN, names, member, err);
    if (r < 0)
        return r;
    if (im_le16(p + 34) != 0 || !widen(member, p + ZIP_ENTRY_LEN + names, extra))
        return damaged(name, "an entry is of another disk, or its numbers make no sense", at, err);
    mode = p[5] == MADE_ON_UNIX ? im_le32(p + 38) >> 16 : 0;
    /* "zip - -" writes that its standard input was a pipe */
    if (mode & S_IFMT && !S_ISREG(mode) && !S_ISDIR(mode) && !S_ISFIFO(mode))
        return im_fail_code(err, EOPNOTSUPP, "NotAFile",
                            "'%s' in '%s' is a link or a device; only files are read", member->name,
                            name);
    if (names > 0 && member->name[names - 1] == '/') {
        if (member->size != 0)
            return damaged(name, "a directory in it has a size", at, err);
        return 0;
    }
    directory->count++;
    return 0;
}

static int by_header(const void *a, const void *b)
{
    const struct zip_member *x = a, *y = b;

    return x->header < y->header ? -1 : x->header > y->header;
}

/* Members that share bytes are how a few KiB become petabytes. */
static int check_places(const char *name, struct zip_directory *directory, struct im_error *err)
{
    qsort(directory->member, directory->count, sizeof(directory->member[0]), by_header);
    for (unsigned i = 0; i < directory->count; i++) {
        const struct zip_member *member = &directory->member[i];
        uint64_t end = i + 1 < directory->count ? member[1].header : directory->at;
        uint64_t least = ZIP_LOCAL_LEN + strlen(member->name) + member->packed;

        if (member->header > end || least > end - member->header)
            return im_fail_code(err, EBADMSG, "OverlappingMembers",
                                "the zip file '%s' is damaged: '%s', at byte %" PRIu64
                                ", lies over what begins at byte %" PRIu64,
                                name, member->name, member->header, end);
        for (unsigned j = 0; j < i; j++)
            if (strcmp(directory->member[j].name, member->name) == 0)
                return im_fail_code(err, EOPNOTSUPP, "DuplicateMember",
                                    "'%s' has two members called '%s'; nobody can know which is "
                                    "meant",
                                    name, member->name);
    }
    return 0;
}

static int take_entries(const char *name, const uint8_t *p, size_t len, uint64_t count,
                        struct zip_directory *directory, struct im_error *err)
{
    size_t at = 0;

    if (count > ZIP_MEMBERS_MAX)
        return im_fail(err, EOPNOTSUPP,
                       "the zip file '%s' has %" PRIu64 " members; at most %u are "
                       "read",
                       name, count, ZIP_MEMBERS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        size_t n = 0;
        int r = take_entry(name, p + at, len - at, directory->at + at, directory, &n, err);

        if (r < 0)
            return r;
        at += n;
    }
    if (at != len)
        return damaged(name, "the directory has another length than its entries",
                       directory->at + at, err);
    return check_places(name, directory, err);
}

/* The record that stands at the very end, whatever its comment holds. */
static const uint8_t *find_end(const uint8_t *buf, size_t len)
{
    for (size_t back = ZIP_END; back <= len && back <= ZIP_END_MAX; back++) {
        const uint8_t *p = buf + len - back;

        if (im_le32(p) == ZIP_END_RECORD && im_le16(p + 20) == back - ZIP_END)
            return p;
    }
    return NULL;
}

/* The record of large files, where its locator stands in front of the end: it counts. */
static int take_end64(const char *name, const uint8_t *buf, uint64_t at, const uint8_t **end,
                      uint64_t *count, uint64_t *len, uint64_t *start, struct im_error *err)
{
    const uint8_t *locator = *end - ZIP_LOCATOR_LEN, *record;
    uint64_t place;

    if (*end - buf < (ptrdiff_t)ZIP_LOCATOR_LEN || im_le32(locator) != ZIP_LOCATOR64)
        return 0;
    record = locator - ZIP_END64_LEN;
    place = im_le64(locator + 8);
    if (record < buf || im_le32(record) != ZIP_END64 || im_le64(record + 4) != ZIP_END64_LEN - 12 ||
        place != at + (uint64_t)(record - buf) || im_le32(locator + 4) != 0 ||
        im_le32(locator + 16) != 1 || im_le32(record + 16) != 0 || im_le32(record + 20) != 0 ||
        im_le64(record + 24) != im_le64(record + 32))
        return damaged(name, "the record of large files at its end makes no sense", place, err);
    *count = im_le64(record + 32);
    *len = im_le64(record + 40);
    *start = im_le64(record + 48);
    *end = record;
    return 0;
}

int im_zip_end(const char *name, const uint8_t *buf, size_t len, uint64_t at,
               struct zip_directory *ret_directory, uint64_t *ret_need, struct im_error *err)
{
    const uint8_t *end = find_end(buf, len);
    uint64_t count, length, start, end_at;
    int r;

    if (!end)
        return im_fail(err, EBADMSG,
                       "the zip file '%s' is truncated: the directory at its end is missing (or "
                       "something follows it)",
                       name);
    if (im_le16(end + 4) != 0 || im_le16(end + 6) != 0 || im_le16(end + 8) != im_le16(end + 10))
        return im_fail(err, EOPNOTSUPP,
                       "'%s' is one of several files of a split zip; join them "
                       "with 'zip -s 0'",
                       name);
    count = im_le16(end + 10);
    length = im_le32(end + 12);
    start = im_le32(end + 16);
    r = take_end64(name, buf, at, &end, &count, &length, &start, err);
    if (r < 0)
        return r;
    end_at = at + (uint64_t)(end - buf);
    if (length > ZIP_DIRECTORY_MAX || start > end_at || length != end_at - start)
        return damaged(name, "its directory does not stand where the record at the end says",
                       end_at, err);
    if (start < at) {
        *ret_need = start;
        return 1;
    }
    *ret_directory = (struct zip_directory){ .at = start };
    return take_entries(name, buf + (start - at), (size_t)length, count, ret_directory, err);
}
