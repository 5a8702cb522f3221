/* os-users - who may log in with a password, and what cloud-init would set up.  Of a password
 * nothing is kept but that there is one. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "guest/os-inner.h"

/* Bytes of the user tables: 10,000 users. */
#define USERS_MAX (1u << 20)
/* Bytes of one file of cloud-init's configuration, and files of cloud.cfg.d. */
#define CLOUD_MAX       (64u << 10)
#define CLOUD_FILES_MAX 64

/* ---- users ---- */

static void add_user(struct im_os *os, const char *name, bool empty)
{
    struct im_user *user = &os->user[os->user_count];

    for (unsigned i = 0; i < os->user_count; i++)
        if (strcmp(os->user[i].name, name) == 0)
            return;
    if (os->user_count == IM_OS_USERS_MAX)
        return;
    os_set(user->name, sizeof(user->name), name);
    user->empty = empty;
    os->user_count++;
}

bool im_os_is_hash(const char *field)
{
    return *field == '$' || *field == '_' || (strlen(field) == 13 && !strpbrk(field, "!*:"));
}

/* Lines "name:password:…". */
static void take_users(struct im_os *os, char *text)
{
    char *line;

    while ((line = strsep(&text, "\n"))) {
        const char *name = strsep(&line, ":");
        const char *password = line ? strsep(&line, ":") : NULL;

        if (!name || !*name || *name == '#' || !password || !line)
            continue;
        if (*password == '\0' || im_os_is_hash(password))
            add_user(os, name, *password == '\0');
    }
}

int os_users(struct analysis *analysis)
{
    static const char *const tables[] = { "/etc/shadow", "/etc/passwd" };
    struct im_os *os = analysis->os;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < 2; i++) {
        struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(USERS_MAX);

        r = os_text(analysis, tables[i], USERS_MAX - 1, &text);
        os->users_known |= r == 0 && i == 0;
        if (r == 0 && text.data)
            take_users(os, text.data);
        if (text.data)
            explicit_bzero(text.data, text.len);
    }
    return r < 0 ? r : 0;
}

/* ---- cloud-init ---- */

static void append(char *list, size_t size, const char *item, size_t len)
{
    size_t have = strlen(list);

    if (len > 0 && have + len + 3 < size)
        (void)snprintf(list + have, size - have, "%s%.*s", have ? ", " : "", (int)len, item);
}

/* "datasource_list: [ Ec2, None ]", or the items on lines of their own, "- Ec2". */
static void take_datasources(struct im_os *os, const char *text)
{
    static const char key[] = "datasource_list:";
    const char *p =
        strncmp(text, key, strlen(key)) == 0 ? text : strstr(text, "\ndatasource_list:");
    char list[sizeof(os->datasources)] = "";
    bool lines;

    if (!p)
        return;
    p = strchr(p, ':') + 1;
    p += strspn(p, " \t");
    lines = *p != '[';
    while (*p) {
        size_t len;

        p += strspn(p, lines ? " \t\r\n'\"" : " \t\r\n'\"[,");
        if (lines && *p != '-')
            break;
        p += lines ? 1 + strspn(p + 1, " \t'\"") : 0;
        len = strcspn(p, " \t\r\n'\",]#");
        append(list, sizeof(list), p, len);
        p += len;
        p += strspn(p, " \t'\"");
        if (*p == ']' || (len == 0 && !lines))
            break;
    }
    if (*list)
        os_set(os->datasources, sizeof(os->datasources), list);
}

/* The files of cloud.cfg.d in their order; each takes back what those before it said. */
static int find_datasources(struct analysis *analysis)
{
    struct im_buffer names_text IM_BUFFER_DONE = IM_BUFFER(1u << 20);
    struct im_buffer text IM_BUFFER_DONE = IM_BUFFER(CLOUD_MAX);
    const char *names[CLOUD_FILES_MAX];
    size_t count = 0;
    int r = os_text(analysis, "/etc/cloud/cloud.cfg", CLOUD_MAX - 1, &text);

    if (r == 0 && text.data)
        take_datasources(analysis->os, text.data);
    if (r >= 0)
        r = os_names(analysis, "/etc/cloud/cloud.cfg.d", &names_text, names, CLOUD_FILES_MAX,
                     &count);
    for (size_t i = 0; r >= 0 && i < count; i++) {
        const char *dot = strrchr(names[i], '.');
        char path[320];

        if (!dot || strcmp(dot, ".cfg") != 0 || strlen(names[i]) > 255)
            continue;
        (void)snprintf(path, sizeof(path), "/etc/cloud/cloud.cfg.d/%s", names[i]);
        r = os_text(analysis, path, CLOUD_MAX - 1, &text);
        if (r == 0 && text.data)
            take_datasources(analysis->os, text.data);
    }
    return r < 0 ? r : 0;
}

int os_cloud_init(struct analysis *analysis)
{
    static const char *const programs[] = { "/usr/bin/cloud-init", "/usr/local/bin/cloud-init",
                                            NULL };
    static const char *const switches[] = { "/etc/cloud/cloud-init.disabled", NULL };
    struct im_os *os = analysis->os;
    enum im_known disabled = IM_UNSURE;
    int r = os_has(analysis, programs, &os->cloud_init);

    if (r < 0 || os->cloud_init != IM_YES)
        return r;
    r = os_has(analysis, switches, &disabled);
    os->cloud_init_enabled = disabled == IM_NO ? IM_YES : disabled == IM_YES ? IM_NO : IM_UNSURE;
    return r < 0 ? r : find_datasources(analysis);
}
