/* check-drivers - has the kernel, built in or in its initramfs, what it needs to find its root on
 * the machines of clouds: virtio, NVMe, Xen?
 *
 * Network drivers may come from /lib/modules, once the root is mounted. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "guest/as-file.h"
#include "stage/initramfs.h"
#include "stage/kernel-image.h"
#include "stage/linux.h"

#define UNREADABLE                                                                                 \
    "We were unable to read your import's initramfs/initrd to determine what drivers your import " \
    "requires to run in EC2"
#define ADD_DRIVERS                                                                                \
    "add the drivers and make the initramfs again: /etc/initramfs-tools/modules and "              \
    "update-initramfs -u, or dracut --no-hostonly"
#define MAKE_AGAIN "make it again with update-initramfs -u or dracut -f"

/* Bytes of the file; the largest (with firmware for everything) have 100 MiB. */
#define INITRAMFS_MAX (192u << 20)
#define CONFIG_MAX    (1u << 20)
/* The newest kernels; each costs a walk through its initramfs. */
#define KERNELS_READ 3u

enum driver {
    VIRTIO_PCI,
    VIRTIO_BLK,
    VIRTIO_SCSI,
    VIRTIO_NET,
    NVME,
    ENA,
    XEN_BLK,
    XEN_NET,
    DRIVERS
};

static const struct {
    const char *module; /* with '_' for '-' */
    const char *config;
    const char *path; /* below /lib/modules/RELEASE/kernel/drivers */
} drivers[DRIVERS] = {
    [VIRTIO_PCI] = { "virtio_pci", "CONFIG_VIRTIO_PCI", "virtio/virtio_pci" },
    [VIRTIO_BLK] = { "virtio_blk", "CONFIG_VIRTIO_BLK", "block/virtio_blk" },
    [VIRTIO_SCSI] = { "virtio_scsi", "CONFIG_SCSI_VIRTIO", "scsi/virtio_scsi" },
    [VIRTIO_NET] = { "virtio_net", "CONFIG_VIRTIO_NET", "net/virtio_net" },
    [NVME] = { "nvme", "CONFIG_BLK_DEV_NVME", "nvme/host/nvme" },
    [ENA] = { "ena", "CONFIG_ENA_ETHERNET", "net/ethernet/amazon/ena/ena" },
    [XEN_BLK] = { "xen_blkfront", "CONFIG_XEN_BLKDEV_FRONTEND", "block/xen-blkfront" },
    [XEN_NET] = { "xen_netfront", "CONFIG_XEN_NETDEV_FRONTEND", "net/xen-netfront" },
};

/* Which drivers are there: early enough for the root, or later at least. */
struct has {
    bool early[DRIVERS], late[DRIVERS];
};

/* ---- where drivers may be ---- */

static void dashes_to_underscores(char *text)
{
    for (; *text; text++)
        if (*text == '-')
            *text = '_';
}

/* Is the file "…/virtio_blk.ko", ".ko.xz" or the like one of them? */
static bool take_name(void *arg, const char *path)
{
    struct has *has = arg;
    const char *slash = strrchr(path, '/');
    const char *end = strstr(slash ? slash : path, ".ko");
    char name[64];

    if (!end || (end[3] != '\0' && end[3] != '.'))
        return true;
    slash = slash ? slash + 1 : path;
    if ((size_t)(end - slash) >= sizeof(name))
        return true;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(end - slash), slash);
    dashes_to_underscores(name);
    for (size_t i = 0; i < DRIVERS; i++)
        has->early[i] |= strcmp(drivers[i].module, name) == 0;
    for (size_t i = 0; i < DRIVERS; i++)
        if (!has->early[i])
            return true;
    return false;
}

