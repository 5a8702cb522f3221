/* bundle - write the disk as an encrypted bundle: tar, gzip, AES, parts, and a signed manifest.
 *
 * The files are stage/bundle-files.c's, the manifest is aws/bundle.c's. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/compress.h"
#include "core/stage.h"
#include "source/tar.h"
#include "stage/bundle-files.h"

/* What all tools make; and the least: the manifest has 140 bytes for each. */
#define PART_USUAL (10u * 1024 * 1024)
#define PART_MIN   1024u

/* Packed and sealed at once. */
#define PIECE 65536u

/* A tar file ends with zeros up to a whole record. */
#define RECORD (20 * IM_TAR_BLOCK)

struct bundler {
    struct im_store base;
    struct im_bundle *bundle;
    struct im_bundle_files *files; /* NULL: only planned */
    struct im_rsa *mine;
    struct im_hasher *hasher; /* of the tar file */
    struct im_gzip *gzip;
    struct im_cbc *cbc;
    uint64_t packed; /* bytes of the tar file so far */
    uint8_t *room;   /* PIECE bytes out of gzip, then PIECE and a block out of AES */
};

/* ---- packing ---- */

/* Take bytes of the tar file, the last of them or not. */
static int pack(struct bundler *out, const void *data, size_t len, bool last, struct im_error *err)
{
    const uint8_t *p = data;
    size_t given, sealed, taken;
    int r = 0;

    im_hasher_add(out->hasher, data, len);
    out->packed += len;
    do {
        taken = len < PIECE ? len : PIECE;
        if (im_gzip_add(out->gzip, p, &taken, last && taken == len, out->room, PIECE, &given) < 0)
            return im_fail(err, EIO, "ISA-L cannot compress");
        p += taken;
        len -= taken;
        im_cbc_add(out->cbc, out->room, given, out->room + PIECE, &sealed);
        r = im_bundle_files_add(out->files, out->bundle, out->room + PIECE, sealed, err);
    } while (r == 0 && (len > 0 || given == PIECE));
    return r;
}

static int bundle_write(struct im_store *store, const void *buf, size_t len, uint64_t offset,
                        struct im_error *err)
{
    struct bundler *out = (struct bundler *)store;
    uint8_t header[IM_TAR_BLOCK];
    int r = 0;

    if (out->packed == 0) {
        im_tar_make(header, out->bundle->name, out->bundle->size);
        r = pack(out, header, sizeof(header), false, err);
    }
    if (r == 0 && offset != out->packed - IM_TAR_BLOCK)
        return im_fail(err, EIO, "bytes for offset %" PRIu64 " of the bundle come out of order",
                       offset);
    return r < 0 ? r : pack(out, buf, len, false, err);
}

/* Zeros up to a block, two blocks, zeros up to a record. */
static int pack_tail(struct bundler *out, struct im_error *err)
{
    static const uint8_t zeros[RECORD + 3 * IM_TAR_BLOCK];
    uint64_t end =
        (out->packed + IM_TAR_BLOCK - 1) / IM_TAR_BLOCK * IM_TAR_BLOCK + 2 * IM_TAR_BLOCK;

    end = (end + RECORD - 1) / RECORD * RECORD;
    return pack(out, zeros, (size_t)(end - out->packed), true, err);
}

static int end_parts(struct bundler *out, struct im_error *err)
{
    uint8_t digest[IM_HASH_MAX];
    size_t len;
    int r = pack_tail(out, err);

    if (r < 0)
        return r;
    if (im_cbc_end(out->cbc, out->room, &len) < 0)
        return im_fail(err, EIO, "OpenSSL cannot encrypt");
    r = im_bundle_files_add(out->files, out->bundle, out->room, len, err);
    if (r == 0)
        r = im_bundle_files_end(out->files, out->bundle, err);
    im_hasher_end(out->hasher, digest);
    memcpy(out->bundle->digest, digest, IM_BUNDLE_SHA1);
    return r;
}

