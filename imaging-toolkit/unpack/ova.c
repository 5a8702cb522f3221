/* ova - one disk of an OVA: a tar archive of a machine's description (OVF), its disks, and perhaps
 * a manifest of their digests.
 *
 * Where the archive can be read at any place, all its members are looked at before a byte of the
 * disk is given.  Of a pipe they are looked at as they come, those behind the disk at the end, and
 * still before anything is committed.  Names are compared as they are written; nothing is
 * extracted, and nothing outside of the archive is opened. */

#include <config.h>

#include "unpack/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/text.h"
#include "core/cancel.h"
#include "unpack/digests.h"
#include "unpack/ovf.h"
#include "unpack/range.h"

/* Far more than any OVA has; each is compared with each. */
#define MEMBERS_MAX 512u
#define BLOCK       512u
/* Zeros behind the last member: tar writes records, by default of 10 KiB, at most of some MiB. */
#define PADDING_MAX (8u << 20)
/* Hashes a manifest may be made with. */
#define HASHES 3u

static const enum im_hash hashes[HASHES] = { IM_SHA1, IM_SHA256, IM_SHA512 };

struct ova {
    struct im_source *source; /* the archive; owned by the range, which owns this as well */
    struct im_ovf *ovf;
    char *ovf_text;
    uint64_t next; /* where in the archive the next member begins */
    bool complete; /* there is none any more */
    unsigned count;
    struct im_member member[MEMBERS_MAX]; /* the first is the OVF */
    struct im_digest_list *digests;       /* the manifest, or NULL */
    bool certificate;
    const struct im_ovf_file *file;   /* of the chosen disk */
    struct im_hasher *hasher[HASHES]; /* of its bytes; all of them while it is not known which */
};

static struct ova *ova_free(struct ova *ova)
{
    if (!ova)
        return NULL;
    for (size_t i = 0; i < HASHES; i++)
        im_hasher_free(ova->hasher[i]);
    im_digest_list_free(ova->digests);
    im_ovf_free(ova->ovf);
    free(ova->ovf_text);
    free(ova);
    return NULL;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), n = strlen(suffix);

    return len > n && strcasecmp(name + len - n, suffix) == 0;
}

__attribute__((format(printf, 3, 4))) static int
unsupported(const struct ova *ova, struct im_error *err, const char *format, ...)
{
    char what[IM_ERROR_MAX - 80];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return im_fail_code(err, EOPNOTSUPP, "UnsupportedOva", "Unsupported OVA format: '%s' %s",
                        ova->source->name, what);
}

/* ---- members ---- */

static const struct im_member *find(const struct ova *ova, const char *name)
{
    for (unsigned i = 0; i < ova->count; i++)
        if (strcmp(ova->member[i].name, name) == 0)
            return &ova->member[i];
    return NULL;
}

/* The text of a small member, owned by the caller. */
static int read_text(struct ova *ova, const struct im_member *member, uint64_t max, char **ret_text,
                     struct im_error *err)
{
    char *text IM_FREE = NULL;
    int r;

    if (member->size > max)
        return im_fail(err, EBADMSG,
                       "'%s' in '%s' has %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
                       member->name, ova->source->name, member->size, max);
    text = malloc((size_t)member->size + 1);
    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read(ova->source, text, (size_t)member->size, member->at, err);
    if (r < 0)
        return r;
    text[member->size] = '\0';
    *ret_text = im_steal(text);
    return 0;
}

static int take_manifest(struct ova *ova, const struct im_member *member, struct im_error *err)
{
    char *text IM_FREE = NULL;
    int r;

    if (ova->digests)
        return unsupported(ova, err, "has two manifests (*.mf)");
    r = read_text(ova, member, IM_DIGESTS_MAX, &text, err);
    return r < 0 ? r : im_digest_list_parse(text, (size_t)member->size, &ova->digests, err);
}

