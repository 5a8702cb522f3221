/* making-boot - what makes the new disk start: GRUB's images, their configuration, and the boot
 * partition with the firmware's program, kernel and ramdisk.  See making.h. */

#include <config.h>

#include "stage/making.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "stage/grub.h"

enum { FILE_EFI, FILE_KERNEL, FILE_RAMDISK };

unsigned making_files(const struct making *making, uint64_t efi_len,
                      struct fat_file file[FAT_FILES_MAX])
{
    const struct fat_file all[FAT_FILES_MAX] = {
        [FILE_EFI] = { "BOOTX64 EFI", true, making->layout.uefi ? efi_len : 0, 0 },
        [FILE_KERNEL] = { "VMLINUZ    ", false, making->kernel ? making->kernel->size : 0, 0 },
        [FILE_RAMDISK] = { "INITRD     ", false, making->ramdisk ? making->ramdisk->size : 0, 0 },
    };
    unsigned count = 0;

    for (unsigned i = 0; i < FAT_FILES_MAX; i++)
        if (all[i].len)
            file[count++] = all[i];
    return count;
}

static int write_config(const struct making *making, struct im_buffer *config, struct im_error *err)
{
    char partuuid[40], boot_uuid[12];
    struct grub_plan plan = {
        .root_uuid = making->superblock.uuid,
        .root_partuuid = partuuid,
        .boot_uuid = making->kernel ? boot_uuid : NULL,
        .boot_number = LAYOUT_BOOT + 1,
        .gpt = making->layout.gpt,
        .ramdisk = making->ramdisk,
        .words = im_arg_text(making->args, "cmdline"),
    };

    layout_root_partuuid(&making->layout, partuuid);
    fat_uuid(making->serial, boot_uuid);
    return grub_config(&plan, config, err);
}

static int add_fat(struct making *making, struct fat *fat, struct im_error *err)
{
    uint64_t at = making->layout.part[LAYOUT_BOOT].offset;
    struct segments *segments = making->segments;
    uint8_t *table = im_steal(fat->table);
    int r = segments_add_bytes(segments, at, im_steal(fat->reserved), fat->reserved_len, err);

    if (r == 0)
        r = segments_add_bytes(segments, at + fat->directories_at, im_steal(fat->directories),
                               fat->directories_len, err);
    if (r < 0) {
        free(table);
        return r;
    }
    r = segments_add_bytes(segments, at + fat->table_at[0], table, fat->table_len, err);
    return r < 0 ? r
                 : segments_add_shared(segments, at + fat->table_at[1], table, fat->table_len, err);
}

/* What the files of the boot partition are: GRUB's image in memory, the others where they stand. */
static int add_files(struct making *making, struct im_buffer *efi, const struct fat_file *file,
                     unsigned count, struct im_error *err)
{
    uint64_t at = making->layout.part[LAYOUT_BOOT].offset;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < count; i++) {
        uint64_t offset = at + file[i].offset;

        if (file[i].efi)
            r = segments_add_bytes(making->segments, offset, im_buffer_steal(efi), file[i].len,
                                   err);
        else if (making->kernel)
            r = segments_add_source(making->segments, offset, im_steal(making->kernel), file[i].len,
                                    err);
        else
            r = segments_add_source(making->segments, offset, im_steal(making->ramdisk),
                                    file[i].len, err);
    }
    return r;
}

static int make_boot_partition(struct making *making, const struct im_buffer *config,
                               struct im_error *err)
{
    const struct layout_part *part = &making->layout.part[LAYOUT_BOOT];
    struct im_buffer efi IM_BUFFER_DONE = IM_BUFFER(GRUB_IMAGE_MAX);
    struct fat_file file[FAT_FILES_MAX];
    struct fat fat FAT_DONE = { 0 };
    unsigned count;
    int r = making->layout.uefi ? grub_image(GRUB_UEFI, config, &efi, err) : 0;

    if (r < 0)
        return r;
    count = making_files(making, efi.len, file);
    r = fat_make(file, count, part->len, part->offset, making->serial, &fat, err);
    if (r == 0)
        r = add_fat(making, &fat, err);
    return r < 0 ? r : add_files(making, &efi, file, count, err);
}

int making_boot(struct making *making, uint8_t *head, struct im_error *err)
{
    struct im_buffer config IM_BUFFER_DONE = IM_BUFFER(65536);
    struct im_buffer core IM_BUFFER_DONE = IM_BUFFER(GRUB_IMAGE_MAX);
    int r = write_config(making, &config, err);

    if (r == 0 && making->layout.bios)
        r = grub_image(GRUB_BIOS, &config, &core, err);
    if (r == 0 && making->layout.bios)
        r = grub_install(&core, making->layout.gpt ? LAYOUT_CORE_GPT : LAYOUT_CORE_MBR, head,
                         LAYOUT_HEAD, err);
    if (r == 0 && making->layout.part[LAYOUT_BOOT].len)
        r = make_boot_partition(making, &config, err);
    return r;
}
