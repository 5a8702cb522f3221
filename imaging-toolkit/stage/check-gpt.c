/* check-gpt - is the GPT whole: CRCs of header and entries, a copy that says the same, a protective
 * MBR before it?
 *
 * On a disk without a GPT there is nothing to ask. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "core/stage.h"
#include "guest/gpt.h"
#include "guest/mbr.h"

#define NO_TABLE  "No valid partitions. Not a valid volume."
#define FROM_COPY "write the table again from its copy: 'sgdisk --load-backup', or gdisk's 'b'"
#define MAKE_COPY "write the copy again: 'sgdisk -e', or gdisk's 'x', 'e', 'w'"
#define WHOLE     "give all of the disk: the image was cut off before the end of its partitions"
#define ANEW      "partition the disk anew, or give another copy of the image"
#define TO_END    "move the copy to the end: 'sgdisk -e'"
#define WRITE_MBR "write a protective MBR: gdisk's 'x', 'n', 'w'"

struct tables {
    uint64_t sectors;
    struct gpt first, copy;
    struct im_error first_fault, copy_fault; /* number 0: it is whole */
    uint64_t copy_at;                        /* sector */
    uint64_t told_at;                        /* where the first header has the copy, true or not */
};

/* Does the first sector of 512 or of 4096 bytes behind the MBR begin like a GPT? */
static int has_signature(struct im_disk *disk, uint64_t offset, bool *ret_has, struct im_error *err)
{
    char word[8];
    int r = 0;

    *ret_has = false;
    if (disk->size < offset + sizeof(word))
        return 0;
    r = im_disk_read(disk, word, sizeof(word), offset, err);
    *ret_has = r == 0 && memcmp(word, "EFI PART", sizeof(word)) == 0;
    return r;
}

/* -EILSEQ of a table is what is to be told, not a failure to look. */
static int read_table(struct im_disk *disk, uint64_t lba, struct gpt *gpt, struct im_error *fault,
                      struct im_error *err)
{
    int r = gpt_read(disk, lba, gpt, fault);

    if (r == 0 || r == -EILSEQ)
        return 0;
    if (err)
        *err = *fault;
    return r;
}

/* Where the header in sector 1 has the copy, whatever else is wrong with it. */
static int read_place(struct im_disk *disk, uint64_t *ret_place, struct im_error *err)
{
    uint8_t place[8];
    int r = im_disk_read(disk, place, sizeof(place), GPT_SECTOR + 32, err);

    if (r == 0)
        *ret_place = im_le64(place);
    return r;
}

/* The copy is where the first header says, or at the end when that cannot be believed. */
static int read_tables(struct im_disk *disk, struct tables *tables, struct im_error *err)
{
    int r = read_table(disk, 1, &tables->first, &tables->first_fault, err);

    if (r == 0)
        r = read_place(disk, &tables->told_at, err);
    tables->copy_at = tables->first_fault.number ? tables->sectors - 1 : tables->first.other;
    if (r == 0)
        r = read_table(disk, tables->copy_at, &tables->copy, &tables->copy_fault, err);
    return r;
}

static bool same(const struct gpt *a, const struct gpt *b)
{
    return a->crc == b->crc && a->count == b->count && a->first == b->first && a->last == b->last &&
           memcmp(a->guid, b->guid, sizeof(a->guid)) == 0;
}

static void judge_first(const struct tables *tables, struct im_report *report)
{
    if (!tables->copy_fault.number)
        im_report_fault(report, "NotBootable", NO_TABLE, FROM_COPY,
                        "The GPT is damaged (%s); its copy in sector %" PRIu64 " is whole",
                        tables->first_fault.message, tables->copy_at);
    else
        im_report_fault(report, "NotBootable", NO_TABLE,
                        tables->told_at >= tables->sectors ? WHOLE : ANEW,
                        "The GPT is damaged (%s), and so is its copy: %s",
                        tables->first_fault.message, tables->copy_fault.message);
}

