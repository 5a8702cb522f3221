/* os - which operating system a guest is, from its files.  What its files do not tell is unknown:
 * nothing is guessed. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "guest/guest.h"

#define IM_OS_KERNELS_MAX 32
#define IM_OS_USERS_MAX   64
#define IM_OS_UNKNOWN     "unknown"

enum im_known { IM_UNSURE, IM_NO, IM_YES };

/* A kernel that lies in /boot. */
struct im_kernel {
    char version[128];   /* of the file's name: "6.1.0-18-amd64"; "" it has none */
    char path[320];      /* "/boot/vmlinuz-6.1.0-18-amd64" */
    char initramfs[320]; /* the one of this version, or "" */
};

struct im_user {
    char name[64];
    bool empty; /* no password is asked for; else there is the hash of one */
};

/* Texts are printable, and "unknown" where nothing tells. */
struct im_os {
    char family[16];       /* "linux", "windows" */
    char distribution[64]; /* as os-release's ID: "debian", "rhel"; "windows" */
    char name[128];        /* "Debian GNU/Linux 12 (bookworm)" */
    char version[64];      /* "12", "10.0.20348" */
    char arch[16];         /* "x86_64", "i386", "aarch64" … */
    bool kernels_known;    /* /boot was read */
    unsigned kernel_count;
    struct im_kernel kernel[IM_OS_KERNELS_MAX];
    bool users_known; /* the names of users that have a password; never more of it */
    unsigned user_count;
    struct im_user user[IM_OS_USERS_MAX];
    enum im_known cloud_init;         /* is it installed (Windows: cloudbase-init, EC2Launch) */
    enum im_known cloud_init_enabled; /* is nothing there that disables it */
    char datasources[256];            /* of cloud-init, "Ec2, None"; "unknown": it finds out */
    char unread[256];                 /* why something is unknown: a missing library; or "" */
};

/* Is the second field of passwd(5) or shadow(5) the hash of a password?  crypt(5): it begins with
 * '$', or '_', or is the 13 letters of the oldest kind; what begins with '!' or '*' fits no
 * password, and "x" in passwd means shadow. */
bool im_os_is_hash(const char *field);

/* The version in the name of a file in /boot: "" it has none, NULL: this is no kernel. */
const char *im_kernel_version(const char *name);

/* What the initramfs of a kernel of this version may be called, the likeliest with number 0; false
 * when there are no more ways. */
bool im_kernel_ramdisk(const char *version, unsigned way, char *ret_name, size_t size);

/* Fill in what the guest's files tell.  A guest without an operating system, or one that cannot be
 * read, is no error.  Errors: -ENOMEM, -ECANCELED, -EIO, -ENOSPC. */
int im_os_of(struct im_guest *guest, struct im_os *ret_os, struct im_error *err);