/* Take the next member in; what it is its name says. */
static int add_member(struct ova *ova, const struct im_member *member, struct im_error *err)
{
    if (find(ova, member->name))
        return im_fail_code(err, EOPNOTSUPP, "DuplicateMember",
                            "'%s' has two members called '%s'; nobody can know which is meant",
                            ova->source->name, member->name);
    if (ova->count == MEMBERS_MAX)
        return unsupported(ova, err, "has more than %u members", MEMBERS_MAX);
    ova->member[ova->count++] = *member;
    ova->next = im_round_up(member->at + member->size, BLOCK);
    if (ova->count > 1 && ends_with(member->name, ".ovf"))
        return unsupported(ova, err, "has two descriptions (*.ovf); export one machine");
    if (ends_with(member->name, ".mf"))
        return take_manifest(ova, member, err);
    ova->certificate |= ends_with(member->name, ".cert");
    return 0;
}

/* Behind the last member there are two blocks of zeros at least, and nothing else: who cuts an
 * archive short could take the manifest away. */
static int prove_end(struct ova *ova, struct im_error *err)
{
    uint8_t *buf IM_FREE = malloc(PADDING_MAX);
    size_t got = 0;
    int r;

    if (!buf)
        return im_fail(err, ENOMEM, "out of memory");
    r = im_source_read_some(ova->source, buf, PADDING_MAX, ova->next, &got, err);
    if (r < 0)
        return r;
    if (got < 2 * BLOCK)
        return im_fail(err, EBADMSG,
                       "'%s' is truncated: behind its last member, at byte %" PRIu64
                       ", the two blocks of zeros that end a tar archive are missing",
                       ova->source->name, ova->next);
    if (got == PADDING_MAX || buf[0] != 0 || memcmp(buf, buf + 1, got - 1) != 0)
        return unsupported(ova, err,
                           "goes on behind the end of its last member at byte %" PRIu64
                           " with something else than the zeros that end a tar archive",
                           ova->next);
    return 0;
}

/* Look at the members that come, up to the one called `until` (NULL: to the end). */
static int read_members(struct ova *ova, const char *until, struct im_error *err)
{
    struct im_tar *tar = NULL;
    struct im_member member;
    int r = im_tar_open(ova->source, ova->next, &tar, err);
    int more = 1;

    while (r == 0 && !(until && find(ova, until))) {
        more = im_tar_next(tar, &member, err);
        r = more < 0 ? more : more == 0 ? 0 : add_member(ova, &member, err);
        if (more <= 0)
            break;
    }
    im_tar_free(tar);
    if (r == 0 && more == 0) {
        ova->complete = true;
        r = prove_end(ova, err);
    }
    return r;
}

/* ---- the description ---- */

/* What AWS says of everything that is not an archive with a description in front. */
static int check_magic(struct ova *ova, struct im_error *err)
{
    enum im_packing packing;
    int r = im_packing_probe(ova->source, &packing, err);

    if (r < 0 || packing == IM_PACKING_OVA)
        return r;
    return packing == IM_PACKING_NONE
               ? unsupported(ova, err, "is no tar archive")
               : unsupported(ova, err, "is compressed or packed once more (%s); unpack that first",
                             im_packing_name(packing));
}

static int read_ovf(struct ova *ova, struct im_error *err)
{
    struct im_tar *tar = NULL;
    struct im_member member;
    int r = check_magic(ova, err);
    int more;

    if (r == 0)
        r = im_tar_open(ova->source, 0, &tar, err);
    if (r < 0)
        return r;
    more = im_tar_next(tar, &member, err);
    im_tar_free(tar);
    if (more < 0)
        return more;
    if (more == 0)
        return unsupported(ova, err, "is an empty archive");
    if (!ends_with(member.name, ".ovf"))
        return unsupported(ova, err,
                           "begins with '%s'; its first member must be the description (*.ovf)",
                           member.name);
    r = add_member(ova, &member, err);
    if (r == 0)
        r = read_text(ova, &member, IM_OVF_MAX, &ova->ovf_text, err);
    return r < 0 ? r : im_ovf_parse(ova->ovf_text, (size_t)member.size, &ova->ovf, err);
}

