/* error - the one way a failure is told: a code for programs, a sentence for people. */
#pragma once

#include <errno.h>
#include <stddef.h>

/* Longest sentence kept; longer ones are cut.  A server's refusal with an encoded message has more
 * than 1000 bytes, and so have two paths or keys; the advice is at the end. */
#define IM_ERROR_MAX 2048

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
 * one of that errno (see the table in error.c).  err may be NULL.
 * What blames the input (EBADMSG, EINVAL …) is told as -ENOMEM when a library found no memory in
 * this thread before (base/memory.h): what it did not read cannot be judged. */
#define im_fail(err, number, ...) im_fail_code(err, number, NULL, __VA_ARGS__)

/* The same with a stable code of the caller's (a string literal, CamelCase). */
#define im_fail_code(err, number, code, ...)                                                       \
    im_failed(number, im_error_set(err, im_number, code, __VA_ARGS__))

/* The same, with ": " and the text of `number` appended: "cannot open 'x': No such file". */
#define im_fail_errno(err, number, ...)                                                            \
    im_failed(number, im_error_set_errno(err, im_number, __VA_ARGS__))

/* The failure of an allocation: -ENOMEM. */
#define im_fail_memory(err) im_fail(err, ENOMEM, "out of memory")

/* What they share: here, so that compilers and analyzers see that what comes back is below 0.  A
 * library that failed may have left errno at 0: that is EIO, never success. */
#define im_failed(number, set)                                                                     \
    ({                                                                                             \
        int im_given = number;                                                                     \
        int im_number = im_given > 0 ? im_given : EIO;                                             \
        set == ENOMEM ? -ENOMEM : -im_number;                                                      \
    })
int im_error_set(struct im_error *err, int number, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int im_error_set_errno(struct im_error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "text: " in front of the sentence already in err. */
void im_error_prefix(struct im_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The exit status that belongs to err (IM_OK when err->number is 0). */
enum im_status im_error_status(const struct im_error *err);

/* Print "PROGRAM: error: sentence" as one line on standard error, control characters made visible.
 */
void im_error_print(const char *program, const struct im_error *err);
