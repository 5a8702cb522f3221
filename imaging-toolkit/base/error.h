/* error - the one way a failure is told: a code for programs, a sentence for people. */
#pragma once

/* Longest sentence kept; longer ones are cut. */
#define IM_ERROR_MAX 512

/* Filled by whoever finds the fault, read once at the top. */
struct im_error {
    int number;                 /* positive errno value of the failure; 0 when there is none */
    const char *code;           /* stable word, static storage: "DamagedImage", "NoSpace" … */
    char message[IM_ERROR_MAX]; /* what, the offending value, what to do; never a secret */
};

/* Exit statuses of imaging-toolkit; they are part of its interface and never renumbered. */
enum im_status {
    IM_OK = 0,
    IM_FAILED = 1,
    IM_USAGE = 2,
    IM_INPUT_MISSING = 3,
    IM_INVALID_IMAGE = 4,
    IM_NO_SPACE = 5,
    IM_TRANSIENT = 6,
    IM_DEPENDENCY_MISSING = 7,
    IM_MISMATCH = 8,
    IM_CANCELLED = 130,
};

/* Record a failure and return -number, so that a function can end with
 * "return im_fail(err, EBADMSG, "grain %u …", n)".  The code is the default
 * one of that errno (see the table in error.c).  err may be NULL. */
int im_fail(struct im_error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with a stable code of the caller's (a string literal, CamelCase). */
int im_fail_code(struct im_error *err, int number, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same, with ": " and the text of `number` appended: "cannot open 'x': No such file". */
int im_fail_errno(struct im_error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "text: " in front of the sentence already in err. */
void im_error_prefix(struct im_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The exit status that belongs to err (IM_OK when err->number is 0). */
enum im_status im_error_status(const struct im_error *err);

/* Print "PROGRAM: error: sentence" as one line on standard error, control characters made visible.
 */
void im_error_print(const char *program, const struct im_error *err);
