/* os - which operating system a guest is: distribution, version, architecture; see os.h. */

#include <config.h>

#include "guest/os.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "guest/os-inner.h"

/* Bytes of a release file; the longest have 1 KiB. */
#define RELEASE_MAX 16384u

/* ---- asking the guest ---- */

void os_set(char *field, size_t size, const char *text)
{
    (void)im_text_printable(field, size, text);
    for (size_t len = strlen(field); len > 0 && field[len - 1] == ' '; len--)
        field[len - 1] = '\0';
}

int os_result(struct analysis *analysis, int r, const struct im_error *why)
{
    struct im_os *os = analysis->os;

    if (r >= 0)
        return 0;
    if (r == -ENOMEM || r == -ECANCELED || r == -EIO || r == -ENOSPC) {
        if (analysis->err)
            *analysis->err = *why;
        return r;
    }
    if (r != -ENOENT && r != -ENOTDIR && !*os->unread)
        os_set(os->unread, sizeof(os->unread), why->message);
    return 1;
}

int os_text(struct analysis *analysis, const char *path, size_t max, struct im_buffer *text)
{
    struct im_error why = { 0 };

    im_buffer_clear(text);
    return os_result(analysis, im_guest_read(analysis->guest, path, max, text, &why), &why);
}

int os_has(struct analysis *analysis, const char *const *paths, enum im_known *ret_has)
{
    enum im_known has = IM_NO;

    for (; *paths && has != IM_YES; paths++) {
        struct im_error why = { 0 };
        struct im_file file;
        int asked = im_guest_stat(analysis->guest, *paths, &file, &why);
        int r = os_result(analysis, asked, &why);

        if (r < 0)
            return r;
        if (r == 0)
            has = IM_YES;
        else if (asked != -ENOENT && asked != -ENOTDIR)
            has = IM_UNSURE;
    }
    *ret_has = has;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int os_names(struct analysis *analysis, const char *path, struct im_buffer *text,
             const char **names, size_t room, size_t *ret_count)
{
    struct im_error why = { 0 };
    size_t count = 0, told;
    int r;

    im_buffer_clear(text);
    r = os_result(analysis, im_guest_list(analysis->guest, path, text, &told, &why), &why);
    if (r != 0)
        return r;
    for (size_t at = 0; at < text->len && count < room; at += strlen(text->data + at) + 1)
        names[count++] = text->data + at;
    qsort(names, count, sizeof(*names), by_name);
    *ret_count = count;
    return 0;
}

/* ---- distribution and version ---- */

/* The value of KEY=value or KEY="value" at the beginning of a line; false: there is none. */
static bool value_of(const char *text, const char *key, char *value, size_t size)
{
    size_t len = strlen(key);
    const char *line = text;

    while (line && (strncmp(line, key, len) != 0 || line[len] != '=')) {
        line = strchr(line, '\n');
        line += line != NULL;
    }
    if (!line)
        return false;
    line += len + 1;
    line += *line == '"' || *line == '\'';
    len = strcspn(line, "\"'\r\n");
    (void)snprintf(value, size, "%.*s", (int)im_min(len, size - 1), line);
    return len > 0;
}

static void take_value(const char *text, const char *key, char *field, size_t size)
{
    char value[256];

    if (strcmp(field, IM_OS_UNKNOWN) == 0 && value_of(text, key, value, sizeof(value)))
        os_set(field, size, value);
}

/* "CentOS release 6.10 (Final)": the name, and the first number in it. */
static void take_redhat(struct im_os *os, const char *text)
{
    static const struct {
        const char *begins, *id;
    } ids[] = {
        { "Red Hat Enterprise", "rhel" },
        { "CentOS", "centos" },
        { "Fedora", "fedora" },
        { "Oracle", "ol" },
        { "Rocky", "rocky" },
        { "AlmaLinux", "almalinux" },
        { "Scientific", "scientific" },
        { "Amazon Linux", "amzn" },
    };
    const char *number = text + strcspn(text, "0123456789");
    char version[sizeof(os->version)];

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (strncmp(text, ids[i].begins, strlen(ids[i].begins)) == 0)
            os_set(os->distribution, sizeof(os->distribution), ids[i].id);
    (void)snprintf(version, sizeof(version), "%.*s",
                   (int)im_min(strspn(number, "0123456789."), sizeof(version) - 1), number);
    if (*version)
        os_set(os->version, sizeof(os->version), version);
    os_set(os->name, sizeof(os->name), text);
}

static void take_release(struct im_os *os, const char *text)
{
    take_value(text, "ID", os->distribution, sizeof(os->distribution));
    take_value(text, "VERSION_ID", os->version, sizeof(os->version));
    take_value(text, "PRETTY_NAME", os->name, sizeof(os->name));
    take_value(text, "NAME", os->name, sizeof(os->name));
}

static void take_lsb(struct im_os *os, const char *text)
{
    take_value(text, "DISTRIB_ID", os->distribution, sizeof(os->distribution));
    take_value(text, "DISTRIB_RELEASE", os->version, sizeof(os->version));
    take_value(text, "DISTRIB_DESCRIPTION", os->name, sizeof(os->name));
    for (char *p = os->distribution; *p; p++)
        *p = (char)tolower((unsigned char)*p);
}

static void take_debian(struct im_os *os, const char *text)
{
    os_set(os->distribution, sizeof(os->distribution), "debian");
    os_set(os->version, sizeof(os->version), text);
    (void)snprintf(os->name, sizeof(os->name), "Debian %s", os->version);
}

/* In the order of what they are worth; the first that names the distribution is the last asked. */
static int find_release(struct analysis *analysis)
{
    static const struct {
        const char *path;
        void (*take)(struct im_os *os, const char *text);
    } files[] = {
        { "/etc/os-release", take_release },    { "/usr/lib/os-release", take_release },
        { "/etc/redhat-release", take_redhat }, { "/etc/lsb-release", take_lsb },
        { "/etc/debian_version", take_debian },
    };
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(RELEASE_MAX);

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        int r = os_text(analysis, files[i].path, RELEASE_MAX, &text);

        if (r < 0)
            return r;
        if (r == 0 && text.len > 0)
            files[i].take(analysis->os, text.data);
        if (strcmp(analysis->os->distribution, IM_OS_UNKNOWN) != 0)
            break;
    }
    return 0;
}

