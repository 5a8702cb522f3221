/* grub - boot code, core images and configuration of a disk that starts by GRUB.
 *
 * GRUB itself only ever runs as a separate program, grub-mkimage, and its files are data here.  Its
 * configuration lies inside the core image, so the user's file system stays as it is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum grub_firmware { GRUB_BIOS, GRUB_UEFI };

/* A core image for UEFI has 0.8 MiB with all its modules, one for a BIOS 0.2. */
#define GRUB_IMAGE_MAX (2u << 20)
/* Bytes of words for the kernel: it takes 2048 in all. */
#define GRUB_WORDS_MAX 1024u

/* What to start. */
struct grub_plan {
    const char *root_uuid;     /* of the file system */
    const char *root_partuuid; /* for a kernel without ramdisk, which knows no other */
    const char *boot_uuid; /* file system with /vmlinuz and perhaps /initrd; NULL: they are looked
                              for in the root */
    unsigned boot_number;  /* of its partition */
    bool gpt;
    bool ramdisk;      /* of the boot file system */
    const char *words; /* further words for the kernel, as grub_check_words allows; or NULL */
};

/* Are these words for a kernel's command line?  -EINVAL: control characters, quotes, too many. */
int grub_check_words(const char *words, struct im_error *err);

/* Is everything there that images for this firmware need?  -ENOPKG names the file and Debian's
 * package. */
int grub_available(enum grub_firmware firmware, struct im_error *err);

/* Append the configuration; -EFBIG, -ENOMEM. */
int grub_config(const struct grub_plan *plan, struct im_buffer *text, struct im_error *err);

/* Append the core image with that configuration to `image`, whose ceiling is at least
 * GRUB_IMAGE_MAX.  -ENOPKG, -EBADMSG with grub-mkimage's words. */
int grub_image(enum grub_firmware firmware, const struct im_buffer *config, struct im_buffer *image,
               struct im_error *err);

/* Put boot code and the core image, which begins in sector `core`, into the first `len` bytes of a
 * disk, beside its table.  -EFBIG when it does not fit. */
int grub_install(const struct im_buffer *image, uint32_t core, uint8_t *head, size_t len,
                 struct im_error *err);
