/* fuzz-ovf - the texts in an OVA: the descriptor of its machine (unpack/ovf.h) and the digests of
 * its files (unpack/digests.h).
 *
 * An input is taken for both.  A finding is a report of a sanitizer, a descriptor that is accepted
 * and breaks what unpack/ovf.h promises, or digests that are not those of the text's lines.
 *
 * A program of its own beside those of fuzz-image.h; without libFuzzer main is fuzz-bytes.c's. */

#include <config.h>

#include "fuzz/fuzz-bytes.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "unpack/digests.h"
#include "unpack/ovf.h"

static void check_files(const struct im_ovf *ovf)
{
    for (unsigned i = 0; i < ovf->file_count; i++) {
        const struct im_ovf_file *file = &ovf->file[i];

        if (!*file->id || !*file->href || !im_text_is_printable(file->href))
            fault("a file without a name that can be told");
        if (file->size > INT64_MAX && file->size != UINT64_MAX)
            fault("a size that no file has");
        for (unsigned j = 0; j < i; j++)
            if (strcmp(ovf->file[j].id, file->id) == 0 ||
                strcmp(ovf->file[j].href, file->href) == 0)
                fault("two files have one name");
    }
}

/* Which of two disks the hardware section has first: below 0, 0 or above. */
static int order(const struct im_ovf_disk *a, const struct im_ovf_disk *b)
{
    if (a->controller != b->controller)
        return a->controller < b->controller ? -1 : 1;
    if (a->controller_place != b->controller_place)
        return a->controller_place < b->controller_place ? -1 : 1;
    if (a->unit != b->unit)
        return a->unit < b->unit ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

static void check_disks(const struct im_ovf *ovf)
{
    for (unsigned i = 0; i < ovf->disk_count; i++) {
        const struct im_ovf_disk *disk = &ovf->disk[i];

        if (!*disk->id || disk->capacity > INT64_MAX)
            fault("a disk without a name, or larger than any");
        if (disk->file < -1 || disk->file >= (int)ovf->file_count)
            fault("a disk in no file");
        if (disk->place >= ovf->disk_count || (i > 0 && order(disk - 1, disk) >= 0))
            fault("the disks are not in their order");
        for (unsigned j = 0; j < i; j++)
            if (strcmp(ovf->disk[j].id, disk->id) == 0)
                fault("two disks have one name");
    }
}

/* ---- digests ---- */

static unsigned nibble(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c & 7) + 9;
}

/* A line's digest is found by the name between its brackets, taken when it is right and refused
 * when a bit differs. */
static void check_line(const struct im_digest_list *list, char *line)
{
    char *open = strchr(line, '('), *close = strrchr(line, ')');
    uint8_t digest[IM_HASH_MAX];
    enum im_hash hash;
    char *hex;

    if (!open || !close || close < open || !(hex = strchr(close, '=')))
        fault("a line that is none was accepted");
    *close = '\0';
    hex = im_text_trim(hex + 1);
    if (im_digest_list_kind(list, open + 1, &hash, NULL) < 0)
        fault("the digest of a line is not found");
    if (strlen(hex) != 2 * im_hash_size(hash))
        fault("a digest of another kind is found");
    for (size_t i = 0; i < im_hash_size(hash); i++)
        digest[i] = (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    if (im_digest_list_check(list, open + 1, digest, NULL) < 0)
        fault("the right digest is refused");
    digest[0] ^= 1;
    if (im_digest_list_check(list, open + 1, digest, NULL) == 0)
        fault("a wrong digest is taken");
}

static int look_at_digests(const uint8_t *data, size_t len)
{
    struct im_digest_list *list = NULL;
    struct im_error err = { 0 };
    char *text = fuzz_text(data, len), *rest = text, *line;
    int r = text ? im_digest_list_parse(text, len, &list, &err) : 0;

    fault_unless_told(r, &err);
    while (list && (line = strsep(&rest, "\n")))
        if (*im_text_trim(line))
            check_line(list, line);
    im_digest_list_free(list);
    free(text);
    return r;
}

static int look_at_ovf(const uint8_t *data, size_t len)
{
    struct im_ovf *ovf = NULL;
    struct im_error err = { 0 };
    char *text = fuzz_text(data, len);
    int r = text ? im_ovf_parse(text, len, &ovf, &err) : 0;

    fault_unless_told(r, &err);
    if (ovf) {
        check_files(ovf);
        check_disks(ovf);
    }
    im_ovf_free(ovf);
    free(text);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int as_ovf, as_digests;

    fault_if_xml_is_loud();
    as_ovf = look_at_ovf(data, len);
    as_digests = look_at_digests(data, len);
    fuzz_refused = as_ovf < 0 && as_digests < 0;
    return 0;
}
