/* interrupt - SIGINT and SIGTERM as a flag, and short messages on standard error. */
#pragma once

/* From now on SIGINT and SIGTERM set euca_interrupted (command.h) and end a blocked read or write
 * with EINTR, which main reports as the interrupt that it is; a second one ends the process the
 * usual way.  SIGPIPE is ignored: a closed connection is an error like any other. */
void euca_interrupt_catch(void);

/* Print "PROGRAM: text" as one line on standard error, control characters made visible. */
void euca_say(const char *program, const char *format, ...) __attribute__((format(printf, 2, 3)));
