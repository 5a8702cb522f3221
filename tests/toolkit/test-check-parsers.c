/* The small parsers of the validators: fstab, boot loaders' entries, cpio, network files, accounts,
 * kernels, superblocks, tables.  Each with what it takes, what it leaves, and bytes that mean ill.
 */

#include <config.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/disk.h"
#include "core/report.h"
#include "guest/mbr.h"
#include "stage/accounts.h"
#include "stage/boot-entries.h"
#include "stage/cpio.h"
#include "stage/fs-size.h"
#include "stage/fstab.h"
#include "stage/initramfs.h"
#include "stage/kernel-image.h"
#include "stage/linux.h"
#include "stage/netconf.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* ---- words ---- */

static void lines_and_words_are_trimmed(void **state)
{
    char text[] = " a  b\t\r\n\n\tc \n";
    char *rest = text, *line = linux_line(&rest), *words = line;

    (void)state;
    assert_string_equal(linux_word(&words), "a");
    assert_string_equal(linux_word(&words), "b");
    assert_null(linux_word(&words));
    assert_string_equal(linux_line(&rest), "");
    assert_string_equal(linux_line(&rest), "c");
    assert_string_equal(linux_line(&rest), "");
    assert_null(linux_line(&rest));
}

/* ---- fstab ---- */

static void fstab_is_parsed(void **state)
{
    struct fstab *fstab = malloc(sizeof(*fstab));
    char text[] = "# comment\n\nUUID=\"a\\040b\"  /  ext4  ro,nofail 0 1\n"
                  "LABEL=x /my\\040data xfs\nbroken line\nUUID=x /y\\000z ext4\n";

    (void)state;
    assert_non_null(fstab);
    fstab_parse(text, fstab);
    assert_int_equal(fstab->count, 2);
    assert_int_equal(fstab->broken, 2);
    assert_string_equal(fstab->line[0].device, "UUID=a b");
    assert_string_equal(fstab->line[0].options, "ro,nofail");
    assert_string_equal(fstab->line[1].dir, "/my data");
    assert_string_equal(fstab->line[1].options, "");
    free(fstab);
}

static void fstab_has_a_ceiling(void **state)
{
    struct fstab *fstab = malloc(sizeof(*fstab));
    char *text = calloc(400, 32);

    (void)state;
    assert_true(fstab && text);
    for (int i = 0; i < 300; i++)
        strcat(text, "tmpfs /x tmpfs\n");
    fstab_parse(text, fstab);
    assert_int_equal(fstab->count, FSTAB_LINES_MAX);
    assert_int_equal(fstab->broken, 300 - FSTAB_LINES_MAX);
    free(text);
    free(fstab);
}

static void options_are_whole_words(void **state)
{
    (void)state;
    assert_true(fstab_has_option("nofail", "nofail"));
    assert_true(fstab_has_option("ro,nofail,x", "nofail"));
    assert_true(fstab_has_option("x-systemd.device-timeout=9", "x-systemd.device-timeout"));
    assert_false(fstab_has_option("nofailure", "nofail"));
    assert_false(fstab_has_option("", "nofail"));
    assert_false(fstab_has_option("ro,,", "nofail"));
}

