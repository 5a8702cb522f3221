/* check-fstab - will everything that /etc/fstab mounts be there, on whichever cloud the disk
 * starts, and is there one system on the disk, not several? */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "guest/as-file.h"
#include "guest/guest.h"
#include "stage/fstab.h"
#include "stage/linux.h"

#define UNREADABLE "Invalid configuration - Could not read fstab"
#define SEVERAL    "Unsupported configuration - Multiple directories found"
#define LVM_FAILED "Unsupported configuration - Logical volume group activation failed"

#define BY_IDENTITY "name it by UUID= or LABEL=, as blkid tells them"
#define OPTIONAL    "remove the line, name what is on the disk, or add the option nofail"
#define ONE_SYSTEM  "leave one system on the disk"

/* Kinds of file systems that need no device. */
static bool needs_no_device(const struct fstab_line *line)
{
    static const char *const kinds[] = { "proc",     "sysfs",   "tmpfs",      "devpts",
                                         "devtmpfs", "cgroup",  "cgroup2",    "overlay",
                                         "debugfs",  "tracefs", "securityfs", "hugetlbfs",
                                         "mqueue",   "none",    "ramfs",      "efivarfs" };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(line->type, kinds[i]) == 0)
            return true;
    return fstab_has_option(line->options, "bind") || fstab_has_option(line->options, "rbind");
}

static bool may_be_missing(const struct fstab_line *line)
{
    return fstab_has_option(line->options, "nofail") || fstab_has_option(line->options, "noauto") ||
           fstab_has_option(line->options, "x-systemd.automount");
}

/* ext2, 3 and 4 mount each other; the rest is what it is. */
static bool fits_type(const char *wanted, const char *is)
{
    return !*is || strcmp(wanted, is) == 0 || strcmp(wanted, "auto") == 0 ||
           (strncmp(wanted, "ext", 3) == 0 && strncmp(is, "ext", 3) == 0) ||
           (strcmp(wanted, "msdos") == 0 && strcmp(is, "vfat") == 0) ||
           (strncmp(wanted, "ntfs", 4) == 0 && strcmp(is, "ntfs") == 0);
}

/* "host:/path" of NFS, "//host/share" of SMB; a swap file and the like is none. */
static bool is_share(const char *device)
{
    return strstr(device, ":/") || strncmp(device, "//", 2) == 0;
}

static void judge_missing(const struct fstab_line *line, struct im_report *report)
{
    if (may_be_missing(line))
        im_report_okay(report, "%s for %s is not on the disk, and need not be (%s)", line->device,
                       line->dir, line->options);
    else if (strncmp(line->device, "/dev/mapper/", 12) == 0)
        im_report_fault(report, NULL, LVM_FAILED, OPTIONAL,
                        "/etc/fstab mounts %s on %s, but the disk holds no volume group",
                        line->device, line->dir);
    else
        im_report_fault(report, NULL, NULL, OPTIONAL,
                        "/etc/fstab mounts %s on %s, but nothing on the disk is that: the system "
                        "would wait for it and stop",
                        line->device, line->dir);
}

static void judge_found(const struct im_guest *guest, const struct fstab_line *line,
                        const struct im_fs *fs, struct im_report *report)
{
    bool root = strcmp(line->dir, "/") == 0;

    if (!fits_type(line->type, fs->type))
        im_report_fault(report, NULL, NULL, "write the type that the file system has",
                        "/etc/fstab says that %s for %s is %s, but it is %s", line->device,
                        line->dir, line->type, fs->type);
    else if (root && fs != guest->root)
        im_report_fault(report, NULL, NULL, "name the root by its own UUID",
                        "/etc/fstab names %s as root, but that is another file system than the one "
                        "this fstab is on",
                        line->device);
    else
        im_report_okay(report, "%s on %s: %s", line->device, line->dir, fs->type);
}

static void judge_line(const struct im_guest *guest, const struct fstab_line *line,
                       struct im_report *report)
{
    const struct im_fs *fs = NULL;

