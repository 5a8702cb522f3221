/* check-partition-table - is the MBR sane: entries inside the disk, beside each other, at most one
 * active, an extended chain that ends?
 *
 * What a GPT says in its own tables is the matter of check-gpt; whether anything boots, of
 * check-boot-code. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "core/stage.h"
#include "guest/as-file.h"
#include "guest/guest.h"
#include "guest/mbr.h"

#define NO_TABLE "No valid partitions. Not a valid volume."
#define REWRITE  "write the partition table anew, for example with sfdisk"
#define ALIGN    "move the partition to a multiple of 1 MiB"

/* Sectors of 4 KiB: what starts elsewhere makes every write a read and a write. */
#define GOOD_ALIGNMENT 8u

static bool taken(const struct mbr_entry *entry)
{
    return entry->type != 0 && entry->type != MBR_PROTECTS;
}

/* An extended partition holds its logical ones; all others are beside each other. */
static bool in_the_way(const struct mbr_entry *a, const struct mbr_entry *b)
{
    bool holds = (mbr_is_extended(a->type) && b->number > MBR_PRIMARY) ||
                 (mbr_is_extended(b->type) && a->number > MBR_PRIMARY);

    return !holds && a->first < b->first + b->count && b->first < a->first + a->count;
}

static unsigned judge_entry(const struct mbr_entry *entry, uint64_t sectors,
                            struct im_report *report)
{
    if (entry->status != 0 && entry->status != MBR_ACTIVE) {
        im_report_fault(report, "NotBootable", NO_TABLE, REWRITE,
                        "Entry %u of the MBR has the status 0x%02x, neither 00 nor 80",
                        entry->number, entry->status);
        return 1;
    }
    if (!taken(entry))
        return 0;
    if (entry->first == 0 || entry->count == 0 || entry->first + entry->count > sectors) {
        im_report_fault(report, "NotBootable", NO_TABLE, "give all of the disk, or " REWRITE,
                        "Partition %u has %" PRIu64 " sectors from sector %" PRIu64
                        " on, of a disk of %" PRIu64,
                        entry->number, entry->count, entry->first, sectors);
        return 1;
    }
    if (!mbr_is_extended(entry->type) && entry->first % GOOD_ALIGNMENT != 0)
        im_report_warning(report, ALIGN,
                          "partition %u begins in sector %" PRIu64
                          ", inside a block of 4096 bytes: it will be slow",
                          entry->number, entry->first);
    return 0;
}

static unsigned judge_together(const struct mbr *mbr, struct im_report *report)
{
    const struct mbr_entry *active = mbr_active(mbr);
    unsigned faults = 0, extended = 0;

    for (unsigned i = 0; i < MBR_PRIMARY; i++) {
        const struct mbr_entry *entry = &mbr->entry[i];

        extended += mbr_is_extended(entry->type);
        if (!active || entry == active || !entry->type || entry->status != MBR_ACTIVE)
            continue;
        im_report_fault(report, "NotBootable", NULL, "leave one of them active",
                        "Partitions %u and %u are both active", active->number, entry->number);
        faults++;
    }
    if (extended > 1) {
        im_report_fault(report, "NotBootable", NULL, REWRITE,
                        "The MBR has %u extended partitions; there can be one", extended);
        faults++;
    }
    return faults;
}

static unsigned judge_overlaps(const struct mbr *mbr, struct im_report *report)
{
    unsigned faults = 0;

    for (unsigned i = 0; i < mbr->count; i++)
        for (unsigned j = i + 1; j < mbr->count; j++) {
            const struct mbr_entry *a = &mbr->entry[i], *b = &mbr->entry[j];

            if (!taken(a) || !taken(b) || !in_the_way(a, b) || faults > MBR_PRIMARY)
                continue;
            im_report_fault(report, "NotBootable", NO_TABLE, REWRITE,
                            "Partitions %u and %u overlap: %" PRIu64 " sectors from %" PRIu64
                            ", %" PRIu64 " from %" PRIu64,
                            a->number, b->number, a->count, a->first, b->count, b->first);
            faults++;
        }
    return faults;
}

static unsigned judge_chain(const struct mbr *mbr, struct im_report *report)
{
    static const char *const wrong[] = {
        [MBR_CHAIN_OUTSIDE] = "leads out of it",
        [MBR_CHAIN_LOOPS] = "leads back",
        [MBR_CHAIN_NO_SIGN] = "leads to a sector without 55 aa",
        [MBR_CHAIN_LONG] = "is more than partitions are followed",
    };

    if (mbr->end == MBR_CHAIN_ENDS)
        return 0;
    im_report_fault(report, "NotBootable", NO_TABLE, REWRITE,
                    "The chain of the extended partition %s, at sector %" PRIu64, wrong[mbr->end],
                    mbr->end_at);
    return 1;
}

/* No 55 aa, or nothing behind it: what does it hold instead? */
static void report_no_table(struct im_look *look, const char *what)
{
    struct im_guest *guest = NULL;
    const char *holds = "";

    if (im_guest_of(look, &guest, NULL) == 0 && guest->table == IM_TABLE_NONE &&
        guest->fs_count == 1)
        holds = guest->fs[0].type;
    if (*holds)
        im_report_fault(
            look->report, "NotBootable", NO_TABLE,
            "make a disk of it with the stage disk-from-partition, or give a whole disk",
            "The disk holds %s in place of a partition table", holds);
    else
        im_report_fault(look->report, "NotBootable", NO_TABLE,
                        "give a whole disk, with its partition table", "%s", what);
}

static void judge(const struct mbr *mbr, struct im_look *look)
{
    uint64_t sectors = look->disk->size / MBR_SECTOR;
    unsigned partitions = mbr_partitions(mbr);
    unsigned faults = 0;

    if (!mbr->signature || (partitions == 0 && !mbr_protective(mbr))) {
        report_no_table(look, mbr->signature ? "The MBR names no partition"
                                             : "The first sector does not end in 55 aa");
        return;
    }
    for (unsigned i = 0; i < mbr->count; i++)
        faults += judge_entry(&mbr->entry[i], sectors, look->report);
    faults += judge_together(mbr, look->report) + judge_overlaps(mbr, look->report) +
              judge_chain(mbr, look->report);
    if (mbr_protective(mbr) && partitions > 0)
        im_report_warning(look->report, "keep the GPT and write a protective MBR alone",
                          "the MBR names %u partitions beside the GPT it stands for", partitions);
    if (faults == 0)
        im_report_okay(look->report, "%u partitions in the MBR%s, all inside %" PRIu64 " sectors",
                       partitions, mbr_protective(mbr) ? " beside a GPT" : "", sectors);
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct mbr *mbr IM_FREE = calloc(1, sizeof(*mbr));
    int r;

    (void)args;
    if (!mbr)
        return im_fail(err, ENOMEM, "out of memory");
    if (look->disk->size < MBR_SECTOR) {
        im_report_fault(look->report, "NotBootable", NO_TABLE, "give a whole disk",
                        "The disk has only %" PRIu64 " bytes", look->disk->size);
        return 0;
    }
    r = mbr_read(look->disk, mbr, err);
    if (r == 0)
        judge(mbr, look);
    return r;
}

const struct im_stage im_stage_check_partition_table = {
    .name = "check-partition-table",
    .summary = "the MBR is sane: inside the disk, no overlap, one active, a chain that ends",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .required_capacity = im_look_capacity,
    .uses = im_guest_uses,
    .look = look,
};