static void devices_are_found(void **state)
{
    struct im_part part[3] = { { .number = 1, .uuid = "0000-01" },
                               { .number = 2 },
                               { .number = 5 } };
    struct im_fs fs[3] = {
        { .part = &part[0], .type = "ext4", .uuid = "aaaa-bbbb", .label = "root" },
        { .part = &part[1], .type = "ext4", .uuid = "cccc", .label = "twice" },
        { .part = &part[2], .type = "swap", .label = "twice" },
    };
    struct im_guest guest = { .table = IM_TABLE_MBR, .fs_count = 3, .fs = fs };
    static const struct {
        const char *device;
        enum fstab_device found;
        int which;
    } rows[] = {
        { "UUID=AAAA-bbbb", FSTAB_FOUND, 0 },   { "UUID=aaaa", FSTAB_MISSING, -1 },
        { "LABEL=root", FSTAB_FOUND, 0 },       { "LABEL=Root", FSTAB_MISSING, -1 },
        { "LABEL=twice", FSTAB_TWICE, 1 },      { "PARTUUID=0000-01", FSTAB_FOUND, 0 },
        { "UUID=", FSTAB_MISSING, -1 },         { "/dev/disk/by-uuid/cccc", FSTAB_FOUND, 1 },
        { "/dev/sda5", FSTAB_BY_NAME, 2 },      { "/dev/nvme0n1p2", FSTAB_BY_NAME, 1 },
        { "/dev/sda3", FSTAB_MISSING, -1 },     { "/dev/sdb1", FSTAB_MISSING, -1 },
        { "/dev/mapper/x", FSTAB_MISSING, -1 }, { "tmpfs", FSTAB_NO_DEVICE, -1 },
        { "host:/x", FSTAB_NO_DEVICE, -1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct im_fs *found;

        assert_int_equal(fstab_find(&guest, rows[i].device, &found), rows[i].found);
        assert_ptr_equal(found, rows[i].which < 0 ? NULL : &fs[rows[i].which]);
    }
    strcpy(fs[1].type, "LVM2_member");
    assert_int_equal(fstab_find(&guest, "/dev/mapper/x", &(const struct im_fs *){ 0 }),
                     FSTAB_INSIDE);
    guest = (struct im_guest){ .table = IM_TABLE_NONE, .fs_count = 1, .fs = fs };
    fs[0].part = NULL;
    assert_int_equal(fstab_find(&guest, "/dev/sda1", &(const struct im_fs *){ 0 }), FSTAB_BY_NAME);
    assert_int_equal(fstab_find(&guest, "/dev/sda2", &(const struct im_fs *){ 0 }), FSTAB_MISSING);
}

/* ---- boot loaders ---- */

static struct boot_entries *parsed(const char *text)
{
    struct boot_entries *entries = malloc(sizeof(*entries));
    char *copy = strdup(text);

    assert_true(entries && copy);
    boot_entries_parse(copy, entries);
    free(copy);
    return entries;
}

static void grub_entries_are_parsed(void **state)
{
    struct boot_entries *entries = parsed(
        "set default=0\nmenuentry 'A (b) {' --class x {\n  linux (hd0,msdos1)/boot/vmlinuz-1 "
        "root=UUID=x ro root=\"LABEL=y\"\n  initrd /boot/ucode /boot/initrd-1\n}\n"
        "submenu 'more' {\n menuentry \"B\" {\n linuxefi ($root)/vmlinuz-2\n}\n}\n");

    (void)state;
    assert_int_equal(entries->count, 2);
    assert_string_equal(entries->entry[0].title, "A (b) {");
    assert_string_equal(entries->entry[0].kernel, "/boot/vmlinuz-1");
    assert_string_equal(entries->entry[0].root, "LABEL=y");
    assert_int_equal(entries->entry[0].initrds, 2);
    assert_string_equal(entries->entry[0].initrd[1], "/boot/initrd-1");
    assert_string_equal(entries->entry[1].title, "B");
    assert_string_equal(entries->entry[1].kernel, "/vmlinuz-2");
    free(entries);
}

static void other_loaders_entries_are_parsed(void **state)
{
    struct boot_entries *entries =
        parsed("default 0\ntitle Old one\n\troot (hd0,0)\n\tkernel /vmlinuz ro root=/dev/sda1\n");

    (void)state;
    assert_int_equal(entries->count, 1);
    assert_string_equal(entries->entry[0].title, "Old one");
    assert_string_equal(entries->entry[0].root, "/dev/sda1");
    free(entries);
    entries = parsed("LABEL l\n MENU LABEL x\n KERNEL /k\n APPEND initrd=/a,/b root=LABEL=r\n");
    assert_int_equal(entries->count, 1);
    assert_int_equal(entries->entry[0].initrds, 2);
    assert_string_equal(entries->entry[0].initrd[1], "/b");
    free(entries);
    entries = parsed("title R\nlinux /k\ninitrd /i $tuned_initrd\noptions $kernelopts\n");
    assert_true(entries->entry[0].kernelopts);
    assert_int_equal(entries->entry[0].initrds, 1); /* what GRUB would put there is not known */
    free(entries);
    entries = parsed("insmod blscfg\nblscfg\n");
    assert_true(entries->blscfg);
    assert_int_equal(entries->count, 0);
    free(entries);
    entries = parsed("linux\ninitrd\nmenuentry\nappend\n");
    assert_int_equal(entries->count, 2);
    assert_string_equal(entries->entry[0].kernel, "");
    free(entries);
}

static void the_environment_is_read(void **state)
{
    char value[16] = "", root[32] = "", words[] = "ro root=UUID=z quiet";

    (void)state;
    assert_true(boot_environment("# x\nnot_saved_entry=1\nsaved_entry=abc\n###", "saved_entry",
                                 value, sizeof(value)));
    assert_string_equal(value, "abc");
    assert_false(boot_environment("saved_entry=\n", "saved_entry", value, sizeof(value)));
    assert_false(boot_environment("saved_entry", "saved_entry", value, sizeof(value)));
    boot_root_of(words, root, sizeof(root));
    assert_string_equal(root, "UUID=z");
}

/* ---- cpio ---- */

static char names[512];

static void take_member(void *arg, const char *name, uint64_t size)
{
    size_t len = strlen(names);

    (void)arg;
    (void)snprintf(names + len, sizeof(names) - len, "%s=%d ", name, (int)size);
}

static size_t put_member(char *to, const char *name, uint32_t size)
{
    size_t len =
        (size_t)sprintf(to, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s", 1,
                        0100644, 0, 0, 1, 0, size, 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0, name);

    for (len++; len % 4; len++)
        to[len] = '\0';
    memset(to + len, 'd', size);
    len += size;
    for (; len % 4; len++)
        to[len] = '\0';
    return len;
}

static void members_are_told_however_they_come(void **state)
{
    static char archive[4096];
    size_t len = put_member(archive, "lib/a.ko", 5);

    (void)state;
    len += put_member(archive + len, "empty", 0);
    len += put_member(archive + len, "TRAILER!!!", 0);
    len += 64; /* zeros between two */
    len += put_member(archive + len, "second", 3);
    len += put_member(archive + len, "TRAILER!!!", 0);
    for (size_t step = 1; step < 200; step += 13) {
        struct cpio cpio;

        names[0] = '\0';
        cpio_begin(&cpio, take_member, NULL);
        for (size_t at = 0; at < len; at += step) {
            size_t n = step < len - at ? step : len - at;

            assert_int_equal(cpio_feed(&cpio, archive + at, n), n);
        }
        assert_true(cpio_is_complete(&cpio));
        assert_string_equal(names, "lib/a.ko=5 empty=0 second=3 ");
    }
}

static void what_is_no_archive_is_left(void **state)
{
    static char archive[1024];
    size_t len = put_member(archive, "TRAILER!!!", 0);
    struct cpio cpio;

    (void)state;
    memcpy(archive + len, "\x1f\x8b rest", 7);
    cpio_begin(&cpio, take_member, NULL);
    assert_int_equal(cpio_feed(&cpio, archive, len + 7), len);
    cpio_begin(&cpio, take_member, NULL);
    assert_int_equal(cpio_feed(&cpio, "\x1f\x8b", 2), 0);
    assert_false(cpio_is_complete(&cpio));
    (void)put_member(archive, "a", 0);
    archive[3] = '9';
    cpio_begin(&cpio, take_member, NULL);
    assert_int_equal(cpio_feed(&cpio, archive, len), -EBADMSG);
    (void)put_member(archive, "a", 0);
    memcpy(archive + 94, "FFFFFFFF", 8); /* bytes of its name */
    cpio_begin(&cpio, take_member, NULL);
    assert_int_equal(cpio_feed(&cpio, archive, len), -EBADMSG);
}

static bool take_none(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return true;
}

static void an_initramfs_needs_an_end(void **state)
{
    static char archive[1024];
    struct im_error err = { 0 };
    size_t first = put_member(archive, "init", 7);
    size_t len = first + put_member(archive + first, "TRAILER!!!", 0);
    int count = 0;

    (void)state;
    assert_int_equal(initramfs_names(archive, len, take_none, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(initramfs_names(archive, first, take_none, &count, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "no end"));
    assert_int_equal(initramfs_names(archive, 0, take_none, &count, &err), -EBADMSG);
    assert_int_equal(initramfs_names("zeros", 5, take_none, &count, &err), -EBADMSG);
}

/* ---- network ---- */

static void network_files_are_read(void **state)
{
    static const struct {
        enum netconf_kind kind;
        const char *text;
        struct netconf is;
    } rows[] = {
        { NETCONF_IFUPDOWN, "auto lo\niface lo inet loopback\n", { .dhcp = false } },
        { NETCONF_IFUPDOWN, "iface eth0 inet dhcp\n", { .dhcp = true, .name = "eth0" } },
        { NETCONF_IFUPDOWN,
          "iface eth0 inet static\n address 1.2.3.4\n hwaddress ether 0:1\niface eth0 inet6 auto\n",
          { .name = "eth0", .address = "1.2.3.4", .mac = "0:1" } },
        { NETCONF_NETPLAN,
          "network:\n ethernets:\n  ens3:\n   dhcp4: yes # x\n",
          { .dhcp = true, .name = "ens3" } },
        { NETCONF_NETPLAN,
          "network:\n ethernets:\n  id:\n   match:\n    macaddress: '0:1'\n   addresses:\n"
          "    - \"10.0.0.5/24\"\n",
          { .name = "id", .address = "10.0.0.5/24", .mac = "0:1" } },
        { NETCONF_NETPLAN,
          "ethernets:\n e:\n  dhcp4: false\n  dhcp6: true\n  addresses: [10.0.0.5/24, x]\n",
          { .name = "e", .address = "10.0.0.5/24" } },
        { NETCONF_NETWORKD,
          "[Match]\nName=en*\n[Network]\nDHCP=ipv4\n",
          { .dhcp = true, .name = "en*" } },
        { NETCONF_NETWORKD,
          "[Match]\nMACAddress=0:1\n[Network]\nAddress=1.2.3.4/8\nDHCP=ipv6\n",
          { .address = "1.2.3.4/8", .mac = "0:1" } },
        { NETCONF_KEYFILE, "[ipv4]\nmethod=auto\n[ipv6]\nmethod=ignore\n", { .dhcp = true } },
        { NETCONF_KEYFILE,
          "interface-name=ens33\n[ipv4]\naddress1=1.2.3.4/8,1.1.1.1\nmethod=manual\n[ipv6]\n"
          "method=auto\n",
          { .name = "ens33", .address = "1.2.3.4/8,1.1.1.1" } },
        { NETCONF_KEYFILE,
          "autoconnect=false\n[ipv4]\nmethod=auto\n",
          { .dhcp = true, .off = true } },
        { NETCONF_IFCFG,
          "DEVICE=\"eth0\"\nBOOTPROTO=dhcp\n#HWADDR=1\nONBOOT=yes\n",
          { .dhcp = true, .name = "eth0" } },
        { NETCONF_IFCFG,
          "BOOTPROTO='none'\nIPADDR=1.2.3.4\nHWADDR=0:1\nSTARTMODE='off'\n",
          { .off = true, .address = "1.2.3.4", .mac = "0:1" } },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = strdup(rows[i].text);
        struct netconf conf;

        assert_non_null(text);
        netconf_parse(rows[i].kind, text, &conf);
        free(text);
        assert_int_equal(conf.dhcp, rows[i].is.dhcp);
        assert_int_equal(conf.off, rows[i].is.off);
        assert_string_equal(conf.name, rows[i].is.name);
        assert_string_equal(conf.address, rows[i].is.address);
        assert_string_equal(conf.mac, rows[i].is.mac);
    }
    assert_true(netconf_name_is_local("ens33"));
    assert_true(netconf_name_is_local("enp0s3"));
    assert_false(netconf_name_is_local("eth0"));
    assert_false(netconf_name_is_local("en*"));
}

/* ---- accounts ---- */

static void accounts_are_told_apart(void **state)
{
    struct accounts *accounts = malloc(sizeof(*accounts));
    char passwd[] = "root:x:0:0:root:/root:/bin/bash\nno:x:1:1::/:/usr/sbin/nologin\nshort:x:1\n"
                    "old::2:2::/home/old:/bin/sh\nlocked:x:3:3::/home/l:/bin/sh\n";
    char shadow[] = "root:$6$salt$hash:1::::::\nlocked:!$6$salt$hash:1::::::\nnobody:::::::\n";

    (void)state;
    assert_non_null(accounts);
    accounts_parse(passwd, shadow, accounts);
    assert_int_equal(accounts->count, 4);
    assert_int_equal(accounts->account[0].password, ACCOUNT_HAS_PASSWORD);
    assert_true(accounts->account[0].shell);
    assert_int_equal(accounts->account[1].password, ACCOUNT_LOCKED);
    assert_false(accounts->account[1].shell);
    assert_int_equal(accounts->account[2].password, ACCOUNT_EMPTY);
    assert_int_equal(accounts->account[3].password, ACCOUNT_LOCKED);
    free(accounts);
}

/* ---- kernels ---- */

static void kernels_say_what_they_are(void **state)
{
    static uint8_t image[4096];
    struct kernel_image is;

    (void)state;
    kernel_image_look(image, sizeof(image), &is);
    assert_null(is.arch);
    memcpy(image + 0x1fe, "\x55\xaaxxHdrS\x0f\x02", 10);
    image[0x20e] = 0x00;
    image[0x20f] = 0x04;
    image[0x236] = 1;
    strcpy((char *)image + 0x600, "6.1.0-18-amd64 (x@y) #1");
    kernel_image_look(image, sizeof(image), &is);
    assert_string_equal(is.arch, "x86_64");
    assert_string_equal(is.release, "6.1.0-18-amd64");
    image[0x20f] = 0xff; /* its words would be outside */
    kernel_image_look(image, sizeof(image), &is);
    assert_string_equal(is.release, "");
    image[0x236] = 0;
    kernel_image_look(image, sizeof(image), &is);
    assert_string_equal(is.arch, "i386");
    memset(image, 0, sizeof(image));
    memcpy(image + 56, "ARM\x64", 4);
    strcpy((char *)image + 2000, "Linux version 5.10.0-arm (x)");
    kernel_image_look(image, sizeof(image), &is);
    assert_string_equal(is.arch, "aarch64");
    assert_string_equal(is.release, "5.10.0-arm");
    memcpy(image, "\177ELF\2\1\1", 7);
    memset(image + 56, 0, 4);
    image[18] = 243;
    kernel_image_look(image, sizeof(image), &is);
    assert_string_equal(is.arch, "riscv64");
    kernel_image_look(image, 100, &is);
    assert_null(is.arch);
}

/* ---- what is on the disk itself ---- */

struct memory_disk {
    struct im_disk disk;
    const uint8_t *bytes;
};

static int memory_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                       struct im_error *err)
{
    (void)err;
    memcpy(buf, ((struct memory_disk *)disk)->bytes + offset, len);
    return 0;
}

static struct im_disk *disk_of(const uint8_t *bytes, size_t size)
{
    static const struct im_disk_ops ops = { .name = "memory", .read = memory_read };
    struct memory_disk *disk = im_disk_new(sizeof(*disk), &ops, size, NULL);

    assert_non_null(disk);
    disk->bytes = bytes;
    return &disk->disk;
}

static void superblocks_tell_sizes(void **state)
{
    static uint8_t bytes[70000];
    struct im_disk *disk = disk_of(bytes, sizeof(bytes));
    struct fs_size size;

    (void)state;
    memcpy(bytes + 1024 + 4, "\x10\0\0\0", 4);
    bytes[1024 + 24] = 2;
    assert_int_equal(fs_size_read(disk, "ext4", 0, &size, NULL), 0);
    assert_int_equal(size.bytes, 16 * 4096);
    assert_false(size.errors);
    bytes[1024 + 58] = 2;
    bytes[1024 + 24] = 200;
    assert_int_equal(fs_size_read(disk, "ext2", 0, &size, NULL), 0);
    assert_int_equal(size.bytes, 0);
    assert_true(size.errors);
    memset(bytes + 40, 0xff, 8);
    bytes[11] = 1;
    assert_int_equal(fs_size_read(disk, "ntfs", 0, &size, NULL), 0);
    assert_int_equal(size.bytes, 0);
    assert_int_equal(fs_size_read(disk, "ext4", UINT64_MAX - 5, &size, NULL), 0);
    assert_int_equal(size.bytes, 0);
    assert_int_equal(fs_size_read(disk, "btrfs", 69000, &size, NULL), 0);
    assert_int_equal(fs_size_read(disk, "zfs_member", 0, &size, NULL), 0);
    assert_int_equal(size.bytes, 0);
    im_disk_close(disk);
}

/* 200 links, one sector each: it ends at the ceiling. */
static void long_chains_end(void **state)
{
    static uint8_t bytes[512 * 256];
    struct mbr *mbr = calloc(1, sizeof(*mbr));
    struct im_disk *disk = disk_of(bytes, sizeof(bytes));

    (void)state;
    assert_non_null(mbr);
    for (unsigned i = 1; i < 256; i++) {
        uint8_t *entry = bytes + (size_t)i * 512 + 446;

        entry[4] = 0x83;
        entry[12] = 1;
        entry[16 + 4] = 5;
        entry[16 + 8] = (uint8_t)i; /* the next, from the first on */
        memcpy(bytes + (size_t)i * 512 + 510, "\x55\xaa", 2);
    }
    memcpy(bytes + 510, "\x55\xaa", 2);
    bytes[446 + 4] = 5;
    bytes[446 + 8] = 1;
    bytes[446 + 12] = 255;
    assert_int_equal(mbr_read(disk, mbr, NULL), 0);
    assert_int_equal(mbr->end, MBR_CHAIN_LONG);
    assert_int_equal(mbr_partitions(mbr), MBR_LOGICAL_MAX);
    im_disk_close(disk);
    free(mbr);
}

/* ---- the report ---- */

static void no_validator_fills_the_report(void **state)
{
    struct im_report *report = calloc(1, sizeof(*report));

    (void)state;
    assert_non_null(report);
    report->rule = "talks";
    for (int i = 0; i < 1000; i++)
        im_report_warning(report, NULL, "%d", i);
    assert_int_equal(report->count, IM_REPORT_RULE_MAX);
    for (int i = 0; i < 1000; i++)
        im_report_fault(report, NULL, NULL, NULL, "%d", i);
    assert_int_equal(report->count, IM_REPORT_FAULT_MAX);
    report->rule = "another";
    im_report_fault(report, NULL, NULL, NULL, "what counts");
    assert_string_equal(im_report_first_fault(report, "another")->evidence, "what counts");
    free(report);
}

/* ---- bytes that mean ill ---- */

static uint32_t chance(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* A text of words the parsers know and bytes they do not. */
static void make_text(char *text, size_t size, uint32_t *seed)
{
    static const char *const words[] = {
        "menuentry",
        "'",
        "\"",
        "{",
        "linux",
        "initrd",
        "options",
        "root=",
        "UUID=",
        "(",
        ")",
        "/",
        "title",
        "append",
        "initrd=",
        ",",
        "$kernelopts",
        "iface",
        "address",
        "addresses",
        ":",
        "=",
        "- ",
        "\\040",
        "\\777",
        "dhcp4",
        "name",
        "\n",
        "\n",
        " ",
        "\t",
        "#",
        "MACAddress",
        "root:x:0",
        ":0:root:/root:/bin/sh",
        "saved_entry=",
        "macaddress",
        "[",
        "]",
        "HWADDR",
    };
    size_t len = 0;

    while (len + 64 < size) {
        if (chance(seed) % 4)
            len += (size_t)sprintf(text + len, "%s", words[chance(seed) % COUNT(words)]);
        else
            text[len++] = (char)(1 + chance(seed) % 255);
    }
    text[len] = '\0';
}

static void nothing_breaks_the_parsers(void **state)
{
    struct boot_entries *entries = malloc(sizeof(*entries));
    struct accounts *accounts = malloc(sizeof(*accounts));
    struct fstab *fstab = malloc(sizeof(*fstab));
    uint32_t seed = 1;

    (void)state;
    assert_true(entries && accounts && fstab);
    for (int round = 0; round < 2000; round++) {
        char text[3][700], value[8];
        struct netconf conf;
        struct kernel_image image;
        struct cpio cpio;
        int count = 0;

        for (size_t i = 0; i < 3; i++)
            make_text(text[i], sizeof(text[i]), &seed);
        (void)boot_environment(text[0], "saved_entry", value, sizeof(value));
        kernel_image_look(text[0], sizeof(text[0]), &image);
        cpio_begin(&cpio, take_member, NULL);
        memcpy(text[1], "070701", 6);
        names[0] = '\0';
        (void)cpio_feed(&cpio, text[1], sizeof(text[1]));
        (void)initramfs_names(text[1], sizeof(text[1]), take_none, &count, NULL);
        boot_entries_parse(text[0], entries);
        accounts_parse(text[1], text[2], accounts);
        make_text(text[0], sizeof(text[0]), &seed);
        fstab_parse(text[0], fstab);
        make_text(text[0], sizeof(text[0]), &seed);
        netconf_parse((enum netconf_kind)(round % 5), text[0], &conf);
    }
    free(fstab);
    free(accounts);
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_words_are_trimmed),
        cmocka_unit_test(fstab_is_parsed),
        cmocka_unit_test(fstab_has_a_ceiling),
        cmocka_unit_test(options_are_whole_words),
        cmocka_unit_test(devices_are_found),
        cmocka_unit_test(grub_entries_are_parsed),
        cmocka_unit_test(other_loaders_entries_are_parsed),
        cmocka_unit_test(the_environment_is_read),
        cmocka_unit_test(members_are_told_however_they_come),
        cmocka_unit_test(what_is_no_archive_is_left),
        cmocka_unit_test(an_initramfs_needs_an_end),
        cmocka_unit_test(network_files_are_read),
        cmocka_unit_test(accounts_are_told_apart),
        cmocka_unit_test(kernels_say_what_they_are),
        cmocka_unit_test(superblocks_tell_sizes),
        cmocka_unit_test(long_chains_end),
        cmocka_unit_test(no_validator_fills_the_report),
        cmocka_unit_test(nothing_breaks_the_parsers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
