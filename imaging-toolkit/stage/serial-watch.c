/* serial-watch - follow a guest's start by what it prints on its serial console. */

#include <config.h>

#include "stage/serial-watch.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

/* Words of a milestone, in a line that, once it is whole, has not some others.  All are looked for
 * at any time: a guest need not show every milestone. */
static const struct words {
    enum watch_milestone milestone;
    const char *words, *without;
} milestones[] = {
    { WATCH_FIRMWARE, "SeaBIOS (version", NULL },
    { WATCH_FIRMWARE, "BdsDxe: ", NULL },
    { WATCH_BOOT_LOADER, "BdsDxe: starting Boot", "Shell" },
    { WATCH_BOOT_LOADER, "GRUB", NULL },
    { WATCH_BOOT_LOADER, "SYSLINUX", NULL },
    { WATCH_BOOT_LOADER, "EXTLINUX", NULL },
    { WATCH_BOOT_LOADER, "Booting `", NULL }, /* GRUB's entry */
    { WATCH_BOOT_LOADER, "EFI stub: ", NULL },
    { WATCH_KERNEL, "Linux version ", NULL },
    { WATCH_ROOT, "VFS: Mounted root", NULL },
    { WATCH_ROOT, ": mounted filesystem ", NULL }, /* ext4 */
    { WATCH_ROOT, ": Ending clean mount", NULL },  /* XFS */
    { WATCH_ROOT, ": Ending recovery", NULL },
    { WATCH_ROOT, "Begin: Running /scripts/local-bottom", NULL }, /* initramfs-tools */
    { WATCH_ROOT, "Switching root", NULL },                       /* dracut */
    { WATCH_ROOT, "Switch Root", NULL },
    { WATCH_INIT, "Run /sbin/init as init process", NULL },
    { WATCH_INIT, "Run /init as init process", NULL },
    { WATCH_INIT, "systemd[1]: systemd ", NULL },
    { WATCH_INIT, "Welcome to ", "GRUB" }, /* systemd, of the distribution */
    { WATCH_INIT, "INIT: version ", NULL },
    { WATCH_INIT, "OpenRC ", NULL },
    { WATCH_INIT, "Reached target ", NULL },
    { WATCH_LOGIN, " login: ", NULL },
};

/* GRUB goes on after an error where it can, and waits some seconds before. */
#define GRUB_PATIENCE_S 30

#define BEFORE_KERNEL WATCH_KERNEL
#define BEFORE_LOGIN  WATCH_LOGIN
#define ALWAYS        WATCH_MILESTONES

