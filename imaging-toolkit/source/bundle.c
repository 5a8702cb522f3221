/* bundle - the image in a bundle: parts, AES, gzip and tar, one behind the other.
 *
 * Until the header of the tar file's member has been taken, whatever is wrong behind the parts is
 * told by one and the same sentence: with another key nothing makes sense, and how exactly it makes
 * none is nobody's business (base/rsa.h). */

#include <config.h>

#include "source/bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "core/cancel.h"
#include "core/gunzip.h"
#include "source/bundle-parts.h"
#include "source/forward.h"
#include "source/tar.h"

/* Decrypted at once. */
#define PIECE 65536u

/* Extended headers before the member: one for its name, one of pax, and some patience. */
#define EXTENDED_MAX 4

/* Zeros behind the member: two blocks, filled up to a record, of which nobody makes larger ones. */
#define TAIL_MAX (1u << 20)

struct unbundle {
    struct im_source base;
    struct im_forward forward;
    struct im_bundle *bundle;
    struct im_source *parts;
    uint8_t *sealed;    /* a piece of them … */
    uint64_t sealed_at; /* … that ends here */
    struct im_cbc *cbc; /* NULL: its end was reached */
    uint8_t *plain;     /* decrypted: from plain_at to plain_len */
    size_t plain_at, plain_len;
    struct im_gunzip *gunzip;
    bool member_ended;        /* of the gzip file */
    struct im_hasher *hasher; /* of the tar file */
    bool opened;              /* the header of the member has been taken */
    bool finished;
    uint64_t left; /* bytes of the member that were not taken yet */
};

/* ---- AES ---- */

/* What the bytes are when they make no sense: `why`, but before the member's header only this. */
static int make_no_sense(const struct unbundle *in, struct im_error *err, const char *why)
{
    if (in->opened)
        return im_fail_code(err, EBADMSG, "DamagedImage", "'%s': %s", in->base.name, why);
    return im_fail_code(err, EBADMSG, "WrongKey",
                        "the bundle '%s' cannot be opened by this key: it was made for another, or "
                        "its manifest was changed",
                        in->base.name);
}

static int end_cbc(struct unbundle *in, struct im_error *err)
{
    int r = im_cbc_end(in->cbc, in->plain, &in->plain_len);

    in->cbc = im_cbc_free(in->cbc);
    return r < 0 ? make_no_sense(in, err, "the end of the last part is damaged") : 0;
}

/* Decrypt the next bytes; none are left when cbc is NULL and plain is empty. */
static int decrypt(struct unbundle *in, struct im_error *err)
{
    size_t n = 0;
    int r = im_cancel_check(err);

    in->plain_at = 0;
    in->plain_len = 0;
    /* not through core/source.h: what counts is what comes out of it */
    if (r == 0)
        r = in->parts->ops->read(in->parts, in->sealed, PIECE, in->sealed_at, &n, err);
    if (r == 0 && n == 0)
        r = im_source_finish(in->parts, err);
    if (r < 0)
        return r;
    if (n == 0)
        return end_cbc(in, err);
    im_cbc_add(in->cbc, in->sealed, n, in->plain, &in->plain_len);
    in->sealed_at += n;
    return 0;
}

/* ---- gzip ---- */

/* The next bytes of the tar file: at least one, or *ret_len 0 at the end of everything. */
static int unpack(struct unbundle *in, void *buf, size_t room, size_t *ret_len,
                  struct im_error *err)
{
    struct im_error why = { 0 };
    size_t taken;
    int r = 0;

    *ret_len = 0;
    while (r == 0 && *ret_len == 0) {
        taken = in->plain_len - in->plain_at;
        if (taken == 0 && !in->cbc)
            return in->member_ended ? 0 : make_no_sense(in, err, "the gzip file in it ends early");
        if (taken == 0) {
            r = decrypt(in, err);
            continue;
        }
        r = im_gunzip(in->gunzip, in->plain + in->plain_at, &taken, buf, room, ret_len, &why);
        if (r < 0)
            return r == -ENOMEM ? im_fail(err, ENOMEM, "out of memory")
                                : make_no_sense(in, err, why.message);
        in->plain_at += taken;
        in->member_ended = r > 0;
        r = 0;
    }
    if (r == 0)
        im_hasher_add(in->hasher, buf, *ret_len);
    return r;
}

static int unpack_exactly(struct unbundle *in, void *buf, size_t len, struct im_error *err)
{
    size_t done = 0, n;

    while (done < len) {
        int r = unpack(in, (uint8_t *)buf + done, len - done, &n, err);

        if (r < 0)
            return r;
        if (n == 0)
            return make_no_sense(in, err, "the tar file in it ends early");
        done += n;
    }
    return 0;
}

/* ---- tar ---- */

