/* terminal - escape sequences of ECMA-48, as every terminal has them. */

#include <config.h>

#include "terminal.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TO_ITS_BEGINNING "\r"
#define ERASE_THE_REST   "\033[K"

static bool stands; /* a line without its end */

size_t euca_terminal_columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void euca_terminal_line(const char *format, ...)
{
    va_list args;

    fputs(TO_ITS_BEGINNING, stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    fputs(ERASE_THE_REST, stderr);
    stands = true;
}

void euca_terminal_clear(void)
{
    if (stands)
        fputs(TO_ITS_BEGINNING ERASE_THE_REST, stderr);
    stands = false;
}

void euca_terminal_leave(void)
{
    if (stands)
        fputc('\n', stderr);
    stands = false;
}
