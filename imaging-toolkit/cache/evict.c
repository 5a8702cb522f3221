/* evict - which entries there are, and which go when room is wanted: the one used longest ago
 * first, never one that is in use or that another depends on. */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cache/place.h"

/* ---- names ---- */

bool im_cache_is_id(const char *text)
{
    return strlen(text) == IM_CACHE_ID && strspn(text, "0123456789abcdef") == IM_CACHE_ID;
}

/* One name of 64 digits at text. */
static bool take_id(const char *text, char ret[IM_CACHE_ID + 1])
{
    if (strspn(text, "0123456789abcdef") < IM_CACHE_ID)
        return false;
    memcpy(ret, text, IM_CACHE_ID);
    ret[IM_CACHE_ID] = '\0';
    return true;
}

bool im_entry_parse(const char *name, struct im_entry_name *ret)
{
    struct im_entry_name entry = { 0 };
    char number[24];
    size_t digits;

    if (!take_id(name, entry.id) || name[IM_CACHE_ID] != '.')
        return false;
    name += IM_CACHE_ID + 1;
    digits = strspn(name, "0123456789");
    if (digits >= sizeof(number) || (digits > 1 && name[0] == '0')) /* one way to write each */
        return false;
    memcpy(number, name, digits);
    number[digits] = '\0';
    if (im_parse_uint(number, INT64_MAX, &entry.size) < 0)
        return false;
    name += digits;
    if (*name) {
        if (strlen(name) != 2 * (IM_CACHE_ID + 1) || name[0] != '+' ||
            !take_id(name + 1, entry.parent) || name[IM_CACHE_ID + 1] != '+' ||
            !take_id(name + IM_CACHE_ID + 2, entry.sha256))
            return false;
    }
    *ret = entry;
    return true;
}

void im_entry_format(const struct im_entry_name *entry, char ret_name[IM_ENTRY_NAME])
{
    (void)snprintf(ret_name, IM_ENTRY_NAME, "%s.%" PRIu64 "%s%s%s%s", entry->id, entry->size,
                   *entry->parent ? "+" : "", entry->parent, *entry->parent ? "+" : "",
                   entry->sha256);
}

/* ---- the list ---- */

static int by_use(const void *a, const void *b)
{
    const struct timespec *x = &((const struct im_item *)a)->used;
    const struct timespec *y = &((const struct im_item *)b)->used;

    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

static void add(struct im_place *place, const char *name, struct im_items *items)
{
    struct im_item *item = &items->item[items->count];
    struct stat st;

    if (items->count == IM_ENTRIES_MAX || !im_entry_parse(name, &item->entry) ||
        fstatat(place->entries, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return;
    im_entry_format(&item->entry, item->name);
    item->bytes = (uint64_t)st.st_blocks * 512;
    item->used = st.st_atim;
    item->in_use = im_place_in_use(place->entries, name, NULL);
    items->count++;
}

int im_items_load(struct im_place *place, struct im_items *ret_items, struct im_error *err)
{
    struct im_items items = { .item = calloc(IM_ENTRIES_MAX, sizeof(*items.item)) };
    DIR *names = items.item ? im_place_names(place->entries) : NULL;
    struct dirent *entry;

    if (!names) {
        free(items.item);
        return im_fail_errno(err, items.item ? errno : ENOMEM, "cannot list the entries of '%s'",
                             place->name);
    }
    while ((entry = readdir(names)))
        add(place, entry->d_name, &items);
    (void)closedir(names);
    qsort(items.item, items.count, sizeof(*items.item), by_use);
    *ret_items = items;
    return 0;
}

void im_items_done(struct im_items *items)
{
    free(items->item);
    *items = (struct im_items){ 0 };
}

unsigned im_items_children(const struct im_items *items, const struct im_item *item)
{
    unsigned count = 0;

    for (unsigned i = 0; i < items->count; i++)
        if (!items->item[i].gone && strcmp(items->item[i].entry.parent, item->entry.id) == 0)
            count++;
    return count;
}

/* ---- letting go ---- */

/* Nobody can take it meanwhile: that needs the lock we hold. */
static bool let_go(struct im_place *place, struct im_items *items, struct im_item *item)
{
    if (item->gone || item->in_use || im_items_children(items, item) > 0 ||
        unlinkat(place->entries, item->name, 0) < 0)
        return false;
    item->gone = true;
    return true;
}

/* Is one of them used by another process? */
static bool others_use(struct im_place *place, const struct im_items *items)
{
    struct stat st;

    for (unsigned i = 0; i < items->count; i++)
        if (items->item[i].in_use &&
            fstatat(place->entries, items->item[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            !im_entry_is_own(&st))
            return true;
    return false;
}

int im_evict(struct im_place *place, uint64_t wanted, uint64_t *ret_freed, bool *ret_others,
             struct im_error *err)
{
    struct im_items items;
    uint64_t freed = 0;
    bool more = true;
    int r = im_items_load(place, &items, err);

    if (r < 0)
        return r;
    while (more && freed < wanted) { /* what another depended on may go after that one */
        more = false;
        for (unsigned i = 0; i < items.count && freed < wanted; i++)
            if (let_go(place, &items, &items.item[i])) {
                freed += items.item[i].bytes;
                more = true;
            }
    }
    if (ret_others)
        *ret_others = others_use(place, &items);
    im_items_done(&items);
    *ret_freed = freed;
    return 0;
}
