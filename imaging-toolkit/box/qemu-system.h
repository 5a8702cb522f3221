/* qemu-system - a machine that starts a disk, confined: no network, no display, no monitor, nothing
 * of ours but the disk, which it cannot write.
 *
 * What the guest writes goes into an overlay, a file of the caller's that may be filled so far and
 * not further.  What it prints on its serial console comes through a pipe; nothing goes in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "box/box.h"

#define IM_QEMU_SYSTEM "qemu-system-x86_64"

enum im_firmware { IM_FIRMWARE_BIOS, IM_FIRMWARE_UEFI };

/* Start with the first half filled and the rest IM_MACHINE_REST, end with im_machine_done. */
struct im_machine {
    int disk; /* read-only descriptor of the file that is the disk; not owned */
    uint64_t
        size;    /* bytes of the disk, whole sectors; what is past the file's end reads as zeros */
    int overlay; /* an empty file; -1: what is written fails; not owned */
    uint64_t overlay_max; /* bytes the overlay's file may have */
    enum im_firmware firmware;
    const char *bus;  /* "virtio", "ide", "nvme" */
    uint64_t memory;  /* bytes, whole MiB */
    uint64_t seconds; /* how long it runs at most, for its limit of processor time */
    bool kvm;         /* by the processor itself (im_machine_has_kvm), not by emulation */

    int console; /* what the guest prints, non-blocking; at its end the machine has ended */
    struct im_box box;
    char memory_text[24];
};

#define IM_MACHINE_REST                                                                            \
    .console = -1, .box = { .input = -1, .output = -1, .fd3 = -1, .text_fd = -1 }

/* Switch it on.  -ENOPKG: qemu or the firmware is missing. */
int im_machine_start(struct im_machine *machine, struct im_error *err);

/* Take up to len bytes of the console, waiting at most timeout_ms for them; *ret_len 0: there were
 * none yet.  1 when the machine has ended by itself and there is nothing more, then
 * machine->box.status tells how; 0; -ECANCELED, -EIO. */
int im_machine_listen(struct im_machine *machine, int timeout_ms, void *buf, size_t len,
                      size_t *ret_len, struct im_error *err);

/* Has the guest written what its overlay may have?  It gets errors from now on. */
bool im_machine_is_full(const struct im_machine *machine);

/* Switch it off and release. */
void im_machine_done(struct im_machine *machine);
#define IM_MACHINE_DONE __attribute__((cleanup(im_machine_done)))

/* Do guests really run on this processor?  /dev/kvm may be there and yet none of them come to its
 * first instruction, so one that prints a letter is tried, for about a second, once a process. */
bool im_machine_has_kvm(void);
