/* check-kernel - are there a kernel and its initramfs in /boot, can they be read, for which machine
 * are they? */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "guest/as-file.h"
#include "guest/guest.h"
#include "stage/linux.h"

#define NO_OS     "Unknown OS / Missing OS files"
#define INSTALL   "install the distribution's kernel package"
#define INITRAMFS "make it with update-initramfs -c or dracut"

/* What depmod calls the kernel: its own word, or the file's name. */
static const char *release_of(const struct linux_kernel *kernel, const struct kernel_image *image)
{
    return *image->release ? image->release : kernel->name;
}

static int judge_modules(struct im_look *look, struct im_guest *guest,
                         const struct linux_kernel *kernel, const struct kernel_image *image,
                         struct im_error *err)
{
    struct im_file file;
    char path[192];
    int r;

    if (!*release_of(kernel, image))
        return 0;
    (void)snprintf(path, sizeof(path), "/lib/modules/%s", release_of(kernel, image));
    r = linux_stat(guest, path, &file, err);
    if (r == LINUX_ABSENT)
        im_report_warning(look->report, "install the kernel's modules",
                          "%s: there is no %s: only what is built in or in the initramfs works",
                          kernel->path, path);
    return r < 0 ? r : 0;
}

/* Is the initramfs there, and does it begin at all?  What is in it is check-drivers' matter. */
static int judge_initrd(struct im_look *look, struct im_guest *guest,
                        const struct linux_kernel *kernel, struct im_error *err)
{
    struct im_file file = { 0 };
    int r;

    if (!*kernel->initrd) {
        im_report_fault(look->report, NULL, NULL, INITRAMFS,
                        "%s has no initramfs: there is no /boot/initrd.img-%s or "
                        "/boot/initramfs-%s.img",
                        kernel->path, kernel->name, kernel->name);
        return 0;
    }
    r = linux_stat(guest, kernel->initrd, &file, err);
    if (r == LINUX_FOUND && (file.kind != IM_FILE_REGULAR || file.size == 0))
        im_report_fault(look->report, NULL, NULL, INITRAMFS, "%s is %s", kernel->initrd,
                        file.kind == IM_FILE_REGULAR ? "empty" : "no file");
    else if (r == LINUX_ABSENT || r == LINUX_UNREADABLE)
        im_report_fault(look->report, NULL, NULL, INITRAMFS, "%s cannot be read", kernel->initrd);
    return r < 0 ? r : 0;
}

static void judge_image(struct im_look *look, const struct linux_kernel *kernel,
                        const struct kernel_image *image)
{
    if (!image->arch) {
        im_report_fault(look->report, NULL, NO_OS, INSTALL,
                        "%s is no kernel: it has the header of none", kernel->path);
        return;
    }
    if (!image->is_64_bit)
        im_report_fault(look->report, NULL, NULL, "install a kernel of 64 bits",
                        "%s is for %s; only 64 bits are taken", kernel->path, image->arch);
    if (isdigit((unsigned char)*kernel->name) && *image->release &&
        strcmp(image->release, kernel->name) != 0)
        im_report_warning(look->report,
                          "give the kernel, its initramfs and its modules one version",
                          "%s says that it is %s", kernel->path, image->release);
    im_report_okay(look->report, "%s: %s %s%s%s", kernel->path, image->arch,
                   *image->release ? image->release : "(release unknown)",
                   *kernel->initrd ? ", " : "", kernel->initrd);
}

static int judge(struct im_look *look, struct im_guest *guest, const struct linux_kernel *kernel,
                 struct im_error *err)
{
    struct kernel_image image = { 0 };
    struct im_error local = { 0 };
    int r = linux_read_kernel(guest, kernel, &image, &local);

    if (r < 0) {
        if (err)
            *err = local;
        return r;
    }
    if (r != LINUX_FOUND) {
        im_report_fault(look->report, NULL, NO_OS, INSTALL, "%s cannot be read: %s", kernel->path,
                        local.message);
        return 0;
    }
    judge_image(look, kernel, &image);
    r = judge_initrd(look, guest, kernel, err);
    return r < 0 || !image.arch ? r : judge_modules(look, guest, kernel, &image, err);
}

/* Where systemd-boot keeps what it starts. */
static int has_efi_kernels(struct im_guest *guest, struct im_error *err)
{
    static const char *const places[] = { "/boot/efi/EFI/Linux", "/efi/EFI/Linux",
                                          "/boot/EFI/Linux", "/boot/efi/loader/entries",
                                          "/efi/loader/entries" };
    int r = LINUX_ABSENT;

    for (size_t i = 0; r == LINUX_ABSENT && i < sizeof(places) / sizeof(places[0]); i++) {
        struct im_file file;

        r = linux_stat(guest, places[i], &file, err);
    }
    return r;
}

static int judge_none(struct im_look *look, struct im_guest *guest, struct im_error *err)
{
    int r = has_efi_kernels(guest, err);

    if (r == LINUX_FOUND)
        im_report_unknown(look->report, "there is no kernel in /boot, but something on the EFI "
                                        "system partition, which is not looked into");
    else if (r >= 0)
        im_report_fault(look->report, NULL, NO_OS, INSTALL,
                        "There is no kernel in /boot (vmlinuz-*, vmlinux-*, Image-*)");
    return r < 0 ? r : 0;
}

/* Could there be a system in what is recognised, but not looked into: LVM, RAID, encrypted? */
static bool is_closed(const struct im_fs *fs)
{
    return fs->ambivalent || strstr(fs->type, "_member") || strstr(fs->type, "LUKS") ||
           strcmp(fs->type, "BitLocker") == 0;
}

/* Everything was looked into, and there is no system: for the other rules that is unknown, here it
 * is a fault. */
static bool holds_nothing(const struct im_guest *guest)
{
    if (guest->root || *guest->unread || *guest->table_fault || guest->fs_count == 0)
        return false;
    for (unsigned i = 0; i < guest->fs_count; i++)
        if (is_closed(&guest->fs[i]))
            return false;
    return true;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct linux_kernels kernels;
    struct im_guest *guest;
    int r = im_guest_of(look, &guest, err);

    if (r == 0 && holds_nothing(guest)) {
        im_report_fault(look->report, NULL, NO_OS, "give the disk that the system is on",
                        "No system that is known is on the disk: no file system holds "
                        "/etc/os-release or /etc/fstab of a Linux, or \\Windows\\System32");
        return 0;
    }
    if (r == 0)
        r = linux_of(look, &guest, err);

    (void)args;
    if (r <= 0)
        return r;
    r = linux_find_kernels(look, guest, &kernels, err);
    if (r < 0 || r == LINUX_UNREADABLE)
        return r < 0 ? r : 0;
    r = kernels.count == 0 ? judge_none(look, guest, err) : 0;
    for (unsigned i = 0; r == 0 && i < kernels.count; i++)
        r = judge(look, guest, &kernels.kernel[i], err);
    return r;
}

const struct im_stage im_stage_check_kernel = {
    .name = "check-kernel",
    .summary = "a kernel and its initramfs are there, readable, and of one version",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
