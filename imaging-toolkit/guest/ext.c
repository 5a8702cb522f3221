/* ext - files of ext2, ext3 and ext4, read by libext2fs through the disk itself.
 *
 * Everything libext2fs reads passes through here: it cannot leave the partition, and after so many
 * bytes for one question the answer is that the file system is damaged, whatever loop its trees
 * make.  Nothing is written, and a journal is not replayed. */

#include <config.h>

#include "guest/inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NO_INLINE_FUNCS /* they would call what is not linked */
#include <et/com_err.h>
#include <ext2fs/ext2fs.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/library.h"
#include "core/cancel.h"

/* Bytes and calls of reading for one question besides the file's own: the directories and trees on
 * the way.  A directory of 16384 names has 4 MiB at most. */
#define WORK_BYTES (64u << 20)
#define WORK_CALLS 65536u
/* Bytes of group descriptors: those of 16 TiB need 8 MiB. */
#define DESCRIPTORS_MAX (64u << 20)

#define STEP 65536u

struct lib {
    typeof(&ext2fs_open2) ext2fs_open2;
    typeof(&ext2fs_free) ext2fs_free;
    typeof(&ext2fs_lookup) ext2fs_lookup;
    typeof(&ext2fs_read_inode) ext2fs_read_inode;
    typeof(&ext2fs_dir_iterate2) ext2fs_dir_iterate2;
    typeof(&ext2fs_file_open) ext2fs_file_open;
    typeof(&ext2fs_file_read) ext2fs_file_read;
    typeof(&ext2fs_file_close) ext2fs_file_close;
    typeof(&ext2fs_is_fast_symlink) ext2fs_is_fast_symlink;
    typeof(&initialize_ext2_error_table) initialize_ext2_error_table;
    typeof(&error_message) error_message;
};

static const struct im_symbol symbols[] = {
    IM_SYMBOL(lib, ext2fs_open2),
    IM_SYMBOL(lib, ext2fs_free),
    IM_SYMBOL(lib, ext2fs_lookup),
    IM_SYMBOL(lib, ext2fs_read_inode),
    IM_SYMBOL(lib, ext2fs_dir_iterate2),
    IM_SYMBOL(lib, ext2fs_file_open),
    IM_SYMBOL(lib, ext2fs_file_read),
    IM_SYMBOL(lib, ext2fs_file_close),
    IM_SYMBOL(lib, ext2fs_is_fast_symlink),
    IM_SYMBOL(lib, initialize_ext2_error_table),
    IM_SYMBOL(lib, error_message), /* of libcom_err, which comes with it */
    { 0 },
};

struct ext {
    struct lib lib;
    struct im_disk *disk;
    uint64_t offset, len; /* of the partition */
    ext2_filsys fs;
    uint64_t bytes_left; /* of what this question may read */
    unsigned calls_left;
    struct im_error fault; /* why reading failed, where it was not the file system's fault */
};

/* ---- what libext2fs reads through ---- */

/* io_manager.open is given a name and nothing else: the disk is handed over here. */
static _Thread_local struct ext *opening;

static errcode_t ext_io_open(const char *name, int flags, io_channel *ret_channel);

static errcode_t ext_io_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t ext_io_set_block(io_channel channel, int size)
{
    channel->block_size = size;
    return 0;
}

/* count is of blocks, or where it is negative of bytes. */
static errcode_t ext_io_read64(io_channel channel, unsigned long long block, int count, void *data)
{
    struct ext *ext = channel->private_data;
    uint64_t len =
        count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * (uint64_t)channel->block_size;
    uint64_t at;

    if (im_cancel_check(&ext->fault) < 0)
        return EXT2_ET_SHORT_READ;
    if (__builtin_mul_overflow(block, (uint64_t)channel->block_size, &at) || len > ext->len ||
        at > ext->len - len)
        return EXT2_ET_SHORT_READ;
    if (len > ext->bytes_left || ext->calls_left == 0) {
        (void)im_fail(&ext->fault, EBADMSG,
                      "to read this takes more than %u MiB of the file system: it is damaged",
                      WORK_BYTES >> 20);
        return EXT2_ET_SHORT_READ;
    }
    ext->bytes_left -= len;
    ext->calls_left--;
    return im_disk_read(ext->disk, data, (size_t)len, ext->offset + at, &ext->fault) < 0
               ? EXT2_ET_SHORT_READ
               : 0;
}

