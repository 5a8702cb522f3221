/* disk-from-partition - make a whole disk of a bare file system: a table in front of it, other
 * partitions and a boot loader beside it.
 *
 * The file system stays byte for byte, and is not copied: the disk is put together out of pieces
 * (stage/segments.h), so what comes through a pipe still flows through in one pass.  Whether the
 * system in it would start is not asked; the validators do that. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crypto.h"
#include "base/text.h"
#include "core/stage.h"
#include "stage/fat.h"
#include "stage/find-kernel.h"
#include "stage/grub.h"
#include "stage/layout-fill.h"
#include "stage/making.h"

/* Kernels with everything built in have 60 MiB, ramdisks with firmware 300. */
#define KERNEL_MAX  (UINT64_C(128) << 20)
#define RAMDISK_MAX (UINT64_C(768) << 20)

/* "HdrS" of a Linux kernel for x86 (Documentation/x86/boot.rst). */
#define KERNEL_MAGIC_AT 0x202u

static void making_done(struct making *making)
{
    im_source_close(making->kernel);
    im_source_close(making->ramdisk);
    segments_free(making->segments);
}

/* ---- the image ---- */

static int read_superblock(struct making *making, struct im_error *err)
{
    uint8_t head[SUPERBLOCK_HEAD] = { 0 };
    uint64_t size = making->image->size;
    bool force = im_arg_flag(making->args, "force");
    struct im_error local = { 0 };
    int r;

    if (size == 0)
        return im_fail(err, EOPNOTSUPP, "the image is empty");
    r = im_disk_read(making->image, head, (size_t)im_min(sizeof(head), size), 0, err);
    if (r < 0)
        return r;
    im_hash(IM_SHA256, head, sizeof(head), making->layout.seed);
    r = superblock_read(head, &making->superblock, &local);
    if (r == -EOPNOTSUPP && force && size != IM_SIZE_UNKNOWN)
        return 0;
    if (r < 0 && err)
        *err = local;
    return r;
}

/* What is longer than its file system keeps its rest; what is shorter has lost some. */
static int settle_root(struct making *making, struct im_error *err)
{
    const struct superblock *superblock = &making->superblock;
    uint64_t size = making->image->size;

    if (size == IM_SIZE_UNKNOWN)
        size = superblock->bytes;
    if (superblock->bytes > size)
        return im_fail(err, EBADMSG,
                       "the image has %" PRIu64 " bytes, but its %s file system has %" PRIu64
                       ": the file is truncated",
                       size, superblock->name, superblock->bytes);
    making->layout.part[LAYOUT_ROOT].len = size;
    making->layout.fat_root = superblock->kind == SUPERBLOCK_FAT;
    return 0;
}

/* ---- what starts it ---- */

static int open_file(const char *name, const char *path, uint64_t max,
                     struct im_source **ret_source, struct im_error *err)
{
    struct im_source *source = NULL;
    char shown[256];
    int r;

    if (im_source_is_remote(path)) /* this process has no network any more */
        return im_fail(err, EOPNOTSUPP, "%s='%s' is no file; fetch it first", name,
                       im_text_url(shown, sizeof(shown), path));
    r = im_source_open(path, &source, err);
    if (r < 0) {
        im_error_prefix(err, "%s=", name);
        return r;
    }
    if (!source->direct)
        r = im_fail(err, EOPNOTSUPP, "%s='%s' is no file; fetch it first", name, source->name);
    else if (source->size == 0 || source->size > max)
        r = im_fail(err, EINVAL, "%s='%s' has %" PRIu64 " bytes, not 1 to %" PRIu64, name,
                    source->name, source->size, max);
    if (r == 0)
        *ret_source = source;
    else
        im_source_close(source);
    return r;
}

static int check_kernel(struct im_source *kernel, struct im_error *err)
{
    char magic[4] = { 0 };
    int r = 0;

    if (kernel->size >= KERNEL_MAGIC_AT + sizeof(magic))
        r = im_source_read(kernel, magic, sizeof(magic), KERNEL_MAGIC_AT, err);
    if (r == 0 && memcmp(magic, "HdrS", sizeof(magic)) != 0)
        r = im_fail(err, EINVAL,
                    "kernel='%s' is no Linux kernel for x86 (bzImage): it has no HdrS at byte %u",
                    kernel->name, KERNEL_MAGIC_AT);
    return r;
}

