/* grub - core images by grub-mkimage, boot code from GRUB's boot.img; see grub.h.
 *
 * The image carries a tar archive ("memdisk") with its configuration, since the parser for
 * configuration that is put in directly has no loops. */

#include <config.h>

#include "stage/grub.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "box/box.h"

#define MKIMAGE "grub-mkimage"
#define SECTOR  512u

/* GRUB 2's boot.img and diskboot.img (grub-core/boot/i386/pc): code up to the table, where boot.img
 * keeps the sector of the core image, and its jump over a cure for BIOSes that name the wrong
 * drive; where the core image keeps the sector of its own second sector. */
#define CODE_LEN      440u
#define BOOT_CORE_AT  0x5cu
#define BOOT_DRIVE_AT 0x66u
#define CORE_NEXT_AT  500u

static const struct target {
    const char *name;    /* as grub-mkimage calls it */
    const char *file;    /* one of those that have to be there */
    const char *package; /* Debian's, that has them */
} targets[] = {
    [GRUB_BIOS] = { "i386-pc", "/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin" },
    [GRUB_UEFI] = { "x86_64-efi", "/usr/lib/grub/x86_64-efi/moddep.lst", "grub-efi-amd64-bin" },
};

int grub_available(enum grub_firmware firmware, struct im_error *err)
{
    const struct target *target = &targets[firmware];
    struct im_program found;

    if (!im_spawn_find(MKIMAGE, &found))
        return im_fail(err, ENOPKG,
                       "unavailable: %s is missing, which makes boot loaders; install grub-common, "
                       "or do without by boot=no",
                       MKIMAGE);
    if (access(target->file, R_OK) < 0)
        return im_fail(err, ENOPKG,
                       "unavailable: %s is missing, which boot loaders for %s are made from; "
                       "install %s, or do without by firmware=%s or boot=no",
                       target->file, firmware == GRUB_BIOS ? "BIOS" : "UEFI", target->package,
                       firmware == GRUB_BIOS ? "uefi" : "bios");
    return 0;
}

/* ---- the core image ---- */

/* A tar archive of one file (POSIX.1-1988, ustar), in a file in memory. */
static int make_memdisk(const struct im_buffer *config, struct im_error *err)
{
    int fd IM_CLOSE = memfd_create("memdisk", MFD_CLOEXEC);
    char header[SECTOR] = "boot/grub/grub.cfg";
    unsigned sum = 0;
    int r = fd < 0 ? -errno : 0;

    memcpy(header + 100,
           "0000644\0"
           "0000000\0"
           "0000000\0",
           24);
    (void)snprintf(header + 124, 12, "%011zo", config->len);
    memcpy(header + 136, "00000000000", 12);
    memset(header + 148, ' ', 8); /* the sum counts its own place as blanks */
    header[156] = '0';
    memcpy(header + 257,
           "ustar\0"
           "00",
           8);
    for (size_t i = 0; i < sizeof(header); i++)
        sum += (unsigned char)header[i];
    (void)snprintf(header + 148, 8, "%06o", sum);
    if (r == 0)
        r = im_pwrite(fd, header, sizeof(header), 0);
    if (r == 0)
        r = im_pwrite(fd, config->data, config->len, sizeof(header));
    /* two sectors of zeros end it */
    if (r == 0 && ftruncate(fd, (off_t)(im_round_up(config->len, SECTOR) + 3 * SECTOR)) < 0)
        r = -errno;
    if (r < 0)
        return im_fail(err, -r, "cannot make a file in memory for GRUB: %s", strerrordesc_np(-r));
    return im_steal_fd(&fd);
}

static int read_image(int fd, struct im_buffer *image, struct im_error *err)
{
    struct stat st;
    char *bytes IM_FREE = NULL;

    if (fstat(fd, &st) < 0)
        return im_fail_errno(err, errno, "cannot look at the image of %s", MKIMAGE);
    if (st.st_size < 2 * (off_t)SECTOR || st.st_size > (off_t)GRUB_IMAGE_MAX)
        return im_fail(err, EBADMSG, "%s made an image of %jd bytes, not of %u to %u", MKIMAGE,
                       (intmax_t)st.st_size, 2 * SECTOR, GRUB_IMAGE_MAX);
    bytes = malloc((size_t)st.st_size);
    if (!bytes || im_pread(fd, bytes, (size_t)st.st_size, 0) != st.st_size ||
        im_buffer_add(image, bytes, (size_t)st.st_size) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    return 0;
}

int grub_image(enum grub_firmware firmware, const struct im_buffer *config, struct im_buffer *image,
               struct im_error *err)
{
    /* part_* to search: tables and file systems; all_video hands a screen on to the kernel */
    const char *const argv[] = { MKIMAGE,
                                 "-O",
                                 targets[firmware].name,
                                 "-m",
                                 IM_BOX_FD3,
                                 "-p",
                                 "(memdisk)/boot/grub",
                                 firmware == GRUB_BIOS ? "biosdisk" : "all_video",
                                 "part_msdos",
                                 "part_gpt",
                                 "ext2",
                                 "xfs",
                                 "fat",
                                 "normal",
                                 "linux",
                                 "regexp",
                                 "search",
                                 "test",
                                 "echo",
                                 "serial",
                                 "terminal",
                                 "memdisk",
                                 "tar",
                                 NULL };
    struct im_box box IM_BOX_DONE = IM_BOX(MKIMAGE, argv, -1);
    int memdisk IM_CLOSE = make_memdisk(config, err);
    int output IM_CLOSE = memfd_create("image", MFD_CLOEXEC);
    int r = grub_available(firmware, err);

    if (memdisk < 0)
        return memdisk;
    if (output < 0)
        return im_fail_errno(err, errno, "cannot make a file in memory for GRUB");
    if (r < 0)
        return r;
    box.output = output;
    box.fd3 = memdisk;
    box.file_size = GRUB_IMAGE_MAX;
    r = im_box_run(&box, err);
    if (r == 0 && !im_box_succeeded(&box))
        r = im_box_refused(&box, "make", "boot loader", err);
    return r < 0 ? r : read_image(output, image, err);
}

/* ---- onto the disk ---- */

static void put64(uint8_t *p, uint64_t value)
{
    uint64_t le = htole64(value);

    memcpy(p, &le, sizeof(le));
}

int grub_install(const struct im_buffer *image, uint32_t core, uint8_t *head, size_t len,
                 struct im_error *err)
{
    char *boot IM_FREE = NULL;
    size_t boot_len = 0;
    int r = im_read_file(targets[GRUB_BIOS].file, SECTOR, &boot, &boot_len, err);

    if (r < 0)
        return r;
    if (boot_len != SECTOR)
        return im_fail(err, EBADMSG, "%s has %zu bytes instead of %u; install grub-pc-bin again",
                       targets[GRUB_BIOS].file, boot_len, SECTOR);
    if (image->len > len - (size_t)core * SECTOR)
        return im_fail(err, EFBIG, "GRUB's core image has %zu bytes, but there is room for %zu",
                       image->len, len - (size_t)core * SECTOR);
    memcpy(head, boot, CODE_LEN);
    put64(head + BOOT_CORE_AT, core);
    memset(head + BOOT_DRIVE_AT, 0x90, 2); /* no jump: the cure is for hard disks */
    memcpy(head + (size_t)core * SECTOR, image->data, image->len);
    put64(head + (size_t)core * SECTOR + CORE_NEXT_AT, core + 1);
    return 0;
}
