/* kernel-image - what the file of a Linux kernel says about itself: for which machine it is, and
 * its release.  Nothing is unpacked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct kernel_image {
    const char *arch; /* as uname -m calls it, static: "x86_64", "i386", "aarch64" …; NULL: this is
                         no kernel that is known */
    bool is_64_bit;
    char
        release[128]; /* "6.1.0-18-amd64"; "": it does not say, or only inside what is compressed */
};

/* Look at the len bytes of the file. */
void kernel_image_look(const void *data, size_t len, struct kernel_image *ret_image);
