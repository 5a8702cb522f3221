/* keys - what key pairs, tokens and account numbers look like. */

#include <config.h>

#include "auth/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"

/* Bytes of a keys file; ours has under 120. */
#define KEYS_FILE_MAX 1024

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* len characters of an alphabet whose size divides 256, so that none is likelier than another. */
static void random_text(char *text, size_t len, const char *alphabet)
{
    size_t size = strlen(alphabet);
    uint8_t random[SVC_TOKEN_LEN];

    im_random(random, len);
    for (size_t i = 0; i < len; i++)
        text[i] = alphabet[random[i] % size];
    text[len] = '\0';
    im_wipe(random, sizeof(random));
}

void svc_account_random(char ret_account[SVC_ACCOUNT_LEN + 1])
{
    uint64_t number;

    im_random(&number, sizeof(number));
    (void)snprintf(ret_account, SVC_ACCOUNT_LEN + 1, "%012" PRIu64,
                   number % UINT64_C(1000000000000));
}

void svc_keys_random(struct svc_keys *keys, bool temporary)
{
    memcpy(keys->access_key, temporary ? "ASIA" : "AKIA", 4);
    random_text(keys->access_key + 4, SVC_ACCESS_KEY_LEN - 4, base32);
    random_text(keys->secret_key, SVC_SECRET_LEN, base64);
    random_text(keys->token, temporary ? SVC_TOKEN_LEN : 0, base64);
}

/* Take "name=value\n" from *text, value exactly of size - 1 characters of the alphabet. */
static bool take(const char **text, const char *name, const char *alphabet, char *value,
                 size_t size)
{
    size_t name_len = strlen(name);
    const char *p = *text;

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

int svc_keys_read(const char *path, struct svc_keys *ret_keys, struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    char *text IM_FREE = NULL;
    size_t len = 0;
    const char *p;
    bool taken;
    int r = im_read_file(path, KEYS_FILE_MAX, &text, &len, err);

    if (r < 0)
        return r;
    p = text;
    taken = take(&p, "access_key", base64, keys.access_key, sizeof(keys.access_key)) &&
            take(&p, "secret_key", base64, keys.secret_key, sizeof(keys.secret_key)) &&
            take(&p, "account", "0123456789", keys.account, sizeof(keys.account)) && !*p;
    im_wipe(text, len);
    if (!taken)
        return im_fail(err, EBADMSG,
                       "'%s' does not hold the lines access_key=, secret_key= and account= as an "
                       "earlier imaging-service wrote them; restore it, or move it away",
                       path);
    *ret_keys = keys;
    return 0;
}