static void list(const struct ova *ova, struct im_contents *contents)
{
    static const char *const compressions[] = { NULL, "gzip", "xz" };
    const struct im_ovf *ovf = ova->ovf;

    contents->certificate = ova->certificate;
    contents->digests = ova->digests != NULL;
    contents->count = ovf->disk_count;
    for (unsigned i = 0; i < ovf->disk_count; i++) {
        const struct im_ovf_disk *disk = &ovf->disk[i];
        const struct im_ovf_file *file = disk->file < 0 ? NULL : &ovf->file[disk->file];
        const struct im_member *member = file ? find(ova, file->href) : NULL;
        struct im_content *content = &contents->content[i];

        *content = (struct im_content){
            .size = member ? member->size
                    : file ? file->size
                           : UINT64_MAX,
            .capacity = disk->capacity,
            .compression = file ? compressions[file->compression] : NULL,
        };
        if (file)
            (void)snprintf(content->file, sizeof(content->file), "%s", file->href);
        im_text_printable(content->format, sizeof(content->format),
                          disk->format ? disk->format : "");
    }
}

/* Find the disk that is wanted: by its number, or its file's name. */
static int choose(struct ova *ova, const char *wanted, unsigned *ret_place, struct im_error *err)
{
    const struct im_ovf *ovf = ova->ovf;
    uint64_t number = 1;
    unsigned i = 0;
    char shown[160];

    if (!wanted || im_parse_uint(wanted, UINT32_MAX, &number) == 0)
        i = number >= 1 && number <= ovf->disk_count ? (unsigned)number - 1 : ovf->disk_count;
    else
        while (i < ovf->disk_count &&
               (ovf->disk[i].file < 0 || strcmp(ovf->file[ovf->disk[i].file].href, wanted) != 0))
            i++;
    if (i == ovf->disk_count)
        return im_fail(err, ENOENT, "'%s' has no disk '%s'; it has %u (see 'imaging-toolkit info')",
                       ova->source->name,
                       im_text_printable(shown, sizeof(shown), wanted ? wanted : "1"),
                       ovf->disk_count);
    if (ovf->disk[i].file < 0)
        return im_fail(err, EOPNOTSUPP,
                       "disk %u of '%s' has no file: it is a blank disk of %" PRIu64 " bytes",
                       i + 1, ova->source->name, ovf->disk[i].capacity);
    ova->file = &ovf->file[ovf->disk[i].file];
    *ret_place = i;
    return 0;
}

/* ---- what must hold ---- */

/* The file of the chosen disk is there, and as long as the description says. */
static int check_file(const struct ova *ova, struct im_error *err)
{
    const struct im_member *member = find(ova, ova->file->href);

    if (!member)
        return im_fail(err, EBADMSG,
                       "'%s' has no member called '%s', which its description names; names are "
                       "compared as they are written, and nothing is fetched from elsewhere",
                       ova->source->name, ova->file->href);
    if (ova->file->size != UINT64_MAX && ova->file->size != member->size)
        return im_fail(err, EBADMSG,
                       "'%s' in '%s' has %" PRIu64 " bytes, and its description says %" PRIu64,
                       member->name, ova->source->name, member->size, ova->file->size);
    return 0;
}

/* Every file of the description is a member of the archive. */
static int check_references(const struct ova *ova, struct im_error *err)
{
    for (unsigned i = 0; i < ova->ovf->file_count; i++)
        if (!find(ova, ova->ovf->file[i].href))
            return im_fail(err, EBADMSG,
                           "'%s' has no member called '%s', which its description names; the "
                           "archive is incomplete",
                           ova->source->name, ova->ovf->file[i].href);
    return 0;
}

/* The description is the one the manifest means. */
static int check_ovf_digest(const struct ova *ova, struct im_error *err)
{
    const struct im_member *member = &ova->member[0];
    uint8_t digest[IM_HASH_MAX];
    enum im_hash hash;
    int r = im_digest_list_kind(ova->digests, member->name, &hash, err);

    if (r < 0)
        return r;
    im_hash(hash, ova->ovf_text, (size_t)member->size, digest);
    return im_digest_list_check(ova->digests, member->name, digest, err);
}

static int start_hashers(struct ova *ova, struct im_error *err)
{
    enum im_hash listed = IM_MD5;
    int r = 0;

    if (!ova->digests && ova->complete)
        return 0; /* there is no manifest */
    if (ova->digests)
        r = im_digest_list_kind(ova->digests, ova->file->href, &listed, err);
    for (size_t i = 0; r == 0 && i < HASHES; i++) {
        if (ova->digests && hashes[i] != listed)
            continue;
        ova->hasher[i] = im_hasher_new(hashes[i]);
        if (!ova->hasher[i])
            r = im_fail(err, ENOMEM, "out of memory");
    }
    return r;
}

