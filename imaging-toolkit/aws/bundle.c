/* bundle - manifests of bundles: signature and key, and written as stock clients lay them out. */

#include <config.h>

#include "aws/bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Keys and vectors are sealed as hex text. */
#define KEY_TEXT (2 * IM_CBC_KEY)

struct im_bundle *im_bundle_free(struct im_bundle *bundle)
{
    if (!bundle)
        return NULL;
    for (size_t i = 0; bundle->part && i < bundle->part_count; i++)
        free(bundle->part[i].name);
    free(bundle->part);
    free(bundle->is_signed);
    free(bundle->name);
    free(bundle->arch);
    free(bundle->user);
    free(bundle->kernel);
    free(bundle->ramdisk);
    free(bundle);
    return NULL;
}

int im_bundle_verify(const struct im_bundle *bundle, const struct im_rsa *certificate,
                     struct im_error *err)
{
    enum im_hash hash = bundle->download ? IM_SHA256 : IM_SHA1;
    const struct im_bundle_sealed *signature = &bundle->signature;

    if (signature->len == 0)
        return im_fail_code(err, EBADMSG, "BadSignature",
                            "the manifest is not signed; leave the certificate out to trust it as "
                            "it is");
    if (!bundle->is_signed)
        return im_fail_code(err, EBADMSG, "BadSignature",
                            "the manifest was laid out anew: the elements its signature is of do "
                            "not stand in it as they were signed");
    if (im_rsa_verify(certificate, hash, bundle->is_signed, bundle->signed_len, signature->data,
                      signature->len) < 0)
        return im_fail_code(err, EBADMSG, "BadSignature",
                            "the manifest's signature is not that of the certificate: it was "
                            "changed, or somebody else has signed it");
    return 0;
}

/* ---- keys ---- */

/* The value of a hex digit; *bad becomes not 0 when it is none.  No branch and no table tells which
 * it was. */
static uint8_t digit(uint8_t c, uint8_t *bad)
{
    unsigned lower = c | 0x20u;
    unsigned is_number = (unsigned)(c - '0') < 10, is_letter = lower - 'a' < 6;

    *bad |= (uint8_t)(1 ^ (is_number | is_letter));
    return (uint8_t)(((0 - is_number) & (unsigned)(c - '0')) |
                     ((0 - is_letter) & (lower - 'a' + 10)));
}

/* A key that was sealed as hex; where it was not, random bytes, and nothing tells. */
static int open_one(const struct im_bundle_sealed *sealed, const struct im_rsa *mine,
                    uint8_t ret_key[IM_CBC_KEY])
{
    uint8_t text[KEY_TEXT], other[IM_CBC_KEY], bad = 0, mask;
    int r = im_rsa_open(mine, sealed->data, sealed->len, sizeof(text), text);

    if (r < 0)
        return r;
    im_random(other, sizeof(other));
    for (size_t i = 0; i < IM_CBC_KEY; i++)
        ret_key[i] = (uint8_t)(digit(text[2 * i], &bad) << 4 | digit(text[2 * i + 1], &bad));
    mask = (uint8_t)(bad - 1); /* 0xff when all were digits */
    for (size_t i = 0; i < IM_CBC_KEY; i++)
        ret_key[i] = (uint8_t)((ret_key[i] & mask) | (other[i] & ~mask));
    im_wipe(text, sizeof(text));
    return 0;
}

int im_bundle_open_key(const struct im_bundle *bundle, enum im_bundle_for reader,
                       const struct im_rsa *mine, uint8_t ret_key[IM_CBC_KEY],
                       uint8_t ret_vector[IM_CBC_KEY], struct im_error *err)
{
    const struct im_bundle_sealed *key = &bundle->key[reader], *vector = &bundle->vector[reader];

    if (key->len == 0)
        return im_fail_code(err, EBADMSG, "WrongKey",
                            "a download manifest has its key sealed for one consumer only; leave "
                            "recipient=cloud out");
    if (open_one(key, mine, ret_key) < 0 || open_one(vector, mine, ret_vector) < 0)
        return im_fail_code(err, EBADMSG, "WrongKey",
                            "the bundle's key was sealed for an RSA key of %zu bits, but this one "
                            "has %zu; give the key of the one it was made for",
                            8 * (key->len != im_rsa_size(mine) ? key->len : vector->len),
                            8 * im_rsa_size(mine));
    return 0;
}

static int seal_one(struct im_bundle_sealed *sealed, const struct im_rsa *certificate,
                    const uint8_t key[IM_CBC_KEY])
{
    char text[KEY_TEXT + 1];
    int r;

    im_hex(key, IM_CBC_KEY, text);
    r = im_rsa_seal(certificate, text, KEY_TEXT, sealed->data);
    im_wipe(text, sizeof(text));
    sealed->len = im_rsa_size(certificate);
    return r;
}

int im_bundle_seal_key(struct im_bundle *bundle, enum im_bundle_for reader,
                       const struct im_rsa *certificate, const uint8_t key[IM_CBC_KEY],
                       const uint8_t vector[IM_CBC_KEY], struct im_error *err)
{
    if (seal_one(&bundle->key[reader], certificate, key) < 0 ||
        seal_one(&bundle->vector[reader], certificate, vector) < 0)
        return im_fail(err, EINVAL, "the bundle's key cannot be sealed for the %s's certificate",
                       reader == IM_BUNDLE_CLOUD ? "cloud" : "user");
    return 0;
}

