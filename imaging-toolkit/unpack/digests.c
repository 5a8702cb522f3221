/* digests - the manifest of an OVA. */

#include <config.h>

#include "unpack/digests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

/* As many as an OVF has files, and the OVF itself. */
#define LINES_MAX 512u

struct im_digest_list {
    char *text; /* the names and digests point into it */
    unsigned count;
    struct line {
        const char *name, *hex;
        enum im_hash hash;
    } line[LINES_MAX];
};

static const struct {
    const char *name;
    enum im_hash hash;
} kinds[] = { { "SHA1", IM_SHA1 }, { "SHA256", IM_SHA256 }, { "SHA512", IM_SHA512 } };

static const struct line *find(const struct im_digest_list *list, const char *name)
{
    for (unsigned i = 0; i < list->count; i++)
        if (strcmp(list->line[i].name, name) == 0)
            return &list->line[i];
    return NULL;
}

/* Blanks around it go. */
/* "SHA256(name)= hex", cut into its parts; false: it is none. */
static bool cut_line(char *text, struct line *line)
{
    char *open = strchr(text, '('), *close = strrchr(text, ')'), *kind, *hex;

    if (!open || !close || close < open)
        return false;
    *open = *close = '\0';
    kind = im_text_trim(text);
    hex = im_text_trim(close + 1);
    if (*hex != '=')
        return false;
    hex = im_text_trim(hex + 1);
    line->name = open + 1;
    line->hex = hex;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcasecmp(kind, kinds[i].name) == 0) {
            line->hash = kinds[i].hash;
            return strlen(hex) == 2 * im_hash_size(line->hash) &&
                   strspn(hex, "0123456789abcdefABCDEF") == strlen(hex);
        }
    return false;
}

static int read_lines(struct im_digest_list *list, struct im_error *err)
{
    char *rest = list->text, *text;
    char shown[96];

    for (unsigned number = 1; (text = strsep(&rest, "\n")); number++) {
        struct line *line = &list->line[list->count];

        if (!*im_text_trim(text))
            continue;
        if (list->count == LINES_MAX)
            return im_fail_code(err, EBADMSG, "InvalidOvaManifest",
                                "the manifest of the OVA has more than %u lines", LINES_MAX);
        im_text_printable(shown, sizeof(shown), text);
        if (!cut_line(text, line))
            return im_fail_code(err, EBADMSG, "InvalidOvaManifest",
                                "line %u of the OVA's manifest is not 'SHA256(FILE)= DIGEST' (nor "
                                "SHA1, SHA512): '%s'",
                                number, shown);
        if (find(list, line->name))
            return im_fail_code(err, EBADMSG, "InvalidOvaManifest",
                                "the manifest of the OVA has two digests of one file: '%s'", shown);
        list->count++;
    }
    return 0;
}

int im_digest_list_parse(const char *text, size_t len, struct im_digest_list **ret_list,
                         struct im_error *err)
{
    struct im_digest_list *list = calloc(1, sizeof(*list));
    int r = 0;

    if (list)
        list->text = strndup(text, len);
    if (!list || !list->text)
        r = im_fail(err, ENOMEM, "out of memory");
    else if (strlen(list->text) != len || !im_text_is_utf8(text, len))
        r = im_fail_code(err, EBADMSG, "InvalidOvaManifest",
                         "the manifest of the OVA is not UTF-8 text");
    if (r == 0)
        r = read_lines(list, err);
    if (r < 0) {
        im_digest_list_free(list);
        return r;
    }
    *ret_list = list;
    return 0;
}

struct im_digest_list *im_digest_list_free(struct im_digest_list *list)
{
    if (list)
        free(list->text);
    free(list);
    return NULL;
}

int im_digest_list_kind(const struct im_digest_list *list, const char *name, enum im_hash *ret_hash,
                        struct im_error *err)
{
    const struct line *line = find(list, name);

    if (!line)
        return im_fail_code(err, EBADMSG, "InvalidOvaManifest",
                            "the manifest of the OVA has no digest of '%s': it lists all files, or "
                            "there is none",
                            name);
    *ret_hash = line->hash;
    return 0;
}

int im_digest_list_check(const struct im_digest_list *list, const char *name, const uint8_t *digest,
                         struct im_error *err)
{
    const struct line *line = find(list, name);
    char hex[2 * IM_HASH_MAX + 1];

    if (!line)
        return -EINVAL; /* im_digest_list_kind has been asked */
    im_hex(digest, im_hash_size(line->hash), hex);
    if (strcasecmp(hex, line->hex) == 0)
        return 0;
    return im_fail_code(err, EBADMSG, "DigestMismatch",
                        "'%s' is damaged or was changed: its digest is %s, and the manifest of the "
                        "OVA says %s",
                        name, hex, line->hex);
}
