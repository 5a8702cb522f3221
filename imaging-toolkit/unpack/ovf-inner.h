/* ovf-inner - what the two files that read an OVF share. */
#pragma once

#include "base/error.h"
#include "unpack/ovf.h"

/* Devices; each disk is looked for among them. */
#define IM_OVF_DEVICES_MAX 512u

/* A device: a controller has an address, a disk a parent, an address on it, and a resource. */
struct im_ovf_device {
    char *id, *parent, *resource, *address, *unit;
};

/* What hangs on what, by names as they were written. */
struct im_ovf_wiring {
    struct im_ovf_device device[IM_OVF_DEVICES_MAX];
    unsigned device_count;
    char *file_ref[IM_OVF_DISKS_MAX]; /* of each disk, or NULL */
};

/* -EBADMSG "OVF file parsing error: …". */
int im_ovf_refuse(struct im_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes of a unit as DSP0004 writes it: "byte", "byte * 2^30", "byte*1024".  -EINVAL, -ERANGE. */
int im_ovf_units(const char *text, uint64_t *ret_bytes);

/* Find the file of each disk and bring the disks into their order.  -EBADMSG. */
int im_ovf_order(struct im_ovf *ovf, const struct im_ovf_wiring *wiring, struct im_error *err);