/* "kernel/drivers/block/virtio_blk.ko" in modules.builtin. */
static int take_builtin(struct im_look *look, struct im_guest *guest, const char *release,
                        struct has *has, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(CONFIG_MAX);
    char path[256];
    char *line, *rest;
    int r;

    (void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", release);
    r = linux_text(look, guest, path, &text, err);
    rest = r == LINUX_FOUND ? text.data : NULL;
    while (rest && (line = linux_line(&rest)))
        (void)take_name(has, line);
    return r < 0 ? r : 0;
}

/* "CONFIG_VIRTIO_BLK=y" in /boot/config-RELEASE. */
static int take_config(struct im_look *look, struct im_guest *guest, const char *release,
                       struct has *has, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(CONFIG_MAX);
    char path[256];
    char *line, *rest;
    int r;

    (void)snprintf(path, sizeof(path), "/boot/config-%s", release);
    r = linux_text(look, guest, path, &text, err);
    rest = r == LINUX_FOUND ? text.data : NULL;
    while (rest && (line = linux_line(&rest)))
        for (size_t i = 0; i < DRIVERS; i++) {
            size_t len = strlen(drivers[i].config);

            has->early[i] |=
                strncmp(line, drivers[i].config, len) == 0 && strcmp(line + len, "=y") == 0;
        }
    return r < 0 ? r : 0;
}

static int take_late(struct im_guest *guest, const char *release, struct has *has,
                     struct im_error *err)
{
    static const char *const ends[] = { "", ".xz", ".zst", ".gz" };

    for (size_t i = 0; i < DRIVERS; i++) {
        has->late[i] = has->early[i];
        for (size_t j = 0; !has->late[i] && j < sizeof(ends) / sizeof(ends[0]); j++) {
            struct im_file file;
            char path[320];
            int r;

            (void)snprintf(path, sizeof(path), "/lib/modules/%s/kernel/drivers/%s.ko%s", release,
                           drivers[i].path, ends[j]);
            r = linux_stat(guest, path, &file, err);
            if (r < 0)
                return r;
            has->late[i] = r == LINUX_FOUND;
        }
    }
    return 0;
}

/* LINUX_FOUND when it could be gone through, or there is none; LINUX_UNREADABLE, reported. */
static int take_initramfs(struct im_look *look, struct im_guest *guest,
                          const struct linux_kernel *kernel, struct has *has, struct im_error *err)
{
    struct im_buffer bytes IM_BUFFER_DONE = IM_BUFFER(INITRAMFS_MAX);
    struct im_error local = { 0 };
    int r;

    if (!*kernel->initrd)
        return LINUX_FOUND;
    r = linux_bytes(guest, kernel->initrd, &bytes, &local);
    if (r == LINUX_FOUND) {
        r = initramfs_names(bytes.data, bytes.len, take_name, has, &local);
        r = r == 0 ? LINUX_FOUND : r == -EBADMSG ? LINUX_UNREADABLE : r;
    }
    if (r == -ENOPKG) {
        im_report_unknown(look->report, "%s: %s", kernel->initrd, local.message);
        return LINUX_UNREADABLE;
    }
    if (r < 0 && err)
        *err = local;
    else if (r == LINUX_UNREADABLE || r == LINUX_ABSENT)
        im_report_fault(look->report, NULL, UNREADABLE, MAKE_AGAIN, "%s: %s", kernel->initrd,
                        local.message);
    return r == LINUX_ABSENT ? LINUX_UNREADABLE : r;
}

/* ---- what they are good for ---- */

static const struct platform {
    const char *name;
    enum driver disks[3]; /* all of the first `needed`, then one of the rest */
    unsigned count, needed;
    enum driver network;
} platforms[] = {
    { "KVM (virtio)", { VIRTIO_PCI, VIRTIO_BLK, VIRTIO_SCSI }, 3, 1, VIRTIO_NET },
    { "EC2 Nitro (nvme, ena)", { NVME }, 1, 1, ENA },
    { "EC2 Xen (xen-blkfront)", { XEN_BLK }, 1, 1, XEN_NET },
};
#define PLATFORMS (sizeof(platforms) / sizeof(platforms[0]))
#define MODERN    2u /* of them: one is needed */

static bool finds_root(const struct platform *platform, const struct has *has)
{
    bool one_of = platform->count == platform->needed;

    for (unsigned i = 0; i < platform->count; i++) {
        bool there = has->early[platform->disks[i]];

        if (i < platform->needed && !there)
            return false;
        one_of |= i >= platform->needed && there;
    }
    return one_of;
}

static void judge(struct im_look *look, const struct linux_kernel *kernel, const struct has *has)
{
    char names[128] = "";
    size_t len = 0;
    bool modern = false;

    for (size_t i = 0; i < PLATFORMS; i++) {
        if (!finds_root(&platforms[i], has))
            continue;
        modern |= i < MODERN;
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", *names ? ", " : "",
                                platforms[i].name);
        if (!has->late[platforms[i].network])
            im_report_warning(look->report, ADD_DRIVERS,
                              "%s: no driver %s: it would start on %s, but have no network there",
                              kernel->path, drivers[platforms[i].network].module,
                              platforms[i].name);
    }
    if (!modern)
        im_report_fault(look->report, "DriversMissing", NULL, ADD_DRIVERS,
                        "%s would find its root on %s: neither virtio_pci with virtio_blk or "
                        "virtio_scsi nor nvme is built in or in %s",
                        kernel->path, *names ? names : "none of KVM, EC2 Nitro and EC2 Xen",
                        *kernel->initrd ? kernel->initrd : "an initramfs");
    else
        im_report_okay(look->report, "%s would find its root on %s", kernel->path, names);
    if (modern && !finds_root(&platforms[1], has))
        im_report_warning(
            look->report, ADD_DRIVERS,
            "%s: nvme is neither built in nor in the initramfs: it would not start on "
            "EC2 Nitro",
            kernel->path);
}

