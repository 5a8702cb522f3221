/* gc - `imaging-service gc`: finds and removes what claims of dead services left on disk.  Services
 * may run; they do the same at their start and now and then. */
#pragma once

/* argv[0] is "gc".  Returns the exit status: 0, 1 failed or something could not be removed, 2 wrong
 * usage. */
int svc_gc_command(int argc, char **argv);
