/* error - failures as a code and a sentence. */

#include <config.h>

#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

/* What an errno value means to the user: which exit status, which stable code.
 * A value that is not listed is a plain failure. */
static const struct meaning {
    int number;
    enum im_status status;
    const char *code;
} meanings[] = {
    { EBADMSG, IM_INVALID_IMAGE, "DamagedImage" },
    { EOPNOTSUPP, IM_INVALID_IMAGE, "UnsupportedImage" },
    { EFBIG, IM_NO_SPACE, "TooLarge" },
    { ENOSPC, IM_NO_SPACE, "NoSpace" },
    { EDQUOT, IM_NO_SPACE, "NoSpace" },
    { ENOENT, IM_INPUT_MISSING, "NotFound" },
    { ENOTDIR, IM_INPUT_MISSING, "NotFound" },
    { EISDIR, IM_INPUT_MISSING, "NotAFile" },
    { EACCES, IM_INPUT_MISSING, "AccessDenied" },
    { EPERM, IM_INPUT_MISSING, "AccessDenied" },
    { ELOOP, IM_INPUT_MISSING, "NotFound" },
    { EAGAIN, IM_TRANSIENT, "TryAgain" },
    { ETIMEDOUT, IM_TRANSIENT, "TimedOut" },
    { ECONNREFUSED, IM_TRANSIENT, "ConnectionFailed" },
    { ECONNRESET, IM_TRANSIENT, "ConnectionFailed" },
    { EHOSTUNREACH, IM_TRANSIENT, "ConnectionFailed" },
    { ENOPKG, IM_DEPENDENCY_MISSING, "DependencyMissing" },
    { EKEYREJECTED, IM_MISMATCH, "VerificationFailed" },
    { EINVAL, IM_USAGE, "InvalidArgument" },
    { ECANCELED, IM_CANCELLED, "Cancelled" },
    { ENOMEM, IM_FAILED, "OutOfMemory" },
};

static const struct meaning *meaning_of(int number)
{
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (meanings[i].number == number)
            return &meanings[i];
    return NULL;
}

/* A status that blames what was given. */
static bool blames(const struct meaning *meaning)
{
    return meaning && meaning->status >= IM_USAGE && meaning->status != IM_NO_SPACE &&
           meaning->status != IM_TRANSIENT && meaning->status != IM_CANCELLED;
}

/* The number of the failure. */
static int set(struct im_error *err, int number, const char *code, const char *format, va_list args)
{
    const struct meaning *meaning = meaning_of(number);
    char message[IM_ERROR_MAX]; /* the arguments may point into the sentence that is replaced */
    bool judged = !blames(meaning) || !im_memory_lost();

    if (err && (number == ENOMEM || !judged))
        im_memory_told();
    if (!judged) {
        number = ENOMEM;
        meaning = meaning_of(number);
        code = NULL;
    }
    if (!err)
        return number;
    if (judged)
        (void)vsnprintf(message, sizeof(message), format, args);
    else
        (void)snprintf(message, sizeof(message), "out of memory");
    err->number = number;
    err->code = code ? code : meaning ? meaning->code : "Failed";
    memcpy(err->message, message, strlen(message) + 1);
    return number;
}

int im_error_set(struct im_error *err, int number, const char *code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    number = set(err, number, code, format, args);
    va_end(args);
    return number;
}

int im_error_set_errno(struct im_error *err, int number, const char *format, ...)
{
    va_list args;
    size_t len;

    va_start(args, format);
    number = set(err, number, NULL, format, args);
    va_end(args);
    if (err) {
        len = strlen(err->message);
        (void)snprintf(err->message + len, sizeof(err->message) - len, ": %s",
                       strerrordesc_np(number) ? strerrordesc_np(number) : "unknown error");
    }
    return number;
}

void im_error_prefix(struct im_error *err, const char *format, ...)
{
    char message[2 * IM_ERROR_MAX + 2]; /* prefix and sentence whole, before the cut */
    va_list args;
    size_t len;

    if (!err)
        return;
    va_start(args, format);
    (void)vsnprintf(message, IM_ERROR_MAX, format, args);
    va_end(args);
    len = strlen(message);
    (void)snprintf(message + len, sizeof(message) - len, ": %s", err->message);
    message[IM_ERROR_MAX - 1] = '\0';
    memcpy(err->message, message, IM_ERROR_MAX);
}

enum im_status im_error_status(const struct im_error *err)
{
    const struct meaning *meaning;

    if (err->number == 0)
        return IM_OK;
    meaning = meaning_of(err->number);
    return meaning ? meaning->status : IM_FAILED;
}

void im_error_print(const char *program, const struct im_error *err)
{
    char line[IM_ERROR_MAX];

    im_text_printable(line, sizeof(line), err->message);
    fprintf(stderr, "%s: error: %s\n", program, line);
}