static int bundle_commit(struct im_store *store, uint64_t size, struct im_error *err)
{
    struct bundler *out = (struct bundler *)store;
    struct im_buffer manifest IM_BUFFER_DONE = IM_BUFFER(IM_BUNDLE_MANIFEST_MAX);
    int r = size == 0 && out->packed == 0 ? bundle_write(store, "", 0, 0, err) : 0;

    if (r == 0 && (size != out->bundle->size || out->packed != size + IM_TAR_BLOCK))
        r = im_fail(err, EIO,
                    "%" PRIu64 " bytes were announced to the bundle, but %" PRIu64 " came",
                    out->bundle->size, size);
    if (r == 0)
        r = end_parts(out, err);
    if (r == 0)
        r = im_bundle_write(out->bundle, out->mine, &manifest, err);
    return r < 0 ? r : im_bundle_files_publish(out->files, out->bundle, &manifest, err);
}

static void bundle_close(struct im_store *store)
{
    struct bundler *out = (struct bundler *)store;

    im_bundle_files_free(out->files);
    if (out->bundle->part && out->bundle->part_count < IM_BUNDLE_PARTS_MAX &&
        out->bundle->part[out->bundle->part_count].name)
        out->bundle->part_count++; /* it was begun */
    im_bundle_free(out->bundle);
    im_rsa_free(out->mine);
    im_hasher_free(out->hasher);
    im_gzip_free(out->gzip);
    im_cbc_free(out->cbc);
    free(out->room);
}

static const struct im_store_ops bundle_ops = {
    .name = "bundle",
    .write = bundle_write,
    .commit = bundle_commit,
    .close = bundle_close,
};

/* ---- opening ---- */

/* An argument that stands in the manifest as it is; NULL when it was not given. */
static int plain_text(const struct im_args *args, const char *name, char **ret_text,
                      struct im_error *err)
{
    const char *text = im_arg_text(args, name);

    if (!text)
        return 0;
    if (!im_bundle_is_plain(text) || strlen(text) > IM_BUNDLE_PREFIX_MAX || *text == '.')
        return im_fail(err, EINVAL,
                       "%s '%s' is not up to %d letters, digits and ._+@:- with no dot first", name,
                       text, IM_BUNDLE_PREFIX_MAX);
    *ret_text = strdup(text);
    return *ret_text ? 0 : im_fail(err, ENOMEM, "out of memory");
}