static const struct watch_trouble troubles[] = {
    { "No bootable device", BEFORE_KERNEL, 0, true, "the BIOS found no bootable device" },
    { "No bootable option or device", BEFORE_KERNEL, 0, true,
      "the UEFI firmware found no bootable device" },
    { "UEFI Interactive Shell", BEFORE_KERNEL, 0, true,
      "the UEFI firmware found no boot loader and started its shell" },
    { "Missing operating system", BEFORE_KERNEL, 0, true,
      "the boot sector found no operating system" },
    { "Operating system not found", BEFORE_KERNEL, 0, true,
      "the boot sector found no operating system" },
    { "Error loading operating system", BEFORE_KERNEL, 0, false,
      "the boot sector cannot load the operating system" },
    { "Non-System disk", BEFORE_KERNEL, 0, true, "the boot sector is one of a data disk" },
    { "This is not a bootable disk", BEFORE_KERNEL, 0, true,
      "the boot sector is one of a data disk" },
    { "BOOTMGR is missing", BEFORE_KERNEL, 0, false, "the boot loader of Windows is missing" },
    { "NTLDR is missing", BEFORE_KERNEL, 0, false, "the boot loader of Windows is missing" },
    { "grub rescue>", BEFORE_KERNEL, 0, false,
      "GRUB finds its files not and waits in its rescue shell" },
    { "grub>", BEFORE_KERNEL, 0, false, "GRUB finds no configuration and waits in its shell" },
    { "error: no such device", BEFORE_KERNEL, GRUB_PATIENCE_S, false, "GRUB finds a device not" },
    { "error: no such partition", BEFORE_KERNEL, GRUB_PATIENCE_S, false,
      "GRUB finds a partition not" },
    { "error: file `", BEFORE_KERNEL, GRUB_PATIENCE_S, false, "GRUB finds a file not" },
    { "error: you need to load the kernel first", BEFORE_KERNEL, GRUB_PATIENCE_S, false,
      "GRUB found no kernel" },
    { "Could not find kernel image", BEFORE_KERNEL, 0, false, "SYSLINUX finds no kernel" },
    { "Failed to load ldlinux", BEFORE_KERNEL, 0, false, "SYSLINUX finds a part of itself not" },
    { "No DEFAULT or UI configuration directive found", BEFORE_KERNEL, 0, false,
      "SYSLINUX finds no configuration" },
    { "Unable to mount root", ALWAYS, 0, false, "the kernel cannot mount its root file system" },
    { "Cannot open root device", ALWAYS, 0, false, "the kernel finds its root device not" },
    { "No working init found", ALWAYS, 0, false, "the kernel finds no init to start" },
    { "Kernel panic", ALWAYS, 0, false, "the kernel panicked" },
    { "Gave up waiting for root", BEFORE_LOGIN, 0, false,
      "the initramfs waited in vain for the root device" },
    { "(initramfs) ", BEFORE_LOGIN, 0, false, "the initramfs stopped in its emergency shell" },
    { "dracut:/#", BEFORE_LOGIN, 0, false, "dracut stopped in its emergency shell" },
    { "Entering emergency mode", BEFORE_LOGIN, 0, false,
      "the initramfs stopped in emergency mode" },
    { "You are in emergency mode", BEFORE_LOGIN, 0, false, "systemd stopped in emergency mode" },
    { "Press Enter for maintenance", BEFORE_LOGIN, 0, false,
      "init stopped in its emergency shell" },
    { "Give root password for maintenance", BEFORE_LOGIN, 0, false,
      "init stopped in its emergency shell" },
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Words of firmware that begins: SeaBIOS; OVMF. */
static const char *const starts[] = { "SeaBIOS (version", "BdsDxe: starting Boot" };

/* What of a piece of a long line is looked through again with the next piece, so that no words
 * are cut: at least the longest of them. */
#define AGAIN (WATCH_MARKER_MAX)

void serial_watch_begin(struct serial_watch *watch, const char *marker)
{
    *watch = (struct serial_watch){ .marker = marker };
    for (size_t i = 0; i < WATCH_MILESTONES; i++)
        watch->at_ms[i] = -1;
}

/* A trouble that was waited for is none any more when it goes on. */
static void reach(struct serial_watch *watch, enum watch_milestone milestone, int64_t now_ms)
{
    if (watch->at_ms[milestone] < 0)
        watch->at_ms[milestone] = now_ms;
    if (milestone <= watch->reached)
        return;
    watch->reached = milestone;
    if (watch->trouble && watch->trouble->patience_s && milestone >= watch->trouble->until)
        watch->trouble = NULL;
}

/* The first trouble that cannot be overcome stands. */
static void look_for_trouble(struct serial_watch *watch, int64_t now_ms)
{
    if (watch->trouble && !watch->trouble->patience_s)
        return;
    for (size_t i = 0; i < COUNT(troubles); i++) {
        const struct watch_trouble *trouble = &troubles[i];

        if (watch->reached >= trouble->until || !strstr(watch->line, trouble->words) ||
            (watch->trouble && trouble->patience_s))
            continue;
        watch->trouble = trouble;
        watch->trouble_ms = now_ms;
        return;
    }
}

/* SeaBIOS says so before it knows whether there is a boot sector at all; when there is none, its
 * next words are BOOT_FAILED. */
#define HANDING_OVER "Booting from Hard Disk"
#define BOOT_FAILED  "Boot failed"

/* Does a boot sector print this? */
static bool from_boot_sector(const struct serial_watch *watch)
{
    const char *own = strstr(watch->line, HANDING_OVER);

    if (own) {
        own += strlen(HANDING_OVER);
        return own[strspn(own, ".")] != '\0';
    }
    return watch->handed_over && watch->line_len > 0 &&
           strncmp(watch->line, BOOT_FAILED, im_min(watch->line_len, strlen(BOOT_FAILED))) != 0;
}

static void look_at_line(struct serial_watch *watch, bool whole, int64_t now_ms)
{
    for (size_t i = 0; i < COUNT(milestones); i++) {
        const struct words *of = &milestones[i];

        if (watch->at_ms[of->milestone] < 0 && strstr(watch->line, of->words) &&
            (!of->without || (whole && !strstr(watch->line, of->without))))
            reach(watch, of->milestone, now_ms);
    }
    watch->handed_over |= strstr(watch->line, HANDING_OVER) != NULL;
    if (watch->reached < WATCH_BOOT_LOADER && from_boot_sector(watch))
        reach(watch, WATCH_BOOT_LOADER, now_ms);
    if (watch->marker && strstr(watch->line, watch->marker))
        reach(watch, WATCH_MARKER, now_ms);
    look_for_trouble(watch, now_ms);
}

/* The older half goes when there is no room. */
static void keep(struct serial_watch *watch, char c)
{
    if (watch->tail_len == WATCH_TAIL_MAX) {
        watch->tail_len /= 2;
        memmove(watch->tail, watch->tail + WATCH_TAIL_MAX - watch->tail_len, watch->tail_len);
    }
    watch->tail[watch->tail_len++] = c;
    watch->tail[watch->tail_len] = '\0';
}

static void end_line(struct serial_watch *watch, int64_t now_ms)
{
    if (watch->line_len == 0)
        return;
    look_at_line(watch, true, now_ms);
    for (size_t i = 0; i < COUNT(starts); i++)
        watch->starts += strstr(watch->line, starts[i]) != NULL;
    if (strstr(watch->line, BOOT_FAILED))
        watch->handed_over = false;
    if (watch->tail_len > 0 && watch->tail[watch->tail_len - 1] != '\n')
        keep(watch, '\n');
    watch->line_len = 0;
    watch->line[0] = '\0';
}

static void add_to_line(struct serial_watch *watch, char c, int64_t now_ms)
{
    if (watch->line_len == WATCH_LINE_MAX) {
        look_at_line(watch, false, now_ms);
        memmove(watch->line, watch->line + WATCH_LINE_MAX - AGAIN, AGAIN);
        watch->line_len = AGAIN;
    }
    watch->line[watch->line_len++] = c;
    watch->line[watch->line_len] = '\0';
    if (c != ' ' || watch->tail_len == 0 || watch->tail[watch->tail_len - 1] != ' ')
        keep(watch, c);
}

/* Escape sequences (ECMA-48 section 5.4) move the cursor and choose colours: ESC [, parameters, a
 * letter; or ESC and one character.  They are left out, also where they put the cursor elsewhere:
 * the BIOS puts it into the middle of words. */
enum { OUTSIDE, AFTER_ESC, IN_SEQUENCE };

static void take_escape(struct serial_watch *watch, char c)
{
    if (watch->escape == AFTER_ESC)
        watch->escape = c == '[' ? IN_SEQUENCE : OUTSIDE;
    else if ((c >= '@' && c <= '~') || c < ' ')
        watch->escape = OUTSIDE;
}

void serial_watch_take(struct serial_watch *watch, const char *text, size_t len, int64_t now_ms)
{
    watch->bytes += len;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '\x1b')
            watch->escape = AFTER_ESC;
        else if (watch->escape)
            take_escape(watch, c);
        else if (c == '\n' || c == '\r')
            end_line(watch, now_ms);
        else if (c == '\t' || (unsigned char)c >= ' ')
            add_to_line(watch, c == '\t' ? ' ' : c, now_ms);
    }
    look_at_line(watch, false, now_ms); /* prompts are lines without an end */
}