/* ---- writing ---- */

bool im_bundle_is_plain(const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+@:-";

    return strspn(text, plain) == strlen(text);
}

static int put_hex(struct im_buffer *out, const char *before, const void *data, size_t len,
                   const char *after)
{
    char text[2 * IM_RSA_MAX + 1];

    im_hex(data, len, text);
    return im_buffer_printf(out, "%s%s%s", before, text, after);
}

static int put_machine(struct im_buffer *out, const struct im_bundle *bundle)
{
    int r = im_buffer_printf(out, "<machine_configuration><architecture>%s</architecture>",
                             bundle->arch);

    if (r == 0 && bundle->kernel)
        r = im_buffer_printf(out, "<kernel_id>%s</kernel_id>", bundle->kernel);
    if (r == 0 && bundle->ramdisk)
        r = im_buffer_printf(out, "<ramdisk_id>%s</ramdisk_id>", bundle->ramdisk);
    return r == 0 ? im_buffer_puts(out, "</machine_configuration>") : r;
}

static int put_keys(struct im_buffer *out, const struct im_bundle *bundle)
{
    const struct im_bundle_sealed *cloud = &bundle->key[IM_BUNDLE_CLOUD];
    const struct im_bundle_sealed *user = &bundle->key[IM_BUNDLE_USER];
    int r = put_hex(out, "<ec2_encrypted_key algorithm=\"AES-128-CBC\">", cloud->data, cloud->len,
                    "</ec2_encrypted_key>");

    if (r == 0)
        r = put_hex(out, "<user_encrypted_key algorithm=\"AES-128-CBC\">", user->data, user->len,
                    "</user_encrypted_key>");
    cloud = &bundle->vector[IM_BUNDLE_CLOUD];
    user = &bundle->vector[IM_BUNDLE_USER];
    if (r == 0)
        r = put_hex(out, "<ec2_encrypted_iv>", cloud->data, cloud->len, "</ec2_encrypted_iv>");
    return r == 0
               ? put_hex(out, "<user_encrypted_iv>", user->data, user->len, "</user_encrypted_iv>")
               : r;
}

static int put_parts(struct im_buffer *out, const struct im_bundle *bundle)
{
    int r = im_buffer_printf(out, "<parts count=\"%zu\">", bundle->part_count);

    for (size_t i = 0; r == 0 && i < bundle->part_count; i++) {
        r = im_buffer_printf(out, "<part index=\"%zu\"><filename>%s</filename>", i,
                             bundle->part[i].name);
        if (r == 0)
            r = put_hex(out, "<digest algorithm=\"SHA1\">", bundle->part[i].sha1, IM_BUNDLE_SHA1,
                        "</digest></part>");
    }
    return r == 0 ? im_buffer_puts(out, "</parts>") : r;
}

static int put_image(struct im_buffer *out, const struct im_bundle *bundle)
{
    int r = im_buffer_printf(out, "<image><name>%s</name><user>%s</user><type>machine</type>",
                             bundle->name, bundle->user ? bundle->user : "");

    if (r == 0)
        r = put_hex(out, "<digest algorithm=\"SHA1\">", bundle->digest, IM_BUNDLE_SHA1,
                    "</digest>");
    if (r == 0)
        r = im_buffer_printf(out,
                             "<size>%" PRIu64 "</size><bundled_size>%" PRIu64 "</bundled_size>",
                             bundle->size, bundle->bundled_size);
    if (r == 0)
        r = put_keys(out, bundle);
    if (r == 0)
        r = put_parts(out, bundle);
    return r == 0 ? im_buffer_puts(out, "</image>") : r;
}

static int put_signed(struct im_buffer *out, const struct im_bundle *bundle,
                      const struct im_rsa *mine)
{
    size_t begin = out->len;
    uint8_t signature[IM_RSA_MAX];
    int r = put_machine(out, bundle);

    if (r == 0)
        r = put_image(out, bundle);
    if (r == 0)
        r = im_rsa_sign(mine, IM_SHA1, out->data + begin, out->len - begin, signature);
    return r == 0 ? put_hex(out, "<signature>", signature, im_rsa_size(mine), "</signature>") : r;
}

int im_bundle_write(const struct im_bundle *bundle, const struct im_rsa *mine,
                    struct im_buffer *out, struct im_error *err)
{
    int r = im_buffer_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                                "<manifest><version>2007-10-10</version><bundler>"
                                "<name>" PACKAGE_NAME "</name><version>" PACKAGE_VERSION
                                "</version><release>0</release></bundler>");

    if (r == 0)
        r = put_signed(out, bundle, mine);
    if (r == 0)
        r = im_buffer_puts(out, "</manifest>\n");
    if (r == -EFBIG)
        return im_fail(err, EFBIG,
                       "the manifest of %zu parts is larger than %zu bytes; use larger "
                       "parts",
                       bundle->part_count, out->ceiling);
    if (r == -EINVAL)
        return im_fail(err, EINVAL,
                       "the manifest cannot be signed: OpenSSL refuses RSA with SHA-1 "
                       "(its configuration may forbid it)");
    return r < 0 ? im_fail(err, ENOMEM, "out of memory") : 0;
}
