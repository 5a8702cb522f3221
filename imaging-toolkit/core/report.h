/* report - what validators found on a disk: severity, evidence, cure. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* Findings of one validator that are kept: nobody reads more of them, and none must leave too
 * little room for the others.  Of faults the second number. */
#define IM_REPORT_RULE_MAX  24
#define IM_REPORT_FAULT_MAX 32
/* Findings kept in all: of a score of validators. */
#define IM_REPORT_MAX 512

enum im_severity {
    IM_OKAY,    /* looked at and in order; told so that silence means nothing */
    IM_UNKNOWN, /* could not be looked at: a tool is missing, a file system nobody reads */
    IM_WARNING, /* it will work, or may */
    IM_FAULT,   /* it will not work, or must not be taken */
};

struct im_finding {
    enum im_severity severity;
    const char *rule; /* the stage's name, static */
    const char *code; /* of a fault, static: "NotBootable"; NULL: "CheckFailed" */
    const char *aws;  /* AWS's sentence for it, static ("No bootable partition found."); or NULL */
    char evidence[384]; /* what, where, with the offending value */
    const char *cure;   /* what to do, static; NULL: nothing is to be done */
};

struct im_report {
    const char *boot_mode; /* "legacy-bios" or "uefi", static; NULL: nobody looked */
    unsigned count;
    struct im_finding finding[IM_REPORT_MAX];
    const char *rule; /* of the validator that looks now; set by the core */
};

/* Add a finding of the validator that looks now; the last place is kept for faults.  The evidence
 * is made printable. */
void im_report_okay(struct im_report *report, const char *evidence, ...)
    __attribute__((format(printf, 2, 3)));
void im_report_unknown(struct im_report *report, const char *evidence, ...)
    __attribute__((format(printf, 2, 3)));
void im_report_warning(struct im_report *report, const char *cure, const char *evidence, ...)
    __attribute__((format(printf, 3, 4)));
/* code and aws may be NULL. */
void im_report_fault(struct im_report *report, const char *code, const char *aws, const char *cure,
                     const char *evidence, ...) __attribute__((format(printf, 5, 6)));

/* The first fault of `rule` (NULL: of any), or NULL. */
const struct im_finding *im_report_first_fault(const struct im_report *report, const char *rule);

/* The failure a finding is where its validator is required: "AWS's sentence. Evidence; cure",
 * -EOPNOTSUPP with its code. */
int im_finding_fail(const struct im_finding *finding, struct im_error *err);

/* "ok", "unknown", "warning", "error". */
const char *im_severity_name(enum im_severity severity);

/* The findings as a new jansson list; NULL when out of memory. */
struct json_t *im_report_json(const struct im_report *report);
