/* account - `imaging-service account …`: people's side of the account store.  It may be used while
 * the service runs, which sees every change at its next request. */
#pragma once

/* argv[0] is "account".  Returns the exit status: 0, 1 failed, 2 wrong usage. */
int svc_account_command(int argc, char **argv);