static int open_files(struct making *making, struct im_error *err)
{
    const char *kernel = im_arg_text(making->args, "kernel");
    const char *ramdisk = im_arg_text(making->args, "ramdisk");
    int r = 0;

    if (ramdisk && !kernel)
        return im_fail(err, EINVAL, "ramdisk= without kernel=: they belong together");
    if (kernel)
        r = open_file("kernel", kernel, KERNEL_MAX, &making->kernel, err);
    if (r == 0 && kernel)
        r = check_kernel(making->kernel, err);
    if (r == 0 && ramdisk)
        r = open_file("ramdisk", ramdisk, RAMDISK_MAX, &making->ramdisk, err);
    return r;
}

/* Without kernel=, is there one inside?  Only ext is looked into, at no cost; of the others, and of
 * what comes through a pipe, it is supposed.  A FAT is no root. */
static int look_inside(const struct making *making, bool *ret_boot, struct im_error *err)
{
    const struct superblock *superblock = &making->superblock;
    int r;

    *ret_boot = superblock->kind == SUPERBLOCK_EXT || superblock->kind == SUPERBLOCK_XFS;
    if (superblock->kind != SUPERBLOCK_EXT || making->image->size == IM_SIZE_UNKNOWN)
        return 0;
    r = find_kernel(making->image, making->context, ret_boot, err);
    if (r == -ENOPKG) /* nobody here can look */
        return 0;
    if (r < 0)
        im_error_prefix(err, "no kernel can be looked for (boot=no does without one)");
    return r;
}

static int settle_boot(struct making *making, struct im_error *err)
{
    const char *boot = im_arg_text(making->args, "boot");
    const char *words = im_arg_text(making->args, "cmdline");
    bool asked = boot && strcmp(boot, "yes") == 0, found = false;
    int r;

    if (boot && strcmp(boot, "no") == 0) {
        if (im_arg_text(making->args, "kernel") || words)
            return im_fail(err, EINVAL,
                           "kernel=, ramdisk= and cmdline= are of no use with boot=no");
        return 0;
    }
    r = making->kernel ? 0 : look_inside(making, &found, err);
    if (r < 0)
        return r;
    making->boot = asked || making->kernel || found;
    if (asked && !making->kernel && !found)
        return im_fail(err, EOPNOTSUPP,
                       "boot=yes, but there is no kernel: neither /vmlinuz nor /boot/vmlinuz… in "
                       "the file system; give kernel=");
    if (making->boot && !*making->superblock.uuid)
        return im_fail(err, EOPNOTSUPP,
                       "the file system has no UUID, which a boot loader finds it by: give it one "
                       "(tune2fs -U random, xfs_admin -U generate), or use boot=no");
    return words ? grub_check_words(words, err) : 0;
}

static int settle_firmware(struct making *making, struct im_error *err)
{
    const char *firmware = im_arg_text(making->args, "firmware");
    struct layout *layout = &making->layout;
    int r = 0;

    layout->bios = making->boot && (!firmware || strcmp(firmware, "uefi") != 0);
    layout->uefi = making->boot && (!firmware || strcmp(firmware, "bios") != 0);
    if (layout->bios)
        r = grub_available(GRUB_BIOS, err);
    if (r == 0 && layout->uefi)
        r = grub_available(GRUB_UEFI, err);
    return r;
}

/* Everything but running something. */
static int plan(struct making *making, struct im_error *err)
{
    const char *table = im_arg_text(making->args, "table");
    struct layout *layout = &making->layout;
    struct fat_file file[FAT_FILES_MAX];
    int r = read_superblock(making, err);

    if (r == 0)
        r = settle_root(making, err);
    if (r == 0)
        r = open_files(making, err);
    if (r == 0)
        r = settle_boot(making, err);
    if (r == 0)
        r = settle_firmware(making, err);
    if (r < 0)
        return r;
    layout->gpt = !table || strcmp(table, "gpt") == 0;
    layout->size = im_arg_number(making->args, "size", 0);
    layout->part[LAYOUT_SWAP].len = im_arg_number(making->args, "swap", 0);
    layout->part[LAYOUT_EPHEMERAL].len = im_arg_number(making->args, "ephemeral", 0);
    if (layout->uefi || making->kernel)
        layout->part[LAYOUT_BOOT].len = fat_bytes(file, making_files(making, GRUB_IMAGE_MAX, file));
    r = layout_can_fill(layout, err);
    return r < 0 ? r : layout_place(layout, err);
}

/* ---- making it ---- */

/* Table and boot code. */
static int make_head(struct making *making, struct im_error *err)
{
    struct layout *layout = &making->layout;
    uint8_t *head IM_FREE = NULL;
    uint8_t *tail IM_FREE = NULL;
    int r = layout_table(layout, &head, &tail, err);

    if (r == 0 && making->boot)
        r = making_boot(making, head, err);
    if (r == 0)
        r = segments_add_bytes(making->segments, 0, im_steal(head), LAYOUT_HEAD, err);
    if (r == 0 && tail)
        r = segments_add_bytes(making->segments, layout->size - LAYOUT_TAIL, im_steal(tail),
                               LAYOUT_TAIL, err);
    return r;
}

