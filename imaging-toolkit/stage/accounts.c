/* accounts - who could log in; see accounts.h, passwd(5) and shadow(5). */

#include <config.h>

#include "stage/accounts.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "guest/os.h"

#define FIELDS 7

/* "x" sends to shadow. */
static enum account_password password_of(const char *field)
{
    if (*field == '\0')
        return ACCOUNT_EMPTY;
    return im_os_is_hash(field) ? ACCOUNT_HAS_PASSWORD : ACCOUNT_LOCKED;
}

/* Cut at colons; how many fields there are. */
static unsigned cut(char *line, char *field[FIELDS])
{
    unsigned count = 0;

    while (line && count < FIELDS)
        field[count++] = strsep(&line, ":");
    return count;
}

static bool is_shell(const char *path)
{
    const char *name = im_text_basename(path);

    return strcmp(name, "nologin") != 0 && strcmp(name, "false") != 0 &&
           strcmp(name, "sync") != 0 && strcmp(name, "halt") != 0 && strcmp(name, "shutdown") != 0;
}

static struct account *find(struct accounts *accounts, const char *name)
{
    for (unsigned i = 0; i < accounts->count; i++)
        if (strcmp(accounts->account[i].name, name) == 0)
            return &accounts->account[i];
    return NULL;
}

static void take_passwd(char *line, struct accounts *accounts)
{
    struct account *account = &accounts->account[accounts->count];
    char *field[FIELDS];

    if (accounts->count == ACCOUNTS_MAX || cut(line, field) < FIELDS || !*field[0] ||
        strlen(field[0]) >= sizeof(account->name) || strlen(field[5]) >= sizeof(account->home))
        return;
    (void)snprintf(account->name, sizeof(account->name), "%s", field[0]);
    (void)snprintf(account->home, sizeof(account->home), "%s", field[5]);
    account->shell = is_shell(field[6]);
    account->password = password_of(field[1]);
    accounts->count++;
}

void accounts_parse(char *passwd, char *shadow, struct accounts *ret_accounts)
{
    struct account *account;
    char *field[FIELDS];
    char *line;

    ret_accounts->count = 0;
    while (passwd && (line = linux_line(&passwd)))
        if (*line && *line != '#')
            take_passwd(line, ret_accounts);
    while (shadow && (line = linux_line(&shadow))) {
        if (cut(line, field) < 2 || !(account = find(ret_accounts, field[0])))
            continue;
        account->password = password_of(field[1]);
    }
}

int accounts_read(struct im_look *look, struct im_guest *guest, struct accounts *ret_accounts,
                  struct im_error *err)
{
    struct im_buffer passwd IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
    struct im_buffer shadow IM_BUFFER_DONE = IM_BUFFER(LINUX_TEXT_MAX);
    int found, r;

    ret_accounts->count = 0;
    ret_accounts->shadow_unread = false;
    found = linux_text(look, guest, "/etc/passwd", &passwd, err);
    if (found != LINUX_FOUND)
        return found;
    r = linux_text(look, guest, "/etc/shadow", &shadow, err);
    if (r < 0)
        return r;
    ret_accounts->shadow_unread = r == LINUX_UNREADABLE;
    accounts_parse(passwd.data, r == LINUX_FOUND ? shadow.data : NULL, ret_accounts);
    if (shadow.data)
        explicit_bzero(shadow.data, shadow.len);
    return found;
}
