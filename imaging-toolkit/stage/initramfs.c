/* initramfs - the names of the files in an initramfs; see initramfs.h.
 *
 * The one file that knows libarchive's filters here: it gives the bytes of what is compressed, and
 * stage/cpio.h takes the names out of them.  Filters that would run a program are not asked for. */

#include <config.h>

#include "stage/initramfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <archive.h>

#include "base/cleanup.h"
#include "base/library.h"
#include "core/cancel.h"

/* Unpacked bytes that are gone through; the largest (with firmware for everything) have 400 MiB. */
#define UNPACKED_MAX (UINT64_C(1) << 30)
#define CHUNK        65536u

static const char library[] = "libarchive.so.13";

struct functions {
    typeof(&archive_read_new) archive_read_new;
    typeof(&archive_read_free) archive_read_free;
    typeof(&archive_read_support_filter_gzip) archive_read_support_filter_gzip;
    typeof(&archive_read_support_filter_xz) archive_read_support_filter_xz;
    typeof(&archive_read_support_filter_lzma) archive_read_support_filter_lzma;
    typeof(&archive_read_support_filter_zstd) archive_read_support_filter_zstd;
    typeof(&archive_read_support_filter_lz4) archive_read_support_filter_lz4;
    typeof(&archive_read_support_filter_bzip2) archive_read_support_filter_bzip2;
    typeof(&archive_read_support_format_raw) archive_read_support_format_raw;
    typeof(&archive_read_open_memory) archive_read_open_memory;
    typeof(&archive_read_next_header) archive_read_next_header;
    typeof(&archive_read_data) archive_read_data;
    typeof(&archive_filter_code) archive_filter_code;
    typeof(&archive_error_string) archive_error_string;
};

static const struct im_symbol symbols[] = {
    IM_SYMBOL(functions, archive_read_new),
    IM_SYMBOL(functions, archive_read_free),
    IM_SYMBOL(functions, archive_read_support_filter_gzip),
    IM_SYMBOL(functions, archive_read_support_filter_xz),
    IM_SYMBOL(functions, archive_read_support_filter_lzma),
    IM_SYMBOL(functions, archive_read_support_filter_zstd),
    IM_SYMBOL(functions, archive_read_support_filter_lz4),
    IM_SYMBOL(functions, archive_read_support_filter_bzip2),
    IM_SYMBOL(functions, archive_read_support_format_raw),
    IM_SYMBOL(functions, archive_read_open_memory),
    IM_SYMBOL(functions, archive_read_next_header),
    IM_SYMBOL(functions, archive_read_data),
    IM_SYMBOL(functions, archive_filter_code),
    IM_SYMBOL(functions, archive_error_string),
    { NULL, 0 },
};

struct walk {
    struct cpio cpio;
    initramfs_name_fn each;
    void *arg;
    bool enough;
    struct functions lib;
    struct archive *archive;
};

static void member(void *arg, const char *name, uint64_t size)
{
    struct walk *walk = arg;

    (void)size;
    if (!walk->enough && !walk->each(walk->arg, name))
        walk->enough = true;
}

static int bad_packing(struct walk *walk, struct im_error *err)
{
    const char *why = walk->lib.archive_error_string(walk->archive);

    return im_fail(err, EBADMSG, "what is compressed in it is damaged: %s",
                   why ? why : "unknown reason");
}

static int open_packed(struct walk *walk, const void *data, size_t len, struct im_error *err)
{
    struct archive_entry *entry;
    struct archive *archive;
    int r = im_library_load(library, symbols, &walk->lib, err);

    if (r < 0)
        return r;
    archive = walk->archive = walk->lib.archive_read_new();
    if (!archive)
        return im_fail(err, ENOMEM, "out of memory");
    (void)walk->lib.archive_read_support_filter_gzip(archive);
    (void)walk->lib.archive_read_support_filter_xz(archive);
    (void)walk->lib.archive_read_support_filter_lzma(archive);
    (void)walk->lib.archive_read_support_filter_zstd(archive);
    (void)walk->lib.archive_read_support_filter_lz4(archive);
    (void)walk->lib.archive_read_support_filter_bzip2(archive);
    (void)walk->lib.archive_read_support_format_raw(archive);
    if (walk->lib.archive_read_open_memory(archive, data, len) != ARCHIVE_OK ||
        walk->lib.archive_read_next_header(archive, &entry) != ARCHIVE_OK)
        return bad_packing(walk, err);
    if (walk->lib.archive_filter_code(archive, 0) == ARCHIVE_FILTER_NONE)
        return im_fail(err, EBADMSG, "it is neither a cpio archive nor compressed in a known way");
    return 0;
}

static int feed(struct walk *walk, const void *data, size_t len, size_t *ret_taken,
                struct im_error *err)
{
    ssize_t n = cpio_feed(&walk->cpio, data, len);

    if (n < 0)
        return im_fail(err, EBADMSG, "the cpio archive in it is damaged");
    *ret_taken = (size_t)n;
    return 0;
}

/* What stands behind the archives that are packed together is for nobody. */
static int walk_packed(struct walk *walk, struct im_error *err)
{
    char *chunk IM_FREE = malloc(CHUNK);
    uint64_t total = 0;
    size_t taken = 0;
    int r = chunk ? 0 : im_fail(err, ENOMEM, "out of memory");

    while (r == 0 && !walk->enough) {
        ssize_t n = walk->lib.archive_read_data(walk->archive, chunk, CHUNK);

        if (n < 0)
            return bad_packing(walk, err);
        if (n == 0)
            break;
        total += (uint64_t)n;
        if (total > UNPACKED_MAX)
            return im_fail(err, EBADMSG, "unpacked it has more than %" PRIu64 " bytes",
                           UNPACKED_MAX);
        r = feed(walk, chunk, (size_t)n, &taken, err);
        if (r == 0 && taken < (size_t)n)
            break;
        if (r == 0)
            r = im_cancel_check(err);
    }
    if (r == 0 && !walk->enough && !cpio_is_complete(&walk->cpio))
        r = im_fail(err, EBADMSG, "the cpio archive in it has no end");
    return r;
}

/* Plain archives first, where microcode stands; then at most one that is compressed. */
static int run(struct walk *walk, const char *data, size_t len, struct im_error *err)
{
    size_t taken;
    int r = feed(walk, data, len, &taken, err);

    if (r < 0 || walk->enough)
        return r;
    if (taken < len) {
        r = open_packed(walk, data + taken, len - taken, err);
        if (r == 0)
            r = walk_packed(walk, err);
    } else if (!cpio_is_complete(&walk->cpio)) {
        r = im_fail(err, EBADMSG, len ? "the cpio archive in it has no end" : "it is empty");
    }
    return r;
}

int initramfs_names(const void *data, size_t len, initramfs_name_fn each, void *arg,
                    struct im_error *err)
{
    struct walk *walk IM_FREE = calloc(1, sizeof(*walk));
    int r;

    if (!walk)
        return im_fail(err, ENOMEM, "out of memory");
    walk->each = each;
    walk->arg = arg;
    cpio_begin(&walk->cpio, member, walk);
    r = run(walk, data, len, err);
    if (walk->archive)
        (void)walk->lib.archive_read_free(walk->archive);
    return r;
}