static int make(struct making *making, struct im_error *err)
{
    const struct layout *layout = &making->layout;
    uint64_t len = making->image->size;
    char text[40];
    uint8_t uuid[16];
    int r;

    if (len == IM_SIZE_UNKNOWN)
        len = making->superblock.bytes;
    layout_uuid(layout, "boot file system", uuid, text);
    making->serial = im_le32(uuid) | 1;
    making->segments = segments_new(layout->size, making->image);
    if (!making->segments)
        return im_fail(err, ENOMEM, "out of memory");
    r = segments_add_below(making->segments, layout->part[LAYOUT_ROOT].offset, len, err);
    if (r < 0 || making->context->planning)
        return r;
    r = layout_fill(layout, making->context, making->segments, err);
    return r < 0 ? r : make_head(making, err);
}

/* ---- the stage ---- */

static int plan_for(const struct im_args *args, const struct im_context *context,
                    const struct im_input *input, struct layout *ret_layout, struct im_error *err)
{
    struct making making IM_CLEANUP(
        making_done) = { .args = args, .context = context, .image = input->disk };
    int r = plan(&making, err);

    if (r == 0)
        *ret_layout = making.layout;
    return r;
}

static int disk_from_partition_accepts(const struct im_args *args, const struct im_context *context,
                                       const struct im_input *input, struct im_error *err)
{
    struct layout layout;

    return plan_for(args, context, input, &layout, err);
}

static int disk_from_partition_capacity(const struct im_args *args,
                                        const struct im_context *context,
                                        const struct im_input *input, uint64_t *ret_bytes,
                                        struct im_error *err)
{
    (void)context;
    (void)input;
    (void)err;
    *ret_bytes = layout_ephemeral_scratch(im_arg_number(args, "ephemeral", 0));
    return 0;
}

static int disk_from_partition_apply(const struct im_args *args, const struct im_context *context,
                                     struct im_disk **disk, struct im_error *err)
{
    struct making making IM_CLEANUP(
        making_done) = { .args = args, .context = context, .image = *disk };
    int r = plan(&making, err);

    if (r == 0)
        r = make(&making, err);
    if (r == 0)
        *disk = segments_finish(im_steal(making.segments));
    return r;
}

static const char *const tables[] = { "gpt", "mbr", NULL };
static const char *const boots[] = { "auto", "yes", "no", NULL };
static const char *const firmwares[] = { "both", "bios", "uefi", NULL };

static const struct im_param params[] = {
    { "table", IM_PARAM_CHOICE, false, tables, "partition table (default: gpt)" },
    { "size", IM_PARAM_SIZE, false, NULL, "bytes of the disk (default: as many as are needed)" },
    { "swap", IM_PARAM_SIZE, false, NULL, "bytes of swap space, partition 3 (default: none)" },
    { "ephemeral", IM_PARAM_SIZE, false, NULL,
      "bytes of an empty ext4 file system called ephemeral0, partition 2 (default: none)" },
    { "boot", IM_PARAM_CHOICE, false, boots, "install a boot loader (default: auto)" },
    { "firmware", IM_PARAM_CHOICE, false, firmwares, "that starts the disk (default: both)" },
    { "kernel", IM_PARAM_FILE, false, NULL, "file of the kernel (default: found in the image)" },
    { "ramdisk", IM_PARAM_FILE, false, NULL, "file of its ramdisk" },
    { "cmdline", IM_PARAM_TEXT, false, NULL, "further words for the kernel" },
    { "force", IM_PARAM_FLAG, false, NULL, "make a partition of what is no known file system" },
    { 0 },
};

static const char *const needs[] = { "libfdisk.so.1", NULL };

static const struct im_use uses[] = {
    { "grub-mkimage", "a boot loader" },
    { "/usr/lib/grub/i386-pc/boot.img", "a boot loader for BIOS" },
    { "/usr/lib/grub/x86_64-efi/moddep.lst", "a boot loader for UEFI" },
    { "mke2fs", "ephemeral" },
    { "libext2fs.so.2", "a look for the kernel inside" },
    { "grub-fstest", "a look for the kernel inside XFS and Btrfs" },
    { 0 },
};

const struct im_stage im_stage_disk_from_partition = {
    .name = "disk-from-partition",
    .summary = "make a whole disk, which can boot, of a bare file system",
    .class = IM_LAYOUT,
    .moves = true,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .needs = needs,
    .uses = uses,
    .params = params,
    .accepts = disk_from_partition_accepts,
    .required_capacity = disk_from_partition_capacity,
    .apply = disk_from_partition_apply,
};