    if (needs_no_device(line))
        return;
    switch (fstab_find(guest, line->device, &fs)) {
    case FSTAB_BY_NAME:
        im_report_warning(report, BY_IDENTITY,
                          "/etc/fstab names %s for %s: disks have other names elsewhere (xvda1, "
                          "vda1, nvme0n1p1)",
                          line->device, line->dir);
        judge_found(guest, line, fs, report);
        break;
    case FSTAB_FOUND:
        judge_found(guest, line, fs, report);
        break;
    case FSTAB_MISSING:
        judge_missing(line, report);
        break;
    case FSTAB_TWICE:
        im_report_fault(report, NULL, NULL,
                        "give one of them another identity, for example with "
                        "tune2fs -U random",
                        "/etc/fstab mounts %s on %s, but several file systems are that",
                        line->device, line->dir);
        break;
    case FSTAB_INSIDE:
        im_report_unknown(report,
                          "%s for %s may be inside of what is not looked into (a volume "
                          "group, RAID or encrypted volume)",
                          line->device, line->dir);
        break;
    case FSTAB_NO_DEVICE:
        if (is_share(line->device) && !may_be_missing(line) &&
            !fstab_has_option(line->options, "_netdev"))
            im_report_warning(report, "add the options nofail,_netdev",
                              "/etc/fstab mounts %s on %s: the system waits when it cannot be "
                              "reached",
                              line->device, line->dir);
        break;
    }
}

static void judge_lines(const struct im_guest *guest, const struct fstab *fstab,
                        struct im_report *report)
{
    unsigned roots = 0;

    for (unsigned i = 0; i < fstab->count; i++)
        roots += strcmp(fstab->line[i].dir, "/") == 0;
    if (roots > 1)
        im_report_fault(report, NULL, UNREADABLE, "leave one line for /",
                        "/etc/fstab mounts %u file systems on /", roots);
    else if (roots == 0)
        im_report_warning(report, "add a line for / that names it by UUID=",
                          "/etc/fstab does not say what is mounted on /: it stays as the kernel "
                          "mounted it");
    if (fstab->broken)
        im_report_warning(report, "write device, place, type and options, or remove the line",
                          "/etc/fstab has %u lines that are none", fstab->broken);
    for (unsigned i = 0; i < fstab->count; i++)
        judge_line(guest, &fstab->line[i], report);
}

/* Another file system with a tree of its own: which one is to start? */
static void judge_others(const struct im_guest *guest, struct im_report *report)
{
    for (unsigned i = 0; i < guest->fs_count; i++) {
        const struct im_fs *fs = &guest->fs[i];

        if (fs->tree && fs != guest->root)
            im_report_fault(report, NULL, SEVERAL, ONE_SYSTEM,
                            "Partition %u holds the tree of a system, and so does partition %u",
                            guest->root->part ? guest->root->part->number : 0,
                            fs->part ? fs->part->number : 0);
    }
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
    struct fstab *fstab IM_FREE = calloc(1, sizeof(*fstab));
    struct im_guest *guest;
    int r;

    (void)args;
    if (!fstab)
        return im_fail(err, ENOMEM, "out of memory");
    r = linux_of(look, &guest, err);
    if (r <= 0)
        return r;
    r = linux_text(look, guest, "/etc/fstab", &text, err);
    if (r < 0)
        return r;
    if (r == LINUX_ABSENT)
        im_report_fault(
            look->report, NULL, UNREADABLE,
            "write an /etc/fstab that names the root by UUID=", "There is no /etc/fstab");
    else if (r == LINUX_UNREADABLE)
        im_report_fault(look->report, NULL, UNREADABLE, "write /etc/fstab anew",
                        "/etc/fstab cannot be read");
    if (r == LINUX_FOUND) {
        fstab_parse(text.data, fstab);
        judge_lines(guest, fstab, look->report);
    }
    judge_others(guest, look->report);
    return 0;
}

const struct im_stage im_stage_check_fstab = {
    .name = "check-fstab",
    .summary = "what /etc/fstab mounts is on the disk, and named so that it is found anywhere",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
