/* library - shared libraries that are opened when they are used. */

#include <config.h>

#include "base/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "base/memory.h"

int im_library_load(const char *soname, const struct im_symbol *symbols, void *table,
                    struct im_error *err)
{
    void *library;

    errno = 0;
    library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (!library && errno == ENOMEM) /* it does not tell that from a file that is missing */
        (void)im_memory_noted(NULL);
    if (!library)
        return im_fail(err, ENOPKG, "unavailable: %s is missing; install it", soname);
    for (; symbols && symbols->name; symbols++) {
        void *address = dlsym(library, symbols->name);

        if (!address) {
            (void)dlclose(library);
            return im_fail(err, ENOPKG, "unavailable: %s is too old: it has no %s", soname,
                           symbols->name);
        }
        memcpy((char *)table + symbols->offset, &address, sizeof(address));
    }
    return 0; /* stays open: its functions are in use from now on */
}