static void judge_copy(const struct tables *tables, struct im_report *report)
{
    uint64_t end = tables->sectors - 1;

    if (tables->copy_fault.number)
        im_report_warning(report, MAKE_COPY,
                          "the GPT's copy is damaged, or the image was cut off: %s",
                          tables->copy_fault.message);
    else if (!same(&tables->first, &tables->copy))
        im_report_fault(report, "NotBootable", NULL,
                        "decide which of the two is right, and write it again with gdisk",
                        "The GPT in sector 1 has %u partitions and the CRC %08" PRIx32
                        ", its copy in sector %" PRIu64 " has %u and %08" PRIx32
                        ": both are whole, but they differ",
                        tables->first.partitions, tables->first.crc, tables->copy_at,
                        tables->copy.partitions, tables->copy.crc);
    else if (tables->copy_at != end)
        im_report_warning(report, TO_END,
                          "the GPT's copy is in sector %" PRIu64 ", not in the last one, %" PRIu64
                          ": the disk has grown",
                          tables->copy_at, end);
    else
        im_report_okay(report,
                       "%u partitions in the GPT; its copy in sector %" PRIu64 " says the same",
                       tables->first.partitions, tables->copy_at);
}

static void judge_mbr(const struct mbr *mbr, struct im_report *report)
{
    if (mbr_protective(mbr))
        return;
    if (mbr->signature && mbr_partitions(mbr) > 0)
        im_report_warning(report,
                          "if the MBR is right, remove the GPT with 'sgdisk -Z' before "
                          "partitioning again; else " WRITE_MBR,
                          "a GPT stands behind an MBR that names %u partitions of its own and does "
                          "not protect it: firmware goes by the MBR",
                          mbr_partitions(mbr));
    else
        im_report_fault(report, "NotBootable", NO_TABLE, WRITE_MBR,
                        "There is a GPT, but no protective MBR in the first sector");
}

static int judge(struct im_look *look, const struct mbr *mbr, struct im_error *err)
{
    struct tables *tables IM_FREE = calloc(1, sizeof(*tables));
    int r;

    if (!tables)
        return im_fail(err, ENOMEM, "out of memory");
    tables->sectors = look->disk->size / GPT_SECTOR;
    r = read_tables(look->disk, tables, err);
    if (r < 0)
        return r;
    judge_mbr(mbr, look->report);
    if (tables->first_fault.number)
        judge_first(tables, look->report);
    else
        judge_copy(tables, look->report);
    return 0;
}

static int look(const struct im_args *args, struct im_look *look, struct im_error *err)
{
    struct mbr *mbr IM_FREE = calloc(1, sizeof(*mbr));
    bool gpt = false, wide = false;
    int r;

    (void)args;
    if (!mbr)
        return im_fail(err, ENOMEM, "out of memory");
    if (look->disk->size < 2 * GPT_SECTOR) {
        im_report_okay(look->report, "a disk of %" PRIu64 " bytes has no GPT", look->disk->size);
        return 0;
    }
    r = mbr_read(look->disk, mbr, err);
    if (r == 0)
        r = has_signature(look->disk, GPT_SECTOR, &gpt, err);
    if (r == 0 && !gpt)
        r = has_signature(look->disk, 4096, &wide, err);
    if (r < 0)
        return r;
    if (wide)
        im_report_fault(look->report, "NotBootable", NO_TABLE,
                        "make the table anew for sectors of 512 bytes, which volumes have",
                        "The GPT is made for sectors of 4096 bytes");
    else if (gpt || mbr_protective(mbr))
        r = judge(look, mbr, err);
    else
        im_report_okay(look->report, "the disk has no GPT");
    return r;
}

const struct im_stage im_stage_check_gpt = {
    .name = "check-gpt",
    .summary = "the GPT is whole: CRCs, a copy that says the same, a protective MBR",
    .class = IM_VALIDATOR,
    .takes = IM_DISK,
    .gives = IM_DISK,
    .look = look,
};