/* Data of an extended header, and what it says of the size. */
static int take_extended(struct unbundle *in, const struct im_tar_header *header, uint64_t *size,
                         struct im_error *err)
{
    size_t room = (size_t)im_round_up(header->size, IM_TAR_BLOCK);
    char *data IM_FREE = header->size <= IM_TAR_EXTENDED_MAX ? malloc(room + 1) : NULL;
    struct im_error why = { 0 };
    int r;

    if (header->size > IM_TAR_EXTENDED_MAX)
        return make_no_sense(in, err, "an extended header of the tar file in it is too long");
    if (!data)
        return im_fail(err, ENOMEM, "out of memory");
    r = unpack_exactly(in, data, room, err);
    if (r < 0 || header->kind == IM_TAR_NAME)
        return r;
    r = im_tar_pax(data, (size_t)header->size, size, &why);
    if (r == -EOPNOTSUPP)
        return im_fail_code(err, EOPNOTSUPP, "BadBundle", "'%s': %s", in->base.name, why.message);
    return r < 0 ? make_no_sense(in, err, why.message) : 0;
}

static int refuse_member(const struct unbundle *in, const struct im_tar_header *header,
                         struct im_error *err)
{
    if (header->kind == IM_TAR_END)
        return im_fail_code(err, EOPNOTSUPP, "BadBundle", "the bundle '%s' holds no file",
                            in->base.name);
    return im_fail_code(err, EOPNOTSUPP, "BadBundle",
                        "the bundle '%s' holds %s; only one regular file is taken out of it",
                        in->base.name, im_tar_type_name(header->type));
}

/* Up to the first byte of the image. */
static int take_header(struct unbundle *in, struct im_error *err)
{
    uint8_t block[IM_TAR_BLOCK];
    struct im_tar_header header = { .kind = IM_TAR_PAX };
    uint64_t size = UINT64_MAX; /* as pax said it */
    struct im_error why = { 0 };
    int r = 0;

    for (int i = 0; i <= EXTENDED_MAX; i++) {
        r = unpack_exactly(in, block, sizeof(block), err);
        if (r == 0 && im_tar_header(block, &header, &why) < 0)
            r = make_no_sense(in, err, why.message);
        if (r < 0 || (header.kind != IM_TAR_PAX && header.kind != IM_TAR_NAME))
            break;
        r = take_extended(in, &header, &size, err);
        if (r < 0)
            break;
    }
    if (r < 0)
        return r;
    if (header.kind != IM_TAR_FILE)
        return refuse_member(in, &header, err);
    in->left = size != UINT64_MAX ? size : header.size;
    in->opened = true;
    if (in->left == in->bundle->size)
        return 0;
    return im_fail_code(err, EBADMSG, "SizeMismatch",
                        "the bundle '%s' holds %" PRIu64
                        " bytes, but its manifest says that the image has %" PRIu64,
                        in->base.name, in->left, in->bundle->size);
}

/* Behind the member: zeros up to a block, two blocks of zeros, zeros up to a record. */
static int take_tail(struct unbundle *in, struct im_error *err)
{
    uint8_t block[IM_TAR_BLOCK];
    static const uint8_t zeros[IM_TAR_BLOCK];
    size_t filler = (size_t)(im_round_up(in->bundle->size, IM_TAR_BLOCK) - in->bundle->size);
    uint64_t seen = 0;
    size_t n;
    int r = unpack_exactly(in, block, filler, err);

    while (r == 0) {
        r = unpack(in, block, sizeof(block), &n, err);
        if (r < 0 || n == 0)
            break;
        seen += n;
        if (memcmp(block, zeros, n) != 0)
            return im_fail_code(err, EOPNOTSUPP, "BadBundle",
                                "the bundle '%s' holds more than one file", in->base.name);
        if (seen > TAIL_MAX)
            return make_no_sense(in, err, "more than 1 MiB of zeros follows the image");
    }
    if (r == 0 && seen < sizeof(block) + sizeof(block))
        return make_no_sense(in, err, "the tar file in it has no end");
    return r;
}

static int check_digest(struct unbundle *in, struct im_error *err)
{
    uint8_t have[IM_HASH_MAX];
    char have_text[2 * IM_BUNDLE_SHA1 + 1], want_text[2 * IM_BUNDLE_SHA1 + 1];

    im_hasher_end(in->hasher, have);
    if (!in->bundle->has_digest || memcmp(have, in->bundle->digest, IM_BUNDLE_SHA1) == 0)
        return 0;
    im_hex(have, IM_BUNDLE_SHA1, have_text);
    im_hex(in->bundle->digest, IM_BUNDLE_SHA1, want_text);
    return im_fail_code(err, EBADMSG, "DamagedImage",
                        "the image in '%s' has SHA-1 %s, but its manifest says %s: it is not what "
                        "was bundled",
                        in->base.name, have_text, want_text);
}

/* ---- the source ---- */

