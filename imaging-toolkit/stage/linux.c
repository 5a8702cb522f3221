/* linux - what the validators of Linux disks share; see linux.h. */

#include <config.h>

#include "stage/linux.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "guest/os.h"

/* Names in a directory, bytes: as many as are told, of 64 bytes each on the average. */
#define NAMES_MAX (IM_GUEST_NAMES_MAX * 64u)

int linux_of(struct im_look *look, struct im_guest **ret_guest, struct im_error *err)
{
    int r = im_guest_of(look, ret_guest, err);

    if (r < 0)
        return r;
    if ((*ret_guest)->windows) {
        im_report_okay(look->report, "the system is Windows: there is nothing to ask here");
        return 0;
    }
    if (!(*ret_guest)->root) {
        im_report_unknown(look->report, "no Linux root was found%s%s",
                          *(*ret_guest)->unread ? ": " : "", (*ret_guest)->unread);
        return 0;
    }
    return 1;
}

static int tell(struct im_look *look, const char *path, int r, const struct im_error *local,
                struct im_error *err)
{
    r = im_guest_answer(r);
    if (r == LINUX_UNREADABLE)
        im_report_unknown(look->report, "%s: %s", path, local->message);
    else if (r < 0 && err)
        *err = *local;
    return r;
}

int linux_text(struct im_look *look, struct im_guest *guest, const char *path,
               struct im_buffer *text, struct im_error *err)
{
    struct im_error local = { 0 };
    int r = im_guest_read(guest, path, text->ceiling, text, &local);

    for (size_t i = 0; r == 0 && i < text->len; i++)
        if (text->data[i] == '\0')
            text->data[i] = '?';
    return tell(look, path, r, &local, err);
}

int linux_bytes(struct im_guest *guest, const char *path, struct im_buffer *bytes,
                struct im_error *err)
{
    return im_guest_answer(im_guest_read(guest, path, bytes->ceiling, bytes, err));
}

int linux_stat(struct im_guest *guest, const char *path, struct im_file *ret_file,
               struct im_error *err)
{
    return im_guest_answer(im_guest_stat(guest, path, ret_file, err));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int sort_names(struct linux_names *names, struct im_error *err)
{
    const char *p = names->text.data;
    const char *end = p ? p + names->text.len : p;
    size_t count = 0;

    names->name = calloc(names->count ? names->count : 1, sizeof(*names->name));
    if (!names->name)
        return im_fail(err, ENOMEM, "out of memory");
    for (; count < names->count && p < end; p += strlen(p) + 1)
        names->name[count++] = p;
    names->count = count;
    qsort(names->name, count, sizeof(*names->name), by_name);
    return 0;
}

int linux_list(struct im_look *look, struct im_guest *guest, const char *dir,
               struct linux_names *ret_names, struct im_error *err)
{
    struct linux_names names = { .text = IM_BUFFER(NAMES_MAX) };
    struct im_error local = { 0 };
    int r = im_guest_list(guest, dir, &names.text, &names.count, &local);

    if (r == 0)
        r = sort_names(&names, &local);
    else
        names.count = 0;
    *ret_names = names;
    return tell(look, dir, r, &local, err);
}

void linux_names_done(struct linux_names *names)
{
    im_buffer_done(&names->text);
    free(names->name);
    names->name = NULL;
    names->count = 0;
}

int linux_has_cloud_init(struct im_guest *guest, struct im_error *err)
{
    struct im_file file;
    int r = linux_stat(guest, "/etc/cloud/cloud-init.disabled", &file, err);

    if (r < 0 || r == LINUX_FOUND)
        return r < 0 ? r : LINUX_ABSENT;
    r = linux_stat(guest, "/etc/cloud/cloud.cfg", &file, err);
    if (r == LINUX_FOUND)
        r = linux_stat(guest, "/usr/bin/cloud-init", &file, err);
    return r;
}

/* ---- kernels ---- */

static bool has_name(const struct linux_names *names, const char *name)
{
    return names->count && bsearch(&name, names->name, names->count, sizeof(name), by_name);
}

static void find_initrd(const struct linux_names *names, struct linux_kernel *kernel)
{
    char name[160];

    for (unsigned way = 0; im_kernel_ramdisk(kernel->name, way, name, sizeof(name)); way++)
        if (has_name(names, name)) {
            (void)snprintf(kernel->initrd, sizeof(kernel->initrd), "/boot/%s", name);
            return;
        }
}

int linux_find_kernels(struct im_look *look, struct im_guest *guest,
                       struct linux_kernels *ret_kernels, struct im_error *err)
{
    struct linux_names names LINUX_NAMES_DONE = { 0 };
    int r = linux_list(look, guest, "/boot", &names, err);

    *ret_kernels = (struct linux_kernels){ 0 };
    for (size_t i = names.count; r == LINUX_FOUND && i-- > 0;) {
        const char *name = im_kernel_version(names.name[i]);
        struct linux_kernel *kernel = &ret_kernels->kernel[ret_kernels->count];

        if (!name || strstr(names.name[i], "rescue") || ret_kernels->count == LINUX_KERNELS_MAX ||
            strlen(name) >= sizeof(kernel->name))
            continue;
        (void)snprintf(kernel->name, sizeof(kernel->name), "%s", name);
        (void)snprintf(kernel->path, sizeof(kernel->path), "/boot/%s", names.name[i]);
        find_initrd(&names, kernel);
        ret_kernels->count++;
    }
    return r;
}

int linux_read_kernel(struct im_guest *guest, const struct linux_kernel *kernel,
                      struct kernel_image *ret_image, struct im_error *err)
{
    struct im_buffer bytes IM_BUFFER_DONE = IM_BUFFER(LINUX_KERNEL_MAX);
    int r = linux_bytes(guest, kernel->path, &bytes, err);

    if (r == LINUX_FOUND)
        kernel_image_look(bytes.data, bytes.len, ret_image);
    return r;
}

int linux_release(struct im_guest *guest, const struct linux_kernel *kernel, char *ret_release,
                  size_t size, struct im_error *err)
{
    struct kernel_image image = { 0 };
    struct im_file file;
    char path[192];
    int r;

    (void)snprintf(path, sizeof(path), "/lib/modules/%s", kernel->name);
    r = linux_stat(guest, path, &file, err);
    if (r == LINUX_ABSENT || !*kernel->name)
        r = linux_read_kernel(guest, kernel, &image, err);
    if (r < 0)
        return r;
    (void)snprintf(ret_release, size, "%s", *image.release ? image.release : kernel->name);
    return 0;
}

/* ---- text ---- */

char *linux_line(char **rest)
{
    char *line = strsep(rest, "\n");

    return line ? im_text_trim(line) : NULL;
}

char *linux_word(char **rest)
{
    char *word;

    do
        word = strsep(rest, " \t\r");
    while (word && !*word);
    return word;
}