bool serial_watch_has(const struct serial_watch *watch, enum watch_milestone milestone)
{
    return watch->at_ms[milestone] >= 0 ||
           watch->reached > (milestone == WATCH_ROOT ? WATCH_INIT : milestone);
}

const struct watch_trouble *serial_watch_ended(const struct serial_watch *watch, int64_t now_ms)
{
    const struct watch_trouble *trouble = watch->trouble;

    return trouble && now_ms - watch->trouble_ms >= (int64_t)trouble->patience_s * 1000 ? trouble
                                                                                        : NULL;
}

const char *serial_watch_name(enum watch_milestone milestone)
{
    static const char *const names[WATCH_MILESTONES] = {
        [WATCH_NOTHING] = "nothing",         [WATCH_FIRMWARE] = "firmware",
        [WATCH_BOOT_LOADER] = "boot loader", [WATCH_KERNEL] = "kernel",
        [WATCH_ROOT] = "root file system",   [WATCH_INIT] = "init",
        [WATCH_LOGIN] = "login prompt",      [WATCH_MARKER] = "marker",
    };

    return names[milestone];
}

const char *serial_watch_way(const struct serial_watch *watch, char *buf, size_t size)
{
    size_t at = 0;

    buf[0] = '\0';
    for (int i = WATCH_FIRMWARE; i < WATCH_MILESTONES && at < size; i++) {
        int64_t ms = watch->at_ms[i];

        if (ms >= 0)
            at += (size_t)snprintf(buf + at, size - at, "%s%s %d.%d s", at ? ", " : "",
                                   serial_watch_name((enum watch_milestone)i), (int)(ms / 1000),
                                   (int)(ms % 1000 / 100));
    }
    return buf;
}
