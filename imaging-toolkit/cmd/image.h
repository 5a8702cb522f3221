/* image - the image that a command looks at: the options that say what it is, and opening it. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "core/disk.h"
#include "core/format.h"
#include "core/source.h"
#include "unpack/unpack.h"

/* What the options say; all zeros: nothing. */
struct im_image_ask {
    const struct im_format *format; /* NULL: recognised by its contents */
    enum im_packing packing;        /* where a format is given */
    const char *disk;               /* of an archive, as im_unpack.disk; or NULL */
    const char *extents, *scratch;  /* directories, or NULL */
    bool guest;                     /* its file systems will be looked into, too */
};

/* Their rows in a table of options; of the short ones "f:" goes into im_getopt's text. */
#define IM_IMAGE_OPTIONS                                                                           \
    { "from", required_argument, NULL, 'f' }, { "disk", required_argument, NULL, 'd' },            \
        { "extents", required_argument, NULL, 'e' },                                               \
    {                                                                                              \
        "scratch", required_argument, NULL, 's'                                                    \
    }

/* Their lines in a help text. */
#define IM_IMAGE_HELP                                                                              \
    "  -f, --from FORMAT    what the image is, also packed as FORMAT.gz, .xz, .zip, .ova, or "     \
    "ova;\n"                                                                                       \
    "                       else it is recognised by its contents\n"                               \
    "      --disk N|FILE    of an OVA or a zip file with several disks (default: the first of "    \
    "an\n"                                                                                         \
    "                       OVA)\n"                                                                \
    "      --extents DIR    directory that holds the other files of a split or flat VMDK\n"        \
    "      --scratch DIR    place for copies that programs need (default: TMPDIR, /var/tmp)\n"

/* Take an option that im_getopt gave: 0, or 1 when it is none of them; -EINVAL. */
int im_image_option(int option, struct im_image_ask *ask, struct im_error *err);

/* An image that is open. */
struct im_image {
    char *name;    /* of the file, or the archive */
    uint64_t size; /* of that, bytes, or IM_SIZE_UNKNOWN */
    enum im_packing packing;
    struct im_contents *contents; /* of an archive */
    const struct im_format *format;
    struct im_source *source; /* of the image itself */
    struct im_disk *disk;
};

/* Start with IM_IMAGE_CLOSE; open what is at `in`.  Errors: the source's, the packing's, the
 * format's, -ENOMEM. */
int im_image_open(const char *in, const struct im_image_ask *ask, struct im_image *image,
                  struct im_error *err);

/* Can the disk be read at any offset?  -EOPNOTSUPP: it comes forwards only. */
int im_image_need_random(const struct im_image *image, struct im_error *err);

void im_image_close(struct im_image *image);
#define IM_IMAGE_CLOSE __attribute__((cleanup(im_image_close)))
