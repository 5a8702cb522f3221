/* kernel-image - what the file of a Linux kernel says about itself; see kernel-image.h.
 *
 * "The Linux/x86 Boot Protocol", "Booting AArch64 Linux", the ELF header, and the header of kernels
 * that unpack themselves on EFI ("zimg"). */

#include <config.h>

#include "stage/kernel-image.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

/* Boot protocol 2.12 says whether the kernel has 64 bits. */
#define SAYS_64_BIT 0x020cu

static const struct machine {
    uint16_t elf;
    bool is_64_bit;
    const char *name;
} machines[] = {
    { 3, false, "i386" },     { 21, true, "ppc64" },        { 22, true, "s390x" },
    { 40, false, "arm" },     { 62, true, "x86_64" },       { 183, true, "aarch64" },
    { 243, true, "riscv64" }, { 258, true, "loongarch64" },
};

/* The word at p, of at most `len` bytes, as a release. */
static void take_release(const uint8_t *p, size_t len, struct kernel_image *image)
{
    size_t n = 0;

    while (n < len && n < sizeof(image->release) - 1 && isgraph(p[n]))
        n++;
    memcpy(image->release, p, n);
    image->release[n] = '\0';
}

/* "Linux version 6.1.0 (…", which every kernel that is not compressed holds. */
static void search_release(const uint8_t *p, size_t len, struct kernel_image *image)
{
    static const char banner[] = "Linux version ";
    const uint8_t *found = memmem(p, len, banner, sizeof(banner) - 1);

    if (!found)
        return;
    found += sizeof(banner) - 1;
    if (found < p + len && isdigit(*found))
        take_release(found, (size_t)(p + len - found), image);
}

static void look_x86(const uint8_t *p, size_t len, struct kernel_image *image)
{
    size_t text = 0x200u + im_le16(p + 0x20e);

    image->is_64_bit = im_le16(p + 0x206) >= SAYS_64_BIT && (im_le16(p + 0x236) & 1) != 0;
    image->arch = image->is_64_bit ? "x86_64" : "i386";
    if (text > 0x200 && text < len)
        take_release(p + text, len - text, image);
}

static void look_elf(const uint8_t *p, size_t len, struct kernel_image *image)
{
    uint16_t machine = p[5] == 2 ? im_be16(p + 18) : im_le16(p + 18);

    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
        if (machines[i].elf == machine) {
            image->arch = machines[i].name;
            image->is_64_bit = machines[i].is_64_bit;
        }
    search_release(p, len, image);
}

void kernel_image_look(const void *data, size_t len, struct kernel_image *ret_image)
{
    const uint8_t *p = data;

    *ret_image = (struct kernel_image){ 0 };
    if (len < 0x240)
        return;
    if (im_le16(p + 0x1fe) == 0xaa55 && memcmp(p + 0x202, "HdrS", 4) == 0) {
        look_x86(p, len, ret_image);
    } else if (memcmp(p + 56, "ARM\x64", 4) == 0) {
        ret_image->arch = "aarch64";
        ret_image->is_64_bit = true;
        search_release(p, len, ret_image);
    } else if (memcmp(p + 56, "RSC\x05", 4) == 0) {
        ret_image->arch = "riscv64";
        ret_image->is_64_bit = true;
        search_release(p, len, ret_image);
    } else if (memcmp(p, "MZ", 2) == 0 && memcmp(p + 4, "zimg", 4) == 0) {
        ret_image->arch = "aarch64"; /* x86 kernels have no such header */
        ret_image->is_64_bit = true;
    } else if (memcmp(p, "\177ELF", 4) == 0) {
        look_elf(p, len, ret_image);
    }
}
