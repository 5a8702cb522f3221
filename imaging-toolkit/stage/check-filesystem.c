/* check-filesystem - is what each partition holds recognised, one thing only, clean, and no larger
 * than its place?
 *
 * Superblocks alone are looked at: a file system that is whole there may be damaged elsewhere. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/stage.h"
#include "guest/as-file.h"
#include "guest/guest.h"
#include "stage/fs-size.h"

/* Bytes that say whether a place without a known content is empty. */
#define BLANK_LOOK 65536u

#define FSCK     "run fsck on it, or let the system it came from shut down properly"
#define WIPE     "remove what is not used with wipefs"
#define COMPLETE "give all of the disk, or shrink the file system before its partition"

/* Partitions without a file system, by what firmware and systems use them for. */
static const char *const plain_gpt[] = {
    "21686148-6449-6E6F-744E-656564454649", /* BIOS boot */
    "E3C9E316-0B5C-4DB8-817D-F92DF00215AE", /* Microsoft reserved */
    "9E1A2D38-C612-4316-AA26-8B49521E5A8B", /* PowerPC PReP boot */
    "FE3A2A5D-4F32-41A7-B725-ACCC3285A309", /* ChromeOS kernel */
    NULL,
};

static bool may_be_plain(const struct im_part *part)
{
    for (size_t i = 0; part && plain_gpt[i]; i++)
        if (strcmp(part->gpt_type, plain_gpt[i]) == 0)
            return true;
    return part && (part->mbr_type == 0x41 || part->mbr_type == 0x05 || part->mbr_type == 0x0f ||
                    part->mbr_type == 0x85);
}

static const char *place_of(const struct im_fs *fs, char text[32])
{
    if (fs->part)
        (void)snprintf(text, 32, "partition %u", fs->part->number);
    else
        (void)snprintf(text, 32, "the whole disk");
    return text;
}

static int report_unrecognised(struct im_look *look, const struct im_fs *fs, const char *place,
                               struct im_error *err)
{
    static const uint8_t zeros[4096];
    uint8_t block[4096];

    for (uint64_t at = 0; at < BLANK_LOOK && at + sizeof(block) <= fs->len; at += sizeof(block)) {
        int r = im_disk_read(look->disk, block, sizeof(block), fs->offset + at, err);

        if (r < 0)
            return r;
        if (memcmp(block, zeros, sizeof(block)) == 0)
            continue;
        im_report_warning(look->report, "remove the partition if nothing uses it",
                          "%s holds nothing that is known", place);
        return 0;
    }
    im_report_warning(look->report, "remove the partition, or make a file system in it",
                      "%s is empty", place);
    return 0;
}

static int judge_size(struct im_look *look, const struct im_fs *fs, const char *place,
                      struct im_error *err)
{
    struct fs_size size;
    int r = fs_size_read(look->disk, fs->type, fs->offset, &size, err);

    if (r < 0)
        return r;
    if (size.bytes > fs->len)
        im_report_fault(look->report, "DamagedImage", NULL, COMPLETE,
                        "%s: the %s file system has %" PRIu64 " bytes, its place only %" PRIu64,
                        place, fs->type, size.bytes, fs->len);
    if (size.errors)
        im_report_fault(look->report, "DamagedImage", NULL, FSCK,
                        "%s: the %s file system is marked as having errors", place, fs->type);
    else if (fs->clean == IM_DIRTY)
        im_report_warning(look->report, FSCK, "%s: the %s file system was in use: %s", place,
                          fs->type, fs->dirt);
    else if (size.bytes <= fs->len)
        im_report_okay(look->report, "%s: %s%s%s%s, %" PRIu64 " bytes%s", place, fs->type,
                       *fs->label ? " '" : "", fs->label, *fs->label ? "'" : "", fs->len,
                       fs->clean == IM_CLEAN ? ", clean" : "");
    return 0;
}

static int judge(struct im_look *look, const struct im_fs *fs, struct im_error *err)
{
    char place[32];

    (void)place_of(fs, place);
    if (fs->ambivalent) {
        im_report_fault(look->report, "AmbivalentContent", NULL, WIPE,
                        "%s: several kinds of content claim the place: none of them is read",
                        place);
        return 0;
    }
    if (!*fs->type)
        return may_be_plain(fs->part) ? 0 : report_unrecognised(look, fs, place, err);
    if (strcmp(fs->type, "crypto_LUKS") == 0) {
        im_report_fault(look->report, NULL, NULL, "decrypt the disk before it is imported",
                        "%s is encrypted (LUKS): nobody would be there to give the passphrase",
                        place);
        return 0;
    }
    return judge_size(look, fs, place, err);
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct im_guest *guest;
    int r = im_guest_of(look, &guest, err);

    (void)args;
    if (r == 0 && guest->fs_count == 0)
        im_report_fault(look->report, NULL, NULL, "give a disk with a system on it",
                        "No file system was found on the disk");
    for (unsigned i = 0; r == 0 && i < guest->fs_count; i++)
        r = judge(look, &guest->fs[i], err);
    return r;
}

const struct im_stage im_stage_check_filesystem = {
    .name = "check-filesystem",
    .summary = "what partitions hold is recognised, clean, and fits its place",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
