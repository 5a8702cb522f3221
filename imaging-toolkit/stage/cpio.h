/* cpio - the names in an archive of the kind "newc", as the kernel takes it for its initramfs
 * ("initramfs buffer format" of the kernel's documentation): bytes go in as they come, names and
 * sizes come out.  Contents are passed over. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes of a name; the kernel takes no longer one. */
#define CPIO_NAME_MAX 4096u

/* Called for each member but the last, "TRAILER!!!". */
typedef void (*cpio_member_fn)(void *arg, const char *name, uint64_t size);

struct cpio {
    cpio_member_fn member;
    void *arg;
    enum { CPIO_BETWEEN, CPIO_HEADER, CPIO_NAME, CPIO_SKIP } state;
    uint64_t at;   /* bytes of the archive so far: members begin at multiples of 4 */
    uint64_t left; /* of the name, or to be passed over */
    uint64_t size; /* of the member whose name is being read */
    size_t have;   /* bytes in text */
    bool trailer;  /* one archive has ended, at least */
    char text[CPIO_NAME_MAX + 1];
};

/* Begin; nothing is owned. */
void cpio_begin(struct cpio *cpio, cpio_member_fn member, void *arg);

/* Take the next len bytes.  How many of them belong to archives: fewer than len when something else
 * begins there, behind the end of one (or at the very beginning).  -EBADMSG: damaged. */
ssize_t cpio_feed(struct cpio *cpio, const void *data, size_t len);

/* Has all come to its end: an archive with its trailer, and nothing begun behind it? */
bool cpio_is_complete(const struct cpio *cpio);