static errcode_t ext_io_read(io_channel channel, unsigned long block, int count, void *data)
{
    return ext_io_read64(channel, block, count, data);
}

/* Without EXT2_FLAG_RW nothing is ever written or flushed. */
static struct struct_io_manager ext_io = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "disk",
    .open = ext_io_open,
    .close = ext_io_close,
    .set_blksize = ext_io_set_block,
    .read_blk = ext_io_read,
    .read_blk64 = ext_io_read64,
};

static errcode_t ext_io_open(const char *name, int flags, io_channel *ret_channel)
{
    io_channel channel = calloc(1, sizeof(*channel));

    (void)flags;
    if (channel)
        channel->name = strdup(name);
    if (!channel || !channel->name) {
        free(channel);
        return EXT2_ET_NO_MEMORY;
    }
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = &ext_io;
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = opening;
    *ret_channel = channel;
    return 0;
}

/* ---- open ---- */

/* A new question: it may read so many bytes besides the file's own. */
static void begin(struct ext *ext, uint64_t bytes)
{
    ext->bytes_left = WORK_BYTES + bytes;
    ext->calls_left = WORK_CALLS;
    ext->fault.number = 0;
}

static int failed(const struct ext *ext, errcode_t code, const char *path, struct im_error *err)
{
    switch (code) {
    case EXT2_ET_FILE_NOT_FOUND:
        return im_fail(err, ENOENT, "there is no '%s'", path);
    case EXT2_ET_NO_DIRECTORY:
        return im_fail(err, ENOTDIR, "'%s' goes through what is no directory", path);
    case EXT2_ET_NO_MEMORY:
        return im_fail(err, ENOMEM, "out of memory");
    default:
        break;
    }
    if (ext->fault.number != 0) {
        if (err)
            *err = ext->fault;
        return -ext->fault.number;
    }
    return im_fail(err, EBADMSG, "'%s' cannot be read: %s", path, ext->lib.error_message(code));
}

/* The numbers by which libext2fs allocates memory. */
static int check_super(const struct ext *ext, struct im_error *err)
{
    uint8_t super[1024];
    uint64_t blocks, groups, size;
    int r = im_disk_read(ext->disk, super, sizeof(super), ext->offset + 1024, err);

    if (r < 0)
        return r;
    size = im_le16(super + 0xfe);
    blocks = im_le32(super + 4);
    if (im_le32(super + 0x60) & EXT4_FEATURE_INCOMPAT_64BIT)
        blocks |= (uint64_t)im_le32(super + 0x150) << 32;
    if (im_le32(super + 0x18) > 6 || im_le32(super + 0x20) == 0)
        return im_fail(err, EBADMSG,
                       "the superblock says that blocks have 2^%" PRIu32 " KiB, and "
                       "groups %" PRIu32 " blocks",
                       im_le32(super + 0x18), im_le32(super + 0x20));
    groups = blocks / im_le32(super + 0x20) + 1;
    if (groups > DESCRIPTORS_MAX / (size > 32 ? size : 32))
        return im_fail(err, EBADMSG,
                       "the superblock tells of %" PRIu64 " blocks in groups of %" PRIu32
                       ", which are more groups than 16 TiB need",
                       blocks, im_le32(super + 0x20));
    return 0;
}

static void ext_close(void *state)
{
    struct ext *ext = state;

    if (ext->fs)
        ext->lib.ext2fs_free(ext->fs);
    free(ext);
}

