/* check-boot-config - does the boot loader's configuration name a kernel, an initramfs and a root
 * that are there?
 *
 * A boot loader may carry its configuration inside (as disks of disk-from-partition do): that there
 * is none in a file is no fault. */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "guest/as-file.h"
#include "guest/guest.h"
#include "stage/boot-entries.h"
#include "stage/fstab.h"
#include "stage/linux.h"

#define DIFFERENT "Multiple different grub/menu.lst files found"
#define NO_SAVED  "BLSC-style GRUB found, but unable to detect default kernel"

#define WRITE_AGAIN "write the configuration again: update-grub, or grub2-mkconfig -o"
#define SET_DEFAULT "set the default: grub2-set-default, or grubby --set-default"
#define NAME_ROOT   "name the root by its UUID: root=UUID="

/* Directories of the EFI system partition, and entry files, that are looked into. */
#define VENDORS_MAX 16u
#define ENTRIES_MAX 32u
/* Findings about entries that are not the default. */
#define OTHERS_MAX 8u

/* The first configuration that has entries; more of GRUB are compared with it. */
struct config {
    struct im_look *look;
    struct im_guest *guest;
    char first[192]; /* path of the first GRUB configuration; "" none yet */
    struct im_buffer first_text;
    bool blscfg;
    unsigned entries; /* judged so far */
    unsigned others;  /* findings told about entries that are not the default */
    struct boot_entries *parsed;
    char kernelopts_root[192]; /* root= of grubenv's kernelopts */
};

/* ---- one entry ---- */

/* Paths are counted from the file system that the boot loader reads, where that is mounted. */
static int exists(struct im_guest *guest, const char *path, struct im_error *err)
{
    static const char *const tops[] = { "", "/boot", "/boot/efi", "/efi" };
    int r = LINUX_ABSENT;

    for (size_t i = 0; r == LINUX_ABSENT && i < sizeof(tops) / sizeof(tops[0]); i++) {
        struct im_file file;
        char full[300];

        (void)snprintf(full, sizeof(full), "%s%s%s", tops[i], *path == '/' ? "" : "/", path);
        r = linux_stat(guest, full, &file, err);
    }
    return r;
}

static void __attribute__((format(printf, 5, 6)))
complain(struct config *config, bool is_default, const char *aws, const char *cure,
         const char *format, ...)
{
    char text[320];
    va_list words;

    va_start(words, format);
    (void)vsnprintf(text, sizeof(text), format, words);
    va_end(words);
    if (is_default)
        im_report_fault(config->look->report, NULL, aws, cure, "%s", text);
    else if (config->others++ < OTHERS_MAX)
        im_report_warning(config->look->report, cure, "%s", text);
}

static int judge_path(struct config *config, const char *from, const struct boot_entry *entry,
                      const char *what, const char *path, bool is_default, struct im_error *err)
{
    int r;

    if (strchr(path, '$')) {
        if (is_default)
            im_report_unknown(config->look->report, "%s: the %s of '%s' is %s", from, what,
                              entry->title, path);
        return 0;
    }
    r = exists(config->guest, path, err);
    if (r == LINUX_ABSENT)
        complain(config, is_default, NULL, WRITE_AGAIN, "%s: the %s of '%s', %s, is not there",
                 from, what, entry->title, path);
    return r < 0 ? r : r == LINUX_FOUND;
}

static void judge_root(struct config *config, const char *from, const struct boot_entry *entry,
                       bool is_default)
{
    const char *root = entry->kernelopts && !*entry->root ? config->kernelopts_root : entry->root;
    const struct im_fs *fs = NULL;

    if (!*root || strchr(root, '$')) {
        if (is_default)
            im_report_warning(config->look->report, NAME_ROOT, "%s: '%s' names no root", from,
                              entry->title);
        return;
    }
    switch (fstab_find(config->guest, root, &fs)) {
    case FSTAB_MISSING:
        complain(config, is_default, NULL, NAME_ROOT,
                 "%s: the root of '%s', %s, is not on the disk", from, entry->title, root);
        break;
    case FSTAB_TWICE:
        complain(config, is_default, NULL, "give one of them another identity",
                 "%s: the root of '%s', %s, is there several times", from, entry->title, root);
        break;
    case FSTAB_BY_NAME:
        complain(config, false, NULL, NAME_ROOT,
                 "%s: '%s' names its root %s: disks have other names elsewhere (xvda1, vda1, "
                 "nvme0n1p1)",
                 from, entry->title, root);
        break;
    default:
        break;
    }
}