/* ---- the proof ---- */

static void take(void *arg, const void *buf, size_t len)
{
    struct ova *ova = arg;

    for (size_t i = 0; i < HASHES; i++)
        if (ova->hasher[i])
            im_hasher_add(ova->hasher[i], buf, len);
}

static int check_digest(struct ova *ova, struct im_error *err)
{
    uint8_t digest[IM_HASH_MAX];
    enum im_hash listed;
    int r = im_digest_list_kind(ova->digests, ova->file->href, &listed, err);

    for (size_t i = 0; r == 0 && i < HASHES; i++)
        if (hashes[i] == listed) {
            im_hasher_end(ova->hasher[i], digest);
            r = im_digest_list_check(ova->digests, ova->file->href, digest, err);
        }
    return r;
}

/* Behind the disk of a pipe: the other members, and what they say of it. */
static int read_rest(struct ova *ova, struct im_error *err)
{
    bool had_digests = ova->digests != NULL;
    int r = read_members(ova, NULL, err);

    if (r == 0)
        r = check_references(ova, err);
    return r == 0 && ova->digests && !had_digests ? check_ovf_digest(ova, err) : r;
}

static int at_end(void *arg, uint64_t taken, uint64_t given, struct im_error *err)
{
    struct ova *ova = arg;
    int r = ova->complete ? 0 : read_rest(ova, err);

    (void)taken;
    (void)given;
    return r == 0 && ova->digests ? check_digest(ova, err) : r;
}

static void release(void *arg)
{
    ova_free(arg);
}

/* ---- */

static int open_archive(struct ova *ova, const struct im_unpack *unpack,
                        struct im_contents *contents, struct im_error *err)
{
    unsigned chosen = 0;
    int r = read_ovf(ova, err);

    if (r == 0)
        r = choose(ova, unpack->disk, &chosen, err);
    if (r == 0)
        r = read_members(ova, ova->source->sequential ? ova->file->href : NULL, err);
    if (r == 0)
        r = check_file(ova, err);
    if (r == 0 && ova->complete)
        r = check_references(ova, err);
    if (r == 0 && ova->digests)
        r = check_ovf_digest(ova, err);
    if (r == 0)
        r = start_hashers(ova, err);
    if (r == 0 && contents) {
        list(ova, contents);
        contents->chosen = chosen;
    }
    return r;
}

/* The range is *source; undo it where what stands on it cannot be made. */
static int wrap_compression(struct im_source **source, enum im_ovf_compression compression,
                            const struct im_unpack *unpack, struct im_error *err)
{
    char *name IM_FREE = NULL;

    if (compression == IM_OVF_PLAIN)
        return 0;
    name = strdup((*source)->name);
    if (!name)
        return im_fail(err, ENOMEM, "out of memory");
    return compression == IM_OVF_GZIP
               ? im_gz_wrap(source, name, unpack->size, &unpack->limits, err)
               : im_xz_wrap(source, name, unpack->size, &unpack->limits, err);
}

int im_ova_wrap(struct im_source **source, const struct im_unpack *unpack,
                struct im_contents *contents, struct im_error *err)
{
    struct ova *ova = calloc(1, sizeof(*ova));
    struct im_proof proof = { .arg = ova, .end = at_end, .free = release };
    struct im_source *wrapped = *source;
    const struct im_member *member;
    char *title IM_FREE = NULL;
    int r;

    if (!ova)
        return im_fail(err, ENOMEM, "out of memory");
    ova->source = *source;
    r = open_archive(ova, unpack, contents, err);
    if (r < 0) {
        ova_free(ova);
        return r;
    }
    if (ova->digests || !ova->complete)
        proof.take = take;
    member = find(ova, ova->file->href);
    title = im_member_title(*source, member->name);
    r = title ? im_range_wrap(&wrapped, title, member->at, member->size, &proof, err)
              : im_fail(err, ENOMEM, "out of memory");
    if (r < 0) {
        ova_free(ova);
        return r;
    }
    r = wrap_compression(&wrapped, ova->file->compression, unpack, err);
    if (r < 0) {
        im_range_unwrap(wrapped);
        return r;
    }
    *source = wrapped;
    return 0;
}
