/* message - from the toolkit's codes to AWS's wording. */

#include <config.h>

#include "dispatch/message.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define VMDK   "Disk validation failed [Unsupported VMDK File Format]"
#define VHD    "Disk validation failed [Unsupported VHD File Format]"
#define FORMAT "Disk validation failed [Unsupported specified file format]"
#define DENIED                                                                                     \
    "Disk validation failed [We do not have access to the given resource. Reason 403 Forbidden]"
#define GRAIN  "Uncompressed data has an invalid length"
#define FOOTER "Footers not identical"
/* not AWS's */
#define UNREAD  "The upload cannot be read"
#define CHANGED "The upload is not what its manifest says"
/* The toolkit's sentence has the address: what this machine's name service knows is none of the
 * customers' business. */
#define NOT_ALLOWED "AddressNotAllowed"
#define ELSEWHERE   "its manifest or a part is at an address that this service does not connect to"

/* Codes that are the client's doing, whatever the exit status.  A code that is not here is judged
 * by the exit status. */
static const struct wording {
    const char *code;
    const char *words; /* AWS's, or ours where AWS has none; "" when the sentence says it all */
} wordings[] = {
    { "UnsupportedVmdk", VMDK },
    { "DamagedVmdk", VMDK },
    { "DamagedGrain", VMDK },
    { "GrainLength", GRAIN },
    { "UnsupportedVhd", VHD },
    { "DamagedVhd", VHD },
    { "FootersNotIdentical", FOOTER },
    { "FormatMismatch", FORMAT },
    { "InvalidManifest", "Invalid import manifest" },
    { "AccessDenied", DENIED },
    { "UrlNotAllowed", UNREAD },
    { NOT_ALLOWED, UNREAD },
    { "DamagedPart", CHANGED },
    { "TooLarge", "" },
    { "NotBootable", "" },
    /* still so after all attempts: the URL is the client's choice */
    { "ConnectionFailed", UNREAD },
    { "TimedOut", UNREAD },
    { "StoreAway", UNREAD },
    { "UntrustedCertificate", UNREAD },
};
#define WORDINGS (sizeof(wordings) / sizeof(wordings[0]))

static const char *words_of_code(const char *code)
{
    for (size_t i = 0; i < WORDINGS; i++)
        if (strcmp(code, wordings[i].code) == 0)
            return wordings[i].words;
    return NULL;
}

/* What a status says when the code says nothing; NULL: it is not the client's doing. */
static const char *words_of_status(int status)
{
    switch (status) {
    case IM_INPUT_MISSING:
        return UNREAD;
    case IM_INVALID_IMAGE:
        return "Disk validation failed";
    case IM_MISMATCH:
        return CHANGED;
    default:
        return NULL;
    }
}

/* Past `words` when text opens with them, else NULL. */
static const char *after(const char *text, const char *words, size_t len)
{
    return len > 0 && strncasecmp(text, words, len) == 0 ? text + len : NULL;
}

/* The sentence opens with AWS's words of some row already. */
static bool has_words(const char *sentence)
{
    for (size_t i = 0; i < WORDINGS; i++)
        if (after(sentence, wordings[i].words, strlen(wordings[i].words)))
            return true;
    return false;
}

/* The sentence without what it repeats of the text in the words' brackets. */
static const char *without_repeated(const char *sentence, const char *words)
{
    const char *open = strchr(words, '[');
    const char *rest = open ? after(sentence, open + 1, strcspn(open + 1, "]")) : NULL;

    return rest ? rest + strspn(rest, ": ") : sentence;
}

const char *message_failure(char *buf, int status, const char *code, const char *sentence)
{
    const char *words = words_of_code(code);

    if (!words)
        words = words_of_status(status);
    if (!words)
        return message_internal(buf, sentence);
    if (strcmp(code, NOT_ALLOWED) == 0)
        sentence = ELSEWHERE;
    if (has_words(sentence))
        words = "";
    sentence = without_repeated(sentence, words);
    (void)snprintf(buf, MESSAGE_SIZE, "ClientError: %s%s%s", words, *words && *sentence ? ": " : "",
                   sentence);
    return buf;
}

const char *message_internal(char *buf, const char *sentence)
{
    (void)snprintf(buf, MESSAGE_SIZE,
                   "ServerError: an internal error has occurred during conversion: %s", sentence);
    return buf;
}