static int next_bytes(void *arg, void *buf, size_t len, size_t *ret_len, struct im_error *err)
{
    struct unbundle *in = arg;
    int r;

    *ret_len = 0;
    if (in->left == 0)
        return 0;
    r = unpack(in, buf, (size_t)im_min(len, in->left), ret_len, err);
    if (r == 0 && *ret_len == 0)
        return make_no_sense(in, err, "the tar file in it ends early");
    in->left -= *ret_len;
    return r;
}

static int bundle_read(struct im_source *source, void *buf, size_t len, uint64_t offset,
                       size_t *ret_len, struct im_error *err)
{
    struct unbundle *in = (struct unbundle *)source;

    return im_forward_read(&in->forward, "the bundle", next_bytes, in, buf, len, offset, ret_len,
                           err);
}

/* What nobody read is unpacked, too: the digest is of everything. */
static int bundle_finish(struct im_source *source, struct im_error *err)
{
    struct unbundle *in = (struct unbundle *)source;
    uint8_t *rest IM_FREE = malloc(PIECE);
    size_t n;
    int r = rest ? 0 : im_fail(err, ENOMEM, "out of memory");

    if (in->finished)
        return 0;
    while (r == 0 && in->left > 0)
        r = next_bytes(in, rest, PIECE, &n, err);
    if (r == 0)
        r = take_tail(in, err);
    if (r == 0)
        r = check_digest(in, err);
    in->finished = r == 0;
    return r;
}

static void bundle_close(struct im_source *source)
{
    struct unbundle *in = (struct unbundle *)source;

    im_source_close(in->parts);
    im_bundle_free(in->bundle);
    im_cbc_free(in->cbc);
    im_gunzip_free(in->gunzip);
    im_hasher_free(in->hasher);
    im_forward_done(&in->forward);
    if (in->plain)
        im_wipe(in->plain, PIECE + IM_CBC_KEY);
    free(in->plain);
    free(in->sealed);
}

static const struct im_source_ops bundle_ops = {
    .name = "bundle",
    .read = bundle_read,
    .finish = bundle_finish,
    .close = bundle_close,
};

/* ---- opening ---- */

static int open_cbc(struct unbundle *in, const struct im_bundle_keys *keys, struct im_error *err)
{
    uint8_t key[IM_CBC_KEY], vector[IM_CBC_KEY];
    struct im_rsa *mine = NULL;
    int r = im_rsa_read_private(keys->key, &mine, err);

    if (r == 0)
        r = im_bundle_open_key(in->bundle, keys->reader, mine, key, vector, err);
    if (r == 0) {
        in->cbc = im_cbc_new(false, key, vector);
        r = in->cbc ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    im_wipe(key, sizeof(key));
    im_wipe(vector, sizeof(vector));
    im_rsa_free(mine);
    return r;
}

static int verify(const struct unbundle *in, const char *path, struct im_error *err)
{
    struct im_rsa *certificate = NULL;
    int r = path ? im_rsa_read_certificate(path, &certificate, err) : 0;

    if (r == 0 && path)
        r = im_bundle_verify(in->bundle, certificate, err);
    im_rsa_free(certificate);
    return r;
}

static int make_tools(struct unbundle *in, struct im_error *err)
{
    in->plain = malloc(PIECE + IM_CBC_KEY);
    in->sealed = malloc(PIECE);
    in->gunzip = im_gunzip_new();
    in->hasher = im_hasher_new(IM_SHA1);
    if (!in->plain || !in->sealed || !in->gunzip || !in->hasher)
        return im_fail(err, ENOMEM, "out of memory");
    return im_forward_init(&in->forward, err);
}

static int open_bundle(struct unbundle *in, const struct im_bundle_keys *keys, struct im_error *err)
{
    int r = im_bundle_parse(in->parts->document, in->parts->document_len, &in->bundle, err);

    if (r < 0)
        return r;
    in->base.size = in->bundle->size;
    in->base.sequential = true;
    r = verify(in, keys->certificate, err);
    if (r == 0)
        r = open_cbc(in, keys, err);
    if (r == 0)
        r = make_tools(in, err);
    return r < 0 ? r : take_header(in, err);
}

int im_bundle_source(const struct im_bundle_keys *keys, struct im_source **ret_source,
                     struct im_error *err)
{
    struct im_source *parts;
    struct unbundle *in;
    int r = im_bundle_parts_open(keys->manifest, &parts, err);

    if (r < 0)
        return r;
    in = im_source_new(sizeof(*in), &bundle_ops, parts->name);
    if (!in) {
        im_source_close(parts);
        return im_fail(err, ENOMEM, "out of memory");
    }
    in->parts = parts;
    r = open_bundle(in, keys, err);
    if (r < 0)
        im_source_close(&in->base);
    else
        *ret_source = &in->base;
    return r;
}
