/* ovf - the descriptor of a virtual machine (DMTF DSP0243): which files hold its disks, in which
 * order.  Text in, structure out; nothing is opened. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Real ones have 10 to 100 KiB. */
#define IM_OVF_MAX (2u << 20)
/* More than any machine has; each is compared with each. */
#define IM_OVF_FILES_MAX 256u
#define IM_OVF_DISKS_MAX 256u

enum im_ovf_compression { IM_OVF_PLAIN, IM_OVF_GZIP, IM_OVF_XZ };

struct im_ovf_file {
    char *id, *href;
    uint64_t size; /* in the package, bytes; UINT64_MAX: not said */
    enum im_ovf_compression compression;
};

struct im_ovf_disk {
    char *id;
    char *format;      /* an URI, or NULL */
    uint64_t capacity; /* bytes */
    int file;          /* its place in `file`; -1: a blank disk */
    /* Where it is attached: what the order is made of. */
    uint64_t controller, controller_place, unit, place;
};

struct im_ovf {
    unsigned file_count, disk_count;
    struct im_ovf_file file[IM_OVF_FILES_MAX];
    struct im_ovf_disk disk[IM_OVF_DISKS_MAX]; /* in the order of the hardware section: by the
                                                  controller's address, then the disk's on it; then
                                                  those that are not attached */
};

/* Read len bytes of XML; the caller frees what it gets.  A DOCTYPE, entities, another encoding than
 * UTF-8, several machines, parents, split files and everything without a clear meaning are refused.
 * -EBADMSG code "InvalidOvf", -EOPNOTSUPP, -ENOMEM. */
int im_ovf_parse(const char *xml, size_t len, struct im_ovf **ret_ovf, struct im_error *err);
struct im_ovf *im_ovf_free(struct im_ovf *ovf);
