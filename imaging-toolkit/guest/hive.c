/* hive - a hive of the Windows registry; see hive.h. */

#include <config.h>

#include "guest/hive.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <hivex.h>

#include "base/cleanup.h"
#include "base/library.h"

/* Keys between the root and a value that is asked for. */
#define DEPTH_MAX 32u

struct lib {
    typeof(&hivex_open) hivex_open;
    typeof(&hivex_close) hivex_close;
    typeof(&hivex_root) hivex_root;
    typeof(&hivex_node_get_child) hivex_node_get_child;
    typeof(&hivex_node_get_value) hivex_node_get_value;
    typeof(&hivex_node_children) hivex_node_children;
    typeof(&hivex_node_name) hivex_node_name;
    typeof(&hivex_value_string) hivex_value_string;
    typeof(&hivex_value_dword) hivex_value_dword;
    typeof(&hivex_value_type) hivex_value_type;
};

static const struct im_symbol symbols[] = {
    IM_SYMBOL(lib, hivex_open),
    IM_SYMBOL(lib, hivex_close),
    IM_SYMBOL(lib, hivex_root),
    IM_SYMBOL(lib, hivex_node_get_child),
    IM_SYMBOL(lib, hivex_node_get_value),
    IM_SYMBOL(lib, hivex_node_children),
    IM_SYMBOL(lib, hivex_node_name),
    IM_SYMBOL(lib, hivex_value_string),
    IM_SYMBOL(lib, hivex_value_dword),
    IM_SYMBOL(lib, hivex_value_type),
    { 0 },
};

struct im_hive {
    struct lib lib;
    hive_h *hive;
};

/* Of a file, from its first byte; the descriptor stays the caller's, open. */
static int open_hive(int fd, struct im_hive **ret_hive, struct im_error *err)
{
    struct im_hive *hive = calloc(1, sizeof(*hive));
    char name[64];
    int r = hive ? im_library_load("libhivex.so.0", symbols, &hive->lib, err)
                 : im_fail(err, ENOMEM, "out of memory");

    if (r == 0) {
        (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        hive->hive = hive->lib.hivex_open(name, 0);
        if (!hive->hive)
            r = im_fail(err, EBADMSG, "this is no hive of the registry, or a damaged one");
    }
    if (r < 0)
        free(hive);
    else
        *ret_hive = hive;
    return r;
}

int im_hive_of(struct im_guest *guest, const char *path, struct im_hive **ret_hive,
               struct im_error *err)
{
    int fd IM_CLOSE = memfd_create("hive", MFD_CLOEXEC);
    uint64_t len;
    int r = fd < 0 ? im_fail_errno(err, errno, "cannot make a file in memory")
                   : im_guest_copy(guest, path, IM_HIVE_MAX, fd, &len, err);

    if (r == 0)
        r = open_hive(fd, ret_hive, err);
    if (r == -EBADMSG)
        im_error_prefix(err, "'%s'", path);
    return r;
}

/* The node at a path; 0: there is none. */
static hive_node_h find(const struct im_hive *hive, const char *key)
{
    hive_node_h node = hive->lib.hivex_root(hive->hive);
    char part[256];

    for (unsigned depth = 0; node != 0 && *key != '\0'; depth++) {
        size_t len = strcspn(key, "\\");

        if (len >= sizeof(part) || depth == DEPTH_MAX)
            return 0;
        memcpy(part, key, len);
        part[len] = '\0';
        node = hive->lib.hivex_node_get_child(hive->hive, node, part);
        key += len + (key[len] == '\\');
    }
    return node;
}

/* The value; 0: there is none. */
static hive_value_h value_of(const struct im_hive *hive, const char *key, const char *name)
{
    hive_node_h node = find(hive, key);

    return node == 0 ? 0 : hive->lib.hivex_node_get_value(hive->hive, node, name);
}

static int type_of(const struct im_hive *hive, hive_value_h value, hive_type *ret_type)
{
    size_t len;

    if (value == 0)
        return -ENOENT;
    return hive->lib.hivex_value_type(hive->hive, value, ret_type, &len) < 0 ? -EBADMSG : 0;
}

int im_hive_text(struct im_hive *hive, const char *key, const char *name, char *buf, size_t size)
{
    hive_value_h value = value_of(hive, key, name);
    char *text IM_FREE = NULL;
    hive_type type = 0;
    int r = type_of(hive, value, &type);

    if (r < 0)
        return r;
    if (type != hive_t_REG_SZ && type != hive_t_REG_EXPAND_SZ)
        return -EINVAL;
    text = hive->lib.hivex_value_string(hive->hive, value);
    if (!text)
        return -EBADMSG;
    if (strlen(text) >= size)
        return -EINVAL;
    (void)snprintf(buf, size, "%s", text);
    return 0;
}

int im_hive_number(struct im_hive *hive, const char *key, const char *name, uint32_t *ret_number)
{
    hive_value_h value = value_of(hive, key, name);
    hive_type type = 0;
    int r = type_of(hive, value, &type);

    if (r == 0 && type != hive_t_REG_DWORD)
        r = -EINVAL;
    if (r < 0)
        return r;
    errno = 0;
    *ret_number = (uint32_t)hive->lib.hivex_value_dword(hive->hive, value);
    return errno ? -EBADMSG : 0;
}

int im_hive_keys(struct im_hive *hive, const char *key, struct im_buffer *names, size_t *ret_count)
{
    hive_node_h node = find(hive, key);
    hive_node_h *child IM_FREE = NULL;
    size_t count = 0;
    int r = 0;

    if (node == 0)
        return -ENOENT;
    child = hive->lib.hivex_node_children(hive->hive, node);
    if (!child)
        return -EBADMSG;
    for (; r == 0 && child[count] != 0; count++) {
        char *name IM_FREE = hive->lib.hivex_node_name(hive->hive, child[count]);

        r = !name                       ? -EBADMSG
            : count == IM_HIVE_KEYS_MAX ? -EFBIG
                                        : im_buffer_add(names, name, strlen(name) + 1);
    }
    if (r == 0)
        *ret_count = count;
    return r;
}

struct im_hive *im_hive_close(struct im_hive *hive)
{
    if (hive)
        (void)hive->lib.hivex_close(hive->hive);
    free(hive);
    return NULL;
}