static int judge_kernel(struct im_look *look, struct im_guest *guest,
                        const struct linux_kernel *kernel, struct im_error *err)
{
    struct has has = { 0 };
    char release[128];
    int found, r;

    r = linux_release(guest, kernel, release, sizeof(release), err);
    if (r == 0)
        r = take_builtin(look, guest, release, &has, err);
    if (r == 0)
        r = take_config(look, guest, release, &has, err);
    if (r < 0)
        return r;
    found = take_initramfs(look, guest, kernel, &has, err);
    if (found < 0)
        return found;
    r = take_late(guest, release, &has, err);
    if (r == 0 && (found == LINUX_FOUND || finds_root(&platforms[0], &has)))
        judge(look, kernel, &has);
    return r;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct linux_kernels kernels;
    struct im_guest *guest;
    int r = linux_of(look, &guest, err);

    (void)args;
    if (r <= 0)
        return r;
    r = linux_find_kernels(look, guest, &kernels, err);
    if (r < 0 || r == LINUX_UNREADABLE)
        return r < 0 ? r : 0;
    if (kernels.count == 0)
        im_report_unknown(look->report, "there is no kernel in /boot whose drivers could be told");
    r = 0;
    for (unsigned i = 0; r == 0 && i < kernels.count && i < KERNELS_READ; i++)
        r = judge_kernel(look, guest, &kernels.kernel[i], err);
    return r;
}

/* libarchive: of what is compressed; without it that is told, and the rest is judged. */
static const struct im_use uses[] = {
    { "libblkid.so.1", "file systems" },
    { "libext2fs.so.2", "files in ext2, ext3 and ext4" },
    { "grub-fstest", "files in XFS, Btrfs, FAT and NTFS" },
    { "libarchive.so.13", "what an initramfs holds" },
    { "liblzma.so.5", "what one compressed by xz holds" },
    { 0 },
};

const struct im_stage im_stage_check_drivers = {
    .name = "check-drivers",
    .summary = "drivers of virtio or NVMe are built in or in the initramfs",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .required_capacity = im_look_capacity,
    .uses = uses,
    .look = look,
};
