/* no-core - a process whose memory is never written out when it dies. */
#pragma once

/* From now on neither this process nor one that it starts leaves a core dump: it would hold keys,
 * and bytes of images.  Each program here begins with it.  Whoever needs one attaches a debugger.
 * Where the hard limit of cores was 0 already, and may not be raised, programs of others that it
 * starts leave no file, but the kernel may give their memory to the one that core_pattern names.
 * Async-signal-safe; cannot fail. */
void im_no_core(void);
