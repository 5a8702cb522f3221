/* file - read a configuration file; the only code that knows libconfuse. */
#pragma once

#include "conf/conf.h"

/* Take the settings of the file over into conf.  0; -EINVAL with "FILE:LINE: …" for what is wrong
 * with it, or why it cannot be read; -ENOMEM. */
int svc_conf_read(const char *path, struct svc_conf *conf, struct im_error *err);
