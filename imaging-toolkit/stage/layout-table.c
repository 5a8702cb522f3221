/* layout-table - the only file that knows libfdisk: writes the table of a layout into a sparse file
 * in memory as large as the disk, of which the first and the last sectors are then taken. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libfdisk/libfdisk.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/library.h"
#include "stage/layout.h"

#define SONAME "libfdisk.so.1"

struct fdisk {
    typeof(&fdisk_new_context) fdisk_new_context;
    typeof(&fdisk_unref_context) fdisk_unref_context;
    typeof(&fdisk_assign_device_by_fd) fdisk_assign_device_by_fd;
    typeof(&fdisk_deassign_device) fdisk_deassign_device;
    typeof(&fdisk_disable_dialogs) fdisk_disable_dialogs;
    typeof(&fdisk_create_disklabel) fdisk_create_disklabel;
    typeof(&fdisk_set_disklabel_id_from_string) fdisk_set_disklabel_id_from_string;
    typeof(&fdisk_set_first_lba) fdisk_set_first_lba;
    typeof(&fdisk_get_label) fdisk_get_label;
    typeof(&fdisk_label_parse_parttype) fdisk_label_parse_parttype;
    typeof(&fdisk_unref_parttype) fdisk_unref_parttype;
    typeof(&fdisk_new_partition) fdisk_new_partition;
    typeof(&fdisk_unref_partition) fdisk_unref_partition;
    typeof(&fdisk_partition_set_partno) fdisk_partition_set_partno;
    typeof(&fdisk_partition_set_start) fdisk_partition_set_start;
    typeof(&fdisk_partition_set_size) fdisk_partition_set_size;
    typeof(&fdisk_partition_size_explicit) fdisk_partition_size_explicit;
    typeof(&fdisk_partition_set_type) fdisk_partition_set_type;
    typeof(&fdisk_partition_set_name) fdisk_partition_set_name;
    typeof(&fdisk_partition_set_uuid) fdisk_partition_set_uuid;
    typeof(&fdisk_add_partition) fdisk_add_partition;
    typeof(&fdisk_toggle_partition_flag) fdisk_toggle_partition_flag;
    typeof(&fdisk_write_disklabel) fdisk_write_disklabel;
};

#define ROW(name) IM_SYMBOL(fdisk, name)
static const struct im_symbol symbols[] = {
    ROW(fdisk_new_context),
    ROW(fdisk_unref_context),
    ROW(fdisk_assign_device_by_fd),
    ROW(fdisk_deassign_device),
    ROW(fdisk_disable_dialogs),
    ROW(fdisk_create_disklabel),
    ROW(fdisk_set_disklabel_id_from_string),
    ROW(fdisk_set_first_lba),
    ROW(fdisk_get_label),
    ROW(fdisk_label_parse_parttype),
    ROW(fdisk_unref_parttype),
    ROW(fdisk_new_partition),
    ROW(fdisk_unref_partition),
    ROW(fdisk_partition_set_partno),
    ROW(fdisk_partition_set_start),
    ROW(fdisk_partition_set_size),
    ROW(fdisk_partition_size_explicit),
    ROW(fdisk_partition_set_type),
    ROW(fdisk_partition_set_name),
    ROW(fdisk_partition_set_uuid),
    ROW(fdisk_add_partition),
    ROW(fdisk_toggle_partition_flag),
    ROW(fdisk_write_disklabel),
    { NULL },
};

/* Types as the two tables name them: an MBR's in hexadecimal, UEFI's and systemd's GUIDs. */
#define MBR_LINUX "83"
#define MBR_FAT   "0c"
#define GPT_LINUX "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
#define GPT_FAT   "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"

