/* grub-config - what GRUB does when the disk starts: find kernel and ramdisk, and start them. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "stage/grub.h"

/* What it says goes to the screen and to the serial port, where there is one. */
static const char console[] = "if serial --unit=0 --speed=115200; then\n"
                              "    terminal_input console serial\n"
                              "    terminal_output console serial\n"
                              "fi\n";

/* Looks into the root: a link to the kernel in use comes first, as Debian has it; then the highest
 * version in /boot, with the ramdisk that distributions give it.  GRUB compares numbers, but not
 * versions: up to four numbers of each are taken out. */
static const char find_kernel[] =
    "set kernel=\n"
    "set initrd=\n"
    "for f in /vmlinuz /boot/vmlinuz; do\n"
    "    if [ -z \"$kernel\" -a -f \"$f\" ]; then set kernel=\"$f\"; fi\n"
    "done\n"
    "if [ \"$kernel\" = /vmlinuz -a -f /initrd.img ]; then set initrd=/initrd.img; fi\n"
    "if [ \"$kernel\" = /vmlinuz -a -f /initrd ]; then set initrd=/initrd; fi\n"
    "if [ \"$kernel\" = /boot/vmlinuz ]; then\n"
    "    for f in /boot/initrd.img /boot/initrd /boot/initramfs.img; do\n"
    "        if [ -z \"$initrd\" -a -f \"$f\" ]; then set initrd=\"$f\"; fi\n"
    "    done\n"
    "fi\n"
    "if [ -z \"$kernel\" ]; then\n"
    "    set A=0; set B=0; set C=0; set D=0\n"
    "    for f in /boot/vmlinuz-*; do\n"
    "        set a=0; set b=0; set c=0; set d=0; set better=0\n"
    "        regexp --set=1:a --set=2:b 'vmlinuz-([0-9]+)[.]([0-9]+)' \"$f\"\n"
    "        regexp --set=1:c 'vmlinuz-[0-9]+[.][0-9]+[.]([0-9]+)' \"$f\"\n"
    "        regexp --set=1:d 'vmlinuz-[0-9]+[.][0-9]+[.][0-9]+[.-]([0-9]+)' \"$f\"\n"
    "        if [ $a -gt $A ]; then set better=1; fi\n"
    "        if [ $a -eq $A -a $b -gt $B ]; then set better=1; fi\n"
    "        if [ $a -eq $A -a $b -eq $B -a $c -gt $C ]; then set better=1; fi\n"
    "        if [ $a -eq $A -a $b -eq $B -a $c -eq $C -a $d -ge $D ]; then set better=1; fi\n"
    "        if regexp 'rescue' \"$f\"; then set better=0; fi\n"
    "        if [ $better = 1 -a -f \"$f\" ]; then\n"
    "            set kernel=\"$f\"\n"
    "            set A=$a; set B=$b; set C=$c; set D=$d\n"
    "        fi\n"
    "    done\n"
    "    regexp --set=1:v 'vmlinuz-(.*)$' \"$kernel\"\n"
    "    for f in /boot/initrd.img-$v /boot/initramfs-$v.img /boot/initrd-$v /boot/initramfs-$v "
    "/boot/initrd-$v.img; do\n"
    "        if [ -z \"$initrd\" -a -f \"$f\" ]; then set initrd=\"$f\"; fi\n"
    "    done\n"
    "fi\n";

int grub_check_words(const char *words, struct im_error *err)
{
    size_t len = strlen(words);

    if (len > GRUB_WORDS_MAX)
        return im_fail(err, EINVAL, "cmdline= has %zu characters, more than the %u that are taken",
                       len, GRUB_WORDS_MAX);
    /* GRUB would put backslashes before quotes, and the kernel would keep them */
    for (const char *p = words; *p; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~' || strchr("'\"\\", *p))
            return im_fail(err, EINVAL,
                           "cmdline= holds the character 0x%02x at place %zu; printable ASCII "
                           "without quotes and backslashes is taken",
                           (unsigned char)*p, (size_t)(p - words) + 1);
    return 0;
}

/* Each word in quotes of its own: GRUB would give several in one as one. */
static int add_words(const char *words, struct im_buffer *text)
{
    int r = 0;

    while (r == 0 && words && *(words += strspn(words, " "))) {
        size_t len = strcspn(words, " ");

        r = im_buffer_printf(text, " '%.*s'", (int)len, words);
        words += len;
    }
    return r;
}

/* "if linux KERNEL root=… words; then", which says why not. */
static int add_linux(const struct grub_plan *plan, bool ramdisk, struct im_buffer *text)
{
    int r = im_buffer_printf(text, "if linux \"$kernel\" root=%s=%s ro console=tty0 console=ttyS0",
                             ramdisk ? "UUID" : "PARTUUID",
                             ramdisk ? plan->root_uuid : plan->root_partuuid);

    if (r == 0)
        r = add_words(plan->words, text);
    return r < 0 ? r : im_buffer_puts(text, "; then\n");
}

/* The boot partition's number is tried first: another disk may come from the same image. */
static int find_boot(const struct grub_plan *plan, struct im_buffer *text)
{
    int r = im_buffer_printf(text, "search --no-floppy --set=root --hint=hd0,%s%u --fs-uuid %s\n",
                             plan->gpt ? "gpt" : "msdos", plan->boot_number, plan->boot_uuid);

    if (r == 0)
        r = im_buffer_puts(text, "set kernel=/vmlinuz\n");
    return r < 0 ? r : im_buffer_printf(text, "set initrd=%s\n", plan->ramdisk ? "/initrd" : "");
}

static int find_root(const struct grub_plan *plan, struct im_buffer *text)
{
    int r = im_buffer_printf(text, "search --no-floppy --set=root --hint=hd0,%s1 --fs-uuid %s\n",
                             plan->gpt ? "gpt" : "msdos", plan->root_uuid);

    return r < 0 ? r : im_buffer_puts(text, find_kernel);
}

static int start(const struct grub_plan *plan, struct im_buffer *text)
{
    int r = im_buffer_puts(text, "if [ -z \"$kernel\" ]; then\n"
                                 "    echo 'No kernel was found in / or /boot.'\n"
                                 "elif [ -n \"$initrd\" ]; then\n"
                                 "    echo \"Starting $kernel with $initrd\"\n    ");

    if (r == 0)
        r = add_linux(plan, true, text);
    if (r == 0)
        r = im_buffer_puts(text, "        if initrd \"$initrd\"; then boot; fi\n"
                                 "    fi\n"
                                 "else\n"
                                 "    echo \"Starting $kernel without a ramdisk\"\n    ");
    if (r == 0)
        r = add_linux(plan, false, text);
    return r < 0 ? r : im_buffer_puts(text, "        boot\n    fi\nfi\n");
}

int grub_config(const struct grub_plan *plan, struct im_buffer *text, struct im_error *err)
{
    int r = im_buffer_puts(text, console);

    if (r == 0)
        r = plan->boot_uuid ? find_boot(plan, text) : find_root(plan, text);
    if (r == 0)
        r = start(plan, text);
    return r < 0 ? im_fail(err, -r, "cannot write the boot loader's configuration: %s",
                           strerrordesc_np(-r))
                 : 0;
}
