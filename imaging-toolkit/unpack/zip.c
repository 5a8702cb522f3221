/* zip - one file out of a zip file.
 *
 * Where that can be read at any place the directory at its end is read first, and a file that is
 * stored as it is can be read at any place, too.  Of a pipe the local headers are followed, and the
 * directory is compared when it comes, before anything is committed.
 *
 * libarchive reads zip as well, but neither looks for members that share bytes nor compares the two
 * sets of headers, and it gives a stored file as a stream only. */

#include <config.h>

#include "unpack/zip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "core/inflate.h"
#include "unpack/range.h"
#include "unpack/unpack.h"

/* Behind the last member: directory, records and comment. */
#define TAIL_MAX (ZIP_DIRECTORY_MAX + ZIP_END64_LEN + ZIP_LOCATOR_LEN + ZIP_END_MAX)

struct zip {
    struct im_source *source; /* the archive; owned by what owns this */
    struct zip_member chosen;
    bool proven;  /* the directory has been read, and the member is the one it tells */
    bool only;    /* nobody has chosen: there may be no other file */
    uint32_t crc; /* of what came out */
    struct zip_directory directory;
};

static struct zip *zip_free(struct zip *zip)
{
    free(zip);
    return NULL;
}

/* The directory from `at` to the end of the source. */
static int read_tail(struct zip *zip, uint64_t at, uint64_t *ret_need, struct im_error *err)
{
    uint8_t *buf IM_FREE = malloc(TAIL_MAX + 1);
    size_t got = 0;
    int r;

    if (!buf)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read_some(zip->source, buf, TAIL_MAX + 1, at, &got, err);
    if (r < 0)
        return r;
    if (got > TAIL_MAX)
        return im_fail(err, EBADMSG,
                       "the zip file '%s' is damaged, or its directory too long: at byte %" PRIu64
                       " it should begin, and more than %u bytes follow",
                       zip->source->name, at, TAIL_MAX);
    return im_zip_end(zip->source->name, buf, got, at, &zip->directory, ret_need, err);
}

/* Of a source that can be read at any place. */
static int read_directory(struct zip *zip, struct im_error *err)
{
    uint64_t size = zip->source->size, last = ZIP_END_MAX + ZIP_LOCATOR_LEN + ZIP_END64_LEN;
    uint64_t need;
    int r = read_tail(zip, size > last ? size - last : 0, &need, err);

    return r == 1 ? read_tail(zip, need, &need, err) : r;
}

static const struct zip_member *find(const struct zip *zip, const char *name)
{
    for (unsigned i = 0; i < zip->directory.count; i++)
        if (strcmp(zip->directory.member[i].name, name) == 0)
            return &zip->directory.member[i];
    return NULL;
}

static int no_such(const struct zip *zip, const char *wanted, struct im_error *err)
{
    char shown[160];

    return im_fail(err, ENOENT, "'%s' has no file '%s' (see 'imaging-toolkit info')",
                   zip->source->name, im_text_printable(shown, sizeof(shown), wanted));
}

static int several(const struct zip *zip, const char *one, const char *other, struct im_error *err)
{
    return im_fail(err, EOPNOTSUPP,
                   "'%s' holds several files ('%s', '%s'); say which one is the disk (--disk NAME, "
                   "or the stage unpack's disk=NAME)",
                   zip->source->name, one, other);
}

/* Choose by number, name, or because there is but one. */
static int choose(struct zip *zip, const char *wanted, struct im_error *err)
{
    const struct zip_directory *directory = &zip->directory;
    const struct zip_member *member = NULL;
    uint64_t number;

    if (!wanted && directory->count > 1)
        return several(zip, directory->member[0].name, directory->member[1].name, err);
    if (!wanted && directory->count == 0)
        return im_fail(err, EBADMSG, "'%s' holds no file", zip->source->name);
    if (!wanted)
        member = &directory->member[0];
    else if (im_parse_uint(wanted, ZIP_MEMBERS_MAX, &number) == 0)
        member = number >= 1 && number <= directory->count ? &directory->member[number - 1] : NULL;
    else
        member = find(zip, wanted);
    if (!member)
        return no_such(zip, wanted, err);
    zip->chosen = *member;
    return 0;
}

/* Do header and directory tell the same of the member?  What a streaming writer did not know when
 * it wrote the header, only the directory tells. */
static bool same(const struct zip_member *local, const struct zip_member *entry)
{
    bool known = !(local->flags & ZIP_STREAMED);

    return strcmp(local->name, entry->name) == 0 && local->header == entry->header &&
           local->flags == entry->flags && local->method == entry->method &&
           (!known || (local->crc == entry->crc && local->packed == entry->packed &&
                       local->size == entry->size));
}

