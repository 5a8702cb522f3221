/* hint - words quoted for a shell, and what every command of ours needs to reach the same cloud. */

#include <config.h>

#include "hint.h"

#include <string.h>

#include "base/text.h"

#include "interrupt.h"

/* Bytes of a command line: as much as the kernel takes of one argument. */
#define LINE_MAX_BYTES (128 * 1024)

/* What no shell looks at. */
#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_"

/* $'…', in which any byte can be written. */
static int quote_bytes(struct im_buffer *out, const char *word)
{
    int r = im_buffer_puts(out, "$'");

    for (; *word && r == 0; word++) {
        unsigned char c = (unsigned char)*word;

        if (c == '\'' || c == '\\')
            r = im_buffer_printf(out, "\\%c", c);
        else if (c < ' ' || c >= 0x7f)
            r = im_buffer_printf(out, "\\x%02x", c);
        else
            r = im_buffer_add(out, word, 1);
    }
    return r < 0 ? r : im_buffer_puts(out, "'");
}

int euca_shell_quote(struct im_buffer *out, const char *word)
{
    int r;

    if (*word && word[strspn(word, PLAIN)] == '\0')
        return im_buffer_puts(out, word);
    if (!im_text_is_printable(word))
        return quote_bytes(out, word);
    r = im_buffer_puts(out, "'");
    for (; *word && r == 0; word++)
        r = im_buffer_puts(out, *word == '\'' ? "'\\''" : (char[]){ *word, '\0' });
    return r < 0 ? r : im_buffer_puts(out, "'");
}

static int add_word(struct im_buffer *out, const char *word)
{
    int r = im_buffer_puts(out, " ");

    return r < 0 ? r : euca_shell_quote(out, word);
}

/* Nothing without a value. */
static int add_option(struct im_buffer *out, const char *option, const char *value)
{
    int r = 0;

    if (!value || !*value)
        return 0;
    r = add_word(out, option);
    return r < 0 ? r : add_word(out, value);
}

char *euca_hint(const char *command, const struct euca_common *common, const char *const *arguments)
{
    struct im_buffer line IM_BUFFER_DONE = IM_BUFFER(LINE_MAX_BYTES);
    int r = im_buffer_printf(&line, "euca-%s", command);

    if (r == 0)
        r = add_option(&line, "--region", common->region);
    if (r == 0)
        r = add_option(&line, "-U", common->url);
    for (; r == 0 && *arguments; arguments++)
        r = add_word(&line, *arguments);
    return r == 0 ? im_buffer_steal(&line) : NULL;
}

/* The shell's history has them, but nobody else shall. */
void euca_tell_keys(const char *program, const struct euca_common *common,
                    const struct euca_s3_options *s3)
{
    bool keys = common->access_key || common->secret_key || common->token;
    const char *names = common->token ? "-I, -S, --security-token" : "-I, -S";
    bool owner = s3 && (s3->owner_akid || s3->owner_sak);

    if (keys || owner)
        euca_say(program, "the keys have to be given as before: %s%s%s", keys ? names : "",
                 keys && owner ? " and " : "", owner ? "-o, -w" : "");
}
