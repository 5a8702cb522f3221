/* windows - what the validators of Windows disks share: is there one, and what of it can be read.
 * What is there is told by numbers above 0; what nobody can read is reported. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "core/stage.h"
#include "guest/guest.h"

/* Is there a Windows?  1 and the guest.  0: none, which has been reported.  Errors: im_guest_of's.
 */
int windows_of(struct im_look *look, struct im_guest **ret_guest, struct im_error *err);

/* "partition 2", or "the disk" where it has none, into buf; returns buf. */
const char *windows_place(const struct im_fs *fs, char *buf, size_t size);

enum windows_found {
    WINDOWS_ABSENT = IM_ABSENT,
    WINDOWS_FOUND = IM_FOUND,
    WINDOWS_UNREADABLE = IM_UNREADABLE, /* reported as unknown, with the reason */
};

/* The first len bytes of a file (all of a shorter one) into an empty buffer.
 * enum windows_found, or an error that ends the look. */
int windows_head(struct im_look *look, struct im_guest *guest, const struct im_fs *fs,
                 const char *path, size_t len, struct im_buffer *bytes, struct im_error *err);

/* The hive at IM_HIVE_SYSTEM or IM_HIVE_SOFTWARE.  enum windows_found; one that is missing or
 * damaged is reported as a fault.  The caller closes it. */
struct im_hive;
int windows_hive(struct im_look *look, struct im_guest *guest, const char *path,
                 struct im_hive **ret_hive, struct im_error *err);

/* A name as short as "ControlSet001". */
#define WINDOWS_SET_MAX 24

/* The control set of SYSTEM that Windows starts with, by Select\Current, into set of
 * WINDOWS_SET_MAX bytes.  false: there is none, which has been reported as a fault. */
bool windows_control_set(struct im_report *report, struct im_hive *hive, char *set);
