/* report - what validators found on a disk: severity, evidence, cure. */

#include <config.h>

#include "core/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"

static unsigned of_this_rule(const struct im_report *report)
{
    unsigned count = 0;

    for (unsigned i = 0; report->rule && i < report->count; i++)
        count += report->finding[i].rule && strcmp(report->finding[i].rule, report->rule) == 0;
    return count;
}

static void __attribute__((format(printf, 3, 0)))
add(struct im_report *report, struct im_finding finding, const char *evidence, va_list words)
{
    char text[sizeof(finding.evidence)];
    unsigned room = finding.severity == IM_FAULT ? IM_REPORT_MAX : IM_REPORT_MAX - 1;
    unsigned most = finding.severity == IM_FAULT ? IM_REPORT_FAULT_MAX : IM_REPORT_RULE_MAX;

    if (report->count >= room || of_this_rule(report) >= most)
        return;
    finding.rule = report->rule;
    (void)vsnprintf(text, sizeof(text), evidence, words);
    (void)im_text_printable(finding.evidence, sizeof(finding.evidence), text);
    report->finding[report->count++] = finding;
}

void im_report_okay(struct im_report *report, const char *evidence, ...)
{
    va_list words;

    va_start(words, evidence);
    add(report, (struct im_finding){ .severity = IM_OKAY }, evidence, words);
    va_end(words);
}

void im_report_unknown(struct im_report *report, const char *evidence, ...)
{
    va_list words;

    va_start(words, evidence);
    add(report, (struct im_finding){ .severity = IM_UNKNOWN }, evidence, words);
    va_end(words);
}

void im_report_warning(struct im_report *report, const char *cure, const char *evidence, ...)
{
    va_list words;

    va_start(words, evidence);
    add(report, (struct im_finding){ .severity = IM_WARNING, .cure = cure }, evidence, words);
    va_end(words);
}

void im_report_fault(struct im_report *report, const char *code, const char *aws, const char *cure,
                     const char *evidence, ...)
{
    const struct im_finding finding = {
        .severity = IM_FAULT, .code = code, .aws = aws, .cure = cure
    };
    va_list words;

    va_start(words, evidence);
    add(report, finding, evidence, words);
    va_end(words);
}

const struct im_finding *im_report_first_fault(const struct im_report *report, const char *rule)
{
    for (unsigned i = 0; i < report->count; i++) {
        const struct im_finding *finding = &report->finding[i];

        if (finding->severity == IM_FAULT && (!rule || strcmp(finding->rule, rule) == 0))
            return finding;
    }
    return NULL;
}

int im_finding_fail(const struct im_finding *finding, struct im_error *err)
{
    return im_fail_code(err, EOPNOTSUPP, finding->code ? finding->code : "CheckFailed",
                        "%s%s%s%s%s", finding->aws ? finding->aws : "", finding->aws ? " " : "",
                        finding->evidence, finding->cure ? "; " : "",
                        finding->cure ? finding->cure : "");
}

const char *im_severity_name(enum im_severity severity)
{
    static const char *const names[] = {
        [IM_OKAY] = "ok", [IM_UNKNOWN] = "unknown", [IM_WARNING] = "warning", [IM_FAULT] = "error"
    };

    return names[severity];
}

static json_t *finding_json(const struct im_finding *finding)
{
    return json_pack("{s:s, s:s, s:s, s:s*, s:s*, s:s*}", "rule", finding->rule, "severity",
                     im_severity_name(finding->severity), "evidence", finding->evidence, "cure",
                     finding->cure, "code", finding->code, "aws", finding->aws);
}

json_t *im_report_json(const struct im_report *report)
{
    json_t *list = json_array();

    for (unsigned i = 0; list && i < report->count; i++)
        if (json_array_append_new(list, finding_json(&report->finding[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}