static const struct kind {
    const char *name; /* in a GPT; also what its identifier is made for */
    const char *mbr, *gpt;
} kinds[LAYOUT_PARTS] = {
    [LAYOUT_ROOT] = { "root", MBR_LINUX, GPT_LINUX },
    [LAYOUT_EPHEMERAL] = { "ephemeral0", MBR_LINUX, GPT_LINUX },
    [LAYOUT_SWAP] = { "swap", "82", "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F" },
    /* "Linux extended boot": kernels for a boot loader */
    [LAYOUT_BOOT] = { "boot", MBR_FAT, "BC13C2FF-59E6-4262-A352-B275FD6F7172" },
    [LAYOUT_BIOS] = { "bios-boot", NULL, "21686148-6449-6E6F-744E-656564454649" },
};
static const struct kind efi_system = { "boot", "ef", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" };
static const struct kind fat_root = { "root", MBR_FAT, GPT_FAT };

static const struct kind *kind_of(const struct layout *layout, unsigned i)
{
    return i == LAYOUT_BOOT && layout->uefi       ? &efi_system
           : i == LAYOUT_ROOT && layout->fat_root ? &fat_root
                                                  : &kinds[i];
}

static int failed(int r, const char *what, struct im_error *err)
{
    return im_fail(err, r < 0 ? -r : EIO, "libfdisk cannot %s: %s", what,
                   strerrordesc_np(r < 0 ? -r : EIO));
}

static int set_gpt_names(const struct fdisk *f, struct fdisk_partition *part,
                         const struct layout *layout, const struct kind *kind)
{
    uint8_t uuid[16];
    char text[40];
    int r = f->fdisk_partition_set_name(part, kind->name);

    layout_uuid(layout, kind->name, uuid, text);
    return r < 0 ? r : f->fdisk_partition_set_uuid(part, text);
}

static int add_part(const struct fdisk *f, struct fdisk_context *context,
                    const struct layout *layout, unsigned i)
{
    const struct kind *kind = kind_of(layout, i);
    struct fdisk_parttype *type = f->fdisk_label_parse_parttype(
        f->fdisk_get_label(context, NULL), layout->gpt ? kind->gpt : kind->mbr);
    struct fdisk_partition *part = f->fdisk_new_partition();
    int r = part && type ? 0 : -ENOMEM;

    if (r == 0)
        r = f->fdisk_partition_set_partno(part, i);
    if (r == 0)
        r = f->fdisk_partition_set_start(part, layout->part[i].offset / LAYOUT_SECTOR);
    if (r == 0)
        r = f->fdisk_partition_set_size(part, layout->part[i].len / LAYOUT_SECTOR);
    if (r == 0)
        r = f->fdisk_partition_size_explicit(part, 1);
    if (r == 0)
        r = f->fdisk_partition_set_type(part, type);
    if (r == 0 && layout->gpt)
        r = set_gpt_names(f, part, layout, kind);
    if (r == 0)
        r = f->fdisk_add_partition(context, part, NULL);
    f->fdisk_unref_partition(part);
    f->fdisk_unref_parttype(type);
    return r;
}

static int set_id(const struct fdisk *f, struct fdisk_context *context, const struct layout *layout)
{
    uint8_t uuid[16];
    char text[40];

    if (layout->gpt)
        layout_uuid(layout, "disk", uuid, text);
    else
        (void)snprintf(text, sizeof(text), "0x%08" PRIx32, layout_disk_id(layout));
    return f->fdisk_set_disklabel_id_from_string(context, text);
}

static int make_table(const struct fdisk *f, struct fdisk_context *context,
                      const struct layout *layout, struct im_error *err)
{
    int r;

    (void)f->fdisk_disable_dialogs(context, 1);
    /* the BIOS boot partition lies in front of what is aligned */
    if (layout->gpt)
        (void)f->fdisk_set_first_lba(context, LAYOUT_CORE_GPT);
    r = f->fdisk_create_disklabel(context, layout->gpt ? "gpt" : "dos");
    if (r == 0)
        r = set_id(f, context, layout);
    if (r < 0)
        return failed(r, "make a table", err);
    for (unsigned i = 0; i < LAYOUT_PARTS; i++) {
        r = layout->part[i].len ? add_part(f, context, layout, i) : 0;
        if (r < 0)
            return failed(r, "add a partition", err);
    }
    /* some BIOSes start only disks with an active partition */
    if (!layout->gpt && layout->bios)
        r = f->fdisk_toggle_partition_flag(context, LAYOUT_ROOT, DOS_FLAG_ACTIVE);
    if (r == 0)
        r = f->fdisk_write_disklabel(context);
    return r < 0 ? failed(r, "write the table", err) : 0;
}

static int write_table(int fd, const struct layout *layout, struct im_error *err)
{
    struct fdisk_context *context;
    struct fdisk fdisk;
    int r = im_library_load(SONAME, symbols, &fdisk, err);

    if (r < 0)
        return r;
    context = fdisk.fdisk_new_context();
    if (!context)
        return im_fail(err, ENOMEM, "out of memory");
    r = fdisk.fdisk_assign_device_by_fd(context, fd, "disk", 0);
    r = r < 0 ? failed(r, "open the disk", err) : make_table(&fdisk, context, layout, err);
    fdisk.fdisk_unref_context(context);
    return r;
}

/* len bytes of the file at offset, in new memory. */
static int take(int fd, uint64_t offset, size_t len, uint8_t **ret_bytes, struct im_error *err)
{
    uint8_t *bytes IM_FREE = malloc(len);
    ssize_t n = bytes ? im_pread(fd, bytes, len, offset) : -ENOMEM;

    if (n != (ssize_t)len)
        return im_fail(err, n < 0 ? (int)-n : EIO, "cannot read the table back: %s",
                       n < 0 ? strerrordesc_np((int)-n) : "it is too short");
    *ret_bytes = im_steal(bytes);
    return 0;
}

int layout_table(const struct layout *layout, uint8_t **ret_head, uint8_t **ret_tail,
                 struct im_error *err)
{
    int fd IM_CLOSE = memfd_create("disk", MFD_CLOEXEC);
    uint8_t *head IM_FREE = NULL;
    uint8_t *tail IM_FREE = NULL;
    int r;

    if (fd < 0 || ftruncate(fd, (off_t)layout->size) < 0)
        return im_fail_errno(err, errno, "cannot make a file in memory for the table");
    r = write_table(fd, layout, err);
    if (r == 0)
        r = take(fd, 0, LAYOUT_HEAD, &head, err);
    if (r == 0 && layout->gpt)
        r = take(fd, layout->size - LAYOUT_TAIL, LAYOUT_TAIL, &tail, err);
    if (r < 0)
        return r;
    *ret_head = im_steal(head);
    *ret_tail = im_steal(tail);
    return 0;
}