/* ---- architecture ---- */

/* Of an ELF header ("e_machine"), or a program of Windows ("Machine"). */
static const char *machine_of(const uint8_t *p, size_t len)
{
    static const struct {
        uint16_t elf, pe;
        const char *name;
    } machines[] = {
        { 62, 0x8664, "x86_64" }, { 3, 0x14c, "i386" },       { 183, 0xaa64, "aarch64" },
        { 40, 0x1c4, "arm" },     { 243, 0x5064, "riscv64" }, { 22, 0, "s390x" },
    };
    bool elf = len >= 20 && memcmp(p, "\177ELF", 4) == 0;
    uint32_t at = !elf && len >= 64 && memcmp(p, "MZ", 2) == 0 ? im_le32(p + 60) : 0;
    uint16_t value = 0;

    if (elf)
        value = p[5] == 2 ? im_be16(p + 18) : im_le16(p + 18);
    else if (at >= 64 && at <= len && len - at >= 6 && memcmp(p + at, "PE\0\0", 4) == 0)
        value = im_le16(p + at + 4);
    if (elf && value == 21)
        return p[5] == 2 ? "ppc64" : "ppc64le";
    for (size_t i = 0; value != 0 && i < sizeof(machines) / sizeof(machines[0]); i++)
        if (value == (elf ? machines[i].elf : machines[i].pe))
            return machines[i].name;
    return NULL;
}

static int find_arch(struct analysis *analysis)
{
    static const char *const linux_programs[] = { "/bin/sh",      "/bin/bash",
                                                  "/sbin/init",   "/usr/lib/systemd/systemd",
                                                  "/usr/bin/env", NULL };
    static const char *const windows_programs[] = { "/Windows/System32/ntoskrnl.exe",
                                                    "/Windows/explorer.exe", NULL };
    const char *const *program = analysis->guest->windows ? windows_programs : linux_programs;
    struct im_buffer head IM_BUFFER_DONE = IM_BUFFER(4096);

    for (; *program; program++) {
        struct im_error why = { 0 };
        const char *machine;
        int r;

        im_buffer_clear(&head);
        r = os_result(analysis, im_guest_head(analysis->guest, *program, 4096, &head, &why), &why);
        if (r < 0)
            return r;
        machine = r == 0 && head.len > 0 ? machine_of((const uint8_t *)head.data, head.len) : NULL;
        if (machine) {
            os_set(analysis->os->arch, sizeof(analysis->os->arch), machine);
            break;
        }
    }
    return 0;
}

/* ---- whole ---- */

static int analyse_linux(struct analysis *analysis)
{
    struct im_os *os = analysis->os;
    int r;

    os_set(os->family, sizeof(os->family), "linux");
    r = find_release(analysis);
    if (r == 0)
        r = find_arch(analysis);
    if (r == 0)
        r = os_kernels(analysis);
    if (r == 0)
        r = os_users(analysis);
    return r < 0 ? r : os_cloud_init(analysis);
}

int im_os_of(struct im_guest *guest, struct im_os *ret_os, struct im_error *err)
{
    struct analysis analysis = { .guest = guest, .os = ret_os, .err = err };
    int r;

    *ret_os = (struct im_os){ .family = IM_OS_UNKNOWN,
                              .distribution = IM_OS_UNKNOWN,
                              .name = IM_OS_UNKNOWN,
                              .version = IM_OS_UNKNOWN,
                              .arch = IM_OS_UNKNOWN,
                              .datasources = IM_OS_UNKNOWN };
    os_set(ret_os->unread, sizeof(ret_os->unread), guest->unread);
    if (!guest->root)
        return 0;
    if (!guest->windows)
        return analyse_linux(&analysis);
    os_set(ret_os->family, sizeof(ret_os->family), "windows");
    r = find_arch(&analysis);
    return r < 0 ? r : os_windows(&analysis);
}
