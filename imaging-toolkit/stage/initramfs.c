/* initramfs - the names of the files in an initramfs; see initramfs.h.
 *
 * The one file that knows libarchive's filters here: it gives the bytes of what is compressed, and
 * stage/cpio.h takes the names out of them.  Filters that would run a program are not asked for,
 * and xz and lzma are unpacked by unpack/, which bounds their memory; libarchive does not. */

#include <config.h>

#include "stage/initramfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>

#include "base/cleanup.h"
#include "base/library.h"
#include "core/cancel.h"
#include "unpack/stream.h"

/* Unpacked bytes that are gone through; the largest (with firmware for everything) have 400 MiB. */
#define UNPACKED_MAX (UINT64_C(1) << 30)
#define CHUNK        65536u

static const char library[] = "libarchive.so.13";

struct functions {
    typeof(&archive_read_new) archive_read_new;
    typeof(&archive_read_free) archive_read_free;
    typeof(&archive_read_support_filter_gzip) archive_read_support_filter_gzip;
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
    struct archive *archive;            /* NULL: it is xz */
    const struct im_unpacker *unpacker; /* of xz */
    void *state;
    const char *packed; /* what is left for it */
    size_t packed_len;
};

/* "The .xz File Format", 2.1.1.1 */
static bool is_xz(const void *data, size_t len)
{
    static const char magic[6] = { '\xfd', '7', 'z', 'X', 'Z', '\0' };

    return len > sizeof(magic) && memcmp(data, magic, sizeof(magic)) == 0;
}

/* lzma alone has no magic; these are its usual properties, and what the kernel knows it by. */
static bool is_lzma(const void *data, size_t len)
{
    return len > 13 && memcmp(data, "\x5d", 2) == 0;
}

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
    int r;

    if (is_xz(data, len) || is_lzma(data, len)) {
        walk->packed = data;
        walk->packed_len = len;
        return im_xz_unpacker(is_lzma(data, len), &walk->unpacker, &walk->state, err);
    }
    r = im_library_load(library, symbols, &walk->lib, err);

    if (r < 0)
        return r;
    archive = walk->archive = walk->lib.archive_read_new();
    if (!archive)
        return im_fail(err, ENOMEM, "out of memory");
    (void)walk->lib.archive_read_support_filter_gzip(archive);
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

static ssize_t next_of_xz(struct walk *walk, void *chunk, struct im_error *err)
{
    size_t taken, n = 0;
    int r = 0;

    while (r == 0 && n == 0) {
        taken = walk->packed_len;
        r = walk->unpacker->run(walk->state, walk->packed, &taken, true, chunk, CHUNK, &n, err);
        walk->packed += taken;
        walk->packed_len -= taken;
        if (r == 0 && n == 0 && taken == 0)
            r = im_fail(err, EBADMSG, "what is compressed in it ends early");
    }
    return r < 0 ? r : (ssize_t)n;
}

/* The next bytes, at most CHUNK of them; 0 at the end. */
static ssize_t next_chunk(struct walk *walk, void *chunk, struct im_error *err)
{
    ssize_t n;

    if (walk->unpacker)
        return next_of_xz(walk, chunk, err);
    n = walk->lib.archive_read_data(walk->archive, chunk, CHUNK);
    return n < 0 ? bad_packing(walk, err) : n;
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
        ssize_t n = next_chunk(walk, chunk, err);

        if (n < 0)
            return (int)n;
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
    if (walk->state)
        walk->unpacker->free(walk->state);
    return r;
}
