/* boot-entries - what boot loaders' configurations would start: grub.cfg, GRUB 1's menu.lst,
 * extlinux.conf and the entries of the Boot Loader Specification, all of which say it with nearly
 * the same words.  Nothing of their scripts is run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Entries of one file that are kept; grub-mkconfig writes three for each kernel. */
#define BOOT_ENTRIES_MAX 64u
/* Archives one entry may load: microcode and the initramfs, seldom more. */
#define BOOT_INITRDS_MAX 4u

struct boot_entry {
    char title[96];
    char
        kernel[256]; /* as it is written, without a device in front: "/boot/vmlinuz-6.1"; "" none */
    unsigned initrds;
    char initrd[BOOT_INITRDS_MAX][256];
    char root[192];  /* of root=, "" none */
    bool kernelopts; /* the command line comes from grubenv */
};

struct boot_entries {
    bool blscfg;  /* the entries are in files of their own */
    bool goes_on; /* another file is read from there (configfile, source) */
    unsigned count;
    struct boot_entry entry[BOOT_ENTRIES_MAX];
};

/* Parse the text, which is cut up.  A file of the Boot Loader Specification is one entry. */
void boot_entries_parse(char *text, struct boot_entries *ret_entries);

/* The value of `name` in a grubenv into ret_value (cut to size); false: it is not set. */
bool boot_environment(const char *grubenv, const char *name, char *ret_value, size_t size);

/* The value of root= in the words of a kernel command line, which is cut up; "" none. */
void boot_root_of(char *words, char *ret_root, size_t size);