static int ext_open(struct guest_inner *inner, const struct im_fs *fs, void **ret_state,
                    struct im_error *err)
{
    struct ext *ext = calloc(1, sizeof(*ext));
    errcode_t code;
    int r;

    if (!ext)
        return im_fail(err, ENOMEM, "out of memory");
    ext->disk = inner->look->disk;
    ext->offset = fs->offset;
    ext->len = fs->len;
    r = im_library_load("libext2fs.so.2", symbols, &ext->lib, err);
    if (r == 0)
        r = check_super(ext, err);
    if (r == 0) {
        ext->lib.initialize_ext2_error_table();
        begin(ext, DESCRIPTORS_MAX);
        opening = ext;
        code = ext->lib.ext2fs_open2("", NULL, EXT2_FLAG_64BITS | EXT2_FLAG_JOURNAL_DEV_OK, 0, 0,
                                     &ext_io, &ext->fs);
        r = code ? failed(ext, code, "/", err) : 0;
    }
    if (r < 0) {
        ext->fs = NULL;
        ext_close(ext);
        return r;
    }
    *ret_state = ext;
    return 0;
}

/* ---- questions ---- */

/* The inode at a path without links. */
static int find(struct ext *ext, const char *path, ext2_ino_t *ret_number,
                struct ext2_inode *ret_inode, struct im_error *err)
{
    ext2_ino_t number = EXT2_ROOT_INO;
    const char *part = path;
    errcode_t code = 0;

    for (;;) {
        size_t len;

        part += strspn(part, "/");
        len = strcspn(part, "/");
        if (len == 0 || code)
            break;
        code = len > EXT2_NAME_LEN
                   ? EXT2_ET_FILE_NOT_FOUND
                   : ext->lib.ext2fs_lookup(ext->fs, number, part, (int)len, NULL, &number);
        part += len;
    }
    if (!code)
        code = ext->lib.ext2fs_read_inode(ext->fs, number, ret_inode);
    if (code)
        return failed(ext, code, path, err);
    *ret_number = number;
    return 0;
}

static int ext_stat(void *state, const char *path, struct im_file *ret_file, struct im_error *err)
{
    struct ext *ext = state;
    struct ext2_inode inode;
    ext2_ino_t number;
    int r;

    begin(ext, 0);
    r = find(ext, path, &number, &inode, err);
    if (r < 0)
        return r;
    *ret_file = (struct im_file){
        .kind = LINUX_S_ISREG(inode.i_mode)   ? IM_FILE_REGULAR
                : LINUX_S_ISDIR(inode.i_mode) ? IM_FILE_DIRECTORY
                : LINUX_S_ISLNK(inode.i_mode) ? IM_FILE_LINK
                                              : IM_FILE_OTHER,
        .size = EXT2_I_SIZE(&inode),
        .mode = inode.i_mode & 07777u,
    };
    return 0;
}

/* The first `want` bytes of a file, a step at a time. */
static int pour(struct ext *ext, const char *path, ext2_ino_t number, uint64_t want,
                struct guest_sink *sink, struct im_error *err)
{
    void *buf IM_FREE = malloc(STEP);
    ext2_file_t file = NULL;
    errcode_t code = buf ? ext->lib.ext2fs_file_open(ext->fs, number, 0, &file) : EXT2_ET_NO_MEMORY;
    unsigned got = 1;
    int r = 0;

    while (!code && r == 0 && want > 0 && got > 0) {
        code = ext->lib.ext2fs_file_read(file, buf, (unsigned)im_min(want, STEP), &got);
        if (!code)
            r = sink->put(sink, buf, got, err);
        want -= im_min(got, want);
    }
    if (file)
        (void)ext->lib.ext2fs_file_close(file);
    return code ? failed(ext, code, path, err) : r;
}

static int ext_read(void *state, const char *path, uint64_t max, struct guest_sink *sink,
                    struct im_error *err)
{
    struct ext *ext = state;
    struct ext2_inode inode;
    ext2_ino_t number;
    uint64_t want;
    int r;

