/* keys - the one account of standalone mode. */

#include <config.h>

#include "auth/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crypto.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "file.h"

/* Bytes of a keys file; ours has under 120. */
#define KEYS_FILE_MAX 1024

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* len characters of an alphabet whose size divides 256, so that none is likelier than another. */
static void random_text(char *text, size_t len, const char *alphabet)
{
    size_t size = strlen(alphabet);
    uint8_t random[64];

    im_random(random, len);
    for (size_t i = 0; i < len; i++)
        text[i] = alphabet[random[i] % size];
    text[len] = '\0';
}

static int make(const char *path, struct svc_keys *keys, struct im_error *err)
{
    char *text IM_FREE = NULL;
    uint64_t number;

    memcpy(keys->access_key, "AKIA", 4);
    random_text(keys->access_key + 4, 16, base32);
    random_text(keys->secret_key, 40, base64);
    im_random(&number, sizeof(number));
    (void)snprintf(keys->account, sizeof(keys->account), "%012" PRIu64,
                   number % UINT64_C(1000000000000));
    text = im_asprintf("access_key=%s\nsecret_key=%s\naccount=%s\n", keys->access_key,
                       keys->secret_key, keys->account);
    if (!text)
        return im_fail(err, ENOMEM, "out of memory");
    return svc_file_write(path, text, err);
}

/* Take "name=value\n" from *text, value exactly of size - 1 characters of the alphabet. */
static bool take(char **text, const char *name, const char *alphabet, char *value, size_t size)
{
    size_t name_len = strlen(name);
    char *p = *text;

    if (strncmp(p, name, name_len) != 0 || p[name_len] != '=')
        return false;
    p += name_len + 1;
    if (strspn(p, alphabet) != size - 1 || p[size - 1] != '\n')
        return false;
    memcpy(value, p, size - 1);
    value[size - 1] = '\0';
    *text = p + size;
    return true;
}

int svc_keys_load(const char *path, struct svc_keys *ret_keys, struct im_error *err)
{
    struct svc_keys keys = { 0 };
    char *text IM_FREE = NULL;
    struct stat st;
    char *p;
    int r;

    if (lstat(path, &st) < 0 && errno == ENOENT) {
        r = make(path, &keys, err);
        if (r == 0)
            *ret_keys = keys;
        return r;
    }
    r = im_read_file(path, KEYS_FILE_MAX, &text, NULL, err);
    if (r < 0)
        return r;
    p = text;
    if (!take(&p, "access_key", base64, keys.access_key, sizeof(keys.access_key)) ||
        !take(&p, "secret_key", base64, keys.secret_key, sizeof(keys.secret_key)) ||
        !take(&p, "account", "0123456789", keys.account, sizeof(keys.account)) || *p)
        return im_fail(err, EBADMSG,
                       "'%s' does not hold the lines access_key=, secret_key= and account= as this "
                       "program writes them; restore it, or remove it to get new keys",
                       path);
    *ret_keys = keys;
    return 0;
}