static int differs(const struct zip *zip, const struct zip_member *member, struct im_error *err)
{
    return im_fail(err, EBADMSG,
                   "the zip file '%s' is damaged: the header of '%s' at byte %" PRIu64
                   " and the directory disagree",
                   zip->source->name, member->name, member->header);
}

/* The member's own header, and where its data lie. */
static int check_local(struct zip *zip, struct im_error *err)
{
    const struct zip_member *entry = &zip->chosen;
    struct zip_member local;
    uint64_t end = zip->directory.at;
    int r = im_zip_local(zip->source, entry->header, &local, err);

    if (r < 0)
        return r;
    if (r == 0 || !same(&local, entry))
        return differs(zip, entry, err);
    for (unsigned i = 0; i < zip->directory.count; i++)
        if (zip->directory.member[i].header > entry->header)
            end = im_min(end, zip->directory.member[i].header);
    if (local.at > end || entry->packed > end - local.at)
        return differs(zip, entry, err);
    zip->chosen.at = local.at;
    return 0;
}

static void list(const struct zip *zip, struct im_contents *contents)
{
    const struct zip_directory *directory = &zip->directory;

    contents->count = (unsigned)im_min(directory->count, IM_CONTENTS_MAX);
    for (unsigned i = 0; i < contents->count; i++) {
        const struct zip_member *member = &directory->member[i];
        struct im_content *content = &contents->content[i];

        *content = (struct im_content){
            .size = member->packed,
            .capacity = UINT64_MAX,
            .compression = member->method == ZIP_DEFLATED ? "deflate" : NULL,
        };
        (void)snprintf(content->file, sizeof(content->file), "%s", member->name);
        if (strcmp(member->name, zip->chosen.name) == 0)
            contents->chosen = i;
    }
}

/* ---- of a pipe ---- */

static bool is_directory(const struct zip_member *member)
{
    return member->name[strlen(member->name) - 1] == '/';
}

/* Follow the local headers to the member that is wanted. */
static int seek_member(struct zip *zip, const char *wanted, struct im_error *err)
{
    uint64_t at = 0, number = 0, place = 0;
    bool by_number = wanted && im_parse_uint(wanted, ZIP_MEMBERS_MAX, &number) == 0;

    for (;;) {
        struct zip_member *member = &zip->chosen;
        int r = im_zip_local(zip->source, at, member, err);
        bool file = r == 1 && !is_directory(member);

        if (r < 0)
            return r;
        if (r == 0)
            return at == 0 || !wanted ? im_fail(err, EBADMSG, "'%s' holds no file, or is no zip",
                                                zip->source->name)
                                      : no_such(zip, wanted, err);
        place += file;
        if (file && (!wanted || (by_number ? place == number : strcmp(member->name, wanted) == 0)))
            return 0;
        if (member->packed == UINT64_MAX)
            return im_fail(err, EOPNOTSUPP,
                           "in '%s', which comes through a pipe, the length of '%s' is told only "
                           "behind it, so that it cannot be skipped; give the zip as a file",
                           zip->source->name, member->name);
        at = member->at + member->packed;
    }
}

/* Where a streaming writer put checksum and sizes behind the data, in one of four forms: with a
 * signature or without, with numbers of 32 or 64 bits. */
static int skip_descriptor(const struct zip *zip, uint64_t packed, uint64_t size, uint64_t *at,
                           struct im_error *err)
{
    uint8_t buf[24] = { 0 };
    size_t got;
    int r = im_source_read_some(zip->source, buf, sizeof(buf), *at, &got, err);

    if (r < 0)
        return r;
    for (unsigned form = 0; form < 4; form++) {
        const uint8_t *p = buf + (form & 1 ? 0 : 4);
        bool wide = form & 2;
        size_t len = (size_t)(p - buf) + (wide ? 20 : 12);

        if (len > got || (!(form & 1) && im_le32(buf) != ZIP_DESCRIPTOR) ||
            im_le32(p) != zip->crc || (wide ? im_le64(p + 4) : im_le32(p + 4)) != packed ||
            (wide ? im_le64(p + 12) : im_le32(p + 8)) != size)
            continue;
        *at += len;
        return 0;
    }
    return im_fail(err, EBADMSG,
                   "'%s' in '%s' is damaged: the checksum and sizes behind it are not those of "
                   "what came out (CRC %08" PRIx32 ", %" PRIu64 " bytes of %" PRIu64 ")",
                   zip->chosen.name, zip->source->name, zip->crc, size, packed);
}

