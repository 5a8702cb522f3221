/* task - `imaging-service task …`: the operator's look at the tasks of all accounts and their
 * stages, in a file or at a server, while services run.  It changes nothing. */
#pragma once

/* argv[0] is "task".  Returns the exit status: 0, 1 failed, 2 wrong usage. */
int svc_task_command(int argc, char **argv);