static int take_texts(struct im_bundle *bundle, const struct im_args *args, struct im_error *err)
{
    int r = plain_text(args, "prefix", &bundle->name, err);

    if (r == 0)
        r = plain_text(args, "arch", &bundle->arch, err);
    if (r == 0)
        r = plain_text(args, "user", &bundle->user, err);
    if (r == 0)
        r = plain_text(args, "kernel", &bundle->kernel, err);
    if (r == 0)
        r = plain_text(args, "ramdisk", &bundle->ramdisk, err);
    if (r == 0 && !bundle->arch) {
        bundle->arch = strdup("x86_64");
        r = bundle->arch ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    return r;
}

/* Seal the key for the holder of a certificate; the user's must be that of the signing key. */
static int seal_for(struct bundler *out, enum im_bundle_for reader, const char *path,
                    const uint8_t *key, const uint8_t *vector, struct im_error *err)
{
    struct im_rsa *certificate = NULL;
    int r = im_rsa_read_certificate(path, &certificate, err);

    if (r == 0 && reader == IM_BUNDLE_USER && !im_rsa_same(certificate, out->mine))
        r = im_fail(err, EINVAL,
                    "the certificate '%s' is not of the key the bundle is signed with; give both "
                    "of one user",
                    path);
    if (r == 0)
        r = im_bundle_seal_key(out->bundle, reader, certificate, key, vector, err);
    im_rsa_free(certificate);
    return r;
}

static int take_keys(struct bundler *out, const struct im_args *args, struct im_error *err)
{
    uint8_t key[IM_CBC_KEY], vector[IM_CBC_KEY];
    int r = im_rsa_read_private(im_arg_text(args, "key"), &out->mine, err);

    im_random(key, sizeof(key));
    im_random(vector, sizeof(vector));
    if (r == 0)
        r = seal_for(out, IM_BUNDLE_USER, im_arg_text(args, "cert"), key, vector, err);
    if (r == 0)
        r = seal_for(out, IM_BUNDLE_CLOUD, im_arg_text(args, "cloud-cert"), key, vector, err);
    if (r == 0) {
        out->cbc = im_cbc_new(true, key, vector);
        r = out->cbc ? 0 : im_fail(err, ENOMEM, "out of memory");
    }
    im_wipe(key, sizeof(key));
    im_wipe(vector, sizeof(vector));
    return r;
}

static int make_tools(struct bundler *out, struct im_error *err)
{
    out->bundle->part = calloc(IM_BUNDLE_PARTS_MAX, sizeof(*out->bundle->part));
    out->hasher = im_hasher_new(IM_SHA1);
    out->gzip = im_gzip_new();
    out->room = malloc(2 * PIECE + IM_CBC_KEY);
    return out->bundle->part && out->hasher && out->gzip && out->room
               ? 0
               : im_fail(err, ENOMEM, "out of memory");
}

static int open_bundler(struct bundler *out, const struct im_args *args, bool planning,
                        struct im_error *err)
{
    uint64_t part_size = im_arg_number(args, "part-size", PART_USUAL);
    int r = take_texts(out->bundle, args, err);

    if (r == 0 && (part_size < PART_MIN || part_size > IM_BUNDLE_PART_MAX))
        r = im_fail(err, EINVAL, "part-size %" PRIu64 " is not from %u to %u bytes", part_size,
                    PART_MIN, IM_BUNDLE_PART_MAX);
    if (r == 0)
        r = make_tools(out, err);
    if (r == 0)
        r = take_keys(out, args, err);
    return r < 0 || planning
               ? r
               : im_bundle_files_open(im_arg_text(args, "to"), out->bundle->name, (size_t)part_size,
                                      im_arg_flag(args, "force"), &out->files, err);
}

static int bundle_sink(const struct im_args *args, const struct im_context *context, uint64_t size,
                       struct im_store **ret_store, struct im_error *err)
{
    struct bundler *out = im_store_new(sizeof(*out), &bundle_ops, "the bundle");
    int r = 0;

    if (!out)
        return im_fail(err, ENOMEM, "out of memory");
    out->bundle = calloc(1, sizeof(*out->bundle));
    if (!out->bundle) {
        free(out->base.name);
        free(out);
        return im_fail(err, ENOMEM, "out of memory");
    }
    out->base.sequential = true;
    out->bundle->size = size;
    r = open_bundler(out, args, context->planning, err);
    if (r < 0)
        im_store_close(&out->base);
    else
        *ret_store = &out->base;
    return r;
}

static const char *const architectures[] = { "i386", "x86_64", "arm64", NULL };

static const struct im_param params[] = {
    { "to", IM_PARAM_INTO, true, NULL, "directory that gets the parts and the manifest" },
    { "prefix", IM_PARAM_TEXT, true, NULL, "what their names begin with" },
    { "key", IM_PARAM_FILE, true, NULL, "PEM file of the user's private RSA key, which signs" },
    { "cert", IM_PARAM_FILE, true, NULL, "PEM file of the user's certificate" },
    { "cloud-cert", IM_PARAM_FILE, true, NULL, "PEM file of the cloud's certificate" },
    { "arch", IM_PARAM_CHOICE, false, architectures, "of the machine (x86_64)" },
    { "user", IM_PARAM_TEXT, false, NULL, "account the bundle belongs to" },
    { "kernel", IM_PARAM_TEXT, false, NULL, "id of the kernel it starts with" },
    { "ramdisk", IM_PARAM_TEXT, false, NULL, "id of the ramdisk it starts with" },
    { "part-size", IM_PARAM_SIZE, false, NULL, "bytes of a part (10M)" },
    { "force", IM_PARAM_FLAG, false, NULL, "replace a bundle that is there" },
    { 0 },
};

const struct im_stage im_stage_bundle = {
    .name = "bundle",
    .summary = "write the disk as an encrypted, signed bundle",
    .class = IM_BUNDLER,
    .takes = IM_DISK,
    .gives = IM_NOTHING,
    .params = params,
    .sink = bundle_sink,
};