    begin(ext, 0);
    r = find(ext, path, &number, &inode, err);
    if (r < 0)
        return r;
    want = im_min(EXT2_I_SIZE(&inode), max);
    begin(ext, 4 * want); /* the trees above each block are read again */
    ext->calls_left += (unsigned)im_min(want / 512, UINT32_MAX / 2);
    return pour(ext, path, number, want, sink, err);
}

struct link_sink {
    struct guest_sink sink;
    char *target;
    size_t len;
};

static int put_link(struct guest_sink *sink, const void *buf, size_t len, struct im_error *err)
{
    struct link_sink *link = (struct link_sink *)sink;

    (void)err; /* the size was checked */
    memcpy(link->target + link->len, buf, len);
    link->len += len;
    return 0;
}

static int ext_link(void *state, const char *path, char *target, struct im_error *err)
{
    struct link_sink sink = { .sink = { .put = put_link }, .target = target };
    struct ext *ext = state;
    struct ext2_inode inode;
    ext2_ino_t number;
    uint64_t size;
    int r;

    begin(ext, 0);
    r = find(ext, path, &number, &inode, err);
    if (r < 0)
        return r;
    size = EXT2_I_SIZE(&inode);
    if (size == 0 || size >= GUEST_PATH_MAX)
        return im_fail(err, EBADMSG, "the link '%s' has %" PRIu64 " bytes", path, size);
    if (ext->lib.ext2fs_is_fast_symlink(&inode) && size <= sizeof(inode.i_block)) {
        memcpy(target, inode.i_block, (size_t)size);
        sink.len = (size_t)size;
    } else {
        r = pour(ext, path, number, size, &sink.sink, err);
    }
    target[sink.len] = '\0';
    return r;
}

struct listing {
    struct im_buffer *names;
    size_t count;
    int fault;
};

static int take_name(ext2_ino_t dir, int entry, struct ext2_dir_entry *dirent, int offset,
                     int block_size, char *buf, void *private)
{
    struct listing *listing = private;
    size_t len = (size_t)(dirent->name_len & 0xff);

    (void)dir, (void)entry, (void)offset, (void)block_size, (void)buf;
    if ((len == 1 && dirent->name[0] == '.') || (len == 2 && memcmp(dirent->name, "..", 2) == 0) ||
        len == 0 || memchr(dirent->name, '\0', len) || memchr(dirent->name, '/', len))
        return 0;
    listing->fault = listing->count == IM_GUEST_NAMES_MAX
                         ? -EFBIG
                         : im_buffer_add(listing->names, dirent->name, len);
    if (listing->fault == 0)
        listing->fault = im_buffer_add(listing->names, "", 1);
    listing->count++;
    return listing->fault < 0 ? DIRENT_ABORT : 0;
}

static int ext_list(void *state, const char *path, struct im_buffer *names, size_t *ret_count,
                    struct im_error *err)
{
    struct listing listing = { .names = names };
    struct ext *ext = state;
    struct ext2_inode inode;
    ext2_ino_t number;
    errcode_t code;
    int r;

    begin(ext, 0);
    r = find(ext, path, &number, &inode, err);
    if (r < 0)
        return r;
    begin(ext, 0);
    code = ext->lib.ext2fs_dir_iterate2(ext->fs, number, 0, NULL, take_name, &listing);
    if (listing.fault < 0)
        return im_fail(err, -listing.fault, "there are more than %u names in '%s'",
                       IM_GUEST_NAMES_MAX, path);
    if (code)
        return failed(ext, code, path, err);
    *ret_count = listing.count;
    return 0;
}

const struct guest_reader guest_ext = {
    .shows_links = true,
    .open = ext_open,
    .stat = ext_stat,
    .link = ext_link,
    .read = ext_read,
    .list = ext_list,
    .close = ext_close,
};
