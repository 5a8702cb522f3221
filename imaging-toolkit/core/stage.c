/* stage - find one, ask whether it can work here, run it as required or as optional. */

#include <config.h>

#include "core/stage.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "core/need.h"
#include "core/registry.h"

const struct im_stage *im_stage_find(const char *name)
{
    for (size_t i = 0; im_stages[i]; i++)
        if (strcmp(im_stages[i]->name, name) == 0)
            return im_stages[i];
    return NULL;
}

void im_look_done(struct im_look *look)
{
    if (look->guest)
        look->guest_free(look->guest);
    look->guest = NULL;
    if (look->copy)
        look->copy_free(look->copy);
    look->copy = NULL;
}

int im_stage_available(const struct im_stage *stage, struct im_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && stage->needs && stage->needs[i]; i++)
        r = im_need_check(stage->needs[i], err);
    return r;
}

const char *im_class_name(enum im_class class)
{
    static const char *const names[] = { [IM_TRANSFER] = "transfer",
                                         [IM_BUNDLER] = "bundler",
                                         [IM_CONVERTER] = "converter",
                                         [IM_LAYOUT] = "layout",
                                         [IM_VALIDATOR] = "validator" };

    return names[class];
}

const char *im_flow_name(enum im_flow flow)
{
    return flow == IM_NOTHING ? "nothing" : flow == IM_BYTES ? "bytes" : "disk";
}

int im_stage_accepts(const struct im_stage *stage, const struct im_args *args,
                     const struct im_context *context, const struct im_input *input,
                     struct im_error *err)
{
    struct im_error local = { 0 }; /* it may find out by failing that it need not mind */
    int r = stage->accepts ? stage->accepts(args, context, input, &local) : 0;

    if (r < 0 && err)
        *err = local;
    return r;
}

/* Everything it needs is here, and it accepts what it is given. */
static int check_ready(const struct im_stage *stage, const struct im_args *args,
                       const struct im_context *context, struct im_source *source,
                       struct im_disk *disk, struct im_error *err)
{
    const struct im_input input = { .source = source, .disk = disk };
    int r = im_stage_available(stage, err);

    return r < 0 ? r : im_stage_accepts(stage, args, context, &input, err);
}

int im_stage_open(const struct im_stage *stage, const struct im_args *args,
                  const struct im_context *context, struct im_source **ret_source,
                  struct im_error *err)
{
    int r = check_ready(stage, args, context, NULL, NULL, err);

    return r < 0 ? r : stage->open(args, context, ret_source, err);
}

int im_stage_wrap(const struct im_stage *stage, const struct im_args *args,
                  const struct im_context *context, struct im_source **source, struct im_error *err)
{
    int r = check_ready(stage, args, context, *source, NULL, err);

    return r < 0 ? r : stage->wrap(args, context, source, err);
}

int im_stage_sink(const struct im_stage *stage, const struct im_args *args,
                  const struct im_context *context, uint64_t size, struct im_store **ret_store,
                  struct im_error *err)
{
    int r = im_stage_available(stage, err);

    return r < 0 ? r : stage->sink(args, context, size, ret_store, err);
}

int im_stage_apply(const struct im_stage *stage, const struct im_args *args, bool optional,
                   const struct im_context *context, struct im_disk **disk,
                   struct im_report *report, struct im_error *err)
{
    struct im_error local = { 0 };
    int r = check_ready(stage, args, context, NULL, *disk, &local);

    if (r == 0)
        r = stage->apply(args, context, disk, &local);
    if (r < 0 && optional && r != -ECANCELED) {
        report->rule = stage->name;
        im_report_warning(report, NULL, "not done: %s", local.message);
        return 0;
    }
    if (r < 0 && err)
        *err = local;
    return r;
}

/* What it found from `first` on is no reason to stop. */
static void make_warnings(struct im_report *report, unsigned first)
{
    for (unsigned i = first; i < report->count; i++)
        if (report->finding[i].severity == IM_FAULT)
            report->finding[i].severity = IM_WARNING;
}

int im_stage_look(const struct im_stage *stage, const struct im_args *args, bool optional,
                  struct im_look *look, struct im_error *err)
{
    struct im_report *report = look->report;
    const struct im_finding *fault;
    struct im_error local = { 0 };
    unsigned first = report->count;
    int r = check_ready(stage, args, look->context, NULL, look->disk, &local);

    report->rule = stage->name;
    if (r == 0)
        r = stage->look(args, look, &local);
    if (r < 0 && optional && r != -ECANCELED) {
        im_report_unknown(report, "%s", local.message);
        r = 0;
    }
    if (optional)
        make_warnings(report, first);
    if (r < 0 && err)
        *err = local;
    fault = r == 0 && !optional ? im_report_first_fault(report, stage->name) : NULL;
    return fault ? im_finding_fail(fault, err) : r;
}

struct file_disk {
    struct im_disk disk;
    int fd;
};

static int file_disk_read(struct im_disk *disk, void *buf, size_t len, uint64_t offset,
                          struct im_error *err)
{
    ssize_t n = im_pread(((const struct file_disk *)disk)->fd, buf, len, offset);

    if (n < 0)
        return im_fail_code(err, EIO, "ReadFailed",
                            "cannot read back %zu bytes at offset %" PRIu64 ": %s", len, offset,
                            strerrordesc_np((int)-n));
    memset((char *)buf + n, 0, len - (size_t)n);
    return 0;
}

static const struct im_disk_ops file_disk_ops = { .name = "file", .read = file_disk_read };

struct im_disk *im_disk_of_file(int fd, uint64_t size)
{
    struct file_disk *file = im_disk_new(sizeof(*file), &file_disk_ops, size, NULL);

    if (file)
        file->fd = fd;
    return file ? &file->disk : NULL;
}
