/* no-core - a process whose memory is never written out when it dies. */

#include <config.h>

#include "base/no-core.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/* No file is so small.  With 0 the kernel would still start a program that
 * /proc/sys/kernel/core_pattern names (systemd-coredump) and give it all; 1 is the value with which
 * it does not (fs/coredump.c). */
#define NOTHING 1

void im_no_core(void)
{
    struct rlimit limit = { .rlim_cur = NOTHING, .rlim_max = NOTHING };

    if (setrlimit(RLIMIT_CORE, &limit) == 0)
        return;
    /* it was 0 and may not be raised; what is given up here, exec gives back */
    (void)prctl(PR_SET_DUMPABLE, 0);
}