/* Go from `at`, behind the member, over all others to the directory, and compare. */
static int prove_rest(struct zip *zip, uint64_t at, struct im_error *err)
{
    const struct zip_member *entry;
    uint64_t need;
    int r;

    for (;;) {
        struct zip_member next;

        r = im_zip_local(zip->source, at, &next, err);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        if (zip->only && !is_directory(&next))
            return several(zip, zip->chosen.name, next.name, err);
        if (next.packed == UINT64_MAX)
            return im_fail(err, EOPNOTSUPP,
                           "'%s' comes through a pipe, and the length of '%s' is told only behind "
                           "it; give the zip as a file",
                           zip->source->name, next.name);
        at = next.at + next.packed;
    }
    r = read_tail(zip, at, &need, err);
    if (r < 0)
        return r;
    entry = r == 1 ? NULL : find(zip, zip->chosen.name);
    if (!entry || zip->directory.at != at || !same(&zip->chosen, entry))
        return differs(zip, &zip->chosen, err);
    if (zip->only && zip->directory.count > 1)
        return several(zip, zip->directory.member[0].name, zip->directory.member[1].name, err);
    zip->chosen.crc = entry->crc;
    zip->chosen.packed = entry->packed;
    zip->chosen.size = entry->size;
    return 0;
}

/* ---- the proof ---- */

static void take(void *arg, const void *buf, size_t len)
{
    struct zip *zip = arg;

    zip->crc = im_zlib_crc32(zip->crc, buf, len);
}

static int at_end(void *arg, uint64_t taken, uint64_t given, struct im_error *err)
{
    struct zip *zip = arg;
    uint64_t at = zip->chosen.at + taken;
    int r = 0;

    if (zip->chosen.packed == UINT64_MAX)
        r = skip_descriptor(zip, taken, given, &at, err);
    else
        at = zip->chosen.at + zip->chosen.packed;
    if (r == 0 && !zip->proven)
        r = prove_rest(zip, at, err);
    if (r < 0)
        return r;
    if (zip->crc == zip->chosen.crc && taken == zip->chosen.packed && given == zip->chosen.size)
        return 0;
    return im_fail(err, EBADMSG,
                   "'%s' in '%s' is damaged: %" PRIu64 " bytes with the CRC %08" PRIx32
                   " came out of %" PRIu64 "; the directory says %" PRIu64 ", %08" PRIx32
                   " and %" PRIu64,
                   zip->chosen.name, zip->source->name, given, zip->crc, taken, zip->chosen.size,
                   zip->chosen.crc, zip->chosen.packed);
}

static void release(void *arg)
{
    zip_free(arg);
}

/* ---- */

static int open_archive(struct zip *zip, const char *wanted, struct im_error *err)
{
    int r;

    zip->only = !wanted;
    if (zip->source->sequential || zip->source->size == IM_SIZE_UNKNOWN)
        return seek_member(zip, wanted, err);
    r = read_directory(zip, err);
    if (r == 0)
        r = choose(zip, wanted, err);
    if (r == 0)
        r = check_local(zip, err);
    zip->proven = r == 0;
    return r;
}

/* Stored: a range of the archive.  Deflated: a stream out of such a range. */
static int wrap_member(struct zip *zip, struct im_source **source, const struct im_unpack *unpack,
                       struct im_error *err)
{
    const struct im_proof proof = { .arg = zip, .take = take, .end = at_end, .free = release };
    const struct zip_member *member = &zip->chosen;
    bool stored = member->method == ZIP_STORED;
    char *title IM_FREE = im_member_title(*source, member->name);
    struct im_source *wrapped = *source;
    int r;

    if (!title)
        return im_fail(err, ENOMEM, "out of memory");
    if (stored && member->packed == UINT64_MAX)
        return im_fail(err, EOPNOTSUPP,
                       "'%s' in '%s' is stored, and its length told only behind it; give the zip "
                       "as a file",
                       member->name, zip->source->name);
    if (stored && member->packed != member->size)
        return differs(zip, member, err);
    r = im_range_wrap(&wrapped, title, member->at,
                      member->packed == UINT64_MAX ? IM_SIZE_UNKNOWN : member->packed,
                      stored ? &proof : NULL, err);
    if (r < 0 || stored) {
        *source = wrapped;
        return r;
    }
    r = im_deflate_wrap(&wrapped, title, member->size == UINT64_MAX ? unpack->size : member->size,
                        &unpack->limits, &proof, err);
    if (r < 0)
        im_range_unwrap(wrapped);
    else
        *source = wrapped;
    return r;
}

int im_zip_wrap(struct im_source **source, const struct im_unpack *unpack,
                struct im_contents *contents, struct im_error *err)
{
    struct zip *zip = calloc(1, sizeof(*zip));
    int r;

    if (!zip)
        return im_fail(err, ENOMEM, "out of memory");
    zip->source = *source;
    r = open_archive(zip, unpack->disk, err);
    if (r == 0 && contents && zip->proven)
        list(zip, contents);
    if (r == 0)
        r = wrap_member(zip, source, unpack, err);
    if (r < 0)
        zip_free(zip);
    return r;
}
