/* linux - what the validators of Linux disks share: is there one, its text files, its directories,
 * its kernels.  What is there is told by numbers above 0; what nobody can read is reported. */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "core/stage.h"
#include "guest/guest.h"
#include "stage/kernel-image.h"

/* A configuration file; the largest grub.cfg seen has 30 KiB. */
#define LINUX_TEXT_MAX (256u * 1024)

/* A kernel's file; with everything built in and nothing compressed they have 60 MiB. */
#define LINUX_KERNEL_MAX (96u << 20)

/* Kernels that are looked at; distributions keep two or three. */
#define LINUX_KERNELS_MAX 8u

/* Is there a Linux?  1 and the guest.  0: none, which has been reported.  Errors: im_guest_of's. */
int linux_of(struct im_look *look, struct im_guest **ret_guest, struct im_error *err);

enum linux_found {
    LINUX_ABSENT = IM_ABSENT,
    LINUX_FOUND = IM_FOUND,
    LINUX_UNREADABLE = IM_UNREADABLE, /* reported as unknown, with the reason */
};

/* The text of a file into an empty buffer, whose ceiling counts.  NULs become '?'.
 * enum linux_found, or an error that ends the look. */
int linux_text(struct im_look *look, struct im_guest *guest, const char *path,
               struct im_buffer *text, struct im_error *err);
/* The same without a word about what cannot be read as text, and with NULs as they are. */
int linux_bytes(struct im_guest *guest, const char *path, struct im_buffer *bytes,
                struct im_error *err);

/* Is there something at the path?  enum linux_found without a report, or an error as above. */
int linux_stat(struct im_guest *guest, const char *path, struct im_file *ret_file,
               struct im_error *err);

/* The names in a directory, sorted. */
struct linux_names {
    struct im_buffer text;
    size_t count;
    const char **name; /* in text */
};

/* enum linux_found as linux_text; when absent there are none.  linux_names_done releases. */
int linux_list(struct im_look *look, struct im_guest *guest, const char *dir,
               struct linux_names *ret_names, struct im_error *err);
void linux_names_done(struct linux_names *names);
#define LINUX_NAMES_DONE __attribute__((cleanup(linux_names_done)))

/* A kernel in /boot, and the initramfs whose name goes with it. */
struct linux_kernel {
    char name[128];   /* behind "vmlinuz-": "6.1.0-18-amd64", or "linux", or "" */
    char path[192];   /* "/boot/vmlinuz-6.1.0-18-amd64" */
    char initrd[192]; /* "" none */
};

struct linux_kernels {
    unsigned count;
    struct linux_kernel kernel[LINUX_KERNELS_MAX];
};

/* Find kernels by their names, the last in order first; rescue kernels are left out.
 * enum linux_found of /boot. */
int linux_find_kernels(struct im_look *look, struct im_guest *guest,
                       struct linux_kernels *ret_kernels, struct im_error *err);

/* What the kernel's file says about itself.  enum linux_found; why it cannot be read is in err. */
int linux_read_kernel(struct im_guest *guest, const struct linux_kernel *kernel,
                      struct kernel_image *ret_image, struct im_error *err);

/* The name of its directory in /lib/modules, or what comes next to it. */
int linux_release(struct im_guest *guest, const struct linux_kernel *kernel, char *ret_release,
                  size_t size, struct im_error *err);

/* Is cloud-init installed and not disabled?  enum linux_found, without a report. */
int linux_has_cloud_init(struct im_guest *guest, struct im_error *err);

/* Cut the next line, or the next word, off *rest (which is changed, and NULL at the end) and give
 * it without what surrounds it; NULL when there is none. */
char *linux_line(char **rest);
char *linux_word(char **rest);
