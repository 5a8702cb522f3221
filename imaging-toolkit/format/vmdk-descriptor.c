/* vmdk-descriptor - the text inside (or in place of) a sparse extent: "The Descriptor File".
 *
 * Nothing in it is obeyed: no name in it is ever opened.  It is read only to refuse what would not
 * be the whole disk.  Bytes above 127 may be in any encoding, since only names and comments hold
 * them. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

#define BLANKS " \t\r"

struct descriptor {
    const char *create_type; /* pointing into the text; NULL: not there */
    const char *parent_cid;
    const char *parent_hint;
    bool twice; /* one of the three is there twice */
    bool encrypted;
    unsigned extents;
    const char *access, *size, *type; /* of the last extent */
};

/* Cut the next word off *text. */
static char *next_word(char **text)
{
    char *word = *text + strspn(*text, BLANKS);
    size_t len = strcspn(word, BLANKS);

    *text = word + len;
    if (word[len])
        *(*text)++ = '\0';
    return word;
}

/* Without blanks around it and the quotes around that. */
static char *trim(char *text)
{
    size_t len;

    text += strspn(text, BLANKS);
    len = strlen(text);
    while (len > 0 && strchr(BLANKS, text[len - 1]))
        text[--len] = '\0';
    if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
        text[len - 1] = '\0';
        text++;
    }
    return text;
}

static bool is_extent(const char *line)
{
    static const char *const words[] = { "RW", "RDONLY", "NOACCESS" };
    size_t len = strcspn(line, BLANKS);

    for (size_t i = 0; i < 3; i++)
        if (len == strlen(words[i]) && strncasecmp(line, words[i], len) == 0)
            return true;
    return false;
}

static void note_extent(struct descriptor *descriptor, char *line)
{
    descriptor->extents++;
    descriptor->access = next_word(&line);
    descriptor->size = next_word(&line);
    descriptor->type = next_word(&line);
}

static void note_pair(struct descriptor *descriptor, char *line, char *equals)
{
    const struct {
        const char *key;
        const char **value;
    } known[] = {
        { "createType", &descriptor->create_type },
        { "parentCID", &descriptor->parent_cid },
        { "parentFileNameHint", &descriptor->parent_hint },
    };
    char *key, *value;

    *equals = '\0';
    key = trim(line);
    value = trim(equals + 1);
    if (strncasecmp(key, "encryption", 10) == 0 || strcasecmp(key, "keySafe") == 0)
        descriptor->encrypted = true;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(key, known[i].key) != 0)
            continue;
        descriptor->twice = descriptor->twice || *known[i].value;
        *known[i].value = value;
    }
}

static void parse(char *text, struct descriptor *ret)
{
    *ret = (struct descriptor){ 0 };
    while (text) {
        char *line = strsep(&text, "\n");
        char *equals;

        line += strspn(line, BLANKS);
        if (*line == '#' || *line == '\0')
            continue;
        equals = strchr(line, '=');
        if (is_extent(line))
            note_extent(ret, line);
        else if (equals)
            note_pair(ret, line, equals);
    }
}

static int check_parent(const struct descriptor *descriptor, struct im_error *err)
{
    char shown[64];

    if (descriptor->parent_hint && *descriptor->parent_hint)
        return vmdk_unsupported(err,
                                "this VMDK has a parent (parentFileNameHint) and holds only what "
                                "differs from it; consolidate its snapshots and export again");
    if (descriptor->parent_cid && strcasecmp(descriptor->parent_cid, "ffffffff") != 0)
        return vmdk_unsupported(
            err,
            "this VMDK has a parent (parentCID=%s, not ffffffff) and holds only what differs from "
            "it; consolidate its snapshots and export again",
            im_text_printable(shown, sizeof(shown), descriptor->parent_cid));
    if (descriptor->encrypted)
        return vmdk_unsupported(err, "this VMDK is encrypted; export it without encryption");
    return 0;
}

static int check_extent(const struct vmdk *vmdk, const struct descriptor *descriptor,
                        struct im_error *err)
{
    uint64_t capacity = vmdk->header.capacity;
    uint64_t size;
    char shown[64];

    if (descriptor->extents != 1)
        return vmdk_unsupported(err,
                                "the VMDK's descriptor has %u extent lines; exactly one, this file "
                                "itself, can be read" VMDK_CURE,
                                descriptor->extents);
    if (strcasecmp(descriptor->type, "SPARSE") != 0)
        return vmdk_unsupported(err,
                                "the VMDK's extent is of type '%s', not SPARSE: its data is in "
                                "another file or device" VMDK_CURE,
                                im_text_printable(shown, sizeof(shown), descriptor->type));
    /* VirtualBox writes RDONLY into its exports */
    if (strcasecmp(descriptor->access, "NOACCESS") == 0)
        return vmdk_unsupported(err, "the VMDK's extent is marked NOACCESS" VMDK_CURE);
    /* VirtualBox rounds the header's capacity up to whole grains */
    if (im_parse_uint(descriptor->size, UINT64_MAX, &size) < 0 || size > capacity ||
        capacity - size >= vmdk->header.grain)
        return vmdk_damaged(err,
                            "the VMDK's extent line says '%s' sectors, but its header %" PRIu64,
                            im_text_printable(shown, sizeof(shown), descriptor->size), capacity);
    return 0;
}

int vmdk_check_descriptor(struct vmdk *vmdk, char *text, struct im_error *err)
{
    const char *wanted = vmdk_is_stream(vmdk) ? "streamOptimized" : "monolithicSparse";
    struct descriptor descriptor;
    int r;

    parse(text, &descriptor);
    if (!descriptor.create_type)
        return vmdk_damaged(err, "the VMDK's embedded descriptor has no createType");
    if (descriptor.twice)
        return vmdk_damaged(err, "the VMDK's descriptor has a createType, parentCID or "
                                 "parentFileNameHint twice: readers would differ about it");
    im_text_printable(vmdk->create_type, sizeof(vmdk->create_type), descriptor.create_type);
    r = check_parent(&descriptor, err);
    if (r < 0)
        return r;
    if (strcasecmp(descriptor.create_type, wanted) != 0)
        return vmdk_unsupported(err,
                                "the VMDK's createType is '%s', but its header is that of a %s "
                                "image" VMDK_CURE,
                                vmdk->create_type, wanted);
    return check_extent(vmdk, &descriptor, err);
}

int vmdk_refuse_descriptor(char *text, struct im_error *err)
{
    struct descriptor descriptor;
    char shown[64];

    parse(text, &descriptor);
    im_text_printable(shown, sizeof(shown),
                      descriptor.create_type ? descriptor.create_type : "unknown");
    return vmdk_unsupported(err,
                            "this is only the descriptor of a VMDK of type '%s' (%u extents): its "
                            "data is in other files or devices, which are never opened" VMDK_CURE,
                            shown, descriptor.extents);
}
