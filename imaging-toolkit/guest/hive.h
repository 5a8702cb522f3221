/* hive - a hive of the Windows registry, read by libhivex. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "guest/guest.h"

/* Largest hive that is read: SOFTWARE of a server that had years of updates has 150 MiB. */
#define IM_HIVE_MAX (256u << 20)
/* Keys below one that are told; Services has 600. */
#define IM_HIVE_KEYS_MAX 16384

#define IM_HIVE_SYSTEM   "/Windows/System32/config/SYSTEM"
#define IM_HIVE_SOFTWARE "/Windows/System32/config/SOFTWARE"

struct im_hive;

/* Open the hive at a path of the guest; it does not need the guest any longer.
 * Errors: -ENOPKG without libhivex, -EBADMSG when it is none or damaged, those of im_guest_copy. */
int im_hive_of(struct im_guest *guest, const char *path, struct im_hive **ret_hive,
               struct im_error *err);

/* A value of a key ("ControlSet001\\Services\\viostor"; any case): text as UTF-8 in buf, or a
 * number of 32 bits.  -ENOENT: there is no such key or value; -EINVAL: it is of another type, or
 * longer than buf; -EBADMSG. */
int im_hive_text(struct im_hive *hive, const char *key, const char *name, char *buf, size_t size);
int im_hive_number(struct im_hive *hive, const char *key, const char *name, uint32_t *ret_number);

/* The names of the keys below a key, each ended by a NUL; *ret_count of them.  -ENOENT, -EFBIG. */
int im_hive_keys(struct im_hive *hive, const char *key, struct im_buffer *names, size_t *ret_count);

/* Takes NULL, returns NULL. */
struct im_hive *im_hive_close(struct im_hive *hive);
