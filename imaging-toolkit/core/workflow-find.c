/* workflow-find - where the files of workflows are: beside the program, as in a build directory, or
 * installed; or wherever their path says. */

#include <config.h>

#include "core/workflow.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

static const char suffix[] = ".workflow";

/* The directory of ours, owned by the caller; NULL when out of memory. */
static char *directory(void)
{
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self));
    const char *slash = len > 0 ? memrchr(self, '/', (size_t)len) : NULL;
    char *beside IM_FREE = slash ? im_asprintf("%.*s/workflow", (int)(slash - self), self) : NULL;

    return beside && access(beside, X_OK) == 0 ? im_steal(beside)
                                               : im_asprintf("%s/workflow", PKGDATADIR);
}

static bool ends_in_suffix(const char *name)
{
    size_t len = strlen(name);

    return len > strlen(suffix) && strcmp(name + len - strlen(suffix), suffix) == 0;
}

static int is_workflow(const struct dirent *entry)
{
    return ends_in_suffix(entry->d_name);
}

unsigned im_workflow_list(char **paths, unsigned max)
{
    char *dir IM_FREE = directory();
    struct dirent **entries = NULL;
    int n = dir ? scandir(dir, &entries, is_workflow, alphasort) : 0;
    unsigned count = 0;

    for (int i = 0; i < n; i++) {
        char *path = count < max ? im_asprintf("%s/%s", dir, entries[i]->d_name) : NULL;

        if (path)
            paths[count++] = path;
        free(entries[i]);
    }
    free(entries);
    return count;
}

/* As many as are ever told in one sentence. */
#define TOLD_MAX 16

static int no_such(const char *name, struct im_error *err)
{
    char *paths[TOLD_MAX], names[300] = "", shown[64];
    unsigned count = im_workflow_list(paths, TOLD_MAX);

    for (unsigned i = 0; i < count; i++) {
        const char *file = strrchr(paths[i], '/') + 1;
        size_t used = strlen(names);

        (void)snprintf(names + used, sizeof(names) - used, "%s%.*s", i ? ", " : "",
                       (int)(strlen(file) - strlen(suffix)), file);
        free(paths[i]);
    }
    return im_fail(err, ENOENT,
                   "there is no workflow or stage '%s'; there are the workflows %s, and 'stages' "
                   "lists the stages; a file of your own is named with its path",
                   im_text_printable(shown, sizeof(shown), name), *names ? names : "(none)");
}

static int read_file(const char *name, const char *path, struct im_workflow **ret_workflow,
                     struct im_error *err)
{
    char *text IM_FREE = NULL;
    size_t len;
    int r = im_read_file(path, IM_WORKFLOW_BYTES_MAX, &text, &len, err);

    return r < 0 ? r : im_workflow_parse(name, text, len, ret_workflow, err);
}

/* Path of ours called name, there or not, owned by the caller; NULL when out of memory. */
static char *path_of(const char *name)
{
    char *dir IM_FREE = directory();

    return dir ? im_asprintf("%s/%s%s", dir, name, suffix) : NULL;
}

bool im_workflow_is_ours(const char *name)
{
    char *path IM_FREE = strchr(name, '/') ? NULL : path_of(name);

    return path && access(path, F_OK) == 0;
}

int im_workflow_load(const char *name, struct im_workflow **ret_workflow, struct im_error *err)
{
    char *path IM_FREE = NULL;

    if (strchr(name, '/') || ends_in_suffix(name))
        return read_file(name, name, ret_workflow, err);
    path = path_of(name);
    if (!path)
        return im_fail(err, ENOMEM, "out of memory");
    if (access(path, F_OK) < 0)
        return no_such(name, err);
    return read_file(name, path, ret_workflow, err);
}
