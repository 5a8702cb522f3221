/* vmdk-descriptor - the text inside (or in place of) a sparse extent: "The Descriptor File".
 *
 * Inside a sparse extent nothing in it is obeyed: no name in it is ever opened, and it is read only
 * to refuse what would not be the whole disk.  A file that is only a descriptor gives the list of
 * its extents; here they are names, vmdk-extents.c opens them.  Bytes above 127 may be in any
 * encoding, since only names and comments hold them. */

#include <config.h>

#include "format/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

#define BLANKS " \t\r"

struct descriptor {
    const char *create_type; /* pointing into the text; NULL: not there */
    const char *parent_cid;
    const char *parent_hint;
    bool twice; /* one of the three is there twice */
    bool encrypted;
    char **line; /* of the extents, owned */
    size_t lines, room;
};

static void descriptor_done(struct descriptor *descriptor)
{
    free(descriptor->line);
}
#define DESCRIPTOR_DONE IM_CLEANUP(descriptor_done)

/* ---- words ---- */

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

    text = im_text_trim(text);
    len = strlen(text);
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

static int note_extent(struct descriptor *descriptor, char *line, struct im_error *err)
{
    if (descriptor->lines == VMDK_EXTENTS_MAX)
        return vmdk_unsupported(
            err, "the VMDK's descriptor has more than %u extent lines" VMDK_CURE, VMDK_EXTENTS_MAX);
    if (descriptor->lines == descriptor->room) {
        size_t room = descriptor->room ? 2 * descriptor->room : 16;
        char **grown = reallocarray(descriptor->line, room, sizeof(*grown));

        if (!grown)
            return im_fail(err, ENOMEM, "out of memory");
        descriptor->line = grown;
        descriptor->room = room;
    }
    descriptor->line[descriptor->lines++] = line;
    return 0;
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

/* An extent line that lost a byte must not be a line that says nothing. */
static int refuse_line(const char *line, unsigned number, struct im_error *err)
{
    char shown[48];

    return vmdk_damaged(err,
                        "line %u of the VMDK's descriptor ('%s') is neither a comment, nor an "
                        "extent, nor a name with a value",
                        number, im_text_printable(shown, sizeof(shown), line));
}

static int parse(char *text, struct descriptor *descriptor, struct im_error *err)
{
    int r = 0;

    for (unsigned number = 1; r == 0 && text; number++) {
        char *line = strsep(&text, "\n");
        char *equals;

        line += strspn(line, BLANKS);
        if (*line == '#' || *line == '\0')
            continue;
        equals = strchr(line, '=');
        if (is_extent(line))
            r = note_extent(descriptor, line, err);
        else if (equals)
            note_pair(descriptor, line, equals);
        else
            r = refuse_line(line, number, err);
    }
    return r;
}

/* ---- what both kinds of descriptor must and must not say ---- */

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

/* Parse, and check what is not about extents. */
static int read_head(char *text, struct descriptor *descriptor, char ret_type[32],
                     struct im_error *err)
{
    int r = parse(text, descriptor, err);

    if (r < 0)
        return r;
    if (!descriptor->create_type)
        return vmdk_damaged(err, "the VMDK's descriptor has no createType");
    if (descriptor->twice)
        return vmdk_damaged(err, "the VMDK's descriptor has a createType, parentCID or "
                                 "parentFileNameHint twice: readers would differ about it");
    im_text_printable(ret_type, 32, descriptor->create_type);
    return check_parent(descriptor, err);
}

/* VirtualBox writes RDONLY into its exports. */
static int check_access(const char *access, struct im_error *err)
{
    if (strcasecmp(access, "NOACCESS") == 0)
        return vmdk_unsupported(err, "the VMDK's extent is marked NOACCESS" VMDK_CURE);
    return 0;
}

/* ---- embedded ---- */

static int check_extent(const struct vmdk *vmdk, char *line, struct im_error *err)
{
    const char *access = next_word(&line);
    const char *sectors = next_word(&line);
    const char *type = next_word(&line);
    uint64_t capacity = vmdk->header.capacity;
    uint64_t grain = vmdk->header.grain;
    uint64_t size;
    char shown[64];
    int r;

    if (strcasecmp(type, "SPARSE") != 0)
        return vmdk_unsupported(err,
                                "the VMDK's extent is of type '%s', not SPARSE: its data is in "
                                "another file or device" VMDK_CURE,
                                im_text_printable(shown, sizeof(shown), type));
    r = check_access(access, err);
    if (r < 0)
        return r;
    /* VirtualBox rounds the header's capacity up to whole grains */
    if (im_parse_uint(sectors, UINT64_MAX, &size) < 0 || size > capacity ||
        (size < capacity && (capacity % grain != 0 || capacity - size >= grain)))
        return vmdk_damaged(err,
                            "the VMDK's extent line says '%s' sectors, but its header %" PRIu64,
                            im_text_printable(shown, sizeof(shown), sectors), capacity);
    return 0;
}

int vmdk_check_descriptor(struct vmdk *vmdk, char *text, struct im_error *err)
{
    const char *wanted = vmdk_is_stream(vmdk) ? "streamOptimized" : "monolithicSparse";
    struct descriptor descriptor DESCRIPTOR_DONE = { 0 };
    int r = read_head(text, &descriptor, vmdk->create_type, err);

    if (r < 0)
        return r;
    if (strcasecmp(descriptor.create_type, wanted) != 0)
        return vmdk_unsupported(err,
                                "the VMDK's createType is '%s', but its header is that of a %s "
                                "image" VMDK_CURE,
                                vmdk->create_type, wanted);
    if (descriptor.lines != 1)
        return vmdk_unsupported(err,
                                "the VMDK's descriptor has %zu extent lines; exactly one, this "
                                "file itself, can be read" VMDK_CURE,
                                descriptor.lines);
    return check_extent(vmdk, descriptor.line[0], err);
}

/* ---- a file of its own ---- */

/* The types of disk that lie in files, and their type of extent beside ZERO. */
static const struct {
    const char *create_type, *extent;
    enum vmdk_kind kind;
} in_files[] = {
    { "twoGbMaxExtentSparse", "SPARSE", VMDK_SPARSE },
    { "twoGbMaxExtentFlat", "FLAT", VMDK_FLAT },
    { "monolithicFlat", "FLAT", VMDK_FLAT },
    { "vmfs", "VMFS", VMDK_FLAT }, /* what ESX exports: a flat file under another name */
};

/* The row of in_files. */
static int find_type(const struct descriptor *descriptor, const char *shown, size_t *ret_row,
                     struct im_error *err)
{
    static const char *const devices[] = {
        "fullDevice",       "partitionedDevice",          "vmfsRaw", "vmfsRDM", "vmfsRDMP",
        "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap"
    };

    for (size_t i = 0; i < sizeof(in_files) / sizeof(in_files[0]); i++)
        if (strcasecmp(descriptor->create_type, in_files[i].create_type) == 0) {
            *ret_row = i;
            return 0;
        }
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        if (strcasecmp(descriptor->create_type, devices[i]) == 0)
            return vmdk_unsupported(err,
                                    "this VMDK is of type %s: its data is on a device, and devices "
                                    "are never opened; export the machine as OVF, which copies the "
                                    "device into a file",
                                    devices[i]);
    return vmdk_unsupported(err,
                            "this is the descriptor of a VMDK of type '%s'; of disks in several "
                            "files only twoGbMaxExtentSparse, twoGbMaxExtentFlat, monolithicFlat "
                            "and vmfs can be read" VMDK_CURE,
                            shown);
}

/* A name that means one directory's own entry and nothing else, and that can be shown. */
static bool is_plain(const char *name)
{
    if (*name == '\0' || strlen(name) > NAME_MAX || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return false;
    for (; *name; name++)
        if (*name == '/' || (unsigned char)*name < ' ' || *name == 0x7f)
            return false;
    return true;
}

/* Cut the quoted name off *rest. */
static int parse_name(char **rest, const char **ret_name, struct im_error *err)
{
    char *name = *rest + strspn(*rest, BLANKS);
    char *end = *name == '"' ? strchr(name + 1, '"') : NULL;
    char shown[64];

    if (!end)
        return vmdk_damaged(err, "a file name in quotes is missing in its line");
    *end = '\0';
    *rest = end + 1;
    name++;
    if (!is_plain(name))
        return vmdk_unsupported(err,
                                "its name '%s' is not the plain name of a file; extents are taken "
                                "from one directory only, and never by a path",
                                im_text_printable(shown, sizeof(shown), name));
    *ret_name = name;
    return 0;
}

/* The offset behind the name, which only flat extents have, and the end of the line. */
static int parse_origin(char *rest, struct vmdk_line *line, struct im_error *err)
{
    const char *word = next_word(&rest);
    char shown[64];

    if (*word && (im_parse_uint(word, UINT64_MAX / VMDK_SECTOR, &line->origin) < 0 ||
                  (line->kind != VMDK_FLAT && line->origin != 0)))
        return vmdk_damaged(err, "its line has the offset '%s'",
                            im_text_printable(shown, sizeof(shown), word));
    word = next_word(&rest);
    if (*word)
        return vmdk_damaged(err, "its line ends with '%s', which means nothing",
                            im_text_printable(shown, sizeof(shown), word));
    return 0;
}

/* row: of in_files. */
static int parse_line(char *rest, size_t row, struct vmdk_line *line, struct im_error *err)
{
    const char *access = next_word(&rest);
    const char *sectors = next_word(&rest);
    const char *type = next_word(&rest);
    bool zero = strcasecmp(type, "ZERO") == 0;
    char shown[64];
    int r = check_access(access, err);

    if (r < 0)
        return r;
    *line = (struct vmdk_line){ .kind = zero ? VMDK_ZERO : in_files[row].kind };
    if (!zero && strcasecmp(type, in_files[row].extent) != 0)
        return vmdk_unsupported(err, "it is of type '%s'; a disk of type %s has %s and ZERO",
                                im_text_printable(shown, sizeof(shown), type),
                                in_files[row].create_type, in_files[row].extent);
    if (im_parse_uint(sectors, UINT64_MAX / VMDK_SECTOR, &line->sectors) < 0 || line->sectors == 0)
        return vmdk_damaged(err, "its line says '%s' sectors",
                            im_text_printable(shown, sizeof(shown), sectors));
    r = zero ? 0 : parse_name(&rest, &line->name, err);
    return r < 0 ? r : parse_origin(rest, line, err);
}

int vmdk_parse_lines(char *text, char ret_type[32], struct vmdk_line **ret_lines, size_t *ret_count,
                     struct im_error *err)
{
    struct descriptor descriptor DESCRIPTOR_DONE = { 0 };
    struct vmdk_line *lines IM_FREE = NULL;
    size_t row = 0;
    int r = read_head(text, &descriptor, ret_type, err);

    if (r == 0)
        r = find_type(&descriptor, ret_type, &row, err);
    if (r < 0)
        return r;
    if (descriptor.lines == 0)
        return vmdk_damaged(err, "the VMDK's descriptor has no extent line: the disk is empty");
    lines = calloc(descriptor.lines, sizeof(*lines));
    if (!lines)
        return im_fail(err, ENOMEM, "out of memory");
    for (size_t i = 0; i < descriptor.lines; i++) {
        r = parse_line(descriptor.line[i], row, &lines[i], err);
        if (r < 0) {
            im_error_prefix(err, "extent %zu of the VMDK", i + 1);
            return r;
        }
    }
    *ret_lines = im_steal(lines);
    *ret_count = descriptor.lines;
    return 0;
}