static int judge_entry(struct config *config, const char *from, const struct boot_entry *entry,
                       bool is_default, struct im_error *err)
{
    bool whole = true;
    int r;

    if (!*entry->kernel || strstr(entry->kernel, "memtest"))
        return 0;
    config->entries++;
    r = judge_path(config, from, entry, "kernel", entry->kernel, is_default, err);
    whole = r == 1;
    for (unsigned i = 0; r >= 0 && i < entry->initrds; i++) {
        r = judge_path(config, from, entry, "initramfs", entry->initrd[i], is_default, err);
        whole &= r == 1;
    }
    if (r < 0)
        return r;
    judge_root(config, from, entry, is_default);
    if (is_default && whole)
        im_report_okay(config->look->report, "%s: '%s' starts %s%s%s", from, entry->title,
                       entry->kernel, *entry->root ? " with root " : "", entry->root);
    return 0;
}

/* ---- one file of GRUB or extlinux ---- */

static int compare(struct config *config, const char *path, const struct im_buffer *text,
                   struct im_error *err)
{
    if (!*config->first) {
        (void)snprintf(config->first, sizeof(config->first), "%s", path);
        return im_buffer_add(&config->first_text, text->data, text->len) < 0
                   ? im_fail(err, ENOMEM, "out of memory")
                   : 0;
    }
    if (config->first_text.len != text->len ||
        memcmp(config->first_text.data, text->data, text->len) != 0)
        im_report_fault(config->look->report, NULL, DIFFERENT,
                        "leave the one that the boot loader reads", "%s and %s differ",
                        config->first, path);
    return 0;
}

/* A file without entries that hands over to another is no configuration of its own. */
static int judge_file(struct config *config, const char *path, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
    struct im_buffer copy IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
    bool first = !*config->first;
    int r = linux_text(config->look, config->guest, path, &text, err);

    if (r != LINUX_FOUND || !text.data)
        return r < 0 ? r : 0;
    if (im_buffer_add(&copy, text.data, text.len) < 0)
        return im_fail(err, ENOMEM, "out of memory");
    boot_entries_parse(text.data, config->parsed);
    config->blscfg |= config->parsed->blscfg;
    if (config->parsed->count == 0 && !config->parsed->blscfg)
        return 0;
    r = compare(config, path, &copy, err);
    for (unsigned i = 0; r == 0 && first && i < config->parsed->count; i++)
        r = judge_entry(config, path, &config->parsed->entry[i],
                        config->entries == 0 && !config->blscfg, err);
    return r;
}

static int judge_files(struct config *config, struct im_error *err)
{
    static const char *const places[] = {
        "/boot/grub/grub.cfg",         "/boot/grub2/grub.cfg",         "/boot/grub/grub.conf",
        "/boot/grub/menu.lst",         "/boot/extlinux/extlinux.conf", "/boot/extlinux.conf",
        "/boot/syslinux/syslinux.cfg",
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(places) / sizeof(places[0]); i++)
        r = judge_file(config, places[i], err);
    return r;
}

static int judge_vendors(struct config *config, struct im_error *err)
{
    struct linux_names names LINUX_NAMES_DONE = { 0 };
    int r = linux_list(config->look, config->guest, "/boot/efi/EFI", &names, err);

    if (r != LINUX_FOUND)
        return r < 0 ? r : 0;
    r = 0;
    for (size_t i = 0; r == 0 && i < names.count && i < VENDORS_MAX; i++) {
        char path[192];

        if (snprintf(path, sizeof(path), "/boot/efi/EFI/%s/grub.cfg", names.name[i]) <
            (int)sizeof(path))
            r = judge_file(config, path, err);
    }
    return r;
}

/* ---- entries of the Boot Loader Specification ---- */

