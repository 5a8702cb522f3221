/* layout-fill - swap space and the ephemeral file system; see layout-fill.h. */

#include <config.h>

#include "stage/layout-fill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/spawn.h"
#include "box/box.h"
#include "cache/scratch.h"
#include "source/file.h"

#define MKE2FS "mke2fs"
/* The page that swap space was made for ("union swap_header", Linux include/linux/swap.h). */
#define PAGE 4096u

/* ---- swap ---- */

static int fill_swap(const struct layout *layout, struct segments *segments, struct im_error *err)
{
    const struct layout_part *part = &layout->part[LAYOUT_SWAP];
    uint64_t pages = part->len / PAGE;
    uint8_t *header;
    uint32_t numbers[2];
    char text[40];

    /* the header counts pages in 32 bits, and Linux uses no more of a larger one */
    if (pages > UINT32_MAX)
        return im_fail(err, EFBIG, "swap=%" PRIu64 " is more than the 16 TiB of swap space",
                       part->len);
    header = calloc(1, PAGE);
    if (!header)
        return im_fail(err, ENOMEM, "out of memory");
    numbers[0] = 1;                     /* version; in the byte order of the machine */
    numbers[1] = (uint32_t)(pages - 1); /* the last page */
    memcpy(header + 1024, numbers, sizeof(numbers));
    layout_uuid(layout, "swap space", header + 1036, text);
    memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
    return segments_add_bytes(segments, part->offset, header, PAGE, err);
}

/* ---- the ephemeral file system ---- */

uint64_t layout_ephemeral_scratch(uint64_t len)
{
    /* in each 128 MiB two bitmaps of 4 KiB and a descriptor, most of them not written; what is the
     * same for all sizes.  1 TiB was seen to take 17 MB. */
    return len ? len / 16384 + (4u << 20) : 0;
}

int layout_can_fill(const struct layout *layout, struct im_error *err)
{
    struct im_program found;

    if (layout->part[LAYOUT_EPHEMERAL].len == 0 || im_spawn_find(MKE2FS, &found))
        return 0;
    return im_fail(err, ENOPKG,
                   "unavailable: %s is missing, which makes ephemeral partitions; install "
                   "e2fsprogs, or do without ephemeral=",
                   MKE2FS);
}

/* mke2fs takes the time from its environment: the same image gives the same disk. */
static int make_ext(int fd, const struct layout *layout, struct im_error *err)
{
    char uuid[40], extended[128];
    uint8_t bytes[16];
    const char *const argv[] = { MKE2FS, "-q", "-F", "-t",     "ext4",     "-L", "ephemeral0",
                                 "-U",   uuid, "-E", extended, IM_BOX_FD3, NULL };
    struct im_box box IM_BOX_DONE = IM_BOX(MKE2FS, argv, -1);
    int r = layout_can_fill(layout, err);

    if (r < 0)
        return r;
    layout_uuid(layout, "ephemeral file system", bytes, uuid);
    (void)snprintf(extended, sizeof(extended),
                   "lazy_itable_init=1,lazy_journal_init=1,nodiscard,hash_seed=%s", uuid);
    box.fd3 = fd;
    box.file_size = layout->part[LAYOUT_EPHEMERAL].len;
    box.variable = "E2FSPROGS_FAKE_TIME=1000000000";
    r = im_box_run(&box, err);
    if (r == 0 && !im_box_succeeded(&box))
        r = im_box_refused(&box, "make", "ephemeral partition", err);
    return r;
}

/* The file in scratch as a source of its own. */
static int open_scratch(const struct im_scratch *scratch, struct im_source **ret_source,
                        struct im_error *err)
{
    int fd = fcntl(scratch->fd, F_DUPFD_CLOEXEC, 0);

    return fd < 0 ? im_fail_errno(err, errno, "cannot open the ephemeral file system again")
                  : im_source_from_fd(fd, "the ephemeral file system", ret_source, err);
}

static int make_ephemeral(struct im_scratch *scratch, const struct layout *layout,
                          struct im_source **ret_source, struct im_error *err)
{
    uint64_t len = layout->part[LAYOUT_EPHEMERAL].len;
    struct stat st;
    int r;

    if (ftruncate(scratch->fd, (off_t)len) < 0)
        return im_fail_errno(err, errno, "cannot make a scratch file of %" PRIu64 " bytes", len);
    r = make_ext(scratch->fd, layout, err);
    if (r == 0 && fstat(scratch->fd, &st) == 0)
        im_scratch_shrink(scratch, (uint64_t)st.st_blocks * 512);
    return r < 0 ? r : open_scratch(scratch, ret_source, err);
}

static int fill_ephemeral(const struct layout *layout, const struct im_context *context,
                          struct segments *segments, struct im_error *err)
{
    const struct layout_part *part = &layout->part[LAYOUT_EPHEMERAL];
    struct im_scratch *scratch = NULL;
    struct im_source *source = NULL;
    int r = im_scratch_take(context->scratch, layout_ephemeral_scratch(part->len), &scratch, err);

    if (r == 0)
        r = make_ephemeral(scratch, layout, &source, err);
    if (r < 0) {
        im_scratch_free(scratch);
        return r;
    }
    segments_keep(segments, scratch);
    return segments_add_source(segments, part->offset, source, part->len, err);
}

int layout_fill(const struct layout *layout, const struct im_context *context,
                struct segments *segments, struct im_error *err)
{
    int r = layout->part[LAYOUT_SWAP].len ? fill_swap(layout, segments, err) : 0;

    if (r == 0 && layout->part[LAYOUT_EPHEMERAL].len)
        r = fill_ephemeral(layout, context, segments, err);
    return r;
}
