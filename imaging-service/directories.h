/* directories - the directories of a service, and the lock that no two services have. */
#pragma once

#include "base/error.h"
#include "conf/conf.h"

/* Make the directories that are this service's own, find those that it shares, and take the lock.
 * *ret_lock is a descriptor that holds it until it is closed; it may be set on failure, too.
 * -EBUSY: another service has it; -ENOTDIR: something is in the way, or a shared directory is not
 * there. */
int svc_directories_take(const struct svc_conf *conf, int *ret_lock, struct im_error *err);

/* Lock the file or directory of the descriptor; wait_ms: how long somebody else may have it.  0, or
 * -1 with errno, EWOULDBLOCK when he has it still. */
int svc_flock_soon(int fd, int wait_ms);

/* 0 when there is a directory at path; -ENOTDIR with a sentence that ends with what to do (cure).
 */
int svc_directory_need(const char *path, const char *cure, struct im_error *err);
