/* check - let a set of validators look at one disk; see check.h. */

#include <config.h>

#include "core/check.h"

#include <errno.h>
#include <string.h>

#include "core/cancel.h"
#include "core/registry.h"

static struct im_check_rule *find(struct im_check *check, const char *name)
{
    for (unsigned i = 0; i < check->count; i++)
        if (strcmp(check->rule[i].stage->name, name) == 0)
            return &check->rule[i];
    return NULL;
}

static void add(struct im_check *check, const struct im_stage *stage)
{
    check->rule[check->count++] =
        (struct im_check_rule){ .stage = stage, .optional = stage->optional };
}

static const struct im_stage *validator(const char *name, struct im_error *err)
{
    const struct im_stage *stage = im_stage_find(name);

    if (stage && stage->look)
        return stage;
    (void)im_fail(err, EINVAL, "there is no validator '%s'; see 'imaging-toolkit stages'", name);
    return NULL;
}

void im_check_all(struct im_check *check)
{
    for (size_t i = 0; im_stages[i]; i++) {
        const struct im_stage *stage = im_stages[i];
        struct im_args none = { 0 };

        if (stage->look && check->count < IM_CHECK_RULES_MAX && !find(check, stage->name) &&
            strcmp(stage->name, IM_CHECK_DYNAMIC) != 0 &&
            im_args_complete(&none, stage->name, stage->params, NULL) == 0)
            add(check, stage);
    }
}

int im_check_add(struct im_check *check, const char *name, struct im_check_rule **ret_rule,
                 struct im_error *err)
{
    struct im_check_rule *rule = find(check, name);

    if (!rule) {
        const struct im_stage *stage = validator(name, err);

        if (!stage)
            return -EINVAL;
        if (check->count == IM_CHECK_RULES_MAX)
            return im_fail(err, EINVAL, "more than %d validators", IM_CHECK_RULES_MAX);
        add(check, stage);
        rule = &check->rule[check->count - 1];
    }
    if (ret_rule)
        *ret_rule = rule;
    return 0;
}

int im_check_remove(struct im_check *check, const char *name, struct im_error *err)
{
    struct im_check_rule *rule = find(check, name);
    size_t behind;

    if (!validator(name, err))
        return -EINVAL;
    if (!rule)
        return 0;
    im_args_done(&rule->args);
    behind = check->count - (size_t)(rule - check->rule) - 1;
    memmove(rule, rule + 1, behind * sizeof(*rule));
    check->count--;
    return 0;
}

/* It found nothing at all: that is said, so that silence means nothing. */
static void conclude(struct im_check_rule *rule, struct im_report *report, unsigned first)
{
    if (report->count == first)
        im_report_okay(report, "nothing to complain of");
    rule->worst = IM_OKAY;
    for (unsigned i = first; i < report->count; i++)
        if (report->finding[i].severity > rule->worst)
            rule->worst = report->finding[i].severity;
}

/* What keeps one rule from looking is told, and the others look; but of an image whose data is
 * damaged where a required rule reads it nothing can be said that holds. */
static int look(struct im_check_rule *rule, struct im_look *look, struct im_error *err)
{
    struct im_report *report = look->report;
    struct im_error local = { 0 };
    unsigned first = report->count;
    int r = im_stage_look(rule->stage, &rule->args, rule->optional, look, &local);
    bool untold = r < 0 && !im_report_first_fault(report, rule->stage->name);

    if (r == -ECANCELED || (untold && im_error_status(&local) == IM_INVALID_IMAGE)) {
        if (err)
            *err = local;
        return r;
    }
    if (untold)
        im_report_unknown(report, "%s", local.message);
    conclude(rule, report, first);
    return 0;
}

/* The required ones first: whatever the others find, there is room for their faults. */
int im_check_run(struct im_check *check, struct im_disk *disk, int fd,
                 const struct im_context *context, struct im_report *report, struct im_error *err)
{
    struct im_look shared = { .disk = disk, .fd = fd, .context = context, .report = report };
    int r = 0;

    for (unsigned pass = 0; r == 0 && pass < 2; pass++)
        for (unsigned i = 0; r == 0 && i < check->count; i++)
            if (check->rule[i].optional == (pass == 1)) {
                r = im_cancel_check(err);
                if (r == 0)
                    r = look(&check->rule[i], &shared, err);
            }
    im_look_done(&shared);
    return r;
}

unsigned im_check_count(const struct im_report *report, enum im_severity severity)
{
    unsigned count = 0;

    for (unsigned i = 0; i < report->count; i++)
        count += report->finding[i].severity == severity;
    return count;
}

void im_check_done(struct im_check *check)
{
    for (unsigned i = 0; i < check->count; i++)
        im_args_done(&check->rule[i].args);
    check->count = 0;
}
