/* terminal - one line on standard error that is drawn anew again and again.
 *
 * For one thread at a time.  Whether standard error is a terminal is for the caller to know. */
#pragma once

#include <stddef.h>

/* Milliseconds between two lines of those who tell the same where standard error is no terminal. */
#define EUCA_LINE_EVERY_MS 10000

/* Columns of the terminal, 80 when it does not tell. */
size_t euca_terminal_columns(void);

/* Draw the line, in place of the one that stands there.  It must not be wider than the terminal,
 * which would break it in two. */
void euca_terminal_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Take the line that stands there away; or leave it, and go to the next.  Nothing where none does.
 */
void euca_terminal_clear(void);
void euca_terminal_leave(void);