static int read_environment(struct config *config, char *saved, size_t size, struct im_error *err)
{
    static const char *const places[] = { "/boot/grub2/grubenv", "/boot/grub/grubenv" };

    *saved = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
        char words[1024];
        int r = linux_text(config->look, config->guest, places[i], &text, err);

        if (r < 0)
            return r;
        if (r != LINUX_FOUND)
            continue;
        if (boot_environment(text.data, "kernelopts", words, sizeof(words)))
            boot_root_of(words, config->kernelopts_root, sizeof(config->kernelopts_root));
        if (boot_environment(text.data, "saved_entry", saved, size))
            return 0;
    }
    return 0;
}

/* saved_entry is the entry's file name without .conf, its title, or its number in the menu, which
 * is sorted by rules that are not gone through here: then any may be it. */
static bool is_saved(const char *saved, const char *file, const char *title)
{
    size_t len = strlen(saved);
    uint64_t number;

    return (strncmp(file, saved, len) == 0 && strcmp(file + len, ".conf") == 0) ||
           strcmp(title, saved) == 0 || im_parse_uint(saved, 9999, &number) == 0;
}

static int judge_bls_file(struct config *config, const char *dir, const char *file,
                          const char *saved, bool *found, struct im_error *err)
{
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
    const char *end = strrchr(file, '.');
    struct boot_entry *entry;
    char path[300];
    bool is_default;
    int r;

    if (!end || strcmp(end, ".conf") != 0 ||
        snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return 0;
    r = linux_text(config->look, config->guest, path, &text, err);
    if (r != LINUX_FOUND)
        return r < 0 ? r : 0;
    boot_entries_parse(text.data, config->parsed);
    entry = config->parsed->count ? &config->parsed->entry[0] : NULL;
    if (!entry)
        return 0;
    is_default = !*found && (*saved ? is_saved(saved, file, entry->title) : !config->blscfg);
    *found |= is_default;
    return judge_entry(config, path, entry, is_default, err);
}

/* Without GRUB they are systemd-boot's, which starts the last in order by itself. */
static int judge_bls(struct config *config, const char *dir, struct im_error *err)
{
    struct linux_names names LINUX_NAMES_DONE = { 0 };
    bool found = false;
    char saved[160];
    int r = linux_list(config->look, config->guest, dir, &names, err);

    if (r < 0)
        return r;
    if (r != LINUX_FOUND && !config->blscfg)
        return 0;
    r = read_environment(config, saved, sizeof(saved), err);
    for (size_t i = names.count, n = 0; r == 0 && i-- > 0 && n < ENTRIES_MAX; n++)
        r = judge_bls_file(config, dir, names.name[i], saved, &found, err);
    if (r < 0 || !config->blscfg)
        return r;
    if (!*saved)
        im_report_fault(config->look->report, NULL, NO_SAVED, SET_DEFAULT,
                        "GRUB's environment (grubenv) has no saved_entry");
    else if (!found)
        im_report_fault(config->look->report, NULL, NO_SAVED, SET_DEFAULT,
                        "saved_entry is %s, but %s has no such entry", saved, dir);
    return 0;
}

static int judge(struct config *config, struct im_error *err)
{
    static const char *const others[] = { "/boot/efi/loader/entries", "/efi/loader/entries" };
    int r = judge_files(config, err);

    if (r == 0)
        r = judge_vendors(config, err);
    if (r == 0)
        r = judge_bls(config, "/boot/loader/entries", err);
    for (size_t i = 0; r == 0 && !config->blscfg && i < sizeof(others) / sizeof(others[0]); i++)
        r = judge_bls(config, others[i], err);
    if (r == 0 && config->entries == 0 && !config->blscfg)
        im_report_warning(config->look->report, WRITE_AGAIN,
                          "no configuration of a boot loader names a kernel; one may be inside of "
                          "the boot loader itself");
    return r;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct boot_entries *parsed IM_FREE = calloc(1, sizeof(*parsed));
    struct config config = { .look = look,
                             .first_text = IM_BUFFER(LINUX_TEXT_MAX),
                             .parsed = parsed };
    int r;

    (void)args;
    if (!parsed)
        return im_fail(err, ENOMEM, "out of memory");
    r = linux_of(look, &config.guest, err);
    if (r > 0)
        r = judge(&config, err);
    im_buffer_done(&config.first_text);
    return r;
}

const struct im_stage im_stage_check_boot_config = {
    .name = "check-boot-config",
    .summary = "the boot loader's configuration names a kernel, initramfs and root that are there",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .optional = true,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
